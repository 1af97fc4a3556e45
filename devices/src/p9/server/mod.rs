//! The 9P2000.L server: one session over one file system, one message at a time.
//!
//! Errors of the file system and breaches of the protocol are both answered with `Rlerror`; the latter are counted.

mod attributes;
mod io;
mod namespace;
#[cfg(test)]
mod tests;

use super::fid::{Fid, Fids, Use};
use super::linked::Linked;
use super::nodes::{NodeId, Nodes};
use super::wire::{self, Malformed, NO_FID, Qid, Reply, TMessage};
use super::{Access, Attributes, Errno, FileSystem, Handle, Name, OpenFlags, RelativePath, Target};
use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// Largest message that is agreed to, whatever the client proposes.
pub(super) const MAX_MSIZE: u32 = 1 << 20;
/// Smallest proposal that is agreed to: every reply of a fixed size fits.
const MIN_MSIZE: u32 = 256;
/// Most handles that cost the host something (a file descriptor), at a time.
const MAX_HANDLES: usize = 256;
/// User numbers from here up mean that the client names none.
const NO_USER: u32 = u32::MAX - 1;

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// The client broke the protocol.
    Protocol(Errno),
    /// The request makes sense, but cannot be done.
    File(Errno),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::File(errno)
    }
}

impl From<Malformed> for Failure {
    fn from(_: Malformed) -> Self {
        Self::Protocol(Errno::EPROTO)
    }
}

/// A server and its session.
#[derive(Debug)]
pub(super) struct Server<F> {
    pub(super) fs: F,
    pub(super) access: Access,
    /// Largest message, once the client has sent its `Tversion`.
    pub(super) msize: Option<u32>,
    pub(super) nodes: Nodes,
    pub(super) fids: Fids,
    linked: Linked,
    /// Fids with a handle that costs the host something, in the order in which they got it. At [`MAX_HANDLES`] the oldest
    /// is given up, to be opened again when it is next needed: Linux keeps a fid open for every file that it caches.
    costly: VecDeque<u32>,
    pub(super) protocol_errors: u64,
}

impl<F: FileSystem> Server<F> {
    /// Message sizes that can be agreed on.
    pub const MSIZES: RangeInclusive<u32> = MIN_MSIZE..=MAX_MSIZE;

    pub fn new(fs: F, access: Access) -> Self {
        Self {
            fs,
            access,
            msize: None,
            nodes: Nodes::new(),
            fids: Fids::default(),
            linked: Linked::default(),
            costly: VecDeque::new(),
            protocol_errors: 0,
        }
    }

    /// Ends the session. Files keep their numbers.
    pub fn reset(&mut self) {
        self.msize = None;
        for (number, fid) in self.fids.take_all() {
            self.release(number, &fid);
        }
    }

    /// Serves one message. The reply is left in `buffer`: at most `room` bytes, none if not even an error fits.
    pub fn handle(&mut self, message: &[u8], room: usize, buffer: &mut Vec<u8>) {
        let mut reply = Reply::new(buffer, room);
        let (kind, tag) = wire::header(message).unwrap_or((0, wire::NO_TAG));
        let outcome = self.serve(message, &mut reply).map_err(|failure| match failure {
            Failure::File(errno) => errno,
            Failure::Protocol(errno) => {
                self.protocol_errors += 1;
                errno
            }
        });
        reply.finish(kind, tag, outcome);
    }

    fn serve(&mut self, message: &[u8], reply: &mut Reply<'_>) -> Result<(), Failure> {
        let request = TMessage::decode(message)?.ok_or(Failure::Protocol(Errno::EOPNOTSUPP))?;
        if let TMessage::Version { msize, version } = request {
            return self.version(msize, version, reply);
        }
        let msize = self.msize.ok_or(Failure::Protocol(Errno::EPROTO))? as usize;
        if message.len() > msize {
            return Err(Failure::Protocol(Errno::EMSGSIZE));
        }
        reply.restrict(msize);
        self.dispatch(&request, reply)
    }

    #[rustfmt::skip] // a table
    fn dispatch(&mut self, request: &TMessage<'_>, reply: &mut Reply<'_>) -> Result<(), Failure> {
        use TMessage as R;
        match *request {
            R::Version { .. } | R::Flush { oldtag: _ } => Ok(()), // nothing is ever left to be flushed
            R::Auth { .. } => Err(Errno::EOPNOTSUPP.into()),
            R::Attach { fid, afid, uname: _, aname, n_uname } => self.attach(fid, afid, aname, n_uname, reply),
            R::Walk { fid, newfid, ref names } => self.walk(fid, newfid, &names.0, reply),
            R::Clunk { fid } => self.clunk(fid),
            R::Remove { fid } => self.remove(fid),

            R::Lopen { fid, flags } => self.lopen(fid, flags, reply),
            R::Lcreate { fid, name, flags, mode, gid } => self.lcreate(fid, name, flags, mode, gid, reply),
            R::Read { fid, offset, count } => self.read(fid, offset, count, reply),
            R::Write { fid, offset, data } => self.write(fid, offset, data.0, reply),
            R::Readdir { fid, offset, count } => self.readdir(fid, offset, count, reply),
            R::Fsync { fid, datasync } => self.fsync(fid, datasync),
            R::Lock { fid, kind, .. } => self.lock(fid, kind, reply),
            R::Getlock { fid, kind, start, length, proc_id, client_id } =>
                self.getlock(fid, kind, (start, length), proc_id, client_id, reply),

            R::Mkdir { dfid, name, mode, gid } => self.mkdir(dfid, name, mode, gid, reply),
            R::Symlink { fid, name, text, gid } => self.symlink(fid, name, text, gid, reply),
            R::Mknod { dfid, name, mode, major, minor, gid } => self.mknod(dfid, name, mode, (major, minor), gid, reply),
            R::Link { dfid, fid, name } => self.link(dfid, fid, name),
            R::Rename { fid, dfid, name } => self.rename(fid, dfid, name),
            R::Renameat { olddirfid, oldname, newdirfid, newname } => self.renameat(olddirfid, oldname, newdirfid, newname),
            R::Unlinkat { dfid, name, flags } => self.unlinkat(dfid, name, flags),
            R::Readlink { fid } => self.readlink(fid, reply),

            R::Statfs { fid } => self.statfs(fid, reply),
            R::Getattr { fid, request_mask: _ } => self.getattr(fid, reply),
            R::Setattr { fid, ref changes } => self.setattr(fid, changes),
            R::Xattrwalk { fid, newfid, name } => self.xattrwalk(fid, newfid, name, reply),
            R::Xattrcreate { fid, name, size, flags } => self.xattrcreate(fid, name, size, flags),
        }
    }

    fn version(&mut self, msize: u32, version: &[u8], reply: &mut Reply<'_>) -> Result<(), Failure> {
        self.reset();
        if msize < MIN_MSIZE {
            return Err(Failure::Protocol(Errno::EMSGSIZE));
        }
        let msize = msize.min(MAX_MSIZE);
        reply.u32(msize);
        if version == wire::VERSION {
            self.msize = Some(msize);
            Ok(reply.string(wire::VERSION)?)
        } else {
            Ok(reply.string(wire::VERSION_UNKNOWN)?)
        }
    }

    fn attach(&mut self, number: u32, afid: u32, aname: &[u8], n_uname: u32, reply: &mut Reply<'_>) -> Result<(), Failure> {
        if afid != NO_FID {
            return Err(Failure::Protocol(Errno::EINVAL));
        }
        if !matches!(aname, b"" | b"/") {
            return Err(Errno::ENOENT.into());
        }
        let attributes = self.attributes_at(RelativePath::root())?;
        let uid = if n_uname >= NO_USER { 0 } else { n_uname };
        self.add_fid(number, Fid { node: NodeId::ROOT, uid, used: Use::Walked })?;
        reply.qid(self.qid(NodeId::ROOT, &attributes));
        Ok(())
    }

    /// Ends a fid. The attribute that it was to set is set now.
    fn clunk(&mut self, number: u32) -> Result<(), Failure> {
        self.fid(number)?;
        let target = self.target(number);
        if let Some(Fid { used: Use::XattrWrite { name, mode, value }, .. }) = self.drop_fid(number) {
            self.write_xattr(&target?, &name, mode, &value)?;
        }
        Ok(())
    }

    fn fid(&self, number: u32) -> Result<&Fid, Failure> {
        self.fids.get(number).ok_or(Failure::Protocol(Errno::EBADF))
    }

    /// The fid, if it is not opened.
    fn walked_fid(&self, number: u32) -> Result<&Fid, Failure> {
        let fid = self.fid(number)?;
        if fid.used == Use::Walked { Ok(fid) } else { Err(Failure::Protocol(Errno::EINVAL)) }
    }

    /// Adds a fid under a number that is free.
    fn add_fid(&mut self, number: u32, fid: Fid) -> Result<(), Failure> {
        if number == NO_FID || self.fids.get(number).is_some() {
            return Err(Failure::Protocol(Errno::EINVAL));
        }
        Ok(self.put_fid(number, fid)?)
    }

    /// Adds a fid, or changes one that has no handle.
    pub(super) fn put_fid(&mut self, number: u32, fid: Fid) -> Result<(), Errno> {
        let node = fid.node;
        let before = self.fids.get(number).map(|fid| fid.node);
        self.fids.set(number, fid)?;
        self.nodes.pin(node);
        if let Some(before) = before {
            self.nodes.unpin(before);
        }
        Ok(())
    }

    fn drop_fid(&mut self, number: u32) -> Option<Fid> {
        let fid = self.fids.remove(number)?;
        self.release(number, &fid);
        Some(fid)
    }

    /// Gives back what a fid that was just removed had.
    fn release(&mut self, number: u32, fid: &Fid) {
        self.nodes.unpin(fid.node);
        if let Use::File { handle: Some(handle), .. } = fid.used {
            self.costly.retain(|costly| *costly != number);
            self.fs.close(handle);
        }
    }

    /// Sees to it that one more handle is possible. `ENFILE` if all there are belong to unlinked files, which could not be
    /// opened again.
    fn make_room_for_handle(&mut self) -> Result<(), Errno> {
        if self.costly.len() < MAX_HANDLES {
            return Ok(());
        }
        let can_be_reopened = |number: &u32| self.fids.get(*number).is_some_and(|fid| self.nodes.path(fid.node).is_ok());
        let oldest = self.costly.iter().position(can_be_reopened).ok_or(Errno::ENFILE)?;
        let handle = self.costly.remove(oldest).and_then(|number| self.fids.handle_mut(number)?.take());
        if let Some(handle) = handle {
            self.fs.close(handle);
        }
        Ok(())
    }

    /// Notes that a fid has got a handle.
    fn count_handle(&mut self, number: u32, handle: Handle) {
        if !self.fs.is_saved(handle) {
            self.costly.push_back(number);
        }
    }

    /// Opens what is open of a file but has no handle, for it is about to lose the path by which that could be done later.
    fn keep_open(&mut self, parent: NodeId, name: &Name) {
        let Some(node) = self.nodes.known_child(parent, name) else { return };
        for number in self.fids.without_handle(node) {
            // A file that cannot be opened now is stale from now on.
            let _ = self.open_file(number);
        }
    }

    /// How to reach the file that a fid stands for: by the fid's own handle, by path, or, of an unlinked file, by
    /// whichever handle it is open with.
    fn target(&self, number: u32) -> Result<Target, Failure> {
        let fid = self.fid(number)?;
        if let Use::File { handle: Some(handle), .. } = fid.used {
            return Ok(Target::Handle(handle));
        }
        match self.nodes.path(fid.node) {
            Ok(path) => Ok(Target::Path(path)),
            Err(errno) => Ok(Target::Handle(self.fids.handle_of(fid.node).ok_or(errno)?)),
        }
    }

    /// The path of the file that a fid stands for.
    fn path(&self, number: u32) -> Result<RelativePath, Failure> {
        Ok(self.nodes.path(self.fid(number)?.node)?)
    }

    /// Flags and handle of an open file, which is opened again if need be: `ESTALE` if it is gone.
    fn open_file(&mut self, number: u32) -> Result<(OpenFlags, Handle), Failure> {
        let fid = self.fid(number)?;
        let (flags, node) = match fid.used {
            Use::File { flags, handle: Some(handle) } => return Ok((flags, handle)),
            Use::File { flags, handle: None } => (flags, fid.node),
            Use::Directory { .. } => return Err(Errno::EISDIR.into()),
            _ => return Err(Failure::Protocol(Errno::EBADF)),
        };
        let path = self.nodes.path(node)?;
        self.make_room_for_handle()?;
        let handle = self.fs.open(&path, flags.for_reopening()).map_err(|errno| match errno {
            Errno::ENOENT | Errno::ENOTDIR | Errno::EISDIR | Errno::ELOOP | Errno::ENXIO => Errno::ESTALE,
            other => other,
        })?;
        if let Some(noted) = self.fids.handle_mut(number) {
            *noted = Some(handle);
        }
        self.count_handle(number, handle);
        Ok((flags, handle))
    }

    fn attributes_at(&mut self, path: RelativePath) -> Result<Attributes, Errno> {
        self.fs.attributes(&Target::Path(path))
    }

    fn qid(&mut self, node: NodeId, attributes: &Attributes) -> Qid {
        let path = self.linked.number(node, attributes).0;
        Qid { kind: attributes.kind.qid_type(), version: attributes.version, path }
    }

    /// Of a file that was just made.
    fn new_qid(&mut self, node: NodeId, attributes: &Attributes) -> Qid {
        let path = self.linked.number_new(node, attributes).0;
        Qid { kind: attributes.kind.qid_type(), version: attributes.version, path }
    }

    /// `EROFS` of a mount that is read-only.
    fn check_writable(&self) -> Result<(), Errno> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(Errno::EROFS),
        }
    }
}
