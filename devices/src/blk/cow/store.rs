//! Where the changed blocks of a disk are kept.

use super::BLOCK_SIZE;
use crate::blk::backend::BlockError;

/// Room for changed blocks: a bounded array of slots.
pub trait BlockStore {
    /// Number of slots.
    fn capacity(&self) -> u32;
    /// Reads a slot that was written before.
    fn read(&mut self, slot: u32, block: &mut [u8; BLOCK_SIZE]) -> Result<(), BlockError>;
    /// Fills a slot below the capacity.
    fn write(&mut self, slot: u32, block: &[u8; BLOCK_SIZE]) -> Result<(), BlockError>;
    /// Makes all slots durable, as far as the store is.
    fn flush(&mut self) -> Result<(), BlockError>;
}

impl<T: BlockStore + ?Sized> BlockStore for Box<T> {
    fn capacity(&self) -> u32 {
        (**self).capacity()
    }
    fn read(&mut self, slot: u32, block: &mut [u8; BLOCK_SIZE]) -> Result<(), BlockError> {
        (**self).read(slot, block)
    }
    fn write(&mut self, slot: u32, block: &[u8; BLOCK_SIZE]) -> Result<(), BlockError> {
        (**self).write(slot, block)
    }
    fn flush(&mut self) -> Result<(), BlockError> {
        (**self).flush()
    }
}

/// A store in memory that grows to its capacity.
#[derive(Debug)]
pub struct MemoryStore {
    capacity: u32,
    slots: Vec<Box<[u8; BLOCK_SIZE]>>,
}

impl MemoryStore {
    /// Room for `capacity` blocks.
    pub fn new(capacity: u32) -> Self {
        Self { capacity, slots: Vec::new() }
    }
}

impl BlockStore for MemoryStore {
    fn capacity(&self) -> u32 {
        self.capacity
    }
    fn read(&mut self, slot: u32, block: &mut [u8; BLOCK_SIZE]) -> Result<(), BlockError> {
        *block = **self.slots.get(slot as usize).ok_or(BlockError::Host)?;
        Ok(())
    }
    fn write(&mut self, slot: u32, block: &[u8; BLOCK_SIZE]) -> Result<(), BlockError> {
        let (slot, used) = (slot as usize, self.slots.len());
        match self.slots.get_mut(slot) {
            Some(stored) => **stored = *block,
            None if slot == used && slot < self.capacity as usize => self.slots.push(Box::new(*block)),
            None => return Err(BlockError::Full),
        }
        Ok(())
    }
    fn flush(&mut self) -> Result<(), BlockError> {
        Ok(())
    }
}
