//! Files into an archive.

use crate::{Result, What, system};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// Writes a file, a link or a folder with all that is in it. With `follow`, what is at the end of a link that is named itself. Sockets are left out.
pub fn pack(path: &Path, follow: bool, into: impl Write) -> Result<What> {
    let (what, name) = What::of(path);
    let mut builder = Builder::new(into);
    let from = if follow { fs::canonicalize(path).map_err(system("find", path))? } else { path.to_owned() };
    // What is still to be written; the last one is next, so that folders come before what is in them.
    let mut waiting: Vec<(PathBuf, OsString)> = vec![(from, OsString::from_vec(name))];
    while let Some((path, name)) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path).map_err(system("look at", &path))?;
        if metadata.is_dir() {
            let mut names: Vec<OsString> = Vec::new();
            for entry in fs::read_dir(&path).map_err(system("read", &path))? {
                names.push(entry.map_err(system("read", &path))?.file_name());
            }
            names.sort_unstable();
            waiting.extend(names.into_iter().rev().map(|below| (path.join(&below), Path::new(&name).join(&below).into())));
        }
        append(&mut builder, &path, &name, &metadata)?;
    }
    let mut into = builder.into_inner().map_err(system("write", "the archive"))?;
    into.flush().map_err(system("write", "the archive"))?;
    Ok(what)
}

fn append(builder: &mut Builder<impl Write>, path: &Path, name: &OsStr, metadata: &fs::Metadata) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_metadata(metadata);
    let kind = metadata.file_type();
    let written = if kind.is_file() {
        let file = File::open(path).map_err(system("open", path))?;
        // A file may grow or shrink meanwhile; its header has gone before it.
        let content = file.chain(io::repeat(0)).take(metadata.len());
        builder.append_data(&mut header, name, content)
    } else if kind.is_symlink() {
        header.set_size(0);
        let target = fs::read_link(path).map_err(system("read", path))?;
        builder.append_link(&mut header, name, target)
    } else if kind.is_socket() {
        return Ok(());
    } else {
        header.set_size(0);
        if kind.is_char_device() || kind.is_block_device() {
            let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
            header.set_entry_type(if kind.is_char_device() { EntryType::Char } else { EntryType::Block });
            header.set_device_major(major).and_then(|()| header.set_device_minor(minor)).map_err(system("write", path))?;
        } else if kind.is_fifo() {
            header.set_entry_type(EntryType::Fifo);
        }
        builder.append_data(&mut header, name, io::empty())
    };
    written.map_err(system("write", path))
}
