//! A host directory as a file system for 9P.
//!
//! Every path is resolved from the directory's own descriptor, one name at a time and never through a symbolic link, so that
//! nobody who changes the tree meanwhile can lead an access out of it. Only regular files are opened, and never waited for.
//!
//! Owners are shown as a user namespace would: unless prebake runs as root, the files of the user who runs it are the guest
//! root's, and all others nobody's. What would give rights on the host is not the guest's to make: device nodes are refused, and
//! the set-user-ID and set-group-ID bits dropped. Of the extended attributes, the guest sees those of the `user.` space.

use devices::p9::{
    Attributes, Creation, DeviceNumber, Errno, FileKind, FileSystem, Handle, Name, OpenFlags, PERMISSION_BITS, RelativePath, SetAttributes,
    SetTime, Statistics, Target, Timestamp, XattrMode,
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

/// Just the place of a file, for the calls that take a descriptor and a name.
const PLACE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// For opening what may have turned into anything.
const WARY: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// A directory of the host, served to the guest.
#[derive(Debug)]
pub struct HostDir {
    root: Arc<OwnedFd>,
    ids: Ids,
    files: BTreeMap<Handle, OwnedFd>,
    next_handle: u64,
}

impl HostDir {
    /// Serves the directory at `path`. It may be a symbolic link to one; what is below it is never followed.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let root = host::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { root: Arc::new(root), ids: Ids::of_this_process(), files: BTreeMap::new(), next_handle: 1 })
    }

    fn directory(&self, names: &[Name]) -> io::Result<Arc<OwnedFd>> {
        names.iter().try_fold(self.root.clone(), |at, name| {
            Ok(Arc::new(host::openat(at, name.as_bytes(), PLACE | OFlags::DIRECTORY, Mode::empty())?))
        })
    }

    /// The directory that a file is in, and its name there; of the root, itself and `.`.
    fn resolve<'a>(&self, path: &'a RelativePath) -> io::Result<(Arc<OwnedFd>, &'a [u8])> {
        match path.components().split_last() {
            Some((name, directory)) => Ok((self.directory(directory)?, name.as_bytes())),
            None => Ok((self.root.clone(), b".")),
        }
    }

    /// The same of a file that is to be made, moved or removed, which the root cannot be.
    fn resolve_entry<'a>(&self, path: &'a RelativePath) -> io::Result<(Arc<OwnedFd>, &'a [u8])> {
        if path.components().is_empty() { Err(io::Errno::BUSY) } else { self.resolve(path) }
    }

    fn file(&self, handle: Handle) -> io::Result<BorrowedFd<'_>> {
        self.files.get(&handle).map(OwnedFd::as_fd).ok_or(io::Errno::BADF)
    }

    fn add_file(&mut self, file: OwnedFd) -> Handle {
        let handle = Handle::new(self.next_handle);
        self.next_handle += 1;
        self.files.insert(handle, file);
        handle
    }

    fn stat(&self, target: &Target) -> io::Result<Stat> {
        match target {
            Target::Handle(handle) => host::fstat(self.file(*handle)?),
            Target::Path(path) => {
                let (directory, name) = self.resolve(path)?;
                host::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    /// Calls `work` with a descriptor of the target: an open file's own, or one that only holds the place.
    fn with_place<R>(&self, target: &Target, work: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>) -> io::Result<R> {
        match target {
            Target::Handle(handle) => work(self.file(*handle)?),
            Target::Path(path) => {
                let (directory, name) = self.resolve(path)?;
                work(host::openat(directory, name, PLACE, Mode::empty())?.as_fd())
            }
        }
    }

    /// Opens a file that is there, if it is a regular one.
    fn open_regular(&self, path: &RelativePath, flags: OFlags) -> io::Result<OwnedFd> {
        let (directory, name) = self.resolve(path)?;
        // Looked at first, for opening a device can have effects, and again afterwards, for it may have changed.
        check_regular(&host::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?)?;
        let file = retry_on_intr(|| host::openat(&directory, name, flags | WARY, Mode::empty()))?;
        check_regular(&host::fstat(&file)?)?;
        Ok(file)
    }

    /// Makes and opens a regular file where there is none.
    fn create_regular(&self, path: &RelativePath, flags: OFlags, creation: &Creation) -> io::Result<OwnedFd> {
        let (directory, name) = self.resolve_entry(path)?;
        let file = host::openat(&directory, name, flags | WARY | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR)?;
        self.finish(file.as_fd(), creation)?;
        Ok(file)
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
        match target {
            Target::Handle(handle) => retry_on_intr(|| host::ftruncate(self.file(*handle)?, size)),
            Target::Path(path) => {
                let file = self.open_regular(path, OFlags::WRONLY)?;
                retry_on_intr(|| host::ftruncate(&file, size))
            }
        }
    }

    fn change(&self, target: &Target, changes: &SetAttributes) -> io::Result<()> {
        if let Some(size) = changes.size {
            self.truncate(target, size)?;
        }
        let owner = changes.uid.map(|uid| self.ids.uid_to_host(uid)).transpose()?;
        let group = changes.gid.map(|gid| self.ids.gid_to_host(gid)).transpose()?;
        self.with_place(target, |file| {
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

    /// Calls `work` with a path by which the attribute calls reach the target, if `name` is one of ours to see.
    fn with_xattr<R>(&self, target: &Target, name: &[u8], work: impl FnOnce(&str) -> io::Result<R>) -> Result<R, Errno> {
        if !name.starts_with(XATTR_PREFIX) || name.contains(&0) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.with_place(target, |file| work(&proc_path(file))).map_err(errno)
    }
}

/// How owners on the host and in the guest correspond.
#[derive(Debug, Clone, Copy)]
enum Ids {
    /// prebake runs as root: numbers mean the same on both sides.
    Same,
    /// The guest's root is this user and group.
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

    fn uid_to_host(self, guest: u32) -> io::Result<Uid> {
        match self {
            Self::Same => Ok(uid(guest)),
            Self::Mapped { uid: own, .. } => {
                if guest == 0 {
                    Ok(uid(own))
                } else {
                    Err(io::Errno::PERM)
                }
            }
        }
    }

    fn gid_to_host(self, guest: u32) -> io::Result<Gid> {
        match self {
            Self::Same => Ok(gid(guest)),
            Self::Mapped { gid: own, .. } => {
                if guest == 0 {
                    Ok(gid(own))
                } else {
                    Err(io::Errno::PERM)
                }
            }
        }
    }
}

fn to_guest(host: u32, own: u32) -> u32 {
    if host == own { 0 } else { NOBODY }
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

fn timestamp(seconds: i64, nanoseconds: u64) -> Timestamp {
    Timestamp { seconds, nanoseconds: u32::try_from(nanoseconds).unwrap_or(0) }
}

/// A number that changes when the content does, for all that the host tells.
fn content_version(stat: &Stat) -> u32 {
    let words = [stat.st_mtime.cast_unsigned(), stat.st_mtime_nsec, stat.st_size.cast_unsigned()];
    let mixed = words.iter().fold(0u64, |hash, word| (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29));
    (mixed >> 32) as u32
}

impl FileSystem for HostDir {
    fn statistics(&mut self) -> Result<Statistics, Errno> {
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
        Ok(Attributes {
            kind: kind_of(&stat).map_err(errno)?,
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
        })
    }

    fn set_attributes(&mut self, target: &Target, changes: &SetAttributes) -> Result<(), Errno> {
        self.change(target, changes).map_err(errno)
    }

    fn open(&mut self, path: &RelativePath, flags: OpenFlags) -> Result<Handle, Errno> {
        let file = self.open_regular(path, open_flags(flags)).map_err(errno)?;
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
        retry_on_intr(|| io::pwrite(file, bytes, offset)).map_err(errno)
    }

    fn sync(&mut self, target: &Target, data_only: bool) -> Result<(), Errno> {
        let sync = |file: BorrowedFd<'_>| match data_only {
            true => retry_on_intr(|| host::fdatasync(file)),
            false => retry_on_intr(|| host::fsync(file)),
        };
        let synced = match target {
            Target::Handle(handle) => self.file(*handle).and_then(sync),
            Target::Path(path) => self.resolve(path).and_then(|(directory, name)| {
                let file = host::openat(directory, name, OFlags::RDONLY | OFlags::DIRECTORY | WARY, Mode::empty());
                match file {
                    Err(io::Errno::NOTDIR) => sync(self.open_regular(path, OFlags::RDONLY)?.as_fd()),
                    file => sync(file?.as_fd()),
                }
            }),
        };
        synced.map_err(errno)
    }

    fn read_directory(&mut self, path: &RelativePath, each: &mut dyn FnMut(Name, FileKind) -> Result<(), Errno>) -> Result<(), Errno> {
        let (parent, name) = self.resolve(path).map_err(errno)?;
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
        let (directory, name) = self.resolve(path).map_err(errno)?;
        host::readlinkat(directory, name, Vec::new()).map(std::ffi::CString::into_bytes).map_err(errno)
    }

    fn make_directory(&mut self, path: &RelativePath, creation: &Creation) -> Result<(), Errno> {
        let make = || {
            let (parent, name) = self.resolve_entry(path)?;
            host::mkdirat(&parent, name, Mode::RWXU)?;
            let directory = host::openat(&parent, name, OFlags::RDONLY | OFlags::DIRECTORY | WARY, Mode::empty())?;
            self.finish(directory.as_fd(), creation)
        };
        make().map_err(errno)
    }

    fn make_symlink(&mut self, path: &RelativePath, text: &[u8], creation: &Creation) -> Result<(), Errno> {
        let make = || {
            let (directory, name) = self.resolve_entry(path)?;
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
            let (directory, name) = self.resolve_entry(path)?;
            host::mknodat(&directory, name, file_type, Mode::RUSR | Mode::WUSR, 0)?;
            self.finish(host::openat(&directory, name, PLACE, Mode::empty())?.as_fd(), creation)
        };
        make().map_err(errno)
    }

    fn link(&mut self, existing: &RelativePath, path: &RelativePath) -> Result<(), Errno> {
        let (old_directory, old_name) = self.resolve(existing).map_err(errno)?;
        let (directory, name) = self.resolve_entry(path).map_err(errno)?;
        host::linkat(old_directory, old_name, directory, name, AtFlags::empty()).map_err(errno)
    }

    fn rename(&mut self, from: &RelativePath, to: &RelativePath) -> Result<(), Errno> {
        let (old_directory, old_name) = self.resolve_entry(from).map_err(errno)?;
        let (new_directory, new_name) = self.resolve_entry(to).map_err(errno)?;
        host::renameat(old_directory, old_name, new_directory, new_name).map_err(errno)
    }

    fn remove_file(&mut self, path: &RelativePath) -> Result<(), Errno> {
        let (directory, name) = self.resolve_entry(path).map_err(errno)?;
        host::unlinkat(directory, name, AtFlags::empty()).map_err(errno)
    }

    fn remove_directory(&mut self, path: &RelativePath) -> Result<(), Errno> {
        let (directory, name) = self.resolve_entry(path).map_err(errno)?;
        host::unlinkat(directory, name, AtFlags::REMOVEDIR).map_err(errno)
    }

    fn xattr(&mut self, target: &Target, name: &[u8], limit: usize) -> Result<Vec<u8>, Errno> {
        self.with_xattr(target, name, |path| {
            let mut value = vec![0; limit];
            let length = host::getxattr(path, name, &mut value[..])?;
            value.truncate(length);
            Ok(value)
        })
    }

    fn xattr_names(&mut self, target: &Target, limit: usize) -> Result<Vec<u8>, Errno> {
        let mut list = vec![0; limit];
        let length = self.with_xattr(target, XATTR_PREFIX, |path| host::listxattr(path, &mut list[..]))?;
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
        self.with_xattr(target, name, |path| host::setxattr(path, name, value, flags))
    }

    fn remove_xattr(&mut self, target: &Target, name: &[u8]) -> Result<(), Errno> {
        self.with_xattr(target, name, |path| host::removexattr(path, name))
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

#[cfg(test)]
mod tests {
    use super::*;
    use devices::p9::{Access, P9};
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    const READ: u32 = 0;
    const WRITE: u32 = 1;
    const EXCLUSIVE: u32 = 0o200;
    const TRUNCATE: u32 = 0o1000;
    const APPEND: u32 = 0o2000;

    /// A served directory `in`, beside a file and a directory that must not be reached from there.
    struct Fixture {
        outside: tempfile::TempDir,
        dir: HostDir,
    }

    fn fixture() -> Fixture {
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir(outside.path().join("in")).unwrap();
        fs::create_dir(outside.path().join("beside")).unwrap();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        fs::write(outside.path().join("beside/secret"), "secret").unwrap();
        let dir = HostDir::open(&outside.path().join("in")).unwrap();
        Fixture { outside, dir }
    }

    impl Fixture {
        fn host(&self, path: &str) -> std::path::PathBuf {
            self.outside.path().join("in").join(path)
        }

        fn open(&mut self, name: &str, flags: u32) -> Result<Handle, Errno> {
            self.dir.open(&path(name), OpenFlags::new(flags).unwrap())
        }

        fn create(&mut self, name: &str, flags: u32, permissions: u32) -> Result<Handle, Errno> {
            self.dir.create(&path(name), OpenFlags::new(flags).unwrap(), &creation(permissions))
        }

        fn read(&mut self, handle: Handle) -> Vec<u8> {
            let mut bytes = [0; 100];
            let length = self.dir.read(handle, 0, &mut bytes).unwrap();
            bytes[..length].to_vec()
        }

        fn attributes(&mut self, name: &str) -> Result<Attributes, Errno> {
            self.dir.attributes(&Target::Path(path(name)))
        }

        fn set(&mut self, name: &str, changes: SetAttributes) -> Result<(), Errno> {
            self.dir.set_attributes(&Target::Path(path(name)), &changes)
        }
    }

    fn path(text: &str) -> RelativePath {
        RelativePath::parse(text).unwrap()
    }

    fn creation(permissions: u32) -> Creation {
        Creation { permissions, uid: 0, gid: 0 }
    }

    #[test]
    fn symbolic_links_lead_nowhere() {
        let mut fixture = fixture();
        symlink("../secret", fixture.host("file")).unwrap();
        symlink("..", fixture.host("up")).unwrap();
        symlink(fixture.outside.path(), fixture.host("absolute")).unwrap();
        symlink("../made", fixture.host("dangling")).unwrap();

        assert_eq!(fixture.open("file", READ), Err(Errno::ELOOP));
        assert_eq!(fixture.create("file", WRITE, 0o644), Err(Errno::ELOOP));
        assert_eq!(fixture.create("dangling", WRITE, 0o644), Err(Errno::ELOOP));
        assert!(!fixture.outside.path().join("made").exists());
        assert_eq!(fixture.set("file", SetAttributes { size: Some(0), ..SetAttributes::default() }), Err(Errno::ELOOP));
        for name in ["up/secret", "absolute/secret", "up/beside/secret", "file/x"] {
            assert_eq!(fixture.attributes(name), Err(Errno::ENOTDIR), "{name}");
            assert_eq!(fixture.open(name, READ), Err(Errno::ENOTDIR), "{name}");
            assert_eq!(fixture.create(name, WRITE, 0o644), Err(Errno::ENOTDIR), "{name}");
            assert_eq!(fixture.dir.remove_file(&path(name)), Err(Errno::ENOTDIR), "{name}");
            assert_eq!(fixture.dir.make_directory(&path(name), &creation(0o755)), Err(Errno::ENOTDIR), "{name}");
            assert_eq!(fixture.dir.rename(&path(name), &path("stolen")), Err(Errno::ENOTDIR), "{name}");
            assert_eq!(fixture.dir.link(&path(name), &path("stolen")), Err(Errno::ENOTDIR), "{name}");
        }
        assert_eq!(fixture.dir.read_directory(&path("up"), &mut |_, _| Ok(())), Err(Errno::ENOTDIR));
        assert_eq!(fixture.attributes("file").unwrap().kind, FileKind::Symlink);
        assert_eq!(fixture.dir.read_symlink(&path("file")).unwrap(), b"../secret");

        let time = SetTime::To(Timestamp { seconds: 1, nanoseconds: 2 });
        fixture.set("file", SetAttributes { modified: Some(time), ..SetAttributes::default() }).unwrap();
        assert_eq!(fixture.attributes("file").unwrap().modified, Timestamp { seconds: 1, nanoseconds: 2 });
        assert_ne!(fs::metadata(fixture.outside.path().join("secret")).unwrap().mtime(), 1);
        fixture.dir.link(&path("file"), &path("same link")).unwrap();
        fixture.dir.rename(&path("same link"), &path("renamed link")).unwrap();
        fixture.dir.remove_file(&path("renamed link")).unwrap();
        assert_eq!(fs::read(fixture.outside.path().join("secret")).unwrap(), b"secret");
    }

    #[test]
    fn a_directory_that_turns_into_a_link_is_not_entered() {
        let mut fixture = fixture();
        fixture.dir.make_directory(&path("d"), &creation(0o755)).unwrap();
        let handle = fixture.create("d/secret", 2, 0o644).unwrap();
        fs::rename(fixture.host("d"), fixture.host("elsewhere")).unwrap();
        symlink("../beside", fixture.host("d")).unwrap();
        assert_eq!(fixture.open("d/secret", READ), Err(Errno::ENOTDIR));
        fixture.dir.write(handle, 0, b"ours").unwrap();
        assert_eq!(fs::read(fixture.host("elsewhere/secret")).unwrap(), b"ours");
    }

    #[test]
    fn files_open_while_they_are_replaced_or_removed_keep_working() {
        let mut fixture = fixture();
        fs::write(fixture.host("old"), "old").unwrap();
        fs::write(fixture.host("new"), "new").unwrap();
        let old = fixture.open("old", 2).unwrap();
        let new = fixture.open("new", READ).unwrap();
        fixture.dir.rename(&path("new"), &path("old")).unwrap();
        assert_eq!((fixture.read(old), fixture.read(new)), (b"old".to_vec(), b"new".to_vec()));
        assert_eq!(fs::read(fixture.host("old")).unwrap(), b"new");

        fixture.dir.remove_file(&path("old")).unwrap();
        fixture.dir.write(old, 3, b"er").unwrap();
        fixture.dir.set_attributes(&Target::Handle(old), &SetAttributes { size: Some(4), ..SetAttributes::default() }).unwrap();
        assert_eq!((fixture.read(old), fixture.read(new)), (b"olde".to_vec(), b"new".to_vec()));
        assert_eq!(fixture.dir.attributes(&Target::Handle(new)).unwrap().links, 0);
        fixture.dir.sync(&Target::Handle(old), false).unwrap();
        fixture.dir.close(old);
        assert_eq!(fixture.dir.write(old, 0, b"x"), Err(Errno::EBADF));
    }

    #[test]
    fn opening_takes_the_flags_at_their_word() {
        let mut fixture = fixture();
        let handle = fixture.create("f", WRITE | EXCLUSIVE, 0o644).unwrap();
        fixture.dir.write(handle, 0, b"abc").unwrap();
        assert_eq!(fixture.create("f", WRITE | EXCLUSIVE, 0o644), Err(Errno::EEXIST));
        let handle = fixture.create("f", WRITE | APPEND, 0o600).unwrap();
        fixture.dir.write(handle, 0, b"def").unwrap();
        assert_eq!(fs::read(fixture.host("f")).unwrap(), b"abcdef");
        fixture.open("f", WRITE | TRUNCATE).unwrap();
        assert_eq!(fs::read(fixture.host("f")).unwrap(), b"");
        assert_eq!(fixture.open("", READ), Err(Errno::EISDIR));
        assert_eq!(fixture.open("none", READ), Err(Errno::ENOENT));
        fixture.dir.sync(&Target::Path(path("f")), true).unwrap();
        fixture.dir.sync(&Target::Path(path("")), false).unwrap();
    }

    #[test]
    fn permissions_are_the_guests_choice_but_give_no_rights_on_the_host() {
        let mut fixture = fixture();
        let mode = |fixture: &Fixture, name: &str| fs::symlink_metadata(fixture.host(name)).unwrap().permissions().mode() & 0o7777;
        fixture.create("f", WRITE, 0o6666).unwrap();
        assert_eq!(mode(&fixture, "f"), 0o666, "whatever the umask, and not set-user-ID");
        fixture.dir.make_directory(&path("d"), &creation(0o1777)).unwrap();
        assert_eq!(mode(&fixture, "d"), 0o1777);
        fixture.set("f", SetAttributes { permissions: Some(0o4711), ..SetAttributes::default() }).unwrap();
        assert_eq!(mode(&fixture, "f"), 0o711);
        let handle = fixture.open("f", READ).unwrap();
        let changes = SetAttributes { permissions: Some(0), ..SetAttributes::default() };
        fixture.dir.set_attributes(&Target::Handle(handle), &changes).unwrap();
        assert_eq!(fixture.attributes("f").unwrap().permissions, 0);
        fixture.set("f", SetAttributes { permissions: Some(0o600), ..SetAttributes::default() }).unwrap();
        assert_eq!(mode(&fixture, "f"), 0o600, "of a file that cannot be opened");

        let device = DeviceNumber { major: 1, minor: 3 };
        let made = fixture.dir.make_node(&path("null"), FileKind::CharacterDevice, device, &creation(0o666));
        assert_eq!(made, Err(Errno::EPERM));
    }

    #[test]
    fn special_files_are_never_opened() {
        let mut fixture = fixture();
        for (name, kind) in [("fifo", FileKind::Fifo), ("socket", FileKind::Socket), ("file", FileKind::Regular)] {
            fixture.dir.make_node(&path(name), kind, DeviceNumber::default(), &creation(0o622)).unwrap();
            let attributes = fixture.attributes(name).unwrap();
            assert_eq!((attributes.kind, attributes.permissions), (kind, 0o622));
        }
        for (name, flags) in [("fifo", READ), ("fifo", WRITE), ("fifo", TRUNCATE | WRITE), ("socket", READ)] {
            assert_eq!(fixture.open(name, flags), Err(Errno::ENXIO), "{name}");
            assert_eq!(fixture.create(name, flags, 0o644), Err(Errno::ENXIO), "{name}");
        }
    }

    #[test]
    fn attributes_are_the_hosts() {
        let mut fixture = fixture();
        fs::write(fixture.host("f"), [0; 1000]).unwrap();
        let before = fixture.attributes("f").unwrap();
        assert_eq!((before.kind, before.size, before.links), (FileKind::Regular, 1000, 1));
        let times = SetAttributes {
            accessed: Some(SetTime::To(Timestamp { seconds: -5, nanoseconds: 7 })),
            modified: Some(SetTime::Now),
            size: Some(10),
            ..SetAttributes::default()
        };
        fixture.set("f", times).unwrap();
        let after = fixture.attributes("f").unwrap();
        assert_eq!(after.accessed, Timestamp { seconds: -5, nanoseconds: 7 });
        assert!(after.modified.seconds >= before.modified.seconds);
        assert_eq!(after.size, 10);
        assert_ne!(after.version, before.version);
        let statistics = fixture.dir.statistics().unwrap();
        assert!(statistics.blocks >= statistics.blocks_free && statistics.block_size > 0);
    }

    #[test]
    fn owners_are_mapped_as_in_a_user_namespace() {
        let mut fixture = fixture();
        fs::write(fixture.host("f"), "").unwrap();
        let file = fs::metadata(fixture.host("f")).unwrap();
        let owner = |uid, gid| SetAttributes { uid: Some(uid), gid: Some(gid), ..SetAttributes::default() };

        fixture.dir.ids = Ids::Mapped { uid: file.uid(), gid: file.gid() };
        let attributes = fixture.attributes("f").unwrap();
        assert_eq!((attributes.uid, attributes.gid), (0, 0));
        fixture.set("f", owner(0, 0)).unwrap();
        assert_eq!(fixture.set("f", owner(1000, 0)), Err(Errno::EPERM));
        assert_eq!(fixture.set("f", owner(0, 1000)), Err(Errno::EPERM));
        fixture.dir.ids = Ids::Mapped { uid: file.uid() + 1, gid: file.gid() + 1 };
        let attributes = fixture.attributes("f").unwrap();
        assert_eq!((attributes.uid, attributes.gid), (NOBODY, NOBODY));
        fixture.dir.ids = Ids::Same;
        let attributes = fixture.attributes("f").unwrap();
        assert_eq!((attributes.uid, attributes.gid), (file.uid(), file.gid()));
    }

    #[test]
    fn directories_are_listed_with_kinds() {
        let mut fixture = fixture();
        fs::write(fixture.host("file"), "").unwrap();
        fs::create_dir(fixture.host("dir")).unwrap();
        symlink("nowhere", fixture.host("link")).unwrap();
        let mut entries = Vec::new();
        let mut list = |name, kind| {
            entries.push((name, kind));
            Ok(())
        };
        fixture.dir.read_directory(&path(""), &mut list).unwrap();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        let name = |text: &str| Name::new(text.as_bytes()).unwrap();
        let wanted = [(name("dir"), FileKind::Directory), (name("file"), FileKind::Regular), (name("link"), FileKind::Symlink)];
        assert_eq!(entries, wanted);
        assert_eq!(fixture.dir.read_directory(&path(""), &mut |_, _| Err(Errno::ENOMEM)), Err(Errno::ENOMEM));
    }

    #[test]
    fn removal_spares_the_root_and_what_is_not_empty() {
        let mut fixture = fixture();
        fs::create_dir_all(fixture.host("d/e")).unwrap();
        assert_eq!(fixture.dir.remove_directory(&path("d")), Err(Errno::ENOTEMPTY));
        assert_eq!(fixture.dir.remove_file(&path("d")), Err(Errno::EISDIR));
        assert_eq!(fixture.dir.remove_directory(&path("")), Err(Errno::EBUSY));
        assert_eq!(fixture.dir.rename(&path(""), &path("x")), Err(Errno::EBUSY));
        assert_eq!(fixture.dir.rename(&path("d"), &path("d/e/f")), Err(Errno::EINVAL));
        fixture.dir.remove_directory(&path("d/e")).unwrap();
        fixture.dir.remove_directory(&path("d")).unwrap();
    }

    #[test]
    fn attributes_outside_the_user_space_are_the_hosts_alone() {
        let mut fixture = fixture();
        fs::write(fixture.host("f"), "").unwrap();
        let target = Target::Path(path("f"));
        for name in [&b"security.capability"[..], b"trusted.overlay.opaque", b"system.posix_acl_access", b"user.a\0b"] {
            assert_eq!(fixture.dir.set_xattr(&target, name, b"x", XattrMode::CreateOrReplace), Err(Errno::EOPNOTSUPP));
            assert_eq!(fixture.dir.xattr(&target, name, 100), Err(Errno::EOPNOTSUPP));
            assert_eq!(fixture.dir.remove_xattr(&target, name), Err(Errno::EOPNOTSUPP));
        }
        match fixture.dir.set_xattr(&target, b"user.b", b"value", XattrMode::Create) {
            // Not every file system that a test may run on has them.
            Err(errno) => assert_eq!(errno, Errno::EOPNOTSUPP),
            Ok(()) => {
                fixture.dir.set_xattr(&target, b"user.a", b"", XattrMode::CreateOrReplace).unwrap();
                assert_eq!(fixture.dir.set_xattr(&target, b"user.b", b"x", XattrMode::Create), Err(Errno::EEXIST));
                assert_eq!(fixture.dir.set_xattr(&target, b"user.c", b"x", XattrMode::Replace), Err(Errno::ENODATA));
                assert_eq!(fixture.dir.xattr_names(&target, 100).unwrap(), b"user.a\0user.b\0");
                assert_eq!(fixture.dir.xattr(&target, b"user.b", 100).unwrap(), b"value");
                assert_eq!(fixture.dir.xattr(&target, b"user.b", 4), Err(Errno::ERANGE));
                fixture.dir.remove_xattr(&target, b"user.b").unwrap();
                assert_eq!(fixture.dir.xattr(&target, b"user.b", 100), Err(Errno::ENODATA));
            }
        }
    }

    /// A message to a mount of the directory: its reply's type and body.
    fn ask(mount: &mut P9<HostDir>, kind: u8, body: &[&[u8]]) -> (u8, Vec<u8>) {
        let body = body.concat();
        let message = [&(7 + body.len() as u32).to_le_bytes()[..], &[kind, 0, 0], &body].concat();
        let reply = mount.serve(&message, 8192);
        (reply[4], reply[7..].to_vec())
    }

    fn string(text: &str) -> Vec<u8> {
        [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
    }

    fn mount(fixture: Fixture, access: Access) -> (tempfile::TempDir, P9<HostDir>) {
        let mut mount = P9::new("share", fixture.dir, access).unwrap();
        ask(&mut mount, 100, &[&8192u32.to_le_bytes(), &string("9P2000.L")]);
        ask(&mut mount, 104, &[&[0; 4], &[0xff; 4], &[0; 2], &[0; 2], &[0; 4]]);
        (fixture.outside, mount)
    }

    /// Walks from the root to a new fid.
    fn walk(mount: &mut P9<HostDir>, fid: u32, name: &str) -> (u8, Vec<u8>) {
        ask(mount, 110, &[&[0; 4], &fid.to_le_bytes(), &[1, 0], &string(name)])
    }

    fn error(errno: Errno) -> (u8, Vec<u8>) {
        (7, errno.get().to_le_bytes().to_vec())
    }

    #[test]
    fn a_read_only_mount_is_read_only() {
        let fixture = fixture();
        fs::write(fixture.host("f"), "abc").unwrap();
        let (outside, mut mount) = mount(fixture, Access::ReadOnly);
        assert_eq!(walk(&mut mount, 1, "f").0, 111);
        assert_eq!(ask(&mut mount, 12, &[&1u32.to_le_bytes(), &WRITE.to_le_bytes()]), error(Errno::EROFS));
        assert_eq!(ask(&mut mount, 76, &[&[0; 4], &string("f"), &[0; 4]]), error(Errno::EROFS));
        assert_eq!(ask(&mut mount, 72, &[&[0; 4], &string("d"), &[0; 4], &[0; 4]]), error(Errno::EROFS));
        assert_eq!(ask(&mut mount, 12, &[&1u32.to_le_bytes(), &READ.to_le_bytes()]).0, 13);
        assert_eq!(ask(&mut mount, 116, &[&1u32.to_le_bytes(), &[0; 8], &[9, 0, 0, 0]]).1, b"\x03\0\0\0abc");
        assert_eq!(fs::read_dir(outside.path().join("in")).unwrap().count(), 1);
    }

    #[test]
    fn the_server_does_not_go_above_the_directory() {
        let (_outside, mut mount) = mount(fixture(), Access::ReadWrite);
        let root = walk(&mut mount, 1, "..");
        assert_eq!(root.0, 111);
        assert_eq!(walk(&mut mount, 2, "../secret"), error(Errno::EINVAL));
        assert_eq!(ask(&mut mount, 110, &[&[0; 4], &[3, 0, 0, 0], &[2, 0], &string(".."), &string("secret")]).1[..2], [1, 0]);
    }

    #[test]
    fn more_files_can_be_open_than_the_host_has_descriptors_for() {
        let fixture = fixture();
        for number in 1..=400 {
            fs::write(fixture.host(&number.to_string()), number.to_string()).unwrap();
        }
        let (_outside, mut mount) = mount(fixture, Access::ReadWrite);
        for fid in 1..=400u32 {
            walk(&mut mount, fid, &fid.to_string());
            assert_eq!(ask(&mut mount, 12, &[&fid.to_le_bytes(), &READ.to_le_bytes()]).0, 13);
            assert_eq!(ask(&mut mount, 76, &[&[0; 4], &string(&(fid / 2).to_string()), &[0; 4]]).0, if fid % 2 == 0 { 77 } else { 7 });
            assert!(mount.filesystem().files.len() <= 256);
        }
        for fid in 1..=400u32 {
            let text = fid.to_string();
            let data = [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
            assert_eq!(ask(&mut mount, 116, &[&fid.to_le_bytes(), &[0; 8], &[9, 0, 0, 0]]).1, data);
        }
    }

    #[test]
    fn open_files_are_found_again_after_a_restore_or_stale() {
        let fixture = fixture();
        fs::write(fixture.host("kept"), "abc").unwrap();
        fs::write(fixture.host("gone"), "abc").unwrap();
        let (outside, mut before) = mount(fixture, Access::ReadWrite);
        for (fid, name) in [(1u32, "kept"), (2, "gone")] {
            walk(&mut before, fid, name);
            assert_eq!(ask(&mut before, 12, &[&fid.to_le_bytes(), &READ.to_le_bytes()]).0, 13);
        }
        let state = before.save();
        fs::remove_file(outside.path().join("in/gone")).unwrap();
        let dir = HostDir::open(&outside.path().join("in")).unwrap();
        let mut after = P9::restore(dir, Access::ReadWrite, &state).unwrap();
        assert_eq!(after.save(), state, "a restore opens nothing");
        let read = |mount: &mut P9<HostDir>, fid: u32| ask(mount, 116, &[&fid.to_le_bytes(), &[0; 8], &[9, 0, 0, 0]]);
        assert_eq!(read(&mut before, 2).1, b"\x03\0\0\0abc");
        assert_eq!(read(&mut after, 1).1, b"\x03\0\0\0abc");
        assert_eq!(read(&mut after, 2), error(Errno::ESTALE));
    }
}
