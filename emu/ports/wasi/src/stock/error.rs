//! What the user is told where the guest's program did not come to its end.

use std::io;

/// Why there is no status of the guest's program.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A network was asked for.
    #[error("this runtime gives the guest no network, and {asked} asks for one; run the machine with `prebake run`, or without {asked}")]
    NoNetwork {
        /// The argument that asks.
        asked: String,
    },
    /// The payload cannot be understood.
    #[error("{0}")]
    Payload(#[from] payload::Error),
    /// Its metadata cannot.
    #[error("the metadata in this file cannot be understood: {0}; convert the image again")]
    Metadata(#[from] serde_json::Error),
    /// The machine cannot be made.
    #[error("{0}")]
    Machine(#[from] crate::error::Error),
    /// The machine cannot go on.
    #[error("{0}")]
    Stopped(#[from] emu::machine::MachineError),
    /// The runtime did not do what was asked of it.
    #[error("the runtime cannot {doing}: {source}")]
    Host {
        /// What it should have done.
        doing: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// The guest cannot be attended any further.
    #[error(transparent)]
    Guest(#[from] attend::Failure),
}
