//! The saved record of a block device: which disk it was.

use super::request::VIRTIO_BLK_ID_BYTES;
use super::{Blk, BlockBackend};
use crate::RestoreError;
use snapshot::{Record, SectionId};

const DEVICE: &str = "disk";

snapshot::saved! {
    /// A block device without its transport and its contents. Untrusted.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct BlkState {
        /// Size in sectors of 512 bytes.
        pub sectors: u64,
        /// The guest was told that the disk cannot be written.
        pub read_only: bool,
        /// The serial number that the guest reads.
        pub id: [u8; VIRTIO_BLK_ID_BYTES],
    }
}

impl Record for BlkState {
    const ID: SectionId = SectionId::new(*b"DISK");
    const VERSION: u16 = 1;
}

impl<B: BlockBackend> Blk<B> {
    /// The record of this disk.
    pub fn save(&self) -> BlkState {
        BlkState { sectors: self.sectors(), read_only: self.backend.is_read_only(), id: self.id }
    }

    /// The disk of `state` with the contents of `backend`, which must have the same size and take writes if that one did.
    pub fn restore(backend: B, state: &BlkState) -> Result<Self, RestoreError> {
        let mut disk = Self::new(backend, "");
        RestoreError::check_equal(DEVICE, "number of sectors", state.sectors, disk.sectors())?;
        RestoreError::check_equal(DEVICE, "read-only flag", u64::from(state.read_only), u64::from(disk.backend.is_read_only()))?;
        disk.id = state.id;
        Ok(disk)
    }
}
