//! Everything that can be wrong with keys and with what is trusted.

use std::path::PathBuf;

/// Why a key, or what the user trusts, cannot be used. Each message says what was found, what was wanted and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file holds no key, or none of the kind that is wanted.
    #[error("{name} is not a {wanted}: {problem}; `prebake key generate` makes a pair of keys")]
    NotAKey {
        /// The file, or the environment variable.
        name: String,
        /// What was wanted.
        wanted: &'static str,
        /// What was found.
        problem: String,
    },
    /// A key is encrypted, and there is no password or not the right one.
    #[error("the key {name} is encrypted: {problem}")]
    Locked {
        /// The file, or the environment variable.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// An environment variable that should have a key is not set.
    #[error("the environment variable {name} is not set; it should hold the key")]
    NoVariable {
        /// Its name.
        name: String,
    },
    /// A key would take the place of a file.
    #[error("{} already exists, and an overwritten key cannot be recovered; choose another name, or remove the file", path.display())]
    KeyExists {
        /// Which file.
        path: PathBuf,
    },
    /// The name of repositories is none.
    #[error("invalid repository `{text}`: {problem}; write registry.example/team/demo, or registry.example/team/* for everything below")]
    Scope {
        /// What was given.
        text: String,
        /// What is wrong.
        problem: String,
    },
    /// What the user trusts cannot be understood.
    #[error("cannot read {}: {problem}; fix the file, or remove it and add your trust again", path.display())]
    Policy {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// There is nowhere to keep what the user trusts.
    #[error("no folder for your trust settings: they need a folder that only you can write to")]
    NoConfig,
    /// What is to be forgotten is not trusted.
    #[error("{what} is not trusted; `prebake trust list` shows what is")]
    NotTrusted {
        /// What was named.
        what: String,
    },
    /// What a reference names is not signed by the key that was asked for.
    #[error("{reference} is not signed by the key {key}: {problem}; refusing to use it")]
    NotSigned {
        /// What was asked for.
        reference: String,
        /// Fingerprint of the key.
        key: String,
        /// What was found.
        problem: String,
    },
}

impl TrustError {
    /// A stable name of the kind of error, for scripts.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NotAKey { .. } => "not-a-key",
            Self::Locked { .. } => "key-locked",
            Self::NoVariable { .. } => "missing",
            Self::KeyExists { .. } => "key-exists",
            Self::Scope { .. } => "reference",
            Self::Policy { .. } => "trust",
            Self::NoConfig => "no-config",
            Self::NotTrusted { .. } => "not-trusted",
            Self::NotSigned { .. } => "not-signed",
        }
    }
}
