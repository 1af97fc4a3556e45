//! Attributes of files and of the mount, ordinary and extended.

use super::{Failure, Server};
use crate::p9::fid::{Fid, Use};
use crate::p9::filesystem::{ASKER, PERMISSION_BITS};
use crate::p9::wire::{Changes, Reply};
use crate::p9::{DeviceNumber, Errno, FileSystem, SetAttributes, SetTime, Target, Timestamp, XattrMode};

/// `V9FS_MAGIC`: the type that `statfs` names.
const FILE_SYSTEM_TYPE: u32 = 0x0102_1997;
/// Longest name of a file.
const NAME_MAX: u32 = 255;
/// `P9_STATS_BASIC`: all of `struct stat`, and neither birth time nor generation.
const STATS_BASIC: u64 = 0x7ff;
/// What programs are told to read and write at a time, in bytes.
const BLOCK_SIZE: u64 = 4096;
/// Longest value of an extended attribute, and of the list of their names, in Linux.
const XATTR_SIZE_MAX: usize = 65536;
/// Longest name of an extended attribute in Linux.
const XATTR_NAME_MAX: usize = 255;

/// Bits of `valid` in `Tsetattr`.
mod valid {
    pub const MODE: u32 = 1 << 0;
    pub const UID: u32 = 1 << 1;
    pub const GID: u32 = 1 << 2;
    pub const SIZE: u32 = 1 << 3;
    pub const ATIME: u32 = 1 << 4;
    pub const MTIME: u32 = 1 << 5;
    pub const ATIME_SET: u32 = 1 << 7;
    pub const MTIME_SET: u32 = 1 << 8;
}

/// A device number in the 32 bits of Linux's `new_encode_dev`.
fn encode_device(DeviceNumber { major, minor }: DeviceNumber) -> u64 {
    u64::from(minor & 0xff) | u64::from(major & 0xfff) << 8 | u64::from(minor & 0xf_ff00) << 12
}

fn decode_time(present: bool, explicit: bool, seconds: u64, nanoseconds: u64) -> Result<Option<SetTime>, Errno> {
    Ok(match (present, explicit) {
        (false, _) => None,
        (true, false) => Some(SetTime::Now),
        (true, true) => {
            let nanoseconds = u32::try_from(nanoseconds).ok().filter(|nanoseconds| *nanoseconds < 1_000_000_000);
            Some(SetTime::To(Timestamp { seconds: seconds.cast_signed(), nanoseconds: nanoseconds.ok_or(Errno::EINVAL)? }))
        }
    })
}

impl<F: FileSystem> Server<F> {
    pub(super) fn statfs(&mut self, number: u32, reply: &mut Reply<'_>) -> Result<(), Failure> {
        let target = self.target(number)?;
        let statistics = self.fs.statistics(&target)?;
        reply.u32(FILE_SYSTEM_TYPE);
        reply.u32(statistics.block_size);
        reply.u64(statistics.blocks);
        reply.u64(statistics.blocks_free);
        reply.u64(statistics.blocks_available);
        reply.u64(statistics.files);
        reply.u64(statistics.files_free);
        reply.u64(0); // file system identifier
        reply.u32(NAME_MAX);
        Ok(())
    }

    pub(super) fn getattr(&mut self, number: u32, reply: &mut Reply<'_>) -> Result<(), Failure> {
        let target = self.target(number)?;
        let Fid { node, uid: asker, .. } = *self.fid(number)?;
        let attributes = self.fs.attributes(&target)?;
        let owner = |id| if id == ASKER { asker } else { id };
        reply.u64(STATS_BASIC);
        reply.qid(self.qid(node, &attributes));
        reply.u32(attributes.kind.format_bits() | attributes.permissions & PERMISSION_BITS);
        reply.u32(owner(attributes.uid));
        reply.u32(owner(attributes.gid));
        reply.u64(attributes.links);
        reply.u64(encode_device(attributes.device));
        reply.u64(attributes.size);
        reply.u64(BLOCK_SIZE);
        reply.u64(attributes.blocks);
        for time in [attributes.accessed, attributes.modified, attributes.changed, Timestamp::default()] {
            reply.u64(time.seconds.cast_unsigned());
            reply.u64(u64::from(time.nanoseconds));
        }
        reply.u64(0); // generation
        reply.u64(0); // data version
        Ok(())
    }

    pub(super) fn setattr(&mut self, number: u32, changes: &Changes) -> Result<(), Failure> {
        let target = self.target(number)?;
        self.check_writable()?;
        let Changes { valid, mode, uid, gid, size, atime_sec, atime_nsec, mtime_sec, mtime_nsec } = *changes;
        let has = |bit| valid & bit != 0;
        let changes = SetAttributes {
            permissions: has(valid::MODE).then_some(mode & PERMISSION_BITS),
            uid: has(valid::UID).then_some(uid),
            gid: has(valid::GID).then_some(gid),
            size: has(valid::SIZE).then_some(size),
            accessed: decode_time(has(valid::ATIME), has(valid::ATIME_SET), atime_sec, atime_nsec)?,
            modified: decode_time(has(valid::MTIME), has(valid::MTIME_SET), mtime_sec, mtime_nsec)?,
        };
        Ok(self.fs.set_attributes(&target, &changes)?)
    }

    pub(super) fn xattrwalk(&mut self, number: u32, new: u32, name: &[u8], reply: &mut Reply<'_>) -> Result<(), Failure> {
        let target = self.target(number)?;
        let Fid { node, uid, .. } = *self.fid(number)?;
        let value = match name {
            b"" => self.fs.xattr_names(&target, XATTR_SIZE_MAX)?,
            name => self.fs.xattr(&target, name, XATTR_SIZE_MAX)?,
        };
        let size = value.len() as u64;
        self.add_fid(new, Fid { node, uid, used: Use::XattrRead { value } })?;
        reply.u64(size);
        Ok(())
    }

    /// The value comes by `Twrite`; it is set at `Tclunk`.
    pub(super) fn xattrcreate(&mut self, number: u32, name: &[u8], size: u64, flags: u32) -> Result<(), Failure> {
        let Fid { node, uid, .. } = *self.walked_fid(number)?;
        self.check_writable()?;
        let mode = XattrMode::from_number(flags).ok_or(Errno::EINVAL)?;
        if name.is_empty() || name.len() > XATTR_NAME_MAX {
            return Err(Errno::ERANGE.into());
        }
        let size = usize::try_from(size).ok().filter(|size| *size <= XATTR_SIZE_MAX).ok_or(Errno::ERANGE)?;
        let used = Use::XattrWrite { name: name.to_vec(), mode, value: vec![0; size] };
        Ok(self.put_fid(number, Fid { node, uid, used })?)
    }

    /// Sets an attribute that came whole. The client asks for its removal by an empty value to replace it with.
    pub(super) fn write_xattr(&mut self, target: &Target, name: &[u8], mode: XattrMode, value: &[u8]) -> Result<(), Errno> {
        match (mode, value) {
            (XattrMode::Replace, []) => self.fs.remove_xattr(target, name),
            _ => self.fs.set_xattr(target, name, value, mode),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_encoded_as_linux_does() {
        assert_eq!(encode_device(DeviceNumber { major: 8, minor: 1 }), 0x801);
        assert_eq!(encode_device(DeviceNumber { major: 0xabc, minor: 0x1_2345 }), 0x123a_bc45);
    }
}
