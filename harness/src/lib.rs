//! The program `prebake`: the verbs, the terminal, and what a machine's devices have behind them on this host.
//!
//! `cmd` has a file for each verb. `engine` is a machine, wherever it runs. `vm` drives a machine: one loop for a guest that someone sits at, one for a bake. `backend` is what
//! devices are given, `file` how files are read and written, `terminal` the user's side of the console.

pub mod backend;
pub mod cli;
pub mod cmd;
pub mod engine;
pub mod error;
pub mod file;
pub mod progress;
pub mod report;
pub mod terminal;
pub mod vm;

use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;
use std::time::Instant;

/// Runs the program and returns its exit code.
pub fn main() -> ExitCode {
    let start = Instant::now();
    terminal::restore_on_panic();
    match Cli::parse().command {
        Command::Boot(args) => cmd::boot::run(&args, start),
        Command::Bake(args) => cmd::bake::run(&args),
        Command::Run(args) => cmd::run::run(&args, start),
        Command::Inspect(args) => cmd::inspect::run(&args),
        Command::Diff(args) => cmd::diff::run(&args),
    }
}
