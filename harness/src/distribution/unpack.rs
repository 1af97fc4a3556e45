//! Snapshots that ordinary OCI clients have pulled.

use crate::context::Context;
use crate::error::{Error, Result};
use crate::host::file::HostFile;
use crate::host::file::atomic::AtomicFile;
use crate::observer::{Task, Tracker};
use snapshot::{Travelling, Written};
use std::path::Path;

/// Turns the snapshot at `path` from its travelling form into its stored form, at `output`. A file of that name stays as it is until the new one
/// is complete.
pub fn unpack(context: &Context, path: &Path, output: &Path) -> Result<Written> {
    let error = |source| Error::Snapshot { path: path.into(), source };
    let travelling = Travelling::open(HostFile::open("snapshot", path)?).map_err(error)?;
    let mut file = AtomicFile::create_private(output)?;
    let tracker = Tracker::new(context.observer(), Task::UnpackSnapshot, Some(travelling.stored_length()));
    let written = travelling.unpack(file.file(), |done| tracker.set(done)).map_err(|source| match source {
        snapshot::Error::Io { doing: "writing the snapshot", source } => Error::Write { path: output.into(), source },
        source => error(source),
    })?;
    file.commit()?;
    Ok(written)
}
