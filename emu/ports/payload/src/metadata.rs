//! How a packed machine is to be booted: the payload's `metadata`, in JSON.

use serde::{Deserialize, Serialize};

/// What is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The kernel's command line, besides what the machine itself adds.
    pub append: String,
    /// Bytes of the upper disk: writable memory, zero at power-on. 0 if there is none, else a multiple of [`UPPER_UNIT`].
    #[serde(default)]
    pub upper: u64,
}

/// The upper disk is a multiple of this many bytes.
pub const UPPER_UNIT: u64 = crate::MEMORY_PAGE;

impl Metadata {
    /// As bytes. The same metadata give the same.
    pub fn encode(&self) -> Vec<u8> {
        // A struct of text has a form in JSON, whatever it holds.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From bytes, which anyone may have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let metadata = Metadata { append: "quiet \"x\"".into(), upper: 1 << 33 };
        assert_eq!(Metadata::decode(&metadata.encode()).unwrap(), metadata);
        assert_eq!(Metadata::decode(b"{\"append\":\"\"}").unwrap(), Metadata { append: String::new(), upper: 0 });
        for wrong in [&b""[..], b"{}", b"{\"append\":1}", b"{\"append\":\"\",\"upper\":-1}", b"\xff"] {
            assert!(Metadata::decode(wrong).is_err());
        }
    }
}
