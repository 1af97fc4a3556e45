//! `prebake convert`: what a machine boots, packed into the machine itself.

use crate::args::ConvertArgs;
use prebake::make::convert::convert;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(args: &ConvertArgs) -> ExitCode {
    super::end("convert", convert(&args.conversion()))
}
