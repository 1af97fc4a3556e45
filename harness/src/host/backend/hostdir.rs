//! A host directory as a file system for 9P.
//!
//! Every path is resolved from the directory's own descriptor, one name at a time and never through a symbolic link, so that
//! nobody who changes the tree meanwhile can lead an access out of it. Only regular files are opened, and never waited for.
//!
//! Where prebake runs as root, owners are the same on both sides. Otherwise the files of the user who runs it belong to any user of
//! the guest who asks, since prebake is as much to each of them, and changing the owner changes nothing; all other files are nobody's. What would give rights on the host is not the guest's to make: device nodes are refused, and
//! the set-user-ID and set-group-ID bits dropped, also from a file that the guest writes to. Of the extended attributes, the guest sees those of
//! the `user.` space.
//!
//! What may be changed, the [`Grants`] say. A file is opened in two steps: a descriptor that only holds its place shows what it is, without
//! any effect on it, and that very file is then opened, if it is a regular one.

#[cfg(test)]
mod tests;

use super::grants::Grants;
use devices::p9::{
    ASKER, Access, Attributes, Creation, DeviceNumber, Errno, FileIdentity, FileKind, FileSystem, Handle, Name, OpenFlags, PERMISSION_BITS,
    RelativePath, SetAttributes, SetTime, Statistics, Target, Timestamp, XattrMode,
};
use rustix::fs::{self as host, AtFlags, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::{self, retry_on_intr};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// Permission bits that a guest may set.
const SETTABLE_BITS: u32 = 0o1777;
/// The user and group of everything that is neither prebake's user's nor its group's.
const NOBODY: u32 = 65534;
/// The extended attributes that the guest shares with the host.
const XATTR_PREFIX: &[u8] = b"user.";

/// Just the place of a file, for the calls that take a descriptor and a name, and to look at it before it is opened.
const PLACE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// For opening what is only there while it is opened: a directory, or a file that is made.
const WARY: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// For opening a regular file again. Whoever holds a lease on it is not waited for.
const OPENED: OFlags = OFlags::NONBLOCK.union(OFlags::CLOEXEC);

/// A directory of the host, served to the guest.
#[derive(Debug)]
pub struct HostDir {
    root: Arc<OwnedFd>,
    ids: Ids,
    grants: Arc<Grants>,
    files: BTreeMap<Handle, OpenFile>,
    next_handle: u64,
}

/// An open regular file.
#[derive(Debug)]
struct OpenFile {
    file: OwnedFd,
    access: Access,
}

/// Where a file is.
struct Place<'a> {
    /// The directory that it is in; of the root, itself.
    directory: Arc<OwnedFd>,
    /// Its name there; of the root, `.`.
    name: &'a [u8],
    /// What may be done in the directory.
    access: Access,
}

impl Place<'_> {
    /// The same, if something may be made or removed there.
    fn if_writable(self) -> io::Result<Self> {
        require_write(self.access).map(|()| self)
    }
}

fn require_write(access: Access) -> io::Result<()> {
    match access {
        Access::ReadWrite => Ok(()),
        Access::ReadOnly => Err(io::Errno::ROFS),
    }
}

impl HostDir {
    /// Serves the directory at `path`. It may be a symbolic link to one; what is below it is never followed.
    pub fn open(path: &Path, grants: Arc<Grants>) -> std::io::Result<Self> {
        let root = host::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { root: Arc::new(root), ids: Ids::of_this_process(), grants, files: BTreeMap::new(), next_handle: 1 })
    }

    fn directory(&self, names: &[Name]) -> io::Result<(Arc<OwnedFd>, Access)> {
        names.iter().try_fold((self.root.clone(), Access::ReadWrite), |(at, access), name| {
            let directory = host::openat(at, name.as_bytes(), PLACE | OFlags::DIRECTORY, Mode::empty())?;
            let access = self.grants.below(&directory, access)?;
            Ok((Arc::new(directory), access))
        })
    }

    fn resolve<'a>(&self, path: &'a RelativePath) -> io::Result<Place<'a>> {
        let (directory, access, name) = match path.components().split_last() {
            Some((name, names)) => {
                let (directory, access) = self.directory(names)?;
                (directory, access, name.as_bytes())
            }
            None => (self.root.clone(), Access::ReadWrite, &b"."[..]),
        };
        Ok(Place { directory, name, access })
    }

    /// The same of a file that is to be made, moved or removed, which the root cannot be.
    fn resolve_entry<'a>(&self, path: &'a RelativePath) -> io::Result<Place<'a>> {
        if path.components().is_empty() { Err(io::Errno::BUSY) } else { self.resolve(path) }
    }

    /// The same of what is to be moved, removed or replaced. What leads to another volume is not.
    fn resolve_name<'a>(&self, path: &'a RelativePath) -> io::Result<Place<'a>> {
        let place = self.resolve_entry(path)?.if_writable()?;
        if self.grants.is_kept(&place.directory, place.name)? { Err(io::Errno::BUSY) } else { Ok(place) }
    }

    /// A descriptor that holds the place of a file, and what may be done with the file.
    fn look_at(&self, place: &Place<'_>) -> io::Result<(OwnedFd, Access)> {
        let file = host::openat(&place.directory, place.name, PLACE, Mode::empty())?;
        // The root's own grant is the volume's.
        let access = if place.name == b"." { place.access } else { self.grants.below(&file, place.access)? };
        Ok((file, access))
    }

    fn opened(&self, handle: Handle) -> io::Result<&OpenFile> {
        self.files.get(&handle).ok_or(io::Errno::BADF)
    }

    fn file(&self, handle: Handle) -> io::Result<BorrowedFd<'_>> {
        Ok(self.opened(handle)?.file.as_fd())
    }

    fn add_file(&mut self, file: OpenFile) -> Handle {
        let handle = Handle::new(self.next_handle);
        self.next_handle += 1;
        self.files.insert(handle, file);
        handle
    }

    fn stat(&self, target: &Target) -> io::Result<Stat> {
        match target {
            Target::Handle(handle) => host::fstat(self.file(*handle)?),
            Target::Path(path) => {
                let Place { directory, name, .. } = self.resolve(path)?;
                host::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    /// Calls `work` with a descriptor of the target, an open file's own, or one that only holds the place; and what may be done with it.
    fn with_place<R>(&self, target: &Target, work: impl FnOnce(BorrowedFd<'_>, Access) -> io::Result<R>) -> io::Result<R> {
        match target {
            Target::Handle(handle) => {
                let OpenFile { file, access } = self.opened(*handle)?;
                work(file.as_fd(), *access)
            }
            Target::Path(path) => {
                let (file, access) = self.look_at(&self.resolve(path)?)?;
                work(file.as_fd(), access)
            }
        }
    }

    /// Opens a file that is there, if it is a regular one.
    fn open_regular(&self, path: &RelativePath, flags: OFlags) -> io::Result<OpenFile> {
        let (file, access) = self.look_at(&self.resolve(path)?)?;
        check_regular(&host::fstat(&file)?)?;
        self.reopen(file.as_fd(), access, flags)
    }

    /// Opens the regular file that a descriptor is of.
    fn reopen(&self, file: BorrowedFd<'_>, access: Access, flags: OFlags) -> io::Result<OpenFile> {
        if flags.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC) {
            require_write(access)?;
        }
        if flags.contains(OFlags::TRUNC) {
            self.drop_privileges(file)?;
        }
        let file = retry_on_intr(|| host::open(proc_path(file), flags | OPENED, Mode::empty()))?;
        Ok(OpenFile { file, access })
    }

    /// Makes and opens a regular file where there is none.
    fn create_regular(&self, path: &RelativePath, flags: OFlags, creation: &Creation) -> io::Result<OpenFile> {
        let Place { directory, name, access } = self.resolve_entry(path)?;
        if access == Access::ReadOnly {
            let there = host::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW);
            return Err(if there.is_ok() { io::Errno::EXIST } else { io::Errno::ROFS });
        }
        let file = host::openat(&directory, name, flags | WARY | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR)?;
        self.finish(file.as_fd(), creation)?;
        Ok(OpenFile { file, access })
    }

    /// Takes the set-user-ID and set-group-ID bits from a file that is about to be written. The kernel does so itself, but not where root writes.
    fn drop_privileges(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        if matches!(self.ids, Ids::Mapped { .. }) {
            return Ok(());
        }
        let mode = host::fstat(file)?.st_mode;
        if mode & (PERMISSION_BITS & !SETTABLE_BITS) != 0 { set_permissions(file, mode) } else { Ok(()) }
    }

    /// Gives a new file its owner and permissions, which the host's umask shall not decide.
    fn finish(&self, file: BorrowedFd<'_>, creation: &Creation) -> io::Result<()> {
        self.set_new_owner(file, c"", creation, AtFlags::EMPTY_PATH)?;
        set_permissions(file, creation.permissions)
    }

    fn set_new_owner(&self, directory: impl AsFd, name: impl rustix::path::Arg, creation: &Creation, flags: AtFlags) -> io::Result<()> {
        match self.ids {
            Ids::Same => host::chownat(directory, name, Some(uid(creation.uid)), Some(gid(creation.gid)), flags),
            Ids::Mapped { .. } => Ok(()),
        }
    }

    fn truncate(&self, target: &Target, size: u64) -> io::Result<()> {
        let truncate = |file: BorrowedFd<'_>| {
            self.drop_privileges(file)?;
            retry_on_intr(|| host::ftruncate(file, size))
        };
        match target {
            Target::Handle(handle) => truncate(self.file(*handle)?),
            Target::Path(path) => truncate(self.open_regular(path, OFlags::WRONLY)?.file.as_fd()),
        }
    }

    fn remove(&self, path: &RelativePath, flags: AtFlags) -> io::Result<()> {
        let Place { directory, name, .. } = self.resolve_name(path)?;
        host::unlinkat(directory, name, flags)
    }

    fn change(&self, target: &Target, changes: &SetAttributes) -> io::Result<()> {
        if let Some(size) = changes.size {
            self.truncate(target, size)?;
        }
        let (owner, group) = match self.ids {
            Ids::Same => (changes.uid.map(uid), changes.gid.map(gid)),
            Ids::Mapped { uid, .. } if (changes.uid, changes.gid) != (None, None) && self.stat(target)?.st_uid != uid => {
                return Err(io::Errno::PERM);
            }
            Ids::Mapped { .. } => (None, None),
        };
        self.with_place(target, |file, access| {
            require_write(access)?;
            if owner.is_some() || group.is_some() {
                host::chownat(file, c"", owner, group, AtFlags::EMPTY_PATH)?;
            }
            if let Some(permissions) = changes.permissions {
                set_permissions(file, permissions)?;
            }
            if changes.accessed.is_some() || changes.modified.is_some() {
                let times = Timestamps { last_access: timespec(changes.accessed), last_modification: timespec(changes.modified) };
                host::utimensat(host::CWD, proc_path(file), &times, AtFlags::empty())?;
            }
            Ok(())
        })
    }

    /// Calls `work` with a path by which the attribute calls reach the target, if `name` is one of ours to see; and what may be done with it.
    fn with_xattr<R>(&self, target: &Target, name: &[u8], work: impl FnOnce(&str, Access) -> io::Result<R>) -> Result<R, Errno> {
        if !name.starts_with(XATTR_PREFIX) || name.contains(&0) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.with_place(target, |file, access| work(&proc_path(file), access)).map_err(errno)
    }
}

/// How owners on the host and in the guest correspond.
#[derive(Debug, Clone, Copy)]
enum Ids {
    /// prebake runs as root: numbers mean the same on both sides.
    Same,
    /// Files of this user and group are those of whoever asks.
    Mapped { uid: u32, gid: u32 },
}

impl Ids {
    fn of_this_process() -> Self {
        match (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()) {
            (0, _) => Self::Same,
            (uid, gid) => Self::Mapped { uid, gid },
        }
    }

    fn uid_to_guest(self, host: u32) -> u32 {
        match self {
            Self::Same => host,
            Self::Mapped { uid, .. } => to_guest(host, uid),
        }
    }

    fn gid_to_guest(self, host: u32) -> u32 {
        match self {
            Self::Same => host,
            Self::Mapped { gid, .. } => to_guest(host, gid),
        }
    }
}

fn to_guest(host: u32, own: u32) -> u32 {
    if host == own { ASKER } else { NOBODY }
}

fn uid(number: u32) -> Uid {
    Uid::from_raw(number)
}

fn gid(number: u32) -> Gid {
    Gid::from_raw(number)
}

fn kind_of(stat: &Stat) -> io::Result<FileKind> {
    FileKind::from_mode(stat.st_mode).ok_or(io::Errno::IO)
}

fn check_regular(stat: &Stat) -> io::Result<()> {
    match kind_of(stat)? {
        FileKind::Regular => Ok(()),
        FileKind::Directory => Err(io::Errno::ISDIR),
        FileKind::Symlink => Err(io::Errno::LOOP),
        _ => Err(io::Errno::NXIO),
    }
}

/// A path to what a descriptor stands for, whatever has become of its name; for calls that do not take one that only holds a
/// place. Of a symbolic link, it leads to the link.
fn proc_path(file: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn set_permissions(file: BorrowedFd<'_>, permissions: u32) -> io::Result<()> {
    let mode = Mode::from_raw_mode(permissions & SETTABLE_BITS);
    match host::fchmod(file, mode) {
        Err(io::Errno::BADF) => host::chmodat(host::CWD, proc_path(file), mode, AtFlags::empty()),
        done => done,
    }
}

fn open_flags(flags: OpenFlags) -> OFlags {
    let access = match (flags.readable(), flags.writable()) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        (_, false) => OFlags::RDONLY,
    };
    let option = |wanted, flag| if wanted { flag } else { OFlags::empty() };
    access | option(flags.truncate(), OFlags::TRUNC) | option(flags.append(), OFlags::APPEND)
}

fn timespec(time: Option<SetTime>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: host::UTIME_OMIT },
        Some(SetTime::Now) => Timespec { tv_sec: 0, tv_nsec: host::UTIME_NOW },
        Some(SetTime::To(Timestamp { seconds, nanoseconds })) => Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
    }
}

/// C libraries and kernels have different types for nanoseconds.
fn timestamp(seconds: i64, nanoseconds: impl TryInto<u32>) -> Timestamp {
    Timestamp { seconds, nanoseconds: nanoseconds.try_into().unwrap_or(0) }
}

/// A number that changes when the content does, for all that the host tells.
fn content_version(stat: &Stat) -> u32 {
    let modified = timestamp(stat.st_mtime, stat.st_mtime_nsec);
    let words = [modified.seconds.cast_unsigned(), modified.nanoseconds.into(), stat.st_size.cast_unsigned()];
    let mixed = words.iter().fold(0u64, |hash, word| (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29));
    (mixed >> 32) as u32
}

impl FileSystem for HostDir {
    fn statistics(&mut self, _target: &Target) -> Result<Statistics, Errno> {
        let stat = host::fstatvfs(&self.root).map_err(errno)?;
        Ok(Statistics {
            block_size: u32::try_from(stat.f_frsize).unwrap_or(u32::MAX),
            blocks: stat.f_blocks,
            blocks_free: stat.f_bfree,
            blocks_available: stat.f_bavail,
            files: stat.f_files,
            files_free: stat.f_ffree,
        })
    }

    #[allow(clippy::useless_conversion, reason = "st_nlink is narrower on other hosts")]
    fn attributes(&mut self, target: &Target) -> Result<Attributes, Errno> {
        let stat = self.stat(target).map_err(errno)?;
        let kind = kind_of(&stat).map_err(errno)?;
        let is_directory = kind == FileKind::Directory;
        Ok(Attributes {
            kind,
            permissions: stat.st_mode & PERMISSION_BITS,
            uid: self.ids.uid_to_guest(stat.st_uid),
            gid: self.ids.gid_to_guest(stat.st_gid),
            links: u64::from(stat.st_nlink),
            device: DeviceNumber { major: host::major(stat.st_rdev), minor: host::minor(stat.st_rdev) },
            size: stat.st_size.cast_unsigned(),
            blocks: stat.st_blocks.cast_unsigned(),
            accessed: timestamp(stat.st_atime, stat.st_atime_nsec),
            modified: timestamp(stat.st_mtime, stat.st_mtime_nsec),
            changed: timestamp(stat.st_ctime, stat.st_ctime_nsec),
            version: content_version(&stat),
            identity: (!is_directory).then_some(FileIdentity { device: stat.st_dev, inode: stat.st_ino }),
        })
    }

    fn set_attributes(&mut self, target: &Target, changes: &SetAttributes) -> Result<(), Errno> {
        self.change(target, changes).map_err(errno)
    }

    fn open(&mut self, path: &RelativePath, flags: OpenFlags) -> Result<Handle, Errno> {
        let file = self.open_regular(path, open_flags(flags)).map_err(errno)?;
        Ok(self.add_file(file))
    }

    fn open_again(&mut self, handle: Handle, flags: OpenFlags) -> Result<Handle, Errno> {
        let file = self.opened(handle).and_then(|open| self.reopen(open.file.as_fd(), open.access, open_flags(flags))).map_err(errno)?;
        Ok(self.add_file(file))
    }

    fn create(&mut self, path: &RelativePath, flags: OpenFlags, creation: &Creation) -> Result<Handle, Errno> {
        match self.create_regular(path, open_flags(flags), creation) {
            Ok(file) => Ok(self.add_file(file)),
            Err(io::Errno::EXIST) if !flags.exclusive() => self.open(path, flags),
            Err(error) => Err(errno(error)),
        }
    }

    fn close(&mut self, handle: Handle) {
        self.files.remove(&handle);
    }

    fn read(&mut self, handle: Handle, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        let file = self.file(handle).map_err(errno)?;
        retry_on_intr(|| io::pread(file, &mut *bytes, offset)).map_err(errno)
    }

    fn write(&mut self, handle: Handle, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let file = self.file(handle).map_err(errno)?;
        self.drop_privileges(file).map_err(errno)?;
        retry_on_intr(|| io::pwrite(file, bytes, offset)).map_err(errno)
    }

    fn sync(&mut self, target: &Target, data_only: bool) -> Result<(), Errno> {
        let sync = |file: BorrowedFd<'_>| match data_only {
            true => retry_on_intr(|| host::fdatasync(file)),
            false => retry_on_intr(|| host::fsync(file)),
        };
        let synced = match target {
            Target::Handle(handle) => self.file(*handle).and_then(sync),
            Target::Path(path) => self.resolve(path).and_then(|Place { directory, name, .. }| {
                let file = host::openat(directory, name, OFlags::RDONLY | OFlags::DIRECTORY | WARY, Mode::empty());
                match file {
                    Err(io::Errno::NOTDIR) => sync(self.open_regular(path, OFlags::RDONLY)?.file.as_fd()),
                    file => sync(file?.as_fd()),
                }
            }),
        };
        synced.map_err(errno)
    }

    fn read_directory(&mut self, path: &RelativePath, each: &mut dyn FnMut(Name, FileKind) -> Result<(), Errno>) -> Result<(), Errno> {
        let Place { directory: parent, name, .. } = self.resolve(path).map_err(errno)?;
        let directory = host::openat(parent, name, OFlags::RDONLY | OFlags::DIRECTORY | WARY, Mode::empty()).map_err(errno)?;
        for entry in host::Dir::read_from(&directory).map_err(errno)? {
            let entry = entry.map_err(errno)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = match FileKind::from_mode(entry.file_type().as_raw_mode()) {
                Some(kind) => kind,
                // Not every file system tells with the entry.
                None => match host::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => kind_of(&stat).map_err(errno)?,
                    Err(io::Errno::NOENT) => continue,
                    Err(error) => return Err(errno(error)),
                },
            };
            each(Name::new(name.to_bytes())?, kind)?;
        }
        Ok(())
    }

    fn read_symlink(&mut self, path: &RelativePath) -> Result<Vec<u8>, Errno> {
        let Place { directory, name, .. } = self.resolve(path).map_err(errno)?;
        host::readlinkat(directory, name, Vec::new()).map(std::ffi::CString::into_bytes).map_err(errno)
    }

    fn make_directory(&mut self, path: &RelativePath, creation: &Creation) -> Result<(), Errno> {
        let make = || {
            let Place { directory: parent, name, .. } = self.resolve_entry(path)?.if_writable()?;
            host::mkdirat(&parent, name, Mode::RWXU)?;
            let directory = host::openat(&parent, name, OFlags::RDONLY | OFlags::DIRECTORY | WARY, Mode::empty())?;
            self.finish(directory.as_fd(), creation)
        };
        make().map_err(errno)
    }

    fn make_symlink(&mut self, path: &RelativePath, text: &[u8], creation: &Creation) -> Result<(), Errno> {
        let make = || {
            let Place { directory, name, .. } = self.resolve_entry(path)?.if_writable()?;
            host::symlinkat(text, &directory, name)?;
            self.set_new_owner(&directory, name, creation, AtFlags::SYMLINK_NOFOLLOW)
        };
        make().map_err(errno)
    }

    fn make_node(&mut self, path: &RelativePath, kind: FileKind, _device: DeviceNumber, creation: &Creation) -> Result<(), Errno> {
        let file_type = match kind {
            FileKind::Regular => return self.create_regular(path, OFlags::WRONLY, creation).map(drop).map_err(errno),
            FileKind::Fifo => host::FileType::Fifo,
            FileKind::Socket => host::FileType::Socket,
            FileKind::CharacterDevice | FileKind::BlockDevice => return Err(Errno::EPERM),
            FileKind::Directory | FileKind::Symlink => return Err(Errno::EINVAL),
        };
        let make = || {
            let Place { directory, name, .. } = self.resolve_entry(path)?.if_writable()?;
            host::mknodat(&directory, name, file_type, Mode::RUSR | Mode::WUSR, 0)?;
            self.finish(host::openat(&directory, name, PLACE, Mode::empty())?.as_fd(), creation)
        };
        make().map_err(errno)
    }

    fn link(&mut self, existing: &RelativePath, path: &RelativePath) -> Result<(), Errno> {
        let link = || {
            let old = self.resolve(existing)?;
            // A second name outside of what is read-only would be one to write by.
            if self.look_at(&old)?.1 == Access::ReadOnly {
                return Err(io::Errno::XDEV);
            }
            let new = self.resolve_entry(path)?.if_writable()?;
            host::linkat(old.directory, old.name, new.directory, new.name, AtFlags::empty())
        };
        link().map_err(errno)
    }

    fn rename(&mut self, from: &RelativePath, to: &RelativePath) -> Result<(), Errno> {
        let rename = || {
            let (old, new) = (self.resolve_name(from)?, self.resolve_name(to)?);
            host::renameat(old.directory, old.name, new.directory, new.name)
        };
        rename().map_err(errno)
    }

    fn remove_file(&mut self, path: &RelativePath) -> Result<(), Errno> {
        self.remove(path, AtFlags::empty()).map_err(errno)
    }

    fn remove_directory(&mut self, path: &RelativePath) -> Result<(), Errno> {
        self.remove(path, AtFlags::REMOVEDIR).map_err(errno)
    }

    fn xattr(&mut self, target: &Target, name: &[u8], limit: usize) -> Result<Vec<u8>, Errno> {
        self.with_xattr(target, name, |path, _| {
            let mut value = vec![0; limit];
            let length = host::getxattr(path, name, &mut value[..])?;
            value.truncate(length);
            Ok(value)
        })
    }

    fn xattr_names(&mut self, target: &Target, limit: usize) -> Result<Vec<u8>, Errno> {
        let mut list = vec![0; limit];
        let length = self.with_xattr(target, XATTR_PREFIX, |path, _| host::listxattr(path, &mut list[..]))?;
        let mut names: Vec<&[u8]> = list[..length].split_inclusive(|byte| *byte == 0).collect();
        names.retain(|name| name.starts_with(XATTR_PREFIX));
        names.sort_unstable();
        Ok(names.concat())
    }

    fn set_xattr(&mut self, target: &Target, name: &[u8], value: &[u8], mode: XattrMode) -> Result<(), Errno> {
        let flags = match mode {
            XattrMode::CreateOrReplace => XattrFlags::empty(),
            XattrMode::Create => XattrFlags::CREATE,
            XattrMode::Replace => XattrFlags::REPLACE,
        };
        self.with_xattr(target, name, |path, access| {
            require_write(access)?;
            host::setxattr(path, name, value, flags)
        })
    }

    fn remove_xattr(&mut self, target: &Target, name: &[u8]) -> Result<(), Errno> {
        self.with_xattr(target, name, |path, access| {
            require_write(access)?;
            host::removexattr(path, name)
        })
    }
}

/// The guest's number for a host's error.
fn errno(error: io::Errno) -> Errno {
    match error {
        io::Errno::PERM => Errno::EPERM,
        io::Errno::NOENT => Errno::ENOENT,
        io::Errno::NXIO => Errno::ENXIO,
        io::Errno::BADF => Errno::EBADF,
        io::Errno::NOMEM => Errno::ENOMEM,
        io::Errno::ACCESS => Errno::EACCES,
        io::Errno::BUSY => Errno::EBUSY,
        io::Errno::EXIST => Errno::EEXIST,
        io::Errno::XDEV => Errno::EXDEV,
        io::Errno::NOTDIR => Errno::ENOTDIR,
        io::Errno::ISDIR => Errno::EISDIR,
        io::Errno::INVAL => Errno::EINVAL,
        io::Errno::MFILE | io::Errno::NFILE => Errno::ENFILE,
        io::Errno::TXTBSY => Errno::ETXTBSY,
        io::Errno::FBIG => Errno::EFBIG,
        io::Errno::NOSPC => Errno::ENOSPC,
        io::Errno::ROFS => Errno::EROFS,
        io::Errno::MLINK => Errno::EMLINK,
        io::Errno::RANGE => Errno::ERANGE,
        io::Errno::NAMETOOLONG => Errno::ENAMETOOLONG,
        io::Errno::NOTEMPTY => Errno::ENOTEMPTY,
        io::Errno::LOOP => Errno::ELOOP,
        io::Errno::NODATA => Errno::ENODATA,
        io::Errno::OPNOTSUPP => Errno::EOPNOTSUPP,
        io::Errno::STALE => Errno::ESTALE,
        io::Errno::DQUOT => Errno::EDQUOT,
        _ => Errno::EIO,
    }
}
