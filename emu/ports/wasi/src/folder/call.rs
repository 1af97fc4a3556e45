//! WASI's calls on descriptors and names, without pointers, and with Linux's errors.
//!
//! WASI calls names text, and the crate takes them as that. Linux's are any bytes, and so are those that some runtimes take: the calls with a
//! name are made without the crate. A runtime that wants UTF-8 answers `EILSEQ` for other names.

use devices::p9::Errno;
use std::mem::MaybeUninit;
use std::rc::Rc;
use wasi::wasi_snapshot_preview1 as raw;

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

/// A name as WASI takes it: where it is, and its length.
fn address(name: &[u8]) -> (i32, i32) {
    (name.as_ptr() as i32, name.len() as i32)
}

/// What a call without an answer of its own gave.
fn done(number: i32) -> Result<()> {
    match number as u16 {
        0 => Ok(()),
        number => Err(errno_of(number)),
    }
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
    pub fn open(&self, name: &[u8], opening: Opening) -> Result<Self> {
        // SAFETY: nothing is passed but a number.
        let inheriting = unsafe { wasi::fd_fdstat_get(self.number) }.map_err(errno)?.fs_rights_inheriting;
        // What is wanted is asked for in any case: some runtimes do not count writing among what a directory passes on, and allow it.
        let wanted = if opening.read { READ } else { 0 } | if opening.write { WRITE } else { 0 };
        let base = inheriting & !(READ | WRITE) | wanted;
        let (directory, (at, length)) = (self.number as i32, address(name));
        let (oflags, fdflags) = (i32::from(opening.oflags), i32::from(opening.fdflags));
        let mut number = MaybeUninit::<wasi::Fd>::uninit();
        let place = number.as_mut_ptr() as i32;
        // SAFETY: the name may be read, and the number written.
        done(unsafe { raw::path_open(directory, 0, at, length, oflags, base as i64, inheriting as i64, fdflags, place) })?;
        // SAFETY: the call has written it.
        Ok(Self { number: unsafe { number.assume_init() }, is_borrowed: false })
    }

    /// What is known of `name` in this directory, of a symbolic link the link.
    pub fn stat(&self, name: &[u8]) -> Result<wasi::Filestat> {
        let (at, length) = address(name);
        let mut stat = MaybeUninit::<wasi::Filestat>::uninit();
        // SAFETY: the name may be read, and the answer written.
        done(unsafe { raw::path_filestat_get(self.number as i32, 0, at, length, stat.as_mut_ptr() as i32) })?;
        // SAFETY: the call has written it.
        Ok(unsafe { stat.assume_init() })
    }

    /// What is known of this file.
    pub fn stat_self(&self) -> Result<wasi::Filestat> {
        // SAFETY: nothing is passed but a number.
        unsafe { wasi::fd_filestat_get(self.number) }.map_err(errno)
    }

    /// Sets the times of `name` in this directory, of a symbolic link the link's.
    pub fn set_times(&self, name: &[u8], [accessed, modified]: [u64; 2], flags: wasi::Fstflags) -> Result<()> {
        let ((at, length), flags) = (address(name), i32::from(flags));
        // SAFETY: the name may be read.
        done(unsafe { raw::path_filestat_set_times(self.number as i32, 0, at, length, accessed as i64, modified as i64, flags) })
    }

    /// Makes the directory `name`.
    pub fn make_directory(&self, name: &[u8]) -> Result<()> {
        let (at, length) = address(name);
        // SAFETY: the name may be read.
        done(unsafe { raw::path_create_directory(self.number as i32, at, length) })
    }

    /// Makes the symbolic link `name`.
    pub fn make_symlink(&self, name: &[u8], text: &[u8]) -> Result<()> {
        let ((at, length), (text, text_length)) = (address(name), address(text));
        // SAFETY: both may be read.
        done(unsafe { raw::path_symlink(text, text_length, self.number as i32, at, length) })
    }

    /// Gives `name` in this directory the second name `new` in another.
    pub fn link(&self, name: &[u8], to: &Self, new: &[u8]) -> Result<()> {
        let ((at, length), (new, new_length)) = (address(name), address(new));
        // SAFETY: both names may be read.
        done(unsafe { raw::path_link(self.number as i32, 0, at, length, to.number as i32, new, new_length) })
    }

    /// Moves `name` in this directory to `new` in another.
    pub fn rename(&self, name: &[u8], to: &Self, new: &[u8]) -> Result<()> {
        let ((at, length), (new, new_length)) = (address(name), address(new));
        // SAFETY: both names may be read.
        done(unsafe { raw::path_rename(self.number as i32, at, length, to.number as i32, new, new_length) })
    }

    /// Removes the file `name`.
    pub fn remove_file(&self, name: &[u8]) -> Result<()> {
        let (at, length) = address(name);
        // SAFETY: the name may be read.
        done(unsafe { raw::path_unlink_file(self.number as i32, at, length) })
    }

    /// Removes the directory `name`.
    pub fn remove_directory(&self, name: &[u8]) -> Result<()> {
        let (at, length) = address(name);
        // SAFETY: the name may be read.
        done(unsafe { raw::path_remove_directory(self.number as i32, at, length) })
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
    pub fn read_link(&self, name: &[u8], bytes: &mut [u8]) -> Result<usize> {
        let ((at, length), (buffer, room)) = (address(name), (bytes.as_mut_ptr() as i32, bytes.len() as i32));
        let mut written = MaybeUninit::<wasi::Size>::uninit();
        // SAFETY: the name may be read, and the buffer and the length written.
        done(unsafe { raw::path_readlink(self.number as i32, at, length, buffer, room, written.as_mut_ptr() as i32) })?;
        // SAFETY: the call has written it.
        Ok(unsafe { written.assume_init() })
    }
}

/// WASI's errors, and Linux's of the same meaning.
const ERRORS: [(wasi::Errno, Errno); 29] = [
    (wasi::ERRNO_PERM, Errno::EPERM),
    (wasi::ERRNO_NOTCAPABLE, Errno::EPERM),
    (wasi::ERRNO_NOENT, Errno::ENOENT),
    (wasi::ERRNO_NXIO, Errno::ENXIO),
    (wasi::ERRNO_BADF, Errno::EBADF),
    (wasi::ERRNO_NOMEM, Errno::ENOMEM),
    (wasi::ERRNO_ACCES, Errno::EACCES),
    (wasi::ERRNO_BUSY, Errno::EBUSY),
    (wasi::ERRNO_EXIST, Errno::EEXIST),
    (wasi::ERRNO_XDEV, Errno::EXDEV),
    (wasi::ERRNO_NOTDIR, Errno::ENOTDIR),
    (wasi::ERRNO_ISDIR, Errno::EISDIR),
    (wasi::ERRNO_INVAL, Errno::EINVAL),
    (wasi::ERRNO_ILSEQ, Errno::EINVAL),
    (wasi::ERRNO_MFILE, Errno::ENFILE),
    (wasi::ERRNO_NFILE, Errno::ENFILE),
    (wasi::ERRNO_TXTBSY, Errno::ETXTBSY),
    (wasi::ERRNO_FBIG, Errno::EFBIG),
    (wasi::ERRNO_NOSPC, Errno::ENOSPC),
    (wasi::ERRNO_ROFS, Errno::EROFS),
    (wasi::ERRNO_MLINK, Errno::EMLINK),
    (wasi::ERRNO_RANGE, Errno::ERANGE),
    (wasi::ERRNO_NAMETOOLONG, Errno::ENAMETOOLONG),
    (wasi::ERRNO_NOTEMPTY, Errno::ENOTEMPTY),
    (wasi::ERRNO_LOOP, Errno::ELOOP),
    (wasi::ERRNO_NOTSUP, Errno::EOPNOTSUPP),
    (wasi::ERRNO_NOSYS, Errno::EOPNOTSUPP),
    (wasi::ERRNO_STALE, Errno::ESTALE),
    (wasi::ERRNO_DQUOT, Errno::EDQUOT),
];

/// Linux's error for WASI's.
pub fn errno(error: wasi::Errno) -> Errno {
    errno_of(error.raw())
}

fn errno_of(number: u16) -> Errno {
    ERRORS.iter().find(|(error, _)| error.raw() == number).map_or(Errno::EIO, |(_, errno)| *errno)
}
