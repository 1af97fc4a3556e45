//! An image in a registry.

use super::error::{ImageError, Result};
use super::spec::{Descriptor, INDEXES, MANIFESTS};
use super::store::Store;
use crate::progress::{Progress, mebibytes};
use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::Reference;
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// How often a blob is asked for.
const TRIES: u32 = 4;
/// Before the second try; then twice as long each time.
const PAUSE: Duration = Duration::from_secs(1);
/// Without a byte for so long, a connection is given up.
const SILENCE: Duration = Duration::from_secs(60);

/// An image in a registry.
pub struct Registry {
    runtime: Runtime,
    client: Client,
    reference: Reference,
    auth: RegistryAuth,
    /// Where blobs are kept while they are read.
    folder: PathBuf,
}

impl Registry {
    /// Nothing is asked of the registry yet.
    pub fn new(reference: Reference, folder: PathBuf) -> Result<Self> {
        // Whoever was first has chosen the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = Builder::new_current_thread().enable_all().build().map_err(ImageError::io("talk to a registry"))?;
        let registry = reference.resolve_registry().to_owned();
        let protocol = if is_loopback(&registry) { ClientProtocol::Http } else { ClientProtocol::Https };
        let config = ClientConfig { protocol, connect_timeout: Some(SILENCE), read_timeout: Some(SILENCE), ..ClientConfig::default() };
        let auth = credentials(&registry)?;
        Ok(Self { runtime, client: Client::new(config), reference, auth, folder })
    }

    /// The document that the reference names.
    pub fn named(&mut self) -> Result<Vec<u8>> {
        self.pull_manifest(&self.reference)
    }

    /// The reference in full.
    pub fn name(&self) -> String {
        self.reference.whole()
    }

    fn pull_manifest(&self, reference: &Reference) -> Result<Vec<u8>> {
        let accepted = [MANIFESTS, INDEXES].concat();
        let pull = || self.client.pull_manifest_raw(reference, &self.auth, &accepted);
        let (bytes, _) = self.retry(|| self.runtime.block_on(pull()))?;
        Ok(bytes.into())
    }

    /// Does what may succeed the next time.
    fn retry<T>(&self, mut attempt: impl FnMut() -> std::result::Result<T, OciDistributionError>) -> Result<T> {
        let mut pause = PAUSE;
        let mut tries = 1;
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(error) if tries < TRIES && is_passing(&error) => {
                    std::thread::sleep(pause);
                    pause *= 2;
                    tries += 1;
                }
                Err(source) => return Err(ImageError::Registry { reference: self.reference.whole(), source: Box::new(source) }),
            }
        }
    }

    /// What is missing of a blob behind the bytes that are in `file`; no more than is wanted.
    async fn fetch(
        &self,
        wanted: &OciDescriptor,
        file: &mut File,
        mut watch: impl FnMut(u64),
    ) -> std::result::Result<(), OciDistributionError> {
        use oci_client::client::BlobResponse;
        let size = wanted.size as u64;
        let mut done = file.seek(SeekFrom::End(0))?;
        let response = self.client.pull_blob_stream_partial(&self.reference, wanted, done, None).await?;
        let mut stream = match response {
            BlobResponse::Full(stream) => {
                file.set_len(0)?;
                done = file.seek(SeekFrom::Start(0))?;
                stream.stream
            }
            BlobResponse::Partial(stream) => stream.stream,
        };
        while let Some(bytes) = std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await {
            let bytes = bytes?;
            // What is behind the end is seen to be there, and that is enough.
            file.write_all(&bytes[..bytes.len().min((size + 1 - done) as usize)])?;
            done += bytes.len() as u64;
            watch(done);
            if done > size {
                break;
            }
        }
        if done < size { Err(OciDistributionError::IoError(std::io::ErrorKind::UnexpectedEof.into())) } else { Ok(()) }
    }
}

impl Store for Registry {
    fn open(&mut self, descriptor: &Descriptor, what: &str, progress: &mut Progress) -> Result<Box<dyn Read + '_>> {
        let mut file = tempfile::tempfile_in(&self.folder).map_err(ImageError::io("keep a layer beside the machine"))?;
        let size = i64::try_from(descriptor.size).map_err(|_| ImageError::TooMuch { what: "bytes in a layer", limit: i64::MAX as u64 })?;
        let wanted = OciDescriptor { digest: descriptor.digest()?.to_string(), size, ..OciDescriptor::default() };
        let total = descriptor.size;
        if total > 0 {
            self.retry(|| {
                let watch = |done| progress.update(|| format!("fetching {what}: {} of {}", mebibytes(done), mebibytes(total)));
                self.runtime.block_on(self.fetch(&wanted, &mut file, watch))
            })?;
        }
        file.seek(SeekFrom::Start(0)).map_err(ImageError::io("keep a layer beside the machine"))?;
        Ok(Box::new(file))
    }

    fn manifest(&mut self, descriptor: &Descriptor, _progress: &mut Progress) -> Result<Vec<u8>> {
        self.pull_manifest(&self.reference.clone_with_digest(descriptor.digest()?.to_string()))
    }
}

/// Whether another try may succeed where this one has not.
fn is_passing(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::RequestError(_) | OciDistributionError::IoError(_) => true,
        OciDistributionError::ServerError { code, .. } => *code == 429 || *code >= 500,
        _ => false,
    }
}

/// Whether a registry is on this host, and may do without TLS.
fn is_loopback(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What the user's docker configuration has for the registry.
fn credentials(registry: &str) -> Result<RegistryAuth> {
    // Under this name Docker's program keeps those for its own.
    let server = if registry == "index.docker.io" { "https://index.docker.io/v1/" } else { registry };
    let problem = |problem: String| ImageError::Credentials { registry: registry.into(), problem };
    match docker_credential::get_credential(server) {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(RegistryAuth::Basic(user, password)),
        Ok(DockerCredential::IdentityToken(_)) => Err(problem("identity tokens are not understood here".into())),
        Err(CredentialRetrievalError::ConfigNotFound | CredentialRetrievalError::NoCredentialConfigured) => Ok(RegistryAuth::Anonymous),
        // It says the same of a file that is not there and of one that cannot be read.
        Err(CredentialRetrievalError::ConfigReadError) if !has_docker_config() => Ok(RegistryAuth::Anonymous),
        Err(error) => Err(problem(error.to_string().escape_debug().to_string())),
    }
}

fn has_docker_config() -> bool {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker")));
    folder.is_some_and(|folder| folder.join("config.json").exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_host_may_do_without_tls() {
        assert!(is_loopback("localhost:5000") && is_loopback("127.0.0.1:5000") && is_loopback("localhost"));
        assert!(!is_loopback("index.docker.io") && !is_loopback("localhost.example:5000") && !is_loopback("10.0.0.1:5000"));
    }
}
