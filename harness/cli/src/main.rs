//! The program `prebake`: what is said on the command line, and what is said to the user. [`prebake`] does the work.

mod args;
mod console;
mod log;
mod network;
mod shell;
mod terminal;
mod verbs;
mod wording;

use args::Command;
use shell::Shell;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let start = Instant::now();
    terminal::restore_on_panic();
    let command = args::parse().command;
    let shell = Shell::new(command.name(), command.registry(), command.reference());
    if let Err(problem) = log::install(&shell) {
        args::refuse(&problem);
    }
    match command {
        Command::Boot(args) => verbs::boot::run(&shell, &args, start),
        Command::Bake(args) => verbs::bake::run(&shell, &args),
        Command::Run(args) => verbs::run::run(&shell, args.into_inner(), start),
        Command::Copy(args) => verbs::copy::run(&shell, &args),
        Command::Exec(args) => verbs::exec::run(&shell, &args),
        Command::Convert(args) => verbs::convert::run(&shell, &args),
        Command::Aot(args) => verbs::aot::run(&shell, &args),
        Command::Translate(args) => verbs::translate::run(&shell, &args),
        Command::Profile(args) => verbs::profile::run(&shell, &args),
        Command::Push(args) => verbs::push::run(&shell, &args),
        Command::Pull(args) => verbs::pull::run(&shell, &args),
        Command::Images(args) => verbs::images::run(&shell, &args),
        Command::Sessions(args) => verbs::sessions::run(&shell, &args),
        Command::Prune(args) => verbs::prune::run(&shell, &args),
        Command::Serve(args) => verbs::serve::run(&shell, &args),
        Command::Unpack(args) => verbs::unpack::run(&shell, &args),
        Command::Key(args) => verbs::key::run(&shell, &args),
        Command::Trust(args) => verbs::trust::run(&shell, &args),
        Command::Inspect(args) => verbs::inspect::run(&shell, &args),
        Command::Diff(args) => verbs::diff::run(&shell, &args),
        Command::Completion(args) => verbs::installation::completion(&args),
        Command::Man(args) => verbs::installation::man(&shell, &args),
    }
}
