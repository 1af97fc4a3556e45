//! [`MemoryFs`] as a [`FileSystem`].

use super::{Content, Inode, MemoryFs, OpenFile, xattr_cost};
use crate::p9::{
    Attributes, Creation, DeviceNumber, Errno, FileKind, FileSystem, Handle, Name, OpenFlags, RelativePath, SetAttributes, SetTime,
    Statistics, Target, XattrMode,
};

const BLOCK_SIZE: u32 = 4096;

impl FileSystem for MemoryFs {
    fn statistics(&mut self, _target: &Target) -> Result<Statistics, Errno> {
        let free = (self.capacity - self.used) / u64::from(BLOCK_SIZE);
        let files_free = (self.capacity - self.used) / super::INODE_COST;
        Ok(Statistics {
            block_size: BLOCK_SIZE,
            blocks: self.capacity / u64::from(BLOCK_SIZE),
            blocks_free: free,
            blocks_available: free,
            files: self.inodes.len() as u64 + files_free,
            files_free,
        })
    }

    fn attributes(&mut self, target: &Target) -> Result<Attributes, Errno> {
        self.attributes_of(self.target(target)?)
    }

    fn set_attributes(&mut self, target: &Target, changes: &SetAttributes) -> Result<(), Errno> {
        let number = self.target(target)?;
        if let Some(size) = changes.size {
            self.set_length(number, size)?;
        }
        let now = self.now;
        let time = |change| match change {
            SetTime::Now => now,
            SetTime::To(time) => time,
        };
        let inode = self.inode_mut(number)?;
        inode.permissions = changes.permissions.unwrap_or(inode.permissions);
        inode.uid = changes.uid.unwrap_or(inode.uid);
        inode.gid = changes.gid.unwrap_or(inode.gid);
        inode.accessed = changes.accessed.map_or(inode.accessed, time);
        inode.modified = changes.modified.map_or(inode.modified, time);
        inode.changed = now;
        Ok(())
    }

    fn open(&mut self, path: &RelativePath, flags: OpenFlags) -> Result<Handle, Errno> {
        let number = self.resolve(path)?;
        match self.inode(number)?.content.kind() {
            FileKind::Regular => {}
            FileKind::Directory => return Err(Errno::EISDIR),
            FileKind::Symlink => return Err(Errno::ELOOP),
            _ => return Err(Errno::ENXIO),
        }
        if flags.truncate() {
            self.set_length(number, 0)?;
        }
        self.new_handle(number, flags.append())
    }

    fn open_again(&mut self, handle: Handle, flags: OpenFlags) -> Result<Handle, Errno> {
        let number = self.open_file(handle)?.inode;
        if flags.truncate() {
            self.set_length(number, 0)?;
        }
        self.new_handle(number, flags.append())
    }

    fn create(&mut self, path: &RelativePath, flags: OpenFlags, creation: &Creation) -> Result<Handle, Errno> {
        match self.make(path, Content::Regular(Vec::new()), creation) {
            Ok(number) => self.new_handle(number, flags.append()),
            Err(Errno::EEXIST) if !flags.exclusive() => self.open(path, flags),
            Err(errno) => Err(errno),
        }
    }

    fn close(&mut self, handle: Handle) {
        let Some(file) = self.handles.remove(&handle) else { return };
        if let Some(inode) = self.inodes.get_mut(&file.inode) {
            inode.opens -= 1;
        }
        self.end_if_unreachable(file.inode);
    }

    fn read(&mut self, handle: Handle, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        let inode = self.inode(self.open_file(handle)?.inode)?;
        let Content::Regular(content) = &inode.content else { return Err(Errno::EINVAL) };
        let rest = usize::try_from(offset).ok().and_then(|offset| content.get(offset..)).unwrap_or_default();
        let length = rest.len().min(bytes.len());
        bytes[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write(&mut self, handle: Handle, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let OpenFile { inode: number, append } = self.open_file(handle)?;
        if bytes.is_empty() {
            return Ok(0);
        }
        let size = self.inode(number)?.content.size();
        let start = if append { size } else { offset };
        let end = start.checked_add(bytes.len() as u64).ok_or(Errno::EFBIG)?;
        if end > size {
            self.set_length(number, end)?;
        }
        let start = usize::try_from(start).map_err(|_| Errno::EFBIG)?;
        self.change_content(number, |content| content[start..start + bytes.len()].copy_from_slice(bytes))?;
        Ok(bytes.len())
    }

    fn sync(&mut self, target: &Target, _data_only: bool) -> Result<(), Errno> {
        self.target(target).map(|_| ())
    }

    fn read_directory(&mut self, path: &RelativePath, each: &mut dyn FnMut(Name, FileKind) -> Result<(), Errno>) -> Result<(), Errno> {
        for (name, number) in self.entries(self.resolve(path)?)? {
            each(name.clone(), self.inode(*number)?.content.kind())?;
        }
        Ok(())
    }

    fn read_symlink(&mut self, path: &RelativePath) -> Result<Vec<u8>, Errno> {
        match &self.inode(self.resolve(path)?)?.content {
            Content::Symlink(text) => Ok(text.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn make_directory(&mut self, path: &RelativePath, creation: &Creation) -> Result<(), Errno> {
        self.make(path, Content::Directory(Default::default()), creation).map(|_| ())
    }

    fn make_symlink(&mut self, path: &RelativePath, text: &[u8], creation: &Creation) -> Result<(), Errno> {
        self.make(path, Content::Symlink(text.to_vec()), creation).map(|_| ())
    }

    fn make_node(&mut self, path: &RelativePath, kind: FileKind, device: DeviceNumber, creation: &Creation) -> Result<(), Errno> {
        let content = match kind {
            FileKind::Regular => Content::Regular(Vec::new()),
            FileKind::Directory | FileKind::Symlink => return Err(Errno::EINVAL),
            FileKind::CharacterDevice | FileKind::BlockDevice => Content::Special(kind, device),
            FileKind::Fifo | FileKind::Socket => Content::Special(kind, DeviceNumber::default()),
        };
        self.make(path, content, creation).map(|_| ())
    }

    fn link(&mut self, existing: &RelativePath, path: &RelativePath) -> Result<(), Errno> {
        let number = self.resolve(existing)?;
        if self.inode(number)?.content.kind() == FileKind::Directory {
            return Err(Errno::EPERM);
        }
        let (directory, name) = self.resolve_parent(path)?;
        if self.entries(directory)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.add_name(directory, name, number)
    }

    fn rename(&mut self, from: &RelativePath, to: &RelativePath) -> Result<(), Errno> {
        let (old_directory, old_name) = self.resolve_parent(from)?;
        let (new_directory, new_name) = self.resolve_parent(to)?;
        let moved = *self.entries(old_directory)?.get(old_name).ok_or(Errno::ENOENT)?;
        let moved_is_directory = self.inode(moved)?.content.kind() == FileKind::Directory;
        if moved_is_directory && to != from && to.components().starts_with(from.components()) {
            return Err(Errno::EINVAL);
        }
        match self.entries(new_directory)?.get(new_name).copied() {
            Some(replaced) if replaced == moved => return Ok(()),
            Some(replaced) => match (&self.inode(replaced)?.content, moved_is_directory) {
                (Content::Directory(entries), true) if !entries.is_empty() => return Err(Errno::ENOTEMPTY),
                (Content::Directory(_), false) => return Err(Errno::EISDIR),
                (Content::Directory(_), true) => self.remove_name(new_directory, new_name)?,
                (_, true) => return Err(Errno::ENOTDIR),
                (_, false) => self.remove_name(new_directory, new_name)?,
            },
            None => {}
        }
        // The new name first: the file must not be without one in between.
        self.add_name(new_directory, new_name, moved)?;
        self.remove_name(old_directory, old_name)
    }

    fn remove_file(&mut self, path: &RelativePath) -> Result<(), Errno> {
        match self.inode(self.resolve(path)?)?.content {
            Content::Directory(_) => Err(Errno::EISDIR),
            _ => self.remove_entry(path),
        }
    }

    fn remove_directory(&mut self, path: &RelativePath) -> Result<(), Errno> {
        match self.inode(self.resolve(path)?)?.content {
            Content::Directory(_) => self.remove_entry(path),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn xattr(&mut self, target: &Target, name: &[u8], limit: usize) -> Result<Vec<u8>, Errno> {
        let value = self.inode(self.target(target)?)?.xattrs.get(name).ok_or(Errno::ENODATA)?;
        if value.len() > limit { Err(Errno::ERANGE) } else { Ok(value.clone()) }
    }

    fn xattr_names(&mut self, target: &Target, limit: usize) -> Result<Vec<u8>, Errno> {
        let names = self.inode(self.target(target)?)?.xattrs.keys();
        let list: Vec<u8> = names.flat_map(|name| name.iter().copied().chain([0])).take(limit + 1).collect();
        if list.len() > limit { Err(Errno::ERANGE) } else { Ok(list) }
    }

    fn set_xattr(&mut self, target: &Target, name: &[u8], value: &[u8], mode: XattrMode) -> Result<(), Errno> {
        let number = self.target(target)?;
        let before = self.inode(number)?.xattrs.get(name).map(|before| xattr_cost(name, before));
        match (mode, before) {
            (XattrMode::Create, Some(_)) => return Err(Errno::EEXIST),
            (XattrMode::Replace, None) => return Err(Errno::ENODATA),
            _ => {}
        }
        self.charge(xattr_cost(name, value))?;
        self.used -= before.unwrap_or(0);
        let now = self.now;
        let inode: &mut Inode = self.inode_mut(number)?;
        inode.xattrs.insert(name.to_vec(), value.to_vec());
        inode.changed = now;
        Ok(())
    }

    fn remove_xattr(&mut self, target: &Target, name: &[u8]) -> Result<(), Errno> {
        let number = self.target(target)?;
        let now = self.now;
        let inode = self.inode_mut(number)?;
        let value = inode.xattrs.remove(name).ok_or(Errno::ENODATA)?;
        inode.changed = now;
        self.used -= xattr_cost(name, &value);
        Ok(())
    }

    fn is_saved(&self, handle: Handle) -> bool {
        self.handles.contains_key(&handle)
    }
}
