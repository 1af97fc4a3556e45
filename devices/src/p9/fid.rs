//! The client's fids: what each stands for and how it is used, within bounds.

use super::nodes::NodeId;
use super::{Errno, FileKind, Handle, Name, OpenFlags, XattrMode};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most fids at a time.
pub(super) const MAX_FIDS: usize = 1 << 16;
/// Bytes that fids may hold in directory listings and extended attributes.
pub(super) const MAX_HELD: usize = 8 << 20;
/// What an entry of a listing counts besides its name.
const ENTRY_OVERHEAD: usize = 32;

/// An entry of a directory listing.
pub(super) type Entry = (Name, FileKind);

/// Bytes that an entry counts against [`MAX_HELD`].
pub(super) fn held_by_entry(name: &Name) -> usize {
    name.as_bytes().len() + ENTRY_OVERHEAD
}

/// What a fid is used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Use {
    /// Not opened.
    Walked,
    /// An open file. Without a handle it is opened again when it is next needed.
    File { flags: OpenFlags, handle: Option<Handle> },
    /// An open directory, with its sorted entries as they were when reading began.
    Directory { listing: Option<Arc<[Entry]>> },
    /// An extended attribute, or their names, to be read.
    XattrRead { value: Vec<u8> },
    /// An extended attribute that is set when the fid is clunked. An empty value to replace with removes it.
    XattrWrite { name: Vec<u8>, mode: XattrMode, value: Vec<u8> },
}

impl Use {
    fn held(&self) -> usize {
        match self {
            Self::Walked | Self::File { .. } | Self::Directory { listing: None } => 0,
            Self::Directory { listing: Some(entries) } => entries.iter().map(|(name, _)| held_by_entry(name)).sum(),
            Self::XattrRead { value } => value.len(),
            Self::XattrWrite { name, value, .. } => name.len() + value.len(),
        }
    }
}

/// A fid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fid {
    /// The file.
    pub node: NodeId,
    /// The user on whose behalf the client attached.
    pub uid: u32,
    /// What for.
    pub used: Use,
}

/// The fids of a session.
#[derive(Debug, Default)]
pub(super) struct Fids {
    fids: BTreeMap<u32, Fid>,
    held: usize,
}

impl Fids {
    pub fn get(&self, number: u32) -> Option<&Fid> {
        self.fids.get(&number)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &Fid)> {
        self.fids.iter().map(|(number, fid)| (*number, fid))
    }

    /// Bytes that may still be held, with those that `number` holds now given back.
    pub fn room_for(&self, number: u32) -> usize {
        let own = self.fids.get(&number).map_or(0, |fid| fid.used.held());
        MAX_HELD.saturating_sub(self.held - own)
    }

    /// Adds a fid or changes it. `ENFILE` or `ENOMEM`, and nothing changed, where a bound would be passed.
    pub fn set(&mut self, number: u32, fid: Fid) -> Result<(), Errno> {
        if !self.fids.contains_key(&number) && self.fids.len() == MAX_FIDS {
            return Err(Errno::ENFILE);
        }
        if fid.used.held() > self.room_for(number) {
            return Err(Errno::ENOMEM);
        }
        self.remove(number);
        self.held += fid.used.held();
        self.fids.insert(number, fid);
        Ok(())
    }

    /// The handle of an open file, to be noted when it is opened again and taken when it is given up.
    pub fn handle_mut(&mut self, number: u32) -> Option<&mut Option<Handle>> {
        match self.fids.get_mut(&number) {
            Some(Fid { used: Use::File { handle, .. }, .. }) => Some(handle),
            _ => None,
        }
    }

    /// The open files among the fids of a node that have no handle.
    pub fn without_handle(&self, node: NodeId) -> Vec<u32> {
        let open = self.iter().filter(|(_, fid)| fid.node == node && matches!(fid.used, Use::File { handle: None, .. }));
        open.map(|(number, _)| number).collect()
    }

    /// The value that an attribute is to get, to be written into; its length is fixed.
    pub fn xattr_value_mut(&mut self, number: u32) -> Option<&mut [u8]> {
        match self.fids.get_mut(&number) {
            Some(Fid { used: Use::XattrWrite { value, .. }, .. }) => Some(value),
            _ => None,
        }
    }

    /// Forgets a fid.
    pub fn remove(&mut self, number: u32) -> Option<Fid> {
        let fid = self.fids.remove(&number)?;
        self.held -= fid.used.held();
        Some(fid)
    }

    /// Forgets all fids.
    pub fn take_all(&mut self) -> impl Iterator<Item = (u32, Fid)> + use<> {
        std::mem::take(self).fids.into_iter()
    }

    /// A handle by which this file is open, for one that can be reached no other way: to write with, if there is one.
    pub fn handle_of(&self, node: NodeId) -> Option<Handle> {
        let open = self.fids.values().filter(|fid| fid.node == node).filter_map(|fid| match fid.used {
            Use::File { flags, handle: Some(handle) } => Some((flags.writable(), handle)),
            _ => None,
        });
        open.max_by_key(|(writable, _)| *writable).map(|(_, handle)| handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fid(used: Use) -> Fid {
        Fid { node: NodeId::ROOT, uid: 0, used }
    }

    #[test]
    fn fids_and_the_bytes_they_hold_are_bounded() {
        let mut fids = Fids::default();
        for number in 0..MAX_FIDS as u32 {
            fids.set(number, fid(Use::Walked)).unwrap();
        }
        assert_eq!(fids.set(u32::MAX - 1, fid(Use::Walked)), Err(Errno::ENFILE));

        fids.set(1000, fid(Use::XattrRead { value: vec![0; MAX_HELD - 1] })).unwrap();
        assert_eq!(fids.set(1001, fid(Use::XattrRead { value: vec![0; 2] })), Err(Errno::ENOMEM));
        fids.set(1000, fid(Use::XattrRead { value: vec![0; MAX_HELD] })).unwrap();
        fids.set(1000, fid(Use::Walked)).unwrap();
        fids.set(1001, fid(Use::XattrRead { value: vec![0; 2] })).unwrap();
        assert_eq!(fids.take_all().count(), MAX_FIDS);
        assert_eq!(fids.room_for(0), MAX_HELD);
    }
}
