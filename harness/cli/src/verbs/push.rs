//! `prebake push`: a machine and its snapshot, sent to a registry.

use crate::args::PushArgs;
use prebake::distribution::oci::{Destination, Pushed};
use prebake::distribution::trust::SigningKey;
use prebake::error::Result;
use prebake::progress::{Progress, mebibytes};
use std::io::Write;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(args: &PushArgs) -> ExitCode {
    super::end("push", send(args))
}

fn send(args: &PushArgs) -> Result<()> {
    let key = args.sign.as_deref().map(SigningKey::read).transpose()?;
    let mut progress = Progress::new("push");
    let destination = Destination::of(&args.reference, args.registry.connection())?;
    let pushed = destination.push(&args.files, args.host_cpu.as_deref(), key.as_ref(), &mut progress)?;
    say(&args.reference, &pushed, key.as_ref(), &mut progress);
    Ok(())
}

/// Tells the user what was pushed, and whoever reads standard output its digest.
pub(super) fn say(reference: &str, pushed: &Pushed, key: Option<&SigningKey>, progress: &mut Progress) {
    let (bytes, sent) = (mebibytes(pushed.bytes), mebibytes(pushed.sent));
    progress.say(format_args!("{reference} is {bytes}, of which {sent} were sent"));
    if let Some(key) = key {
        progress.say(format_args!("signed by {}", key.public().fingerprint()));
    }
    // Whoever does not read it does not want it.
    let _ = writeln!(std::io::stdout(), "{}", pushed.digest);
}
