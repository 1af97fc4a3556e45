//! The files of an image, in memory but for their contents. Whatever a layer says, nothing outside of this can change.

use super::limits::{MAX_DEPTH, MAX_NAME, MAX_PATH};
use super::spool::Content;
use std::collections::BTreeMap;

/// The number of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u32);

/// The root's.
pub const ROOT: Id = Id(0);

impl Id {
    /// For tables of all inodes.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What all inodes have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Permissions, with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970, and nanoseconds.
    pub mtime: (i64, u32),
    /// Extended attributes.
    pub extended: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Extended attributes that the root file system carries: namespaces, which end in a dot, and whole names.
pub const CARRIED: [&[u8]; 5] = [b"user.", b"system.posix_acl_access", b"system.posix_acl_default", b"trusted.", b"security."];
/// Namespaces of overlayfs, which would take what an image says there for its own.
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
/// Bytes of an extended attribute's name, and of its value.
const MAX_ATTRIBUTE: (usize, usize) = (255, 65_535);
/// Bytes of all extended attributes of an inode.
const MAX_ATTRIBUTES: usize = 128 << 10;
/// Linux has no larger numbers of devices.
const MAX_DEVICE: (u32, u32) = ((1 << 12) - 1, (1 << 20) - 1);

impl Attributes {
    /// Removes extended attributes that the root file system cannot carry, and says how many.
    pub fn drop_foreign(&mut self) -> u64 {
        let before = self.extended.len();
        self.extended.retain(|name, _| {
            let is_known = |known: &[u8]| if known.ends_with(b".") { name.starts_with(known) } else { name == known };
            CARRIED.into_iter().any(is_known) && !OVERLAY.into_iter().any(is_known)
        });
        (before - self.extended.len()) as u64
    }
}

/// What an inode is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Folder(BTreeMap<Vec<u8>, Name>),
    /// A regular file.
    File(Content),
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A character device: major and minor number.
    Character(u32, u32),
    /// A block device.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// A name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// What has it.
    pub id: Id,
    /// The layer that gave it last.
    layer: u32,
}

/// An inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// What all have.
    pub attributes: Attributes,
    /// What it is.
    pub node: Node,
}

impl Inode {
    /// Bytes of memory that it takes, about.
    fn memory(&self) -> u64 {
        let Self { attributes: Attributes { extended, .. }, node } = self;
        let attributes: usize = extended.iter().map(|(name, value)| NAME + 2 * (name.len() + value.len())).sum();
        let node = match node {
            Node::Folder(_) => TABLE,
            Node::Symlink(target) => 2 * target.len(),
            _ => 0,
        };
        (INODE + node + attributes + if extended.is_empty() { 0 } else { TABLE }) as u64
    }
}

/// The files.
#[derive(Debug)]
pub struct Tree {
    inodes: Vec<Inode>,
    layer: u32,
    memory: u64,
}

/// Bytes of memory that an inode takes, with what is made of it until the machine is written …
const INODE: usize = 300;
/// … that the names in a directory take besides, or the attributes of an inode …
const TABLE: usize = 600;
/// … and that a name takes. What is in a name, an attribute or a link is in memory twice at times.
const NAME: usize = 128;

/// Directories that were not in the image though what is in them was.
const IMPLICIT: u32 = 0o755;
/// Symbolic links that are followed on one way, as in Linux.
const MAX_LINKS: usize = 40;

type Result<T> = std::result::Result<T, String>;

impl Default for Tree {
    fn default() -> Self {
        Self { inodes: vec![folder()], layer: 0, memory: 0 }
    }
}

fn folder() -> Inode {
    Inode { attributes: Attributes { mode: IMPLICIT, ..Attributes::default() }, node: Node::Folder(BTreeMap::new()) }
}

impl Tree {
    /// An inode.
    pub fn inode(&self, id: Id) -> &Inode {
        &self.inodes[id.index()]
    }

    /// Inodes that there are, or have been.
    pub fn count(&self) -> usize {
        self.inodes.len()
    }

    /// Bytes of memory that all that was ever put into it takes, about. What is removed is not given back.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// Begins the next layer: what was there before lies below it.
    pub fn begin_layer(&mut self) {
        self.layer += 1;
    }

    /// Checks that Linux could have the inode.
    fn check(inode: &Inode) -> Result<()> {
        if let Node::Character(major, minor) | Node::Block(major, minor) = inode.node
            && (major > MAX_DEVICE.0 || minor > MAX_DEVICE.1)
        {
            return Err(format!("invalid device number {major}:{minor}"));
        }
        if let Node::Symlink(target) = &inode.node
            && (target.is_empty() || target.len() > MAX_PATH)
        {
            return Err(format!("it is a link to a path of {} bytes; a path has 1 to {MAX_PATH}", target.len()));
        }
        let mut all = 0;
        for (name, value) in &inode.attributes.extended {
            all += name.len() + value.len();
            if name.len() > MAX_ATTRIBUTE.0 || value.len() > MAX_ATTRIBUTE.1 || all > MAX_ATTRIBUTES {
                return Err("its extended attributes are too long".into());
            }
            if name.ends_with(b".") || name.contains(&0) {
                return Err("it has an extended attribute without a name".into());
            }
        }
        Ok(())
    }

    /// Puts an inode at `path`, in place of what is there. A directory keeps what is in it.
    pub fn put(&mut self, path: &[u8], inode: Inode) -> Result<Id> {
        Self::check(&inode)?;
        let Some((parent, name)) = self.place(path)? else {
            if !matches!(inode.node, Node::Folder(_)) {
                return Err("the root is a directory".into());
            }
            self.memory += inode.memory();
            self.inodes[ROOT.index()].attributes = inode.attributes;
            return Ok(ROOT);
        };
        if let (Some(id), Node::Folder(_)) = (self.lookup(parent, &name), &inode.node)
            && matches!(self.inode(id).node, Node::Folder(_))
        {
            self.memory += inode.memory();
            self.inodes[id.index()].attributes = inode.attributes;
            self.name(parent, name, id);
            return Ok(id);
        }
        let id = self.add(inode)?;
        self.name(parent, name, id);
        Ok(id)
    }

    /// Gives the inode at `target` another name, in place of what is there.
    pub fn link(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        let missing = || "it is another name of a file that is not there".to_owned();
        let (parent, name) = self.place(target)?.ok_or_else(missing)?;
        let id = self.lookup(parent, &name).ok_or_else(missing)?;
        if matches!(self.inode(id).node, Node::Folder(_)) {
            return Err("it is a hard link to a directory".into());
        }
        let (parent, name) = self.place(path)?.ok_or("the root is a directory")?;
        self.name(parent, name, id);
        Ok(())
    }

    /// Makes the directory at `path`, and what is missing on the way to it. Links are followed, and what is there stays as it is.
    pub fn make_folder(&mut self, path: &[u8]) -> Result<()> {
        let Some((parent, name)) = self.place(path)? else { return Ok(()) };
        match self.lookup(parent, &name).map(|id| &self.inode(id).node) {
            None | Some(Node::Symlink(_)) => {
                let components = components(path)?;
                self.walk(&components).map(drop)
            }
            Some(_) => Ok(()),
        }
    }

    /// Removes what layers below have at `path`.
    pub fn remove_below(&mut self, path: &[u8]) -> Result<()> {
        let Some((parent, name)) = self.place(path)? else { return Err("the root cannot be removed".into()) };
        if let Some(found) = self.names(parent).and_then(|names| names.get(&name)).copied()
            && !self.outlives(found)
            && let Some(names) = self.names_mut(parent)
        {
            names.remove(&name);
        }
        Ok(())
    }

    /// Removes all that layers below have in the directory at `path`.
    pub fn empty_below(&mut self, path: &[u8]) -> Result<()> {
        let components = components(path)?;
        let folder = self.walk(&components)?;
        self.empty(folder);
        Ok(())
    }

    /// Removes what is from layers below in `id`, and says whether anything is left.
    fn empty(&mut self, id: Id) -> bool {
        let Some(names) = self.names_mut(id) else { return false };
        let mut names = std::mem::take(names);
        names.retain(|_, name| self.outlives(*name));
        let is_left = !names.is_empty();
        if let Some(place) = self.names_mut(id) {
            *place = names;
        }
        is_left
    }

    /// Removes what is from layers below in `name`, and says whether it stays itself.
    fn outlives(&mut self, name: Name) -> bool {
        // Also of a directory that this layer names, what was in it goes.
        self.empty(name.id) || name.layer == self.layer
    }

    /// The directory that `path` is in, and its name there; `None` for the root. What is missing on the way is made.
    fn place(&mut self, path: &[u8]) -> Result<Option<(Id, Vec<u8>)>> {
        let mut components = components(path)?;
        let Some(name) = components.pop() else { return Ok(None) };
        let parent = self.walk(&components)?;
        Ok(Some((parent, name.to_vec())))
    }

    /// The directory that one comes to along `components` from the root. Links are followed as if the tree were all there is, and what is
    /// missing is made.
    fn walk(&mut self, components: &[&[u8]]) -> Result<Id> {
        let mut way = vec![ROOT];
        let mut ahead: Vec<Vec<u8>> = components.iter().rev().map(|name| name.to_vec()).collect();
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            let here = way.last().copied().unwrap_or(ROOT);
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    // The root is its own parent.
                    way.truncate((way.len() - 1).max(1));
                    continue;
                }
                _ => check_name(&name)?,
            }
            let id = match self.lookup(here, &name) {
                Some(id) => id,
                None => {
                    let id = self.add(folder())?;
                    self.name(here, name, id);
                    id
                }
            };
            match &self.inode(id).node {
                Node::Folder(_) => way.push(id),
                Node::Symlink(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err("symbolic links on the way to it form a loop".into());
                    }
                    if target.starts_with(b"/") {
                        way.truncate(1);
                    }
                    ahead.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
                }
                _ => return Err("its parent is not a directory".into()),
            }
            if way.len() > MAX_DEPTH {
                return Err(format!("it is more than {MAX_DEPTH} directories deep"));
            }
        }
        Ok(way.last().copied().unwrap_or(ROOT))
    }

    fn add(&mut self, inode: Inode) -> Result<Id> {
        let id = u32::try_from(self.inodes.len()).map_err(|_| "there are too many files")?;
        self.memory += inode.memory();
        self.inodes.push(inode);
        Ok(Id(id))
    }

    fn name(&mut self, folder: Id, name: Vec<u8>, id: Id) {
        let layer = self.layer;
        self.memory += (NAME + 2 * name.len()) as u64;
        if let Some(names) = self.names_mut(folder) {
            names.insert(name, Name { id, layer });
        }
    }

    fn lookup(&self, folder: Id, name: &[u8]) -> Option<Id> {
        self.names(folder)?.get(name).map(|name| name.id)
    }

    fn names(&self, folder: Id) -> Option<&BTreeMap<Vec<u8>, Name>> {
        match &self.inode(folder).node {
            Node::Folder(names) => Some(names),
            _ => None,
        }
    }

    fn names_mut(&mut self, folder: Id) -> Option<&mut BTreeMap<Vec<u8>, Name>> {
        match &mut self.inodes[folder.index()].node {
            Node::Folder(names) => Some(names),
            _ => None,
        }
    }
}

/// The names in a path of an archive, in which `..` takes back the name before it.
pub fn components(path: &[u8]) -> Result<Vec<&[u8]>> {
    if path.len() > MAX_PATH {
        return Err(format!("the path has {} bytes, but the limit is {MAX_PATH}", path.len()));
    }
    let mut components = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                components.pop().ok_or("it leads out of the root")?;
            }
            _ => {
                check_name(name)?;
                components.push(name);
            }
        }
    }
    Ok(components)
}

fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > MAX_NAME { Err(format!("a name in it has {} bytes, but the limit is {MAX_NAME}", name.len())) } else { Ok(()) }
}
