//! A file system that a guest can fill only so far.

use super::{
    Attributes, Creation, DeviceNumber, Errno, FileIdentity, FileKind, FileSystem, Handle, Name, OpenFlags, RelativePath, SetAttributes,
    Statistics, Target, XattrMode,
};
use std::collections::BTreeMap;

/// What every file, directory and link counts besides its content: the host's file system has something of each.
const FILE: u64 = 4096;
/// Most bytes of an extended attribute that is there already.
const XATTR_SIZE_MAX: usize = 65536;

type Result<T> = std::result::Result<T, Errno>;

/// A file system with a bound on what is added to it. The length of files counts, so that a hole counts as if it was filled, and what is removed is
/// given back. `ENOSPC` above the bound.
#[derive(Debug)]
pub struct Bounded<F> {
    inner: F,
    /// Bytes that may still be added; without a bound, any number.
    left: Option<u64>,
    /// Of each open file, which it is and whether every write goes to its end; nothing without a bound.
    open: BTreeMap<Handle, (Option<FileIdentity>, bool)>,
}

impl<F: FileSystem> Bounded<F> {
    /// Nothing is added yet of the `room` that there is.
    pub fn new(inner: F, room: Option<u64>) -> Self {
        Self { inner, left: room, open: BTreeMap::new() }
    }

    fn is_bounded(&self) -> bool {
        self.left.is_some()
    }

    /// `ENOSPC` if there is no room for so many bytes more.
    fn require(&self, bytes: u64) -> Result<()> {
        if self.left.is_none_or(|left| bytes <= left) { Ok(()) } else { Err(Errno::ENOSPC) }
    }

    /// What was so long before is now so long.
    fn count(&mut self, before: u64, after: u64) {
        self.left = self.left.map(|left| left.saturating_add(before).saturating_sub(after));
    }

    /// Attributes, where they matter.
    fn attributes_of(&mut self, target: &Target) -> Option<Attributes> {
        if self.is_bounded() { self.inner.attributes(target).ok() } else { None }
    }

    fn at(&mut self, path: &RelativePath) -> Option<Attributes> {
        self.attributes_of(&Target::Path(path.clone()))
    }

    fn opened(&mut self, handle: Handle, flags: OpenFlags) -> Handle {
        if let Some(attributes) = self.attributes_of(&Target::Handle(handle)) {
            self.open.insert(handle, (attributes.identity, flags.append()));
        }
        handle
    }

    /// Opens by `open` what was as in `before`, which may empty it.
    fn open_by(&mut self, before: Option<Attributes>, flags: OpenFlags, open: impl FnOnce(&mut F) -> Result<Handle>) -> Result<Handle> {
        let handle = open(&mut self.inner)?;
        if let Some(before) = before.filter(|_| flags.truncate()) {
            self.count(before.size, 0);
        }
        Ok(self.opened(handle, flags))
    }

    /// Makes something that counts only for being there.
    fn make(&mut self, make: impl FnOnce(&mut F) -> Result<()>) -> Result<()> {
        self.require(FILE)?;
        make(&mut self.inner)?;
        self.count(0, FILE);
        Ok(())
    }

    /// A name of what had these attributes is gone.
    fn removed(&mut self, gone: &Attributes) {
        self.count(FILE, 0);
        // An open file is there until it is closed. One that cannot be told from others may be open.
        let is_open = self.open.values().any(|(identity, _)| *identity == gone.identity);
        if gone.kind == FileKind::Regular && gone.links <= 1 && !is_open {
            self.count(gone.size, 0);
        }
    }
}

impl<F: FileSystem> FileSystem for Bounded<F> {
    fn statistics(&mut self, target: &Target) -> Result<Statistics> {
        let mut statistics = self.inner.statistics(target)?;
        if let Some(left) = self.left {
            let blocks = left / u64::from(statistics.block_size).max(1);
            statistics.blocks_free = statistics.blocks_free.min(blocks);
            statistics.blocks_available = statistics.blocks_available.min(blocks);
            statistics.files_free = statistics.files_free.min(left / FILE);
        }
        Ok(statistics)
    }

    fn attributes(&mut self, target: &Target) -> Result<Attributes> {
        self.inner.attributes(target)
    }

    fn set_attributes(&mut self, target: &Target, changes: &SetAttributes) -> Result<()> {
        let before = if changes.size.is_some() { self.attributes_of(target) } else { None };
        let sizes = before.and_then(|before| Some((before.size, changes.size?)));
        if let Some((before, after)) = sizes {
            self.require(after.saturating_sub(before))?;
        }
        self.inner.set_attributes(target, changes)?;
        if let Some((before, after)) = sizes {
            self.count(before, after);
        }
        Ok(())
    }

    fn open(&mut self, path: &RelativePath, flags: OpenFlags) -> Result<Handle> {
        let before = self.at(path);
        self.open_by(before, flags, |inner| inner.open(path, flags))
    }

    fn open_again(&mut self, handle: Handle, flags: OpenFlags) -> Result<Handle> {
        let before = self.attributes_of(&Target::Handle(handle));
        self.open_by(before, flags, |inner| inner.open_again(handle, flags))
    }

    fn create(&mut self, path: &RelativePath, flags: OpenFlags, creation: &Creation) -> Result<Handle> {
        let before = self.at(path);
        let counts = if before.is_none() { FILE } else { 0 };
        self.require(counts)?;
        let handle = self.open_by(before, flags, |inner| inner.create(path, flags, creation))?;
        self.count(0, counts);
        Ok(handle)
    }

    fn close(&mut self, handle: Handle) {
        if let Some((identity, _)) = self.open.remove(&handle)
            && let Some(attributes) = self.attributes_of(&Target::Handle(handle))
            && attributes.links == 0
            && !self.open.values().any(|(other, _)| *other == identity)
        {
            self.count(attributes.size, 0);
        }
        self.inner.close(handle);
    }

    fn read(&mut self, handle: Handle, offset: u64, bytes: &mut [u8]) -> Result<usize> {
        self.inner.read(handle, offset, bytes)
    }

    fn write(&mut self, handle: Handle, offset: u64, bytes: &[u8]) -> Result<usize> {
        let Some(left) = self.left else { return self.inner.write(handle, offset, bytes) };
        let before = self.inner.attributes(&Target::Handle(handle))?.size;
        let appends = self.open.get(&handle).is_some_and(|(_, appends)| *appends);
        let start = if appends { before } else { offset };
        // As much as there is room for, if that is any.
        let fits = usize::try_from(before.saturating_add(left).saturating_sub(start)).unwrap_or(usize::MAX).min(bytes.len());
        if fits == 0 && !bytes.is_empty() {
            return Err(Errno::ENOSPC);
        }
        let written = self.inner.write(handle, offset, &bytes[..fits])?;
        self.count(before, before.max(start.saturating_add(written as u64)));
        Ok(written)
    }

    fn sync(&mut self, target: &Target, data_only: bool) -> Result<()> {
        self.inner.sync(target, data_only)
    }

    fn read_directory(&mut self, path: &RelativePath, each: &mut dyn FnMut(Name, FileKind) -> Result<()>) -> Result<()> {
        self.inner.read_directory(path, each)
    }

    fn read_symlink(&mut self, path: &RelativePath) -> Result<Vec<u8>> {
        self.inner.read_symlink(path)
    }

    fn make_directory(&mut self, path: &RelativePath, creation: &Creation) -> Result<()> {
        self.make(|inner| inner.make_directory(path, creation))
    }

    fn make_symlink(&mut self, path: &RelativePath, text: &[u8], creation: &Creation) -> Result<()> {
        self.make(|inner| inner.make_symlink(path, text, creation))
    }

    fn make_node(&mut self, path: &RelativePath, kind: FileKind, device: DeviceNumber, creation: &Creation) -> Result<()> {
        self.make(|inner| inner.make_node(path, kind, device, creation))
    }

    fn link(&mut self, existing: &RelativePath, path: &RelativePath) -> Result<()> {
        self.make(|inner| inner.link(existing, path))
    }

    fn rename(&mut self, from: &RelativePath, to: &RelativePath) -> Result<()> {
        let replaced = self.at(to);
        self.inner.rename(from, to)?;
        // Of two names of one file both stay.
        if let Some(replaced) = replaced.filter(|_| self.at(from).is_none() && from != to) {
            self.removed(&replaced);
        }
        Ok(())
    }

    fn remove_file(&mut self, path: &RelativePath) -> Result<()> {
        let gone = self.at(path);
        self.inner.remove_file(path)?;
        gone.iter().for_each(|gone| self.removed(gone));
        Ok(())
    }

    fn remove_directory(&mut self, path: &RelativePath) -> Result<()> {
        self.inner.remove_directory(path)?;
        self.count(FILE, 0);
        Ok(())
    }

    fn xattr(&mut self, target: &Target, name: &[u8], limit: usize) -> Result<Vec<u8>> {
        self.inner.xattr(target, name, limit)
    }

    fn xattr_names(&mut self, target: &Target, limit: usize) -> Result<Vec<u8>> {
        self.inner.xattr_names(target, limit)
    }

    fn set_xattr(&mut self, target: &Target, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        let before = self.xattr_length(target, name);
        let after = (name.len() + value.len()) as u64;
        self.require(after.saturating_sub(before))?;
        self.inner.set_xattr(target, name, value, mode)?;
        self.count(before, after);
        Ok(())
    }

    fn remove_xattr(&mut self, target: &Target, name: &[u8]) -> Result<()> {
        let before = self.xattr_length(target, name);
        self.inner.remove_xattr(target, name)?;
        self.count(before, 0);
        Ok(())
    }

    fn is_saved(&self, handle: Handle) -> bool {
        self.inner.is_saved(handle)
    }
}

impl<F: FileSystem> Bounded<F> {
    /// Bytes of an extended attribute, if there is one.
    fn xattr_length(&mut self, target: &Target, name: &[u8]) -> u64 {
        if !self.is_bounded() {
            return 0;
        }
        self.inner.xattr(target, name, XATTR_SIZE_MAX).map_or(0, |value| (name.len() + value.len()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p9::MemoryFs;

    const WRITE: u32 = 1;
    const TRUNCATE: u32 = 0o1000;
    const APPEND: u32 = 0o2000;
    const CREATION: Creation = Creation { permissions: 0o644, uid: 0, gid: 0 };
    const ROOM: u64 = 10 * FILE;

    fn path(text: &str) -> RelativePath {
        RelativePath::parse(text).unwrap()
    }

    fn flags(bits: u32) -> OpenFlags {
        OpenFlags::new(bits).unwrap()
    }

    /// With a file of the host's.
    fn bounded() -> Bounded<MemoryFs> {
        let mut inner = MemoryFs::new(1 << 30);
        inner.write_file("host", &[1; 3 * FILE as usize]).unwrap();
        Bounded::new(inner, Some(ROOM))
    }

    fn left(fs: &Bounded<MemoryFs>) -> u64 {
        fs.left.unwrap()
    }

    #[test]
    fn a_file_grows_as_far_as_there_is_room_and_what_is_removed_is_given_back() {
        let mut fs = bounded();
        let file = fs.create(&path("f"), flags(WRITE), &CREATION).unwrap();
        let bytes = vec![7; ROOM as usize];
        assert_eq!(fs.write(file, 0, &bytes), Ok((ROOM - FILE) as usize));
        assert_eq!((left(&fs), fs.write(file, ROOM, b"x"), fs.write(file, u64::MAX, b"x")), (0, Err(Errno::ENOSPC), Err(Errno::ENOSPC)));
        // What is there is written as before.
        assert_eq!(fs.write(file, 5, b"abc"), Ok(3));
        assert_eq!(fs.create(&path("g"), flags(WRITE), &CREATION), Err(Errno::ENOSPC));
        assert_eq!(fs.make_directory(&path("d"), &CREATION), Err(Errno::ENOSPC));
        assert_eq!(fs.make_symlink(&path("s"), b"f", &CREATION), Err(Errno::ENOSPC));
        assert_eq!(fs.link(&path("f"), &path("l")), Err(Errno::ENOSPC));
        assert_eq!(fs.statistics(&Target::Path(path(""))).unwrap().blocks_available, 0);
        // It is there until it is closed.
        fs.remove_file(&path("f")).unwrap();
        assert_eq!(left(&fs), FILE);
        fs.close(file);
        assert_eq!(left(&fs), ROOM);
        fs.open(&path("host"), flags(WRITE | TRUNCATE)).unwrap();
        assert_eq!(left(&fs), ROOM + 3 * FILE);
    }

    #[test]
    fn a_hole_and_what_is_appended_count_as_any_content() {
        let mut fs = bounded();
        let size = |size| SetAttributes { size: Some(size), ..SetAttributes::default() };
        let target = Target::Path(path("host"));
        assert_eq!(fs.set_attributes(&target, &size(3 * FILE + ROOM + 1)), Err(Errno::ENOSPC));
        fs.set_attributes(&target, &size(3 * FILE + ROOM - 2)).unwrap();
        let file = fs.open(&path("host"), flags(WRITE | APPEND)).unwrap();
        assert_eq!((fs.write(file, 0, b"abc"), fs.write(file, 0, b"abc")), (Ok(2), Err(Errno::ENOSPC)));
        let again = fs.open_again(file, flags(WRITE | APPEND));
        assert!(again.is_err() || fs.write(again.unwrap(), 0, b"abc") == Err(Errno::ENOSPC));
        fs.set_attributes(&target, &size(0)).unwrap();
        assert_eq!(left(&fs), ROOM + 3 * FILE);
    }

    #[test]
    fn names_and_attributes_count() {
        let mut fs = bounded();
        fs.make_directory(&path("d"), &CREATION).unwrap();
        fs.link(&path("host"), &path("d/l")).unwrap();
        assert_eq!(left(&fs), ROOM - 2 * FILE);
        // One of two names.
        fs.remove_file(&path("host")).unwrap();
        assert_eq!(left(&fs), ROOM - FILE);
        let file = fs.create(&path("f"), flags(WRITE), &CREATION).unwrap();
        fs.write(file, 0, &[1; 100]).unwrap();
        fs.close(file);
        assert_eq!(left(&fs), ROOM - 2 * FILE - 100);
        // What is replaced is gone.
        fs.rename(&path("f"), &path("d/l")).unwrap();
        assert_eq!(left(&fs), ROOM - FILE - 100 + 3 * FILE);
        fs.rename(&path("d/l"), &path("d/l")).unwrap();
        fs.remove_file(&path("d/l")).unwrap();
        fs.remove_directory(&path("d")).unwrap();
        assert_eq!(left(&fs), ROOM + 4 * FILE);
        let target = Target::Path(path(""));
        fs.set_xattr(&target, b"user.a", &[0; 94], XattrMode::CreateOrReplace).unwrap();
        fs.set_xattr(&target, b"user.a", &[0; 44], XattrMode::CreateOrReplace).unwrap();
        assert_eq!(left(&fs), ROOM + 4 * FILE - 50);
        fs.remove_xattr(&target, b"user.a").unwrap();
        assert_eq!(left(&fs), ROOM + 4 * FILE);
    }

    #[test]
    fn without_a_bound_nothing_is_counted() {
        let mut fs = Bounded::new(MemoryFs::new(1 << 20), None);
        let file = fs.create(&path("f"), flags(WRITE), &CREATION).unwrap();
        assert_eq!(fs.write(file, 0, &[1; 1000]), Ok(1000));
        assert!(fs.open.is_empty() && fs.left.is_none());
    }
}
