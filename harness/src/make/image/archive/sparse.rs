//! Files with holes: where their content belongs.

use super::pax::number;
use super::{BLOCK, Segment};

/// Pieces that a file may have in an archive.
pub const MAX_SEGMENTS: usize = 1 << 20;

/// What PAX headers say of a file's holes.
#[derive(Debug)]
pub enum Holes {
    /// All.
    Listed {
        /// Bytes of the file.
        size: u64,
        /// Its content.
        segments: Vec<Segment>,
    },
    /// The list is at the start of the content.
    InContent {
        /// Bytes of the file.
        size: u64,
    },
}

/// The list at the start of the content: lines with a number each, first how many pieces there are, then offset and length of each of them.
#[derive(Debug)]
pub struct List {
    size: u64,
    line: Vec<u8>,
    /// Numbers that are still to come.
    missing: Option<usize>,
    numbers: Vec<u64>,
}

impl List {
    /// For a file of `size` bytes.
    pub fn new(size: u64) -> Self {
        Self { size, line: Vec::new(), missing: None, numbers: Vec::new() }
    }

    /// Takes a block. The list fills up its last one with zeroes.
    pub fn take(&mut self, block: &[u8; BLOCK]) -> Result<(), String> {
        for &byte in block {
            if self.is_complete() {
                break;
            }
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let found: u64 = number(&self.line)?;
            self.line.clear();
            match &mut self.missing {
                None if found > MAX_SEGMENTS as u64 => return Err(format!("it has {found} pieces, but the limit is {MAX_SEGMENTS}")),
                None => self.missing = Some(2 * found as usize),
                Some(missing) => {
                    *missing -= 1;
                    self.numbers.push(found);
                }
            }
        }
        // No number has as many digits.
        if self.line.len() > BLOCK { Err("its list of holes is malformed".into()) } else { Ok(()) }
    }

    /// Whether the list has come to its end.
    pub fn is_complete(&self) -> bool {
        self.missing == Some(0)
    }

    /// The file's size and its content.
    pub fn finish(self) -> (u64, Vec<Segment>) {
        (self.size, self.numbers.chunks_exact(2).map(|pair| Segment { offset: pair[0], length: pair[1] }).collect())
    }
}

/// Checks that `segments` are in order, inside of a file of `size` bytes, and as long as the `stored` bytes of content.
pub fn check(segments: &[Segment], size: u64, stored: u64) -> Result<(), String> {
    let mut end = 0;
    let mut length = 0;
    for segment in segments {
        let next = segment.offset.checked_add(segment.length).filter(|next| segment.offset >= end && *next <= size);
        end = next.ok_or("its pieces overlap, or are behind its end")?;
        // No more than `size` in all, so it does not overflow.
        length += segment.length;
    }
    if length == stored { Ok(()) } else { Err(format!("{stored} bytes of content for pieces of {length} bytes")) }
}
