//! `prebake exec`: a second program in a session that runs.

use crate::args::ExecArgs;
use crate::console;
use crate::shell::Shell;
use crate::terminal::Signals;
use prebake::error::Result;
use prebake::exec;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(shell: &Shell, args: &ExecArgs) -> ExitCode {
    match attempt(shell, args) {
        Ok(status) => ExitCode::from(status),
        Err(error) => super::end(shell, Err(error)),
    }
}

fn attempt(shell: &Shell, args: &ExecArgs) -> Result<u8> {
    let machine = exec::enter(&shell.context, &args.session)?;
    exec::run(machine, &args.into(), console::of_process()?, Box::new(Signals::catch()?))
}
