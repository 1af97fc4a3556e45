//! `prebake pull`: what a reference names, fetched into the store.

use crate::args::PullArgs;
use prebake::distribution::oci::{Access, ensure};
use prebake::distribution::trust::PublicKey;
use prebake::error::Result;
use prebake::progress::Progress;
use std::io::Write;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(args: &PullArgs) -> ExitCode {
    super::end("pull", fetch(args))
}

fn fetch(args: &PullArgs) -> Result<()> {
    let verify_key = args.verify_key.as_deref().map(PublicKey::read).transpose()?;
    let access = Access { offline: args.offline, connection: args.registry.connection(), verify_key, ..Access::default() };
    let mut progress = Progress::new("pull");
    let artifacts = ensure(&args.reference, &access, &mut progress)?;
    if let Some(voucher) = &artifacts.voucher {
        progress.say(format_args!("its native code is trusted: {}", voucher.by));
    }
    // Whoever does not read it does not want it.
    let _ = writeln!(std::io::stdout(), "{}", artifacts.wasm_file.display());
    if let Some(snapshot) = &artifacts.snapshot_file {
        let _ = writeln!(std::io::stdout(), "{}", snapshot.display());
    }
    Ok(())
}
