//! The saved record of a mount: which files the client has seen, and its fids. The file system has its own.

use super::fid::{Entry, Fid, Use};
use super::nodes::{NodeId, Nodes};
use super::server::Server;
use super::wire::NO_FID;
use super::{Access, Errno, FileKind, FileSystem, Handle, Name, OpenFlags, P9, XattrMode};
use crate::RestoreError;
use snapshot::{Record, SectionId};

const DEVICE: &str = "9P mount";

snapshot::saved! {
    /// A mount. Untrusted.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct P9State {
        /// The tag that the guest finds the mount by.
        pub tag: String,
        /// The session.
        pub session: SessionState,
    }

    /// What the server knows of its client.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct SessionState {
        /// Largest message that was agreed on, if a version was.
        pub msize: Option<u32>,
        /// Number of the next file that is seen for the first time.
        pub next_node: u64,
        /// Files that were seen. The root, 1, is not among them.
        pub nodes: Vec<NodeState>,
        /// Fids that are not opened.
        pub walked: Vec<FidState>,
        /// Open files.
        pub files: Vec<FileState>,
        /// Open directories.
        pub directories: Vec<DirectoryState>,
        /// Extended attributes being read.
        pub xattr_reads: Vec<XattrReadState>,
        /// Extended attributes being written.
        pub xattr_writes: Vec<XattrWriteState>,
    }

    /// A file that was seen.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct NodeState {
        /// Its number.
        pub node: u64,
        /// The directory that it is in; 0 if it is gone.
        pub parent: u64,
        /// Its name there.
        pub name: Vec<u8>,
    }

    /// What there is to every fid.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct FidState {
        /// The client's number.
        pub fid: u32,
        /// The file.
        pub node: u64,
        /// The user that attached.
        pub uid: u32,
    }

    /// An open file.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct FileState {
        /// The fid.
        pub fid: FidState,
        /// Linux's `O_*`.
        pub flags: u32,
        /// The file system's number, if that is saved with it.
        pub handle: Option<u64>,
    }

    /// An open directory.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct DirectoryState {
        /// The fid.
        pub fid: FidState,
        /// The entries as they were when reading began, if it did.
        pub listing: Option<Vec<EntryState>>,
    }

    /// An entry of a directory.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct EntryState {
        /// Name.
        pub name: Vec<u8>,
        /// The file type bits of `st_mode`.
        pub format: u32,
    }

    /// An extended attribute being read.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct XattrReadState {
        /// The fid.
        pub fid: FidState,
        /// What is read.
        pub value: Vec<u8>,
    }

    /// An extended attribute being written.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct XattrWriteState {
        /// The fid.
        pub fid: FidState,
        /// Name of the attribute.
        pub name: Vec<u8>,
        /// 0: create or replace, 1: create, 2: replace.
        pub mode: u32,
        /// As much as has come, followed by zeros.
        pub value: Vec<u8>,
    }
}

impl Record for P9State {
    const ID: SectionId = SectionId::new(*b"9PFS");
    const VERSION: u16 = 1;
}

fn check(valid: bool, field: &'static str, found: impl Into<u64>, wanted: &'static str) -> Result<(), RestoreError> {
    RestoreError::check(valid, DEVICE, field, found, wanted)
}

fn wrong(field: &'static str, found: u64, wanted: &'static str) -> RestoreError {
    RestoreError::OutOfRange { device: DEVICE, field, found, wanted }
}

impl<F: FileSystem> P9<F> {
    /// The record of the mount.
    pub fn save(&self) -> P9State {
        P9State { tag: self.tag.clone(), session: self.server.save() }
    }

    /// A mount as it was saved, on a file system that has been restored before, if it is one that is saved.
    pub fn restore(fs: F, access: Access, state: &P9State) -> Result<Self, RestoreError> {
        let server = Server::restore(fs, access, &state.session)?;
        Self::with_server(&state.tag, server).map_err(|bad| wrong("length of the tag", bad.length as u64, "1 to 255 bytes"))
    }
}

impl<F: FileSystem> Server<F> {
    pub(super) fn save(&self) -> SessionState {
        let node = |(id, place): (NodeId, Option<&(NodeId, Name)>)| NodeState {
            node: id.0,
            parent: place.map_or(0, |(parent, _)| parent.0),
            name: place.map_or_else(Vec::new, |(_, name)| name.as_bytes().to_vec()),
        };
        let mut state = SessionState {
            msize: self.msize,
            next_node: self.nodes.next(),
            nodes: self.nodes.iter().map(node).collect(),
            walked: Vec::new(),
            files: Vec::new(),
            directories: Vec::new(),
            xattr_reads: Vec::new(),
            xattr_writes: Vec::new(),
        };
        for (number, Fid { node, uid, used }) in self.fids.iter() {
            let fid = FidState { fid: number, node: node.0, uid: *uid };
            match used {
                Use::Walked => state.walked.push(fid),
                Use::File { flags, handle } => {
                    let handle = handle.filter(|handle| self.fs.is_saved(*handle)).map(Handle::get);
                    state.files.push(FileState { fid, flags: flags.bits(), handle });
                }
                Use::Directory { listing } => {
                    let entry = |(name, kind): &Entry| EntryState { name: name.as_bytes().to_vec(), format: kind.format_bits() };
                    let listing = listing.as_ref().map(|entries| entries.iter().map(entry).collect());
                    state.directories.push(DirectoryState { fid, listing });
                }
                Use::XattrRead { value } => state.xattr_reads.push(XattrReadState { fid, value: value.clone() }),
                Use::XattrWrite { name, mode, value } => {
                    let (name, value) = (name.clone(), value.clone());
                    state.xattr_writes.push(XattrWriteState { fid, name, mode: mode.number(), value });
                }
            }
        }
        state
    }

    pub(super) fn restore(fs: F, access: Access, state: &SessionState) -> Result<Self, RestoreError> {
        let mut this = Self::new(fs, access);
        if let Some(msize) = state.msize {
            check(Self::MSIZES.contains(&msize), "msize", msize, "a size that could be agreed on")?;
        }
        this.msize = state.msize;
        let nodes = state.nodes.iter().map(restore_node).collect::<Result<Vec<_>, _>>()?;
        this.nodes = Nodes::rebuild(state.next_node, nodes).ok_or(wrong("files seen", state.nodes.len() as u64, "a tree"))?;
        for fid in &state.walked {
            this.restore_fid(fid, Use::Walked)?;
        }
        for FileState { fid, flags, handle } in &state.files {
            let flags = OpenFlags::new(*flags).map_err(|_| wrong("open flags", u64::from(*flags), "with an access mode"))?;
            let handle = handle.map(Handle::new).filter(|handle| this.fs.is_saved(*handle));
            this.restore_fid(fid, Use::File { flags, handle })?;
        }
        for DirectoryState { fid, listing } in &state.directories {
            let listing = listing.as_ref().map(|entries| entries.iter().map(restore_entry).collect::<Result<_, _>>());
            this.restore_fid(fid, Use::Directory { listing: listing.transpose()? })?;
        }
        for XattrReadState { fid, value } in &state.xattr_reads {
            this.restore_fid(fid, Use::XattrRead { value: value.clone() })?;
        }
        for XattrWriteState { fid, name, mode, value } in &state.xattr_writes {
            let mode = XattrMode::from_number(*mode).ok_or(wrong("attribute mode", u64::from(*mode), "0, 1 or 2"))?;
            this.restore_fid(fid, Use::XattrWrite { name: name.clone(), mode, value: value.clone() })?;
        }
        let dead = this.nodes.iter().map(|(id, _)| id).find(|id| this.nodes.is_dead(*id));
        check(dead.is_none(), "file that is gone", dead.map_or(0, |id| id.0), "the file of a fid")?;
        Ok(this)
    }

    fn restore_fid(&mut self, FidState { fid, node, uid }: &FidState, used: Use) -> Result<(), RestoreError> {
        check(self.msize.is_some(), "fid", *fid, "part of a session")?;
        check(self.nodes.contains(NodeId(*node)), "file of a fid", *node, "one that was seen")?;
        check(*fid != NO_FID && self.fids.get(*fid).is_none(), "fid", *fid, "a number of its own")?;
        let bounded = self.put_fid(*fid, Fid { node: NodeId(*node), uid: *uid, used });
        bounded.map_err(|_: Errno| wrong("fids, open files or bytes held", u64::from(*fid), "within their bounds"))
    }
}

fn restore_node(NodeState { node, parent, name }: &NodeState) -> Result<(NodeId, Option<(NodeId, Name)>), RestoreError> {
    if *parent == 0 {
        check(name.is_empty(), "name of a file that is gone", *node, "empty")?;
        return Ok((NodeId(*node), None));
    }
    let name = Name::new(name).map_err(|_| wrong("name of file", *node, "a name"))?;
    Ok((NodeId(*node), Some((NodeId(*parent), name))))
}

fn restore_entry(EntryState { name, format }: &EntryState) -> Result<Entry, RestoreError> {
    let kind = FileKind::from_mode(*format).filter(|kind| kind.format_bits() == *format);
    let kind = kind.ok_or(wrong("file type", u64::from(*format), "one of Linux's seven"))?;
    Ok((Name::new(name).map_err(|_| wrong("length of a directory entry", name.len() as u64, "a name"))?, kind))
}
