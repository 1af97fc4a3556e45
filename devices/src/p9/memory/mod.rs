//! A file system in memory, which the host side can change while the guest has it mounted.

mod filesystem;
mod state;
#[cfg(test)]
mod tests;

pub use state::{HandleState, InodeState, MemoryState, NamedInode, XattrState};

use super::{Attributes, Creation, DeviceNumber, Errno, FileKind, Handle, Name, RelativePath, Target, Timestamp};
use std::collections::BTreeMap;

/// What a file counts against the capacity besides its content, and a name or an attribute besides its bytes.
const INODE_COST: u64 = 256;
const NAME_COST: u64 = 64;

/// The number of a file, for as long as it exists; not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct InodeNumber(u64);

impl InodeNumber {
    const ROOT: Self = Self(1);
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Regular(Vec<u8>),
    Directory(BTreeMap<Name, InodeNumber>),
    Symlink(Vec<u8>),
    /// Everything else: the guest's kernel gives it its meaning.
    Special(FileKind, DeviceNumber),
}

impl Content {
    fn kind(&self) -> FileKind {
        match self {
            Self::Regular(_) => FileKind::Regular,
            Self::Directory(_) => FileKind::Directory,
            Self::Symlink(_) => FileKind::Symlink,
            Self::Special(kind, _) => *kind,
        }
    }

    /// Bytes of content, as `st_size` gives them.
    fn size(&self) -> u64 {
        match self {
            Self::Regular(bytes) | Self::Symlink(bytes) => bytes.len() as u64,
            Self::Directory(_) | Self::Special(..) => 0,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inode {
    permissions: u32,
    uid: u32,
    gid: u32,
    /// Names that lead here. The root has none, and stays.
    names: u64,
    /// Handles that have it open.
    opens: u64,
    accessed: Timestamp,
    modified: Timestamp,
    changed: Timestamp,
    /// Counts changes of the content.
    version: u32,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    content: Content,
}

impl Inode {
    fn new(content: Content, creation: &Creation, now: Timestamp) -> Self {
        let Creation { permissions, uid, gid } = *creation;
        let (names, opens, version, xattrs) = (0, 0, 0, BTreeMap::new());
        Self { permissions, uid, gid, names, opens, accessed: now, modified: now, changed: now, version, xattrs, content }
    }

    fn content_changed(&mut self, now: Timestamp) {
        self.version = self.version.wrapping_add(1);
        self.modified = now;
        self.changed = now;
    }

    /// What the inode counts against the capacity, with the names that it gives and without those that lead to it.
    fn cost(&self) -> u64 {
        let entries: u64 = match &self.content {
            Content::Directory(entries) => entries.keys().map(name_cost).sum(),
            _ => self.content.size(),
        };
        let xattrs: u64 = self.xattrs.iter().map(|(name, value)| xattr_cost(name, value)).sum();
        INODE_COST + entries + xattrs
    }
}

fn name_cost(name: &Name) -> u64 {
    name.as_bytes().len() as u64 + NAME_COST
}

fn xattr_cost(name: &[u8], value: &[u8]) -> u64 {
    (name.len() + value.len()) as u64 + NAME_COST
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OpenFile {
    inode: InodeNumber,
    append: bool,
}

/// A file system in memory. Its capacity bounds all that it keeps: contents, names, attributes.
///
/// Times are [`set_time`](Self::set_time)'s, so that equal inputs leave equal bytes; reading leaves the access time alone.
/// It is saved and restored whole, with its open handles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryFs {
    inodes: BTreeMap<InodeNumber, Inode>,
    next_inode: u64,
    handles: BTreeMap<Handle, OpenFile>,
    next_handle: u64,
    now: Timestamp,
    capacity: u64,
    used: u64,
}

impl MemoryFs {
    /// An empty file system of `capacity` bytes.
    pub fn new(capacity: u64) -> Self {
        let now = Timestamp::default();
        let root = Inode::new(Content::Directory(BTreeMap::new()), &Creation { permissions: 0o755, uid: 0, gid: 0 }, now);
        Self {
            inodes: BTreeMap::from([(InodeNumber::ROOT, root)]),
            next_inode: InodeNumber::ROOT.0 + 1,
            handles: BTreeMap::new(),
            next_handle: 1,
            now,
            capacity,
            used: INODE_COST,
        }
    }

    /// The time that changes are stamped with from now on. At first it is 1970.
    pub fn set_time(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Gives the file at `path` (names separated by `/`) this content. It is made, readable by root alone, if it is not
    /// there; its directory must be. `ENOSPC` beyond the capacity.
    pub fn write_file(&mut self, path: &str, bytes: &[u8]) -> Result<(), Errno> {
        let path = RelativePath::parse(path)?;
        let number = match self.resolve(&path) {
            Err(Errno::ENOENT) => {
                let creation = Creation { permissions: 0o600, uid: 0, gid: 0 };
                self.make(&path, Content::Regular(Vec::new()), &creation)?
            }
            found => found?,
        };
        self.set_length(number, bytes.len() as u64)?;
        self.change_content(number, |content| content.copy_from_slice(bytes))
    }

    /// The content of the regular file at `path`.
    pub fn read_file(&self, path: &str) -> Result<&[u8], Errno> {
        let number = self.resolve(&RelativePath::parse(path)?)?;
        match &self.inode(number)?.content {
            Content::Regular(bytes) => Ok(bytes),
            Content::Directory(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Removes the file, link or empty directory at `path`.
    pub fn remove(&mut self, path: &str) -> Result<(), Errno> {
        self.remove_entry(&RelativePath::parse(path)?)
    }

    fn inode(&self, number: InodeNumber) -> Result<&Inode, Errno> {
        self.inodes.get(&number).ok_or(Errno::ESTALE)
    }

    fn inode_mut(&mut self, number: InodeNumber) -> Result<&mut Inode, Errno> {
        self.inodes.get_mut(&number).ok_or(Errno::ESTALE)
    }

    fn entries(&self, number: InodeNumber) -> Result<&BTreeMap<Name, InodeNumber>, Errno> {
        match &self.inode(number)?.content {
            Content::Directory(entries) => Ok(entries),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn resolve(&self, path: &RelativePath) -> Result<InodeNumber, Errno> {
        self.resolve_names(path.components())
    }

    fn resolve_names(&self, names: &[Name]) -> Result<InodeNumber, Errno> {
        names.iter().try_fold(InodeNumber::ROOT, |at, name| self.entries(at)?.get(name).copied().ok_or(Errno::ENOENT))
    }

    /// The directory that a path's last name is in, and that name; `EBUSY` of the root.
    fn resolve_parent<'a>(&self, path: &'a RelativePath) -> Result<(InodeNumber, &'a Name), Errno> {
        let (name, directory) = path.components().split_last().ok_or(Errno::EBUSY)?;
        let directory = self.resolve_names(directory)?;
        self.entries(directory)?;
        Ok((directory, name))
    }

    fn open_file(&self, handle: Handle) -> Result<OpenFile, Errno> {
        self.handles.get(&handle).copied().ok_or(Errno::EBADF)
    }

    fn target(&self, target: &Target) -> Result<InodeNumber, Errno> {
        match target {
            Target::Path(path) => self.resolve(path),
            Target::Handle(handle) => Ok(self.open_file(*handle)?.inode),
        }
    }

    fn attributes_of(&self, number: InodeNumber) -> Result<Attributes, Errno> {
        let inode = self.inode(number)?;
        let size = inode.content.size();
        Ok(Attributes {
            identity: None,
            kind: inode.content.kind(),
            permissions: inode.permissions,
            uid: inode.uid,
            gid: inode.gid,
            links: match inode.content {
                // What is said of a directory whose subdirectories are not counted.
                Content::Directory(_) => 1,
                _ => inode.names,
            },
            device: match inode.content {
                Content::Special(_, device) => device,
                _ => DeviceNumber::default(),
            },
            size,
            blocks: size.div_ceil(512),
            accessed: inode.accessed,
            modified: inode.modified,
            changed: inode.changed,
            version: inode.version,
        })
    }

    /// Takes `cost` from the capacity.
    fn charge(&mut self, cost: u64) -> Result<(), Errno> {
        let used = self.used.checked_add(cost).filter(|used| *used <= self.capacity);
        self.used = used.ok_or(Errno::ENOSPC)?;
        Ok(())
    }

    /// Adds a name for a file to a directory, where it is not yet, and pays for it.
    fn add_name(&mut self, directory: InodeNumber, name: &Name, number: InodeNumber) -> Result<(), Errno> {
        let now = self.now;
        self.charge(name_cost(name))?;
        let inode = self.inode_mut(directory)?;
        if let Content::Directory(entries) = &mut inode.content {
            entries.insert(name.clone(), number);
        }
        inode.content_changed(now);
        let inode = self.inode_mut(number)?;
        inode.names += 1;
        inode.changed = now;
        Ok(())
    }

    /// Takes a name from a directory, and ends the file if that was the last way to it.
    fn remove_name(&mut self, directory: InodeNumber, name: &Name) -> Result<(), Errno> {
        let now = self.now;
        let inode = self.inode_mut(directory)?;
        let Content::Directory(entries) = &mut inode.content else { return Err(Errno::ENOTDIR) };
        let number = entries.remove(name).ok_or(Errno::ENOENT)?;
        inode.content_changed(now);
        self.used -= name_cost(name);
        let inode = self.inode_mut(number)?;
        inode.names -= 1;
        inode.changed = now;
        self.end_if_unreachable(number);
        Ok(())
    }

    fn end_if_unreachable(&mut self, number: InodeNumber) {
        let unreachable = self.inodes.get(&number).is_some_and(|inode| inode.names == 0 && inode.opens == 0);
        if unreachable
            && number != InodeNumber::ROOT
            && let Some(inode) = self.inodes.remove(&number)
        {
            self.used -= inode.cost();
        }
    }

    /// Makes a file where there is none.
    fn make(&mut self, path: &RelativePath, content: Content, creation: &Creation) -> Result<InodeNumber, Errno> {
        let (directory, name) = match self.resolve_parent(path) {
            Err(Errno::EBUSY) => return Err(Errno::EEXIST),
            found => found?,
        };
        if self.entries(directory)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let number = InodeNumber(self.next_inode);
        let next = self.next_inode.checked_add(1).ok_or(Errno::ENOSPC)?;
        let inode = Inode::new(content, creation, self.now);
        let cost = inode.cost();
        if self.used + cost + name_cost(name) > self.capacity {
            return Err(Errno::ENOSPC);
        }
        self.charge(cost)?;
        self.inodes.insert(number, inode);
        self.next_inode = next;
        self.add_name(directory, name, number)?;
        Ok(number)
    }

    /// Removes the name at `path`, of anything but a directory with entries.
    fn remove_entry(&mut self, path: &RelativePath) -> Result<(), Errno> {
        let (directory, name) = self.resolve_parent(path)?;
        let number = *self.entries(directory)?.get(name).ok_or(Errno::ENOENT)?;
        match &self.inode(number)?.content {
            Content::Directory(entries) if !entries.is_empty() => Err(Errno::ENOTEMPTY),
            _ => self.remove_name(directory, name),
        }
    }

    fn new_handle(&mut self, inode: InodeNumber, append: bool) -> Result<Handle, Errno> {
        let handle = Handle::new(self.next_handle);
        self.next_handle = self.next_handle.checked_add(1).ok_or(Errno::ENFILE)?;
        self.inode_mut(inode)?.opens += 1;
        self.handles.insert(handle, OpenFile { inode, append });
        Ok(handle)
    }

    /// Cuts a regular file to this length, or extends it by zeros.
    fn set_length(&mut self, number: InodeNumber, length: u64) -> Result<(), Errno> {
        let inode = self.inode(number)?;
        match inode.content {
            Content::Regular(_) => {}
            Content::Directory(_) => return Err(Errno::EISDIR),
            _ => return Err(Errno::EINVAL),
        }
        let before = inode.content.size();
        let new_len = usize::try_from(length).map_err(|_| Errno::EFBIG)?;
        match length.checked_sub(before) {
            Some(more) => self.charge(more)?,
            None => self.used -= before - length,
        }
        let now = self.now;
        let inode = self.inode_mut(number)?;
        if let Content::Regular(bytes) = &mut inode.content {
            bytes.resize(new_len, 0);
        }
        inode.content_changed(now);
        Ok(())
    }

    /// Lets `change` write over the bytes of a regular file.
    fn change_content(&mut self, number: InodeNumber, change: impl FnOnce(&mut [u8])) -> Result<(), Errno> {
        let now = self.now;
        let inode = self.inode_mut(number)?;
        let Content::Regular(bytes) = &mut inode.content else { return Err(Errno::EINVAL) };
        change(bytes);
        inode.content_changed(now);
        Ok(())
    }
}
