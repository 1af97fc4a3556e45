//! SHA-256, by which registries name what they hold.

use crate::text::hex;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::str::FromStr;

/// A SHA-256 digest: `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// One that was computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Of all that is in `file`.
    pub fn of_file(file: &File) -> io::Result<Self> {
        let mut digester = sha2::Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut offset = 0;
        loop {
            match file.read_at(&mut buffer, offset) {
                Ok(0) => return Ok(Self(digester.finalize().into())),
                Ok(count) => {
                    digester.update(&buffer[..count]);
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The digits alone.
    pub fn digits(&self) -> String {
        hex(&self.0)
    }
}

/// Something that should be a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no digest that can be checked: only sha256:, with 64 hexadecimal digits, is known here")]
pub struct NotADigest(String);

impl FromStr for Sha256 {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let unknown = || NotADigest(text.chars().take(200).collect::<String>().escape_debug().to_string());
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

impl TryFrom<String> for Sha256 {
    type Error = NotADigest;

    fn try_from(text: String) -> Result<Self, NotADigest> {
        text.parse()
    }
}

impl From<Sha256> for String {
    fn from(digest: Sha256) -> Self {
        digest.to_string()
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
            assert!(wrong.parse::<Sha256>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_has_the_digest_of_its_bytes() {
        let bytes = vec![7; (1 << 20) + 3];
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        assert_eq!(Sha256::of_file(&file).unwrap(), Sha256::of(&bytes));
    }
}
