//! What the server serves: a tree of files, reached by path, and opened files, reached by handle.

use super::{Errno, Name, RelativePath};

/// An opened regular file. The number is the file system's own choice and unique among its open files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(u64);

impl Handle {
    /// Wraps a file system's number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
    /// The file system's number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A file, by its place or by an opening of it. Only the latter reaches a file that has been unlinked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The file at this path; of a symbolic link, the link itself.
    Path(RelativePath),
    /// The file that this handle has open.
    Handle(Handle),
}

/// Flags of `Tlopen` and `Tlcreate`: Linux's `O_*` (asm-generic values).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFlags(u32);

impl OpenFlags {
    const ACCESS: u32 = 0o3;
    const WRITE_ONLY: u32 = 0o1;
    const READ_WRITE: u32 = 0o2;
    const CREATE: u32 = 0o100;
    const EXCLUSIVE: u32 = 0o200;
    const TRUNCATE: u32 = 0o1000;
    const APPEND: u32 = 0o2000;
    const DIRECTORY: u32 = 0o200_000;

    /// Takes the flags as they are on the wire. `EINVAL` for the access mode 3, which no open file has.
    pub const fn new(bits: u32) -> Result<Self, Errno> {
        if bits & Self::ACCESS == Self::ACCESS { Err(Errno::EINVAL) } else { Ok(Self(bits)) }
    }
    /// The flags as they are on the wire.
    pub const fn bits(self) -> u32 {
        self.0
    }
    /// Whether the file may be read.
    pub const fn readable(self) -> bool {
        self.0 & Self::ACCESS != Self::WRITE_ONLY
    }
    /// Whether the file may be written.
    pub const fn writable(self) -> bool {
        matches!(self.0 & Self::ACCESS, Self::WRITE_ONLY | Self::READ_WRITE)
    }
    /// Whether creation fails if the file is there.
    pub const fn exclusive(self) -> bool {
        self.0 & Self::EXCLUSIVE != 0
    }
    /// Whether opening empties the file.
    pub const fn truncate(self) -> bool {
        self.0 & Self::TRUNCATE != 0
    }
    /// Whether every write goes to the end of the file.
    pub const fn append(self) -> bool {
        self.0 & Self::APPEND != 0
    }
    /// Whether only a directory will do.
    pub const fn directory(self) -> bool {
        self.0 & Self::DIRECTORY != 0
    }
    /// The flags to open the file with once more: what happened at the first opening does not happen again.
    pub const fn for_reopening(self) -> Self {
        Self(self.0 & !(Self::CREATE | Self::EXCLUSIVE | Self::TRUNCATE))
    }
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
}

impl FileKind {
    const FORMAT: u32 = 0o170_000;

    /// The file type bits of `st_mode`.
    pub const fn format_bits(self) -> u32 {
        match self {
            Self::Fifo => 0o010_000,
            Self::CharacterDevice => 0o020_000,
            Self::Directory => 0o040_000,
            Self::BlockDevice => 0o060_000,
            Self::Regular => 0o100_000,
            Self::Symlink => 0o120_000,
            Self::Socket => 0o140_000,
        }
    }

    /// The kind that the file type bits of an `st_mode` name.
    pub const fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & Self::FORMAT {
            0o010_000 => Self::Fifo,
            0o020_000 => Self::CharacterDevice,
            0o040_000 => Self::Directory,
            0o060_000 => Self::BlockDevice,
            0o100_000 => Self::Regular,
            0o120_000 => Self::Symlink,
            0o140_000 => Self::Socket,
            _ => return None,
        })
    }

    /// `d_type` of a directory entry.
    #[expect(clippy::cast_possible_truncation, reason = "four bits are left")]
    pub const fn entry_type(self) -> u8 {
        (self.format_bits() >> 12) as u8
    }

    /// The type byte of a qid.
    pub const fn qid_type(self) -> u8 {
        match self {
            Self::Directory => 0x80,
            Self::Symlink => 0x02,
            _ => 0,
        }
    }
}

/// The permission bits of `st_mode`, set-user-ID, set-group-ID and sticky included.
pub const PERMISSION_BITS: u32 = 0o7777;

/// In place of an owner: the user who asks, whoever that is. As a group, the one with that user's number.
pub const ASKER: u32 = u32::MAX;

/// A point in time: seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timestamp {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds, below 10⁹.
    pub nanoseconds: u32,
}

/// A device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceNumber {
    /// Major number, 12 bits in Linux.
    pub major: u32,
    /// Minor number, 20 bits in Linux.
    pub minor: u32,
}

/// What tells a file from all others, whichever of its names it is reached by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileIdentity {
    /// What the file is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

/// What is known of a file without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// What the file is.
    pub kind: FileKind,
    /// Permission bits ([`PERMISSION_BITS`]).
    pub permissions: u32,
    /// Owner, as the guest sees it, or [`ASKER`].
    pub uid: u32,
    /// Group, as the guest sees it, or [`ASKER`].
    pub gid: u32,
    /// Names that the file has.
    pub links: u64,
    /// Of a device, its number.
    pub device: DeviceNumber,
    /// Length in bytes.
    pub size: u64,
    /// Blocks of 512 bytes that it occupies.
    pub blocks: u64,
    /// Last read.
    pub accessed: Timestamp,
    /// Last write.
    pub modified: Timestamp,
    /// Last change of content or attributes.
    pub changed: Timestamp,
    /// Differs whenever the content does (the qid's version).
    pub version: u32,
    /// Which file it is, of one that can have several names: no directory.
    pub identity: Option<FileIdentity>,
}

/// A time to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// The file system's present.
    Now,
    /// This one.
    To(Timestamp),
}

/// Attributes to change; `None` is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetAttributes {
    /// Permission bits ([`PERMISSION_BITS`]).
    pub permissions: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length in bytes: cuts, or extends by zeros.
    pub size: Option<u64>,
    /// Last read.
    pub accessed: Option<SetTime>,
    /// Last write.
    pub modified: Option<SetTime>,
}

/// Who a new file is to belong to, and who may do what with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Creation {
    /// Permission bits ([`PERMISSION_BITS`]); the guest has applied its umask.
    pub permissions: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// `statfs` of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// Size in bytes of the blocks counted below.
    pub block_size: u32,
    /// All blocks.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Free blocks for ordinary users.
    pub blocks_available: u64,
    /// All file slots.
    pub files: u64,
    /// Free file slots.
    pub files_free: u64,
}

/// How an extended attribute is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XattrMode {
    /// There or not.
    CreateOrReplace,
    /// `EEXIST` if it is there.
    Create,
    /// `ENODATA` if it is not there.
    Replace,
}

impl XattrMode {
    /// The flags of `setxattr`, as they are on the wire.
    pub const fn number(self) -> u32 {
        match self {
            Self::CreateOrReplace => 0,
            Self::Create => 1,
            Self::Replace => 2,
        }
    }

    /// The mode that the flags of `setxattr` ask for.
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::CreateOrReplace,
            1 => Self::Create,
            2 => Self::Replace,
            _ => return None,
        })
    }
}

/// A tree of files.
///
/// Paths are resolved component by component and symbolic links never followed: one on the way to the last component
/// is `ENOTDIR` or `ELOOP`, one at the end is itself. So nothing outside the tree can be reached. Errors are Linux's
/// own for the call of the same purpose.
pub trait FileSystem {
    /// `statfs`.
    fn statistics(&mut self, target: &Target) -> Result<Statistics, Errno>;
    /// `lstat`, `fstat`.
    fn attributes(&mut self, target: &Target) -> Result<Attributes, Errno>;
    /// `chmod`, `chown`, `truncate`, `utimensat` in one.
    fn set_attributes(&mut self, target: &Target, changes: &SetAttributes) -> Result<(), Errno>;

    /// Opens a regular file; anything else is `EISDIR`, `ELOOP` or `ENXIO`. Never waits.
    fn open(&mut self, path: &RelativePath, flags: OpenFlags) -> Result<Handle, Errno>;
    /// Opens a file once more that this handle has open, though no path may lead to it any more; `ESTALE` where the host cannot.
    fn open_again(&mut self, _handle: Handle, _flags: OpenFlags) -> Result<Handle, Errno> {
        Err(Errno::ESTALE)
    }
    /// Opens a regular file, and makes it if it is not there.
    fn create(&mut self, path: &RelativePath, flags: OpenFlags, creation: &Creation) -> Result<Handle, Errno>;
    /// Forgets a handle. Of an unlinked file, the last one ends it.
    fn close(&mut self, handle: Handle);
    /// Reads up to `bytes.len()` bytes at `offset`; returns how many there were.
    fn read(&mut self, handle: Handle, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno>;
    /// Writes up to `bytes.len()` bytes at `offset` (at the end, if opened for appending); returns how many it took.
    fn write(&mut self, handle: Handle, offset: u64, bytes: &[u8]) -> Result<usize, Errno>;
    /// `fsync`, or `fdatasync` if `data_only`.
    fn sync(&mut self, target: &Target, data_only: bool) -> Result<(), Errno>;

    /// Calls `each` for every entry of a directory but `.` and `..`, in any order; an error of `each` ends it.
    fn read_directory(&mut self, path: &RelativePath, each: &mut dyn FnMut(Name, FileKind) -> Result<(), Errno>) -> Result<(), Errno>;
    /// The text of a symbolic link; `EINVAL` of anything else.
    fn read_symlink(&mut self, path: &RelativePath) -> Result<Vec<u8>, Errno>;
    /// `mkdir`.
    fn make_directory(&mut self, path: &RelativePath, creation: &Creation) -> Result<(), Errno>;
    /// `symlink`. The text is kept as it is.
    fn make_symlink(&mut self, path: &RelativePath, text: &[u8], creation: &Creation) -> Result<(), Errno>;
    /// `mknod` of any kind but a directory or a symbolic link.
    fn make_node(&mut self, path: &RelativePath, kind: FileKind, device: DeviceNumber, creation: &Creation) -> Result<(), Errno>;
    /// `link`: another name for a file that is not a directory.
    fn link(&mut self, existing: &RelativePath, path: &RelativePath) -> Result<(), Errno>;
    /// `rename`. Open handles stay good.
    fn rename(&mut self, from: &RelativePath, to: &RelativePath) -> Result<(), Errno>;
    /// `unlink`. Open handles stay good.
    fn remove_file(&mut self, path: &RelativePath) -> Result<(), Errno>;
    /// `rmdir`.
    fn remove_directory(&mut self, path: &RelativePath) -> Result<(), Errno>;

    /// The value of an extended attribute, at most `limit` bytes, else `ERANGE`.
    fn xattr(&mut self, target: &Target, name: &[u8], limit: usize) -> Result<Vec<u8>, Errno>;
    /// The names of all extended attributes, each with a NUL behind it, sorted; at most `limit` bytes, else `ERANGE`.
    fn xattr_names(&mut self, target: &Target, limit: usize) -> Result<Vec<u8>, Errno>;
    /// Sets an extended attribute.
    fn set_xattr(&mut self, target: &Target, name: &[u8], value: &[u8], mode: XattrMode) -> Result<(), Errno>;
    /// Removes an extended attribute; `ENODATA` if it is not there.
    fn remove_xattr(&mut self, target: &Target, name: &[u8]) -> Result<(), Errno>;

    /// Whether the handle is open and stays good over save and restore, because the file system itself is saved with
    /// its handles. Other handles are opened again by path when they are next used.
    fn is_saved(&self, _handle: Handle) -> bool {
        false
    }
}

impl<F: FileSystem + ?Sized> FileSystem for Box<F> {
    fn statistics(&mut self, target: &Target) -> Result<Statistics, Errno> {
        (**self).statistics(target)
    }
    fn attributes(&mut self, target: &Target) -> Result<Attributes, Errno> {
        (**self).attributes(target)
    }
    fn set_attributes(&mut self, target: &Target, changes: &SetAttributes) -> Result<(), Errno> {
        (**self).set_attributes(target, changes)
    }
    fn open(&mut self, path: &RelativePath, flags: OpenFlags) -> Result<Handle, Errno> {
        (**self).open(path, flags)
    }
    fn open_again(&mut self, handle: Handle, flags: OpenFlags) -> Result<Handle, Errno> {
        (**self).open_again(handle, flags)
    }
    fn create(&mut self, path: &RelativePath, flags: OpenFlags, creation: &Creation) -> Result<Handle, Errno> {
        (**self).create(path, flags, creation)
    }
    fn close(&mut self, handle: Handle) {
        (**self).close(handle)
    }
    fn read(&mut self, handle: Handle, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        (**self).read(handle, offset, bytes)
    }
    fn write(&mut self, handle: Handle, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        (**self).write(handle, offset, bytes)
    }
    fn sync(&mut self, target: &Target, data_only: bool) -> Result<(), Errno> {
        (**self).sync(target, data_only)
    }
    fn read_directory(&mut self, path: &RelativePath, each: &mut dyn FnMut(Name, FileKind) -> Result<(), Errno>) -> Result<(), Errno> {
        (**self).read_directory(path, each)
    }
    fn read_symlink(&mut self, path: &RelativePath) -> Result<Vec<u8>, Errno> {
        (**self).read_symlink(path)
    }
    fn make_directory(&mut self, path: &RelativePath, creation: &Creation) -> Result<(), Errno> {
        (**self).make_directory(path, creation)
    }
    fn make_symlink(&mut self, path: &RelativePath, text: &[u8], creation: &Creation) -> Result<(), Errno> {
        (**self).make_symlink(path, text, creation)
    }
    fn make_node(&mut self, path: &RelativePath, kind: FileKind, device: DeviceNumber, creation: &Creation) -> Result<(), Errno> {
        (**self).make_node(path, kind, device, creation)
    }
    fn link(&mut self, existing: &RelativePath, path: &RelativePath) -> Result<(), Errno> {
        (**self).link(existing, path)
    }
    fn rename(&mut self, from: &RelativePath, to: &RelativePath) -> Result<(), Errno> {
        (**self).rename(from, to)
    }
    fn remove_file(&mut self, path: &RelativePath) -> Result<(), Errno> {
        (**self).remove_file(path)
    }
    fn remove_directory(&mut self, path: &RelativePath) -> Result<(), Errno> {
        (**self).remove_directory(path)
    }
    fn xattr(&mut self, target: &Target, name: &[u8], limit: usize) -> Result<Vec<u8>, Errno> {
        (**self).xattr(target, name, limit)
    }
    fn xattr_names(&mut self, target: &Target, limit: usize) -> Result<Vec<u8>, Errno> {
        (**self).xattr_names(target, limit)
    }
    fn set_xattr(&mut self, target: &Target, name: &[u8], value: &[u8], mode: XattrMode) -> Result<(), Errno> {
        (**self).set_xattr(target, name, value, mode)
    }
    fn remove_xattr(&mut self, target: &Target, name: &[u8]) -> Result<(), Errno> {
        (**self).remove_xattr(target, name)
    }
    fn is_saved(&self, handle: Handle) -> bool {
        (**self).is_saved(handle)
    }
}
