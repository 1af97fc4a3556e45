//! What the CPU sees of the rest of the machine.

use std::any::Any;

use devices::platform::GuestMemory;

/// Address space of an access that left the CPU and missed RAM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddressSpace {
    /// Guest-physical memory addresses.
    Memory,
    /// Port addresses of IN and OUT.
    Port,
}

/// The board: devices, interrupt controllers and timers behind the CPU. Times are TSC ticks.
pub trait Board: Any {
    /// Reads `size` bytes (1, 2, 4 or 8), zero-extended. Unclaimed addresses read as all ones.
    fn read(&mut self, space: AddressSpace, address: u64, size: u8, memory: &mut dyn GuestMemory, now: u64) -> u64;
    /// Writes the low `size` bytes of `value`. Writes to unclaimed addresses are dropped.
    fn write(&mut self, space: AddressSpace, address: u64, size: u8, value: u64, memory: &mut dyn GuestMemory, now: u64);
    /// Reads an MSR that belongs to the board (the local APIC's), or `None` where it has none of that number.
    fn read_msr(&mut self, index: u32, now: u64) -> Option<u64>;
    /// Writes an MSR that belongs to the board; `None` where it has none of that number or the value is reserved.
    fn write_msr(&mut self, index: u32, value: u64, now: u64) -> Option<()>;
    /// Task priority class, as CR8 shows it (0 to 15).
    fn task_priority(&self) -> u8;
    /// Sets the task priority class (0 to 15).
    fn set_task_priority(&mut self, priority: u8);
    /// Whether an interrupt waits for the CPU, its priority above the task priority.
    fn interrupt_pending(&self) -> bool;
    /// The vector that [`Self::acknowledge_interrupt`] takes next.
    fn next_interrupt(&self) -> u8;
    /// Takes the vector of the highest pending interrupt. Called only when one is pending; a spurious vector is an answer.
    fn acknowledge_interrupt(&mut self) -> u8;
    /// FERR#: an x87 exception waits under CR0.NE clear, for an interrupt that the board makes of it. Whether the CPU is to go on
    /// regardless (IGNNE#).
    fn float_error(&mut self) -> bool {
        false
    }
    /// Tick at which a timer next fires.
    fn deadline(&self) -> Option<u64>;
    /// Fires what is due at `now`.
    fn advance(&mut self, now: u64);
    /// Whether the machine is to stop: the guest has powered off or reset it.
    fn wants_stop(&self) -> bool;
}
