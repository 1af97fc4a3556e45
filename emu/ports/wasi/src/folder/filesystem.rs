//! What the guest does with a folder of the host.

use super::call::{Opening, Result, errno};
use super::open::{Folder, kind_of, opening};
use devices::p9::{
    ASKER, Attributes, Creation, DeviceNumber, Errno, FileIdentity, FileKind, FileSystem, Handle, Name, OpenFlags, RelativePath,
    SetAttributes, SetTime, Statistics, Target, Timestamp, XattrMode,
};

/// The permissions that every file shows, since WASI does not tell, and directories. Linux remembers who asked for a directory first, so
/// others must be allowed what that one is.
const PERMISSIONS: u32 = 0o755;
const DIRECTORY_PERMISSIONS: u32 = 0o777;
/// What there is room for, since WASI does not tell: 1 TiB, in blocks of 4 KiB.
const ROOM: Statistics =
    Statistics { block_size: 4096, blocks: 1 << 28, blocks_free: 1 << 28, blocks_available: 1 << 28, files: 1 << 32, files_free: 1 << 32 };
/// Longest text of a symbolic link, one byte less than the room for it.
const LINK_ROOM: usize = 4097;
const SECOND: u64 = 1_000_000_000;
/// Bytes of an entry's head, and where in it are the cookie of the next, the length of the name and the type.
const ENTRY_HEAD: usize = 24;
/// Room for entries: more than the longest.
const ENTRIES: usize = 16 << 10;

fn timestamp(nanoseconds: u64) -> Timestamp {
    Timestamp { seconds: (nanoseconds / SECOND) as i64, nanoseconds: (nanoseconds % SECOND) as u32 }
}

/// WASI's time since 1970; there is none before.
fn nanoseconds(time: Timestamp) -> Result<u64> {
    let seconds = u64::try_from(time.seconds).ok().and_then(|seconds| seconds.checked_mul(SECOND));
    seconds.and_then(|seconds| seconds.checked_add(time.nanoseconds.into())).ok_or(Errno::EINVAL)
}

/// A number that changes when the content does, for all that the host tells.
fn content_version(stat: &wasi::Filestat) -> u32 {
    let mixed = [stat.mtim, stat.size].iter().fold(0_u64, |hash, word| (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29));
    (mixed >> 32) as u32
}

impl Folder {
    fn stat(&self, target: &Target) -> Result<wasi::Filestat> {
        match target {
            Target::Handle(handle) => self.file(*handle)?.file.stat_self(),
            Target::Path(path) => {
                let (directory, name) = self.resolve(path)?;
                directory.stat(name)
            }
        }
    }

    fn truncate(&self, target: &Target, size: u64) -> Result<()> {
        // SAFETY: nothing is passed but numbers.
        let truncate = |number| unsafe { wasi::fd_filestat_set_size(number, size) }.map_err(errno);
        match target {
            Target::Handle(handle) => truncate(self.file(*handle)?.file.number()),
            Target::Path(path) => truncate(self.open_regular(path, Opening { read: false, write: true, oflags: 0, fdflags: 0 })?.number()),
        }
    }

    fn set_times(&self, target: &Target, accessed: Option<SetTime>, modified: Option<SetTime>) -> Result<()> {
        let (mut times, mut flags) = ([0; 2], 0);
        let bits = [(accessed, wasi::FSTFLAGS_ATIM, wasi::FSTFLAGS_ATIM_NOW), (modified, wasi::FSTFLAGS_MTIM, wasi::FSTFLAGS_MTIM_NOW)];
        for (slot, (time, given, now)) in times.iter_mut().zip(bits) {
            match time {
                None => {}
                Some(SetTime::Now) => flags |= now,
                Some(SetTime::To(time)) => {
                    *slot = nanoseconds(time)?;
                    flags |= given;
                }
            }
        }
        let [accessed, modified] = times;
        match target {
            Target::Handle(handle) => {
                // SAFETY: nothing is passed but numbers.
                unsafe { wasi::fd_filestat_set_times(self.file(*handle)?.file.number(), accessed, modified, flags) }.map_err(errno)
            }
            Target::Path(path) => {
                let (directory, name) = self.resolve(path)?;
                directory.set_times(name, times, flags)
            }
        }
    }
}

impl FileSystem for Folder {
    fn statistics(&mut self, _target: &Target) -> Result<Statistics> {
        Ok(ROOM)
    }

    fn attributes(&mut self, target: &Target) -> Result<Attributes> {
        let stat = self.stat(target)?;
        let kind = kind_of(stat.filetype);
        let is_directory = kind == FileKind::Directory;
        Ok(Attributes {
            kind,
            permissions: if is_directory { DIRECTORY_PERMISSIONS } else { PERMISSIONS },
            uid: ASKER,
            gid: ASKER,
            links: stat.nlink,
            device: DeviceNumber::default(),
            size: stat.size,
            blocks: stat.size.div_ceil(512),
            accessed: timestamp(stat.atim),
            modified: timestamp(stat.mtim),
            changed: timestamp(stat.ctim),
            version: content_version(&stat),
            identity: (!is_directory).then_some(FileIdentity { device: stat.dev, inode: stat.ino }),
        })
    }

    fn set_attributes(&mut self, target: &Target, changes: &SetAttributes) -> Result<()> {
        // Owners and permissions cannot be kept. Files belong to whoever asks anyway, and who sets permissions seldom depends on them.
        if let Some(size) = changes.size {
            self.truncate(target, size)?;
        }
        match (changes.accessed, changes.modified) {
            (None, None) => Ok(()),
            (accessed, modified) => self.set_times(target, accessed, modified),
        }
    }

    fn open(&mut self, path: &RelativePath, flags: OpenFlags) -> Result<Handle> {
        let file = self.open_regular(path, opening(flags))?;
        Ok(self.add(file, flags.append()))
    }

    fn create(&mut self, path: &RelativePath, flags: OpenFlags, _creation: &Creation) -> Result<Handle> {
        match self.create_regular(path, opening(flags)) {
            Ok(file) => Ok(self.add(file, flags.append())),
            Err(Errno::EEXIST) if !flags.exclusive() => self.open(path, flags),
            Err(error) => Err(error),
        }
    }

    fn close(&mut self, handle: Handle) {
        self.forget(handle);
    }

    fn read(&mut self, handle: Handle, offset: u64, bytes: &mut [u8]) -> Result<usize> {
        self.file(handle)?.file.read_at(bytes, offset)
    }

    fn write(&mut self, handle: Handle, offset: u64, bytes: &[u8]) -> Result<usize> {
        let open = self.file(handle)?;
        open.file.write_at(bytes, (!open.append).then_some(offset))
    }

    fn sync(&mut self, target: &Target, data_only: bool) -> Result<()> {
        // SAFETY: nothing is passed but a number.
        let sync = |number| unsafe { if data_only { wasi::fd_datasync(number) } else { wasi::fd_sync(number) } }.map_err(errno);
        match target {
            Target::Handle(handle) => sync(self.file(*handle)?.file.number()),
            Target::Path(path) => match self.open_directory(path) {
                Err(Errno::ENOTDIR) => {
                    let reading = Opening { read: true, write: false, oflags: 0, fdflags: 0 };
                    sync(self.open_regular(path, reading)?.number())
                }
                directory => sync(directory?.number()),
            },
        }
    }

    fn read_directory(&mut self, path: &RelativePath, each: &mut dyn FnMut(Name, FileKind) -> Result<()>) -> Result<()> {
        let directory = self.open_directory(path)?;
        let mut bytes = vec![0; ENTRIES];
        let mut cookie: wasi::Dircookie = 0;
        loop {
            let length = directory.read_entries(&mut bytes, cookie)?.min(ENTRIES);
            let mut rest = &bytes[..length];
            let before = cookie;
            while let Some((head, tail)) = rest.split_first_chunk::<ENTRY_HEAD>() {
                let [next, _inode, other] = *head.as_chunks::<8>().0 else { return Err(Errno::EIO) };
                let name_length = u32::from_le_bytes([other[0], other[1], other[2], other[3]]) as usize;
                // The last one may be cut off: it comes again.
                let Some((name, tail)) = tail.split_at_checked(name_length) else { break };
                cookie = u64::from_le_bytes(next);
                rest = tail;
                if !matches!(name, b"." | b"..") {
                    each(Name::new(name)?, entry_kind(other[4]))?;
                }
            }
            if length < ENTRIES {
                return Ok(());
            }
            if cookie == before {
                return Err(Errno::EIO);
            }
        }
    }

    fn read_symlink(&mut self, path: &RelativePath) -> Result<Vec<u8>> {
        let (directory, name) = self.resolve(path)?;
        let mut bytes = vec![0; LINK_ROOM];
        let length = directory.read_link(name, &mut bytes)?;
        if length >= LINK_ROOM {
            return Err(Errno::ENAMETOOLONG);
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    fn make_directory(&mut self, path: &RelativePath, _creation: &Creation) -> Result<()> {
        let (directory, name) = self.resolve_entry(path)?;
        directory.make_directory(name)
    }

    fn make_symlink(&mut self, path: &RelativePath, text: &[u8], _creation: &Creation) -> Result<()> {
        let (directory, name) = self.resolve_entry(path)?;
        directory.make_symlink(name, text)
    }

    fn make_node(&mut self, path: &RelativePath, kind: FileKind, _device: DeviceNumber, _creation: &Creation) -> Result<()> {
        match kind {
            FileKind::Regular => self.create_regular(path, Opening { read: false, write: true, oflags: 0, fdflags: 0 }).map(drop),
            FileKind::Directory | FileKind::Symlink => Err(Errno::EINVAL),
            _ => Err(Errno::EPERM),
        }
    }

    fn link(&mut self, existing: &RelativePath, path: &RelativePath) -> Result<()> {
        let (old_directory, old_name) = self.resolve(existing)?;
        let (directory, name) = self.resolve_entry(path)?;
        old_directory.link(old_name, &directory, name)
    }

    fn rename(&mut self, from: &RelativePath, to: &RelativePath) -> Result<()> {
        let (old_directory, old_name) = self.resolve_entry(from)?;
        let (directory, name) = self.resolve_entry(to)?;
        old_directory.rename(old_name, &directory, name)
    }

    fn remove_file(&mut self, path: &RelativePath) -> Result<()> {
        let (directory, name) = self.resolve_entry(path)?;
        directory.remove_file(name)
    }

    fn remove_directory(&mut self, path: &RelativePath) -> Result<()> {
        let (directory, name) = self.resolve_entry(path)?;
        directory.remove_directory(name)
    }

    fn xattr(&mut self, _target: &Target, _name: &[u8], _limit: usize) -> Result<Vec<u8>> {
        Err(Errno::EOPNOTSUPP)
    }

    fn xattr_names(&mut self, _target: &Target, _limit: usize) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn set_xattr(&mut self, _target: &Target, _name: &[u8], _value: &[u8], _mode: XattrMode) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn remove_xattr(&mut self, _target: &Target, _name: &[u8]) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
}

/// The kind of an entry, of which WASI gives the number.
fn entry_kind(number: u8) -> FileKind {
    [
        wasi::FILETYPE_DIRECTORY,
        wasi::FILETYPE_REGULAR_FILE,
        wasi::FILETYPE_SYMBOLIC_LINK,
        wasi::FILETYPE_BLOCK_DEVICE,
        wasi::FILETYPE_CHARACTER_DEVICE,
        wasi::FILETYPE_SOCKET_DGRAM,
        wasi::FILETYPE_SOCKET_STREAM,
    ]
    .into_iter()
    .find(|filetype| filetype.raw() == number)
    .map_or(FileKind::Fifo, kind_of)
}
