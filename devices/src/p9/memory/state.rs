//! The saved record of a file system in memory.

use super::{Content, Inode, InodeNumber, MemoryFs, OpenFile};
use crate::RestoreError;
use crate::p9::filesystem::PERMISSION_BITS;
use crate::p9::{DeviceNumber, FileKind, Handle, Name, Timestamp};
use snapshot::{Record, SectionId};
use std::collections::BTreeMap;

const DEVICE: &str = "file system in memory";

snapshot::saved! {
    /// A file system in memory. Untrusted.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct MemoryState {
        /// Bytes that it may keep.
        pub capacity: u64,
        /// Present: seconds since 1970.
        pub now_seconds: i64,
        /// Present: nanoseconds.
        pub now_nanoseconds: u32,
        /// Number of the next file.
        pub next_inode: u64,
        /// Number of the next handle.
        pub next_handle: u64,
        /// All files; 1 is the root.
        pub inodes: Vec<InodeState>,
        /// All open handles.
        pub handles: Vec<HandleState>,
    }

    /// A file. What does not go with its kind is empty or zero.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct InodeState {
        /// Number.
        pub inode: u64,
        /// `st_mode`.
        pub mode: u32,
        /// Owner.
        pub uid: u32,
        /// Group.
        pub gid: u32,
        /// Access, modification and change: seconds since 1970.
        pub seconds: [i64; 3],
        /// The same three: nanoseconds.
        pub nanoseconds: [u32; 3],
        /// Changes of content so far.
        pub version: u32,
        /// Extended attributes.
        pub xattrs: Vec<XattrState>,
        /// Content of a file, text of a symbolic link.
        pub data: Vec<u8>,
        /// Entries of a directory.
        pub entries: Vec<NamedInode>,
        /// Major and minor number of a device.
        pub device: [u32; 2],
    }

    /// An extended attribute.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct XattrState {
        /// Name.
        pub name: Vec<u8>,
        /// Value.
        pub value: Vec<u8>,
    }

    /// An entry of a directory.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct NamedInode {
        /// Name.
        pub name: Vec<u8>,
        /// The file.
        pub inode: u64,
    }

    /// An open file.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct HandleState {
        /// Number.
        pub handle: u64,
        /// The file.
        pub inode: u64,
        /// Whether writes go to its end.
        pub append: bool,
    }
}

impl Record for MemoryState {
    const ID: SectionId = SectionId::new(*b"MEMF");
    const VERSION: u16 = 1;
}

fn check(valid: bool, field: &'static str, found: u64, wanted: &'static str) -> Result<(), RestoreError> {
    RestoreError::check(valid, DEVICE, field, found, wanted)
}

fn wrong(field: &'static str, found: u64, wanted: &'static str) -> RestoreError {
    RestoreError::OutOfRange { device: DEVICE, field, found, wanted }
}

fn timestamp(seconds: i64, nanoseconds: u32) -> Result<Timestamp, RestoreError> {
    check(nanoseconds < 1_000_000_000, "nanoseconds", u64::from(nanoseconds), "below 10⁹")?;
    Ok(Timestamp { seconds, nanoseconds })
}

impl MemoryFs {
    /// The record of the whole file system and what is open in it.
    pub fn save(&self) -> MemoryState {
        let handle = |(handle, file): (&Handle, &OpenFile)| HandleState { handle: handle.get(), inode: file.inode.0, append: file.append };
        MemoryState {
            capacity: self.capacity,
            now_seconds: self.now.seconds,
            now_nanoseconds: self.now.nanoseconds,
            next_inode: self.next_inode,
            next_handle: self.next_handle,
            inodes: self.inodes.iter().map(|(number, inode)| inode.save(*number)).collect(),
            handles: self.handles.iter().map(handle).collect(),
        }
    }

    /// Rebuilds a file system. The record must describe a tree: each directory in one place, every file to be reached
    /// from the root or open, all within the capacity.
    pub fn restore(state: &MemoryState) -> Result<Self, RestoreError> {
        let mut inodes = BTreeMap::new();
        for saved in &state.inodes {
            let number = saved.inode;
            check((InodeNumber::ROOT.0..state.next_inode).contains(&number), "inode", number, "a number given before")?;
            let taken = inodes.insert(InodeNumber(number), Inode::restore(saved)?);
            check(taken.is_none(), "inode", number, "there once")?;
        }
        let mut handles = BTreeMap::new();
        for saved in &state.handles {
            let number = saved.handle;
            check(number < state.next_handle, "handle", number, "a number given before")?;
            let inode = InodeNumber(saved.inode);
            let file = inodes.get_mut(&inode).filter(|inode: &&mut Inode| inode.content.kind() == FileKind::Regular);
            file.ok_or(wrong("open file", saved.inode, "a regular file"))?.opens += 1;
            let taken = handles.insert(Handle::new(number), OpenFile { inode, append: saved.append });
            check(taken.is_none(), "handle", number, "there once")?;
        }
        let used = inodes.values().fold(0u64, |sum, inode| sum.saturating_add(inode.cost()));
        check(used <= state.capacity, "bytes used", used, "within the capacity")?;
        let mut this = Self {
            inodes,
            next_inode: state.next_inode,
            handles,
            next_handle: state.next_handle,
            now: timestamp(state.now_seconds, state.now_nanoseconds)?,
            capacity: state.capacity,
            used,
        };
        this.count_names()?;
        Ok(this)
    }

    /// Counts the names of each file from the root on, and finds whatever is not a tree on the way.
    fn count_names(&mut self) -> Result<(), RestoreError> {
        let root = self.inodes.get(&InodeNumber::ROOT).is_some_and(|root| root.content.kind() == FileKind::Directory);
        check(root, "root", InodeNumber::ROOT.0, "a directory")?;
        let mut open = vec![InodeNumber::ROOT];
        while let Some(directory) = open.pop() {
            let Ok(entries) = self.entries(directory).cloned() else { continue };
            for number in entries.into_values() {
                let inode = self.inodes.get_mut(&number);
                let inode = inode.ok_or(wrong("directory entry", number.0, "a file of this file system"))?;
                inode.names += 1;
                if inode.content.kind() == FileKind::Directory {
                    let first = inode.names == 1 && number != InodeNumber::ROOT;
                    check(first, "directory", number.0, "in one place only")?;
                    open.push(number);
                }
            }
        }
        for (number, inode) in &self.inodes {
            check(*number == InodeNumber::ROOT || inode.names > 0 || inode.opens > 0, "inode", number.0, "in a directory or open")?;
        }
        Ok(())
    }
}

impl Inode {
    fn save(&self, number: InodeNumber) -> InodeState {
        let times = [self.accessed, self.modified, self.changed];
        let (data, entries, device) = match &self.content {
            Content::Regular(bytes) | Content::Symlink(bytes) => (bytes.clone(), Vec::new(), DeviceNumber::default()),
            Content::Directory(entries) => {
                let entry = |(name, inode): (&Name, &InodeNumber)| NamedInode { name: name.as_bytes().to_vec(), inode: inode.0 };
                (Vec::new(), entries.iter().map(entry).collect(), DeviceNumber::default())
            }
            Content::Special(_, device) => (Vec::new(), Vec::new(), *device),
        };
        let xattr = |(name, value): (&Vec<u8>, &Vec<u8>)| XattrState { name: name.clone(), value: value.clone() };
        InodeState {
            inode: number.0,
            mode: self.content.kind().format_bits() | self.permissions,
            uid: self.uid,
            gid: self.gid,
            seconds: times.map(|time| time.seconds),
            nanoseconds: times.map(|time| time.nanoseconds),
            version: self.version,
            xattrs: self.xattrs.iter().map(xattr).collect(),
            data,
            entries,
            device: [device.major, device.minor],
        }
    }

    /// All but what leads to it.
    fn restore(state: &InodeState) -> Result<Self, RestoreError> {
        let kind = FileKind::from_mode(state.mode);
        let permissions = state.mode & PERMISSION_BITS;
        let known = kind.map(|kind| (kind, kind.format_bits() | permissions)).filter(|(_, mode)| *mode == state.mode);
        let (kind, _) = known.ok_or(wrong("mode", u64::from(state.mode), "a kind of file and permissions"))?;
        let device = DeviceNumber { major: state.device[0], minor: state.device[1] };
        let has_data = matches!(kind, FileKind::Regular | FileKind::Symlink);
        let has_device = matches!(kind, FileKind::CharacterDevice | FileKind::BlockDevice);
        let foreign = (!has_data && !state.data.is_empty())
            || (kind != FileKind::Directory && !state.entries.is_empty())
            || (!has_device && device != DeviceNumber::default());
        check(!foreign, "inode", state.inode, "with what goes with its kind alone")?;
        let mut entries = BTreeMap::new();
        for entry in &state.entries {
            let taken = Name::new(&entry.name).map(|name| entries.insert(name, InodeNumber(entry.inode)));
            check(taken == Ok(None), "directory entry", entry.inode, "under a name of its own")?;
        }
        let mut xattrs = BTreeMap::new();
        for xattr in &state.xattrs {
            let taken = xattrs.insert(xattr.name.clone(), xattr.value.clone());
            check(taken.is_none(), "extended attributes of inode", state.inode, "there once each")?;
        }
        let time = |index: usize| timestamp(state.seconds[index], state.nanoseconds[index]);
        Ok(Self {
            permissions,
            uid: state.uid,
            gid: state.gid,
            names: 0,
            opens: 0,
            accessed: time(0)?,
            modified: time(1)?,
            changed: time(2)?,
            version: state.version,
            xattrs,
            content: match kind {
                FileKind::Regular => Content::Regular(state.data.clone()),
                FileKind::Symlink => Content::Symlink(state.data.clone()),
                FileKind::Directory => Content::Directory(entries),
                special => Content::Special(special, device),
            },
        })
    }
}
