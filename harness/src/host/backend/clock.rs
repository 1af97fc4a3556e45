//! The host's clocks.

use emu::vcpu::HostClock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The host's monotonic clock. It ticks in nanoseconds, as the machine's TSC does.
#[derive(Debug)]
pub struct MonotonicClock {
    start: Instant,
}

impl MonotonicClock {
    /// A clock that starts at zero.
    pub fn new() -> Self {
        const { assert!(emu::machine::model::TSC_HZ == 1_000_000_000) };
        Self { start: Instant::now() }
    }
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self::new()
    }
}

impl HostClock for MonotonicClock {
    fn ticks(&mut self) -> u64 {
        nanos(self.start.elapsed())
    }
}

/// Nanoseconds since 1970 by the host's clock.
pub fn since_1970() -> u64 {
    nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Whole seconds since 1970 by the host's clock.
pub fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Good for 584 years.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
