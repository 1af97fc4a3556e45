//! WASI's calls on descriptors and names, without pointers, and with Linux's errors.

use devices::p9::Errno;
use std::rc::Rc;

pub type Result<T> = std::result::Result<T, Errno>;

/// A descriptor that is closed with its last owner.
#[derive(Debug)]
pub struct Descriptor {
    number: wasi::Fd,
    /// The runtime's own are not closed.
    is_borrowed: bool,
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if !self.is_borrowed {
            // SAFETY: this is the owner, and the last.
            let _ = unsafe { wasi::fd_close(self.number) };
        }
    }
}

/// How a file is opened.
#[derive(Debug, Clone, Copy)]
pub struct Opening {
    /// It is to be read.
    pub read: bool,
    /// It is to be written.
    pub write: bool,
    /// `OFLAGS_…`.
    pub oflags: wasi::Oflags,
    /// `FDFLAGS_…`.
    pub fdflags: wasi::Fdflags,
}

impl Opening {
    /// Of a directory, to look into it and to go on from it.
    pub const DIRECTORY: Self = Self { read: true, write: false, oflags: wasi::OFLAGS_DIRECTORY, fdflags: 0 };
}

const READ: wasi::Rights = wasi::RIGHTS_FD_READ;
const WRITE: wasi::Rights = wasi::RIGHTS_FD_WRITE | wasi::RIGHTS_FD_ALLOCATE | wasi::RIGHTS_FD_DATASYNC | wasi::RIGHTS_FD_FILESTAT_SET_SIZE;

/// What WASI calls text is UTF-8; a name of other bytes is none that a host has.
pub fn text(name: &[u8]) -> Result<&str> {
    str::from_utf8(name).map_err(|_| Errno::EINVAL)
}

impl Descriptor {
    /// One that the runtime has opened in advance.
    pub fn of_runtime(number: wasi::Fd) -> Rc<Self> {
        Rc::new(Self { number, is_borrowed: true })
    }

    /// The number, for calls that take nothing else.
    pub fn number(&self) -> wasi::Fd {
        self.number
    }

    /// Opens `name` in this directory. A symbolic link is not followed.
    pub fn open(&self, name: &str, opening: Opening) -> Result<Self> {
        // SAFETY: nothing is passed but numbers and a text.
        let number = unsafe {
            let inheriting = wasi::fd_fdstat_get(self.number).map_err(errno)?.fs_rights_inheriting;
            // What is wanted is asked for in any case: some runtimes do not count writing among what a directory passes on, and allow it.
            let wanted = if opening.read { READ } else { 0 } | if opening.write { WRITE } else { 0 };
            let base = inheriting & !(READ | WRITE) | wanted;
            wasi::path_open(self.number, 0, name, opening.oflags, base, inheriting, opening.fdflags).map_err(errno)?
        };
        Ok(Self { number, is_borrowed: false })
    }

    /// What is known of `name` in this directory, of a symbolic link the link.
    pub fn stat(&self, name: &str) -> Result<wasi::Filestat> {
        // SAFETY: nothing is passed but numbers and a text.
        unsafe { wasi::path_filestat_get(self.number, 0, name) }.map_err(errno)
    }

    /// What is known of this file.
    pub fn stat_self(&self) -> Result<wasi::Filestat> {
        // SAFETY: nothing is passed but a number.
        unsafe { wasi::fd_filestat_get(self.number) }.map_err(errno)
    }

    /// Reads at `offset`.
    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<usize> {
        let iovec = wasi::Iovec { buf: bytes.as_mut_ptr(), buf_len: bytes.len() };
        // SAFETY: the buffer may be written.
        unsafe { wasi::fd_pread(self.number, &[iovec], offset) }.map_err(errno)
    }

    /// Writes at `offset`, or at the end.
    pub fn write_at(&self, bytes: &[u8], offset: Option<u64>) -> Result<usize> {
        let iovec = wasi::Ciovec { buf: bytes.as_ptr(), buf_len: bytes.len() };
        // SAFETY: the buffer may be read.
        unsafe {
            match offset {
                Some(offset) => wasi::fd_pwrite(self.number, &[iovec], offset),
                None => wasi::fd_write(self.number, &[iovec]),
            }
        }
        .map_err(errno)
    }

    /// Fills `bytes` with entries of this directory, from `cookie` on. Less than all of it are the last.
    pub fn read_entries(&self, bytes: &mut [u8], cookie: wasi::Dircookie) -> Result<usize> {
        // SAFETY: the buffer may be written.
        unsafe { wasi::fd_readdir(self.number, bytes.as_mut_ptr(), bytes.len(), cookie) }.map_err(errno)
    }

    /// The text of the symbolic link `name`, as far as there is room.
    pub fn read_link(&self, name: &str, bytes: &mut [u8]) -> Result<usize> {
        // SAFETY: the buffer may be written.
        unsafe { wasi::path_readlink(self.number, name, bytes.as_mut_ptr(), bytes.len()) }.map_err(errno)
    }
}

/// Linux's number for WASI's error.
pub fn errno(error: wasi::Errno) -> Errno {
    match error {
        wasi::ERRNO_PERM | wasi::ERRNO_NOTCAPABLE => Errno::EPERM,
        wasi::ERRNO_NOENT => Errno::ENOENT,
        wasi::ERRNO_NXIO => Errno::ENXIO,
        wasi::ERRNO_BADF => Errno::EBADF,
        wasi::ERRNO_NOMEM => Errno::ENOMEM,
        wasi::ERRNO_ACCES => Errno::EACCES,
        wasi::ERRNO_BUSY => Errno::EBUSY,
        wasi::ERRNO_EXIST => Errno::EEXIST,
        wasi::ERRNO_XDEV => Errno::EXDEV,
        wasi::ERRNO_NOTDIR => Errno::ENOTDIR,
        wasi::ERRNO_ISDIR => Errno::EISDIR,
        wasi::ERRNO_INVAL | wasi::ERRNO_ILSEQ => Errno::EINVAL,
        wasi::ERRNO_MFILE | wasi::ERRNO_NFILE => Errno::ENFILE,
        wasi::ERRNO_TXTBSY => Errno::ETXTBSY,
        wasi::ERRNO_FBIG => Errno::EFBIG,
        wasi::ERRNO_NOSPC => Errno::ENOSPC,
        wasi::ERRNO_ROFS => Errno::EROFS,
        wasi::ERRNO_MLINK => Errno::EMLINK,
        wasi::ERRNO_RANGE => Errno::ERANGE,
        wasi::ERRNO_NAMETOOLONG => Errno::ENAMETOOLONG,
        wasi::ERRNO_NOTEMPTY => Errno::ENOTEMPTY,
        wasi::ERRNO_LOOP => Errno::ELOOP,
        wasi::ERRNO_NOTSUP | wasi::ERRNO_NOSYS => Errno::EOPNOTSUPP,
        wasi::ERRNO_STALE => Errno::ESTALE,
        wasi::ERRNO_DQUOT => Errno::EDQUOT,
        _ => Errno::EIO,
    }
}
