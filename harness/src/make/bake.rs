//! Bakes: a machine boots under the virtual clock until it has settled, and a snapshot of it is saved.

use emu::machine::Thresholds;

/// When a bake takes a guest to have settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettleOptions {
    /// For the detector.
    pub thresholds: Thresholds,
    /// Virtual time in nanoseconds after which the bake gives up.
    pub within: u64,
}

impl Default for SettleOptions {
    fn default() -> Self {
        Self { thresholds: Thresholds::default(), within: 600_000_000_000 }
    }
}
