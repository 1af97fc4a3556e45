//! What a device may see: guest memory, one interrupt line and the time, lent to it for the length of a call.

mod address;
mod memory;

pub use address::{GuestPhysAddr, VirtualTime};
pub use memory::{GuestMemory, MemoryError, Presence, VecMemory};

/// Level of an interrupt line that a device drives. The interrupt controller on the other end decides what a level means.
pub trait InterruptLine {
    /// Drives the line high (`true`) or low. Idempotent.
    fn set_level(&mut self, high: bool);
}

/// All that a device is lent while it handles one access or one host event.
pub struct Platform<'a> {
    /// Guest RAM.
    pub memory: &'a mut dyn GuestMemory,
    /// The device's interrupt line.
    pub line: &'a mut dyn InterruptLine,
    /// Time of this call: exact to the instruction that caused it.
    pub now: VirtualTime,
}

/// A device behind a range of port or memory addresses.
pub trait BusDevice {
    /// Reads `size` (1, 2, 4 or 8) bytes at `offset` from the start of the device's range; little-endian, zero-extended.
    fn read(&mut self, offset: u64, size: u8, platform: &mut Platform<'_>) -> u64;
    /// Writes the low `size` (1, 2, 4 or 8) bytes of `value` at `offset` from the start of the device's range.
    fn write(&mut self, offset: u64, size: u8, value: u64, platform: &mut Platform<'_>);
}
