//! `prebake sessions`: what has been saved.

use crate::args::SessionsArgs;
use crate::shell::{Shell, show};
use crate::wording::mebibytes;
use prebake::distribution::store::Store;
use prebake::error::Result;
use prebake::session::{FileRef, Origin, SessionInfo, Sessions};
use serde_json::json;
use std::io::Write;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Runs the verb.
pub fn run(shell: &Shell, args: &SessionsArgs) -> ExitCode {
    super::end(shell, list_or_remove(shell, args))
}

fn list_or_remove(shell: &Shell, args: &SessionsArgs) -> Result<()> {
    let sessions = Sessions::of(&Store::open(&shell.context)?)?;
    if !args.remove.is_empty() {
        return args.remove.iter().try_for_each(|name| sessions.remove(name));
    }
    let listed = sessions.list()?;
    if args.json {
        // Whoever reads the first lines only has seen enough.
        let _ = std::io::stdout().write_all(as_json(&listed).as_bytes());
    } else {
        show(&as_text(&listed));
    }
    Ok(())
}

/// What a session is of, in the words in which it was run.
fn subject(origin: &Origin) -> String {
    match (&origin.reference, origin.machine.as_ref().unwrap_or(&origin.base)) {
        (Some(reference), _) => reference.clone(),
        (None, FileRef::Path(path)) => path.display().to_string(),
        (None, FileRef::Store(name)) => name.clone(),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}

fn as_json(listed: &[SessionInfo]) -> String {
    let entry = |session: &SessionInfo| {
        json!({
            "name": session.name,
            "of": subject(&session.origin),
            "image": session.origin.image.map(|digest| digest.to_string()),
            "began": session.origin.began,
            "kept": session.saved.map(seconds),
            "bytes": session.bytes,
            "running": session.runs,
        })
    };
    format!("{:#}\n", serde_json::Value::Array(listed.iter().map(entry).collect()))
}

fn as_text(listed: &[SessionInfo]) -> String {
    let width = |column: fn(&SessionInfo) -> String, title: &str| {
        listed.iter().map(|session| column(session).len()).max().unwrap_or(0).max(title.len())
    };
    let (names, subjects) = (width(|session| session.name.clone(), "NAME"), width(|session| subject(&session.origin), "OF"));
    let row = |name: &str, subject: &str, kept: &str, size: &str, state: &str| {
        let line = format!("{name:names$}  {subject:subjects$}  {kept:>12}  {size:>10}  {state}");
        format!("{}\n", line.trim_end())
    };
    let mut text = row("NAME", "OF", "KEPT", "SIZE", "");
    for session in listed {
        let (kept, state) = (session.saved.map_or("never".into(), ago), if session.runs { "running" } else { "" });
        text += &row(&session.name, &subject(&session.origin), &kept, &mebibytes(session.bytes), state);
    }
    text
}

/// How long ago that was.
fn ago(time: SystemTime) -> String {
    let seconds = time.elapsed().map_or(0, |age| age.as_secs());
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86400),
    }
}
