//! `prebake prune`: the store without what nobody needs.

use crate::args::PruneArgs;
use crate::shell::Shell;
use crate::wording::mebibytes;
use prebake::distribution::oci::{self, OciError};
use prebake::distribution::store::Store;
use prebake::error::Result;
use prebake::session::Sessions;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(shell: &Shell, args: &PruneArgs) -> ExitCode {
    super::end(shell, prune(shell, args))
}

fn prune(shell: &Shell, args: &PruneArgs) -> Result<()> {
    let store = Store::open(&shell.context)?;
    for reference in &args.references {
        let reference = oci::reference(reference)?.whole();
        if !store.forget(&reference)? {
            return Err(OciError::NotInStore { reference }.into());
        }
    }
    let pruned = store.prune(|| Sessions::of(&store)?.needed())?;
    shell.say(format_args!("removed {} files, {}", pruned.files, mebibytes(pruned.bytes)));
    if pruned.in_use != 0 {
        shell.say(format_args!("{} more files are in use; prune again later", pruned.in_use));
    }
    Ok(())
}
