//! A guest that follows a script instead of running instructions.

use super::WALL;
use crate::{PortStatus, Status};
use devices::console::Port;
use emu::machine::Stop;
use protocol::{Exec, ExecOrder, Framed};
use std::collections::VecDeque;

/// What a guest's init does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// All that PROTOCOL.md says.
    Prebake,
    /// It does not acknowledge the start, nor wait after the program's end.
    Silent,
    /// It has a barrier and no control port: container2wasm's.
    BarrierOnly,
    /// There is none that prebake knows: a shell listens on the terminal.
    Foreign,
    /// It takes every message and says nothing.
    Deaf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It boots for so many more runs.
    Boots(u32),
    AtBarrier,
    /// The program runs.
    Runs,
    /// The program has ended.
    Exited,
    Off,
}

/// Something that the guest does by itself when its program has run so often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    Exit(u8),
    PowerOff(u32),
    HaltForGood,
    Reset,
    Fail(&'static str),
}

#[derive(Debug, Clone)]
pub struct Guest {
    pub init: Init,
    pub phase: Phase,
    /// It never halts while its program runs, nor while it boots.
    pub busy: bool,
    /// Its program takes its input.
    pub reads: bool,
    /// It has a timer that fires every second.
    pub ticks: bool,
    pub deed: Option<(u32, Deed)>,
    pub count: u64,
    pub now: u64,
    /// Times that the program has run.
    pub runs: u32,
    /// What the program has read.
    pub read: Vec<u8>,
    /// Its input has ended.
    pub ended: bool,
    /// Lines from the host, with the count at which they were taken.
    pub messages: Vec<String>,
    /// It ends with 128 + n on a signal, unless it handles it.
    pub handles_signals: bool,
    pub waits_after_exit: bool,
    /// Its init starts other programs.
    pub offers: bool,
    /// What it was ordered about them.
    pub orders: Vec<Exec<ExecOrder>>,
    pub queues: [VecDeque<u8>; Port::ALL.len()],
    pub written: Vec<(Port, Vec<u8>)>,
}

impl Guest {
    pub fn new(init: Init, phase: Phase) -> Self {
        Self {
            init,
            phase,
            busy: false,
            reads: true,
            ticks: false,
            deed: None,
            count: 0,
            now: 0,
            runs: 0,
            read: Vec::new(),
            ended: false,
            messages: Vec::new(),
            handles_signals: false,
            waits_after_exit: false,
            offers: false,
            orders: Vec::new(),
            queues: Default::default(),
            written: Vec::new(),
        }
    }

    /// One with prebake's init, from the start.
    pub fn booting() -> Self {
        Self::new(Init::Prebake, Phase::Boots(3))
    }

    pub fn at_barrier() -> Self {
        Self::new(Init::Prebake, Phase::AtBarrier)
    }

    pub fn running() -> Self {
        Self::new(Init::Prebake, Phase::Runs)
    }

    pub fn busy(self) -> Self {
        Self { busy: true, ..self }
    }

    pub fn does(self, after: u32, deed: Deed) -> Self {
        Self { deed: Some((after, deed)), ..self }
    }

    pub fn status(&mut self) -> Status {
        let booted = !matches!(self.phase, Phase::Boots(_));
        let has_control = booted && !matches!(self.init, Init::BarrierOnly | Init::Foreign);
        let mut status = Status::new(self.count, self.now, WALL, |port| PortStatus {
            ready: if port == Port::Control { has_control } else { booted },
            pending: self.queues[port.index()].len(),
        });
        // A program that does not read leaves it in its buffers.
        status.tty.ready &= self.reads || self.phase == Phase::AtBarrier;
        status
    }

    pub fn push(&mut self, port: Port, bytes: &[u8]) {
        assert!(!bytes.is_empty(), "{port:?}");
        assert!(port != Port::Stdin || !self.ended, "{bytes:?} after the end");
        self.queues[port.index()].extend(bytes);
    }

    pub fn close(&mut self, port: Port) {
        assert!(port == Port::Stdin && !self.ended);
        self.ended = true;
    }

    fn write(&mut self, port: Port, text: impl Into<String>) {
        self.written.push((port, text.into().into_bytes()));
    }

    fn take(&mut self, port: Port) -> Vec<u8> {
        self.queues[port.index()].drain(..).collect()
    }

    pub fn run(&mut self, until: u64) -> (Stop, Vec<(Port, Vec<u8>)>) {
        let queued = |guest: &Self| guest.queues.iter().map(VecDeque::len).sum::<usize>();
        let (phase, before) = (self.phase, queued(self));
        let stop = self.work();
        let did_nothing = self.phase == phase && queued(self) == before && self.written.is_empty();
        let used = match stop {
            Stop::Due => until - self.count,
            _ if did_nothing => 0,
            _ => (until - self.count).min(1000),
        };
        self.count += used;
        self.now += used;
        (stop, std::mem::take(&mut self.written))
    }

    fn idle(&self) -> Stop {
        if self.busy { Stop::Due } else { Stop::Halted { deadline: self.ticks.then_some(self.now + 1_000_000_000) } }
    }

    fn work(&mut self) -> Stop {
        match self.phase {
            Phase::Boots(0) if self.init == Init::Foreign => self.phase = Phase::Runs,
            Phase::Boots(0) => {
                self.write(Port::Tty, "booted\n==========");
                self.phase = Phase::AtBarrier;
            }
            Phase::Boots(left) => {
                self.phase = Phase::Boots(left - 1);
                return if self.busy { Stop::Due } else { Stop::Halted { deadline: Some(self.now + 1000) } };
            }
            Phase::AtBarrier => {
                let answer = self.take(Port::Tty);
                assert!(answer.is_empty() || answer == b"=\n", "{answer:?} at the barrier");
                let start = self.init == Init::BarrierOnly || self.hear();
                if !answer.is_empty() && start {
                    self.start();
                }
            }
            Phase::Runs => return self.program(),
            Phase::Exited => {
                if self.hear() {
                    self.start();
                }
            }
            Phase::Off => return Stop::HaltedForGood,
        }
        self.idle()
    }

    fn start(&mut self) {
        self.phase = Phase::Runs;
        if self.init == Init::Prebake {
            self.offer();
            self.write(Port::Control, "started\n");
        }
    }

    fn offer(&mut self) {
        if self.offers {
            self.write(Port::Control, "offers exec\n");
        }
    }

    /// Takes the host's orders about other programs out of its messages.
    fn take_orders(&mut self, mut bytes: &[u8]) -> String {
        let mut lines = String::new();
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = (str::from_utf8(&bytes[..end]).unwrap(), &bytes[end + 1..]);
            bytes = rest;
            match Exec::<ExecOrder>::parse(line) {
                Some((mut order, length)) => {
                    order.bytes().into_iter().for_each(|payload| payload.extend(&bytes[..length]));
                    bytes = &bytes[length..];
                    self.orders.push(order);
                }
                None => lines += &format!("{line}\n"),
            }
        }
        assert!(bytes.is_empty(), "{bytes:?}");
        lines
    }

    /// Takes the host's messages. Whether the program is to be started.
    fn hear(&mut self) -> bool {
        let bytes = self.take(Port::Control);
        let text = self.take_orders(&bytes);
        let mut start = false;
        for line in text.lines() {
            self.messages.push(line.to_owned());
            if self.init == Init::Deaf {
                continue;
            }
            start |= line.starts_with("start ");
            if line.starts_with("start ") || line.starts_with("resume") {
                self.waits_after_exit = line.ends_with(" exit=wait");
            }
            if line.starts_with("resume") {
                self.offer();
                self.write(Port::Control, "resumed\n");
            }
            let signal = line.strip_prefix("signal ").map(|number| number.parse().unwrap()).or((line == "stop").then_some(15));
            if let Some(number) = signal.filter(|_| !self.handles_signals) {
                self.exit(128 + number);
            }
        }
        start
    }

    fn program(&mut self) -> Stop {
        self.hear();
        self.runs += 1;
        if let Some((after, deed)) = self.deed.clone()
            && self.runs > after
        {
            self.deed = None;
            match deed {
                Deed::Exit(status) => self.exit(status),
                Deed::PowerOff(status) => return self.off(Stop::PowerOff { status }),
                Deed::HaltForGood => return self.off(Stop::HaltedForGood),
                Deed::Reset => return self.off(Stop::Reset),
                Deed::Fail(reason) => {
                    self.write(Port::Control, format!("failed {reason}\n"));
                    self.phase = Phase::Off;
                }
            }
        }
        if self.phase != Phase::Runs {
            return if self.phase == Phase::Off { Stop::HaltedForGood } else { self.idle() };
        }
        if self.reads {
            for port in [Port::Tty, Port::Stdin] {
                let bytes = self.take(port);
                self.ended |= bytes.contains(&4);
                self.read.extend(bytes);
            }
            if self.read.ends_with(b"exit\n") || self.ended && !self.busy {
                self.exit(7);
                return if self.phase == Phase::Off { Stop::HaltedForGood } else { self.idle() };
            }
        }
        self.idle()
    }

    fn exit(&mut self, status: u8) {
        self.write(Port::Control, format!("exit {status}\n"));
        let waits = self.waits_after_exit && self.init == Init::Prebake;
        self.phase = if waits { Phase::Exited } else { Phase::Off };
        if waits {
            self.write(Port::Control, "waiting\n");
        }
    }

    fn off(&mut self, stop: Stop) -> Stop {
        self.phase = Phase::Off;
        stop
    }
}
