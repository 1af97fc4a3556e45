//! `prebake bake`: a cold start under the virtual clock, and a snapshot of it.

use super::publish::Publication;
use super::translate::say_translated;
use super::{on_thread_for_wamr, report};
use crate::args::BakeArgs;
use crate::shell::Shell;
use crate::terminal::Signals;
use crate::wording::{grouped, mebibytes};
use prebake::error::Result;
use prebake::machine::record::Point;
use prebake::make::bake::{self, Bake};
use prebake::report::Report;
use prebake::run::train::train;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(shell: &Shell, args: &BakeArgs) -> ExitCode {
    if args.in_module() { on_thread_for_wamr(|| attempt(shell, args)) } else { attempt(shell, args) }
}

fn attempt(shell: &Shell, args: &BakeArgs) -> ExitCode {
    report(shell, &args.report, "bake", |report| bake(shell, args, report).map(|()| 0))
}

fn bake(shell: &Shell, args: &BakeArgs, report: &mut Report) -> Result<()> {
    let mut signals = Signals::catch()?;
    let publication = match (&args.push, &args.source) {
        (Some(reference), Some(source)) => Some(Publication::begin(shell, args, reference, source)?),
        _ => None,
    };
    // Without one of the two there is the other.
    let output = args.output.clone().or_else(|| publication.as_ref().map(Publication::snapshot)).unwrap_or_default();
    let wanted: Bake = args.bake(&output);
    let baked = bake::bake(&shell.context, &wanted, || signals.take_ending(), report)?;
    let written = &baked.written;
    shell.say(format_args!(
        "saved {}: {}, {} pages in {} mappings, {}",
        output.display(),
        mebibytes(written.file_length),
        grouped(written.pages),
        written.runs,
        written.content_digest
    ));
    if wanted.point == Point::Idle {
        shell.say(if baked.control {
            "note: everyone who has this snapshot knows the random numbers that the guest's programs drew before it"
        } else {
            "warning: this guest does not run prebake's init, so its random generator is not rekeyed after a restore; all copies share its state"
        });
    }
    let lessons = args.lessons();
    if let (Some(machine), false) = (&baked.machine, lessons.is_empty()) {
        let done = train(&shell.context, machine, &lessons, args.train_instructions)?;
        say_translated(shell, &done, machine);
    }
    match (publication, baked.machine) {
        (Some(publication), Some(machine)) => {
            signals.release();
            publication.send(shell, &machine, &output)
        }
        _ => Ok(()),
    }
}
