//! The buffer through which host and module hand each other bytes.

use crate::error::Error;

/// The buffer, and how many of its bytes are the answer to the last call.
#[derive(Default)]
pub struct Exchange {
    bytes: Vec<u8>,
}

impl Exchange {
    /// Makes room for `length` bytes of the host's. Their address, for as long as no other call is made but the one that takes them.
    pub fn reserve(&mut self, length: usize) -> Result<*mut u8, Error> {
        self.bytes.clear();
        let full = |_| Error::OutOfMemory { what: "the host's input", bytes: length as u64 };
        self.bytes.try_reserve_exact(length).map_err(full)?;
        self.bytes.resize(length, 0);
        Ok(self.bytes.as_mut_ptr())
    }

    /// The first `length` bytes, as the host has left them.
    pub fn taken(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.truncate(length);
        bytes
    }

    /// Gives the host an answer. Returns its length.
    pub fn answer(&mut self, bytes: Vec<u8>) -> usize {
        self.bytes = bytes;
        self.bytes.len()
    }

    /// How long the answer is.
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Where the answer is.
    pub fn address(&self) -> *const u8 {
        self.bytes.as_ptr()
    }
}
