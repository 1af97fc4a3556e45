//! The locator at the end of a file: how tools find the payload without understanding the file.

use super::fields::Fields;
use super::{Error, Result, VERSION, check_version};

/// First bytes of a locator: others than a payload's, so that a file that is cut off inside its payload is not taken for a whole one.
const MAGIC: [u8; 8] = *b"\x89PBLO\r\n\x1a";

/// Says where in the file the payload is. It is the last thing in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locator {
    /// Where the payload begins, in bytes from the start of the file.
    pub payload_offset: u64,
    /// Bytes of the payload.
    pub payload_length: u64,
}

impl Locator {
    /// Bytes of a locator.
    pub const LEN: usize = 32;

    /// The locator's bytes.
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.payload_offset.to_le_bytes());
        bytes[24..].copy_from_slice(&self.payload_length.to_le_bytes());
        bytes
    }

    /// The locator that is the end of a file; `None` if that is something else.
    pub fn decode(end: &[u8; Self::LEN]) -> Result<Option<Self>> {
        let mut fields = Fields(end);
        if fields.array()? != MAGIC {
            return Ok(None);
        }
        check_version(fields.u32()?)?;
        if fields.u32()? != 0 {
            return Err(Error::malformed("the locator's reserved field is not 0"));
        }
        Ok(Some(Self { payload_offset: fields.u64()?, payload_length: fields.u64()? }))
    }
}
