//! `prebake key`: keys that sign what is pushed.

use crate::args::{KeyArgs, KeyCommand};
use crate::shell::{Shell, key_password};
use prebake::distribution::trust::SigningKey;
use prebake::error::{Error, Result};
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs the verb.
pub fn run(shell: &Shell, args: &KeyArgs) -> ExitCode {
    super::end(
        shell,
        match &args.command {
            KeyCommand::Generate { output } => generate(shell, output),
            KeyCommand::Public { key } => print(shell, key),
        },
    )
}

fn print(shell: &Shell, name: &str) -> Result<()> {
    let pem = shell.signing_key(name)?.public().to_pem();
    // Whoever does not read it does not want it.
    let _ = std::io::stdout().write_all(pem.as_bytes());
    Ok(())
}

fn generate(shell: &Shell, name: &Path) -> Result<()> {
    let (private, public) = (with_ending(name, ".key"), with_ending(name, ".pub"));
    let key = SigningKey::generate()?;
    key.write(&private, key_password().as_deref())?;
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&public)?;
        file.write_all(key.public().to_pem().as_bytes())
    };
    write().map_err(|source| Error::Write { path: public.clone(), source })?;
    shell.say(format_args!("saved {}, the private key: keep it secret", private.display()));
    shell.say(format_args!("saved {}, the public key: {}", public.display(), key.public().fingerprint()));
    Ok(())
}

/// The name may have a dot of its own.
fn with_ending(name: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(name);
    name.push(ending);
    name.into()
}
