//! The contents of files: where they are in the image, and how they come there.

use super::{BLOCK, BLOCK_BITS, inode};
use crate::make::image::spool::{Content, Spool, UNIT};
use crate::make::image::tree::{Inode, Node};
use std::io::{self, Read};

/// A file with holes has no more chunks than this, whose places the guest has in memory while it reads.
const MAX_CHUNKS: u64 = 1 << 14;
/// The place of a chunk that is not there.
const HOLE: u32 = u32::MAX;

/// How the content of an inode is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// Block after block.
    Plain,
    /// Behind the inode.
    Inline,
    /// In chunks of a power of two bytes, some of which are not there; these are.
    Chunks { bits: u32, present: Vec<u64> },
}

impl Layout {
    /// What is best for `inode`.
    pub fn of(inode: &Inode) -> Self {
        match &inode.node {
            // What is behind an inode must be in one block with it.
            Node::Symlink(_) if inode::length(inode, &Self::Inline) <= BLOCK => Self::Inline,
            Node::File(content) => Self::of_file(content),
            _ => Self::Plain,
        }
    }

    fn of_file(content: &Content) -> Self {
        let mut bits = UNIT.ilog2();
        while content.size.div_ceil(1 << bits) > MAX_CHUNKS {
            bits += 1;
        }
        let mut present: Vec<u64> = Vec::new();
        for extent in &content.extents {
            let last = (extent.offset + extent.length - 1) >> bits;
            let first = (extent.offset >> bits).max(present.last().map_or(0, |last| last + 1));
            present.extend(first..=last);
        }
        if present.len() as u64 == content.size.div_ceil(1 << bits) { Self::Plain } else { Self::Chunks { bits, present } }
    }

    /// The number in an inode's format.
    pub fn number(&self) -> u16 {
        match self {
            Self::Plain => 0,
            Self::Inline => 2,
            Self::Chunks { .. } => 4,
        }
    }

    /// The size of chunks as an inode says it: how many bits more than that of blocks.
    pub fn chunk_format(&self) -> Option<u32> {
        match self {
            Self::Chunks { bits, .. } => Some(bits - BLOCK_BITS),
            Self::Plain | Self::Inline => None,
        }
    }

    /// Bytes behind the inode of `node`: the target of a link, or the places of chunks.
    pub fn behind(&self, node: &Node) -> u64 {
        match (self, node) {
            (Self::Inline, Node::Symlink(target)) => target.len() as u64,
            (Self::Chunks { bits, .. }, Node::File(content)) => 4 * content.size.div_ceil(1 << bits),
            _ => 0,
        }
    }
}

/// Bytes that follow each other in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Zeroes(u64),
    /// Bytes that are at hand.
    Bytes(Vec<u8>),
    /// Bytes of the spool.
    Spooled {
        at: u64,
        length: u64,
    },
}

/// The last part of the image, with the contents of files.
#[derive(Debug)]
pub struct Pieces {
    pieces: Vec<Piece>,
    end: u64,
}

impl Pieces {
    /// None, from `start` of the image on, which is the start of a block.
    pub fn at(start: u64) -> Self {
        Self { pieces: Vec::new(), end: start }
    }

    /// Where they end in the image: at the end of a block.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Adds a file. Returns where it begins, and the places of its chunks.
    pub fn add(&mut self, content: &Content, layout: &Layout) -> (u64, Vec<u8>) {
        let start = self.end;
        let Layout::Chunks { bits, present } = layout else {
            self.range(content, 0, content.size);
            return (start, Vec::new());
        };
        let mut map = vec![HOLE; content.size.div_ceil(1 << bits) as usize];
        for &chunk in present {
            map[chunk as usize] = (self.end / BLOCK) as u32;
            self.range(content, chunk << bits, ((chunk + 1) << bits).min(content.size));
        }
        (start, map.iter().flat_map(|place| place.to_le_bytes()).collect())
    }

    /// Adds these bytes. Returns where they begin.
    pub fn add_bytes(&mut self, bytes: &[u8]) -> u64 {
        let start = self.end;
        self.push(Piece::Bytes(bytes.to_vec()));
        self.fill_block();
        start
    }

    /// Adds what is from `from` to `to` of a file, and fills up the last block.
    fn range(&mut self, content: &Content, from: u64, to: u64) {
        let mut at = from;
        let first = content.extents.partition_point(|extent| extent.offset + extent.length <= from);
        for extent in content.extents[first..].iter().take_while(|extent| extent.offset < to) {
            let start = extent.offset.max(from);
            let end = (extent.offset + extent.length).min(to);
            self.push(Piece::Zeroes(start - at));
            self.push(Piece::Spooled { at: extent.at + (start - extent.offset), length: end - start });
            at = end;
        }
        self.push(Piece::Zeroes(to - at));
        self.fill_block();
    }

    fn fill_block(&mut self) {
        self.push(Piece::Zeroes(self.end.next_multiple_of(BLOCK) - self.end));
    }

    fn push(&mut self, piece: Piece) {
        self.end += piece.length();
        match (self.pieces.last_mut(), piece) {
            (_, Piece::Zeroes(0)) => {}
            (Some(Piece::Zeroes(length)), Piece::Zeroes(more)) => *length += more,
            (Some(Piece::Spooled { at, length }), Piece::Spooled { at: next, length: more }) if *at + *length == next => *length += more,
            (_, piece) => self.pieces.push(piece),
        }
    }
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Self::Zeroes(length) | Self::Spooled { length, .. } => *length,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// Reads pieces.
pub struct Reader<'a> {
    pieces: std::slice::Iter<'a, Piece>,
    current: Option<&'a Piece>,
    /// Bytes of the current piece that have been read.
    done: u64,
    spool: &'a Spool,
}

impl<'a> Reader<'a> {
    /// From the first on.
    pub fn new(pieces: &'a Pieces, spool: &'a Spool) -> Self {
        Self { pieces: pieces.pieces.iter(), current: None, done: 0, spool }
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_none_or(|piece| piece.length() == self.done) {
            self.done = 0;
            self.current = self.pieces.next();
            if self.current.is_none() {
                return Ok(0);
            }
        }
        let Some(piece) = self.current else { return Ok(0) };
        let length = (piece.length() - self.done).min(buffer.len() as u64) as usize;
        let buffer = &mut buffer[..length];
        let count = match piece {
            Piece::Zeroes(_) => {
                buffer.fill(0);
                length
            }
            Piece::Bytes(bytes) => {
                buffer.copy_from_slice(&bytes[self.done as usize..][..length]);
                length
            }
            Piece::Spooled { at, .. } => self.spool.read_at(buffer, at + self.done)?,
        };
        self.done += count as u64;
        Ok(count)
    }
}
