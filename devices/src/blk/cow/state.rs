//! The saved record of a disk's changes.

use super::{BLOCK_SIZE, BlockStore, CowBackend, Place};
use crate::RestoreError;
use crate::blk::backend::{BlockError, BlockSource};
use snapshot::{Record, SectionId};

const DEVICE: &str = "disk overlay";

snapshot::saved! {
    /// What differs between a disk and its base. Untrusted.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct CowState {
        /// Size of the disk in bytes.
        pub size: u64,
        /// Numbers of the blocks that became all zeroes, ascending.
        pub zeroed: Vec<u64>,
        /// The other changed blocks, ascending.
        pub written: Vec<StoredBlock>,
    }

    /// A changed block. Untrusted.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct StoredBlock {
        /// Position on the disk in blocks.
        pub number: u64,
        /// Contents; past the end of the disk, zeroes.
        pub bytes: [u8; BLOCK_SIZE],
    }
}

impl Record for CowState {
    const ID: SectionId = SectionId::new(*b"CHNG");
    const VERSION: u16 = 1;
}

impl<S: BlockSource, T: BlockStore> CowBackend<S, T> {
    /// The record of all changes.
    pub fn save(&mut self) -> Result<CowState, BlockError> {
        let mut state = CowState { size: self.base.size(), zeroed: Vec::new(), written: Vec::new() };
        for (&number, &place) in &self.changed {
            match place {
                Place::Zero => state.zeroed.push(number),
                Place::Slot(slot) => {
                    let mut bytes = [0; BLOCK_SIZE];
                    self.store.read(slot, &mut bytes)?;
                    state.written.push(StoredBlock { number, bytes });
                }
            }
        }
        Ok(state)
    }

    /// The disk of `state` over the same `base`, with an empty `store` to keep its changes in.
    pub fn restore(base: S, store: T, state: &CowState) -> Result<Self, RestoreError> {
        let mut disk = Self::new(base, store);
        let blocks = disk.base.size().div_ceil(BLOCK_SIZE as u64);
        RestoreError::check_equal(DEVICE, "size in bytes", state.size, disk.base.size())?;
        let ascending = state.zeroed.is_sorted_by(|a, b| a < b) && state.written.is_sorted_by(|a, b| a.number < b.number);
        RestoreError::check(ascending, DEVICE, "order of blocks", false, "ascending")?;
        let numbers = state.zeroed.iter().copied().chain(state.written.iter().map(|block| block.number));
        for number in numbers {
            RestoreError::check(number < blocks, DEVICE, "block number", number, "a block of the disk")?;
            let twice = disk.changed.insert(number, Place::Zero).is_some();
            RestoreError::check(!twice, DEVICE, "block number", number, "once in the record")?;
        }
        for block in &state.written {
            disk.put(block.number, &block.bytes).map_err(|problem| RestoreError::Backend { device: DEVICE, problem })?;
        }
        Ok(disk)
    }
}
