//! Random bytes from the operating system.

use crate::error::{Error, Result};
use rand_core::utils::next_word_via_fill;
use rand_core::{Rng, TryRng};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use std::convert::Infallible;

/// The operating system's random generator.
#[derive(Debug)]
pub struct OsEntropy(());

impl OsEntropy {
    /// The generator, which is known to work.
    pub fn open() -> Result<Self> {
        draw(&mut [0; 1]).map_err(|error| Error::Host { what: "get random bytes from the operating system", source: error.into() })?;
        Ok(Self(()))
    }

    /// `N` bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill_bytes(&mut bytes);
        bytes
    }
}

impl TryRng for OsEntropy {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> std::result::Result<u32, Infallible> {
        next_word_via_fill(self)
    }

    fn try_next_u64(&mut self) -> std::result::Result<u64, Infallible> {
        next_word_via_fill(self)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> std::result::Result<(), Infallible> {
        if draw(bytes).is_err() {
            // It has worked before, and Linux gives no reason for which it could stop. No guest runs on with bytes that are not random.
            std::process::abort();
        }
        Ok(())
    }
}

fn draw(mut bytes: &mut [u8]) -> std::result::Result<(), Errno> {
    while !bytes.is_empty() {
        match getrandom(&mut *bytes, GetRandomFlags::empty()) {
            Ok(count) => bytes = &mut bytes[count..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_drawn() {
        let mut source = OsEntropy::open().unwrap();
        let draws: Vec<[u8; 64]> = (0..64).map(|_| source.array()).collect();
        assert!((0..64).all(|i| draws.iter().any(|draw| draw[i] != 0)));
        assert_ne!(draws[0], draws[1]);
    }
}
