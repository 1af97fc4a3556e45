//! `prebake translate`: a machine with the hot code of its guest translated.

use crate::args::TranslateArgs;
use crate::shell::Shell;
use crate::wording::{coverage, grouped, mebibytes};
use prebake::error::Result;
use prebake::make::translated::{Done, translate};
use std::path::Path;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(shell: &Shell, args: &TranslateArgs) -> ExitCode {
    super::end(shell, make(shell, args))
}

fn make(shell: &Shell, args: &TranslateArgs) -> Result<()> {
    let done = translate(&shell.context, &args.translation())?;
    say_translated(shell, &done, &args.output);
    Ok(())
}

/// Says what was translated into a machine.
pub fn say_translated(shell: &Shell, done: &Done, machine: &Path) {
    let Done { chosen, linked, length } = done;
    shell.say(format_args!(
        "translated {} instructions as {} functions of {} bytes",
        grouped(linked.instructions as u64),
        grouped(linked.regions as u64),
        grouped(linked.bytes as u64),
    ));
    shell.say(format_args!("the machine {}", coverage(chosen)));
    shell.say(format_args!("saved {}: {}", machine.display(), mebibytes(*length)));
}
