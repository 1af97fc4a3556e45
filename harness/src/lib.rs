//! The program `prebake`, and a library for programs that run machines themselves: [`oci::ensure`] fetches one, [`service::Vm`] runs it.
//!
//! The verbs, the terminal, and what a machine's devices have behind them on this host.
//!
//! `cmd` has a file for each verb. `engine` is a machine, wherever it runs, and `vm` drives it: one loop for a guest that someone sits at,
//! one for a bake. `launch` finds out what is to be run and starts it. `image` makes a root file system of a container image, `artefact` is a
//! machine with what it boots in one file, `trust` whose code is run. `backend` is what devices are given, `file` how files are read and written,
//! `terminal` the user's side of the console, `store` what was pulled, and `session` what was done in it.

pub mod artefact;
pub mod backend;
pub mod cli;
pub mod cmd;
pub mod code;
pub mod engine;
pub mod error;
pub mod file;
pub mod image;
pub mod launch;
pub mod oci;
pub mod program;
pub mod progress;
pub mod report;
pub mod service;
pub mod session;
pub mod store;
pub mod terminal;
pub mod trust;
pub mod vm;

use cli::Command;
use std::process::ExitCode;
use std::time::Instant;

/// Runs the program and returns its exit code.
pub fn main() -> ExitCode {
    let start = Instant::now();
    terminal::restore_on_panic();
    match cli::parse().command {
        Command::Boot(args) => cmd::boot::run(&args, start),
        Command::Bake(args) => cmd::bake::run(&args),
        Command::Run(args) => cmd::run::run(args, start),
        Command::Convert(args) => cmd::convert::run(&args),
        Command::Aot(args) => cmd::aot::run(&args),
        Command::Push(args) => cmd::push::run(&args),
        Command::Pull(args) => cmd::pull::run(&args),
        Command::Images(args) => cmd::images::run(&args),
        Command::Sessions(args) => cmd::sessions::run(&args),
        Command::Prune(args) => cmd::prune::run(&args),
        Command::Unpack(args) => cmd::unpack::run(&args),
        Command::Key(args) => cmd::key::run(&args),
        Command::Trust(args) => cmd::trust::run(&args),
        Command::Inspect(args) => cmd::inspect::run(&args),
        Command::Diff(args) => cmd::diff::run(&args),
    }
}
