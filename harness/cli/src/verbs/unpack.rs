//! `prebake unpack`: what an ordinary OCI client has pulled, turned into files that run.

use crate::args::UnpackArgs;
use crate::shell::Shell;
use crate::wording::mebibytes;
use prebake::distribution::unpack::unpack;
use prebake::error::Result;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(shell: &Shell, args: &UnpackArgs) -> ExitCode {
    super::end(shell, unpack_and_tell(shell, args))
}

fn unpack_and_tell(shell: &Shell, args: &UnpackArgs) -> Result<()> {
    let written = unpack(&shell.context, &args.files, &args.output)?;
    shell.say(format_args!("saved {}: {}, {}", args.output.display(), mebibytes(written.bytes), written.digest));
    Ok(())
}
