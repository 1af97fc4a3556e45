//! The slots of all blocks, one behind the other.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::Slot;
use super::room::addresses;

/// Where a host has large pages, the slots of blocks begin with one: then all of them can lie in such pages.
const ALIGNMENT: usize = if cfg!(target_family = "wasm") { align_of::<Slot>() } else { 2 << 20 };

/// See above. It is never reallocated.
pub struct Arena {
    memory: Box<[MaybeUninit<Slot>]>,
    /// Where the slots begin in that memory, what of it is in front of them being unused. The first slot, which is written at once, lies in front of the large
    /// page: a host that has one of its small pages in memory gives no large page any more.
    first: usize,
    /// Slots in use, which are initialised.
    length: usize,
    /// The first slot.
    stale: Slot,
}

impl Arena {
    /// Room for so many slots, the first of which is `stale`.
    pub fn new(capacity: usize, stale: Slot) -> Self {
        let memory = Box::new_uninit_slice(capacity + ALIGNMENT / size_of::<Slot>());
        let first = memory[1..].as_ptr().align_offset(ALIGNMENT);
        // Where that cannot be known, they lie somewhere.
        let first = if first <= memory.len() - capacity { first } else { 0 };
        let mut arena = Self { memory, first, length: 0, stale };
        arena.extend(&[stale]);
        arena
    }

    /// See [`Room`](super::room::Room).
    pub fn room(&self) -> Range<usize> {
        addresses(&raw const self.memory[self.first + 1], self.capacity() - 1)
    }

    fn capacity(&self) -> usize {
        self.memory.len() - ALIGNMENT / size_of::<Slot>()
    }

    /// Slots that still fit.
    pub fn free(&self) -> usize {
        self.capacity() - self.length
    }

    /// A slot in use.
    pub fn slot(&self, index: u32) -> *const Slot {
        assert!((index as usize) < self.length);
        self.memory[self.first + index as usize].as_ptr()
    }

    /// As [`Self::slot`]. For speed: the index into the slice would add a load and a compare to every taken branch.
    ///
    /// # Safety
    /// The slot must be in use.
    #[inline(always)]
    pub unsafe fn slot_unchecked(&self, index: u32) -> *const Slot {
        debug_assert!((index as usize) < self.length);
        // SAFETY: the caller vouches that it is in use, so it lies in the memory.
        unsafe { self.memory.as_ptr().add(self.first + index as usize).cast() }
    }

    /// Adds slots, for which there must be room, and says where the first is.
    pub fn extend(&mut self, slots: &[Slot]) -> u32 {
        let start = self.first + self.length;
        assert!(slots.len() <= self.free());
        for (place, slot) in self.memory[start..].iter_mut().zip(slots) {
            place.write(*slot);
        }
        self.length += slots.len();
        (start - self.first) as u32
    }

    /// Changes a slot.
    ///
    /// # Safety
    /// `slot` must have come from this arena since it was last cleared.
    pub unsafe fn update(&mut self, slot: *const Slot, change: impl FnOnce(&mut Slot)) {
        let start = self.memory.as_ptr().cast::<Slot>();
        // SAFETY: the caller vouches that the slot lies in the memory and is in use, so it is initialised; no reference into the memory is held across calls.
        unsafe {
            let index = slot.offset_from(start) as usize;
            change(self.memory[index].assume_init_mut());
        }
    }

    /// Replaces a slot in use by the stale one.
    pub fn make_stale(&mut self, index: u32) {
        assert!((index as usize) < self.length);
        self.memory[self.first + index as usize].write(self.stale);
    }

    /// Drops all slots but the first.
    pub fn clear(&mut self) {
        self.length = 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Op, Opcode};

    fn slot(immediate: u64) -> Slot {
        Slot::new(Op { immediate, ..Op::bare(Opcode::UNIMPLEMENTED) })
    }

    fn immediate(arena: &Arena, index: u32) -> u64 {
        // SAFETY: the slot is in use, and nothing changes it.
        unsafe { (*arena.slot(index)).op.immediate }
    }

    #[test]
    fn blocks_begin_a_large_page_behind_the_first_slot_and_lie_side_by_side() {
        for capacity in [256, 1000, 200_000] {
            let mut arena = Arena::new(capacity, slot(7));
            let room = arena.room();
            assert_eq!((room.start % ALIGNMENT, room.len()), (0, (capacity - 1) * size_of::<Slot>()), "{capacity}");
            for number in 1..capacity as u32 {
                assert_eq!(arena.extend(&[slot(number.into())]), number);
            }
            assert_eq!(arena.free(), 0);
            for number in 1..capacity as u32 {
                assert_eq!(immediate(&arena, number), number.into());
                assert_eq!(arena.slot(number).addr(), room.start + (number as usize - 1) * size_of::<Slot>());
            }
            assert_eq!(arena.slot(0).addr(), room.start - size_of::<Slot>());
        }
    }

    #[test]
    fn slots_are_changed_made_stale_and_dropped_alone() {
        let mut arena = Arena::new(256, slot(7));
        assert_eq!(arena.extend(&[slot(1), slot(2), slot(3)]), 1);
        let second = arena.slot(2);
        // SAFETY: it came from this arena, which was not cleared.
        unsafe { arena.update(second, |slot| slot.op.immediate = 9) };
        arena.make_stale(3);
        assert_eq!([0, 1, 2, 3].map(|index| immediate(&arena, index)), [7, 1, 9, 7]);
        arena.clear();
        assert_eq!((arena.free(), arena.extend(&[slot(5)]), immediate(&arena, 0), immediate(&arena, 1)), (255, 1, 7, 5));
    }
}
