//! A machine's code compiled for a host, with the machine's payload.

use super::shipped;
use crate::artifact::code_cache::CodeCache;
use crate::artifact::{Artifact, Kind, PartInput, link, pack};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::host::file::HostFile;
use crate::host::file::atomic::AtomicFile;
use snapshot::ReadAt;
use std::fs::File;
use std::path::{Path, PathBuf};
use wamr::Options;

/// Compiles the machine in `file` to `output`. Returns the length of that.
pub fn compile(context: &Context, file: &Path, output: &Path, options: &Options) -> Result<u64> {
    with_code(file, output, |code| CodeCache::open(context).compiled(&code, options))
}

/// Writes the machine in `file`, WebAssembly, to `output`, with the code that `change` makes of its own. Returns the length of that.
pub(super) fn with_code(file: &Path, output: &Path, change: impl FnOnce(Vec<u8>) -> Result<Vec<u8>>) -> Result<u64> {
    let error = |source| Error::Artifact { path: file.into(), source };
    let wasm = open(file)?;
    let mut new = AtomicFile::create(output)?;
    let code = change(wasm.code().map_err(error)?)?;
    let parts = wasm.parts().iter().map(|part| PartInput::new(part.kind, part.length, wasm.reader(part))).collect();
    pack(&code, wasm.size(), parts, new.file()).map_err(error)?;
    read_back(output, new.commit()?)
}

/// Opens the machine in `file`: WebAssembly.
pub(super) fn open(file: &Path) -> Result<Artifact<HostFile>> {
    let wasm = Artifact::open(HostFile::open("machine", file)?).map_err(|source| Error::Artifact { path: file.into(), source })?;
    if *wasm.kind() == Kind::Wasm { Ok(wasm) } else { Err(Error::NotWasm { path: file.into() }) }
}

/// Compiles the code of all machines into `folder`, which is to lie beside the program of an installation. Returns the file.
pub fn ship(context: &Context, folder: &Path, options: &Options) -> Result<PathBuf> {
    let error = |source| Error::Artifact { path: folder.into(), source };
    let code = link(&shipped::machine_module(context.folders())?).map_err(error)?;
    CodeCache::open(context).ship(&code, options, folder)
}

/// Reads back what is on the disk. Returns the file's length.
fn read_back(path: &Path, written: File) -> Result<u64> {
    let error = |source| Error::Artifact { path: path.into(), source };
    let written = HostFile::of(written).map_err(|source| Error::Read { what: "machine", path: path.into(), source })?;
    let machine = Artifact::open(written).map_err(error)?;
    machine.code().map_err(error)?;
    Ok(machine.file().byte_len())
}
