//! `prebake sessions`: what has been saved.

use crate::args::SessionsArgs;
use crate::shell::{Shell, show};
use crate::wording::mebibytes;
use prebake::error::Result;
use prebake::service::store::{self, SavedSession};
use std::io::Write;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Runs the verb.
pub fn run(shell: &Shell, args: &SessionsArgs) -> ExitCode {
    super::end(shell, list_or_remove(shell, args))
}

fn list_or_remove(shell: &Shell, args: &SessionsArgs) -> Result<()> {
    if !args.remove.is_empty() {
        return args.remove.iter().try_for_each(|name| store::remove_session(&shell.context, name));
    }
    let listed = store::sessions(&shell.context)?;
    if args.json {
        // Whoever reads the first lines only has seen enough.
        let _ = std::io::stdout().write_all(super::json(&listed)?.as_bytes());
    } else {
        show(&as_text(&listed));
    }
    Ok(())
}

fn as_text(listed: &[SavedSession]) -> String {
    let width = |column: fn(&SavedSession) -> &str, title: &str| {
        listed.iter().map(|session| column(session).len()).max().unwrap_or(0).max(title.len())
    };
    let (names, subjects) = (width(|session| &session.name, "NAME"), width(|session| &session.of, "OF"));
    let row = |name: &str, subject: &str, kept: &str, size: &str, state: &str| {
        let line = format!("{name:names$}  {subject:subjects$}  {kept:>12}  {size:>10}  {state}");
        format!("{}\n", line.trim_end())
    };
    let mut text = row("NAME", "OF", "KEPT", "SIZE", "");
    for session in listed {
        let (kept, state) = (session.kept.map_or("never".into(), ago), if session.running { "running" } else { "" });
        text += &row(&session.name, &session.of, &kept, &mebibytes(session.bytes), state);
    }
    text
}

/// How long ago that was, in seconds since 1970.
fn ago(time: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let seconds = now.saturating_sub(time);
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86400),
    }
}
