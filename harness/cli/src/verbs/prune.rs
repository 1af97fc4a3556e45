//! `prebake prune`: the store without what nobody needs.

use crate::args::PruneArgs;
use crate::shell::Shell;
use crate::wording::mebibytes;
use prebake::error::Result;
use prebake::service::store;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(shell: &Shell, args: &PruneArgs) -> ExitCode {
    super::end(shell, prune(shell, args))
}

fn prune(shell: &Shell, args: &PruneArgs) -> Result<()> {
    let pruned = store::prune(&shell.context, &args.references)?;
    shell.say(format_args!("removed {} files, {}", pruned.files, mebibytes(pruned.bytes)));
    if pruned.in_use != 0 {
        shell.say(format_args!("{} more files are in use; prune again later", pruned.in_use));
    }
    Ok(())
}
