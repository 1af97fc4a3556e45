//! What a block device asks of the host.

/// Why a backend could not do what it was asked. The guest sees an I/O error in any case; the backend keeps what the host may
/// want to tell the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// There is no room for another block.
    #[error("the store for changed blocks is full")]
    Full,
    /// The backend cannot be written.
    #[error("the disk is read-only")]
    ReadOnly,
    /// The host failed.
    #[error("the host could not read or write the disk")]
    Host,
}

/// Bytes that can be read at any place.
pub trait BlockSource {
    /// Size in bytes, a multiple of 512. Never changes.
    fn size(&self) -> u64;

    /// Every byte reads as zero, and always will.
    fn is_all_zero(&self) -> bool {
        false
    }

    /// Fills `bytes` from `offset`. The caller has checked that the range is inside the disk.
    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), BlockError>;
}

/// A disk. For every range the caller has checked that it is inside.
pub trait BlockBackend: BlockSource {
    /// The disk takes no writes at all. Never changes.
    fn is_read_only(&self) -> bool {
        false
    }

    /// Stores `bytes` at `offset`.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), BlockError>;

    /// Makes `length` bytes from `offset` read as zero.
    fn write_zeroes_at(&mut self, offset: u64, length: u64) -> Result<(), BlockError>;

    /// `length` bytes from `offset` are of no more interest; what they read as afterwards is the backend's choice, made
    /// deterministically.
    fn discard_at(&mut self, offset: u64, length: u64) -> Result<(), BlockError>;

    /// Makes everything written so far durable.
    fn flush(&mut self) -> Result<(), BlockError>;
}

impl<B: BlockSource + ?Sized> BlockSource for Box<B> {
    fn size(&self) -> u64 {
        (**self).size()
    }
    fn is_all_zero(&self) -> bool {
        (**self).is_all_zero()
    }
    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), BlockError> {
        (**self).read_at(offset, bytes)
    }
}

impl<B: BlockBackend + ?Sized> BlockBackend for Box<B> {
    fn is_read_only(&self) -> bool {
        (**self).is_read_only()
    }
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), BlockError> {
        (**self).write_at(offset, bytes)
    }
    fn write_zeroes_at(&mut self, offset: u64, length: u64) -> Result<(), BlockError> {
        (**self).write_zeroes_at(offset, length)
    }
    fn discard_at(&mut self, offset: u64, length: u64) -> Result<(), BlockError> {
        (**self).discard_at(offset, length)
    }
    fn flush(&mut self) -> Result<(), BlockError> {
        (**self).flush()
    }
}

/// A disk that reads as zero everywhere: what lies under a sparse disk.
#[derive(Debug, Clone, Copy)]
pub struct ZeroSource {
    size: u64,
}

impl ZeroSource {
    /// `size` bytes, rounded down to a multiple of 512.
    pub fn new(size: u64) -> Self {
        Self { size: size - size % super::request::SECTOR_SIZE }
    }
}

impl BlockSource for ZeroSource {
    fn size(&self) -> u64 {
        self.size
    }
    fn is_all_zero(&self) -> bool {
        true
    }
    fn read_at(&mut self, _offset: u64, bytes: &mut [u8]) -> Result<(), BlockError> {
        bytes.fill(0);
        Ok(())
    }
}

/// A disk that cannot be written.
#[derive(Debug)]
pub struct ReadOnlyBackend<S>(pub S);

impl<S: BlockSource> BlockSource for ReadOnlyBackend<S> {
    fn size(&self) -> u64 {
        self.0.size()
    }
    fn is_all_zero(&self) -> bool {
        self.0.is_all_zero()
    }
    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), BlockError> {
        self.0.read_at(offset, bytes)
    }
}

impl<S: BlockSource> BlockBackend for ReadOnlyBackend<S> {
    fn is_read_only(&self) -> bool {
        true
    }
    fn write_at(&mut self, _offset: u64, _bytes: &[u8]) -> Result<(), BlockError> {
        Err(BlockError::ReadOnly)
    }
    fn write_zeroes_at(&mut self, _offset: u64, _length: u64) -> Result<(), BlockError> {
        Err(BlockError::ReadOnly)
    }
    fn discard_at(&mut self, _offset: u64, _length: u64) -> Result<(), BlockError> {
        Err(BlockError::ReadOnly)
    }
    fn flush(&mut self) -> Result<(), BlockError> {
        Ok(())
    }
}
