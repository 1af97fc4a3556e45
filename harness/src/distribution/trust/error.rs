//! Everything that can be wrong with keys and with what is trusted.

use std::path::PathBuf;

/// Why a key, or what the user trusts, cannot be used. Each message says what was found, what was wanted and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file holds no key, or none of the kind that is wanted.
    #[error("{name} is no {wanted}: {problem}; `prebake key generate` makes a pair")]
    NotAKey {
        /// The file, or the environment variable.
        name: String,
        /// What was wanted.
        wanted: &'static str,
        /// What was found.
        problem: String,
    },
    /// A key is encrypted, and there is no password or not the right one.
    #[error("the key {name} is encrypted, and {problem}; set PREBAKE_KEY_PASSWORD")]
    Locked {
        /// The file, or the environment variable.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// An environment variable that should have a key is not set.
    #[error("there is no environment variable {name}, which should have the key")]
    NoVariable {
        /// Its name.
        name: String,
    },
    /// A key would take the place of a file.
    #[error("{} is there already, and a key that is lost cannot be had again; give another name, or remove it", path.display())]
    KeyExists {
        /// Which file.
        path: PathBuf,
    },
    /// The name of repositories is none.
    #[error(
        "`{text}` names no repositories: {problem}; give one such as registry.example/team/demo, or registry.example/team/* for all below"
    )]
    Scope {
        /// What was given.
        text: String,
        /// What is wrong.
        problem: String,
    },
    /// What the user trusts cannot be understood.
    #[error("{} is not understood: {problem}; mend it, or remove it and trust anew", path.display())]
    Policy {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// There is nowhere to keep what the user trusts.
    #[error("there is no folder for what you trust that you alone can write: set PREBAKE_CONFIG to one")]
    NoConfig,
    /// What is to be forgotten is not trusted.
    #[error("{what} is not trusted; `prebake trust list` shows what is")]
    NotTrusted {
        /// What was named.
        what: String,
    },
    /// What a reference names is not signed by the key that was asked for.
    #[error("{reference} is not signed by the key {key}: {problem}; it is not used")]
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
