//! What several tests need.

use devices::platform::GuestMemory;
use emu::bus::{AddressSpace, Board};

/// A board with nothing on it.
pub struct NoBoard;

impl Board for NoBoard {
    fn read(&mut self, _: AddressSpace, _: u64, _: u8, _: &mut dyn GuestMemory, _: u64) -> u64 {
        u64::MAX
    }
    fn write(&mut self, _: AddressSpace, _: u64, _: u8, _: u64, _: &mut dyn GuestMemory, _: u64) {}
    fn read_msr(&mut self, _: u32, _: u64) -> Option<u64> {
        None
    }
    fn write_msr(&mut self, _: u32, _: u64, _: u64) -> Option<()> {
        None
    }
    fn task_priority(&self) -> u8 {
        0
    }
    fn set_task_priority(&mut self, _: u8) {}
    fn interrupt_pending(&self) -> bool {
        false
    }
    fn next_interrupt(&self) -> u8 {
        0
    }
    fn acknowledge_interrupt(&mut self) -> u8 {
        0
    }
    fn deadline(&self) -> Option<u64> {
        None
    }
    fn advance(&mut self, _: u64) {}
    fn wants_stop(&self) -> bool {
        false
    }
}
