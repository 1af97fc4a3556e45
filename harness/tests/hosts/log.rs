//! Everything that a machine is told and everything that it says: enough to do it again.

use crate::common::text;
use devices::console::{ConsoleSink, Port};
use devices::serial::SerialSink;
use emu::machine::Stop;
use harness::engine::Engine;
use protocol::{ANSWER, Mode, Request};
use std::cell::{Ref, RefCell};
use std::rc::Rc;

/// What the guest wrote, by port.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Said {
    pub ports: [Vec<u8>; Port::ALL.len()],
    pub serial: Vec<u8>,
}

impl Said {
    pub fn on(&self, port: Port) -> &str {
        str::from_utf8(&self.ports[port.index()]).unwrap()
    }

    /// The first lines on which this and another differ, as far as both go.
    pub fn difference(&self, other: &Self) -> String {
        let streams = |said: &Self| said.ports.iter().chain([&said.serial]).map(|bytes| text(bytes)).collect::<Vec<_>>();
        let (these, others) = (streams(self), streams(other));
        let lines = these.iter().zip(&others).flat_map(|(this, other)| this.lines().zip(other.lines()));
        let differing = lines.filter(|(this, other)| this != other).take(20);
        differing.map(|(this, other)| format!("{this:?} instead of {other:?}\n")).collect()
    }
}

/// Listens to a machine.
#[derive(Debug, Default, Clone)]
pub struct Listener(Rc<RefCell<Said>>);

impl Listener {
    pub fn said(&self) -> Ref<'_, Said> {
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
    /// Until something stops the machine.
    Run {
        stop: Stop,
        count: u64,
    },
    SkipTo(u64),
    Push(Port, Vec<u8>),
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

    /// From power-on to where init waits for the host.
    pub fn boot(mut self) -> Vec<Call> {
        loop {
            let stop = self.run();
            if self.listener.said().on(Port::Tty).ends_with("==========") {
                return self.calls;
            }
            self.skip(stop);
        }
    }

    /// From the barrier to the end of a shell that reads these lines.
    pub fn script(mut self, lines: &[&str]) -> Vec<Call> {
        let start = Request::Start { mode: Mode::Streams, term: None, time: None };
        self.push(Port::Control, start.to_string().as_bytes());
        self.push(Port::Tty, ANSWER);
        let mut lines = lines.iter();
        loop {
            let stop = self.run();
            if stop == Stop::HaltedForGood {
                return self.calls;
            }
            let ready = self.engine.wants_input(Port::Stdin) && self.engine.input_pending(Port::Control) == 0;
            match lines.next().filter(|_| ready) {
                Some(line) => self.push(Port::Stdin, line.as_bytes()),
                None => self.skip(stop),
            }
        }
    }

    fn run(&mut self) -> Stop {
        let stop = self.engine.run(u64::MAX).unwrap();
        self.calls.push(Call::Run { stop, count: self.engine.count() });
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

/// Does one call again. It must end as it did; `wanted` is what the guest said then.
pub fn replay(engine: &mut dyn Engine, call: &Call, listener: &Listener, wanted: &Said) {
    match call {
        Call::Run { stop, count } => {
            let found = (engine.run(u64::MAX).unwrap(), engine.count());
            let difference = || listener.said().difference(wanted);
            assert!(found == (*stop, *count), "{found:?} instead of {call:?}; the guest said\n{}", difference());
        }
        Call::SkipTo(tick) => engine.skip_to(*tick),
        Call::Push(port, bytes) => assert_eq!(engine.push_input(*port, bytes), bytes.len()),
    }
}
