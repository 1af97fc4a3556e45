//! Several file systems as one tree, each at a place of its own.

use super::{
    Access, Attributes, Creation, DeviceNumber, Errno, FileKind, FileSystem, Handle, Name, OpenFlags, RelativePath, SetAttributes,
    Statistics, Target, Timestamp, XattrMode,
};
use std::collections::BTreeMap;

/// A file system in the tree.
#[derive(Debug)]
pub struct Branch<F> {
    /// Where it is: not the root.
    pub path: RelativePath,
    /// The file system.
    pub filesystem: F,
    /// What of it is there: all, or one file.
    pub file: Option<Name>,
    /// What the guest may do with it.
    pub access: Access,
}

/// File systems, each at its path. A folder that is above one, and in none or missing there, is made up and cannot be changed.
#[derive(Debug)]
pub struct Tree<F> {
    /// The innermost first, for it hides what the outer one has there.
    branches: Vec<Branch<F>>,
    /// Whose the open files are, and what they are there.
    handles: BTreeMap<Handle, (usize, Handle)>,
    next_handle: u64,
}

impl<F> Default for Tree<F> {
    fn default() -> Self {
        Self { branches: Vec::new(), handles: BTreeMap::new(), next_handle: 1 }
    }
}

type Result<T> = std::result::Result<T, Errno>;

/// What is at a path.
enum Place {
    /// The file with this path in the branch with this number.
    Inside(usize, RelativePath),
    /// A made-up folder.
    Above,
}

impl<F: FileSystem> Tree<F> {
    /// A tree of these. `EINVAL` for one at the root, `EEXIST` for two at one place.
    pub fn new(mut branches: Vec<Branch<F>>) -> Result<Self> {
        if branches.iter().any(|branch| branch.path.components().is_empty()) {
            return Err(Errno::EINVAL);
        }
        let is_taken = |(number, branch): (usize, &Branch<F>)| branches[..number].iter().any(|before| before.path == branch.path);
        if branches.iter().enumerate().any(is_taken) {
            return Err(Errno::EEXIST);
        }
        branches.sort_by_key(|branch| std::cmp::Reverse(branch.path.components().len()));
        Ok(Self { branches, ..Self::default() })
    }

    /// The branches, outermost first.
    pub fn branches(&self) -> impl Iterator<Item = &Branch<F>> {
        self.branches.iter().rev()
    }

    fn locate(&self, path: &RelativePath) -> Result<Place> {
        let names = path.components();
        for (number, branch) in self.branches.iter().enumerate() {
            if let Some(rest) = names.strip_prefix(branch.path.components()) {
                let inner = branch.file.iter().chain(rest).cloned().collect();
                return Ok(Place::Inside(number, RelativePath::new(inner)?));
            }
        }
        let is_above = names.is_empty() || self.branches.iter().any(|branch| branch.path.components().starts_with(names));
        if is_above { Ok(Place::Above) } else { Err(Errno::ENOENT) }
    }

    /// Whether a branch begins below `target`, so that there is a folder in any case.
    fn is_above(&self, target: &Target) -> bool {
        matches!(target, Target::Path(path) if !self.below(path).is_empty())
    }

    /// What is in the folder `path` because branches begin there or below it.
    fn below(&self, path: &RelativePath) -> BTreeMap<Name, FileKind> {
        let mut entries = BTreeMap::new();
        for Branch { path: branch, file, .. } in &self.branches {
            let Some([name, rest @ ..]) = branch.components().strip_prefix(path.components()) else { continue };
            let is_file = file.is_some() && rest.is_empty();
            entries.insert(name.clone(), if is_file { FileKind::Regular } else { FileKind::Directory });
        }
        entries
    }

    fn branch(&mut self, number: usize) -> Result<&mut F> {
        self.branches.get_mut(number).map(|branch| &mut branch.filesystem).ok_or(Errno::ESTALE)
    }

    /// The branch with this number, to be changed.
    fn changing(&mut self, number: usize) -> Result<&mut F> {
        match self.branches.get(number).map(|branch| branch.access) {
            Some(Access::ReadOnly) => Err(Errno::EROFS),
            _ => self.branch(number),
        }
    }

    /// The branch, and the path in it, of what is to be made, moved or removed. Where a branch begins, and what leads there, cannot be: behind
    /// a folder that has moved, the outer branch would show what the inner one is to hide.
    fn entry(&self, path: &RelativePath) -> Result<(usize, RelativePath)> {
        if self.branches.iter().any(|branch| branch.path.components().starts_with(path.components())) {
            return Err(Errno::EBUSY);
        }
        match self.locate(path) {
            Ok(Place::Inside(number, rest)) => Ok((number, rest)),
            Ok(Place::Above) | Err(_) => Err(Errno::EROFS),
        }
    }

    fn changing_entry(&mut self, path: &RelativePath) -> Result<(&mut F, RelativePath)> {
        let (number, rest) = self.entry(path)?;
        Ok((self.changing(number)?, rest))
    }

    /// Both paths in the branch that they share.
    fn changing_pair(&mut self, from: &RelativePath, to: &RelativePath) -> Result<(&mut F, RelativePath, RelativePath)> {
        let ((number, from), (other, to)) = (self.entry(from)?, self.entry(to)?);
        if number != other {
            return Err(Errno::EXDEV);
        }
        Ok((self.changing(number)?, from, to))
    }

    /// The branch of an open file, and the file's handle there.
    fn opened(&self, handle: Handle) -> Result<(usize, Handle)> {
        self.handles.get(&handle).copied().ok_or(Errno::EBADF)
    }

    /// The branch of a file, and the file there; `None` above the branches.
    fn target(&self, target: &Target) -> Result<Option<(usize, Target)>> {
        match target {
            Target::Handle(handle) => self.opened(*handle).map(|(number, inner)| Some((number, Target::Handle(inner)))),
            Target::Path(path) => match self.locate(path)? {
                Place::Inside(number, rest) => Ok(Some((number, Target::Path(rest)))),
                Place::Above => Ok(None),
            },
        }
    }

    fn changing_target(&mut self, target: &Target) -> Result<(&mut F, Target)> {
        let (number, target) = self.target(target)?.ok_or(Errno::EROFS)?;
        Ok((self.changing(number)?, target))
    }

    fn add(&mut self, number: usize, inner: Handle) -> Handle {
        let handle = Handle::new(self.next_handle);
        self.next_handle += 1;
        self.handles.insert(handle, (number, inner));
        handle
    }
}

/// What there is room for in a made-up folder.
const NO_ROOM: Statistics = Statistics { block_size: 4096, blocks: 0, blocks_free: 0, blocks_available: 0, files: 0, files_free: 0 };

/// What is known of a made-up folder.
fn made_up() -> Attributes {
    let time = Timestamp::default();
    Attributes {
        identity: None,
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
    }
}

impl<F: FileSystem> FileSystem for Tree<F> {
    fn statistics(&mut self, target: &Target) -> Result<Statistics> {
        match self.target(target)? {
            Some((number, inner)) => match self.branch(number)?.statistics(&inner) {
                Err(Errno::ENOENT) if self.is_above(target) => Ok(NO_ROOM),
                statistics => statistics,
            },
            None => Ok(NO_ROOM),
        }
    }

    fn attributes(&mut self, target: &Target) -> Result<Attributes> {
        match self.target(target)? {
            Some((number, inner)) => match self.branch(number)?.attributes(&inner) {
                Err(Errno::ENOENT) if self.is_above(target) => Ok(made_up()),
                attributes => attributes,
            },
            None => Ok(made_up()),
        }
    }

    fn set_attributes(&mut self, target: &Target, changes: &SetAttributes) -> Result<()> {
        let (branch, target) = self.changing_target(target)?;
        branch.set_attributes(&target, changes)
    }

    fn open(&mut self, path: &RelativePath, flags: OpenFlags) -> Result<Handle> {
        let Place::Inside(number, rest) = self.locate(path)? else { return Err(Errno::EISDIR) };
        let changes = flags.writable() || flags.truncate();
        let branch = if changes { self.changing(number)? } else { self.branch(number)? };
        let inner = branch.open(&rest, flags)?;
        Ok(self.add(number, inner))
    }

    fn open_again(&mut self, handle: Handle, flags: OpenFlags) -> Result<Handle> {
        let (number, inner) = self.opened(handle)?;
        let changes = flags.writable() || flags.truncate();
        let branch = if changes { self.changing(number)? } else { self.branch(number)? };
        let inner = branch.open_again(inner, flags)?;
        Ok(self.add(number, inner))
    }

    fn create(&mut self, path: &RelativePath, flags: OpenFlags, creation: &Creation) -> Result<Handle> {
        let (number, rest) = self.entry(path)?;
        let inner = self.changing(number)?.create(&rest, flags, creation)?;
        Ok(self.add(number, inner))
    }

    fn close(&mut self, handle: Handle) {
        if let Some((number, inner)) = self.handles.remove(&handle)
            && let Ok(branch) = self.branch(number)
        {
            branch.close(inner);
        }
    }

    fn read(&mut self, handle: Handle, offset: u64, bytes: &mut [u8]) -> Result<usize> {
        let (number, inner) = self.opened(handle)?;
        self.branch(number)?.read(inner, offset, bytes)
    }

    fn write(&mut self, handle: Handle, offset: u64, bytes: &[u8]) -> Result<usize> {
        let (number, inner) = self.opened(handle)?;
        self.changing(number)?.write(inner, offset, bytes)
    }

    fn sync(&mut self, target: &Target, data_only: bool) -> Result<()> {
        match self.target(target)? {
            Some((number, target)) => self.branch(number)?.sync(&target, data_only),
            None => Ok(()),
        }
    }

    fn read_directory(&mut self, path: &RelativePath, each: &mut dyn FnMut(Name, FileKind) -> Result<()>) -> Result<()> {
        let mut entries = self.below(path);
        if let Place::Inside(number, rest) = self.locate(path)? {
            let listed = self.branch(number)?.read_directory(&rest, &mut |name, kind| match entries.remove(&name) {
                // What is mounted there hides it.
                Some(mounted) => each(name, mounted),
                None => each(name, kind),
            });
            match listed {
                Err(Errno::ENOENT) if !entries.is_empty() => {}
                listed => listed?,
            }
        }
        entries.into_iter().try_for_each(|(name, kind)| each(name, kind))
    }

    fn read_symlink(&mut self, path: &RelativePath) -> Result<Vec<u8>> {
        let Place::Inside(number, rest) = self.locate(path)? else { return Err(Errno::EINVAL) };
        self.branch(number)?.read_symlink(&rest)
    }

    fn make_directory(&mut self, path: &RelativePath, creation: &Creation) -> Result<()> {
        let (branch, path) = self.changing_entry(path)?;
        branch.make_directory(&path, creation)
    }

    fn make_symlink(&mut self, path: &RelativePath, text: &[u8], creation: &Creation) -> Result<()> {
        let (branch, path) = self.changing_entry(path)?;
        branch.make_symlink(&path, text, creation)
    }

    fn make_node(&mut self, path: &RelativePath, kind: FileKind, device: DeviceNumber, creation: &Creation) -> Result<()> {
        let (branch, path) = self.changing_entry(path)?;
        branch.make_node(&path, kind, device, creation)
    }

    fn link(&mut self, existing: &RelativePath, path: &RelativePath) -> Result<()> {
        let (branch, existing, path) = self.changing_pair(existing, path)?;
        branch.link(&existing, &path)
    }

    fn rename(&mut self, from: &RelativePath, to: &RelativePath) -> Result<()> {
        let (branch, from, to) = self.changing_pair(from, to)?;
        branch.rename(&from, &to)
    }

    fn remove_file(&mut self, path: &RelativePath) -> Result<()> {
        let (branch, path) = self.changing_entry(path)?;
        branch.remove_file(&path)
    }

    fn remove_directory(&mut self, path: &RelativePath) -> Result<()> {
        let (branch, path) = self.changing_entry(path)?;
        branch.remove_directory(&path)
    }

    fn xattr(&mut self, target: &Target, name: &[u8], limit: usize) -> Result<Vec<u8>> {
        let (number, target) = self.target(target)?.ok_or(Errno::EOPNOTSUPP)?;
        self.branch(number)?.xattr(&target, name, limit)
    }

    fn xattr_names(&mut self, target: &Target, limit: usize) -> Result<Vec<u8>> {
        match self.target(target)? {
            Some((number, target)) => self.branch(number)?.xattr_names(&target, limit),
            None => Ok(Vec::new()),
        }
    }

    fn set_xattr(&mut self, target: &Target, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        let (branch, target) = self.changing_target(target)?;
        branch.set_xattr(&target, name, value, mode)
    }

    fn remove_xattr(&mut self, target: &Target, name: &[u8]) -> Result<()> {
        let (branch, target) = self.changing_target(target)?;
        branch.remove_xattr(&target, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p9::MemoryFs;

    fn path(text: &str) -> RelativePath {
        RelativePath::parse(text).unwrap()
    }

    fn flags(bits: u32) -> OpenFlags {
        OpenFlags::new(bits).unwrap()
    }

    const READ: u32 = 0;
    const WRITE: u32 = 1;
    const TRUNCATE: u32 = 0o1000;
    const CREATION: Creation = Creation { permissions: 0o644, uid: 0, gid: 0 };

    /// A file system with a file `name` of its own name.
    fn branch(at: &str, name: &str, file: Option<&str>, access: Access) -> Branch<MemoryFs> {
        let mut filesystem = MemoryFs::new(1 << 20);
        filesystem.write_file(name, name.as_bytes()).unwrap();
        Branch { path: path(at), filesystem, file: file.map(|name| Name::new(name.as_bytes()).unwrap()), access }
    }

    fn tree() -> Tree<MemoryFs> {
        let branches = vec![
            branch("a/b", "outer", None, Access::ReadWrite),
            branch("a/b/c", "inner", None, Access::ReadOnly),
            branch("a/f", "only", Some("only"), Access::ReadWrite),
        ];
        Tree::new(branches).unwrap()
    }

    fn list(tree: &mut Tree<MemoryFs>, at: &str) -> Vec<(String, FileKind)> {
        let mut names = Vec::new();
        let each = &mut |name: Name, kind| {
            names.push((String::from_utf8(name.as_bytes().to_vec()).unwrap(), kind));
            Ok(())
        };
        tree.read_directory(&path(at), each).unwrap();
        names
    }

    fn content(tree: &mut Tree<MemoryFs>, at: &str) -> Result<Vec<u8>> {
        let handle = tree.open(&path(at), flags(READ))?;
        let mut bytes = [0; 100];
        let length = tree.read(handle, 0, &mut bytes)?;
        tree.close(handle);
        assert_eq!(tree.read(handle, 0, &mut bytes), Err(Errno::EBADF));
        Ok(bytes[..length].to_vec())
    }

    #[test]
    fn what_is_mounted_inside_of_another_shows_there() {
        let branches = vec![
            branch("a", "file", None, Access::ReadOnly),
            branch("a/in", "deep", None, Access::ReadWrite),
            branch("a/x/y/z", "deeper", None, Access::ReadWrite),
            branch("a/file", "only", Some("only"), Access::ReadWrite),
        ];
        let mut tree = Tree::new(branches).unwrap();
        let (file, folder) = (FileKind::Regular, FileKind::Directory);
        assert_eq!(list(&mut tree, "a"), [("file".to_owned(), file), ("in".into(), folder), ("x".into(), folder)]);
        assert_eq!(list(&mut tree, "a/x"), [("y".to_owned(), folder)]);
        assert_eq!(list(&mut tree, "a/x/y/z"), [("deeper".to_owned(), file)]);
        assert_eq!(tree.attributes(&Target::Path(path("a/x/y"))).unwrap().kind, folder);
        assert_eq!(tree.attributes(&Target::Path(path("a/x/other"))), Err(Errno::ENOENT));
        assert_eq!(content(&mut tree, "a/file").unwrap(), b"only");
        assert_eq!(tree.read_directory(&path("a/none"), &mut |_, _| Ok(())), Err(Errno::ENOENT));
    }

    #[test]
    fn each_branch_has_its_own_room() {
        let mut tree = tree();
        let blocks = |tree: &mut Tree<MemoryFs>, at: &str| tree.statistics(&Target::Path(path(at))).map(|room| room.blocks);
        assert!(blocks(&mut tree, "a/b").unwrap() > 0 && blocks(&mut tree, "a/b/c").unwrap() > 0);
        assert_eq!((blocks(&mut tree, "a"), blocks(&mut tree, "x")), (Ok(0), Err(Errno::ENOENT)));
    }

    #[test]
    fn what_is_above_is_made_up() {
        let mut tree = tree();
        assert_eq!(list(&mut tree, ""), [("a".to_owned(), FileKind::Directory)]);
        assert_eq!(list(&mut tree, "a"), [("b".to_owned(), FileKind::Directory), ("f".to_owned(), FileKind::Regular)]);
        assert_eq!(tree.attributes(&Target::Path(path("a"))).unwrap().kind, FileKind::Directory);
        assert_eq!(tree.attributes(&Target::Path(path("x"))), Err(Errno::ENOENT));
        assert_eq!(tree.make_directory(&path("a/x"), &CREATION), Err(Errno::EROFS));
        assert_eq!(tree.set_attributes(&Target::Path(path("a")), &SetAttributes::default()), Err(Errno::EROFS));
        assert!(list(&mut Tree::<MemoryFs>::new(Vec::new()).unwrap(), "").is_empty());
    }

    #[test]
    fn files_are_those_of_the_innermost_branch() {
        let mut tree = tree();
        assert_eq!(content(&mut tree, "a/b/outer").unwrap(), b"outer");
        assert_eq!(content(&mut tree, "a/b/c/inner").unwrap(), b"inner");
        assert_eq!(content(&mut tree, "a/b/c/outer"), Err(Errno::ENOENT));
        assert_eq!(tree.branches().map(|branch| branch.path.components().len()).collect::<Vec<_>>(), [2, 2, 3]);
    }

    #[test]
    fn a_file_is_there_without_its_neighbours() {
        let mut tree = tree();
        tree.branches.iter_mut().for_each(|branch| branch.filesystem.write_file("secret", b"no").unwrap());
        assert_eq!(content(&mut tree, "a/f").unwrap(), b"only");
        assert_eq!(content(&mut tree, "a/f/secret"), Err(Errno::ENOTDIR));
        assert_eq!(content(&mut tree, "a/secret"), Err(Errno::ENOENT));
        let handle = tree.open(&path("a/f"), flags(WRITE | TRUNCATE)).unwrap();
        assert_eq!(tree.write(handle, 0, b"new"), Ok(3));
        assert_eq!(content(&mut tree, "a/f").unwrap(), b"new");
        assert_eq!(tree.remove_file(&path("a/f")), Err(Errno::EBUSY));
        assert_eq!(tree.rename(&path("a/f"), &path("a/b/g")), Err(Errno::EBUSY));
    }

    #[test]
    fn a_read_only_branch_is_not_changed() {
        let mut tree = tree();
        let file = path("a/b/c/inner");
        let target = Target::Path(file.clone());
        assert_eq!(tree.open(&file, flags(WRITE)), Err(Errno::EROFS));
        assert_eq!(tree.open(&file, flags(READ | TRUNCATE)), Err(Errno::EROFS));
        assert_eq!(tree.create(&path("a/b/c/new"), flags(WRITE), &CREATION), Err(Errno::EROFS));
        assert_eq!(tree.make_directory(&path("a/b/c/new"), &CREATION), Err(Errno::EROFS));
        assert_eq!(tree.remove_file(&file), Err(Errno::EROFS));
        assert_eq!(tree.rename(&file, &path("a/b/c/new")), Err(Errno::EROFS));
        assert_eq!(tree.set_attributes(&target, &SetAttributes { size: Some(0), ..SetAttributes::default() }), Err(Errno::EROFS));
        assert_eq!(tree.set_xattr(&target, b"user.a", b"b", XattrMode::CreateOrReplace), Err(Errno::EROFS));
        let handle = tree.open(&file, flags(READ)).unwrap();
        let change = SetAttributes { permissions: Some(0), ..SetAttributes::default() };
        assert_eq!(tree.set_attributes(&Target::Handle(handle), &change), Err(Errno::EROFS));
        assert_eq!(content(&mut tree, "a/b/c/inner").unwrap(), b"inner");
    }

    #[test]
    fn files_do_not_move_between_branches() {
        let mut tree = tree();
        assert_eq!(tree.rename(&path("a/b/outer"), &path("a/b/c/outer")), Err(Errno::EXDEV));
        assert_eq!(tree.rename(&path("a/b/outer"), &path("a/b/other")), Ok(()));
        assert_eq!(content(&mut tree, "a/b/other").unwrap(), b"outer");
    }

    #[test]
    fn what_leads_to_a_branch_is_neither_moved_nor_removed_nor_replaced() {
        let mut outer = branch("a", "x", None, Access::ReadWrite);
        outer.filesystem.make_directory(&path("git"), &CREATION).unwrap();
        outer.filesystem.write_file("git/file", b"file").unwrap();
        let mut tree = Tree::new(vec![outer, branch("a/git/hooks", "inner", None, Access::ReadOnly)]).unwrap();
        assert_eq!(tree.rename(&path("a/git"), &path("a/moved")), Err(Errno::EBUSY));
        assert_eq!(tree.remove_directory(&path("a/git")), Err(Errno::EBUSY));
        tree.make_directory(&path("a/other"), &CREATION).unwrap();
        assert_eq!(tree.rename(&path("a/other"), &path("a/git")), Err(Errno::EBUSY));
        assert_eq!(tree.rename(&path("a/other"), &path("a/git/hooks")), Err(Errno::EBUSY));
        assert_eq!(tree.make_symlink(&path("a/git"), b"other", &CREATION), Err(Errno::EBUSY));
        // What lies beside the way is as free as before.
        tree.rename(&path("a/git/file"), &path("a/other/file")).unwrap();
        tree.rename(&path("a/other"), &path("a/git/other")).unwrap();
        assert_eq!(content(&mut tree, "a/git/hooks/inner").unwrap(), b"inner");
        assert_eq!(content(&mut tree, "a/moved/hooks/inner"), Err(Errno::ENOENT));
    }

    #[test]
    fn branches_have_places_of_their_own() {
        let one = |at| branch(at, "x", None, Access::ReadWrite);
        assert_eq!(Tree::new(vec![one("")]).err(), Some(Errno::EINVAL));
        assert_eq!(Tree::new(vec![one("a"), one("b"), one("a")]).err(), Some(Errno::EEXIST));
    }
}
