//! Puts a layer over the tree of those below it.

use super::archive::{Archive, Entry, Kind, Stream};
use super::compression::{Bounded, decompressed};
use super::digest::Digesting;
use super::error::{ImageError, Result};
use super::limits::Limits;
use super::spool::Spool;
use super::tree::{Attributes, Inode, Node, Tree};
use crate::distribution::oci::Sha256;
use std::io::{self, BufReader, Read};

/// A name that begins so takes away what layers below have under the rest of it …
const WHITEOUT: &[u8] = b".wh.";
/// … but for one, which takes away all that they have in its directory …
const OPAQUE: &[u8] = b".wh..wh..opq";
/// … and those that begin so, which are notes of a file system that some builders use.
const NOTES: &[u8] = b".wh..wh.";

/// Takes layers, from the lowest on.
pub struct Layers {
    /// What has come of them.
    pub tree: Tree,
    /// The contents of files in it.
    pub spool: Spool,
    limits: Limits,
    layer: usize,
    entries: u64,
    unpacked: u64,
    /// Extended attributes that the root file system cannot carry.
    pub dropped: u64,
}

impl Layers {
    /// None yet; contents go to `spool`.
    pub fn new(spool: Spool, limits: Limits) -> Self {
        Self { tree: Tree::default(), spool, limits, layer: 0, entries: 0, unpacked: 0, dropped: 0 }
    }

    /// Takes a layer: an archive, compressed or not. Returns its digest as an archive.
    pub fn add(&mut self, blob: impl Read) -> Result<Sha256> {
        self.layer += 1;
        self.tree.begin_layer();
        let name = format!("layer {}", self.layer);
        let broken = |source: io::Error| source.downcast().unwrap_or_else(|source| ImageError::Compression { what: name.clone(), source });
        let bounded = Bounded {
            inner: decompressed(BufReader::with_capacity(1 << 16, blob), &name).map_err(broken)?,
            left: self.limits.unpacked.saturating_sub(self.unpacked),
            limit: self.limits.unpacked,
        };
        let mut digesting = Digesting::new(bounded);
        let mut archive = Archive::new(name.clone(), Stream(&mut digesting));
        while let Some(entry) = archive.next()? {
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(ImageError::TooMuch { what: "files", limit: self.limits.entries });
            }
            self.place(entry, &mut archive)?;
            self.check_tree()?;
        }
        let (digest, count) = digesting.finish().map_err(broken)?;
        self.unpacked += count;
        Ok(digest)
    }

    /// Checks that the tree is no larger than is taken. An entry makes few inodes: itself, and directories on the way to it that no other names.
    pub fn check_tree(&self) -> Result<()> {
        let inodes = self.tree.count() as u64 - 1;
        let limits = [
            ("files", inodes, self.limits.entries),
            ("bytes of memory for files, names and attributes", self.tree.memory() + self.spool.memory(), self.limits.memory),
        ];
        match limits.into_iter().find(|(_, found, limit)| found > limit) {
            Some((what, _, limit)) => Err(ImageError::TooMuch { what, limit }),
            None => Ok(()),
        }
    }

    fn place(&mut self, entry: Entry, content: &mut impl Read) -> Result<()> {
        let whole = entry.path.strip_suffix(b"/").unwrap_or(&entry.path);
        let (folder, name) = match whole.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => whole.split_at(slash + 1),
            None => (&[][..], whole),
        };
        let path = entry.path.clone();
        let layer = self.layer;
        let problem = |problem: String| ImageError::Entry { layer, path: path.clone(), problem };
        if name == OPAQUE {
            return self.tree.empty_below(folder).map_err(problem);
        }
        if whole.split(|byte| *byte == b'/').any(|name| name.starts_with(NOTES)) {
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            if matches!(hidden, b"" | b"." | b"..") {
                return Err(problem("it is a whiteout without a name".into()));
            }
            return self.tree.remove_below(&[folder, hidden].concat()).map_err(problem);
        }
        let node = match entry.kind {
            Kind::Link => return self.tree.link(&entry.path, &entry.link).map_err(problem),
            Kind::Folder => Node::Folder(Default::default()),
            Kind::File => Node::File(self.spool.add(entry.size, &entry.segments, content)?),
            Kind::Symlink => Node::Symlink(entry.link),
            Kind::Character => Node::Character(entry.device.0, entry.device.1),
            Kind::Block => Node::Block(entry.device.0, entry.device.1),
            Kind::Fifo => Node::Fifo,
        };
        let mut attributes =
            Attributes { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime, extended: entry.attributes };
        self.dropped += attributes.drop_foreign();
        self.tree.put(&entry.path, Inode { attributes, node }).map_err(problem)?;
        Ok(())
    }
}
