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
    /// Slots of the block that was begun behind them, as well.
    begun: usize,
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
        let mut arena = Self { memory, first, length: 0, begun: 0, stale };
        arena.push(stale);
        arena.keep();
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

    /// Begins a block behind all others, in place of one that was begun before and not kept.
    pub fn begin(&mut self) {
        self.begun = 0;
    }

    /// Adds a slot, for which there must be room, to the block that was begun.
    pub fn push(&mut self, slot: Slot) {
        self.memory[self.first + self.length + self.begun].write(slot);
        self.begun += 1;
    }

    /// The slot that was added last to the block that was begun.
    pub fn last(&mut self) -> Option<&mut Slot> {
        let index = self.first + self.length + self.begun.checked_sub(1)?;
        // SAFETY: the slots of the block that was begun are initialised, and no reference into the memory is held across calls.
        Some(unsafe { self.memory[index].assume_init_mut() })
    }

    /// The first slot of the block that was begun.
    pub fn begun(&self) -> *const Slot {
        assert!(self.begun > 0);
        self.memory[self.first + self.length].as_ptr()
    }

    /// Keeps the block that was begun, and says where its first slot is.
    pub fn keep(&mut self) -> u32 {
        let start = self.length;
        self.length += std::mem::take(&mut self.begun);
        start as u32
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
        (self.length, self.begun) = (1, 0);
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

    /// Keeps a block of such slots.
    fn keep(arena: &mut Arena, immediates: &[u64]) -> u32 {
        arena.begin();
        immediates.iter().for_each(|&immediate| arena.push(slot(immediate)));
        arena.keep()
    }

    #[test]
    fn blocks_begin_a_large_page_behind_the_first_slot_and_lie_side_by_side() {
        for capacity in [256, 1000, 200_000] {
            let mut arena = Arena::new(capacity, slot(7));
            let room = arena.room();
            assert_eq!((room.start % ALIGNMENT, room.len()), (0, (capacity - 1) * size_of::<Slot>()), "{capacity}");
            for number in 1..capacity as u32 {
                assert_eq!(keep(&mut arena, &[number.into()]), number);
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
        assert_eq!(keep(&mut arena, &[1, 2, 3]), 1);
        let second = arena.slot(2);
        // SAFETY: it came from this arena, which was not cleared.
        unsafe { arena.update(second, |slot| slot.op.immediate = 9) };
        arena.make_stale(3);
        assert_eq!([0, 1, 2, 3].map(|index| immediate(&arena, index)), [7, 1, 9, 7]);
        arena.clear();
        assert_eq!((arena.free(), keep(&mut arena, &[5]), immediate(&arena, 0), immediate(&arena, 1)), (255, 1, 7, 5));
    }

    #[test]
    fn a_block_that_is_not_kept_gives_its_place_to_the_next() {
        let mut arena = Arena::new(256, slot(7));
        arena.begin();
        assert!(arena.last().is_none());
        arena.push(slot(1));
        arena.push(slot(2));
        let begun = arena.begun();
        assert_eq!((arena.free(), arena.last().map(|slot| slot.op.immediate)), (255, Some(2)));
        assert_eq!(keep(&mut arena, &[3, 4, 5]), 1);
        assert_eq!((arena.free(), arena.slot(1), immediate(&arena, 1)), (252, begun, 3));
        arena.begin();
        arena.push(slot(6));
        arena.clear();
        assert_eq!((keep(&mut arena, &[8]), immediate(&arena, 1)), (1, 8));
    }
}
