//! `prebake push`: a machine and its snapshot, sent to a registry.

use crate::args::PushArgs;
use crate::shell::Shell;
use crate::wording::mebibytes;
use prebake::distribution::oci::{Destination, Pushed};
use prebake::distribution::trust::SigningKey;
use prebake::error::Result;
use std::io::Write;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(shell: &Shell, args: &PushArgs) -> ExitCode {
    super::end(shell, send(shell, args))
}

fn send(shell: &Shell, args: &PushArgs) -> Result<()> {
    let key = args.sign.as_deref().map(|key| shell.signing_key(key)).transpose()?;
    let destination = Destination::of(&shell.context, &args.reference)?;
    let pushed = destination.push(&args.files, args.host_cpu.as_deref(), key.as_ref())?;
    say(shell, &args.reference, &pushed, key.as_ref());
    Ok(())
}

/// Tells the user what was pushed, and whoever reads standard output its digest.
pub(super) fn say(shell: &Shell, reference: &str, pushed: &Pushed, key: Option<&SigningKey>) {
    let (bytes, sent) = (mebibytes(pushed.bytes), mebibytes(pushed.sent));
    shell.say(format_args!("pushed {reference}: {bytes}, of which {sent} were new to the registry"));
    if let Some(key) = key {
        shell.say(format_args!("signed by {}", key.public().fingerprint()));
    }
    // Whoever does not read it does not want it.
    let _ = writeln!(std::io::stdout(), "{}", pushed.digest);
}
