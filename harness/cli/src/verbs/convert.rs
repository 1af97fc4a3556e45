//! `prebake convert`: what a machine boots, packed into the machine itself.

use crate::args::ConvertArgs;
use crate::shell::Shell;
use crate::wording::mebibytes;
use prebake::error::Result;
use prebake::make::convert::convert;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(shell: &Shell, args: &ConvertArgs) -> ExitCode {
    super::end(shell, convert_and_tell(shell, args))
}

fn convert_and_tell(shell: &Shell, args: &ConvertArgs) -> Result<()> {
    let length = convert(&shell.context, &args.conversion())?;
    shell.say(format_args!("saved {}: {}", args.output.display(), mebibytes(length)));
    Ok(())
}
