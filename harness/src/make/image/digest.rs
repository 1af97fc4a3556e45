//! Digests as container images use them.

use super::error::{ImageError, Result};
use crate::distribution::oci::Sha256;
use sha2::Digest as _;
use std::io::{self, Read};

/// Checks the digest of `what` against what was wanted.
pub fn check(found: Sha256, what: impl FnOnce() -> String, wanted: Sha256) -> Result<()> {
    if found == wanted { Ok(()) } else { Err(ImageError::WrongDigest { what: what(), found, wanted }) }
}

/// Digests and counts what is read through it.
pub struct Digesting<R> {
    inner: R,
    digest: sha2::Sha256,
    count: u64,
}

impl<R: Read> Digesting<R> {
    /// Around a reader that is at its start.
    pub fn new(inner: R) -> Self {
        Self { inner, digest: sha2::Sha256::new(), count: 0 }
    }

    /// Reads what is left, and returns the digest and the count of all.
    pub fn finish(mut self) -> io::Result<(Sha256, u64)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((Sha256::from_bytes(self.digest.finalize().into()), self.count))
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.digest.update(&buffer[..count]);
        self.count += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_digested_though_less_is_read() {
        let mut reader = Digesting::new(&b"abcdef"[..]);
        reader.read_exact(&mut [0; 2]).unwrap();
        assert_eq!(reader.finish().unwrap(), (Sha256::of(b"abcdef"), 6));
    }
}
