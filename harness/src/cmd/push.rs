//! `prebake push`: a machine and its snapshot, sent to a registry.

use crate::cli::PushArgs;
use crate::error::Result;
use crate::oci::push;
use crate::progress::{Progress, mebibytes};
use std::io::Write;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(args: &PushArgs) -> ExitCode {
    super::end("push", send(args))
}

fn send(args: &PushArgs) -> Result<()> {
    let mut progress = Progress::new("push");
    let pushed = push(&args.reference, &args.files, args.host_cpu.as_deref(), args.registry.connection(), &mut progress)?;
    let (bytes, sent) = (mebibytes(pushed.bytes), mebibytes(pushed.sent));
    progress.say(format_args!("{} is {bytes}, of which {sent} were sent", args.reference));
    // Whoever does not read it does not want it.
    let _ = writeln!(std::io::stdout(), "{}", pushed.digest);
    Ok(())
}
