//! `prebake prune`: the store without what nobody needs.

use crate::args::PruneArgs;
use prebake::distribution::oci::{self, OciError};
use prebake::distribution::store::Store;
use prebake::error::Result;
use prebake::progress::{mebibytes, say};
use std::process::ExitCode;

/// Runs the verb.
pub fn run(args: &PruneArgs) -> ExitCode {
    super::end("prune", prune(args))
}

fn prune(args: &PruneArgs) -> Result<()> {
    let store = Store::of_user()?;
    for reference in &args.references {
        let reference = oci::reference(reference)?.whole();
        if !store.forget(&reference)? {
            return Err(OciError::NotInStore { reference }.into());
        }
    }
    let pruned = store.prune()?;
    say(format_args!("prune: removed {} files, {}", pruned.files, mebibytes(pruned.bytes)));
    if pruned.in_use != 0 {
        say(format_args!("prune: {} more are in use; prune again when they are not", pruned.in_use));
    }
    Ok(())
}
