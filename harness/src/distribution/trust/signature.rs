//! What is signed: a digest, in the words of cosign's "simple signing".

use super::key::{PublicKey, SigningKey};
use crate::distribution::oci::Sha256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// What a payload says that it is.
const KIND: &str = "cosign container image signature";

/// A signature, and what it is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The bytes that are signed: JSON.
    pub payload: String,
    /// The signature in Base64.
    pub signature: String,
}

/// What is signed.
#[derive(Debug, Serialize, Deserialize)]
struct Payload {
    critical: Critical,
    optional: Option<serde_json::Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Critical {
    identity: Identity,
    image: ImageDigest,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Identity {
    docker_reference: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ImageDigest {
    docker_manifest_digest: Sha256,
}

impl Signature {
    /// Signs the document `digest` of `repository`, which is its registry and its name there. Equal arguments give equal bytes.
    pub fn new(key: &SigningKey, repository: &str, digest: Sha256) -> Self {
        let identity = Identity { docker_reference: repository.into() };
        let image = ImageDigest { docker_manifest_digest: digest };
        let payload = Payload { critical: Critical { identity, image, kind: KIND.into() }, optional: None };
        // A struct of text has a form in JSON.
        let payload = serde_json::to_string(&payload).unwrap_or_default();
        let signature = STANDARD.encode(key.sign(payload.as_bytes()));
        Self { payload, signature }
    }

    /// Whether this is `key`'s signature of the document `digest`. As with cosign, it may be that of the same document in another repository,
    /// so that copies stay signed.
    pub fn is_of(&self, digest: Sha256, key: PublicKey) -> bool {
        let Ok(signature) = STANDARD.decode(&self.signature) else { return false };
        // Nothing is believed of what is not signed.
        if !key.verifies(self.payload.as_bytes(), &signature) {
            return false;
        }
        let payload: Option<Payload> = serde_json::from_str(&self.payload).ok();
        payload.is_some_and(|payload| payload.critical.kind == KIND && payload.critical.image.docker_manifest_digest == digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_one_document() {
        let key = SigningKey::generate().unwrap();
        let (digest, other) = (Sha256::of(b"index"), Sha256::of(b"other"));
        let signature = Signature::new(&key, "registry.example/demo", digest);
        // As the specification has it, to the letter.
        let wanted = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"registry.example/demo"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"cosign container image signature"}},"optional":null}}"#
        );
        assert_eq!(signature.payload, wanted);
        assert!(signature.is_of(digest, key.public()));
        assert!(!signature.is_of(other, key.public()));
        assert!(!signature.is_of(digest, SigningKey::generate().unwrap().public()));

        let moved = Signature { payload: wanted.replace(&digest.to_string(), &other.to_string()), ..signature.clone() };
        assert!(!moved.is_of(other, key.public()));
        let signed = |payload: String| Signature { signature: STANDARD.encode(key.sign(payload.as_bytes())), payload };
        assert!(signed(wanted.clone()).is_of(digest, key.public()));
        // What the key has signed for another purpose.
        for other in [wanted.replace("cosign", "atomic"), "{}".into(), String::new(), format!("[{wanted}]")] {
            assert!(!signed(other.clone()).is_of(digest, key.public()), "{other}");
        }
        for broken in ["", "=", "AAAA", &signature.signature[4..]] {
            assert!(!Signature { signature: broken.into(), ..signature.clone() }.is_of(digest, key.public()), "{broken}");
        }
    }
}
