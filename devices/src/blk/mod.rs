//! virtio-blk (section 5.2) over a [`BlockBackend`].

mod backend;
mod cow;
pub mod request;
mod state;

pub use backend::{BlockBackend, BlockError, BlockSource, ReadOnlyBackend, ZeroSource};
pub use cow::{BLOCK_SIZE, BlockStore, CowBackend, CowState, MemoryStore, StoredBlock};
pub use state::BlkState;

use crate::virtio::spec::device_id;
use crate::virtio::{DescriptorChain, DriverFault, VirtioDevice, Virtqueues, copy_config};
use request::{
    MAX_ZERO_SECTORS, RequestHeader, SECTOR_SIZE, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO,
    VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_F_WRITE_ZEROES, VIRTIO_BLK_ID_BYTES, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK,
    VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
    VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP, ZeroRange, config_space,
};

const QUEUE_SIZE: u16 = 256;

/// Bytes that move between guest memory and the backend in one step.
const CHUNK: usize = 64 << 10;

/// Why a request is answered with an error.
enum Refusal {
    /// The request is not one that the driver may make.
    Invalid,
    /// The device has no such request.
    Unsupported,
    /// The backend could not do it.
    Backend,
    /// The driver cannot even be answered.
    Fault(DriverFault),
}

impl From<BlockError> for Refusal {
    fn from(_: BlockError) -> Self {
        Self::Backend
    }
}

impl From<DriverFault> for Refusal {
    fn from(fault: DriverFault) -> Self {
        Self::Fault(fault)
    }
}

/// The block device.
#[derive(Debug)]
pub struct Blk<B> {
    backend: B,
    id: [u8; VIRTIO_BLK_ID_BYTES],
    buffer: Box<[u8]>,
    errors: u64,
}

impl<B: BlockBackend> Blk<B> {
    /// A disk with the contents of `backend`. The guest reads `id`, cut to 20 bytes, as its serial number.
    pub fn new(backend: B, id: &str) -> Self {
        let mut padded = [0; VIRTIO_BLK_ID_BYTES];
        for (to, from) in padded.iter_mut().zip(id.bytes()) {
            *to = from;
        }
        Self { backend, id: padded, buffer: vec![0; CHUNK].into(), errors: 0 }
    }

    /// What holds the contents.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// What holds the contents.
    pub fn backend_mut(&mut self) -> &mut B {
        &mut self.backend
    }

    /// Times that the backend failed since this object was made. Not part of the saved record.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    fn sectors(&self) -> u64 {
        self.backend.size() / SECTOR_SIZE
    }

    /// Byte range of `length` bytes from `sector` on, if it is whole sectors inside the disk.
    fn byte_range(&self, sector: u64, length: u64) -> Result<u64, Refusal> {
        let end = sector.checked_add(length / SECTOR_SIZE).filter(|&end| end <= self.sectors());
        if end.is_none() || !length.is_multiple_of(SECTOR_SIZE) { Err(Refusal::Invalid) } else { Ok(sector * SECTOR_SIZE) }
    }

    #[expect(clippy::cast_possible_truncation, reason = "at most the buffer")]
    fn read(&mut self, sector: u64, chain: &mut DescriptorChain, queues: &mut Virtqueues<'_>) -> Result<(), Refusal> {
        let mut left = chain.writable() - 1;
        let mut offset = self.byte_range(sector, left)?;
        while left > 0 {
            let step = left.min(CHUNK as u64);
            let bytes = &mut self.buffer[..step as usize];
            self.backend.read_at(offset, bytes)?;
            chain.write(queues.memory, bytes)?;
            (left, offset) = (left - step, offset + step);
        }
        Ok(())
    }

    fn write(&mut self, sector: u64, chain: &mut DescriptorChain, queues: &mut Virtqueues<'_>) -> Result<(), Refusal> {
        let mut offset = self.byte_range(sector, chain.readable())?;
        if self.backend.is_read_only() {
            return Err(BlockError::ReadOnly.into());
        }
        while chain.readable() > 0 {
            let read = chain.read(queues.memory, &mut self.buffer)?;
            self.backend.write_at(offset, &self.buffer[..read])?;
            offset += read as u64;
        }
        Ok(())
    }

    /// Discard and write-zeroes (section 5.2.6.2), of the one range that MAX_ZERO_SEGMENTS allows.
    fn zero(&mut self, discard: bool, chain: &mut DescriptorChain, queues: &mut Virtqueues<'_>) -> Result<(), Refusal> {
        if chain.readable() != ZeroRange::SIZE as u64 {
            return Err(Refusal::Invalid);
        }
        let range = ZeroRange::from_bytes(chain.read_array(queues.memory)?);
        let allowed_flags = if discard { 0 } else { VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP };
        if range.flags & !allowed_flags != 0 {
            return Err(Refusal::Unsupported);
        }
        let length = u64::from(range.sectors) * SECTOR_SIZE;
        let offset = self.byte_range(range.sector, length)?;
        if range.sectors > MAX_ZERO_SECTORS {
            return Err(Refusal::Invalid);
        }
        if self.backend.is_read_only() {
            return Err(BlockError::ReadOnly.into());
        }
        if discard {
            self.backend.discard_at(offset, length)?
        } else {
            self.backend.write_zeroes_at(offset, length)?
        }
        Ok(())
    }

    fn handle(&mut self, chain: &mut DescriptorChain, queues: &mut Virtqueues<'_>) -> Result<(), Refusal> {
        if chain.readable() < RequestHeader::SIZE as u64 {
            return Err(Refusal::Invalid);
        }
        let header = RequestHeader::from_bytes(chain.read_array(queues.memory)?);
        match header.request_type {
            VIRTIO_BLK_T_IN => self.read(header.sector, chain, queues),
            VIRTIO_BLK_T_OUT => self.write(header.sector, chain, queues),
            VIRTIO_BLK_T_FLUSH => Ok(self.backend.flush()?),
            VIRTIO_BLK_T_GET_ID => {
                let room = usize::try_from(chain.writable() - 1).unwrap_or(usize::MAX);
                chain.write(queues.memory, &self.id[..room.min(VIRTIO_BLK_ID_BYTES)])?;
                Ok(())
            }
            VIRTIO_BLK_T_DISCARD => self.zero(true, chain, queues),
            VIRTIO_BLK_T_WRITE_ZEROES => self.zero(false, chain, queues),
            _ => Err(Refusal::Unsupported),
        }
    }
}

impl<B: BlockBackend> VirtioDevice for Blk<B> {
    fn device_id(&self) -> u32 {
        device_id::BLOCK
    }

    fn features(&self) -> u64 {
        let common = VIRTIO_BLK_F_SIZE_MAX | VIRTIO_BLK_F_SEG_MAX | VIRTIO_BLK_F_BLK_SIZE | VIRTIO_BLK_F_FLUSH;
        let access = if self.backend.is_read_only() { VIRTIO_BLK_F_RO } else { VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES };
        common | access
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn read_config(&self, offset: u64, bytes: &mut [u8]) {
        copy_config(&config_space(self.sectors()), offset, bytes);
    }

    /// The status is the last device-writable byte of a request (section 5.2.6), wherever the driver cut its buffers.
    #[expect(clippy::cast_possible_truncation, reason = "at most the buffer")]
    fn notify(&mut self, queue: u16, queues: &mut Virtqueues<'_>) -> Result<(), DriverFault> {
        while let Some(mut chain) = queues.next(queue)? {
            if chain.writable() == 0 {
                return Err(DriverFault::RequestTooShort { needed: 1, available: 0 });
            }
            let status = match self.handle(&mut chain, queues) {
                Ok(()) => VIRTIO_BLK_S_OK,
                Err(Refusal::Invalid) => {
                    queues.count_rejected();
                    VIRTIO_BLK_S_IOERR
                }
                Err(Refusal::Unsupported) => {
                    queues.count_rejected();
                    VIRTIO_BLK_S_UNSUPP
                }
                Err(Refusal::Backend) => {
                    self.errors += 1;
                    VIRTIO_BLK_S_IOERR
                }
                Err(Refusal::Fault(fault)) => return Err(fault),
            };
            // What a failed request leaves unwritten is zeroed, so that the status lands in its place.
            while chain.writable() > 1 {
                let step = (chain.writable() - 1).min(CHUNK as u64) as usize;
                self.buffer[..step].fill(0);
                chain.write(queues.memory, &self.buffer[..step])?;
            }
            chain.write(queues.memory, &[status])?;
            queues.complete(queue, chain)?;
        }
        Ok(())
    }

    fn reset(&mut self) {}
}
