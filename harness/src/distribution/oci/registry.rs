//! The connection to a registry: who asks, how long it is waited for, and how often it is tried. How it is reached, the context's
//! [`Network`](crate::network::Network) says.

use super::credentials::Found;
use super::digest::Sha256;
use super::document::{INDEXES, MANIFESTS, MAX_DOCUMENT};
use super::error::OciError;
use super::lookups::Lookups;
use super::obstacle::Obstacle;
use super::route::{self, Route, is_loopback};
use super::tls;
use super::token::Challenge;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::observer::Notice;
use oci_client::Reference;
use reqwest::header::{ACCEPT, LOCATION, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use std::cell::{Cell, OnceCell, RefCell};
use std::error::Error as _;
use std::io;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tracing::debug;

/// The longest pause between two tries. A registry that wants a longer one is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How soon a cancellation is seen while nothing comes.
const ATTENTION: Duration = Duration::from_millis(100);
/// Bytes of an answer that is no success, for the message.
const MAX_COMPLAINT: u64 = 64 << 10;

/// A registry that is only asked whether anything has changed is not waited for longer than this.
const IMPATIENCE: Duration = Duration::from_secs(5);

/// What does the work. Lookups of names are no work that can be given up, and are not waited for when it ends.
struct Worker(Option<Runtime>);

impl Worker {
    fn new() -> io::Result<Self> {
        Builder::new_current_thread().enable_all().build().map(Some).map(Self)
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        let Some(runtime) = &self.0 else { unreachable!("it is taken when this is dropped") };
        runtime.block_on(work)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A registry, and what is asked of it.
pub struct Registry {
    worker: Worker,
    pub(super) http: reqwest::Client,
    pub(super) route: Route,
    reference: Reference,
    /// All that is asked for begins with this.
    base: RefCell<Url>,
    /// A registry on this host was not said to be without TLS: that was guessed.
    is_guess: Cell<bool>,
    /// It has answered once.
    has_answered: Cell<bool>,
    found: OnceCell<Found>,
    /// What [`Operation::Pull`] and [`Operation::Push`] are asked with.
    tokens: RefCell<[Option<Token>; 2]>,
    tries: u32,
    pause: Duration,
    pub(super) silence: Duration,
    context: Context,
}

/// What is done with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It is only read.
    Pull,
    /// It is written, too.
    Push,
}

/// What a request is let in with.
#[derive(Clone)]
pub enum Token {
    Bearer(String),
    Basic(String, String),
    /// Everyone is let in.
    Nothing,
}

impl Registry {
    /// Nothing is asked of the registry yet.
    pub fn new(context: &Context, reference: Reference) -> Result<Self> {
        let network = context.network();
        Self::with_patience(context, reference, network.tries, network.silence)
    }

    /// The same for one that can be done without.
    pub fn hasty(context: &Context, reference: Reference) -> Result<Self> {
        Self::with_patience(context, reference, 1, context.network().silence.min(IMPATIENCE))
    }

    fn with_patience(context: &Context, reference: Reference, tries: u32, silence: Duration) -> Result<Self> {
        let (network, registry) = (context.network(), reference.resolve_registry().to_owned());
        let host = |source| Error::Host { what: "talk to a registry", source };
        let worker = Worker::new().map_err(host)?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::config(network, &registry)?)
            .connect_timeout(silence)
            .read_timeout(silence)
            .user_agent(concat!("prebake/", env!("CARGO_PKG_VERSION")));
        let (client, route) = route::apply(&network.proxies, client, &registry)?;
        let client = match context.resolver() {
            Some(resolver) => client.dns_resolver(Lookups(resolver.clone())),
            None => client,
        };
        let http = client.build().map_err(|error| OciError::protocol(error.to_string()))?;
        let is_guess = !network.plain_http && is_loopback(&registry) && !tls::has_own(network, &registry);
        let scheme = if network.plain_http || is_guess { "http" } else { "https" };
        let base = format!("{scheme}://{registry}/v2/{}/", reference.repository());
        let base: Url = base
            .parse()
            .map_err(|_| OciError::Reference { text: reference.whole(), problem: "the registry's address is invalid".into() })?;
        Ok(Self {
            worker,
            http,
            route,
            reference,
            base: RefCell::new(base),
            is_guess: Cell::new(is_guess),
            has_answered: Cell::new(false),
            found: OnceCell::new(),
            tokens: RefCell::default(),
            tries,
            pause: network.pause,
            silence,
            context: context.clone(),
        })
    }

    /// The same, and tells another observer.
    pub fn with_context(self, context: &Context) -> Self {
        Self { context: context.clone(), ..self }
    }

    /// The reference in full.
    pub fn name(&self) -> String {
        self.reference.whole()
    }

    /// The reference.
    pub const fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Waits for what is done with the registry. If that is cancelled, it is given up at once, also while nothing comes.
    pub fn wait<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.worker.block_on(async {
            let mut work = pin!(work);
            loop {
                match tokio::time::timeout(ATTENTION, work.as_mut()).await {
                    Ok(done) => return done,
                    Err(_) if self.context.observer().is_cancelled() => return Err(Error::Cancelled),
                    Err(_) => {}
                }
            }
        })
    }

    /// The digest of the document that the reference names; nothing more is sent where the registry can tell it.
    pub async fn digest(&self) -> Result<Sha256> {
        let name = self.name();
        let response = self.ask(Operation::Pull, Method::HEAD, &self.manifest_url()?, &name, accepting).await?;
        match named_digest(&response) {
            Some(digest) => Ok(digest),
            None => Ok(Sha256::of(&self.named(None).await?)),
        }
    }

    /// Makes sure that the registry lets us push, as far as it says.
    pub async fn require_push(&self) -> Result<()> {
        self.digest_at(Operation::Push, &self.manifest_url()?, &self.name()).await.map(drop)
    }

    /// The digest of the document at `url`, if there is one and the registry tells it.
    pub(super) async fn digest_at(&self, operation: Operation, url: &Url, what: &str) -> Result<Option<Sha256>> {
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

    /// A small blob, of at most `limit` bytes.
    pub async fn small(&self, what: &str, digest: Sha256, limit: u64) -> Result<Vec<u8>> {
        self.limited(&self.url(&format!("blobs/{digest}"))?, what, Some(digest), limit).await
    }

    async fn document(&self, url: &Url, what: &str, wanted: Option<Sha256>) -> Result<Vec<u8>> {
        self.limited(url, what, wanted, MAX_DOCUMENT).await
    }

    /// What is at `url`, of which no more than `limit` bytes are read, whatever was announced.
    async fn limited(&self, url: &Url, what: &str, wanted: Option<Sha256>, limit: u64) -> Result<Vec<u8>> {
        let (bytes, named) = self
            .retry(async || {
                let mut response = self.ask_once(Operation::Pull, Method::GET, url, what, &accepting).await?;
                let named = named_digest(&response);
                body(&mut response, limit, what).await.map(|bytes| (bytes, named)).map_err(Error::from)
            })
            .await?;
        let found = Sha256::of(&bytes);
        // What a tag names, the registry itself says.
        match wanted.or(named).filter(|wanted| *wanted != found) {
            Some(wanted) => Err(OciError::WrongDigest { what: what.into(), found, wanted }.into()),
            None => Ok(bytes),
        }
    }

    fn manifest_url(&self) -> Result<Url> {
        self.url(&format!("manifests/{}", self.reference.digest().or(self.reference.tag()).unwrap_or("latest")))
    }

    /// What lies below the repository.
    pub(super) fn url(&self, path: &str) -> Result<Url> {
        self.base().join(path).map_err(|_| OciError::protocol(format!("`{}` is not a valid address", path.escape_debug())).into())
    }

    /// All that is asked for begins with this.
    pub(super) fn base(&self) -> Url {
        self.base.borrow().clone()
    }

    /// Takes a registry on this host for one with TLS, if it was only guessed that it has none.
    pub(super) fn guess_again(&self) -> bool {
        self.is_guess.replace(false) && self.base.borrow_mut().set_scheme("https").is_ok()
    }

    /// A place that the registry names. It may be relative to what was asked for.
    pub(super) fn place(response: &Response) -> Result<Url> {
        let place =
            response.headers().get(LOCATION).and_then(|place| place.to_str().ok()).and_then(|place| response.url().join(place).ok());
        place.ok_or_else(|| OciError::protocol("it gave no address for the upload").into())
    }

    /// Does what may succeed the next time.
    pub(super) async fn retry<T>(&self, mut attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
        let mut pause = self.pause;
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
            if !cause.is_worth_retrying() || tries >= self.tries || asked > LONGEST_PAUSE {
                return Err(error);
            }
            if asked >= Duration::from_secs(1) {
                self.context.notice(Notice::Retrying { error: cause, after: asked });
            }
            debug!(target: "prebake::registry", error = %cause, tries, pause = ?asked, "trying again");
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
        operation: Operation,
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
        operation: Operation,
        method: Method,
        url: &Url,
        what: &str,
        more: &impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response> {
        let mut is_renewed = false;
        loop {
            let token = match self.cached(operation) {
                Some(token) => token,
                // Many let everyone read. If this one does not, it says so.
                None if operation == Operation::Pull => Token::Nothing,
                None => self.token(operation, None).await?,
            };
            let (base, mut url) = (self.base(), url.clone());
            if url.host() == base.host() && url.port() == base.port() && url.scheme() != base.scheme() {
                // What cannot be done to its scheme was no address of the web.
                let _ = url.set_scheme(base.scheme());
            }
            let mut request = more(self.http.request(method.clone(), url.clone()));
            // What is elsewhere must not see the credentials (CVE-2020-15157).
            if url.origin() == base.origin() {
                request = match token {
                    Token::Bearer(token) => request.bearer_auth(token),
                    Token::Basic(user, password) => request.basic_auth(user, Some(password)),
                    Token::Nothing => request,
                };
            }
            let start = Instant::now();
            let sent = request.send().await;
            // Neither headers nor queries: they have credentials, and an address may have them, too.
            let (host, path, elapsed) = (url.host_str().unwrap_or_default(), url.path(), start.elapsed());
            let mut response = match sent {
                Ok(response) => response,
                // To some what is not TLS is no language at all.
                Err(error) if Obstacle::of(&error) == Obstacle::NotHttp && self.guess_again() => continue,
                Err(error) => {
                    debug!(target: "prebake::registry", %method, host, path, ?elapsed, "no answer");
                    return Err(self.unreachable(&error, &url).into());
                }
            };
            self.has_answered.set(true);
            let status = response.status();
            debug!(target: "prebake::registry", %method, host, path, status = status.as_u16(), ?elapsed, "answer");
            if status.is_success() {
                self.tokens.borrow_mut()[slot(operation)].get_or_insert(Token::Nothing);
                return Ok(response);
            }
            let is_own = response.url().origin() == base.origin();
            if !is_renewed && self.lets_in(operation, &response, is_own).await? {
                is_renewed = true;
                continue;
            }
            if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
                && let Some(unread) = self.unread()
            {
                return Err(unread.into());
            }
            let retry_after =
                response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
            // With TLS a proxy does not see what is said.
            let proxy = self.route.to(&url).filter(|_| url.scheme() == "http");
            // What it says of it is of no weight.
            let message = body(&mut response, MAX_COMPLAINT, what).await.map(|bytes| complaint(&bytes)).unwrap_or_default();
            return Err(OciError::Status { what: what.into(), status: status.as_u16(), message, retry_after, proxy }.into());
        }
    }

    fn cached(&self, operation: Operation) -> Option<Token> {
        self.tokens.borrow()[slot(operation)].clone()
    }

    /// Whether the registry is to be asked once more after this answer, which is no success: with a token, or in another way. `is_own`: it is from the
    /// registry itself.
    async fn lets_in(&self, operation: Operation, response: &Response, is_own: bool) -> Result<bool> {
        let (cached, status) = (self.cached(operation), response.status());
        let challenge = Some(Challenge::of(response)).filter(|challenge| is_own && *challenge != Challenge::Nothing);
        match (&cached, status) {
            // Tokens end after some minutes.
            (Some(Token::Bearer(_)), StatusCode::UNAUTHORIZED) => {
                self.token(operation, challenge).await?;
                Ok(true)
            }
            // Some ask only for what not everyone may do.
            (Some(Token::Nothing), StatusCode::UNAUTHORIZED) if challenge.is_some() => {
                Ok(!matches!(self.token(operation, challenge).await?, Token::Nothing))
            }
            // Some hide what not everyone may see, and one that wants TLS says no more than that.
            (None, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) if is_own => {
                let scheme = self.base().scheme().to_owned();
                let token = self.token(operation, challenge).await?;
                Ok(!matches!(token, Token::Nothing) || scheme != self.base().scheme())
            }
            _ => Ok(false),
        }
    }

    /// What to ask with from now on: what the `challenge` wants, or what the registry says that it wants.
    async fn token(&self, operation: Operation, challenge: Option<Challenge>) -> Result<Token> {
        debug!(target: "prebake::registry", registry = self.reference.resolve_registry(), "asking for a token, if it wants one");
        let obtain = async {
            match &challenge {
                Some(challenge) => self.answer(challenge, operation).await,
                None => self.obtain(operation).await,
            }
        };
        let token = match tokio::time::timeout(self.silence, obtain).await {
            Ok(token) => token?,
            Err(_) => {
                let (registry, problem) = (self.reference.resolve_registry().to_owned(), "it gives no token in time".into());
                let advice = Obstacle::Other.advice(&registry, &self.base());
                return Err(OciError::Unreachable {
                    registry,
                    problem,
                    proxy: None,
                    obstacle: Obstacle::Other,
                    advice,
                    remedy: None,
                    passes: true,
                }
                .into());
            }
        };
        self.tokens.borrow_mut()[slot(operation)] = Some(token.clone());
        Ok(token)
    }

    /// What the user has for it. What cannot be read is told, once.
    pub(super) fn credentials(&self) -> &Found {
        self.found.get_or_init(|| {
            let registry = self.reference.resolve_registry();
            let found = Found::of(self.context.network(), registry, self.reference.repository());
            for problem in &found.problems {
                self.context.notice_once(problem, Notice::CredentialsUnread { registry, problem });
            }
            found
        })
    }

    /// The error of a registry that wants credentials, if some could not be read.
    pub(super) fn unread(&self) -> Option<OciError> {
        let problems = &self.credentials().problems;
        let registry = self.reference.resolve_registry().to_owned();
        (!problems.is_empty()).then(|| OciError::Credentials { registry, problem: problems.join("; ") })
    }

    /// What it means that `url` gave no answer.
    pub(super) fn unreachable(&self, error: &reqwest::Error, url: &Url) -> OciError {
        let (obstacle, proxy) = (Obstacle::of(error), self.route.to(url));
        let registry = self.reference.resolve_registry().to_owned();
        let (advice, remedy) = match &proxy {
            Some(_) if obstacle.may_be_the_proxy() => {
                let host = url.host_str().unwrap_or_default();
                let variable = if url.scheme() == "https" { "HTTPS_PROXY" } else { "HTTP_PROXY" };
                (format!("check {variable}, or add {host} to NO_PROXY"), None)
            }
            _ => (obstacle.advice(&registry, url), obstacle.remedy(url)),
        };
        let passes = obstacle.passes(self.has_answered.get());
        OciError::Unreachable { registry, problem: causes(error), proxy, obstacle, advice, remedy, passes }
    }
}

const fn slot(operation: Operation) -> usize {
    match operation {
        Operation::Pull => 0,
        Operation::Push => 1,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Folders;
    use crate::network::{Asker, Network, Resolver};
    use crate::observer::{Observer, Progress};
    use std::net::IpAddr;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Receiver, channel};
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_lookup_that_lasts_is_not_waited_for_once_it_is_given_up() {
        /// Looks up a name until it is told to stop, and gives up what it is for.
        struct Slow {
            stop: Mutex<Receiver<()>>,
            has_begun: AtomicBool,
            was_waited_for: AtomicBool,
        }
        impl Resolver for Slow {
            fn resolve(&self, _name: &str, _asker: Asker) -> io::Result<Vec<IpAddr>> {
                self.has_begun.store(true, Ordering::Relaxed);
                let is_late = self.stop.lock().unwrap().recv_timeout(Duration::from_secs(20)).is_err();
                self.was_waited_for.fetch_or(is_late, Ordering::Relaxed);
                Ok(Vec::new())
            }
        }
        impl Observer for Slow {
            fn notice(&self, _notice: &Notice<'_>) {}
            fn progress(&self, _progress: &Progress<'_>) {}
            fn is_cancelled(&self) -> bool {
                self.has_begun.load(Ordering::Relaxed)
            }
        }
        let (sender, stop) = channel();
        let slow = Arc::new(Slow { stop: Mutex::new(stop), has_begun: AtomicBool::default(), was_waited_for: AtomicBool::default() });
        let context = Context::new(Folders::default(), slow.clone()).with_resolver(slow.clone());
        let registry = Registry::new(&context, super::super::reference("registry.example/x").unwrap()).unwrap();
        assert!(matches!(registry.wait(registry.digest()), Err(Error::Cancelled)));
        drop(registry);
        assert!(!slow.was_waited_for.load(Ordering::Relaxed));
        sender.send(()).unwrap();
    }

    #[test]
    fn only_this_host_may_do_without_tls() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("127.0.0.1:6000");
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join("ca.crt"), "no certificate").unwrap();
        let registry = |name: &str, plain_http| {
            let network = Network { plain_http, certificates: vec![folder.path().into()], ..Network::default() };
            let context = Context::silent(Folders::default()).with_network(network);
            Registry::new(&context, super::super::reference(name).unwrap()).map(|registry| registry.base().scheme().to_owned())
        };
        let scheme = |name: &str, plain_http| registry(name, plain_http).unwrap();
        assert_eq!(scheme("registry.example/x", false), "https");
        assert_eq!(scheme("registry.example/x", true), "http");
        assert_eq!(scheme("127.0.0.1:5000/x", false), "http");
        assert_eq!(scheme("[::1]:5000/x", false), "http");
        assert_eq!(scheme("[2001:db8::1]:5000/x", false), "https");
        // One whose certificate is to be used has TLS.
        let error = registry("127.0.0.1:6000/x", false).unwrap_err();
        assert!(error.kind() == "certificate" && error.to_string().contains("127.0.0.1:6000/ca.crt"), "{error}");
    }
}
