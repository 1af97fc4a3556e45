//! A machine with another amount of memory: the same code and payload in another frame. The code does not depend on it, so nothing is compiled.

use super::convert::machine_size;
use crate::artifact::{Artifact, PartInput, pack};
use crate::error::{Error, Result};
use crate::host::file::HostFile;
use crate::host::file::atomic::AtomicFile;
use payload::{Metadata, PartKind};
use std::path::Path;

/// Makes the machine in `file` with `memory` MiB at `output`.
pub fn resize(file: &Path, memory: u32, output: &Path) -> Result<()> {
    let error = |source| Error::Artifact { path: file.into(), source };
    let artifact = Artifact::open(HostFile::open("machine", file)?).map_err(error)?;
    let metadata = artifact.read_part(PartKind::Metadata).map_err(error)?;
    let metadata = Metadata::decode(&metadata).map_err(|source| Error::Metadata { path: file.into(), source })?;
    let size = machine_size(memory, metadata.upper)?;
    let code = artifact.code().map_err(error)?;
    let parts = artifact.parts().iter().map(|part| PartInput::new(part.kind, part.length, artifact.reader(part))).collect();
    let mut new = AtomicFile::create(output)?;
    pack(&code, size, parts, new.file()).map_err(error)?;
    new.commit()?;
    Ok(())
}
