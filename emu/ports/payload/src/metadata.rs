//! How a packed machine is to be booted: the payload's `metadata`, in JSON.

use super::{ImageOrigin, Part, PartKind};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// What is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The kernel's command line, besides what the machine itself adds.
    pub append: String,
    /// Bytes of the upper disk: writable memory, zero at power-on. 0 if there is none, else a multiple of [`UPPER_UNIT`].
    #[serde(default)]
    pub upper: u64,
    /// The machine has a network device.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub network: bool,
    /// The container image that the root is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageOrigin>,
}

/// The upper disk is a multiple of this many bytes.
pub const UPPER_UNIT: u64 = crate::MEMORY_PAGE;

impl Metadata {
    /// As bytes. The same metadata give the same.
    pub fn encode(&self) -> Vec<u8> {
        // A struct of text has a form in JSON, whatever it holds.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What they and the `parts` of the payload say of a machine with so much RAM, as lines of the module's configuration. A network device
    /// that is made anew has the Ethernet address `mac`, in hexadecimal digits.
    pub fn configuration(&self, ram_size: u64, parts: &[Part], mac: &str) -> String {
        let mut text = format!("ram={ram_size}\nupper={}\n", self.upper);
        if self.network {
            let _ = writeln!(text, "network={mac}");
        }
        for Part { kind, offset, length, digest } in parts {
            let _ = match kind {
                PartKind::Kernel | PartKind::Initramfs => writeln!(text, "{kind}={offset},{length}"),
                PartKind::Root => {
                    let digest: String = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
                    writeln!(text, "{kind}={offset},{length},{digest}")
                }
                PartKind::Metadata => Ok(()),
            };
        }
        let _ = writeln!(text, "append={}", self.append.replace(['\r', '\n'], " "));
        text
    }

    /// From bytes, which anyone may have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageConfig;

    #[test]
    fn what_is_written_is_read() {
        let config = ImageConfig { env: vec!["A=b".into()], labels: [("l".into(), "\n".into())].into(), ..ImageConfig::default() };
        let images = [None, Some(ImageOrigin { id: Some("sha256:0".into()), config, ..ImageOrigin::default() })];
        for (image, network) in images.into_iter().zip([false, true]) {
            let metadata = Metadata { append: "quiet \"x\"".into(), upper: 1 << 33, network, image };
            assert_eq!(Metadata::decode(&metadata.encode()).unwrap(), metadata);
        }
        let least = Metadata { append: String::new(), upper: 0, network: false, image: None };
        assert_eq!(Metadata::decode(b"{\"append\":\"\"}").unwrap(), least);
        assert_eq!(least.encode(), b"{\"append\":\"\",\"upper\":0}");
        for wrong in [&b""[..], b"{}", b"{\"append\":1}", b"{\"append\":\"\",\"upper\":-1}", b"\xff"] {
            assert!(Metadata::decode(wrong).is_err());
        }
    }
}
