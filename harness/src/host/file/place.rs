//! Where a file that someone has named is to be written.
//!
//! The folder may be one that a guest writes to at the same time. So it is opened once, before anything runs. A file is made in it under a name that
//! nobody can guess, and takes its own name by a rename, which follows no link. What is at that name is replaced if it is a file or a symbolic link;
//! nothing else is opened, so a pipe without a reader stops nobody.

use super::atomic::{AtomicFile, Readers, fill};
use crate::error::{Error, Result};
use crate::text::hex;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, PROC_SUPER_MAGIC, Stat};
use rustix::io::Errno;
use rustix::rand::GetRandomFlags;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A name for a file in an open folder.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    folder: OwnedFd,
    name: OsString,
}

impl Place {
    /// The place called `path`, unless something is there that is not to be replaced.
    pub fn open(path: &Path) -> Result<Self> {
        let place = Self::whatever_is_there(path)?;
        if place.is_free()? { Ok(place) } else { Err(place.taken()) }
    }

    fn whatever_is_there(path: &Path) -> Result<Self> {
        let name = path.file_name().ok_or_else(|| Error::NotAFile { path: path.into() })?.to_owned();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = rustix::fs::open(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let folder = folder.map_err(|errno| Error::Write { path: path.into(), source: errno.into() })?;
        Ok(Self { path: path.into(), folder, name })
    }

    /// Whether a file can take the name.
    fn is_free(&self) -> Result<bool> {
        Ok(match self.kind()? {
            None | Some(FileType::RegularFile) => true,
            Some(FileType::Symlink) => !self.is_of_the_system()?,
            Some(_) => false,
        })
    }

    fn taken(&self) -> Error {
        Error::NotAFile { path: self.path.clone() }
    }

    /// The path that it was named by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new file in the folder, readable and writable, and the name that it has for now.
    pub(super) fn create(&self, mode: Mode) -> Result<(File, OsString)> {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, GetRandomFlags::empty()).map_err(|errno| self.error(errno))?;
        let mut beside = OsString::from(".");
        beside.push(&self.name);
        beside.push(format!(".{}.part", hex(&random)));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, &beside, flags, mode).map_err(|errno| self.error(errno))?;
        Ok((file.into(), beside))
    }

    /// Gives `file`, which is called `beside`, its name. Fails if someone else has put another file there.
    pub(super) fn take(&self, file: &File, beside: &OsStr) -> Result<()> {
        let take = || -> io::Result<()> {
            let (own, found) = (rustix::fs::fstat(file)?, self.stat(beside)?);
            if found.is_none_or(|found| (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino)) {
                return Err(io::Error::other("another process has replaced the unfinished file"));
            }
            Ok(rustix::fs::renameat(&self.folder, beside, &self.folder, &self.name)?)
        };
        take().map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    /// Waits until the names in the folder are on the disk.
    pub(super) fn sync(&self) -> Result<()> {
        rustix::fs::fsync(&self.folder).map_err(|errno| self.error(errno))
    }

    /// Removes the file that is called `beside`.
    pub(super) fn give_up(&self, beside: &OsStr) {
        // There is nobody to tell.
        let _ = rustix::fs::unlinkat(&self.folder, beside, AtFlags::empty());
    }

    fn stat(&self, name: &OsStr) -> rustix::io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// What has the name.
    fn kind(&self) -> Result<Option<FileType>> {
        let stat = self.stat(&self.name).map_err(|errno| self.error(errno))?;
        Ok(stat.map(|stat| FileType::from_raw_mode(stat.st_mode)))
    }

    fn is_of_the_system(&self) -> Result<bool> {
        is_of_the_system(&self.folder).map_err(|errno| self.error(errno))
    }

    fn error(&self, errno: Errno) -> Error {
        Error::Write { path: self.path.clone(), source: errno.into() }
    }
}

/// Whether `folder` is one where the system has names for devices and for what a process has open: `/dev`, `/dev/fd`, `/proc`.
pub(super) fn is_of_the_system(folder: &OwnedFd) -> rustix::io::Result<bool> {
    let own = rustix::fs::fstat(folder)?;
    let is_dev = rustix::fs::stat("/dev").is_ok_and(|dev| (dev.st_dev, dev.st_ino) == (own.st_dev, own.st_ino));
    Ok(is_dev || rustix::fs::fstatfs(folder)?.f_type == PROC_SUPER_MAGIC)
}

/// Where text is to go: a file, or what the process was started with, as `/dev/stdout` and `/dev/fd/63` name it.
#[derive(Debug)]
pub enum Destination {
    /// A file, to be replaced.
    File(Place),
    /// What is written to as it is.
    Stream {
        /// How it was named.
        path: PathBuf,
        /// The stream.
        file: File,
    },
}

impl Destination {
    /// The destination called `path`. A pipe or a device is one only by its name in `/dev` or `/proc`.
    pub fn open(path: &Path) -> Result<Self> {
        let place = Place::whatever_is_there(path)?;
        if place.is_free()? {
            return Ok(Self::File(place));
        }
        if place.kind()? == Some(FileType::Directory) || !place.is_of_the_system()? {
            return Err(place.taken());
        }
        // What was written to it before, as the guest's output, stays. A pipe that nobody reads any more is an error.
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let open = || -> io::Result<File> {
            let file = rustix::fs::openat(&place.folder, &place.name, flags, Mode::empty())?;
            let status = rustix::fs::fcntl_getfl(&file)?;
            rustix::fs::fcntl_setfl(&file, status - OFlags::NONBLOCK)?;
            Ok(file.into())
        };
        Ok(Self::Stream { path: path.into(), file: open().map_err(|source| Error::Write { path: path.into(), source })? })
    }

    /// Writes `bytes`: a file has them completely or not at all.
    pub fn write(self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::File(place) => fill(AtomicFile::at(place, Readers::Umask)?, bytes),
            Self::Stream { path, mut file } => file.write_all(bytes).map_err(|source| Error::Write { path, source }),
        }
    }

    /// What can be written to from now on: a file is there at once, and empty.
    pub fn begin(self) -> Result<File> {
        match self {
            Self::File(place) => AtomicFile::at(place, Readers::Umask)?.commit(),
            Self::Stream { file, .. } => Ok(file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, mknodat};
    use std::fs;
    use std::io::{Read, Seek};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_pipe_with_a_name_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(Destination::open(&path).unwrap_err().kind(), "not-a-file");
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        // The link is a name like any other: it is replaced.
        Destination::open(&link).unwrap().write(b"new").unwrap();
        assert_eq!(fs::read(&link).unwrap(), b"new");
    }

    #[test]
    fn what_the_process_was_given_is_written_to() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let name = format!("/dev/fd/{}", writer.as_raw_fd());
        let destination = Destination::open(Path::new(&name)).unwrap();
        drop(writer);
        destination.write(b"new").unwrap();
        let mut found = String::new();
        reader.read_to_string(&mut found).unwrap();
        assert_eq!(found, "new");

        // A file goes on where it ends.
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"old ").unwrap();
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        Destination::open(Path::new(&name)).unwrap().write(b"new").unwrap();
        let mut found = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut found).unwrap();
        assert_eq!(found, "old new");

        Destination::open(Path::new("/dev/null")).unwrap().write(b"x").unwrap();
        assert_eq!(Destination::open(Path::new("/dev/full")).unwrap().write(b"x").unwrap_err().kind(), "disk-full");
        assert!(Destination::open(Path::new("/dev/fd")).is_err());
    }

    #[test]
    fn what_is_written_bit_by_bit_is_there_at_once_and_follows_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, precious) = (folder.path().join("trace"), folder.path().join("precious"));
        fs::write(&precious, "precious").unwrap();
        symlink(&precious, &path).unwrap();
        let mut file = Destination::open(&path).unwrap().begin().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        file.write_all(b"line").unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::read(&precious).unwrap()), (b"line".to_vec(), b"precious".to_vec()));
    }
}
