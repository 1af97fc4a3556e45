//! What ordinary OCI clients have pulled, turned into files that run.

use super::oci::{OciError, join};
use crate::artifact::is_machine;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::host::file::HostFile;
use crate::host::file::atomic::AtomicFile;
use crate::observer::{Task, Tracker};
use snapshot::{Digest, Travelling, Written};
use std::path::{Path, PathBuf};

/// What was unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes of the file.
    pub bytes: u64,
    /// Of a snapshot, its content; of a machine, its code.
    pub digest: Digest,
}

/// Makes the file `output` of `files`: a machine of its layers, or a snapshot of its travelling form. A file of that name stays as it is until the new one is
/// complete.
pub fn unpack(context: &Context, files: &[PathBuf], output: &Path) -> Result<Unpacked> {
    match files {
        _ if is_machine(output) => {
            let mut file = AtomicFile::create(output)?;
            let digest = join(files, file.file(), output)?;
            let bytes = file.commit()?.metadata().map_or(0, |found| found.len());
            Ok(Unpacked { bytes, digest })
        }
        [path] => {
            unpack_snapshot(context, path, output).map(|written| Unpacked { bytes: written.file_length, digest: written.content_digest })
        }
        _ => {
            Err(OciError::Mismatch { problem: "a snapshot is in one file; to unpack a machine, name it FILE.aot or FILE.wasm".into() }
                .into())
        }
    }
}

fn unpack_snapshot(context: &Context, path: &Path, output: &Path) -> Result<Written> {
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
