//! Copying files out of the container and into it, for `prebake cp`. The host runs this program in the container for it, beside the container's own.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use rustix::fs::{FileType, makedev};
use tar::{Archive, EntryType};
use transfer::{Attributes, Entry, Error, Kind, Options, Result, What, Writer, pack};

/// The first argument of a program that copies.
const COPY: &str = "copy";

/// Does what the arguments ask for, if they ask for copying: `copy out PATH [follow]` writes an archive, `copy in PATH WHAT [owners]` reads one, and `copy
/// wait` waits to be killed.
pub fn run(arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let words: Vec<OsString> = arguments.skip(1).collect();
    let words: Vec<&str> = words.iter().map(|word| word.to_str()).collect::<Option<_>>()?;
    let result = match &words[..] {
        [COPY, "out", path] => pack(Path::new(path), false, io::stdout().lock()).map(drop),
        [COPY, "out", path, "follow"] => pack(Path::new(path), true, io::stdout().lock()).map(drop),
        [COPY, "in", path, what] => unpack(Path::new(path), What::named(what)?, false),
        [COPY, "in", path, what, "owners"] => unpack(Path::new(path), What::named(what)?, true),
        [COPY, "wait"] => loop {
            std::thread::park();
        },
        _ => return None,
    };
    Some(match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody else can be told.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    })
}

fn unpack(target: &Path, what: What, keeps_owners: bool) -> Result<()> {
    // The container confines what its root does.
    let mut writer = Writer::open(target, what, None, Options { confined: false, keeps_owners })?;
    let mut input = io::stdin().lock();
    let mut archive = Archive::new(&mut input);
    for entry in archive.entries().map_err(Error::Archive)? {
        let mut entry = entry.map_err(Error::Archive)?;
        if let Some(described) = describe(&entry).map_err(Error::Archive)? {
            writer.put(&described, &mut entry)?;
        }
    }
    writer.finish()?;
    // What is behind the archive's end is padding.
    io::copy(&mut input, &mut io::sink()).map(drop).map_err(Error::Archive)
}

fn describe<R: Read>(entry: &tar::Entry<'_, R>) -> io::Result<Option<Entry>> {
    let header = entry.header();
    let link = || entry.link_name_bytes().unwrap_or_default().into_owned();
    let device = || Ok::<_, io::Error>(makedev(header.device_major()?.unwrap_or_default(), header.device_minor()?.unwrap_or_default()));
    let kind = match header.entry_type() {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Directory => Kind::Folder,
        EntryType::Symlink => Kind::Symlink(link()),
        EntryType::Link => Kind::Link(link()),
        EntryType::Char => Kind::Special(FileType::CharacterDevice, device()?),
        EntryType::Block => Kind::Special(FileType::BlockDevice, device()?),
        EntryType::Fifo => Kind::Special(FileType::Fifo, 0),
        _ => return Ok(None),
    };
    let number = |number: u64| u32::try_from(number).map_err(io::Error::other);
    Ok(Some(Entry {
        path: entry.path_bytes().into_owned(),
        kind,
        attributes: Attributes {
            mode: header.mode()?,
            uid: number(header.uid()?)?,
            gid: number(header.gid()?)?,
            // A time before 1970 is that of the two's complement.
            mtime: (header.mtime()?.cast_signed(), 0),
        },
    }))
}
