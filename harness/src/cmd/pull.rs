//! `prebake pull`: what a reference names, fetched into the store.

use crate::cli::PullArgs;
use crate::error::Result;
use crate::oci::{Access, ensure};
use crate::progress::Progress;
use std::io::Write;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(args: &PullArgs) -> ExitCode {
    super::end("pull", fetch(args))
}

fn fetch(args: &PullArgs) -> Result<()> {
    let access = Access { offline: args.offline, connection: args.registry.connection(), ..Access::default() };
    let artifacts = ensure(&args.reference, &access, &mut Progress::new("pull"))?;
    // Whoever does not read it does not want it.
    let _ = writeln!(std::io::stdout(), "{}", artifacts.wasm_file.display());
    if let Some(snapshot) = &artifacts.snapshot_file {
        let _ = writeln!(std::io::stdout(), "{}", snapshot.display());
    }
    Ok(())
}
