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
pub mod trust;
pub mod unpack;

use crate::backend::ram::{MappedRam, pages_loaded};
use crate::cli::{ClockArg, ColdArgs, ConsoleArgs, ReportArgs, ShareArg};
use crate::engine::Engine;
use crate::engine::file::MachineFile;
use crate::error::{Error, Result, exit};
use crate::file;
use crate::program::ProgramArgs;
use crate::progress::say;
use crate::report::{Report, millis_between};
use crate::terminal;
use crate::vm::attended::{Attended, Ending};
use crate::vm::outlet::{HostStream, Outlet, Routes};
use crate::vm::parts::{Parts, Randomness, Seed};
use emu::bus::Ram;
use emu::machine::{Config, Machine, check_ram_size};
use protocol::Mode;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
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
struct Made<'a> {
    outlet: &'a Outlet,
    clock: ClockArg,
    randomness: Randomness,
    seed: Option<Seed>,
    shares: &'a [ShareArg],
    program: &'a ProgramArgs,
}

/// A machine's file, booted: its module if it is to run `in_module`, else what it carries. `parts` get its disks.
fn boot_file(machine: &MachineFile, in_module: bool, parts: &mut Parts, made: &Made<'_>) -> Result<Box<dyn Engine>> {
    let Made { outlet, clock, randomness, seed, shares, program } = *made;
    if in_module {
        parts.require_no_disks()?;
        parts.put_first(machine.disks(), Vec::new());
        let config = machine.config(clock, randomness, seed, shares, program);
        return Ok(Box::new(machine.load(shares, program, None)?.boot(&config, outlet.clone())?));
    }
    parts.put_first(machine.disks(), machine.open_disks(None)?);
    Ok(Box::new(machine.boot_natively(parts.take_config(outlet, clock, randomness, seed)?)?))
}

/// Does what may need WAMR. Starting that touches the whole stack of its thread.
fn on_thread_for_wamr(work: impl FnOnce() -> ExitCode + Send) -> ExitCode {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("machine".into()).stack_size(Runtime::STACK);
        let joined = thread.spawn_scoped(scope, work).map(std::thread::ScopedJoinHandle::join);
        joined.ok().and_then(std::result::Result::ok).unwrap_or(ExitCode::from(exit::FAILED))
    })
}

/// What the guest's program is connected to: what was asked for, or what standard input is.
fn mode(args: &ConsoleArgs) -> Mode {
    match (args.tty, args.no_tty) {
        (true, _) => Mode::Tty,
        (_, true) => Mode::Streams,
        _ if terminal::on_stdin() => Mode::Tty,
        _ => Mode::Streams,
    }
}

/// Where the output of an attended guest goes. What is not its program's is no part of the program's output.
fn routes(mode: Mode) -> Routes {
    let tty = match mode {
        Mode::Tty => HostStream::Stdout,
        Mode::Streams => HostStream::Stderr,
    };
    Routes { tty, stdout: HostStream::Stdout, stderr: HostStream::Stderr, serial: HostStream::Stderr }
}

/// Runs an attended guest to its end, takes the figures and says them if that was asked for.
fn attend<F: AsFd>(
    attended: &mut Attended<F>,
    outlet: &Outlet,
    (console, reporting): (&ConsoleArgs, &ReportArgs),
    report: &mut Report,
    start: Instant,
) -> Result<u8> {
    let ending = attended.run();
    let drive = attended.drive();
    if console.stats || reporting.json.is_some() {
        report.take(drive);
        report.pages_loaded = pages_loaded(drive.machine().memory().bytes);
        report.first_output_ms = outlet.look().first_output().map(|first| millis_between(start, first));
    }
    if drive.machine().disk_was_full() {
        say("prebake: the guest's writes to a disk failed: there is no room left for changed blocks");
    }
    if console.stats {
        report.stats().iter().for_each(|line| say(format_args!("prebake: {line}")));
    }
    Ok(match ending? {
        Ending::Exited(status) => status,
        Ending::Left => 0,
        Ending::Signalled(signal) => return Err(Error::Interrupted { signal }),
        Ending::BrokenPipe => exit::of_signal(signal_hook::consts::SIGPIPE),
    })
}
