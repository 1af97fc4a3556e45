//! A board whose devices answer with numbers that depend on all that they may depend on, so that any access out of time or order shows.

use crate::input::Input;
use devices::platform::GuestMemory;
use emu::bus::{AddressSpace, Board};

/// The board.
#[derive(Clone, Default)]
pub struct FuzzBoard {
    /// When interrupts come, the last first, and their vectors.
    timers: Vec<(u64, u8)>,
    pending: Vec<u8>,
    priority: u8,
    stopped: bool,
    /// A digest of all accesses.
    pub log: u64,
}

impl FuzzBoard {
    /// With up to three timers.
    pub fn new(input: &mut Input<'_>) -> Self {
        let count = input.u8() & 3;
        let mut timers: Vec<(u64, u8)> = (0..count).map(|_| (u64::from(input.u16() & 0x3ff), 0x20 | input.u8())).collect();
        timers.sort_unstable_by_key(|timer| std::cmp::Reverse(timer.0));
        Self { timers, ..Self::default() }
    }

    fn note(&mut self, values: [u64; 4]) -> u64 {
        for value in values {
            self.log = (self.log.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
        self.log
    }
}

impl Board for FuzzBoard {
    fn read(&mut self, space: AddressSpace, address: u64, size: u8, _: &mut dyn GuestMemory, now: u64) -> u64 {
        let kind = u64::from(space == AddressSpace::Port) << 8 | u64::from(size);
        let value = self.note([kind, address, now, 0]);
        if size >= 8 { value } else { value & ((1 << (8 * size)) - 1) }
    }
    fn write(&mut self, space: AddressSpace, address: u64, size: u8, value: u64, _: &mut dyn GuestMemory, now: u64) {
        let kind = u64::from(space == AddressSpace::Port) << 8 | 0x80 | u64::from(size);
        self.note([kind, address, now, value]);
        self.stopped |= space == AddressSpace::Port && address == 0x600;
    }
    fn read_msr(&mut self, index: u32, now: u64) -> Option<u64> {
        (index == 0x1b).then(|| self.note([0x200, now, 0, 0]))
    }
    fn write_msr(&mut self, index: u32, value: u64, now: u64) -> Option<()> {
        (index == 0x6e0).then(|| {
            self.note([0x201, now, value, 0]);
        })
    }
    fn task_priority(&self) -> u8 {
        self.priority
    }
    fn set_task_priority(&mut self, priority: u8) {
        self.priority = priority;
    }
    fn interrupt_pending(&self) -> bool {
        self.pending.first().is_some_and(|vector| vector >> 4 > self.priority)
    }
    fn next_interrupt(&self) -> u8 {
        self.pending[0]
    }
    fn acknowledge_interrupt(&mut self) -> u8 {
        self.pending.remove(0)
    }
    fn deadline(&self) -> Option<u64> {
        self.timers.last().map(|timer| timer.0)
    }
    fn advance(&mut self, now: u64) {
        while let Some((_, vector)) = self.timers.pop_if(|timer| timer.0 <= now) {
            self.pending.push(vector);
        }
    }
    fn wants_stop(&self) -> bool {
        self.stopped
    }
}
