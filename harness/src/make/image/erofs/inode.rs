//! Inodes and what follows each of them.

use super::BLOCK;
use super::file::Layout;
use crate::make::image::tree::{self, Attributes, CARRIED, Node};

/// Bytes of an inode, in the long form.
const INODE_LEN: u64 = 64;
/// Bit 0 of the format is the long form; the layout of the content follows.
const LONG: u16 = 1;
/// An inode's number is its place in units of so many bytes.
const SLOT: u64 = 32;
/// Bytes before the extended attributes of an inode.
const ATTRIBUTES_HEADER_LEN: usize = 12;

/// The numbers of [`CARRIED`].
const NAMESPACES: [u8; CARRIED.len()] = [1, 2, 3, 4, 6];

/// The number of the inode at `offset` of the image.
pub fn number(offset: u64) -> u64 {
    offset / SLOT
}

/// Where the inode with this number is.
pub fn offset(number: u64) -> u64 {
    number * SLOT
}

/// Where the inode belongs if those before it end at `end`.
pub fn place(inode: &tree::Inode, layout: &Layout, end: u64) -> u64 {
    // So none crosses the end of a block, which would cost the guest a copy.
    let place = end.next_multiple_of(INODE_LEN);
    // Nor may a link's target, which follows its inode.
    let crosses = place % BLOCK + length(inode, layout) > BLOCK;
    if *layout == Layout::Inline && crosses { place.next_multiple_of(BLOCK) } else { place }
}

/// Bytes of the inode with what follows it.
pub fn length(inode: &tree::Inode, layout: &Layout) -> u64 {
    INODE_LEN + attributes_body(&inode.attributes).len() as u64 + layout.behind(&inode.node)
}

/// An inode, ready to be written.
pub struct Inode<'a> {
    pub found: &'a tree::Inode,
    pub layout: &'a Layout,
    /// From 1 on.
    pub serial: u32,
    pub links: u32,
    /// Where its content begins in the image, if it has blocks of its own.
    pub start: u64,
    pub size: u64,
    /// What follows it and its attributes.
    pub behind: &'a [u8],
}

impl Inode<'_> {
    /// Writes it to its place.
    pub fn write(&self, image: &mut [u8], offset: u64) {
        let Attributes { mode, uid, gid, mtime, .. } = self.found.attributes;
        let attributes = attributes_body(&self.found.attributes);
        // The header counts as one, then every four bytes.
        let count = if attributes.is_empty() { 0 } else { 1 + (attributes.len() - ATTRIBUTES_HEADER_LEN) / 4 };
        let mut bytes = Vec::new();
        bytes.extend((LONG | self.layout.number() << 1).to_le_bytes());
        bytes.extend((count as u16).to_le_bytes());
        bytes.extend((kind(&self.found.node) | mode as u16).to_le_bytes());
        bytes.extend([0; 2]);
        bytes.extend(self.size.to_le_bytes());
        bytes.extend(self.place_of_content().to_le_bytes());
        bytes.extend(self.serial.to_le_bytes());
        bytes.extend(uid.to_le_bytes());
        bytes.extend(gid.to_le_bytes());
        bytes.extend(mtime.0.to_le_bytes());
        bytes.extend(mtime.1.to_le_bytes());
        bytes.extend(self.links.to_le_bytes());
        bytes.extend([0; 16]);
        bytes.extend(attributes);
        bytes.extend(self.behind);
        image[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
    }

    fn place_of_content(&self) -> u32 {
        match self.found.node {
            // As in `new_encode_dev` of Linux.
            Node::Character(major, minor) | Node::Block(major, minor) => minor & 0xff | major << 8 | (minor & !0xff) << 12,
            _ => self.layout.chunk_format().unwrap_or((self.start / BLOCK) as u32),
        }
    }
}

fn kind(node: &Node) -> u16 {
    match node {
        Node::Fifo => 0o010_000,
        Node::Character(..) => 0o020_000,
        Node::Folder(_) => 0o040_000,
        Node::Block(..) => 0o060_000,
        Node::File(_) => 0o100_000,
        Node::Symlink(_) => 0o120_000,
        Node::Socket => 0o140_000,
    }
}

fn attributes_body(attributes: &Attributes) -> Vec<u8> {
    if attributes.extended.is_empty() {
        return Vec::new();
    }
    let mut bytes = vec![0; ATTRIBUTES_HEADER_LEN];
    for (name, value) in &attributes.extended {
        let namespace = NAMESPACES.iter().zip(CARRIED).find_map(|(number, prefix)| Some((*number, name.strip_prefix(prefix)?)));
        let Some((number, suffix)) = namespace else { continue };
        bytes.extend([suffix.len() as u8, number]);
        bytes.extend((value.len() as u16).to_le_bytes());
        bytes.extend(suffix);
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}
