//! Error numbers as they travel in `Rlerror`: always Linux's, whatever the host calls them.

use std::fmt;

/// A Linux error number (asm-generic values, which x86-64 uses).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(u32);

impl Errno {
    /// The number on the wire.
    pub const fn get(self) -> u32 {
        self.0
    }
}

macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)+) => {
        impl Errno {
            $($(#[$doc])* pub const $name: Self = Self($number);)+
        }

        impl fmt::Debug for Errno {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    $($number => f.write_str(stringify!($name)),)+
                    number => write!(f, "errno {number}"),
                }
            }
        }
    };
}

errnos! {
    /// Operation not permitted.
    EPERM = 1;
    /// No such file or directory.
    ENOENT = 2;
    /// Input/output error; also what has no better number.
    EIO = 5;
    /// No such device or address.
    ENXIO = 6;
    /// Bad file descriptor; an unknown fid.
    EBADF = 9;
    /// A limit on memory was reached.
    ENOMEM = 12;
    /// Permission denied.
    EACCES = 13;
    /// Device or resource busy.
    EBUSY = 16;
    /// File exists.
    EEXIST = 17;
    /// Link across file systems.
    EXDEV = 18;
    /// Not a directory.
    ENOTDIR = 20;
    /// Is a directory.
    EISDIR = 21;
    /// Invalid argument.
    EINVAL = 22;
    /// Too many open files.
    ENFILE = 23;
    /// Text file busy.
    ETXTBSY = 26;
    /// File too large.
    EFBIG = 27;
    /// No space left on device.
    ENOSPC = 28;
    /// Read-only file system.
    EROFS = 30;
    /// Too many links.
    EMLINK = 31;
    /// Result too large for the room there is.
    ERANGE = 34;
    /// File name too long.
    ENAMETOOLONG = 36;
    /// Directory not empty.
    ENOTEMPTY = 39;
    /// Too many symbolic links; a symbolic link where none may be followed.
    ELOOP = 40;
    /// No such extended attribute.
    ENODATA = 61;
    /// A message that is not 9P.
    EPROTO = 71;
    /// Message too long.
    EMSGSIZE = 90;
    /// Operation not supported.
    EOPNOTSUPP = 95;
    /// The file that the fid stood for is gone.
    ESTALE = 116;
    /// Disk quota exceeded.
    EDQUOT = 122;
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Errno {}
