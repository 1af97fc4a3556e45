//! The verbs, one to a file.

pub mod aot;
pub mod bake;
pub mod boot;
pub mod convert;
pub mod copy;
pub mod diff;
pub mod exec;
pub mod images;
pub mod inspect;
pub mod installation;
pub mod key;
pub mod profile;
pub mod prune;
mod publish;
pub mod pull;
pub mod push;
pub mod run;
pub mod serve;
pub mod sessions;
pub mod translate;
pub mod trust;
pub mod unpack;

use crate::args::{ConsoleArgs, ReportArgs};
use crate::shell::Shell;
use crate::wording;
use prebake::error::{Error, Result, exit};
use prebake::host::file::place::Destination;
use prebake::report::Report;
use protocol::Mode;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use wamr::Runtime;

/// Ends a verb that has no report: tells the user what went wrong.
fn end(shell: &Shell, result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell.fail(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// A list for scripts.
fn json(list: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(list).map_err(|source| Error::Host { what: "write JSON", source: source.into() })?;
    Ok(format!("{text}\n"))
}

/// Where the report of a verb goes.
struct ReportTo(Option<ReportPlace>);

enum ReportPlace {
    StandardOutput,
    Destination(Destination),
}

impl ReportTo {
    /// Where the user wants it. It is found before the guest runs, which may write to the same folder.
    fn open(args: &ReportArgs) -> Result<Self> {
        Ok(Self(match &args.json {
            None => None,
            Some(path) if path == Path::new("-") => Some(ReportPlace::StandardOutput),
            Some(path) => Some(ReportPlace::Destination(Destination::open(path)?)),
        }))
    }

    fn write(self, report: &Report) -> Result<()> {
        let Some(place) = self.0 else { return Ok(()) };
        let json = report.json().map_err(|source| Error::Host { what: "write statistics", source })?;
        match place {
            ReportPlace::StandardOutput => {
                let written = std::io::stdout().write_all(&json);
                written.map_err(|source| Error::Host { what: "write statistics to standard output", source })
            }
            ReportPlace::Destination(destination) => destination.write(&json),
        }
    }
}

/// Does a verb that has a report, writes that, and tells the user what went wrong.
fn report(shell: &Shell, args: &ReportArgs, verb: &'static str, work: impl FnOnce(&mut Report) -> Result<u8>) -> ExitCode {
    let mut report = Report::of(verb);
    let (to, result) = match ReportTo::open(args) {
        Ok(to) => (to, work(&mut report)),
        Err(error) => (ReportTo(None), Err(error)),
    };
    match result {
        Ok(code) => report.exit_code = code,
        Err(error) => {
            shell.fail(&error);
            report.fail(&error, wording::error(&error));
        }
    }
    if let Err(error) = to.write(&report) {
        shell.fail(&error);
        // What the guest said goes before what prebake could not say.
        if report.exit_code == 0 {
            report.exit_code = error.exit_code();
        }
    }
    ExitCode::from(report.exit_code)
}

/// Does what may need WAMR. Starting that on the first thread touches the whole stack.
fn on_thread_for_wamr(work: impl FnOnce() -> ExitCode + Send) -> ExitCode {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("machine".into()).stack_size(Runtime::STACK);
        let joined = thread.spawn_scoped(scope, work).map(std::thread::ScopedJoinHandle::join);
        joined.ok().and_then(std::result::Result::ok).unwrap_or(ExitCode::from(exit::FAILED))
    })
}

/// What the guest's program is to be connected to, if that was said.
fn mode(args: &ConsoleArgs) -> Option<Mode> {
    match (args.tty, args.no_tty) {
        (true, _) => Some(Mode::Tty),
        (_, true) => Some(Mode::Streams),
        _ => None,
    }
}

/// Says the figures of a run, if that was asked for.
fn say_stats(shell: &Shell, console: &ConsoleArgs, report: &Report) {
    if console.stats {
        wording::stats(report).iter().for_each(|line| shell.say(line));
    }
}
