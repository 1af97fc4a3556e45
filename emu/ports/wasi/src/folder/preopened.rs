//! All folders that the runtime has opened in advance, as one tree.

use super::Folder;
use super::call::Result;
use devices::p9::{
    Attributes, Creation, DeviceNumber, Errno, FileKind, FileSystem, Handle, Name, OpenFlags, RelativePath, SetAttributes, Statistics,
    Target, Timestamp, XattrMode,
};
use std::collections::BTreeMap;

/// The first descriptor that may be a folder.
const FIRST: wasi::Fd = 3;
/// Where a folder is that the runtime calls `.` or `/`.
const UNNAMED: &[u8] = b"host";
/// Longest name of a folder that is looked at.
const MAX_NAME: usize = 4096;

/// The runtime's folders, each at the path that the runtime gives it. What is above them is made up and cannot be changed.
#[derive(Debug)]
pub struct Preopened {
    folders: Vec<(RelativePath, Folder)>,
    /// Whose the open files are, and what they are there.
    handles: BTreeMap<Handle, (usize, Handle)>,
    next_handle: u64,
}

/// What is at a path.
enum Place {
    /// The file with this path in the folder with this number.
    Inside(usize, RelativePath),
    /// A made-up directory.
    Above,
}

impl Preopened {
    /// Those of the runtime that this module runs in.
    pub fn of_runtime() -> Self {
        let mut folders: Vec<(RelativePath, Folder)> = Vec::new();
        for number in FIRST.. {
            // SAFETY: nothing is passed but a number.
            let Ok(prestat) = (unsafe { wasi::fd_prestat_get(number) }) else { break };
            if prestat.tag != wasi::PREOPENTYPE_DIR.raw() {
                continue;
            }
            // SAFETY: the tag says which member it is.
            let length = unsafe { prestat.u.dir }.pr_name_len;
            let mut name = vec![0; length.min(MAX_NAME)];
            // SAFETY: the buffer may be written.
            if unsafe { wasi::fd_prestat_dir_name(number, name.as_mut_ptr(), name.len()) }.is_err() {
                continue;
            }
            if let Ok(path) = place_of(&name)
                && folders.iter().all(|(taken, _)| *taken != path)
            {
                folders.push((path, Folder::of_descriptor(number)));
            }
        }
        // The innermost first, for it hides what the outer one has there.
        folders.sort_by_key(|(path, _)| std::cmp::Reverse(path.components().len()));
        Self { folders, handles: BTreeMap::new(), next_handle: 1 }
    }

    /// Where the folders are, outermost first.
    pub fn paths(&self) -> Vec<String> {
        let text = |path: &RelativePath| {
            let names = path.components().iter().map(|name| String::from_utf8_lossy(name.as_bytes()));
            names.collect::<Vec<_>>().join("/")
        };
        self.folders.iter().rev().map(|(path, _)| text(path)).collect()
    }

    fn locate(&self, path: &RelativePath) -> Result<Place> {
        let names = path.components();
        for (number, (at, _)) in self.folders.iter().enumerate() {
            if let Some(rest) = names.strip_prefix(at.components()) {
                return Ok(Place::Inside(number, RelativePath::new(rest.to_vec())?));
            }
        }
        let is_above = names.is_empty() || self.folders.iter().any(|(at, _)| at.components().starts_with(names));
        if is_above { Ok(Place::Above) } else { Err(Errno::ENOENT) }
    }

    /// The folder and the path in it of what is to be changed.
    fn changeable(&mut self, path: &RelativePath) -> Result<(usize, RelativePath)> {
        match self.locate(path) {
            Ok(Place::Inside(number, rest)) => Ok((number, rest)),
            Ok(Place::Above) | Err(_) => Err(Errno::EROFS),
        }
    }

    fn folder(&mut self, number: usize) -> Result<&mut Folder> {
        self.folders.get_mut(number).map(|(_, folder)| folder).ok_or(Errno::ESTALE)
    }

    fn changing(&mut self, path: &RelativePath) -> Result<(&mut Folder, RelativePath)> {
        let (number, rest) = self.changeable(path)?;
        Ok((self.folder(number)?, rest))
    }

    /// The folder of an open file, and the file's handle there.
    fn opened(&mut self, handle: Handle) -> Result<(&mut Folder, Handle)> {
        let (number, inner) = *self.handles.get(&handle).ok_or(Errno::EBADF)?;
        Ok((self.folder(number)?, inner))
    }

    /// The folder of a file, and the file there; `None` above the folders.
    fn target(&mut self, target: &Target) -> Result<Option<(&mut Folder, Target)>> {
        match target {
            Target::Handle(handle) => {
                let (folder, handle) = self.opened(*handle)?;
                Ok(Some((folder, Target::Handle(handle))))
            }
            Target::Path(path) => match self.locate(path)? {
                Place::Inside(number, rest) => Ok(Some((self.folder(number)?, Target::Path(rest)))),
                Place::Above => Ok(None),
            },
        }
    }

    fn add(&mut self, number: usize, inner: Handle) -> Handle {
        let handle = Handle::new(self.next_handle);
        self.next_handle += 1;
        self.handles.insert(handle, (number, inner));
        handle
    }

    /// Both paths in the folder that they share.
    fn pair(&mut self, from: &RelativePath, to: &RelativePath) -> Result<(&mut Folder, RelativePath, RelativePath)> {
        let ((number, from), (other, to)) = (self.changeable(from)?, self.changeable(to)?);
        if number != other {
            return Err(Errno::EXDEV);
        }
        Ok((self.folder(number)?, from, to))
    }
}

/// The path of a folder that the runtime calls `name`, from the root on.
fn place_of(name: &[u8]) -> Result<RelativePath> {
    let names = name.split(|&byte| byte == b'/').filter(|name| !matches!(*name, [] | [b'.'] | [b'.', b'.']));
    let mut names = names.map(Name::new).collect::<Result<Vec<_>>>()?;
    if names.is_empty() {
        names.push(Name::new(UNNAMED)?);
    }
    RelativePath::new(names)
}

impl FileSystem for Preopened {
    fn statistics(&mut self) -> Result<Statistics> {
        Ok(Statistics { block_size: 4096, blocks: 0, blocks_free: 0, blocks_available: 0, files: 0, files_free: 0 })
    }

    fn attributes(&mut self, target: &Target) -> Result<Attributes> {
        let time = Timestamp::default();
        match self.target(target)? {
            Some((folder, target)) => folder.attributes(&target),
            None => Ok(Attributes {
                kind: FileKind::Directory,
                permissions: 0o555,
                uid: 0,
                gid: 0,
                links: 1,
                device: DeviceNumber::default(),
                size: 0,
                blocks: 0,
                accessed: time,
                modified: time,
                changed: time,
                version: 0,
            }),
        }
    }

    fn set_attributes(&mut self, target: &Target, changes: &SetAttributes) -> Result<()> {
        let (folder, target) = self.target(target)?.ok_or(Errno::EROFS)?;
        folder.set_attributes(&target, changes)
    }

    fn open(&mut self, path: &RelativePath, flags: OpenFlags) -> Result<Handle> {
        let Place::Inside(number, rest) = self.locate(path)? else { return Err(Errno::EISDIR) };
        let inner = self.folder(number)?.open(&rest, flags)?;
        Ok(self.add(number, inner))
    }

    fn create(&mut self, path: &RelativePath, flags: OpenFlags, creation: &Creation) -> Result<Handle> {
        let (number, rest) = self.changeable(path)?;
        let inner = self.folder(number)?.create(&rest, flags, creation)?;
        Ok(self.add(number, inner))
    }

    fn close(&mut self, handle: Handle) {
        if let Ok((folder, inner)) = self.opened(handle) {
            folder.close(inner);
        }
        self.handles.remove(&handle);
    }

    fn read(&mut self, handle: Handle, offset: u64, bytes: &mut [u8]) -> Result<usize> {
        let (folder, inner) = self.opened(handle)?;
        folder.read(inner, offset, bytes)
    }

    fn write(&mut self, handle: Handle, offset: u64, bytes: &[u8]) -> Result<usize> {
        let (folder, inner) = self.opened(handle)?;
        folder.write(inner, offset, bytes)
    }

    fn sync(&mut self, target: &Target, data_only: bool) -> Result<()> {
        match self.target(target)? {
            Some((folder, target)) => folder.sync(&target, data_only),
            None => Ok(()),
        }
    }

    fn read_directory(&mut self, path: &RelativePath, each: &mut dyn FnMut(Name, FileKind) -> Result<()>) -> Result<()> {
        if let Place::Inside(number, rest) = self.locate(path)? {
            return self.folder(number)?.read_directory(&rest, each);
        }
        let depth = path.components().len();
        let below = self.folders.iter().filter(|(at, _)| at.components().starts_with(path.components()));
        let mut names: Vec<&Name> = below.filter_map(|(at, _)| at.components().get(depth)).collect();
        names.sort();
        names.dedup();
        names.into_iter().try_for_each(|name| each(name.clone(), FileKind::Directory))
    }

    fn read_symlink(&mut self, path: &RelativePath) -> Result<Vec<u8>> {
        let Place::Inside(number, rest) = self.locate(path)? else { return Err(Errno::EINVAL) };
        self.folder(number)?.read_symlink(&rest)
    }

    fn make_directory(&mut self, path: &RelativePath, creation: &Creation) -> Result<()> {
        let (folder, path) = self.changing(path)?;
        folder.make_directory(&path, creation)
    }

    fn make_symlink(&mut self, path: &RelativePath, text: &[u8], creation: &Creation) -> Result<()> {
        let (folder, path) = self.changing(path)?;
        folder.make_symlink(&path, text, creation)
    }

    fn make_node(&mut self, path: &RelativePath, kind: FileKind, device: DeviceNumber, creation: &Creation) -> Result<()> {
        let (folder, path) = self.changing(path)?;
        folder.make_node(&path, kind, device, creation)
    }

    fn link(&mut self, existing: &RelativePath, path: &RelativePath) -> Result<()> {
        let (folder, existing, path) = self.pair(existing, path)?;
        folder.link(&existing, &path)
    }

    fn rename(&mut self, from: &RelativePath, to: &RelativePath) -> Result<()> {
        let (folder, from, to) = self.pair(from, to)?;
        folder.rename(&from, &to)
    }

    fn remove_file(&mut self, path: &RelativePath) -> Result<()> {
        let (folder, path) = self.changing(path)?;
        folder.remove_file(&path)
    }

    fn remove_directory(&mut self, path: &RelativePath) -> Result<()> {
        let (folder, path) = self.changing(path)?;
        folder.remove_directory(&path)
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
