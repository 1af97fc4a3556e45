//! Names: walking, making, renaming and removing.

use super::{Failure, Server};
use crate::p9::fid::{Fid, Use};
use crate::p9::filesystem::PERMISSION_BITS;
use crate::p9::nodes::NodeId;
use crate::p9::wire::{Qid, Reply};
use crate::p9::{Creation, DeviceNumber, Errno, FileKind, FileSystem, Name, RelativePath};

/// In `Tunlinkat`: the name is a directory's.
const AT_REMOVEDIR: u32 = 0x200;

/// Where a file is to be made.
struct Place {
    parent: NodeId,
    name: Name,
    path: RelativePath,
    creation: Creation,
}

impl<F: FileSystem> Server<F> {
    #[expect(clippy::cast_possible_truncation, reason = "at most as many as there are names, whose number is a u16")]
    pub(super) fn walk(&mut self, number: u32, new: u32, names: &[&[u8]], reply: &mut Reply<'_>) -> Result<(), Failure> {
        let Fid { mut node, uid, .. } = *self.fid(number)?;
        if number == new && !names.is_empty() {
            self.walked_fid(number)?;
        }
        let mut qids: Vec<Qid> = Vec::with_capacity(names.len());
        for name in names {
            match self.step(node, name) {
                Ok((next, qid)) => {
                    node = next;
                    qids.push(qid);
                }
                Err(errno) if qids.is_empty() => return Err(errno.into()),
                Err(_) => break,
            }
        }
        if qids.len() == names.len() {
            let fid = Fid { node, uid, used: Use::Walked };
            match number == new {
                false => self.add_fid(new, fid)?,
                true if names.is_empty() => {}
                true => self.put_fid(new, fid)?,
            }
        }
        reply.u16(qids.len() as u16);
        qids.into_iter().for_each(|qid| reply.qid(qid));
        Ok(())
    }

    /// One component of a walk.
    fn step(&mut self, from: NodeId, name: &[u8]) -> Result<(NodeId, Qid), Errno> {
        if name == b".." {
            let parent = self.nodes.parent(from)?;
            let attributes = self.attributes_at(self.nodes.path(parent)?)?;
            return Ok((parent, self.qid(parent, &attributes)));
        }
        let name = Name::new(name)?;
        let path = self.nodes.path(from)?.child(&name)?;
        let attributes = self.attributes_at(path).inspect_err(|errno| {
            if *errno == Errno::ENOENT {
                self.nodes.remove(from, &name);
            }
        })?;
        let node = self.nodes.child(from, &name)?;
        Ok((node, self.qid(node, &attributes)))
    }

    pub(super) fn lcreate(
        &mut self,
        number: u32,
        name: &[u8],
        flags: u32,
        mode: u32,
        gid: u32,
        reply: &mut Reply<'_>,
    ) -> Result<(), Failure> {
        let uid = self.walked_fid(number)?.uid;
        let place = self.place(number, name, mode, gid)?;
        let flags = crate::p9::OpenFlags::new(flags)?;
        self.make_room_for_handle()?;
        let handle = self.fs.create(&place.path, flags, &place.creation)?;
        if flags.exclusive() {
            self.nodes.remove(place.parent, &place.name);
        }
        let is_new = self.nodes.known_child(place.parent, &place.name).is_none();
        let opened = self.nodes.child(place.parent, &place.name).and_then(|node| {
            let attributes = self.fs.attributes(&crate::p9::Target::Handle(handle))?;
            self.put_fid(number, Fid { node, uid, used: Use::File { flags, handle: Some(handle) } })?;
            Ok(match is_new {
                true => self.new_qid(node, &attributes),
                false => self.qid(node, &attributes),
            })
        });
        let qid = opened.inspect_err(|_| self.fs.close(handle))?;
        self.count_handle(number, handle);
        reply.qid(qid);
        reply.u32(0); // no preferred size of transfers
        Ok(())
    }

    pub(super) fn mkdir(&mut self, dir: u32, name: &[u8], mode: u32, gid: u32, reply: &mut Reply<'_>) -> Result<(), Failure> {
        let place = self.place(dir, name, mode, gid)?;
        self.fs.make_directory(&place.path, &place.creation)?;
        self.made(place, reply)
    }

    pub(super) fn symlink(&mut self, dir: u32, name: &[u8], text: &[u8], gid: u32, reply: &mut Reply<'_>) -> Result<(), Failure> {
        let place = self.place(dir, name, 0o777, gid)?;
        self.fs.make_symlink(&place.path, text, &place.creation)?;
        self.made(place, reply)
    }

    pub(super) fn mknod(
        &mut self,
        dir: u32,
        name: &[u8],
        mode: u32,
        (major, minor): (u32, u32),
        gid: u32,
        reply: &mut Reply<'_>,
    ) -> Result<(), Failure> {
        let place = self.place(dir, name, mode, gid)?;
        let kind = match FileKind::from_mode(mode) {
            None => FileKind::Regular,
            Some(FileKind::Directory | FileKind::Symlink) => return Err(Errno::EINVAL.into()),
            Some(kind) => kind,
        };
        self.fs.make_node(&place.path, kind, DeviceNumber { major, minor }, &place.creation)?;
        self.made(place, reply)
    }

    /// Where `name` is to be made in the directory `dir`, and with which attributes.
    fn place(&self, dir: u32, name: &[u8], mode: u32, gid: u32) -> Result<Place, Failure> {
        let Fid { node: parent, uid, .. } = *self.fid(dir)?;
        self.check_writable()?;
        let name = Name::new(name)?;
        let path = self.nodes.path(parent)?.child(&name)?;
        Ok(Place { parent, name, path, creation: Creation { permissions: mode & PERMISSION_BITS, uid, gid } })
    }

    /// Answers with the qid of what was just made. A file that had the name before, unknown to us gone, is not it.
    fn made(&mut self, place: Place, reply: &mut Reply<'_>) -> Result<(), Failure> {
        self.nodes.remove(place.parent, &place.name);
        let attributes = self.attributes_at(place.path)?;
        let node = self.nodes.child(place.parent, &place.name)?;
        reply.qid(self.new_qid(node, &attributes));
        Ok(())
    }

    pub(super) fn link(&mut self, dir: u32, number: u32, name: &[u8]) -> Result<(), Failure> {
        let node = self.fid(number)?.node;
        let existing = self.path(number)?;
        let place = self.place(dir, name, 0, 0)?;
        self.fs.link(&existing, &place.path)?;
        self.nodes.remove(place.parent, &place.name);
        // The file keeps its number under both names.
        if let Ok(attributes) = self.attributes_at(existing) {
            self.linked.number(node, &attributes);
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, number: u32, dir: u32, name: &[u8]) -> Result<(), Failure> {
        let (old_parent, old_name) = self.nodes.place(self.fid(number)?.node)?;
        let new_parent = self.fid(dir)?.node;
        Ok(self.move_name((old_parent, &old_name), (new_parent, &Name::new(name)?))?)
    }

    pub(super) fn renameat(&mut self, old_dir: u32, old_name: &[u8], new_dir: u32, new_name: &[u8]) -> Result<(), Failure> {
        let old_parent = self.fid(old_dir)?.node;
        let new_parent = self.fid(new_dir)?.node;
        Ok(self.move_name((old_parent, &Name::new(old_name)?), (new_parent, &Name::new(new_name)?))?)
    }

    fn move_name(&mut self, from: (NodeId, &Name), to: (NodeId, &Name)) -> Result<(), Errno> {
        self.check_writable()?;
        let old_path = self.nodes.path(from.0)?.child(from.1)?;
        let new_path = self.nodes.path(to.0)?.child(to.1)?;
        // The file system refuses this as well, but the tree of nodes must not depend on that.
        if self.nodes.known_child(from.0, from.1).is_some_and(|moved| self.nodes.is_within(to.0, moved)) {
            return Err(Errno::EINVAL);
        }
        self.keep_open(to.0, to.1);
        self.fs.rename(&old_path, &new_path)?;
        self.nodes.rename(from, to);
        Ok(())
    }

    pub(super) fn unlinkat(&mut self, dir: u32, name: &[u8], flags: u32) -> Result<(), Failure> {
        let parent = self.fid(dir)?.node;
        let is_directory = match flags {
            0 => false,
            AT_REMOVEDIR => true,
            _ => return Err(Errno::EINVAL.into()),
        };
        Ok(self.remove_name(parent, &Name::new(name)?, is_directory)?)
    }

    /// Removes the file that the fid stands for; the fid ends whatever the outcome.
    pub(super) fn remove(&mut self, number: u32) -> Result<(), Failure> {
        let node = self.fid(number)?.node;
        let outcome = self.nodes.place(node).and_then(|(parent, name)| {
            let kind = self.attributes_at(self.nodes.path(node)?)?.kind;
            self.remove_name(parent, &name, kind == FileKind::Directory)
        });
        self.drop_fid(number);
        Ok(outcome?)
    }

    fn remove_name(&mut self, parent: NodeId, name: &Name, is_directory: bool) -> Result<(), Errno> {
        self.check_writable()?;
        let path = self.nodes.path(parent)?.child(name)?;
        self.keep_open(parent, name);
        if is_directory {
            self.fs.remove_directory(&path)?
        } else {
            self.fs.remove_file(&path)?
        }
        self.nodes.remove(parent, name);
        Ok(())
    }

    pub(super) fn readlink(&mut self, number: u32, reply: &mut Reply<'_>) -> Result<(), Failure> {
        let path = self.path(number)?;
        let text = self.fs.read_symlink(&path)?;
        Ok(reply.string(&text)?)
    }
}
