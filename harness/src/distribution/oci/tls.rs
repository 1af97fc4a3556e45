//! Whose certificates are believed, and which are shown.
//!
//! Besides this host's authorities, those are believed that the user names. As with docker and podman, what is named or what this host has may be the
//! registry's own certificate, even if it says that it is an authority's, as `openssl req -x509` makes it.

use super::error::OciError;
use crate::network::Network;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The configuration for `registry`.
pub fn config(network: &Network, registry: &str) -> Result<ClientConfig, OciError> {
    let provider = Arc::new(ring::default_provider());
    let folders = folders(network, registry);
    let mut named = Vec::new();
    for path in network.authorities.iter().cloned().chain(with_ending(&folders, "crt")) {
        named.extend(certificates(&path)?);
    }
    let believed = Arc::new(Believed { named, provider: provider.clone(), usual: OnceLock::new() });
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| OciError::Certificate { path: PathBuf::new(), problem: error.to_string() })?;
    let builder = builder.dangerous().with_custom_certificate_verifier(believed);
    let Some(path) = with_ending(&folders, "cert").into_iter().next() else { return Ok(builder.with_no_client_auth()) };
    let key_path = path.with_extension("key");
    let key = PrivateKeyDer::from_pem_file(&key_path).map_err(|error| unreadable(&key_path, &error))?;
    builder.with_client_auth_cert(certificates(&path)?, key).map_err(|error| unreadable(&path, &error))
}

/// Whether the user has certificates for `registry` in particular.
pub fn has_own(network: &Network, registry: &str) -> bool {
    ["crt", "cert"].into_iter().any(|ending| !with_ending(&folders(network, registry), ending).is_empty())
}

fn folders(network: &Network, registry: &str) -> Vec<PathBuf> {
    network.certificates.iter().map(|folder| folder.join(registry)).filter(|folder| folder.is_dir()).collect()
}

/// Files in `folders`, in one order.
fn with_ending(folders: &[PathBuf], ending: &str) -> Vec<PathBuf> {
    let files = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|found| found == ending)).collect();
    files.sort();
    files
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, OciError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unreadable(path, &error))?;
    if certificates.is_empty() {
        return Err(OciError::Certificate { path: path.into(), problem: "it holds no certificate in PEM".into() });
    }
    Ok(certificates)
}

fn unreadable(path: &Path, error: &dyn std::error::Error) -> OciError {
    OciError::Certificate { path: path.into(), problem: error.to_string() }
}

/// Whose certificates are believed.
#[derive(Debug)]
struct Believed {
    named: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
    /// With this host's authorities, which are read when they are first needed.
    usual: OnceLock<Result<Arc<dyn ServerCertVerifier>, Error>>,
}

impl Believed {
    fn is_named(&self, certificate: &CertificateDer<'_>) -> bool {
        self.named.iter().chain(&rustls_native_certs::load_native_certs().certs).any(|named| named == certificate)
    }

    fn usual(&self) -> Result<&dyn ServerCertVerifier, Error> {
        let make = || match Verifier::new_with_extra_roots(self.named.iter().cloned(), self.provider.clone()) {
            Ok(verifier) => Ok(Arc::new(verifier) as Arc<dyn ServerCertVerifier>),
            // A bare system has no authorities at all.
            Err(error) if self.named.is_empty() => Err(error),
            Err(_) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(self.named.iter().cloned());
                let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone()).build();
                built.map(|verifier| verifier as Arc<dyn ServerCertVerifier>).map_err(|error| Error::General(error.to_string()))
            }
        };
        self.usual.get_or_init(make).as_deref().map_err(Clone::clone)
    }
}

impl ServerCertVerifier for Believed {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.usual()?.verify_server_cert(certificate, intermediates, name, ocsp, now);
        match verdict {
            // One that says it is an authority's, which is told after it has been found to be in its time.
            Err(Error::InvalidCertificate(CertificateError::Other(_))) if self.is_named(certificate) => {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
