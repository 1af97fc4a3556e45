//! Everything that can be wrong with a registry and what it sends.

use super::digest::Sha256;
use super::obstacle::{Obstacle, Remedy};
use std::path::PathBuf;
use std::time::Duration;

/// Why something could not be pushed or pulled. Each message says what was found, what was wanted and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// The reference is none.
    #[error("invalid reference `{text}`: {problem}; a reference looks like registry.example/name:tag")]
    Reference {
        /// What was given.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The registry does not answer.
    #[error("cannot {} {registry}{}: {problem}; {advice}", if *obstacle == Obstacle::Unresolved { "resolve" } else { "reach" }, through(proxy))]
    Unreachable {
        /// Which registry.
        registry: String,
        /// Why not.
        problem: String,
        /// The proxy on the way.
        proxy: Option<String>,
        /// What is in the way.
        obstacle: Obstacle,
        /// What to do.
        advice: String,
        /// What can be asked for that helps.
        remedy: Option<Remedy>,
        /// Whether it may pass in a moment.
        passes: bool,
    },
    /// The registry uses TLS, and is spoken to without.
    #[error("{registry} uses TLS, so it cannot be reached by plain HTTP")]
    WantsTls {
        /// Which registry.
        registry: String,
    },
    /// A proxy cannot be used.
    #[error(
        "{address} is not a proxy that can be used; correct HTTP_PROXY, HTTPS_PROXY or ALL_PROXY: http://HOST:PORT, https:// or socks5://"
    )]
    Proxy {
        /// Its address, without its password.
        address: String,
    },
    /// A certificate or its key cannot be used.
    #[error("cannot use the certificate {}: {problem}; pass a file in PEM, or remove it", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// The registry answers with a status that is not the one hoped for.
    #[error("the registry answered {status} to a request for {what}{}{}; {}", through(proxy), said(message), advice(*status))]
    Status {
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What the registry says of it.
        message: String,
        /// When it is to be asked again, if it says.
        retry_after: Option<Duration>,
        /// The proxy on the way, which may be who answered.
        proxy: Option<String>,
    },
    /// The registry lets nobody in with these credentials.
    #[error("{registry} rejected the credentials{}; log in with docker or podman", said(message))]
    Unauthorized {
        /// Which registry.
        registry: String,
        /// What it says.
        message: String,
    },
    /// The registry wants credentials, and some that the user may have for it cannot be read.
    #[error(
        "{registry} wants credentials, but the credentials for it cannot be read: {problem}; correct that, or log in again with docker or podman"
    )]
    Credentials {
        /// For which registry.
        registry: String,
        /// Why not.
        problem: String,
    },
    /// The registry breaks the rules of its protocol.
    #[error("the registry violates the OCI distribution specification: {problem}")]
    Protocol {
        /// What was found and what was wanted.
        problem: String,
    },
    /// A document is not understood, or contradicts itself or another.
    #[error("the {what} is malformed: {problem}; push it again")]
    Document {
        /// Which document.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// Bytes are not those that were named.
    #[error("{what} has digest {found}, expected {wanted}; the registry or the connection to it is broken")]
    WrongDigest {
        /// What was fetched.
        what: String,
        /// Of the bytes that came.
        found: Sha256,
        /// Of the bytes that should have come.
        wanted: Sha256,
    },
    /// The connection broke before the end.
    #[error("{what} ended after {found} of {wanted} bytes; try again: the download resumes where it stopped")]
    CutOff {
        /// What was fetched.
        what: String,
        /// Bytes that came.
        found: u64,
        /// Bytes that should have come.
        wanted: u64,
    },
    /// The reference names something else.
    #[error("{reference} is not a prebake artifact: {found}; `prebake push` makes one")]
    NotPrebaked {
        /// What was asked for.
        reference: String,
        /// What it is.
        found: String,
    },
    /// Nothing that the reference names can be used here.
    #[error("{reference} cannot be used here: {problem}")]
    Incompatible {
        /// What was asked for.
        reference: String,
        /// A stable name of the first reason.
        kind: &'static str,
        /// All reasons, and what to do.
        problem: String,
    },
    /// What is asked for is not in the store, and nothing may be fetched.
    #[error("{reference} is not in the store, and nothing may be fetched")]
    NotInStore {
        /// What was asked for.
        reference: String,
    },
    /// Native code is not for the processor that was named.
    #[error("{} was compiled for {found}, not for {given}", path.display())]
    OtherProcessor {
        /// The machine's file.
        path: PathBuf,
        /// The processor that it is for.
        found: String,
        /// The one that was named.
        given: String,
    },
    /// Native code that an older version compiled elsewhere does not say which processors it runs on.
    #[error("{} does not say what processor it was compiled for, since an older version of prebake compiled it; name one of: {known}", path.display())]
    UnknownProcessor {
        /// The machine's file.
        path: PathBuf,
        /// The processors that it may be for.
        known: String,
    },
    /// The files do not belong together.
    #[error("{problem}")]
    Mismatch {
        /// What was found, what was wanted and what to do.
        problem: String,
    },
}

impl OciError {
    /// A stable name of the kind of error, for scripts.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Reference { .. } => "reference",
            Self::Unreachable { .. } => "registry-unreachable",
            Self::WantsTls { .. } => "registry-wants-tls",
            Self::Proxy { .. } => "proxy",
            Self::Certificate { .. } => "certificate",
            Self::Status { status: 401, .. } | Self::Unauthorized { .. } => "registry-unauthorized",
            Self::Status { status: 403, .. } => "registry-denied",
            Self::Status { status: 404, .. } => "not-in-registry",
            Self::Status { status: 429, .. } => "registry-busy",
            Self::Status { .. } => "registry-failed",
            Self::Credentials { .. } => "credentials",
            Self::Protocol { .. } => "registry-protocol",
            Self::Document { .. } => "registry-document",
            Self::WrongDigest { .. } => "registry-digest",
            Self::CutOff { .. } => "registry-cut-off",
            Self::NotPrebaked { .. } => "not-prebaked",
            Self::Incompatible { kind, .. } => kind,
            Self::NotInStore { .. } => "not-in-store",
            Self::Mismatch { .. } | Self::UnknownProcessor { .. } | Self::OtherProcessor { .. } => "files-mismatch",
        }
    }

    /// Whether the same may succeed some time: the registry is down, busy, or the connection broke, or this host has no network.
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::CutOff { .. } => true,
            Self::Status { status, .. } => matches!(*status, 408 | 429 | 500..),
            _ => false,
        }
    }

    /// Whether it may in a moment.
    pub const fn is_worth_retrying(&self) -> bool {
        match self {
            Self::Unreachable { passes, .. } => *passes,
            other => other.is_passing(),
        }
    }

    pub(super) fn document(what: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Document { what: what.into(), problem: problem.into() }
    }

    pub(super) fn protocol(problem: impl Into<String>) -> Self {
        Self::Protocol { problem: problem.into() }
    }
}

/// What a registry says, for a message. It is not the registry's to program a terminal.
fn said(message: &str) -> String {
    /// A message that shows more helps nobody.
    const SHOWN: usize = 300;
    let shown: String = message.trim().chars().take(SHOWN).collect();
    if shown.is_empty() { String::new() } else { format!(" (\"{}\")", shown.escape_debug()) }
}

fn through(proxy: &Option<String>) -> String {
    proxy.as_ref().map(|proxy| format!(" through the proxy {proxy}")).unwrap_or_default()
}

const fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => "log in with docker or podman",
        407 => "put the proxy's credentials into its address: http://USER:PASSWORD@HOST:PORT",
        404 => "check the reference, and whether it needs credentials",
        429 | 500.. => "try again later",
        _ => "check the reference",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_says_does_not_program_the_terminal() {
        let message = format!("\x1b[2Jno {}", "x".repeat(1000));
        let error = OciError::Status { what: "x".into(), status: 500, message, retry_after: None, proxy: None }.to_string();
        assert!(error.contains("(\"\\u{1b}[2Jno xx") && error.len() < 500, "{error}");
    }
}
