//! Process 1 of the machine. It makes the machine ready, waits at the barrier where the snapshot is taken, starts the program as the host
//! says, and ends the machine with the program's status. PROTOCOL.md says what passes between it and the host.

mod again;
mod barrier;
mod container;
mod control;
mod copier;
mod entropy;
mod error;
mod exec;
mod image;
mod info;
mod mounts;
mod network;
mod ports;
mod sys;
mod terminal;
mod text;
mod upper;

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use protocol::{INFO_FILE, RESERVED_TAG, SEED_FILE};
use rustix::system::RebootCommand;
use rustix::time::{ClockId, Timespec, clock_settime};

use container::{Container, Order, Running};
use control::{HostMessage, Lines, Options, Start, Streams};
use error::{Context, Error, Result};
use image::ProgramDefaults;
use ports::Ports;
use terminal::Terminal;

/// `TERM` where the host does not say.
pub const TERMINAL_NAME: &str = "xterm";
/// Where the image's description is.
const IMAGE: &str = "/image";
/// The network interface of the machine with itself. The container shares it: there is nothing else on the network to be kept apart from.
const LOOPBACK: &str = "lo";
/// Nanoseconds in one.
const SECOND: u64 = 1_000_000_000;

/// Timers that would wake an idle machine; the last is the writing back of dirty pages, which the end of the machine does anyway.
const QUIET: [(&str, &str); 3] =
    [("vm/compaction_proactiveness", "0"), ("vm/stat_interval", "1000"), ("vm/dirty_writeback_centisecs", "0")];

fn main() -> ExitCode {
    if !rustix::process::getpid().is_init() {
        if let Some(status) = copier::run(std::env::args_os()) {
            return status;
        }
        eprintln!("init: this is process 1 of a prebake machine and runs nowhere else");
        return ExitCode::from(2);
    }
    let mut control = None;
    let last_line = match live(&mut control) {
        Ok(status) => format!("exit {status}"),
        Err(error) => {
            control = control.or_else(|| Ports::open().ok()?.control);
            // A host that listens shows it to the user, who need not see it twice.
            if control.is_none() {
                eprintln!("init: {error}");
            }
            control::failed_line(&error)
        }
    };
    if let Some(port) = &mut control {
        // A host that is not listening any more sees the machine halt.
        let _ = writeln!(port, "{last_line}");
    }
    power_off()
}

/// The machine's life up to the program's end; the program's status. Leaves the control port in `control` as soon as it is open.
fn live(control: &mut Option<File>) -> Result<u8> {
    let again = again::order()?;
    let is_first = again.is_none();
    if is_first {
        mounts::set_up()?;
        for (name, value) in QUIET {
            // A kernel without this timer is quiet already.
            let _ = fs::write(format!("/proc/sys/{name}"), value);
        }
        sys::bring_up(LOOPBACK).context("bring up", LOOPBACK)?;
    }
    // The container has none of what is opened and mounted from here on.
    let container = Container::prepare(ProgramDefaults::read(Path::new(IMAGE))?, is_first)?;
    let mut ports = Ports::open()?;
    *control = ports.control.take();
    let from_host = mounts::host_share(RESERVED_TAG)?;
    let terminal = Terminal::open()?;
    if control.is_none() && from_host.is_none() {
        return run(container, terminal, ports, Start::on_terminal(), Vec::new())?.finish();
    }

    // Nothing below may draw random numbers before the generator has its new key.
    let seed = from_host.as_ref().map(|folder| folder.join(SEED_FILE));
    if is_first {
        terminal.make_raw()?;
        barrier::pass(&mut terminal.handle()?)?;
    }
    let mut requests = control.as_ref().map(duplicate).transpose()?.map(Lines::new);
    let start = match (again, &mut requests) {
        (Some(start), _) => start,
        (None, Some(lines)) => first_request(lines)?,
        (None, None) => Start::on_terminal(),
    };
    if is_first {
        become_unique(seed.as_deref(), start.options.time)?;
    }
    let info = from_host.as_ref().map_or(Ok(Vec::new()), |folder| read_if_there(&folder.join(INFO_FILE)))?;
    let (listener, next) = again::both_ends(start.options.waits, terminal.settings());
    let mut program = run(container, terminal, ports, start, info)?;
    let (Some(lines), Some(port)) = (requests, control) else { return program.finish() };
    port.write_all(b"offers exec\nstarted\n").context("write to", "the control port")?;
    let listener = Arc::new(listener);
    let (on_resume, resume_port, resume_seed) = (listener.clone(), duplicate(port)?, seed.clone());
    let resumed = move |options: Options| {
        on_resume.set_wanted(options.waits);
        resume(&resume_port, resume_seed.as_deref(), options.time);
    };
    program.obey(duplicate(port)?, lines, resumed, move |line| listener.order(line))?;
    let status = program.finish()?;
    if !next.is_wanted() {
        return Ok(status);
    }
    let order = next.wait(port, status)?;
    become_unique(seed.as_deref(), order.start.options.time)?;
    from_host.map_or(Ok(()), |folder| mounts::leave_host_share(&folder))?;
    Err(order.obey())
}

fn duplicate(port: &File) -> Result<File> {
    port.try_clone().context("duplicate", "the control port")
}

/// Has the container's program started. The terminal is the program's alone from then on, so that its last close, at the program's end, waits
/// for the output.
fn run(container: Container, terminal: Terminal, ports: Ports, start: Start, info: Vec<u8>) -> Result<Running> {
    let clock_is_set = start.options.time.is_some();
    match start.on {
        Streams::Terminal { name } => {
            terminal.make_sane()?;
            let terminal = Some(name.unwrap_or_else(|| TERMINAL_NAME.to_owned()));
            container.start(&Order { terminal, clock_is_set, info }, None)
        }
        Streams::Ports => container.start(&Order { terminal: None, clock_is_set, info }, Some(ports.into_streams()?)),
    }
}

/// What is in a file; nothing if it is not there.
fn read_if_there(file: &Path) -> Result<Vec<u8>> {
    match fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        content => content.context("read", file.display().to_string()),
    }
}

/// Makes a machine that was just restored differ from every other of its snapshot: a new key for the random generator, the present time.
fn become_unique(seed: Option<&Path>, time: Option<u64>) -> Result<()> {
    if let Some(file) = seed {
        entropy::rekey_from(file)?;
    }
    time.map_or(Ok(()), set_clock)
}

/// The machine was restored while the program runs, and the host holds the program's input back until it hears that all is well.
fn resume(mut control: &File, seed: Option<&Path>, time: Option<u64>) {
    match become_unique(seed, time) {
        Ok(()) => {
            // A host that is not listening gives the program no input.
            let _ = control.write_all(b"offers exec\nresumed\n");
        }
        Err(error) => {
            let _ = writeln!(control, "{}", control::failed_line(&error));
            power_off()
        }
    }
}

fn first_request(lines: &mut Lines<File>) -> Result<Start> {
    let line = lines.next_line().context("read", "the control port")?.ok_or(Error::NoStart)?;
    match HostMessage::parse(line) {
        Some(HostMessage::Start(start)) => Ok(start),
        _ => Err(Error::NotAStart(line.to_owned())),
    }
}

fn set_clock(nanoseconds: u64) -> Result<()> {
    // Both parts fit: 2^64 ns are 585 years.
    let time = Timespec { tv_sec: (nanoseconds / SECOND) as i64, tv_nsec: (nanoseconds % SECOND) as i64 };
    clock_settime(ClockId::Realtime, time).context("set", "the clock")
}

fn power_off() -> ! {
    rustix::fs::sync();
    // The kernel's last message must not get into the terminal's output.
    let _ = fs::write("/proc/sys/kernel/printk", "0");
    let _ = rustix::system::reboot(RebootCommand::PowerOff);
    // Not reached: without a way to switch the power off the kernel halts. If ever it were, process 1 must not return.
    loop {
        std::thread::park();
    }
}
