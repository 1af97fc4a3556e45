//! Decoded blocks: where they are kept, how they are found, how they are dropped.

mod arena;
mod block;
mod blocks;
mod jump;
mod profile;
mod room;
mod slot;
mod translated;

pub use block::{Block, BlockKey};
pub use profile::{BlockPlace, Counts, Edge, PageProfile, Profile};
pub use room::Room;
pub use slot::{Arm, Handler, Link, Run, Slot};
pub use translated::Translated;

use std::collections::BTreeMap;

use crate::decode::Op;
use arena::Arena;
use blocks::Blocks;
use jump::JumpTable;

/// Most instructions in a block.
pub const MAX_BLOCK: usize = 64;

/// How blocks are cut; any choice gives the same guest.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most instructions in a block: 1 to [`MAX_BLOCK`].
    pub block: usize,
    /// Ops that the block cache holds.
    pub cache: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { block: MAX_BLOCK, cache: 512 * 1024 }
    }
}

/// The block cache.
pub struct Cache {
    limits: Limits,
    /// Slots of all blocks, behind one that is stale: so 0 can mean "no link".
    arena: Arena,
    blocks: Blocks,
    jump: JumpTable,
    /// Code that was translated ahead of time.
    translated: Translated,
    /// Counts of what runs, if that is wanted.
    pub profile: Option<Box<Profile>>,
    /// How often each instruction that is not implemented was met, by the number of its `Code`.
    unimplemented: BTreeMap<u16, u64>,
}

impl Cache {
    /// An empty cache; `stale` is what a block starts with that has been dropped.
    pub fn new(limits: Limits, stale: Slot) -> Self {
        Self {
            limits,
            arena: Arena::new(limits.cache.max(4 * MAX_BLOCK), stale),
            blocks: Blocks::default(),
            jump: JumpTable::default(),
            translated: Translated::default(),
            profile: None,
            unimplemented: BTreeMap::new(),
        }
    }

    /// Blocks that are built from now on begin with translated code where there is some.
    pub fn set_translated(&mut self, translated: Translated) {
        self.translated = translated;
    }

    /// Code that was translated ahead of time.
    pub fn translated(&self) -> &Translated {
        &self.translated
    }

    /// Whether blocks consist of their ops alone.
    pub fn is_plain(&self) -> bool {
        self.profile.is_none() && self.translated.is_empty()
    }

    /// The limits it was made with.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Where it keeps what it knows.
    pub fn room(&self) -> Room {
        Room { tables: [self.jump.room(), self.blocks.room()], blocks: self.arena.room() }
    }

    /// Counts an instruction that is not implemented, by the number of its `Code`.
    pub fn count_unimplemented(&mut self, code: u16) {
        *self.unimplemented.entry(code).or_default() += 1;
    }

    /// What [`Self::count_unimplemented`] counted.
    pub fn unimplemented(&self) -> impl Iterator<Item = (u16, u64)> {
        self.unimplemented.iter().map(|(&code, &count)| (code, count))
    }

    /// Says how code is decoded from now on, and at which privilege: entries of other modes no longer match.
    pub fn set_mode(&mut self, key: u64) {
        self.jump.set_mode(key);
    }

    /// The block at linear `rip`, if the way there is known.
    #[inline(always)]
    pub fn find(&self, rip: u64) -> Option<*const Slot> {
        self.jump.find(rip)
    }

    /// Remembers that linear `rip` leads to a block, which ends on the page of `last`; `global` if a load of CR3 does not change that, for either page.
    pub fn remember(&mut self, rip: u64, last: u64, block: &Block, global: bool) {
        self.jump.insert(rip, last, self.arena.slot(block.start), global);
    }

    /// The first slot of a block.
    pub fn first(&self, block: &Block) -> *const Slot {
        self.arena.slot(block.start)
    }

    /// Forgets every way from an address to a block; the blocks stay.
    pub fn forget_addresses(&mut self) {
        self.jump.clear();
    }

    /// Forgets the ways that a load of CR3 may change.
    pub fn forget_local_addresses(&mut self) {
        self.jump.clear_local();
    }

    /// Forgets the ways into the page of linear `address`.
    pub fn forget_page(&mut self, address: u64) {
        self.jump.clear_page(address);
    }

    /// The slot with a given index.
    ///
    /// # Safety
    /// `index` must have come from [`Self::keep`], as a block's start or through a link that was made of one, since the cache was last
    /// cleared.
    #[inline(always)]
    pub unsafe fn slot(&self, index: u32) -> *const Slot {
        // SAFETY: the caller vouches that the slot is there: `clear` alone shortens the arena.
        unsafe { self.arena.slot_unchecked(index) }
    }

    /// A block's place, if its bytes are decoded.
    pub fn block(&self, key: BlockKey) -> Option<Block> {
        self.blocks.find(key)
    }

    /// Whether a block of the greatest length still fits.
    pub fn has_room(&self) -> bool {
        self.arena.free() >= 2 * MAX_BLOCK
    }

    /// Begins a block, for which there must be room, in place of one that was begun before and not kept.
    pub fn begin(&mut self) {
        self.arena.begin();
    }

    /// Adds a slot to the block that was begun.
    pub fn push(&mut self, slot: Slot) {
        self.arena.push(slot);
    }

    /// The last slot of the block that was begun.
    pub fn last(&mut self) -> Option<&mut Slot> {
        self.arena.last()
    }

    /// The first slot of the block that was begun, which has one. It stays until another block is begun.
    pub fn begun(&self) -> *const Slot {
        self.arena.begun()
    }

    /// Keeps the block that was begun, which lies on the page of its address and perhaps on `second_page`.
    ///
    /// # Safety
    /// Its last op must be one that leaves the block, and no op linked yet.
    pub unsafe fn keep(&mut self, key: BlockKey, second_page: Option<u32>) -> Block {
        let length = self.arena.last().map_or(0, |last| last.op.end() as u16);
        let block = Block { start: self.arena.keep(), second_page, length };
        self.blocks.insert(key, block);
        block
    }

    /// Changes the op in a slot of this arena: a link.
    ///
    /// # Safety
    /// `slot` must have come from this cache since it was last cleared.
    pub unsafe fn update(&mut self, slot: *const Slot, change: impl FnOnce(&mut Op)) {
        // SAFETY: the caller vouches for it.
        unsafe { self.arena.update(slot, |slot| change(&mut slot.op)) }
    }

    /// Drops the blocks on page number `page`: links into them lead to a stale slot.
    pub fn drop_page(&mut self, page: u32) {
        if let Some(profile) = &mut self.profile {
            profile.drop_page(page);
        }
        self.blocks.remove(page, |block| self.arena.make_stale(block.start));
        self.jump.clear();
    }

    /// Drops everything. Returns the numbers of the pages that held code, in no particular order.
    pub fn clear(&mut self) -> Vec<u32> {
        if let Some(profile) = &mut self.profile {
            profile.clear();
        }
        self.arena.clear();
        self.jump.clear();
        self.blocks.clear()
    }
}
