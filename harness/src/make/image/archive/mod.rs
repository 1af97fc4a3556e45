//! Reads tar archives: ustar, GNU and PAX headers with what they say besides, GNU's and PAX's files with holes.
//!
//! The crate `tar` knows the fields of a header; the order of headers, and how much is believed of them, is here. As in container runtimes,
//! global PAX headers say nothing, and only files have content.

mod pax;
mod sparse;
#[cfg(test)]
mod tests;

use super::error::{ImageError, Result};
use super::limits::MAX_EXTENSION;
use super::recognised::{describe, recognise};
use pax::Extensions;
use sparse::{Holes, MAX_SEGMENTS};
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use tar::{EntryType, Header};

/// Bytes of a block, of which headers and contents are made.
const BLOCK: usize = 512;
/// Where a header since POSIX says that it is one, and how.
const MAGIC: (usize, &[u8]) = (257, b"ustar");

/// What an archive is read from.
pub trait Source: Read {
    /// Passes over `count` bytes, and says whether there are as many.
    fn pass(&mut self, count: u64) -> io::Result<bool>;
}

/// A source that can only be read.
pub struct Stream<R>(pub R);

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Source for Stream<R> {
    fn pass(&mut self, count: u64) -> io::Result<bool> {
        io::copy(&mut (&mut self.0).take(count), &mut io::sink()).map(|passed| passed == count)
    }
}

impl Source for &std::fs::File {
    fn pass(&mut self, count: u64) -> io::Result<bool> {
        let length = self.metadata()?.len();
        let end = self.stream_position()?.checked_add(count).filter(|end| *end <= length);
        self.seek(SeekFrom::Start(end.unwrap_or(length)))?;
        Ok(end.is_some())
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// Another name of the file that `link` names.
    Link,
    /// A symbolic link to `link`.
    Symlink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A directory.
    Folder,
    /// A named pipe.
    Fifo,
}

/// A piece of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it belongs in the file.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
}

/// An entry's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As it is in the archive.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// What a link leads to.
    pub link: Vec<u8>,
    /// Permissions, with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970, and nanoseconds.
    pub mtime: (i64, u32),
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes.
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Bytes of the file, with its holes.
    pub size: u64,
    /// Where the content belongs in the file, in order. Together they are as long as the content.
    pub segments: Vec<Segment>,
}

/// An archive.
pub struct Archive<S> {
    source: S,
    name: String,
    /// Bytes from the start of the archive.
    offset: u64,
    /// Bytes of the current entry's content that have not been read.
    remaining: u64,
    /// Bytes behind them that fill the last block.
    padding: u64,
}

impl<S: Source> Archive<S> {
    /// The archive in `source`, which errors call `name`.
    pub fn new(name: impl Into<String>, source: S) -> Self {
        Self { source, name: name.into(), offset: 0, remaining: 0, padding: 0 }
    }

    /// The next entry's header. What is left of the last one's content is passed over.
    pub fn next(&mut self) -> Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        let mut extended = false;
        while let Some(header) = self.header()? {
            let size = self.field(&[], header.entry_size())?;
            self.begin(size);
            match header.entry_type() {
                EntryType::GNULongName => extensions.long_name = Some(zero_terminated(self.extension()?)),
                EntryType::GNULongLink => extensions.long_link = Some(zero_terminated(self.extension()?)),
                EntryType::XHeader => {
                    let bytes = self.extension()?;
                    extensions.take(&bytes).map_err(|problem| self.malformed(&[], problem))?;
                }
                EntryType::XGlobalHeader => {
                    self.extension()?;
                    continue;
                }
                _ => return self.entry(&header, extensions).map(Some),
            }
            extended = true;
        }
        if extended { Err(self.truncated("a header of an entry's name that no entry follows")) } else { Ok(None) }
    }

    /// Where the next byte of the current entry's content is, and how many there are, in bytes from the start of the archive.
    pub fn content_range(&self) -> (u64, u64) {
        (self.offset, self.remaining)
    }

    fn entry(&mut self, header: &Header, mut extensions: Extensions) -> Result<Entry> {
        let path = extensions.path().unwrap_or_else(|| header.path_bytes().into_owned());
        let link = extensions.link().or_else(|| header.link_name_bytes().map(Into::into)).unwrap_or_default();
        let kind = match header.entry_type() {
            // Archives older than ustar mark a directory so.
            EntryType::Regular if path.ends_with(b"/") => Kind::Folder,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
            EntryType::Link => Kind::Link,
            EntryType::Symlink => Kind::Symlink,
            EntryType::Char => Kind::Character,
            EntryType::Block => Kind::Block,
            EntryType::Directory => Kind::Folder,
            EntryType::Fifo => Kind::Fifo,
            other => return Err(self.malformed(&path, format!("unknown entry type \"{}\"", other.as_byte().escape_ascii()))),
        };
        let (mut size, mut segments) = (0, Vec::new());
        if kind == Kind::File {
            if let Some(size) = extensions.size {
                self.begin(size);
            }
            (size, segments) = match (header.as_gnu().filter(|_| header.entry_type().is_gnu_sparse()), extensions.holes()) {
                (Some(gnu), _) => {
                    let size = self.field(&path, gnu.real_size())?;
                    (size, self.gnu_segments(&path, gnu)?)
                }
                (None, Some(holes)) => self.pax_segments(&path, holes)?,
                (None, None) => (self.remaining, vec![Segment { offset: 0, length: self.remaining }]),
            };
            segments.retain(|segment| segment.length > 0);
            sparse::check(&segments, size, self.remaining).map_err(|problem| self.malformed(&path, problem))?;
        } else {
            self.begin(0);
        }
        let id = |this: &Self, found: Option<u32>, field: io::Result<u64>| match found {
            Some(id) => Ok(id),
            None => {
                let id = this.field(&path, field)?;
                u32::try_from(id).map_err(|_| this.malformed(&path, format!("invalid user or group {id}")))
            }
        };
        let device = match kind {
            Kind::Character | Kind::Block => {
                let number = |field| self.field(&path, field).map(Option::unwrap_or_default);
                (number(header.device_major())?, number(header.device_minor())?)
            }
            _ => (0, 0),
        };
        Ok(Entry {
            kind,
            mode: self.field(&path, header.mode())? & 0o7777,
            uid: id(self, extensions.uid, header.uid())?,
            gid: id(self, extensions.gid, header.gid())?,
            mtime: match extensions.mtime {
                Some(mtime) => mtime,
                // GNU's binary form of a time before 1970 is that of the two's complement.
                None => (self.field(&path, header.mtime())?.cast_signed(), 0),
            },
            device,
            attributes: extensions.attributes,
            size,
            segments,
            path,
            link,
        })
    }

    /// The content of a file with holes in GNU's old form: the header lists some, and blocks behind it the rest.
    fn gnu_segments(&mut self, path: &[u8], header: &tar::GnuHeader) -> Result<Vec<Segment>> {
        let mut segments = Vec::new();
        let mut add = |this: &Self, listed: &[tar::GnuSparseHeader]| {
            for segment in listed.iter().filter(|segment| !segment.is_empty()) {
                let (offset, length) = (this.field(path, segment.offset())?, this.field(path, segment.length())?);
                segments.push(Segment { offset, length });
            }
            if segments.len() > MAX_SEGMENTS { Err(this.malformed(path, "it has too many holes")) } else { Ok(()) }
        };
        add(self, &header.sparse)?;
        let mut more = header.is_extended();
        while more {
            let mut extension = tar::GnuExtSparseHeader::new();
            self.fill(extension.as_mut_bytes(), "a list of holes")?;
            add(self, extension.sparse())?;
            more = extension.is_extended();
        }
        Ok(segments)
    }

    /// The size and the content of a file with holes in one of PAX's forms.
    fn pax_segments(&mut self, path: &[u8], holes: Holes) -> Result<(u64, Vec<Segment>)> {
        let mut list = match holes {
            Holes::Listed { size, segments } => return Ok((size, segments)),
            Holes::InContent { size } => sparse::List::new(size),
        };
        while !list.is_complete() {
            let Some(remaining) = self.remaining.checked_sub(BLOCK as u64) else {
                return Err(self.malformed(path, "its list of holes has no end"));
            };
            let mut block = [0; BLOCK];
            self.fill(&mut block, "a list of holes")?;
            self.remaining = remaining;
            list.take(&block).map_err(|problem| self.malformed(path, problem))?;
        }
        Ok(list.finish())
    }

    /// The next header; `None` at the end of the archive, with or without the mark that belongs there.
    fn header(&mut self) -> Result<Option<Header>> {
        let (remaining, padding) = (self.remaining, self.padding);
        self.begin(0);
        let doing = || ImageError::io(format!("read {}", self.name));
        if !self.source.pass(remaining).map_err(doing())? {
            return Err(self.truncated("the content of a file"));
        }
        // What is behind the last content is not missed.
        self.source.pass(padding).map_err(doing())?;
        self.offset = self.offset.saturating_add(remaining).saturating_add(padding);
        let is_first = self.offset == 0;
        let mut header = Header::new_old();
        let filled = self.fill_as_far(header.as_mut_bytes())?;
        if filled == 0 || header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if filled < BLOCK {
            let found = recognise(&header.as_bytes()[..filled]).filter(|_| is_first);
            return Err(found.map_or_else(|| self.truncated("a header"), |found| self.no_archive(found)));
        }
        // The sum is over the header with blanks in the sum's place. Some programs have summed signed bytes.
        let (sum, signed) = header.as_bytes().iter().enumerate().fold((0, 0), |(sum, signed), (at, byte)| {
            let byte = if (148..156).contains(&at) { b' ' } else { *byte };
            (sum + u32::from(byte), signed + i32::from(byte.cast_signed()))
        });
        let wanted = header.cksum();
        let is_sum = wanted.as_ref().is_ok_and(|wanted| *wanted == sum || i32::try_from(*wanted) == Ok(signed));
        if !is_sum && is_first && header.as_bytes()[MAGIC.0..][..MAGIC.1.len()] != *MAGIC.1 {
            return Err(self.no_archive(describe(header.as_bytes())));
        }
        let wanted = self.field(&[], wanted)?;
        if !is_sum {
            return Err(self.malformed(&[], format!("a header has the checksum {sum}, expected {wanted}")));
        }
        Ok(Some(header))
    }

    /// Makes the next `size` bytes the current content.
    fn begin(&mut self, size: u64) {
        self.remaining = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// All of the current content, which is about the next entry.
    fn extension(&mut self) -> Result<Vec<u8>> {
        if self.remaining > MAX_EXTENSION {
            return Err(self
                .malformed(&[], format!("a header with an entry's name has {} bytes, but the limit is {MAX_EXTENSION}", self.remaining)));
        }
        let mut bytes = vec![0; self.remaining as usize];
        self.fill(&mut bytes, "a header of an entry's name")?;
        self.remaining = 0;
        Ok(bytes)
    }

    fn fill(&mut self, buffer: &mut [u8], place: &'static str) -> Result<()> {
        if self.fill_as_far(buffer)? == buffer.len() { Ok(()) } else { Err(self.truncated(place)) }
    }

    /// Fills `buffer` as far as there is something to fill it with.
    fn fill_as_far(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.source.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ImageError::io(format!("read {}", self.name))(error)),
            }
        }
        self.offset += filled as u64;
        Ok(filled)
    }

    fn field<T>(&self, path: &[u8], field: io::Result<T>) -> Result<T> {
        field.map_err(|error| self.malformed(path, error.to_string().escape_debug().to_string()))
    }

    fn truncated(&self, place: &'static str) -> ImageError {
        ImageError::Truncated { archive: self.name.clone(), place }
    }

    fn no_archive(&self, found: String) -> ImageError {
        ImageError::NotAnArchive { what: self.name.clone(), found }
    }

    fn malformed(&self, path: &[u8], problem: impl Into<String>) -> ImageError {
        ImageError::Archive { archive: self.name.clone(), path: path.into(), problem: problem.into() }
    }
}

/// The content of the current entry.
impl<S: Source> Read for Archive<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.remaining.min(buffer.len() as u64) as usize;
        let count = self.source.read(&mut buffer[..length])?;
        if count == 0 && length > 0 {
            return Err(self.truncated("the content of a file").into());
        }
        self.remaining -= count as u64;
        self.offset += count as u64;
        Ok(count)
    }
}

fn zero_terminated(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}
