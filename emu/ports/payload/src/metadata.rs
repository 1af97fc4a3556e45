//! How a packed machine is to be booted: the payload's `metadata`, in JSON.

use serde::{Deserialize, Serialize};

/// What is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The kernel's command line, besides what the machine itself adds.
    pub append: String,
}

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
        let metadata = Metadata { append: "quiet \"x\"".into() };
        assert_eq!(Metadata::decode(&metadata.encode()).unwrap(), metadata);
        for wrong in [&b""[..], b"{}", b"{\"append\":1}", b"\xff"] {
            assert!(Metadata::decode(wrong).is_err());
        }
    }
}
