//! What is behind a disk of the machine: contents that never change, with the blocks that differ from them kept apart, or memory.

use devices::blk::{Blk, BlkState, BlockBackend, BlockError, BlockSource, BlockStore, CowBackend, CowState, ReadOnlyBackend};
use snapshot::{Digest, Sections, Writer};

use super::error::MachineError;
use super::model::{self, SlotRange};
use super::plug::Pluggable;
use super::state::DiskIdentity;
use crate::bus::Ram;

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

/// A disk of a machine.
pub struct DiskBackend {
    /// Digest of the unchanged contents.
    digest: Digest,
    content: Content,
}

/// The three kinds of disks.
enum Content {
    /// Never changes.
    ReadOnly(ReadOnlyBackend<Box<dyn BlockSource>>),
    /// Changes are kept apart.
    CopyOnWrite(CowBackend<Box<dyn BlockSource>, Box<dyn BlockStore>>),
    /// Memory.
    Memory(MemoryDisk),
}

impl DiskBackend {
    fn backend(&mut self) -> &mut dyn BlockBackend {
        match &mut self.content {
            Content::ReadOnly(backend) => backend,
            Content::CopyOnWrite(backend) => backend,
            Content::Memory(backend) => backend,
        }
    }

    fn shared(&self) -> &dyn BlockBackend {
        match &self.content {
            Content::ReadOnly(backend) => backend,
            Content::CopyOnWrite(backend) => backend,
            Content::Memory(backend) => backend,
        }
    }

    /// What it holds, if that is memory.
    pub fn memory(&self) -> Option<&Ram> {
        match &self.content {
            Content::Memory(disk) => Some(disk.memory()),
            Content::ReadOnly(_) | Content::CopyOnWrite(_) => None,
        }
    }

    /// Whether writes failed because the store of changed blocks is full, since this was last asked.
    pub fn was_full(&mut self) -> bool {
        match &mut self.content {
            Content::CopyOnWrite(backend) => backend.was_full(),
            Content::ReadOnly(_) | Content::Memory(_) => false,
        }
    }
}

impl From<DiskContent> for Content {
    /// The disk at power-on.
    fn from(content: DiskContent) -> Self {
        match content {
            DiskContent::ReadOnly(source) => Self::ReadOnly(ReadOnlyBackend(source)),
            DiskContent::CopyOnWrite(source, store) => Self::CopyOnWrite(CowBackend::new(source, store)),
            DiskContent::Memory(memory) => Self::Memory(memory),
        }
    }
}

/// A disk as the guest sees it.
pub type DiskDevice = Blk<DiskBackend>;

impl Pluggable for DiskDevice {
    const SLOTS: SlotRange = model::DISKS;
    type Part = Disk;

    fn boot(disk: Disk, number: u16) -> Result<Self, MachineError> {
        let backend = DiskBackend { digest: disk.digest, content: disk.content.into() };
        Ok(Self::new(backend, &format!("disk{number}")))
    }

    fn restore(disk: Disk, number: u16, sections: &mut Sections<'_>) -> Result<Self, MachineError> {
        let wanted = Digest::from_bytes(sections.take::<DiskIdentity>(number)?.digest);
        if wanted != disk.digest {
            return Err(MachineError::WrongDisk { number: number.into(), found: disk.digest, wanted });
        }
        let changes = sections.take_if_present::<CowState>(number)?;
        let content = match (disk.content, changes) {
            (DiskContent::CopyOnWrite(source, store), Some(changes)) => Content::CopyOnWrite(CowBackend::restore(source, store, &changes)?),
            (content, None) => content.into(),
            (_, Some(_)) => return Err(MachineError::ReadOnlyDisk { number: number.into() }),
        };
        Ok(Self::restore(DiskBackend { digest: wanted, content }, &sections.take::<BlkState>(number)?)?)
    }

    fn save(&mut self, number: u16, writer: &mut Writer) -> Result<(), MachineError> {
        writer.add(number, &DiskIdentity { digest: *self.backend().digest.as_bytes() })?;
        writer.add(number, &Blk::save(self))?;
        if let Content::CopyOnWrite(changes) = &mut self.backend_mut().content {
            let state = changes.save().map_err(|problem| MachineError::Disk { number: number.into(), problem })?;
            writer.add(number, &state)?;
        }
        Ok(())
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
