//! The connection to a registry: who asks, how long it is waited for, and how often it is tried.
//!
//! References and tokens are `oci-client`'s. The transfers are not: that crate reads documents of any length into memory, and does not
//! pass on when a busy registry wants to be asked again.

use super::digest::Sha256;
use super::document::{INDEXES, MANIFESTS, MAX_DOCUMENT};
use super::error::OciError;
use super::token;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::observer::Notice;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, RegistryOperation};
use reqwest::header::{ACCEPT, HeaderMap, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use std::cell::RefCell;
use std::error::Error as _;
use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// How a registry is talked to.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    /// Without TLS, wherever the registry is. One on this host may always do without.
    pub plain_http: bool,
    /// How often something is tried.
    pub tries: u32,
    /// Before the second try; then twice as long each time.
    pub pause: Duration,
    /// Without a byte for so long, a connection is given up.
    pub silence: Duration,
}

impl Default for Connection {
    fn default() -> Self {
        Self { plain_http: false, tries: 5, pause: Duration::from_secs(1), silence: Duration::from_secs(60) }
    }
}

/// The longest pause between two tries. A registry that wants a longer one is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How soon a cancellation is seen during a pause.
const ATTENTION: Duration = Duration::from_millis(100);
/// Bytes of an answer that is no success, for the message.
const MAX_COMPLAINT: u64 = 64 << 10;

/// A registry, and what is asked of it.
pub struct Registry {
    runtime: Runtime,
    http: reqwest::Client,
    authority: oci_client::Client,
    reference: Reference,
    /// All that is asked for begins with this.
    base: Url,
    auth: Credentials,
    /// What [`RegistryOperation::Pull`] and [`RegistryOperation::Push`] are asked with.
    tokens: RefCell<[Option<Token>; 2]>,
    connection: Connection,
    context: Context,
}

/// What the user has for a registry.
enum Credentials {
    /// A name and a password, or nothing.
    Usual(RegistryAuth),
    /// What docker keeps where a registry does not want a password to be kept.
    Identity(String),
}

/// What a request is let in with.
#[derive(Clone)]
enum Token {
    Bearer(String),
    Basic(String, String),
    /// Everyone is let in.
    Nothing,
}

impl Registry {
    /// Nothing is asked of the registry yet.
    pub fn new(context: &Context, reference: Reference, connection: Connection) -> Result<Self> {
        let auth = credentials(context, reference.resolve_registry())?;
        // Whoever was first has chosen the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let registry = reference.resolve_registry().to_owned();
        let host = |source| Error::Host { what: "talk to a registry", source };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(host)?;
        let silence = Some(connection.silence);
        let http = reqwest::Client::builder()
            .connect_timeout(connection.silence)
            .read_timeout(connection.silence)
            .user_agent(concat!("prebake/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| unreachable(&error, &registry))?;
        let (protocol, scheme) = match connection.plain_http || is_loopback(&registry) {
            true => (ClientProtocol::Http, "http"),
            false => (ClientProtocol::Https, "https"),
        };
        let config = ClientConfig { protocol, connect_timeout: silence, read_timeout: silence, ..ClientConfig::default() };
        let authority = oci_client::Client::try_from(config).map_err(|error| error_of(error, &registry))?;
        let base = format!("{scheme}://{registry}/v2/{}/", reference.repository());
        let base = base
            .parse()
            .map_err(|_| OciError::Reference { text: reference.whole(), problem: "the registry's address is invalid".into() })?;
        Ok(Self { runtime, http, authority, reference, base, auth, tokens: RefCell::default(), connection, context: context.clone() })
    }

    /// The reference in full.
    pub fn name(&self) -> String {
        self.reference.whole()
    }

    /// The reference.
    pub const fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Waits for what is done with the registry.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// The digest of the document that the reference names; nothing more is sent where the registry can tell it.
    pub async fn digest(&self) -> Result<Sha256> {
        let name = self.name();
        let response = self.ask(RegistryOperation::Pull, Method::HEAD, &self.manifest_url()?, &name, accepting).await?;
        match named_digest(&response) {
            Some(digest) => Ok(digest),
            None => Ok(Sha256::of(&self.named(None).await?)),
        }
    }

    /// Makes sure that the registry lets us push, as far as it says.
    pub async fn require_push(&self) -> Result<()> {
        self.digest_at(RegistryOperation::Push, &self.manifest_url()?, &self.name()).await.map(drop)
    }

    /// The digest of the document at `url`, if there is one and the registry tells it.
    pub(super) async fn digest_at(&self, operation: RegistryOperation, url: &Url, what: &str) -> Result<Option<Sha256>> {
        match self.ask(operation, Method::HEAD, url, what, accepting).await {
            Ok(response) => Ok(named_digest(&response)),
            Err(Error::Oci(error)) if matches!(*error, OciError::Status { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The document that the reference names, or that has this digest.
    pub async fn named(&self, digest: Option<Sha256>) -> Result<Vec<u8>> {
        let url = match digest {
            Some(digest) => self.url(&format!("manifests/{digest}"))?,
            None => self.manifest_url()?,
        };
        let what = digest.map_or_else(|| self.name(), |digest| format!("the document {digest}"));
        self.document(&url, &what, digest).await
    }

    /// The document with another tag of the same repository.
    pub async fn tagged(&self, tag: &str) -> Result<Vec<u8>> {
        self.document(&self.url(&format!("manifests/{tag}"))?, &format!("the document {tag}"), None).await
    }

    /// A small blob.
    pub async fn small(&self, what: &str, digest: Sha256) -> Result<Vec<u8>> {
        self.document(&self.url(&format!("blobs/{digest}"))?, what, Some(digest)).await
    }

    async fn document(&self, url: &Url, what: &str, wanted: Option<Sha256>) -> Result<Vec<u8>> {
        let bytes = self
            .retry(async || {
                let mut response = self.ask_once(RegistryOperation::Pull, Method::GET, url, what, &accepting).await?;
                body(&mut response, MAX_DOCUMENT, what).await.map_err(Error::from)
            })
            .await?;
        let found = Sha256::of(&bytes);
        match wanted.filter(|wanted| *wanted != found) {
            Some(wanted) => Err(OciError::WrongDigest { what: what.into(), found, wanted }.into()),
            None => Ok(bytes),
        }
    }

    fn manifest_url(&self) -> Result<Url> {
        self.url(&format!("manifests/{}", self.reference.digest().or(self.reference.tag()).unwrap_or("latest")))
    }

    /// What lies below the repository.
    pub(super) fn url(&self, path: &str) -> Result<Url> {
        self.base.join(path).map_err(|_| OciError::protocol(format!("`{}` is not a valid address", path.escape_debug())).into())
    }

    /// A place that the registry names.
    pub(super) fn place(&self, headers: &HeaderMap) -> Result<Url> {
        let place = headers.get("location").and_then(|place| place.to_str().ok()).and_then(|place| self.base.join(place).ok());
        place.ok_or_else(|| OciError::protocol("it gave no address for the upload").into())
    }

    /// Does what may succeed the next time.
    pub(super) async fn retry<T>(&self, mut attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
        let mut pause = self.connection.pause;
        let mut tries = 1;
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let Error::Oci(ref cause) = error else { return Err(error) };
            let asked = match **cause {
                OciError::Status { retry_after, .. } => retry_after.unwrap_or(pause),
                _ => pause,
            };
            if !cause.is_worth_retrying() || tries >= self.connection.tries || asked > LONGEST_PAUSE {
                return Err(error);
            }
            if asked >= Duration::from_secs(1) {
                self.context.notice(Notice::Retrying { error: cause, after: asked });
            }
            self.pause(asked).await?;
            pause = (pause * 2).min(LONGEST_PAUSE);
            tries += 1;
        }
    }

    /// Lets time pass, unless the work is to be given up.
    async fn pause(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while !self.context.observer().is_cancelled() {
            match end.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return Ok(()),
                rest => tokio::time::sleep(rest.min(ATTENTION)).await,
            }
        }
        Err(Error::Cancelled)
    }

    /// Asks until there is an answer that is a success.
    pub(super) async fn ask(
        &self,
        operation: RegistryOperation,
        method: Method,
        url: &Url,
        what: &str,
        more: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response> {
        self.retry(async || self.ask_once(operation, method.clone(), url, what, &more).await).await
    }

    /// Asks once. An answer that is no success is an error.
    pub(super) async fn ask_once(
        &self,
        operation: RegistryOperation,
        method: Method,
        url: &Url,
        what: &str,
        more: &impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response> {
        let mut is_renewed = false;
        loop {
            let mut request = more(self.http.request(method.clone(), url.clone()));
            // What is elsewhere must not see the credentials (CVE-2020-15157).
            if url.origin() == self.base.origin() {
                request = match self.token(operation).await? {
                    Token::Bearer(token) => request.bearer_auth(token),
                    Token::Basic(user, password) => request.basic_auth(user, Some(password)),
                    Token::Nothing => request,
                };
            }
            let mut response = request.send().await.map_err(|error| unreachable(&error, self.reference.resolve_registry()))?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            // Tokens end after some minutes.
            if status == StatusCode::UNAUTHORIZED && !is_renewed && matches!(self.cached(operation), Some(Token::Bearer(_))) {
                self.tokens.borrow_mut()[slot(operation)] = None;
                is_renewed = true;
                continue;
            }
            let retry_after =
                response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
            // What it says of it is of no weight.
            let message = body(&mut response, MAX_COMPLAINT, what).await.map(|bytes| complaint(&bytes)).unwrap_or_default();
            return Err(OciError::Status { what: what.into(), status: status.as_u16(), message, retry_after }.into());
        }
    }

    fn cached(&self, operation: RegistryOperation) -> Option<Token> {
        self.tokens.borrow()[slot(operation)].clone()
    }

    async fn token(&self, operation: RegistryOperation) -> Result<Token> {
        if let Some(token) = self.cached(operation) {
            return Ok(token);
        }
        let registry = self.reference.resolve_registry();
        let asked = async {
            match &self.auth {
                Credentials::Usual(auth) => {
                    self.authority.auth(&self.reference, auth, operation).await.map_err(|error| error_of(error, registry))
                }
                Credentials::Identity(identity) => {
                    let actions = if operation == RegistryOperation::Pull { "pull" } else { "pull,push" };
                    let scope = format!("repository:{}:{actions}", self.reference.repository());
                    token::exchange(&self.http, &self.base, registry, identity, &scope).await
                }
            }
        };
        let token = match tokio::time::timeout(self.connection.silence, asked).await {
            Ok(Ok(Some(token))) => Token::Bearer(token),
            Ok(Ok(None)) => match &self.auth {
                Credentials::Usual(RegistryAuth::Basic(user, password)) => Token::Basic(user.clone(), password.clone()),
                _ => Token::Nothing,
            },
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {
                let problem = "it gives no token in time".into();
                return Err(OciError::Unreachable { registry: registry.into(), problem }.into());
            }
        };
        self.tokens.borrow_mut()[slot(operation)] = Some(token.clone());
        Ok(token)
    }
}

const fn slot(operation: RegistryOperation) -> usize {
    match operation {
        RegistryOperation::Pull => 0,
        RegistryOperation::Push => 1,
    }
}

/// The digest of a document, as an answer has it in its head.
fn named_digest(response: &Response) -> Option<Sha256> {
    let header = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
    header.and_then(|header| header.parse().ok())
}

fn accepting(request: RequestBuilder) -> RequestBuilder {
    request.header(ACCEPT, [MANIFESTS, INDEXES].concat().join(", "))
}

/// What an answer says, if that is at most `limit` bytes.
pub(super) async fn body(response: &mut Response, limit: u64, what: &str) -> std::result::Result<Vec<u8>, OciError> {
    let mut bytes = Vec::new();
    let wanted = response.content_length();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if (bytes.len() + chunk.len()) as u64 > limit => {
                return Err(OciError::document(what, format!("it has more than {limit} bytes")));
            }
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes),
            Err(_) => {
                let found = bytes.len() as u64;
                return Err(OciError::CutOff { what: what.into(), found, wanted: wanted.unwrap_or(found + 1) });
            }
        }
    }
}

/// The words in an answer that is no success.
pub(super) fn complaint(bytes: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
    let message = json.as_ref().and_then(|json| json["errors"][0]["message"].as_str());
    message.map_or_else(|| String::from_utf8_lossy(bytes).into_owned(), str::to_owned)
}

/// What it means that nothing was sent.
pub(super) fn unreachable(error: &reqwest::Error, registry: &str) -> OciError {
    let (registry, problem) = (registry.to_owned(), causes(error));
    // The resolver's failure has no type of its own.
    if error.is_connect() && problem.contains("dns error") {
        OciError::Unresolved { registry, problem }
    } else {
        OciError::Unreachable { registry, problem }
    }
}

/// What an error of the transport comes from.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text += &format!(": {next}");
        cause = next.source();
    }
    text
}

fn error_of(error: OciDistributionError, registry: &str) -> OciError {
    match error {
        OciDistributionError::RequestError(error) => unreachable(&error, registry),
        OciDistributionError::AuthenticationFailure(message) => {
            OciError::Unauthorized { registry: registry.into(), message: complaint(message.as_bytes()) }
        }
        error => OciError::protocol(error.to_string().escape_debug().to_string()),
    }
}

/// Whether a registry is on this host, and may do without TLS.
fn is_loopback(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What the caller or docker's configuration has for the registry.
fn credentials(context: &Context, registry: &str) -> std::result::Result<Credentials, OciError> {
    if let Some(login) = context.login() {
        return Ok(Credentials::Usual(RegistryAuth::Basic(login.user.clone(), login.password.clone())));
    }
    let anonymous = || Ok(Credentials::Usual(RegistryAuth::Anonymous));
    let problem = |problem: String| OciError::Credentials { registry: registry.into(), problem };
    let Some(folder) = &context.folders().docker else { return anonymous() };
    let path = folder.join("config.json");
    let configuration = match File::open(&path) {
        Ok(file) => BufReader::new(file),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return anonymous(),
        Err(error) => return Err(problem(format!("cannot read {}: {error}", path.display()))),
    };
    // Under this name Docker's program keeps those for its own.
    let server = if registry == "index.docker.io" { "https://index.docker.io/v1/" } else { registry };
    match docker_credential::get_credential_from_reader(configuration, server) {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(Credentials::Usual(RegistryAuth::Basic(user, password))),
        Ok(DockerCredential::IdentityToken(token)) => Ok(Credentials::Identity(token)),
        Err(CredentialRetrievalError::NoCredentialConfigured) => anonymous(),
        // A helper says so that it has nothing.
        Err(CredentialRetrievalError::HelperFailure { stdout, .. }) if stdout.contains("credentials not found") => anonymous(),
        Err(error) => Err(problem(error.to_string().escape_debug().to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Folders;

    #[test]
    fn only_this_host_may_do_without_tls() {
        for local in ["localhost:5000", "127.0.0.1:5000", "localhost", "[::1]:5000"] {
            assert!(is_loopback(local), "{local}");
        }
        for other in ["index.docker.io", "localhost.example:5000", "10.0.0.1:5000", "127.0.0.1.example"] {
            assert!(!is_loopback(other), "{other}");
        }
        let scheme = |name: &str, plain_http| {
            let connection = Connection { plain_http, ..Connection::default() };
            let registry = Registry::new(&Context::silent(Folders::default()), name.parse().unwrap(), connection).unwrap();
            registry.base.scheme().to_owned()
        };
        assert_eq!(scheme("registry.example/x", false), "https");
        assert_eq!(scheme("registry.example/x", true), "http");
        assert_eq!(scheme("127.0.0.1:5000/x", false), "http");
    }
}
