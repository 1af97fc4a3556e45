//! Files of the host.

pub mod atomic;
pub mod ledger;

use crate::error::{Error, Result};
use snapshot::ReadAt;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A file that is read here and there.
#[derive(Debug)]
pub struct HostFile {
    file: File,
    len: u64,
}

impl HostFile {
    /// Opens a regular file or a block device; `what` it is for goes into the error.
    pub fn open(what: &'static str, path: &Path) -> Result<Self> {
        let open = || {
            let mut file = File::open(path)?;
            let kind = file.metadata()?.file_type();
            if kind.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            // Of a block device the metadata does not tell the size.
            let len = file.seek(SeekFrom::End(0))?;
            Ok(Self { file, len })
        };
        open().map_err(|source| Error::Read { what, path: path.into(), source })
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl ReadAt for HostFile {
    fn byte_len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

/// Whether the file or folder at `path` is this user's, and nobody else can write it.
pub(crate) fn only_user_writes(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0)
}

/// Whether nobody can write the folder at `path` but its owner, who is this user or the one that can write everything.
pub(crate) fn only_owner_writes(path: &Path) -> bool {
    let is_owner = |uid| uid == 0 || uid == rustix::process::geteuid().as_raw();
    std::fs::metadata(path).is_ok_and(|found| is_owner(found.uid()) && found.mode() & 0o022 == 0)
}

/// Whether this process can write to the folder at `path`.
pub(crate) fn is_writable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

/// A folder that only this user can write.
pub(crate) fn private_folder(path: PathBuf) -> Option<PathBuf> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).ok()?;
    only_user_writes(&path).then_some(path)
}

/// All of a file; `what` it is for goes into the error.
pub fn read(what: &'static str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::Read { what, path: path.into(), source })
}
