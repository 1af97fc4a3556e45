//! From the runtime's arguments to the status of the guest's program.

use super::arguments;
use super::error::Failure;
use super::host::Stdin;
use super::packed;
use crate::config::{Config, SEED_LENGTH};
use crate::entropy::WasiEntropy;
use crate::folder::preopened;
use crate::make;
use crate::sink::Output as Records;
use attend::{Action, Attendant, Begin, Clock, Ending, Event, Output, PortStatus, Routes, Settings, Source, Status, Stream, Transcript};
use devices::console::Port;
use devices::p9::RelativePath;
use emu::machine::Machine;
use protocol::{Bind, Info, Mode};
use rand_core::Rng;
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Counts between two looks at standard input.
const SLICE: u64 = 2_000_000;

/// Runs the machine to its end: the status of the guest's program.
pub fn run() -> Result<i32, Failure> {
    let config = configure()?;
    let records = Records::default();
    // SAFETY: this is the only machine: a runtime calls `_start` once, and then nothing else.
    let machine = unsafe { make::boot(config, &records) }?;
    Attended::new(machine, records).run()
}

/// What the payload and the runtime decide.
fn configure() -> Result<Config, Failure> {
    let mut seed = [0; SEED_LENGTH];
    WasiEntropy.fill_bytes(&mut seed);
    let binds = preopened();
    let info = Info {
        command: arguments::command(std::env::args_os().map(text))?,
        environment: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
        time: Some(since_1970().as_secs()),
        binds: binds.iter().map(|folder| Bind { path: text_of(&folder.path), read_only: false }).collect(),
        ..Info::default()
    };
    Ok(Config {
        host_clock: true,
        host_entropy: true,
        epoch: nanoseconds(since_1970()),
        seed: Some(seed),
        info: info.to_string().into_bytes(),
        binds,
        ..packed::config()?
    })
}

/// A path as init wants it.
fn text_of(path: &RelativePath) -> String {
    let names = path.components().iter().map(|name| String::from_utf8_lossy(name.as_bytes()));
    names.collect::<Vec<_>>().join("/")
}

/// WASI's text is UTF-8.
fn text(text: std::ffi::OsString) -> String {
    text.to_string_lossy().into_owned()
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The machine and what passes between it and the runtime.
struct Attended {
    machine: Machine,
    records: Records,
    output: Output,
    stdin: Stdin,
    attendant: Attendant,
}

impl Attended {
    fn new(mut machine: Machine, records: Records) -> Self {
        let settings = Settings {
            clock: Clock::Host,
            mode: Mode::Streams,
            source: Source::Pipe,
            escape_keys: false,
            term: None,
            window: None,
            can_save: false,
            visit: false,
            slice: SLICE,
            limit: None,
        };
        let attendant = Attendant::new(settings, Begin::PowerOn, status(&mut machine));
        Self { machine, records, output: Output::new(Routes::program(), true, Transcript::default()), stdin: Stdin::default(), attendant }
    }

    fn run(mut self) -> Result<i32, Failure> {
        loop {
            match self.attendant.next(&mut self.output) {
                Action::Run { until } => {
                    let stop = self.machine.run(until)?;
                    self.show().map_err(|source| Failure::Host { doing: "write the program's output", source })?;
                    let status = status(&mut self.machine);
                    self.attendant.handle(Event::Stopped { stop, status });
                    self.wait(Some(Duration::ZERO))?;
                }
                Action::Wait { until } => {
                    let now = self.machine.now();
                    self.wait(until.map(|tick| Duration::from_nanos(tick.saturating_sub(now))))?;
                }
                Action::Push { port, bytes } => {
                    self.machine.push_input(port, &bytes);
                }
                Action::Close(port) => self.machine.close_input(port),
                Action::End(Ok(Ending::Exited(status))) => return Ok(status.into()),
                Action::End(Ok(Ending::Left | Ending::Signalled(_) | Ending::BrokenPipe)) => return Ok(0),
                Action::End(Err(failure)) => return Err(failure.into()),
                // There is no terminal, no virtual clock, nothing is saved, and nobody starts other programs.
                Action::Show { .. } | Action::Resize(_) | Action::SkipTo(_) => {}
                Action::Save { .. } | Action::Decline(_) | Action::Notify(_) | Action::Exec(_) => {}
            }
        }
    }

    /// Shows the program's output. Without a buffer: it is seen as soon as it is there.
    fn show(&mut self) -> io::Result<()> {
        let records = self.records.take();
        let mut rest = records.as_slice();
        while let Some((&[number, a, b, c, d], tail)) = rest.split_first_chunk() {
            let (bytes, tail) = tail.split_at((u32::from_le_bytes([a, b, c, d]) as usize).min(tail.len()));
            rest = tail;
            let shown = match Port::ALL.get(usize::from(number)) {
                Some(&port) => self.output.console(port, bytes),
                None => self.output.serial(bytes),
            };
            match shown {
                Some((Stream::Stdout, bytes)) => io::stdout().write_all(&bytes).and_then(|()| io::stdout().flush())?,
                Some((Stream::Stderr, bytes)) => io::stderr().write_all(&bytes)?,
                None => {}
            }
        }
        Ok(())
    }

    /// Waits for input, or until the time is over, and passes the input on.
    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), Failure> {
        let wanted = self.attendant.wants_input() && !self.stdin.has_ended();
        // Nothing is to be waited for: the guest is busy with what it has.
        if !wanted && timeout.is_none_or(|timeout| timeout.is_zero()) {
            return Ok(());
        }
        let read = self.stdin.wait(wanted, timeout).map_err(|source| Failure::Host { doing: "read standard input", source })?;
        match read {
            Some(bytes) => self.attendant.handle(Event::Input(&bytes)),
            None if self.stdin.has_ended() => self.attendant.handle(Event::EndOfInput),
            None => {}
        }
        Ok(())
    }
}

/// How the machine stands.
fn status(machine: &mut Machine) -> Status {
    Status::new(machine.count(), machine.now(), nanoseconds(since_1970()), |port| PortStatus {
        ready: machine.wants_input(port),
        pending: machine.input_pending(port),
    })
}
