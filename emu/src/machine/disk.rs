//! What is behind a disk of the machine: contents that never change, with the blocks that differ from them kept apart, or memory.

use devices::blk::{BlockBackend, BlockError, BlockSource, BlockStore, CowBackend, ReadOnlyBackend};
use snapshot::Digest;

pub use super::memory_disk::MemoryDisk;

/// A disk to be built into a machine.
pub struct Disk {
    /// Digest of its contents at power-on, by which a snapshot names it; none for memory, which is zero then.
    pub digest: Digest,
    /// Its contents.
    pub content: DiskContent,
}

/// The three kinds of contents.
pub enum DiskContent {
    /// They never change.
    ReadOnly(Box<dyn BlockSource>),
    /// They are written, and there is room for the changed blocks.
    CopyOnWrite(Box<dyn BlockSource>, Box<dyn BlockStore>),
    /// They are memory, of which a snapshot holds the pages.
    Memory(MemoryDisk),
}

impl DiskContent {
    /// Bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::ReadOnly(source) | Self::CopyOnWrite(source, _) => source.size(),
            Self::Memory(disk) => disk.size(),
        }
    }
}

/// The three kinds of disks.
pub enum DiskBackend {
    /// Never changes.
    ReadOnly(ReadOnlyBackend<Box<dyn BlockSource>>),
    /// Changes are kept apart.
    CopyOnWrite(CowBackend<Box<dyn BlockSource>, Box<dyn BlockStore>>),
    /// Memory.
    Memory(MemoryDisk),
}

impl DiskBackend {
    fn backend(&mut self) -> &mut dyn BlockBackend {
        match self {
            Self::ReadOnly(backend) => backend,
            Self::CopyOnWrite(backend) => backend,
            Self::Memory(backend) => backend,
        }
    }

    fn shared(&self) -> &dyn BlockBackend {
        match self {
            Self::ReadOnly(backend) => backend,
            Self::CopyOnWrite(backend) => backend,
            Self::Memory(backend) => backend,
        }
    }
}

impl From<DiskContent> for DiskBackend {
    /// The disk at power-on.
    fn from(content: DiskContent) -> Self {
        match content {
            DiskContent::ReadOnly(source) => Self::ReadOnly(ReadOnlyBackend(source)),
            DiskContent::CopyOnWrite(source, store) => Self::CopyOnWrite(CowBackend::new(source, store)),
            DiskContent::Memory(memory) => Self::Memory(memory),
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
