//! The contents of an image's files, until the machine is written: in one file without a name, beside the place where the machine will be.

use super::archive::Segment;
use super::error::{ImageError, Result};
use super::limits::Limits;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Zeroes are looked for in pieces of so many bytes: no hole is smaller, and each begins at a multiple of it.
pub const UNIT: u64 = 64 << 10;

/// Bytes of memory that the place of a piece takes, with what is made of it until the machine is written.
const PIECE: u64 = 128;

/// Bytes of a file that lie together in the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// From the start of the file.
    pub offset: u64,
    /// From the start of the spool.
    pub at: u64,
    /// How many.
    pub length: u64,
}

/// The content of a file. Between its extents, and behind them, there are zeroes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// Bytes of the file.
    pub size: u64,
    /// In order; they do not overlap.
    pub extents: Vec<Extent>,
}

/// The spool.
#[derive(Debug)]
pub struct Spool {
    file: File,
    length: u64,
    limits: Limits,
    /// Bytes of all files, with their holes.
    unpacked: u64,
    pieces: u64,
    buffer: Vec<u8>,
}

impl Spool {
    /// An empty one in the file system of `folder`.
    pub fn new(folder: &Path, limits: Limits) -> Result<Self> {
        let doing = || format!("make a temporary file in {}", folder.display());
        let file = tempfile::tempfile_in(folder).map_err(|source| ImageError::Io { doing: doing(), source })?;
        Ok(Self { file, length: 0, limits, unpacked: 0, pieces: 0, buffer: vec![0; UNIT as usize] })
    }

    /// Takes a file of `size` bytes, whose `segments` are the bytes of `content`, in order.
    pub fn add(&mut self, size: u64, segments: &[Segment], content: &mut impl Read) -> Result<Content> {
        self.unpacked = self.unpacked.saturating_add(size);
        if self.unpacked > self.limits.unpacked {
            return Err(ImageError::TooMuch { what: "bytes in files", limit: self.limits.unpacked });
        }
        let mut extents = Vec::new();
        for segment in segments {
            let mut offset = segment.offset;
            let end = segment.offset + segment.length;
            while offset < end {
                let length = (end - offset).min(UNIT - offset % UNIT);
                self.take(offset, length, content, &mut extents)?;
                offset += length;
            }
        }
        Ok(Content { size, extents })
    }

    /// Takes the next `length` bytes of `content`, which belong at `offset` of the file. Zeroes are what is there without them.
    fn take(&mut self, offset: u64, length: u64, content: &mut impl Read, extents: &mut Vec<Extent>) -> Result<()> {
        let buffer = &mut self.buffer[..length as usize];
        content.read_exact(buffer).map_err(ImageError::io("read a file of the image"))?;
        if buffer.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        if self.length + length > self.limits.kept {
            return Err(ImageError::TooMuch { what: "bytes in files that are not zero", limit: self.limits.kept });
        }
        self.file.write_all_at(buffer, self.length).map_err(ImageError::io("keep the image's files beside the machine"))?;
        match extents.last_mut() {
            Some(last) if last.offset + last.length == offset && last.at + last.length == self.length => last.length += length,
            _ => {
                self.pieces += 1;
                if self.pieces > self.limits.pieces {
                    return Err(ImageError::TooMuch { what: "pieces of files", limit: self.limits.pieces });
                }
                extents.push(Extent { offset, at: self.length, length });
            }
        }
        self.length += length;
        Ok(())
    }

    /// Bytes of memory that the places of what is in it take, about.
    pub fn memory(&self) -> u64 {
        self.pieces * PIECE
    }

    /// Bytes that are in it.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads bytes of an extent.
    pub fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buffer, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(limits: Limits) -> Spool {
        Spool::new(&std::env::temp_dir(), limits).unwrap()
    }

    fn whole(length: usize) -> [Segment; 1] {
        [Segment { offset: 0, length: length as u64 }]
    }

    #[test]
    fn zeroes_take_no_room() {
        let mut spool = spool(Limits::default());
        let unit = UNIT as usize;
        let mut bytes = vec![0; 3 * unit + 10];
        bytes[unit + 5] = 1;
        bytes[3 * unit + 9] = 2;
        let content = spool.add(bytes.len() as u64, &whole(bytes.len()), &mut bytes.as_slice()).unwrap();
        let wanted = [Extent { offset: UNIT, at: 0, length: UNIT }, Extent { offset: 3 * UNIT, at: UNIT, length: 10 }];
        assert_eq!((content.size, content.extents.as_slice()), (bytes.len() as u64, &wanted[..]));
    }

    #[test]
    fn what_lies_together_is_one_extent() {
        let mut spool = spool(Limits::default());
        let bytes = vec![7; 5 * UNIT as usize];
        let content = spool.add(bytes.len() as u64, &whole(bytes.len()), &mut bytes.as_slice()).unwrap();
        assert_eq!(content.extents, [Extent { offset: 0, at: 0, length: bytes.len() as u64 }]);
    }

    #[test]
    fn limits_hold_before_anything_is_kept() {
        let problem = |limits, size, segments: &[Segment]| {
            let mut spool = spool(limits);
            let error = spool.add(size, segments, &mut io::repeat(1)).unwrap_err();
            assert!(spool.length() <= limits.kept);
            error.to_string()
        };
        let limits = Limits { unpacked: 1 << 20, kept: 100, pieces: 2, ..Limits::default() };
        assert!(problem(limits, (1 << 20) + 1, &[]).contains("1048576 bytes in files,"));
        assert!(problem(limits, 200, &whole(101)).contains("100 bytes in files that are not zero"));
        let pieces = [0, 10, 20].map(|offset| Segment { offset, length: 1 });
        assert!(problem(limits, 200, &pieces).contains("2 pieces"));
    }
}
