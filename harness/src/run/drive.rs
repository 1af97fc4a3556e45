//! The one loop that lets a machine run: cut into slices, and counted.

use crate::error::{Error, Result};
use crate::machine::Engine;
use emu::machine::{Halt, Stats, Stop};
use std::time::{Duration, Instant};

/// Counts between two looks at the outside: some milliseconds.
const SLICE: u64 = 1_000_000;

/// Why the machine stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// Time to look at the outside.
    Slice,
    /// The CPU waits for an interrupt.
    Halted {
        /// TSC tick at which a timer fires, if one is set.
        deadline: Option<u64>,
    },
    /// The guest powered off with this status.
    PowerOff(u32),
    /// The guest halted with interrupts off.
    HaltedForGood,
    /// The guest reset the machine.
    Reset,
}

/// What has been seen of the guest's idling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Idling {
    /// Times that the guest halted.
    pub halts: u64,
    /// Instructions of the longest stretch between two halts.
    pub longest: u64,
    /// Guest time spent halted, in nanoseconds.
    pub asleep: u64,
}

/// A machine that runs, and the figures of it.
pub struct Drive {
    machine: Box<dyn Engine>,
    /// Of the machine when it was made.
    before: Stats,
    /// At the last halt.
    last_halt: Stats,
    /// TSC tick of the halt that the machine is in.
    halted_at: Option<u64>,
    started: Instant,
    running: Duration,
    idling: Idling,
    limit: Option<Limit>,
}

struct Limit {
    asked: u64,
    count: u64,
}

impl Drive {
    /// A machine that is allowed `limit` instructions.
    pub fn new(mut machine: Box<dyn Engine>, limit: Option<u64>) -> Self {
        let stats = machine.stats();
        let limit = limit.map(|asked| Limit { asked, count: machine.count().saturating_add(asked) });
        Self {
            before: stats.clone(),
            last_halt: stats,
            halted_at: None,
            started: Instant::now(),
            running: Duration::ZERO,
            idling: Idling::default(),
            limit,
            machine,
        }
    }

    /// The machine, between two calls of [`Self::advance`].
    pub fn machine(&mut self) -> &mut dyn Engine {
        &mut *self.machine
    }

    /// Runs for a slice, or until the guest has nothing more to do.
    pub fn advance(&mut self) -> Result<Pause> {
        if let Some(tick) = self.halted_at.take() {
            self.idling.asleep += self.machine.now().saturating_sub(tick);
        }
        let mut until = self.machine.count().saturating_add(SLICE);
        if let Some(limit) = &self.limit {
            if self.machine.count() >= limit.count {
                return Err(Error::Limit { limit: limit.asked });
            }
            until = until.min(limit.count);
        }
        let start = Instant::now();
        let stop = self.machine.run(until)?;
        self.running += start.elapsed();
        Ok(match stop {
            Stop::Due => Pause::Slice,
            Stop::Halted { deadline } => {
                self.halted_at = Some(self.machine.now());
                Pause::Halted { deadline }
            }
            Stop::HaltedForGood => Pause::HaltedForGood,
            Stop::PowerOff { status } => Pause::PowerOff(status),
            Stop::Reset => Pause::Reset,
        })
    }

    /// What the guest did since it last halted, now that it halts again.
    pub fn halt(&mut self, deadline: Option<u64>) -> Halt {
        let stats = self.machine.stats();
        let instructions = stats.retired - self.last_halt.retired;
        self.idling.halts = stats.halts - self.before.halts;
        self.idling.longest = self.idling.longest.max(instructions);
        let device_work = stats.device_work - self.last_halt.device_work;
        self.last_halt = stats;
        Halt { now: self.machine.now(), timer: deadline.is_some(), instructions, device_work }
    }

    /// Instructions since this began.
    pub fn instructions(&mut self) -> u64 {
        self.machine.stats().retired - self.before.retired
    }

    /// Wall time since this began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Wall time spent in the guest.
    pub fn running(&self) -> Duration {
        self.running
    }

    /// What has been seen of the guest's idling.
    pub fn idling(&self) -> Idling {
        self.idling
    }
}
