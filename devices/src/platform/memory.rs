//! Guest RAM as devices see it.

use super::GuestPhysAddr;

/// An access outside guest RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("guest-physical range {address:?}+{length:#x} is not RAM")]
pub struct MemoryError {
    /// First byte of the access.
    pub address: GuestPhysAddr,
    /// Length of the access in bytes.
    pub length: u64,
}

/// How much of guest RAM is there to be accessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// All of it.
    Whole,
    /// The rest comes from a snapshot as it is touched.
    Partial,
    /// As before, and something that was touched could not be had: no device works until it was, or anything else changes.
    Stalled,
}

/// Guest RAM. An access is whole or not at all: a range that leaves RAM fails without having moved a byte.
pub trait GuestMemory {
    /// Size of RAM in bytes; RAM starts at guest-physical address 0.
    fn size(&self) -> u64;
    /// Fills `bytes` from `address`.
    fn read(&mut self, address: GuestPhysAddr, bytes: &mut [u8]) -> Result<(), MemoryError>;
    /// Stores `bytes` at `address`.
    fn write(&mut self, address: GuestPhysAddr, bytes: &[u8]) -> Result<(), MemoryError>;
    /// How much of it is there. An access to what is not brings that in, or fails.
    fn presence(&self) -> Presence {
        Presence::Whole
    }
    /// Brings a range in ahead of an access, so that the access cannot fail. What lies outside RAM is left alone; whether it worked is for
    /// [`Self::presence`] to say.
    fn bring_in(&mut self, _address: GuestPhysAddr, _length: u64) {}
}

/// RAM in a plain vector, for tests of devices.
#[derive(Debug, Clone, Default)]
pub struct VecMemory(pub Vec<u8>);

impl VecMemory {
    fn range(&self, address: GuestPhysAddr, length: usize) -> Result<std::ops::Range<usize>, MemoryError> {
        let error = MemoryError { address, length: length as u64 };
        let start = usize::try_from(address.get()).map_err(|_| error)?;
        let end = start.checked_add(length).ok_or(error)?;
        if end > self.0.len() { Err(error) } else { Ok(start..end) }
    }
}

impl GuestMemory for VecMemory {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }
    fn read(&mut self, address: GuestPhysAddr, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let range = self.range(address, bytes.len())?;
        bytes.copy_from_slice(&self.0[range]);
        Ok(())
    }
    fn write(&mut self, address: GuestPhysAddr, bytes: &[u8]) -> Result<(), MemoryError> {
        let range = self.range(address, bytes.len())?;
        self.0[range].copy_from_slice(bytes);
        Ok(())
    }
}
