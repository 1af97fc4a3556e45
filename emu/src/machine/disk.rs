//! What is behind a disk of the machine: a source that never changes, and for a writable disk the blocks that differ from it.

use devices::blk::{BlockBackend, BlockError, BlockSource, BlockStore, CowBackend, ReadOnlyBackend};
use snapshot::Digest;

/// A disk to be built into a machine.
pub struct Disk {
    /// Its contents.
    pub source: Box<dyn BlockSource>,
    /// Digest of its contents, by which a snapshot names it.
    pub digest: Digest,
    /// Room for changed blocks; without it the disk is read-only.
    pub store: Option<Box<dyn BlockStore>>,
}

/// The two kinds of disks.
pub enum DiskBackend {
    /// Never changes.
    ReadOnly(ReadOnlyBackend<Box<dyn BlockSource>>),
    /// Changes are kept apart.
    CopyOnWrite(CowBackend<Box<dyn BlockSource>, Box<dyn BlockStore>>),
}

impl DiskBackend {
    fn backend(&mut self) -> &mut dyn BlockBackend {
        match self {
            Self::ReadOnly(backend) => backend,
            Self::CopyOnWrite(backend) => backend,
        }
    }

    fn shared(&self) -> &dyn BlockBackend {
        match self {
            Self::ReadOnly(backend) => backend,
            Self::CopyOnWrite(backend) => backend,
        }
    }
}

impl BlockSource for DiskBackend {
    fn size(&self) -> u64 {
        self.shared().size()
    }
    fn is_all_zero(&self) -> bool {
        self.shared().is_all_zero()
    }
    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), BlockError> {
        self.backend().read_at(offset, bytes)
    }
}

impl BlockBackend for DiskBackend {
    fn is_read_only(&self) -> bool {
        self.shared().is_read_only()
    }
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), BlockError> {
        self.backend().write_at(offset, bytes)
    }
    fn write_zeroes_at(&mut self, offset: u64, length: u64) -> Result<(), BlockError> {
        self.backend().write_zeroes_at(offset, length)
    }
    fn discard_at(&mut self, offset: u64, length: u64) -> Result<(), BlockError> {
        self.backend().discard_at(offset, length)
    }
    fn flush(&mut self) -> Result<(), BlockError> {
        self.backend().flush()
    }
}
