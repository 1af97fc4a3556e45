//! What a session is of.

use crate::distribution::oci::Sha256;
use crate::distribution::trust::Signature;
use crate::error::{Error, Result};
use crate::host::file::{self, atomic};
use crate::machine::program::Program;
use protocol::Mode;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where a session began, and what it needs to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The reference that was run, if it was one.
    pub reference: Option<String>,
    /// Digest of the document that it named.
    pub image: Option<Sha256>,
    /// Digest of the machine's code, and who has signed the document: whether it may be run is judged anew each time.
    pub code: Option<String>,
    /// See there.
    pub signatures: Vec<Signature>,
    /// The machine, unless it was a snapshot alone that was run.
    pub machine: Option<FileRef>,
    /// The snapshot that the session's state is a delta on.
    pub base: FileRef,
    /// Its program is on a terminal, not on three streams.
    pub on_terminal: bool,
    /// Its program, and what that gets of the host.
    pub program: Program,
    /// When it began: seconds since 1970.
    pub began: u64,
}

/// A file that a session needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileRef {
    /// In the store, under this name.
    Store(String),
    /// The user's, at this path.
    Path(PathBuf),
}

impl Origin {
    /// What the program is connected to.
    pub const fn mode(&self) -> Mode {
        if self.on_terminal { Mode::Tty } else { Mode::Streams }
    }

    /// The names of the store's files that it needs.
    pub fn stored(&self) -> impl Iterator<Item = &str> {
        self.machine.iter().chain([&self.base]).filter_map(|file| match file {
            FileRef::Store(name) => Some(name.as_str()),
            FileRef::Path(_) => None,
        })
    }

    pub(super) fn read(path: &Path) -> Result<Self> {
        const WHAT: &str = "record of a session";
        let bytes = file::read(WHAT, path)?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Read { what: WHAT, path: path.into(), source: error.into() })
    }

    /// Notes this at `path`. It need not be on the disk before the session's first state is.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self).map_err(|source| Error::Write { path: path.into(), source: source.into() })?;
        atomic::write_private_for_now(path, &bytes)
    }
}
