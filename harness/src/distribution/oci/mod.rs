//! Registries: machines and snapshots as OCI artifacts, laid out as `docs/registry.md` says.
//!
//! [`Destination::push`] sends files, [`ensure`] makes sure that what a reference names is in the store. `registry` is the connection and `blob` what goes
//! through it, `document` is what the blobs say, `host` what of it can be used here, `signatures` who stands for it.

mod blob;
mod digest;
mod document;
mod error;
mod host;
mod meter;
mod pull;
mod push;
mod registry;
mod signatures;
mod token;

pub use blob::Sent;
pub use digest::{NotADigest, Sha256};
pub use document::{ARTIFACT_TYPE, Code, CodeFormat, Config, Descriptor, INDEXES, Index, Manifest, Platform, SnapshotConfig};
pub use error::OciError;
pub use host::Host;
pub use pull::{PullOptions, VmArtifacts, ensure};
pub(crate) use pull::{digest_of, ensure_in, intact, voucher};
pub use push::{Destination, Pushed};
pub use registry::{Connection, Registry};

use oci_client::Reference;

/// Understands a reference.
pub fn reference(text: &str) -> Result<Reference, OciError> {
    text.parse()
        .map_err(|error: oci_client::ParseError| OciError::Reference { text: text.escape_debug().to_string(), problem: error.to_string() })
}

/// The same of a reference in full, which has been understood before. Making ready to understand any takes 50 ms.
fn known_reference(whole: &str) -> Option<Reference> {
    let (registry, rest) = whole.split_once('/')?;
    let reference = match rest.split_once('@') {
        // One with a tag too is left to the others.
        Some((repository, _)) if repository.contains(':') => return None,
        Some((repository, digest)) => Reference::with_digest(registry.into(), repository.into(), digest.into()),
        None => {
            let (repository, tag) = rest.rsplit_once(':')?;
            Reference::with_tag(registry.into(), repository.into(), tag.into())
        }
    };
    Some(reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_that_was_understood_is_known_again() {
        let digest = Sha256::of(b"");
        for text in ["alpine", "alpine:3.20", "localhost:5000/a/b:1", &format!("registry.example/x@{digest}")] {
            let understood = reference(text).unwrap();
            let known = known_reference(&understood.whole()).unwrap();
            assert_eq!(known, understood);
            assert_eq!(known.resolve_registry(), understood.resolve_registry());
        }
        assert_eq!(known_reference("alpine"), None);
        assert_eq!(known_reference(&format!("registry.example/x:1@{digest}")), None);
    }
}
