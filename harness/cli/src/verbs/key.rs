//! `prebake key`: keys that sign what is pushed.

use crate::args::{KeyArgs, KeyCommand};
use prebake::distribution::trust::SigningKey;
use prebake::error::{Error, Result};
use prebake::progress::say;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs the verb.
pub fn run(args: &KeyArgs) -> ExitCode {
    super::end(
        "key",
        match &args.command {
            KeyCommand::Generate { output } => generate(output),
            KeyCommand::Public { key } => print(key),
        },
    )
}

fn print(name: &str) -> Result<()> {
    let pem = SigningKey::read(name)?.public().to_pem();
    // Whoever does not read it does not want it.
    let _ = std::io::stdout().write_all(pem.as_bytes());
    Ok(())
}

fn generate(name: &Path) -> Result<()> {
    let (private, public) = (with_ending(name, ".key"), with_ending(name, ".pub"));
    let key = SigningKey::generate()?;
    key.write(&private)?;
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&public)?;
        file.write_all(key.public().to_pem().as_bytes())
    };
    write().map_err(|source| Error::Write { path: public.clone(), source })?;
    say(format_args!("key: saved {}, which signs: keep it secret", private.display()));
    say(format_args!("key: saved {}, which verifies: {}", public.display(), key.public().fingerprint()));
    Ok(())
}

/// The name may have a dot of its own.
fn with_ending(name: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(name);
    name.push(ending);
    name.into()
}
