//! Keys: ECDSA on P-256 with SHA-256, in PEM, as OpenSSL and cosign know them.

use super::error::TrustError;
use crate::distribution::oci::Sha256;
use crate::error::{Error, Result};
use p256::SecretKey;
use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{DerSignature, VerifyingKey};
use p256::elliptic_curve::Generate;
use pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What an encrypted key begins with.
const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// A key that checks signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Understands the content of a PEM file with a `PUBLIC KEY`; errors call it `name`.
    pub fn read(name: &str, text: &str) -> Result<Self> {
        Self::from_pem(text).map_err(|problem| not_a_key(name, "public key (ECDSA P-256, PEM)", text, problem))
    }

    /// Understands PEM.
    pub fn from_pem(text: &str) -> std::result::Result<Self, String> {
        VerifyingKey::from_public_key_pem(text.trim()).map(Self).map_err(|error| error.to_string())
    }

    /// In PEM.
    pub fn to_pem(self) -> String {
        // A point of the curve has a form in PEM.
        self.0.to_public_key_pem(LineEnding::LF).unwrap_or_default()
    }

    /// The digest of its DER form, which names it: `openssl pkey -pubin -in FILE -outform DER | sha256sum` says the same.
    pub fn fingerprint(self) -> Sha256 {
        self.0.to_public_key_der().map_or_else(|_| Sha256::of(b""), |der| Sha256::of(der.as_bytes()))
    }

    /// Whether `signature`, in DER, is this key's of `message`.
    pub fn verifies(self, message: &[u8], signature: &[u8]) -> bool {
        DerSignature::try_from(signature).is_ok_and(|signature| self.0.verify(message, &signature).is_ok())
    }
}

impl TryFrom<String> for PublicKey {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        Self::from_pem(&text)
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_pem()
    }
}

/// A key that signs.
pub struct SigningKey(SecretKey);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public().fingerprint())
    }
}

impl SigningKey {
    /// A new one.
    pub fn generate() -> Result<Self> {
        let host = |error: String| Error::Host { what: "get random bytes for a key", source: std::io::Error::other(error) };
        SecretKey::try_generate().map(Self).map_err(|error| host(error.to_string()))
    }

    /// Understands the content of a PEM file with a `PRIVATE KEY` (PKCS #8), or with an `ENCRYPTED PRIVATE KEY` and its password; errors call
    /// it `name`.
    pub fn read(name: &str, text: &str, password: Option<&str>) -> Result<Self> {
        let wanted = "private key (ECDSA P-256, PKCS #8, PEM)";
        if !text.trim_start().starts_with(ENCRYPTED) {
            let key = SecretKey::from_pkcs8_pem(text.trim());
            return key.map(Self).map_err(|problem| not_a_key(name, wanted, text, problem.to_string()));
        }
        let locked = |problem| TrustError::Locked { name: name.into(), problem };
        let password = password.ok_or_else(|| locked("no password was given"))?;
        let key = SecretKey::from_pkcs8_encrypted_pem(text.trim(), password.as_bytes());
        Ok(key.map(Self).map_err(|_| locked("the password is wrong, or it is not an ECDSA P-256 key"))?)
    }

    /// Writes it to `path`, which must not be there: encrypted if there is a password. Only the user can read it.
    pub fn write(&self, path: &Path, password: Option<&str>) -> Result<()> {
        let encode = |error: pkcs8::Error| Error::Host { what: "encode a key", source: std::io::Error::other(error.to_string()) };
        let text = match password {
            Some(password) => self.0.to_pkcs8_encrypted_pem(password.as_bytes(), LineEnding::LF),
            None => self.0.to_pkcs8_pem(LineEnding::LF),
        };
        let text = text.map_err(encode)?;
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => TrustError::KeyExists { path: path.into() }.into(),
            _ => Error::Write { path: path.into(), source },
        })
    }

    /// The key that checks what this one signs.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().into())
    }

    /// Signs. Of the same message it is always the same signature (RFC 6979), in DER.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: DerSignature = p256::ecdsa::SigningKey::from(&self.0).sign(message);
        signature.as_bytes().to_vec()
    }
}

fn not_a_key(name: &str, wanted: &'static str, text: &str, problem: String) -> Error {
    // What the first line says it is helps more than what its inside is not.
    let first = text.trim_start().lines().next().unwrap_or_default();
    let label = first.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----"));
    let problem = label.map_or_else(|| problem.clone(), |label| format!("it is `{}` ({problem})", label.escape_debug()));
    TrustError::NotAKey { name: name.into(), wanted, problem }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_one_message_by_one_key() {
        let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let signature = key.sign(b"message");
        assert_eq!(signature, key.sign(b"message"));
        assert!(key.public().verifies(b"message", &signature));
        assert!(!key.public().verifies(b"massage", &signature));
        assert!(!other.public().verifies(b"message", &signature));
        for broken in [&signature[1..], &signature[..signature.len() - 1], b"", &[signature.as_slice(), b"x"].concat()] {
            assert!(!key.public().verifies(b"message", broken));
        }
    }

    #[test]
    fn keys_are_read_as_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        let key = SigningKey::generate().unwrap();
        key.write(&path, None).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777, 0o600);
        assert_eq!(key.write(&path, None).unwrap_err().kind(), "key-exists");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(SigningKey::read("a", &text, None).unwrap().public(), key.public());
        assert_eq!(PublicKey::from_pem(&key.public().to_pem()).unwrap(), key.public());
        // One in the place of the other.
        let error = PublicKey::read("a", &text).unwrap_err();
        assert!(error.kind() == "not-a-key" && error.to_string().contains("`PRIVATE KEY`"), "{error}");
        assert!(SigningKey::read("a", &key.public().to_pem(), None).unwrap_err().to_string().contains("`PUBLIC KEY`"));
        let locked = folder.path().join("b.key");
        key.write(&locked, Some("secret")).unwrap();
        let text = std::fs::read_to_string(&locked).unwrap();
        assert_eq!(SigningKey::read("b", &text, Some("secret")).unwrap().public(), key.public());
        for password in [None, Some("wrong")] {
            assert_eq!(SigningKey::read("b", &text, password).unwrap_err().kind(), "key-locked");
        }
    }

    /// What OpenSSL 3.0 made of `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`, and signed with `openssl dgst -sha256 -sign`.
    #[test]
    fn what_openssl_signs_is_verified() {
        let key = PublicKey::from_pem(include_str!("data/openssl.pub")).unwrap();
        assert!(key.verifies(b"signed by OpenSSL\n", include_bytes!("data/openssl.sig")));
        assert_eq!(key.fingerprint().to_string(), include_str!("data/openssl.fingerprint").trim());
        // A key of another curve is none.
        assert!(PublicKey::from_pem(include_str!("data/p384.pub")).is_err());
    }
}
