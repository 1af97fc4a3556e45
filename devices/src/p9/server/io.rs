//! Open files and directories, and the locks on them.

use super::{Failure, Server};
use crate::p9::fid::{Entry, Fid, Use, held_by_entry};
use crate::p9::wire::{Qid, Reply};
use crate::p9::{Errno, FileKind, FileSystem, OpenFlags, Target};
use std::sync::Arc;

/// Of a lock: `P9_LOCK_TYPE_UNLCK`, the last of the three types.
const LOCK_TYPE_UNLOCK: u8 = 2;
/// The lock was granted.
const LOCK_SUCCESS: u8 = 0;

/// Bytes of a directory entry in a reply, besides its name: `qid[13] offset[8] type[1] length[2]`.
const ENTRY_SIZE: usize = Qid::SIZE + 8 + 1 + 2;

impl<F: FileSystem> Server<F> {
    pub(super) fn lopen(&mut self, number: u32, flags: u32, reply: &mut Reply<'_>) -> Result<(), Failure> {
        let Fid { node, uid, .. } = *self.walked_fid(number)?;
        let flags = OpenFlags::new(flags)?;
        let modifies = flags.writable() || flags.truncate();
        let target = self.target(number)?;
        let mut attributes = self.fs.attributes(&target)?;
        let used = match attributes.kind {
            FileKind::Directory if modifies => return Err(Errno::EISDIR.into()),
            FileKind::Directory => Use::Directory { listing: None },
            FileKind::Symlink => return Err(Errno::ELOOP.into()),
            _ if flags.directory() => return Err(Errno::ENOTDIR.into()),
            FileKind::Regular => {
                if modifies {
                    self.check_writable()?;
                }
                self.make_room_for_handle()?;
                let handle = match &target {
                    Target::Path(path) => self.fs.open(path, flags)?,
                    Target::Handle(handle) => self.fs.open_again(*handle, flags)?,
                };
                attributes = self.fs.attributes(&Target::Handle(handle)).inspect_err(|_| self.fs.close(handle))?;
                Use::File { flags, handle: Some(handle) }
            }
            _ => return Err(Errno::ENXIO.into()),
        };
        let opened = match used {
            Use::File { handle, .. } => handle,
            _ => None,
        };
        self.put_fid(number, Fid { node, uid, used })?;
        if let Some(handle) = opened {
            self.count_handle(number, handle);
        }
        reply.qid(self.qid(node, &attributes));
        reply.u32(0); // no preferred size of transfers
        Ok(())
    }

    pub(super) fn read(&mut self, number: u32, offset: u64, count: u32, reply: &mut Reply<'_>) -> Result<(), Failure> {
        if let Use::XattrRead { value } = &self.fid(number)?.used {
            let rest = usize::try_from(offset).ok().and_then(|offset| value.get(offset..)).unwrap_or_default();
            return reply.counted(count, |reply| {
                reply.bytes(&rest[..rest.len().min(reply.room())]);
                Ok(())
            });
        }
        let (flags, handle) = self.open_file(number)?;
        if !flags.readable() {
            return Err(Failure::Protocol(Errno::EBADF));
        }
        reply.counted(count, |reply| Ok(reply.fill(|bytes| self.fs.read(handle, offset, bytes))?))
    }

    #[expect(clippy::cast_possible_truncation, reason = "at most a message")]
    pub(super) fn write(&mut self, number: u32, offset: u64, data: &[u8], reply: &mut Reply<'_>) -> Result<(), Failure> {
        if let Some(value) = self.fids.xattr_value_mut(number) {
            let room = usize::try_from(offset).ok().and_then(|offset| value.get_mut(offset..)?.get_mut(..data.len()));
            room.ok_or(Errno::ENOSPC)?.copy_from_slice(data);
            reply.u32(data.len() as u32);
            return Ok(());
        }
        let (flags, handle) = self.open_file(number)?;
        if !flags.writable() {
            return Err(Failure::Protocol(Errno::EBADF));
        }
        let written = self.fs.write(handle, offset, data)?;
        reply.u32(written as u32);
        Ok(())
    }

    pub(super) fn fsync(&mut self, number: u32, datasync: u32) -> Result<(), Failure> {
        let target = self.target(number)?;
        Ok(self.fs.sync(&target, datasync != 0)?)
    }

    /// Entries from `offset` on, which is the number of entries before: `.`, `..`, then the names in the order of their
    /// bytes, as they were when offset 0 was read. So offsets stay true while files come and go.
    pub(super) fn readdir(&mut self, number: u32, offset: u64, count: u32, reply: &mut Reply<'_>) -> Result<(), Failure> {
        let listing = self.listing(number, offset)?;
        let directory = self.fid(number)?.node;
        let dots = [(&b"."[..], directory), (b"..", self.nodes.parent(directory).unwrap_or(directory))];
        reply.counted(count, |reply| {
            for index in usize::try_from(offset).unwrap_or(usize::MAX)..dots.len() + listing.len() {
                let (name, kind) = match index.checked_sub(dots.len()) {
                    None => (dots[index].0, FileKind::Directory),
                    Some(index) => (listing[index].0.as_bytes(), listing[index].1),
                };
                if reply.room() < ENTRY_SIZE + name.len() {
                    return if reply.is_empty() { Err(Errno::EINVAL.into()) } else { Ok(()) };
                }
                let node = match index.checked_sub(dots.len()) {
                    None => dots[index].1,
                    Some(index) => self.nodes.child(directory, &listing[index].0)?,
                };
                reply.qid(Qid { kind: kind.qid_type(), version: 0, path: node.0 });
                reply.u64(index as u64 + 1);
                reply.u8(kind.entry_type());
                reply.string(name)?;
            }
            Ok(())
        })
    }

    /// The entries of an open directory, read now if they were not yet, or if reading starts over.
    fn listing(&mut self, number: u32, offset: u64) -> Result<Arc<[Entry]>, Failure> {
        let fid = self.fid(number)?;
        match &fid.used {
            Use::Directory { listing: Some(listing) } if offset != 0 => return Ok(listing.clone()),
            Use::Directory { .. } => {}
            Use::File { .. } => return Err(Errno::ENOTDIR.into()),
            _ => return Err(Failure::Protocol(Errno::EBADF)),
        }
        let Fid { node, uid, .. } = *fid;
        // What Linux says of an open directory that was removed, and programs take for its end.
        let path = self.nodes.path(node).map_err(|_| Errno::ENOENT)?;
        let mut room = self.fids.room_for(number);
        let mut entries: Vec<Entry> = Vec::new();
        self.fs.read_directory(&path, &mut |name, kind| {
            room = room.checked_sub(held_by_entry(&name)).ok_or(Errno::ENOMEM)?;
            entries.push((name, kind));
            Ok(())
        })?;
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let listing: Arc<[Entry]> = entries.into();
        self.fids.set(number, Fid { node, uid, used: Use::Directory { listing: Some(listing.clone()) } })?;
        Ok(listing)
    }

    /// The guest is the only client, and its kernel has already granted the lock among its own.
    pub(super) fn lock(&mut self, number: u32, kind: u8, reply: &mut Reply<'_>) -> Result<(), Failure> {
        self.fid(number)?;
        if kind > LOCK_TYPE_UNLOCK {
            return Err(Errno::EINVAL.into());
        }
        reply.u8(LOCK_SUCCESS);
        Ok(())
    }

    /// Nobody else holds a lock: see [`lock`](Self::lock).
    pub(super) fn getlock(
        &mut self,
        number: u32,
        kind: u8,
        (start, length): (u64, u64),
        proc_id: u32,
        client_id: &[u8],
        reply: &mut Reply<'_>,
    ) -> Result<(), Failure> {
        self.fid(number)?;
        if kind > LOCK_TYPE_UNLOCK {
            return Err(Errno::EINVAL.into());
        }
        reply.u8(LOCK_TYPE_UNLOCK);
        reply.u64(start);
        reply.u64(length);
        reply.u32(proc_id);
        Ok(reply.string(client_id)?)
    }
}
