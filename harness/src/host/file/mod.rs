//! Files of the host.

pub mod atomic;
pub mod ledger;
pub mod place;

use crate::error::{Error, Result};
use rustix::fs::{FileType, Mode, OFlags};
use snapshot::ReadAt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
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
        open_file(path).and_then(Self::of).map_err(|source| Error::Read { what, path: path.into(), source })
    }

    /// An open file.
    pub fn of(mut file: File) -> io::Result<Self> {
        // Of a block device the metadata does not tell the size.
        let len = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, len })
    }

    /// The same file once more.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, len: self.len })
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

/// All of an input, see [`open_input`]; `what` it is for goes into the error.
pub fn read(what: &'static str, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = open_input(path).and_then(|mut file| file.read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|source| Error::Read { what, path: path.into(), source })
}

/// Opens a regular file or a block device for reading. Anything else is refused unopened: to open a pipe may take for ever, and to open a device may
/// do something.
pub fn open_file(path: &Path) -> io::Result<File> {
    open(path, &[FileType::RegularFile, FileType::BlockDevice])
}

/// The same, or what this process was started with, as `/dev/stdin` and `/dev/fd/63` name it.
pub fn open_input(path: &Path) -> io::Result<File> {
    use FileType::{BlockDevice, CharacterDevice, Fifo, RegularFile};
    if is_of_the_system(path) { open(path, &[RegularFile, BlockDevice, Fifo, CharacterDevice]) } else { open_file(path) }
}

/// The same, or a pipe with a name, whose other end is waited for. For what the user alone names, and nothing that another file leads to.
pub fn open_stream(path: &Path) -> io::Result<File> {
    use FileType::{BlockDevice, Fifo, RegularFile};
    if is_of_the_system(path) { open_input(path) } else { open(path, &[RegularFile, BlockDevice, Fifo]) }
}

fn open(path: &Path, kinds: &[FileType]) -> io::Result<File> {
    let place = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let found = FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode);
    if found == FileType::Directory {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !kinds.contains(&found) {
        let found = match found {
            FileType::Fifo => "a pipe",
            FileType::Socket => "a socket",
            _ => "a device",
        };
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {found}, not a file")));
    }
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(format!("/proc/self/fd/{}", place.as_raw_fd()), flags, Mode::empty())?.into())
}

/// Whether a path is one of the system's names for devices and for what a process has open: in `/dev`, `/dev/fd` or `/proc`.
fn is_of_the_system(path: &Path) -> bool {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = rustix::fs::open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    folder.is_ok_and(|folder| place::is_of_the_system(&folder).unwrap_or(false))
}

/// Whether `file` lies below `folder` now, by whatever name it was opened. What is asked is the kernel, of the open file.
pub(crate) fn lies_below(file: &File, folder: &Path) -> bool {
    let place = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
    place.is_ok_and(|place| folder.canonicalize().is_ok_and(|folder| place.starts_with(folder)))
}

/// Whether `file` is this user's or the system's, and nobody else can write it, nor has it another name, by which it could be met elsewhere.
pub(crate) fn only_owner_writes_file(file: &File) -> bool {
    file.metadata().is_ok_and(|found| is_owner(found.uid()) && found.mode() & 0o022 == 0 && found.nlink() == 1)
}

/// This user, or the one that can write everything.
fn is_owner(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, mknodat};
    use std::fs;
    use std::io::Write;

    #[test]
    fn what_is_not_a_file_is_refused_without_waiting_for_anyone() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, socket) = (folder.path().join("pipe"), folder.path().join("socket"));
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, word) in [(&pipe, "a pipe"), (&socket, "a socket"), (&PathBuf::from("/dev/tty"), "a device")] {
            let error = HostFile::open("snapshot", path).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let error = read("key", &pipe).unwrap_err().to_string();
        assert!(error.contains("a pipe"), "{error}");
    }

    #[test]
    fn what_the_process_was_given_is_read() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"A=B").unwrap();
        drop(writer);
        assert_eq!(read("variables", Path::new(&format!("/dev/fd/{}", reader.as_raw_fd()))).unwrap(), b"A=B");
        assert_eq!(read("variables", Path::new("/dev/null")).unwrap(), b"");
    }

    #[test]
    fn a_file_with_two_names_is_not_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&path, "").unwrap();
        let file = open_file(&path).unwrap();
        assert!(only_owner_writes_file(&file));
        fs::hard_link(&path, &other).unwrap();
        assert!(!only_owner_writes_file(&file));
    }

    #[test]
    fn a_pipe_is_waited_for_only_where_a_pipe_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(open_file(&path).is_err() && open_input(&path).is_err());
        let mut read = String::new();
        std::thread::scope(|scope| {
            scope.spawn(|| fs::write(&path, "content").unwrap());
            open_stream(&path).unwrap().read_to_string(&mut read).unwrap();
        });
        assert_eq!(read, "content");
        for other in [Path::new("/dev/fd"), folder.path()] {
            assert_eq!(open_stream(other).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        }
    }

    #[test]
    fn where_a_file_lies_is_told_by_the_file_and_not_by_its_name() {
        let (store, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (inside, outside) = (store.path().join("a"), other.path().join("a"));
        fs::write(&inside, "").unwrap();
        std::os::unix::fs::symlink(&inside, &outside).unwrap();
        assert!(lies_below(&open_file(&outside).unwrap(), store.path()));
        let file = open_file(&inside).unwrap();
        fs::rename(&inside, other.path().join("b")).unwrap();
        assert!(!lies_below(&file, store.path()));
        std::os::unix::fs::symlink(other.path().join("b"), &inside).unwrap();
        assert!(!lies_below(&open_file(&inside).unwrap(), store.path()));
    }
}
