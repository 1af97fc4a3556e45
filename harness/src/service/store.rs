//! What is in the store, and what may leave it.

use crate::context::Context;
use crate::distribution::oci::{self, OciError};
use crate::distribution::store::{Entry, Pruned, Store};
use crate::error::Result;
use crate::session::{FileRef, Origin, SessionInfo, Sessions};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// An image that was pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Image {
    /// The reference in full.
    pub reference: String,
    /// Digest of the document that it names.
    pub digest: String,
    /// The processor of its native code, or `wasm`.
    pub target: String,
    /// Bytes of the machine.
    pub machine_bytes: u64,
    /// Bytes of the snapshot, if there is one.
    pub snapshot_bytes: Option<u64>,
    /// When it was pulled, in seconds since 1970.
    pub pulled: u64,
}

impl From<&Entry> for Image {
    fn from(entry: &Entry) -> Self {
        Self {
            reference: entry.reference.clone(),
            digest: entry.digest.to_string(),
            target: entry.target.clone().unwrap_or_else(|| "wasm".into()),
            machine_bytes: entry.machine.bytes,
            snapshot_bytes: entry.snapshot.as_ref().map(|snapshot| snapshot.bytes),
            pulled: entry.pulled,
        }
    }
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SavedSession {
    /// Its name.
    pub name: String,
    /// The reference, or the file, that it is of.
    pub of: String,
    /// Digest of the image, if it is of one.
    pub image: Option<String>,
    /// When it began, in seconds since 1970.
    pub began: u64,
    /// When it was saved last, in seconds since 1970; nothing if it never was, as while its first run lasts.
    pub kept: Option<u64>,
    /// Bytes that it takes on the disk.
    pub bytes: u64,
    /// A process runs it.
    pub running: bool,
}

impl From<&SessionInfo> for SavedSession {
    fn from(session: &SessionInfo) -> Self {
        Self {
            name: session.name.clone(),
            of: subject(&session.origin),
            image: session.origin.image.map(|digest| digest.to_string()),
            began: session.origin.began,
            kept: session.saved.map(seconds),
            bytes: session.bytes,
            running: session.runs,
        }
    }
}

/// What a session is of, in the words in which it was run.
fn subject(origin: &Origin) -> String {
    match (&origin.reference, origin.machine.as_ref().unwrap_or(&origin.base)) {
        (Some(reference), _) => reference.clone(),
        (None, FileRef::Path(path)) => path.display().to_string(),
        (None, FileRef::Store(name)) => name.clone(),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}

/// The images that were pulled, by reference.
pub fn images(context: &Context) -> Result<Vec<Image>> {
    Ok(Store::open(context)?.entries()?.iter().map(Into::into).collect())
}

/// The sessions, by name.
pub fn sessions(context: &Context) -> Result<Vec<SavedSession>> {
    Ok(Sessions::of(&Store::open(context)?)?.list()?.iter().map(Into::into).collect())
}

/// Ends a session for good.
pub fn remove_session(context: &Context, name: &str) -> Result<()> {
    Sessions::of(&Store::open(context)?)?.remove(name)
}

/// Forgets these references, and removes every file that no other reference, no session and no machine that runs needs.
pub fn prune(context: &Context, references: &[String]) -> Result<Pruned> {
    let store = Store::open(context)?;
    for reference in references {
        let reference = oci::reference(reference)?.whole();
        if !store.forget(&reference)? {
            return Err(OciError::NotInStore { reference }.into());
        }
    }
    store.prune(|| Sessions::of(&store)?.needed())
}
