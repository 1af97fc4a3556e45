//! The program `prebake`: what is said on the command line, and what is said to the user. [`prebake`] does the work.

mod args;
mod verbs;

use args::Command;
use prebake::terminal;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let start = Instant::now();
    terminal::restore_on_panic();
    match args::parse().command {
        Command::Boot(args) => verbs::boot::run(&args, start),
        Command::Bake(args) => verbs::bake::run(&args),
        Command::Run(args) => verbs::run::run(args, start),
        Command::Convert(args) => verbs::convert::run(&args),
        Command::Aot(args) => verbs::aot::run(&args),
        Command::Push(args) => verbs::push::run(&args),
        Command::Pull(args) => verbs::pull::run(&args),
        Command::Images(args) => verbs::images::run(&args),
        Command::Sessions(args) => verbs::sessions::run(&args),
        Command::Prune(args) => verbs::prune::run(&args),
        Command::Unpack(args) => verbs::unpack::run(&args),
        Command::Key(args) => verbs::key::run(&args),
        Command::Trust(args) => verbs::trust::run(&args),
        Command::Inspect(args) => verbs::inspect::run(&args),
        Command::Diff(args) => verbs::diff::run(&args),
    }
}
