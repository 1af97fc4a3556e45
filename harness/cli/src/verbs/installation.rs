//! `prebake completion` and `prebake man`: what an installation has besides the program.

use crate::args::{Cli, CompletionArgs, ManArgs};
use crate::shell::Shell;
use clap::CommandFactory;
use prebake::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

/// Prints a completion script.
pub fn completion(args: &CompletionArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "prebake", &mut script);
    // Whoever does not read it does not want it.
    let _ = std::io::stdout().write_all(&script);
    ExitCode::SUCCESS
}

/// Writes a manual page for each verb.
pub fn man(shell: &Shell, args: &ManArgs) -> ExitCode {
    let write = || {
        std::fs::create_dir_all(&args.folder)?;
        clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), &args.folder)
    };
    super::end(shell, write().map_err(|source| Error::Write { path: args.folder.clone(), source }))
}
