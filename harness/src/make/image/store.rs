//! Where the documents and layers of an image are: a folder, an archive, or a registry.

use super::archive::{Archive, Kind};
use super::compression::{Bounded, Compression, decompressed};
use super::error::{ImageError, Result};
use super::limits::MAX_DOCUMENT;
use super::spec::Descriptor;
use super::text::Quoted;
use crate::host::file::{open_file, open_stream};
use crate::observer::Observer;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Gives the blobs of an image. What it gives is not checked yet.
pub trait Store {
    /// Opens the blob that `descriptor` names; `what` it is is for errors and progress.
    fn open(&mut self, descriptor: &Descriptor, what: &str, observer: &dyn Observer) -> Result<Box<dyn Read + '_>>;

    /// A manifest, or a list of them. Registries keep them apart from blobs.
    fn manifest(&mut self, descriptor: &Descriptor, observer: &dyn Observer) -> Result<Vec<u8>> {
        document(self.open(descriptor, "the manifest", observer)?, "manifest")
    }
}

/// All of a document.
pub fn document(reader: impl Read, what: &'static str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes).map_err(ImageError::io(format!("read the image's {what}")))?;
    if bytes.len() as u64 > MAX_DOCUMENT {
        return Err(ImageError::TooMuch { what: "bytes in a document", limit: MAX_DOCUMENT });
    }
    Ok(bytes)
}

/// The path of a blob in an OCI layout.
fn blob_path(descriptor: &Descriptor) -> Result<String> {
    Ok(format!("blobs/sha256/{}", descriptor.digest()?.digits()))
}

/// An OCI layout in a folder.
pub struct LayoutFolder(pub PathBuf);

impl LayoutFolder {
    /// A file of it.
    pub fn file(&self, path: &str) -> Result<File> {
        let path = self.0.join(path);
        open_file(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ImageError::Missing { what: path.display().to_string() },
            _ => ImageError::io(format!("open {}", path.display()))(error),
        })
    }
}

impl Store for LayoutFolder {
    fn open(&mut self, descriptor: &Descriptor, _what: &str, _observer: &dyn Observer) -> Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.file(&blob_path(descriptor)?)?))
    }
}

/// An archive on the host, whose members are read where they are.
pub struct Members {
    file: File,
    name: String,
    members: BTreeMap<Vec<u8>, Member>,
}

/// What an archive has under a name.
enum Member {
    /// Bytes of it: from where on, and how many.
    Bytes(u64, u64),
    /// What it has under another name.
    Link(Vec<u8>),
}

/// Members of an archive. Those of images have some for each layer.
const MAX_MEMBERS: usize = 100_000;
/// Bytes of their names.
const MAX_NAMES: usize = 16 << 20;
/// Links to links.
const MAX_LINKS: usize = 8;

/// Where an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file.
    Path(PathBuf),
    /// What is written to this process.
    StandardInput,
}

impl Place {
    fn open(&self) -> io::Result<File> {
        match self {
            // A pipe with a name will do: its other end is the user's.
            Self::Path(path) => open_stream(path),
            Self::StandardInput if io::stdin().is_terminal() => {
                Err(io::Error::other("standard input is a terminal; pipe an archive into it"))
            }
            Self::StandardInput => Ok(io::stdin().as_fd().try_clone_to_owned()?.into()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::StandardInput => f.write_str("standard input"),
        }
    }
}

/// The archive at `place` as a file that can be read here and there: itself, or a file without a name in `folder` with what is in a pipe, or in
/// it when it is decompressed, at most `limit` bytes.
fn seekable(place: &Place, folder: &Path, limit: u64) -> Result<File> {
    let name = place.to_string();
    let opening = || ImageError::io(format!("open the image {name}"));
    let mut file = place.open().map_err(|error| match error.kind() {
        io::ErrorKind::IsADirectory => ImageError::NotAnImage { name: name.clone(), problem: "it is a folder, not an archive".into() },
        _ => opening()(error),
    })?;
    let kind = file.metadata().map_err(opening())?.file_type();
    // What has been read of it already does not come again.
    let is_whole = kind.is_file() && file.stream_position().map_err(opening())? == 0;
    let reading = || ImageError::io(format!("read the image {name}"));
    let mut start = BufReader::with_capacity(1 << 16, &file);
    if is_whole && Compression::of(start.fill_buf().map_err(reading())?) == Compression::None {
        file.rewind().map_err(reading())?;
        return Ok(file);
    }
    let broken = |source: io::Error| source.downcast().unwrap_or_else(|source| ImageError::Compression { what: name.clone(), source });
    let inner = decompressed(start, &name).map_err(broken)?;
    let mut copy = tempfile::tempfile_in(folder).map_err(ImageError::io(format!("make a temporary file in {}", folder.display())))?;
    io::copy(&mut Bounded { inner, left: limit, limit }, &mut copy).map_err(ImageError::io(format!("unpack {name} beside the machine")))?;
    copy.rewind().map_err(reading())?;
    Ok(copy)
}

impl Members {
    /// Reads the headers of the archive at `place`, compressed or not. What has to be kept meanwhile is kept in `folder`, at most `limit` bytes.
    pub fn open(place: &Place, folder: &Path, limit: u64) -> Result<Self> {
        let name = place.to_string();
        let file = seekable(place, folder, limit)?;
        let mut archive = Archive::new(&name, &file);
        let mut members = BTreeMap::new();
        let mut names = 0;
        while let Some(entry) = archive.next()? {
            names += entry.path.len() + entry.link.len();
            if names > MAX_NAMES {
                return Err(ImageError::TooMuch { what: "bytes of names in its archive", limit: MAX_NAMES as u64 });
            }
            let path = normal(&entry.path);
            let folder = path.iter().rposition(|byte| *byte == b'/').map_or(&[][..], |slash| &path[..=slash]);
            let member = match entry.kind {
                Kind::File => {
                    let (at, length) = archive.content_range();
                    Member::Bytes(at, length)
                }
                Kind::Link => Member::Link(normal(&entry.link)),
                Kind::Symlink => Member::Link(normal(&[folder, &entry.link].concat())),
                _ => continue,
            };
            members.insert(path, member);
            if members.len() > MAX_MEMBERS {
                return Err(ImageError::TooMuch { what: "files in its archive", limit: MAX_MEMBERS as u64 });
            }
        }
        Ok(Self { file, name, members })
    }

    /// Whether there is a member of that name.
    pub fn has(&self, path: &str) -> bool {
        self.members.contains_key(path.as_bytes())
    }

    /// The archive, for errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it looks like a root file system.
    pub fn is_root(&self) -> bool {
        self.members.keys().any(|path| [&b"bin/"[..], b"etc/", b"usr/"].iter().any(|folder| path.starts_with(folder)))
    }

    /// Reads a member.
    pub fn member(&self, path: &str) -> Result<MemberReader<'_>> {
        let missing = || ImageError::Missing { what: format!("{} in {}", Quoted(path.as_bytes()), self.name) };
        let mut path = normal(path.as_bytes());
        for _ in 0..MAX_LINKS {
            match self.members.get(&path).ok_or_else(missing)? {
                Member::Bytes(at, length) => return Ok(MemberReader { members: self, at: *at, left: *length }),
                Member::Link(target) => path.clone_from(target),
            }
        }
        Err(missing())
    }
}

impl Store for Members {
    fn open(&mut self, descriptor: &Descriptor, _what: &str, _observer: &dyn Observer) -> Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.member(&blob_path(descriptor)?)?))
    }
}

/// The path without `.` and `..`; nothing is above the first folder.
fn normal(path: &[u8]) -> Vec<u8> {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            _ => names.push(name),
        }
    }
    names.join(&b'/')
}

/// Reads a member of an archive.
pub struct MemberReader<'a> {
    members: &'a Members,
    at: u64,
    left: u64,
}

impl MemberReader<'_> {
    /// Bytes that have not been read.
    pub fn left(&self) -> u64 {
        self.left
    }
}

impl Read for MemberReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.left.min(buffer.len() as u64) as usize;
        let count = self.members.file.read_at(&mut buffer[..length], self.at)?;
        if count == 0 && length > 0 {
            return Err(ImageError::Truncated { archive: self.members.name.clone(), place: "the content of a file" }.into());
        }
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
