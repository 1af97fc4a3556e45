//! Writes the root file system: EROFS without compression, in the version of its format that Linux 5.15 and later read.
//!
//! EROFS is read-only, so everything in it is where it is needed and nothing else is there. Of the forms that it has, this uses those that
//! cost the guest least: inodes of 64 bytes close together, with attributes and the targets of symbolic links right behind them, and
//! contents in whole blocks. Nothing depends on anything but the tree: equal trees give equal bytes.
//!
//! ```text
//! block 0      superblock at 1024, then inodes: the root, what is in it, what is in its directories …
//! then         directories' blocks, in that order
//! then         files' blocks, in that order
//! ```

mod directory;
mod file;
mod inode;
#[cfg(test)]
mod tests;

use super::error::{ImageError, Result};
use super::spool::Spool;
use super::tree::{Id, Node, ROOT, Tree};
use directory::directory;
use file::{Layout, Pieces, Reader};
use inode::Inode;
use snapshot::{Digest, Digester};
use std::io::{self, Cursor, Read};

/// Bytes of a block.
const BLOCK: u64 = 4096;
const BLOCK_BITS: u32 = BLOCK.ilog2();
const SUPERBLOCK: usize = 1024;
const SUPERBLOCK_LEN: usize = 128;
const MAGIC: u32 = 0xe0f5_e1e2;
/// `EROFS_FEATURE_COMPAT_MTIME`: times are those of the last change.
const COMPAT: u32 = 2;
/// `EROFS_FEATURE_INCOMPAT_CHUNKED_FILE`.
const INCOMPAT: u32 = 4;
/// Where the root's inode is. Its number has 16 bits; and no inode may have the number 0.
const FIRST_INODE: u64 = (SUPERBLOCK + SUPERBLOCK_LEN) as u64;

/// A root file system, ready to be written.
#[derive(Debug)]
pub struct Filesystem {
    /// The superblock and the inodes.
    head: Vec<u8>,
    /// Directories and what they are in. Their blocks, of which even the smallest has one, are made when they are read.
    folders: Vec<(Id, Id)>,
    /// Numbers of the tree's inodes.
    numbers: Vec<u64>,
    /// The files' contents.
    pieces: Pieces,
    /// Inodes that are in it.
    pub inodes: usize,
}

/// The inodes of a tree that have a name, in their order in the image.
struct Order {
    /// Each once.
    inodes: Vec<Id>,
    /// Directories and what they are in.
    folders: Vec<(Id, Id)>,
    /// Names of each inode of the tree.
    links: Vec<u32>,
}

impl Order {
    fn of(tree: &Tree) -> Self {
        let mut order = Self { inodes: vec![ROOT], folders: Vec::new(), links: vec![0; tree.count()] };
        // `.` and, in the root, `..`
        order.links[ROOT.index()] = 2;
        let mut ahead = vec![(ROOT, ROOT)];
        while let Some((folder, parent)) = ahead.pop() {
            order.folders.push((folder, parent));
            let Node::Folder(names) = &tree.inode(folder).node else { continue };
            let before = ahead.len();
            for name in names.values() {
                if order.links[name.id.index()] == 0 {
                    order.inodes.push(name.id);
                }
                order.links[name.id.index()] += 1;
                if matches!(tree.inode(name.id).node, Node::Folder(_)) {
                    ahead.push((name.id, folder));
                    order.links[name.id.index()] += 1;
                    order.links[folder.index()] += 1;
                }
            }
            ahead[before..].reverse();
        }
        order
    }
}

impl Filesystem {
    /// That of `tree`, if it has no more than `limit` bytes.
    pub fn of(tree: &Tree, limit: u64) -> Result<Self> {
        let order = Order::of(tree);
        let layouts: Vec<Layout> = order.inodes.iter().map(|id| Layout::of(tree.inode(*id))).collect();

        let mut numbers = vec![0; tree.count()];
        let mut end = FIRST_INODE;
        for (id, layout) in order.inodes.iter().zip(&layouts) {
            let place = inode::place(tree.inode(*id), layout, end);
            numbers[id.index()] = inode::number(place);
            end = place + inode::length(tree.inode(*id), layout);
        }
        let check = |length| if length > limit { Err(ImageError::TooLarge { found: length, limit }) } else { Ok(()) };
        let mut end = end.next_multiple_of(BLOCK);
        check(end)?;
        let mut head = vec![0; end as usize];
        let mut folders = vec![(0, 0); tree.count()];
        for (folder, parent) in &order.folders {
            let length = directory(tree, *folder, *parent, &numbers).len() as u64;
            folders[folder.index()] = (end, length);
            end += length.next_multiple_of(BLOCK);
            check(end)?;
        }
        let mut pieces = Pieces::at(end);
        for (serial, (id, layout)) in (1..).zip(order.inodes.iter().zip(&layouts)) {
            let found = tree.inode(*id);
            let (start, size, map) = match &found.node {
                Node::Folder(_) => (folders[id.index()].0, folders[id.index()].1, Vec::new()),
                Node::File(content) => {
                    let (start, map) = pieces.add(content, layout);
                    (start, content.size, map)
                }
                Node::Symlink(target) if *layout == Layout::Plain => (pieces.add_bytes(target), target.len() as u64, Vec::new()),
                Node::Symlink(target) => (0, target.len() as u64, target.clone()),
                Node::Character(..) | Node::Block(..) | Node::Fifo | Node::Socket => (0, 0, Vec::new()),
            };
            let inode = Inode { found, layout, serial, links: order.links[id.index()], start, size, behind: &map };
            inode.write(&mut head, inode::offset(numbers[id.index()]));
        }
        check(pieces.end())?;
        let mut image = Self { head, folders: order.folders, numbers, pieces, inodes: order.inodes.len() };
        image.write_superblock(image.identifier(tree));
        Ok(image)
    }

    /// Overlayfs knows its layers by their identifiers. Nobody else cares which it is.
    fn identifier(&self, tree: &Tree) -> Digest {
        let mut digester = Digester::new();
        digester.update(&self.head);
        self.directories(tree).for_each(|blocks| digester.update(&blocks));
        digester.finish()
    }

    /// The blocks of each directory.
    fn directories<'a>(&'a self, tree: &'a Tree) -> impl Iterator<Item = Vec<u8>> + 'a {
        self.folders.iter().map(|(folder, parent)| {
            let mut blocks = directory(tree, *folder, *parent, &self.numbers);
            blocks.resize(blocks.len().next_multiple_of(BLOCK as usize), 0);
            blocks
        })
    }

    fn write_superblock(&mut self, identifier: Digest) {
        let blocks = (self.length() / BLOCK) as u32;
        let mut fields = Vec::with_capacity(SUPERBLOCK_LEN);
        fields.extend(MAGIC.to_le_bytes());
        fields.extend([0; 4]); // A sum over the superblock, which COMPAT does not announce.
        fields.extend(COMPAT.to_le_bytes());
        fields.extend([BLOCK_BITS as u8, 0]);
        fields.extend((inode::number(FIRST_INODE) as u16).to_le_bytes());
        fields.extend((self.inodes as u64).to_le_bytes());
        fields.extend([0; 12]); // The time of inodes that have none of their own.
        fields.extend(blocks.to_le_bytes());
        fields.extend([0; 8]); // Inodes are counted from block 0; there are no shared attributes.
        fields.extend(&identifier.as_bytes()[..16]);
        fields.extend([0; 16]); // A name.
        fields.extend(INCOMPAT.to_le_bytes());
        self.head[SUPERBLOCK..SUPERBLOCK + fields.len()].copy_from_slice(&fields);
    }

    /// Bytes of the file system.
    pub fn length(&self) -> u64 {
        self.pieces.end()
    }

    /// Reads it. It is that of `tree`, and the contents of its files are in `spool`.
    pub fn reader<'a>(&'a self, tree: &'a Tree, spool: &'a Spool) -> impl Read + 'a {
        let directories = Joined { pieces: self.directories(tree), current: Cursor::default() };
        self.head.as_slice().chain(directories).chain(Reader::new(&self.pieces, spool))
    }
}

/// Reads pieces that are made one after the other.
struct Joined<I> {
    pieces: I,
    current: Cursor<Vec<u8>>,
}

impl<I: Iterator<Item = Vec<u8>>> Read for Joined<I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.current.read(buffer)? {
                0 if !buffer.is_empty() => match self.pieces.next() {
                    Some(next) => self.current = Cursor::new(next),
                    None => return Ok(0),
                },
                count => return Ok(count),
            }
        }
    }
}
