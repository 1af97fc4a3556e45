//! Files into an archive.

use crate::{Result, What, system};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2, readlinkat};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// Just the place of a file. It is opened for reading once it is known what it is.
const PLACE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Writes a file, a link or a folder with all that is in it. With `follow`, what is at the end of a link that is named itself. Sockets are left out.
///
/// Somebody else may be changing the folder, such as a guest that it is shared with: no link below `path` is followed, whatever is put into the place of what.
pub fn pack(path: &Path, follow: bool, into: impl Write) -> Result<What> {
    let (what, name) = What::of(path);
    let mut builder = Builder::new(into);
    let from = if follow { fs::canonicalize(path).map_err(system("find", path))? } else { path.to_owned() };
    let base = openat(CWD, &from, PLACE, Mode::empty()).map_err(system("look at", &from))?;
    let mut top = Some(File::from(base.try_clone().map_err(system("look at", &from))?));
    // What is still to be written, from the base on; the last one is next, so that folders come before what is in them.
    let mut waiting: Vec<(PathBuf, OsString)> = vec![(PathBuf::new(), OsString::from_vec(name))];
    while let Some((below, name)) = waiting.pop() {
        let path = from.join(&below);
        let file = match top.take() {
            Some(top) => top,
            None => {
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
                openat2(&base, &below, PLACE, Mode::empty(), resolve).map_err(system("look at", &path))?.into()
            }
        };
        let metadata = file.metadata().map_err(system("look at", &path))?;
        if metadata.is_dir() {
            let mut names: Vec<OsString> = Vec::new();
            for entry in fs::read_dir(again(&file)).map_err(system("read", &path))? {
                names.push(entry.map_err(system("read", &path))?.file_name());
            }
            names.sort_unstable();
            waiting.extend(names.into_iter().rev().map(|inner| (below.join(&inner), Path::new(&name).join(&inner).into())));
        }
        append(&mut builder, (&file, &path), &name, &metadata)?;
    }
    let mut into = builder.into_inner().map_err(system("write", "the archive"))?;
    into.flush().map_err(system("write", "the archive"))?;
    Ok(what)
}

/// The same file, to be opened once more.
fn again(file: &impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
}

fn append(builder: &mut Builder<impl Write>, (file, path): (&File, &Path), name: &OsStr, metadata: &fs::Metadata) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_metadata(metadata);
    let kind = metadata.file_type();
    let written = if kind.is_file() {
        let file = File::open(again(file)).map_err(system("open", path))?;
        // A file may grow or shrink meanwhile; its header has gone before it.
        let content = file.chain(io::repeat(0)).take(metadata.len());
        builder.append_data(&mut header, name, content)
    } else if kind.is_symlink() {
        header.set_size(0);
        let target = readlinkat(file, "", Vec::new()).map_err(system("read", path))?;
        builder.append_link(&mut header, name, OsString::from_vec(target.into_bytes()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// The names, kinds and contents in an archive.
    fn packed(path: &Path) -> Result<Vec<(String, EntryType, Vec<u8>)>> {
        let mut archive = Vec::new();
        pack(path, false, &mut archive)?;
        let mut archive = tar::Archive::new(archive.as_slice());
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().display().to_string(), entry.header().entry_type(), content)
        });
        Ok(entries.collect())
    }

    #[test]
    fn links_are_packed_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("inside");
        fs::create_dir(&inside).unwrap();
        fs::write(folder.path().join("secret"), "secret").unwrap();
        symlink("../secret", inside.join("file")).unwrap();
        symlink("..", inside.join("folder")).unwrap();
        let names: Vec<_> = packed(&inside).unwrap().into_iter().map(|(name, kind, _)| (name, kind)).collect();
        let of = |name: &str, kind| (name.to_owned(), kind);
        assert_eq!(
            names,
            [of("inside", EntryType::Directory), of("inside/file", EntryType::Symlink), of("inside/folder", EntryType::Symlink)]
        );
        // One that is named is a link too, unless what is in it is asked for.
        assert_eq!(packed(&inside.join("folder")).unwrap()[0].1, EntryType::Symlink);
        assert_eq!(packed(&inside.join("folder/.")).unwrap()[0].0, ".");
    }

    /// A guest that shares the folder exchanges what is in it for links all the time, files and folders on the way.
    #[test]
    fn what_is_exchanged_for_a_link_meanwhile_is_not_followed() {
        let temporary = tempfile::tempdir().unwrap();
        let (inside, outside) = (temporary.path().join("inside"), temporary.path().join("outside"));
        for folder in [&inside, &outside] {
            fs::create_dir_all(folder.join("folder")).unwrap();
        }
        fs::write(outside.join("folder/file"), "secret").unwrap();
        fs::write(outside.join("file"), "secret").unwrap();
        fs::write(inside.join("folder/file"), "shared").unwrap();
        fs::write(inside.join("file"), "shared").unwrap();
        let links = temporary.path().join("links");
        fs::create_dir(&links).unwrap();
        for name in ["file", "folder"] {
            symlink(outside.join(name), links.join(name)).unwrap();
        }
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                use rustix::fs::{RenameFlags, renameat_with};
                while !is_over.load(Ordering::Relaxed) {
                    for name in ["file", "folder"] {
                        renameat_with(CWD, inside.join(name), CWD, links.join(name), RenameFlags::EXCHANGE).unwrap();
                    }
                }
            });
            let seen: Vec<_> = (0..3000).filter_map(|_| packed(&inside).ok()).flatten().collect();
            is_over.store(true, Ordering::Relaxed);
            assert!(seen.iter().any(|(_, _, content)| content == b"shared") && seen.iter().any(|entry| entry.1 == EntryType::Symlink));
            assert!(seen.iter().all(|(_, _, content)| content != b"secret"));
        });
    }
}
