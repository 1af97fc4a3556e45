//! A machine that runs, and the figures of it.

use crate::error::Result;
use crate::host::backend::clock::since_1970;
use crate::machine::Engine;
use attend::{PortStatus, Status, Work};
use emu::machine::{Stats, Stop};
use std::time::{Duration, Instant};

/// Counts between two looks at the outside: some milliseconds.
pub const SLICE: u64 = 1_000_000;

/// The guest's idling.
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
    /// Instructions at the last halt.
    retired_at_halt: u64,
    /// TSC tick of the halt that the machine is in.
    halted_at: Option<u64>,
    started: Instant,
    running: Duration,
    idling: Idling,
}

impl Drive {
    /// A machine.
    pub fn new(mut machine: Box<dyn Engine>) -> Self {
        let before = machine.stats();
        Self {
            retired_at_halt: before.retired,
            before,
            halted_at: None,
            started: Instant::now(),
            running: Duration::ZERO,
            idling: Idling::default(),
            machine,
        }
    }

    /// The machine, between two calls of [`Self::run`].
    pub fn machine(&mut self) -> &mut dyn Engine {
        &mut *self.machine
    }

    /// Runs until the count is `until`, or until something else stops the machine.
    pub fn run(&mut self, until: u64) -> Result<Stop> {
        if let Some(tick) = self.halted_at.take() {
            self.idling.asleep += self.machine.now().saturating_sub(tick);
        }
        let start = Instant::now();
        let stop = self.machine.run(until)?;
        self.running += start.elapsed();
        if matches!(stop, Stop::Halted { .. }) {
            self.halted_at = Some(self.machine.now());
            let stats = self.machine.stats();
            self.idling.halts = stats.halts.saturating_sub(self.before.halts);
            self.idling.longest = self.idling.longest.max(stats.retired.saturating_sub(self.retired_at_halt));
            self.retired_at_halt = stats.retired;
        }
        Ok(stop)
    }

    /// How the machine stands.
    pub fn status(&mut self) -> Status {
        let machine = &mut *self.machine;
        Status::new(machine.count(), machine.now(), since_1970(), |port| PortStatus {
            ready: machine.wants_input(port),
            pending: machine.input_pending(port),
        })
    }

    /// What the machine has done.
    pub fn work(&mut self) -> Work {
        let stats = self.machine.stats();
        Work { retired: stats.retired, device_work: stats.device_work }
    }

    /// Instructions since this began. A module that is not ours may count as it likes.
    pub fn instructions(&mut self) -> u64 {
        self.machine.stats().retired.saturating_sub(self.before.retired)
    }

    /// Wall time since this began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Wall time spent in the guest.
    pub fn running(&self) -> Duration {
        self.running
    }

    /// The guest's idling.
    pub fn idling(&self) -> Idling {
        self.idling
    }
}
