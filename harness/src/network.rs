//! How registries are reached: one value for all that a context does. Whoever talks to a registry has it from there, so nothing can be forgotten on
//! the way.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Looks up names of hosts in place of this host, which may not be able to: a static program on Android has no resolver, but the app that started it
/// has.
pub trait Resolver: Send + Sync {
    /// The addresses of `name`; none if there is no such name. It may wait, and is asked from several threads.
    fn resolve(&self, name: &str, asker: Asker) -> io::Result<Vec<IpAddr>>;
}

/// Who wants to know. A guest may ask as much as it likes, and is to leave something for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// This process, for a registry.
    Registry,
    /// A guest; each has its own number.
    Guest(u64),
}

impl Asker {
    /// A guest that has not asked yet.
    pub fn guest() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self::Guest(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// See above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Without TLS, wherever a registry is. One on this host may do without anyway.
    pub plain_http: bool,
    /// Name and password for one registry, in place of those in files.
    pub login: Option<Login>,
    /// Files with credentials, as docker and podman write them. The first that has some for a registry counts.
    pub credentials: Vec<PathBuf>,
    /// Files with certificates that are trusted besides this host's.
    pub authorities: Vec<PathBuf>,
    /// Folders with one for each registry, as docker and podman have them: certificates that are trusted there (`*.crt`), and those to show there
    /// (`*.cert`, each with its `*.key`).
    pub certificates: Vec<PathBuf>,
    /// Proxies on the way.
    pub proxies: Proxies,
    /// How often something is tried.
    pub tries: u32,
    /// Before the second try; then twice as long each time.
    pub pause: Duration,
    /// Without a byte for so long, a connection is given up.
    pub silence: Duration,
}

/// Proxies, as addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For connections without TLS.
    pub http: Option<String>,
    /// For connections with TLS.
    pub https: Option<String>,
    /// Hosts that are reached without one, separated by commas: names, which stand for all below them too, addresses, ranges of them, or `*`.
    pub except: String,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            plain_http: false,
            login: None,
            credentials: Vec::new(),
            authorities: Vec::new(),
            certificates: Vec::new(),
            proxies: Proxies::default(),
            tries: 5,
            pause: Duration::from_secs(1),
            silence: Duration::from_secs(60),
        }
    }
}

/// Name and password for a registry, and for no other: what is meant for the one that is pushed to is not the base image's to see.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The registry: host and port, by any of its names.
    pub registry: String,
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("registry", &self.registry).field("user", &self.user).finish_non_exhaustive()
    }
}
