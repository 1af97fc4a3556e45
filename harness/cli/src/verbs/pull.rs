//! `prebake pull`: what an image's name leads to, fetched into the store; a machine is made of an ordinary image.

use crate::args::PullArgs;
use crate::shell::Shell;
use prebake::distribution::oci::{PullOptions, PullPolicy};
use prebake::error::Result;
use prebake::run::named;
use std::io::Write;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(shell: &Shell, args: &PullArgs) -> ExitCode {
    super::end(shell, fetch(shell, args))
}

fn fetch(shell: &Shell, args: &PullArgs) -> Result<()> {
    let verify_key = args.verify_key.as_deref().map(|key| shell.public_key(key)).transpose()?;
    let options = PullOptions { policy: PullPolicy::unless(args.offline), verify_key, to_boot: args.boot, ..PullOptions::default() };
    let artifacts = named::ensure(&shell.context, &args.reference, &options)?;
    if let Some(voucher) = &artifacts.voucher {
        shell.say(format_args!("the native code is trusted: {}", voucher.by));
    }
    // Whoever does not read it does not want it.
    let _ = writeln!(std::io::stdout(), "{}", artifacts.wasm_file.display());
    if let Some(snapshot) = &artifacts.snapshot_file {
        let _ = writeln!(std::io::stdout(), "{}", snapshot.display());
    }
    Ok(())
}
