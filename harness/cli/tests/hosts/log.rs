//! Everything that a machine is told and everything that it says: enough to do it again. The example `replay` has this file too.
#![allow(dead_code, reason = "each program uses its part")]

use devices::console::{ConsoleSink, Port};
use devices::net::Pushed;
use devices::serial::SerialSink;
use emu::machine::{Halt, Settle, Stop, Thresholds};
use net::Frame;
use prebake::machine::Engine;
use protocol::{ANSWER, AfterExit, HostMessage, Mode};
use std::cell::{Ref, RefCell};
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

/// Number of the serial port in the Machine ABI.
const SERIAL: usize = 0xff;

/// What the guest wrote, by port.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct GuestOutput {
    pub ports: [Vec<u8>; Port::ALL.len()],
    pub serial: Vec<u8>,
}

impl GuestOutput {
    /// All that was written, by the number of its port in the Machine ABI.
    pub fn streams(&self) -> impl Iterator<Item = (usize, &Vec<u8>)> {
        self.ports.iter().enumerate().chain([(SERIAL, &self.serial)])
    }

    /// The same, to be filled.
    pub fn streams_mut(&mut self) -> impl Iterator<Item = (usize, &mut Vec<u8>)> {
        self.ports.iter_mut().enumerate().chain([(SERIAL, &mut self.serial)])
    }

    pub fn on(&self, port: Port) -> &str {
        str::from_utf8(&self.ports[port.index()]).unwrap()
    }

    /// What was written after `before`.
    pub fn since(&self, before: &Self) -> Self {
        let mut rest = self.clone();
        rest.streams_mut().zip(before.streams()).for_each(|((_, bytes), (_, before))| drop(bytes.drain(..before.len())));
        rest
    }

    /// The first lines on which this and another differ, as far as both go.
    pub fn difference(&self, other: &Self) -> String {
        let streams = |said: &Self| said.streams().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect::<Vec<_>>();
        let (these, others) = (streams(self), streams(other));
        let lines = these.iter().zip(&others).flat_map(|(this, other)| this.lines().zip(other.lines()));
        let differing = lines.filter(|(this, other)| this != other).take(20);
        differing.map(|(this, other)| format!("{this:?} instead of {other:?}\n")).collect()
    }
}

/// Listens to a machine.
#[derive(Debug, Default, Clone)]
pub struct Listener(Rc<RefCell<GuestOutput>>);

impl Listener {
    pub fn said(&self) -> Ref<'_, GuestOutput> {
        self.0.borrow()
    }
}

impl ConsoleSink for Listener {
    fn write(&mut self, port: Port, bytes: &[u8]) {
        self.0.borrow_mut().ports[port.index()].extend(bytes);
    }
}

impl SerialSink for Listener {
    fn write(&mut self, byte: u8) {
        self.0.borrow_mut().serial.push(byte);
    }
}

/// A call to a machine, and for a run how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Until something stops the machine; up to `count`, if that is what stopped it.
    Run {
        stop: Stop,
        count: u64,
    },
    SkipTo(u64),
    Push(Port, Vec<u8>),
    /// A frame for the guest, which needs nothing done to it.
    Frame(Vec<u8>),
    /// The frames that the guest has sent since the last look at them, one behind the other.
    Sent(Vec<u8>),
}

/// As a line for other programs: `run REASON DETAIL COUNT` with what `pb_run` and `pb_detail` give, `skip TICK`, `push PORT HEX`, `frame HEX`,
/// `sent HEX`.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { stop, count } => {
                let (reason, detail) = match *stop {
                    Stop::Due => (0, -1),
                    Stop::Halted { deadline } => (1, deadline.map_or(-1, u64::cast_signed)),
                    Stop::HaltedForGood => (2, -1),
                    Stop::PowerOff { status } => (3, status.into()),
                    Stop::Reset => (4, -1),
                };
                write!(f, "run {reason} {detail} {count}")
            }
            Self::SkipTo(tick) => write!(f, "skip {tick}"),
            Self::Push(port, bytes) => {
                write!(f, "push {} ", port.index())?;
                write_hex(f, bytes)
            }
            Self::Frame(bytes) => {
                f.write_str("frame ")?;
                write_hex(f, bytes)
            }
            Self::Sent(bytes) => {
                f.write_str("sent ")?;
                write_hex(f, bytes)
            }
        }
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn read_hex(hex: &str) -> Option<Vec<u8>> {
    let byte = |at: usize| hex.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    (0..hex.len()).step_by(2).map(byte).collect()
}

impl FromStr for Call {
    type Err = String;

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<_> = line.split(' ').collect();
        let call = match words.as_slice() {
            ["run", reason, detail, count] => {
                let detail = detail.parse::<i64>().ok().and_then(|detail| u64::try_from(detail).ok());
                let stop = match (*reason, detail) {
                    ("0", _) => Some(Stop::Due),
                    ("1", deadline) => Some(Stop::Halted { deadline }),
                    ("2", _) => Some(Stop::HaltedForGood),
                    ("3", Some(status)) => Some(Stop::PowerOff { status: status as u32 }),
                    ("4", _) => Some(Stop::Reset),
                    _ => None,
                };
                stop.zip(count.parse().ok()).map(|(stop, count)| Self::Run { stop, count })
            }
            ["skip", tick] => tick.parse().ok().map(Self::SkipTo),
            ["push", port, hex] => {
                let port = port.parse().ok().and_then(|port: usize| Port::ALL.get(port).copied());
                port.zip(read_hex(hex)).map(|(port, bytes)| Self::Push(port, bytes))
            }
            ["frame", hex] => read_hex(hex).map(Self::Frame),
            ["sent", hex] => read_hex(hex).map(Self::Sent),
            _ => None,
        };
        call.ok_or_else(|| format!("`{line}` is no call"))
    }
}

/// Drives a machine by rules that look at nothing but the guest, and remembers the calls.
pub struct Recording<'a> {
    engine: &'a mut dyn Engine,
    listener: &'a Listener,
    calls: Vec<Call>,
}

impl<'a> Recording<'a> {
    pub fn new(engine: &'a mut dyn Engine, listener: &'a Listener) -> Self {
        Self { engine, listener, calls: Vec::new() }
    }

    /// From power-on to where init waits for the host, until all has settled there.
    pub fn boot(mut self) -> Vec<Call> {
        let (mut settle, mut before) = (Settle::new(Thresholds::default()), self.engine.stats());
        loop {
            let stop = self.run();
            let stats = self.engine.stats();
            let halt = Halt {
                now: self.engine.now(),
                timer: matches!(stop, Stop::Halted { deadline: Some(_) }),
                instructions: stats.retired - before.retired,
                device_work: stats.device_work - before.device_work,
            };
            before = stats;
            let settled = settle.halted(halt).is_some();
            if settled && self.listener.said().on(Port::Tty).ends_with("==========") {
                return self.calls;
            }
            self.skip(stop);
        }
    }

    /// From the barrier to the end of a shell that reads these lines.
    pub fn script(self, lines: &[&str]) -> Vec<Call> {
        self.conversation(lines, &[])
    }

    /// The same, and the guest gets a frame whenever it is idle between the last line but one and the last.
    pub fn conversation(mut self, lines: &[&str], frames: &[Vec<u8>]) -> Vec<Call> {
        let start = HostMessage::Start { mode: Mode::Streams, term: None, time: None, after_exit: AfterExit::Halt };
        self.push(Port::Control, start.to_string().as_bytes());
        self.push(Port::Tty, ANSWER);
        let (mut lines, mut frames) = (lines.iter(), frames.iter());
        loop {
            let stop = self.run();
            if stop == Stop::HaltedForGood {
                return self.calls;
            }
            let ready = self.engine.wants_input(Port::Stdin) && self.engine.input_pending(Port::Control) == 0;
            if ready
                && lines.len() == 1
                && let Some(frame) = frames.next()
            {
                self.push_frame(frame);
                continue;
            }
            match if ready { lines.next() } else { None } {
                Some(line) => self.push(Port::Stdin, line.as_bytes()),
                None => self.skip(stop),
            }
        }
    }

    fn push_frame(&mut self, frame: &[u8]) {
        assert_eq!(self.engine.push_frame(&Frame::whole(frame.to_vec())), Pushed::Delivered);
        self.calls.push(Call::Frame(frame.to_vec()));
    }

    fn run(&mut self) -> Stop {
        let stop = self.engine.run(u64::MAX).unwrap();
        self.calls.push(Call::Run { stop, count: self.engine.count() });
        let sent = frames(self.engine);
        if !sent.is_empty() {
            self.calls.push(Call::Sent(sent));
        }
        stop
    }

    fn skip(&mut self, stop: Stop) {
        let Stop::Halted { deadline: Some(tick) } = stop else { panic!("{stop:?}: {}", self.listener.said().on(Port::Tty)) };
        self.engine.skip_to(tick);
        self.calls.push(Call::SkipTo(tick));
    }

    fn push(&mut self, port: Port, bytes: &[u8]) {
        assert_eq!(self.engine.push_input(port, bytes), bytes.len());
        self.calls.push(Call::Push(port, bytes.to_vec()));
    }
}

/// The frames that the guest has sent.
fn frames(engine: &mut dyn Engine) -> Vec<u8> {
    engine.take_frames().into_iter().flat_map(|frame| frame.bytes).collect()
}

/// Does one call again. It must end as it did.
pub fn replay(engine: &mut dyn Engine, call: &Call) -> Result<(), String> {
    let done = match call {
        Call::Run { stop, count } => {
            let until = if *stop == Stop::Due { *count } else { u64::MAX };
            Call::Run { stop: engine.run(until).map_err(|error| error.to_string())?, count: engine.count() }
        }
        Call::SkipTo(tick) => {
            engine.skip_to(*tick);
            call.clone()
        }
        Call::Push(port, bytes) => Call::Push(*port, bytes[..engine.push_input(*port, bytes)].to_vec()),
        Call::Frame(bytes) => match engine.push_frame(&Frame::whole(bytes.clone())) {
            Pushed::Delivered => call.clone(),
            other => return Err(format!("the guest did not take a frame: {other:?}")),
        },
        Call::Sent(_) => Call::Sent(frames(engine)),
    };
    if done == *call { Ok(()) } else { Err(format!("`{done}` instead of `{call}`")) }
}
