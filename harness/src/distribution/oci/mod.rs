//! Registries: machines and snapshots as OCI artifacts, laid out as `docs/registry.md` says.
//!
//! [`Destination::push`] sends files, [`ensure`] makes sure that what a reference names is in the store. `registry` is the connection and `blob` what goes
//! through it; `route`, `tls`, `credentials` and `token` are what it takes to be let in, `obstacle` what may be in the way; `document` is what the blobs say, `host` what of it can be used here, `signatures` who stands for it.

mod blob;
mod credentials;
mod digest;
mod document;
mod error;
mod host;
mod meter;
mod obstacle;
mod pull;
mod push;
mod registry;
mod route;
mod signatures;
mod tls;
mod token;

pub use blob::Sent;
pub use digest::{NotADigest, Sha256};
pub use document::{ARTIFACT_TYPE, Code, CodeFormat, Config, Descriptor, INDEXES, Index, Manifest, Platform, SnapshotConfig};
pub use error::OciError;
pub use host::Host;
pub use obstacle::{Obstacle, Remedy};
pub use pull::{PullOptions, VmArtifacts, ensure};
pub(crate) use pull::{digest_of, ensure_in, files_of, intact, voucher};
pub use push::{Destination, Pushed};
pub use registry::Registry;

use oci_client::Reference;
use std::net::Ipv6Addr;

/// Understands a reference.
pub fn reference(text: &str) -> Result<Reference, OciError> {
    // As other programs write it.
    let text = text.strip_prefix(TRANSPORT).unwrap_or(text);
    let problem = |problem: String| OciError::Reference { text: text.escape_debug().to_string(), problem };
    let parse = |text: &str| text.parse::<Reference>().map_err(|error| problem(error.to_string()));
    let Some((address, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) else { return parse(text) };
    // An address of IPv6 is not in the grammar of references, so that a name stands in for it.
    let address: Ipv6Addr = address.parse().map_err(|_| problem("what is in brackets is not an IPv6 address".into()))?;
    if !rest.starts_with([':', '/']) {
        return Err(problem("a / belongs behind the registry".into()));
    }
    let stand_in = parse(&format!("{STAND_IN}{rest}"))?;
    if !stand_in.registry().starts_with(STAND_IN) {
        return Err(problem("it has a registry, but no name".into()));
    }
    let registry = stand_in.registry().replacen(STAND_IN, &format!("[{address}]"), 1);
    let repository = stand_in.repository().to_owned();
    Ok(match (stand_in.tag(), stand_in.digest()) {
        (Some(tag), Some(digest)) => Reference::with_tag_and_digest(registry, repository, tag.into(), digest.into()),
        (_, Some(digest)) => Reference::with_digest(registry, repository, digest.into()),
        (tag, None) => Reference::with_tag(registry, repository, tag.unwrap_or("latest").into()),
    })
}

/// What other programs write before a reference.
pub(crate) const TRANSPORT: &str = "docker://";
/// See [`reference`].
const STAND_IN: &str = "ipv6.invalid";

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
    fn a_registry_may_be_an_ipv6_address() {
        let parts = |text: &str| {
            let found = reference(text).unwrap();
            (found.resolve_registry().to_owned(), found.repository().to_owned(), found.whole())
        };
        let wanted = |registry: &str, repository: &str, whole: &str| (registry.to_owned(), repository.to_owned(), whole.to_owned());
        assert_eq!(parts("[::1]:5000/a/b:1"), wanted("[::1]:5000", "a/b", "[::1]:5000/a/b:1"));
        assert_eq!(parts("[2001:DB8::7]/x"), wanted("[2001:db8::7]", "x", "[2001:db8::7]/x:latest"));
        let digest = Sha256::of(b"");
        assert_eq!(parts(&format!("[::1]:5000/x@{digest}")).2, format!("[::1]:5000/x@{digest}"));
        for wrong in ["[::1]", "[::1]:5000", "[::1]x/y", "[::1%lo]:5000/x", "[r.example]/x", "[::1/x", "[::1]:5000/X"] {
            assert!(reference(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_reference_that_was_understood_is_known_again() {
        let digest = Sha256::of(b"");
        for text in ["alpine", "alpine:3.20", "localhost:5000/a/b:1", "[::1]:5000/a:1", &format!("registry.example/x@{digest}")] {
            let understood = reference(text).unwrap();
            let known = known_reference(&understood.whole()).unwrap();
            assert_eq!(known, understood);
            assert_eq!(known.resolve_registry(), understood.resolve_registry());
        }
        assert_eq!(reference("docker://alpine").unwrap(), reference("alpine").unwrap());
        assert_eq!(known_reference("alpine"), None);
        assert_eq!(known_reference(&format!("registry.example/x:1@{digest}")), None);
    }
}
