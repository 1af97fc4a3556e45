//! A disk over a base that never changes: what differs from the base is kept in blocks of a bounded store.

mod state;
mod store;

pub use state::{CowState, StoredBlock};
pub use store::{BlockStore, MemoryStore};

use super::backend::{BlockBackend, BlockError, BlockSource};
use std::collections::BTreeMap;

/// Bytes of a block, the unit in which changes are kept.
pub const BLOCK_SIZE: usize = 4096;

/// Where a changed block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nowhere: it is all zeroes.
    Zero,
    Slot(u32),
}

/// A writable disk over a base. When the store is full, writes of further blocks fail.
#[derive(Debug)]
pub struct CowBackend<S, T> {
    base: S,
    store: T,
    changed: BTreeMap<u64, Place>,
    free: Vec<u32>,
    /// Slots that have been in use: those from here on are fresh.
    used: u32,
    was_full: bool,
}

impl<S: BlockSource, T: BlockStore> CowBackend<S, T> {
    /// An unchanged disk over `base`.
    pub fn new(base: S, store: T) -> Self {
        Self { base, store, changed: BTreeMap::new(), free: Vec::new(), used: 0, was_full: false }
    }

    /// Number of blocks that take up room in the store.
    #[expect(clippy::cast_possible_truncation, reason = "there are no more free blocks than used ones, whose number is a u32")]
    pub fn blocks_stored(&self) -> u32 {
        // Freed slots were used before, so there are never more of them.
        self.used - self.free.len() as u32
    }

    /// A write has failed for want of room since this object was made: the user should know.
    pub fn was_full(&self) -> bool {
        self.was_full
    }

    /// Reads a whole block; past the end of the disk, zeroes.
    #[expect(clippy::cast_possible_truncation, reason = "at most a block")]
    fn get(&mut self, number: u64, block: &mut [u8; BLOCK_SIZE]) -> Result<(), BlockError> {
        match self.changed.get(&number) {
            Some(Place::Zero) => block.fill(0),
            Some(&Place::Slot(slot)) => self.store.read(slot, block)?,
            None => {
                let start = number * BLOCK_SIZE as u64;
                let inside = (self.base.size() - start).min(BLOCK_SIZE as u64) as usize;
                self.base.read_at(start, &mut block[..inside])?;
                block[inside..].fill(0);
            }
        }
        Ok(())
    }

    /// Stores a whole block.
    fn put(&mut self, number: u64, block: &[u8; BLOCK_SIZE]) -> Result<(), BlockError> {
        if let Some(&Place::Slot(slot)) = self.changed.get(&number) {
            return self.store.write(slot, block);
        }
        let slot = match self.free.last() {
            Some(&slot) => slot,
            None if self.used < self.store.capacity() => self.used,
            None => {
                self.was_full = true;
                return Err(BlockError::Full);
            }
        };
        self.store.write(slot, block)?;
        if self.free.pop().is_none() {
            self.used += 1;
        }
        self.changed.insert(number, Place::Slot(slot));
        Ok(())
    }

    /// Makes a whole block zero, which takes no room.
    fn put_zero(&mut self, number: u64) {
        let before = if self.base.is_all_zero() { self.changed.remove(&number) } else { self.changed.insert(number, Place::Zero) };
        if let Some(Place::Slot(slot)) = before {
            self.free.push(slot);
        }
    }

    /// First changed block from `number` on.
    fn next_changed(&self, number: u64) -> u64 {
        self.changed.range(number..).next().map_or(u64::MAX, |(&changed, _)| changed)
    }
}

/// The part of one block that a range covers.
struct Piece {
    number: u64,
    start: usize,
    len: usize,
}

impl Piece {
    /// The first piece of `length` bytes from `offset`.
    #[expect(clippy::cast_possible_truncation, reason = "less than a block")]
    fn first(offset: u64, length: u64) -> Self {
        let start = (offset % BLOCK_SIZE as u64) as usize;
        let len = length.min((BLOCK_SIZE - start) as u64) as usize;
        Self { number: offset / BLOCK_SIZE as u64, start, len }
    }

    fn is_whole(&self) -> bool {
        self.len == BLOCK_SIZE
    }
}

impl<S: BlockSource, T: BlockStore> BlockSource for CowBackend<S, T> {
    fn size(&self) -> u64 {
        self.base.size()
    }

    fn read_at(&mut self, mut offset: u64, mut bytes: &mut [u8]) -> Result<(), BlockError> {
        let mut block = [0; BLOCK_SIZE];
        while !bytes.is_empty() {
            let piece = Piece::first(offset, bytes.len() as u64);
            let changed = self.next_changed(piece.number);
            let len = if changed == piece.number {
                self.get(piece.number, &mut block)?;
                bytes[..piece.len].copy_from_slice(&block[piece.start..piece.start + piece.len]);
                piece.len
            } else {
                let unchanged = changed.saturating_mul(BLOCK_SIZE as u64) - offset;
                let len = bytes.len().min(usize::try_from(unchanged).unwrap_or(usize::MAX));
                self.base.read_at(offset, &mut bytes[..len])?;
                len
            };
            bytes = &mut bytes[len..];
            offset += len as u64;
        }
        Ok(())
    }
}

impl<S: BlockSource, T: BlockStore> BlockBackend for CowBackend<S, T> {
    fn write_at(&mut self, mut offset: u64, mut bytes: &[u8]) -> Result<(), BlockError> {
        let mut block = [0; BLOCK_SIZE];
        while !bytes.is_empty() {
            let piece = Piece::first(offset, bytes.len() as u64);
            let (now, later) = bytes.split_at(piece.len);
            if !piece.is_whole() {
                self.get(piece.number, &mut block)?;
            }
            block[piece.start..piece.start + piece.len].copy_from_slice(now);
            // File systems clear much: a block of zeroes takes no room here nor in a snapshot.
            if block == [0; BLOCK_SIZE] {
                self.put_zero(piece.number);
            } else {
                self.put(piece.number, &block)?;
            }
            bytes = later;
            offset += piece.len as u64;
        }
        Ok(())
    }

    fn write_zeroes_at(&mut self, mut offset: u64, mut length: u64) -> Result<(), BlockError> {
        while length > 0 {
            let piece = Piece::first(offset, length);
            if piece.is_whole() {
                self.put_zero(piece.number);
            } else {
                self.write_at(offset, &[0; BLOCK_SIZE][..piece.len])?;
            }
            length -= piece.len as u64;
            offset += piece.len as u64;
        }
        Ok(())
    }

    /// Whole blocks read as zero afterwards and take no room; what is discarded of others stays.
    fn discard_at(&mut self, offset: u64, length: u64) -> Result<(), BlockError> {
        let first = offset.div_ceil(BLOCK_SIZE as u64);
        let end = (offset + length) / BLOCK_SIZE as u64;
        (first..end).for_each(|number| self.put_zero(number));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        self.store.flush()
    }
}
