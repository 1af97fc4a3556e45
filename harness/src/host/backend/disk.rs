//! Disks in files of the host.

use crate::error::{Error, Result};
use crate::host::file::HostFile;
use crate::host::file::ledger::{Ledger, Stamp, digest_of};
use devices::blk::{BLOCK_SIZE, BlockError, BlockSource, BlockStore};
use emu::machine::{Disk, DiskContent};
use snapshot::ReadAt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use tracing::debug;

const SECTOR_SIZE: u64 = 512;

/// Whether to trust what is remembered of a file that has not changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Yes.
    IfChanged,
    /// No: read it again.
    Always,
}

/// The disk in the file at `path`. Changes to it go to a temporary file in the folder `changes`; without one it is read-only. `ledger` has what is
/// known of files that were verified.
pub fn open(path: &Path, changes: Option<&Path>, (ledger, verify): (&Ledger, Verify)) -> Result<Disk> {
    let file = HostFile::open("disk", path)?;
    let size = file.byte_len();
    let source = FileSource::whole(file, path)?;
    let file = &source.file;
    let remembered = if verify == Verify::IfChanged { ledger.recall(file.file()) } else { None };
    let digest = match remembered {
        Some(digest) => digest,
        None => {
            let before = Stamp::of(file.file());
            let digest = digest_of(file.file(), path)?;
            debug!(target: "prebake::verify", file = %path.display(), %digest, "computed the digest of a disk");
            ledger.remember(file.file(), before, digest);
            digest
        }
    };
    let source = Box::new(source);
    let content = match changes {
        None => DiskContent::ReadOnly(source),
        Some(folder) => DiskContent::CopyOnWrite(source, Box::new(FileStore::new(folder, size)?)),
    };
    Ok(Disk { digest, content })
}

/// The contents of a file, or a part of them.
pub struct FileSource {
    file: HostFile,
    start: u64,
    size: u64,
}

impl FileSource {
    /// All of `file`. `path` is for the error.
    pub fn whole(file: HostFile, path: &Path) -> Result<Self> {
        let size = file.byte_len();
        Self::part(file, path, 0, size)
    }

    /// The `size` bytes of `file` from `start` on: a positive multiple of 512. `path` is for the error.
    pub fn part(file: HostFile, path: &Path, start: u64, size: u64) -> Result<Self> {
        if size == 0 || !size.is_multiple_of(SECTOR_SIZE) {
            return Err(Error::DiskSize { path: path.into(), size });
        }
        Ok(Self { file, start, size })
    }
}

impl BlockSource for FileSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> std::result::Result<(), BlockError> {
        self.file.read_exact_at(bytes, self.start + offset).map_err(|_| BlockError::Host)
    }
}

/// Changed blocks in a file that has no name and goes with the process.
#[derive(Debug)]
struct FileStore {
    file: File,
    capacity: u32,
}

impl FileStore {
    /// Room for every block of a disk of `size` bytes.
    fn new(folder: &Path, size: u64) -> Result<Self> {
        let make = || {
            use rustix::fs::{Mode, OFlags, open};
            open(folder, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR).map(File::from).map_err(io::Error::from)
        };
        let file = make().map_err(|source| Error::Write { path: folder.into(), source })?;
        let capacity = u32::try_from(size.div_ceil(BLOCK_SIZE as u64)).unwrap_or(u32::MAX);
        Ok(Self { file, capacity })
    }
}

fn offset(slot: u32) -> u64 {
    u64::from(slot) * BLOCK_SIZE as u64
}

impl BlockStore for FileStore {
    fn capacity(&self) -> u32 {
        self.capacity
    }

    fn read(&mut self, slot: u32, block: &mut [u8; BLOCK_SIZE]) -> std::result::Result<(), BlockError> {
        self.file.read_exact_at(block, offset(slot)).map_err(|_| BlockError::Host)
    }

    fn write(&mut self, slot: u32, block: &[u8; BLOCK_SIZE]) -> std::result::Result<(), BlockError> {
        self.file.write_all_at(block, offset(slot)).map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => BlockError::Full,
            _ => BlockError::Host,
        })
    }

    /// The file goes with the process, so there is nothing to make durable.
    fn flush(&mut self) -> std::result::Result<(), BlockError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devices::blk::{BlockBackend, CowBackend};

    #[test]
    fn a_disk_is_read_and_its_changes_are_kept_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let content: Vec<u8> = (0..5 * 4096 + 512).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let disk = open(&path, Some(folder.path()), (&Ledger::at(None), Verify::Always)).unwrap();
        assert_eq!(disk.digest, snapshot::Digest::of(&content));
        let DiskContent::CopyOnWrite(source, store) = disk.content else { panic!("read-only") };
        let mut disk = CowBackend::new(source, store);
        disk.write_at(4000, &[7; 200]).unwrap();
        let mut expected = content.clone();
        expected[4000..4200].fill(7);
        let mut found = vec![0; content.len()];
        disk.read_at(0, &mut found).unwrap();
        assert!(found == expected);
        assert!(std::fs::read(&path).unwrap() == content);
    }

    #[test]
    fn what_is_no_disk_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let kind = |path: &Path| open(path, None, (&Ledger::at(None), Verify::Always)).map(drop).unwrap_err().kind().to_owned();
        assert_eq!(kind(folder.path()), "unreadable");
        assert_eq!(kind(&folder.path().join("none")), "missing");
        let odd = folder.path().join("odd");
        std::fs::write(&odd, [0; 700]).unwrap();
        assert_eq!(kind(&odd), "disk-size");
        std::fs::write(&odd, []).unwrap();
        assert_eq!(kind(&odd), "disk-size");
    }
}
