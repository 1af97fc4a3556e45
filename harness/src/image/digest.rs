//! Digests as container images use them.

use super::error::{ImageError, Result};
use sha2::Digest as _;
use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

/// A SHA-256 digest, `sha256:` and hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The digits alone.
    pub fn digits(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Checks it against what was wanted of `what`.
    pub fn check(self, what: impl FnOnce() -> String, wanted: Self) -> Result<()> {
        if self == wanted { Ok(()) } else { Err(ImageError::WrongDigest { what: what(), found: self, wanted }) }
    }
}

impl FromStr for Sha256 {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || ImageError::UnknownDigest { digest: text.escape_debug().to_string() };
        let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 64).ok_or_else(unknown)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let value = |digit: u8| char::from(digit).to_digit(16).filter(|_| !digit.is_ascii_uppercase());
            let (Some(high), Some(low)) = (value(pair[0]), value(pair[1])) else { return Err(unknown()) };
            *byte = (high << 4 | low) as u8;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.digits())
    }
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
        Ok((Sha256(self.digest.finalize().into()), self.count))
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

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn digests_are_read_as_they_are_written() {
        assert_eq!(Sha256::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Sha256>().unwrap(), Sha256::of(b""));
        let upper = EMPTY.replace('e', "E");
        for wrong in ["", "sha256:", "sha256:12", "sha512:12", &EMPTY[1..], &upper, &EMPTY.replace('0', "g"), &EMPTY.replace("e3", "é")] {
            assert_eq!(wrong.parse::<Sha256>().unwrap_err().kind(), "image-digest-kind", "{wrong}");
        }
    }

    #[test]
    fn all_is_digested_though_less_is_read() {
        let mut reader = Digesting::new(&b"abcdef"[..]);
        reader.read_exact(&mut [0; 2]).unwrap();
        assert_eq!(reader.finish().unwrap(), (Sha256::of(b"abcdef"), 6));
    }
}
