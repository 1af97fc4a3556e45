//! From the runtime's arguments to the status of the guest's program.

use super::error::Failure;
use super::guest::Guest;
use super::host::Input;
use super::packed;
use crate::config::{Config, SEED_LENGTH};
use crate::entropy::WasiEntropy;
use crate::folder::preopened;
use crate::make;
use crate::sink::Output;
use devices::console::Port;
use devices::p9::RelativePath;
use emu::machine::{Machine, Stop};
use protocol::{ANSWER, Bind, Info, Mode, Request, Said};
use rand_core::Rng;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Instructions between two looks at standard input.
const SLICE: u64 = 2_000_000;

/// Runs the machine to its end: the status of the guest's program.
pub fn run() -> Result<i32, Failure> {
    let config = configure()?;
    let output = Output::default();
    // SAFETY: this is the only machine: a runtime calls `_start` once, and then nothing else.
    let machine = unsafe { make::boot(config, &output) }?;
    Attended { machine, output, guest: Guest::default(), input: Input::default(), is_started: false, is_closed: false }.run()
}

/// What the payload and the runtime decide.
fn configure() -> Result<Config, Failure> {
    let mut seed = [0; SEED_LENGTH];
    WasiEntropy.fill_bytes(&mut seed);
    let binds = preopened();
    let info = Info {
        command: std::env::args_os().skip(1).map(text).collect(),
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
    output: Output,
    guest: Guest,
    input: Input,
    /// Init was told to start the program.
    is_started: bool,
    /// The program was told that its input has ended.
    is_closed: bool,
}

impl Attended {
    fn run(mut self) -> Result<i32, Failure> {
        loop {
            let stop = self.machine.run(self.machine.count().saturating_add(SLICE))?;
            let said = self.guest.hear(&self.output).map_err(|source| Failure::Host { doing: "write the program's output", source })?;
            match said {
                Some(Said::Exit(status)) => return Ok(status.into()),
                Some(Said::Failed(reason)) => return Err(Failure::Guest { reason }),
                Some(Said::Resumed) | None => {}
            }
            match stop {
                Stop::Due => self.wait(Some(Duration::ZERO))?,
                Stop::Halted { deadline } => self.halted(deadline)?,
                Stop::HaltedForGood => return Err(self.ended("the guest has halted for good")),
                Stop::Reset => return Err(self.ended("the guest has reset the machine")),
                Stop::PowerOff { status } => return Ok((status & 0xff) as i32),
            }
            if self.is_started {
                self.feed();
            }
        }
    }

    /// The guest waits: for the answer to the barrier, for input, or for a timer.
    fn halted(&mut self, deadline: Option<u64>) -> Result<(), Failure> {
        if !self.is_started && self.guest.at_barrier() {
            let start = Request::Start { mode: Mode::Streams, term: None, time: Some(nanoseconds(since_1970())) };
            self.machine.push_input(Port::Control, start.to_string().as_bytes());
            self.machine.push_input(Port::Tty, ANSWER);
            self.is_started = true;
            return Ok(());
        }
        let now = self.machine.now();
        if deadline.is_none() && !self.may_be_fed() {
            return Err(self.ended("the guest waits for something that never comes"));
        }
        self.wait(deadline.map(|tick| Duration::from_nanos(tick.saturating_sub(now))))
    }

    /// Whether there is anything left for the program to read, be it the end.
    fn may_be_fed(&self) -> bool {
        self.is_started && !self.is_closed
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), Failure> {
        // Nothing is to be waited for: the guest is busy with what it has.
        if !self.input.wants_more() && timeout.is_none_or(|timeout| timeout.is_zero()) {
            return Ok(());
        }
        self.input.wait(timeout).map_err(|source: io::Error| Failure::Host { doing: "read standard input", source })
    }

    /// Gives the program what there is of its input, and then the end.
    fn feed(&mut self) {
        if !self.input.available().is_empty() {
            let taken = self.machine.push_input(Port::Stdin, self.input.available());
            self.input.consume(taken);
        }
        if self.input.is_over() && !self.is_closed {
            self.machine.close_input(Port::Stdin);
            self.is_closed = true;
        }
    }

    fn ended(&self, how: &'static str) -> Failure {
        Failure::Ended { how, output: self.guest.last_words() }
    }
}
