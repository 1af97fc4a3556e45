//! The verbs, one to a file.

pub mod aot;
pub mod bake;
pub mod boot;
pub mod convert;
pub mod diff;
pub mod images;
pub mod inspect;
pub mod key;
pub mod prune;
mod publish;
pub mod pull;
pub mod push;
pub mod run;
pub mod sessions;
pub mod trust;
pub mod unpack;

use crate::backend::ram::MappedRam;
use crate::cli::{ClockArg, ColdArgs, ConsoleArgs, ReportArgs, ShareArg};
use crate::engine::file::MachineFile;
use crate::engine::{DebugAid, Engine, native};
use crate::error::{Result, exit};
use crate::file;
use crate::program::ProgramArgs;
use crate::progress::say;
use crate::report::Report;
use crate::vm::outlet::Outlet;
use crate::vm::parts::{Parts, Randomness, Seed};
use emu::bus::Ram;
use emu::machine::{Config, Machine, check_ram_size};
use protocol::Mode;
use std::path::Path;
use std::process::ExitCode;
use wamr::Runtime;

/// Ends a verb that has no report: tells the user what went wrong.
fn end(name: &str, result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("prebake {name}: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

/// Ends a verb that has a report: writes it, and tells the user what went wrong.
fn finish(name: &str, args: &ReportArgs, mut report: Report, result: Result<u8>) -> ExitCode {
    match result {
        Ok(code) => report.exit_code = code,
        Err(error) => {
            say(format_args!("prebake {name}: {error}"));
            report.fail(&error);
        }
    }
    if let Some(path) = &args.json
        && let Err(error) = report.write(path)
    {
        say(format_args!("prebake {name}: {error}"));
        // What the guest said goes before what prebake could not say.
        if report.exit_code == 0 {
            report.exit_code = error.exit_code();
        }
    }
    ExitCode::from(report.exit_code)
}

/// A machine with this kernel loaded.
fn cold_machine(kernel: &Path, args: &ColdArgs, config: Config) -> Result<Machine> {
    let ram_size = u64::from(args.memory) << 20;
    check_ram_size(ram_size)?;
    let kernel = file::read("kernel", kernel)?;
    let initrd = args.initrd.as_ref().map(|path| file::read("initial file system", path)).transpose()?;
    let ram = Ram::new(Box::new(MappedRam::zeroed(ram_size)?));
    Ok(Machine::boot(config, ram, &kernel, initrd.as_deref(), &args.append)?)
}

/// How a machine is made.
pub(crate) struct Made<'a> {
    pub outlet: &'a Outlet,
    pub clock: ClockArg,
    pub randomness: Randomness,
    pub seed: Option<Seed>,
    pub shares: &'a [ShareArg],
    pub program: &'a ProgramArgs,
    pub aid: Option<&'a DebugAid>,
}

/// A machine's file, booted: its module if it is to run `in_module`, else what it carries. `parts` get its disks.
pub(crate) fn boot_file(machine: &MachineFile, in_module: bool, parts: &mut Parts, made: &Made<'_>) -> Result<Box<dyn Engine>> {
    let Made { outlet, clock, randomness, seed, shares, program, aid } = *made;
    if in_module {
        parts.require_no_disks()?;
        parts.put_first(machine.disks(), Vec::new());
        let config = machine.config(clock, randomness, seed, shares, program);
        return Ok(Box::new(machine.load(shares, program, None)?.boot(&config, outlet.clone())?));
    }
    parts.put_first(machine.disks(), machine.open_disks(None)?);
    native(machine.boot_natively(parts.take_config(outlet, clock, randomness, seed)?)?, aid)
}

/// Does what may need WAMR. Starting that touches the whole stack of its thread.
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
fn say_stats(console: &ConsoleArgs, report: &Report) {
    if console.stats {
        report.stats().iter().for_each(|line| say(format_args!("prebake: {line}")));
    }
}
