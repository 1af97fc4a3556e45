//! The host's clock, through WASI.

use emu::vcpu::HostClock;
use std::time::Instant;

/// A monotonic clock in nanoseconds, as the machine's TSC ticks.
pub struct WasiClock {
    start: Instant,
}

impl WasiClock {
    /// A clock that starts at zero.
    pub fn new() -> Self {
        const { assert!(emu::machine::model::TSC_HZ == 1_000_000_000) };
        Self { start: Instant::now() }
    }
}

impl HostClock for WasiClock {
    fn ticks(&mut self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}
