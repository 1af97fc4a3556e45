//! Finding and opening files in a folder of the host.

use super::call::{Descriptor, Opening, Result};
use devices::p9::{Errno, FileKind, Handle, Name, OpenFlags, RelativePath};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A folder that the runtime has opened in advance.
///
/// Every path is resolved from its descriptor, one name at a time and never through a symbolic link, so that nobody who changes the tree
/// meanwhile can lead an access out of it. Only regular files are opened. WASI knows neither owners nor permissions: all files belong to
/// whoever asks, and may be read, written and executed as far as the host allows.
#[derive(Debug)]
pub struct Folder {
    root: Rc<Descriptor>,
    files: BTreeMap<Handle, OpenFile>,
    next_handle: u64,
}

/// An open regular file.
#[derive(Debug)]
pub struct OpenFile {
    pub file: Descriptor,
    /// Every write goes to the end.
    pub append: bool,
}

impl Folder {
    /// The folder behind the runtime's descriptor `number`.
    pub fn of_descriptor(number: wasi::Fd) -> Self {
        Self { root: Descriptor::of_runtime(number), files: BTreeMap::new(), next_handle: 1 }
    }

    fn directory(&self, names: &[Name]) -> Result<Rc<Descriptor>> {
        names.iter().try_fold(self.root.clone(), |at, name| {
            // Some runtimes answer ELOOP to a link where a directory is wanted, some ENOTDIR: both are Linux's.
            Ok(Rc::new(at.open(name.as_bytes(), Opening::DIRECTORY)?))
        })
    }

    /// The directory that a file is in, and its name there; of the root, itself and `.`.
    pub fn resolve<'a>(&self, path: &'a RelativePath) -> Result<(Rc<Descriptor>, &'a [u8])> {
        match path.components().split_last() {
            Some((name, directory)) => Ok((self.directory(directory)?, name.as_bytes())),
            None => Ok((self.root.clone(), b".")),
        }
    }

    /// The same of a file that is to be made, moved or removed, which the root cannot be.
    pub fn resolve_entry<'a>(&self, path: &'a RelativePath) -> Result<(Rc<Descriptor>, &'a [u8])> {
        if path.components().is_empty() { Err(Errno::EBUSY) } else { self.resolve(path) }
    }

    /// A directory that is to be read.
    pub fn open_directory(&self, path: &RelativePath) -> Result<Rc<Descriptor>> {
        self.directory(path.components())
    }

    /// Opens a file that is there, if it is a regular one.
    pub fn open_regular(&self, path: &RelativePath, opening: Opening) -> Result<Descriptor> {
        let (directory, name) = self.resolve(path)?;
        // Looked at first, for opening a device can have effects, and again afterwards, for it may have changed.
        check_regular(&directory.stat(name)?)?;
        let file = directory.open(name, opening)?;
        check_regular(&file.stat_self()?)?;
        Ok(file)
    }

    /// Makes and opens a regular file where there is none.
    pub fn create_regular(&self, path: &RelativePath, opening: Opening) -> Result<Descriptor> {
        let (directory, name) = self.resolve_entry(path)?;
        directory.open(name, Opening { oflags: wasi::OFLAGS_CREAT | wasi::OFLAGS_EXCL, ..opening })
    }

    /// Keeps an open file.
    pub fn add(&mut self, file: Descriptor, append: bool) -> Handle {
        let handle = Handle::new(self.next_handle);
        self.next_handle += 1;
        self.files.insert(handle, OpenFile { file, append });
        handle
    }

    /// An open file.
    pub fn file(&self, handle: Handle) -> Result<&OpenFile> {
        self.files.get(&handle).ok_or(Errno::EBADF)
    }

    /// Closes an open file.
    pub fn forget(&mut self, handle: Handle) {
        self.files.remove(&handle);
    }
}

/// What Linux's flags are in WASI.
pub fn opening(flags: OpenFlags) -> Opening {
    Opening {
        read: flags.readable(),
        write: flags.writable(),
        oflags: if flags.truncate() { wasi::OFLAGS_TRUNC } else { 0 },
        fdflags: if flags.append() { wasi::FDFLAGS_APPEND } else { 0 },
    }
}

/// What a file is. WASI has no named pipes, and takes them for something unknown.
pub fn kind_of(filetype: wasi::Filetype) -> FileKind {
    match filetype {
        wasi::FILETYPE_DIRECTORY => FileKind::Directory,
        wasi::FILETYPE_REGULAR_FILE => FileKind::Regular,
        wasi::FILETYPE_SYMBOLIC_LINK => FileKind::Symlink,
        wasi::FILETYPE_BLOCK_DEVICE => FileKind::BlockDevice,
        wasi::FILETYPE_CHARACTER_DEVICE => FileKind::CharacterDevice,
        wasi::FILETYPE_SOCKET_DGRAM | wasi::FILETYPE_SOCKET_STREAM => FileKind::Socket,
        _ => FileKind::Fifo,
    }
}

fn check_regular(stat: &wasi::Filestat) -> Result<()> {
    match kind_of(stat.filetype) {
        FileKind::Regular => Ok(()),
        FileKind::Directory => Err(Errno::EISDIR),
        FileKind::Symlink => Err(Errno::ELOOP),
        _ => Err(Errno::ENXIO),
    }
}
