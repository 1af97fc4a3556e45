//! An archive that comes out of a guest, to where its files are to be.

use super::CopyOptions;
use crate::error::Result;
use crate::make::image::archive::{Archive, Kind, Stream};
use std::io::{self, Read};
use std::path::Path;
use transfer::{Attributes, Entry, Error, Options, What, Writer};

/// Where the files of `path` in a guest go.
pub fn open(target: &Path, path: &Path, options: CopyOptions) -> Result<Writer> {
    let (what, name) = What::of(path);
    Ok(Writer::open(target, what, Some(&name), Options { confined: true, keeps_owners: options.keeps_owners })?)
}

/// Writes the files of `archive`, and reads it to its end. Returns how many devices and pipes were left out.
pub fn unpack(archive: impl Read, mut writer: Writer) -> Result<u64> {
    let mut stream = archive;
    let mut reader = Archive::new("the archive from the guest", Stream(&mut stream));
    let mut count = 0_u64;
    while let Some(entry) = reader.next()? {
        count += 1;
        let whole = entry.segments.iter().map(|segment| segment.length).sum::<u64>() == entry.size;
        if !whole {
            return Err(Error::Entry { name: String::from_utf8_lossy(&entry.path).into_owned(), problem: "it has holes".into() }.into());
        }
        let kind = match entry.kind {
            Kind::File => transfer::Kind::File,
            Kind::Folder => transfer::Kind::Folder,
            Kind::Symlink => transfer::Kind::Symlink(entry.link),
            Kind::Link => transfer::Kind::Link(entry.link),
            Kind::Character => transfer::Kind::Special(rustix::fs::FileType::CharacterDevice, 0),
            Kind::Block => transfer::Kind::Special(rustix::fs::FileType::BlockDevice, 0),
            Kind::Fifo => transfer::Kind::Special(rustix::fs::FileType::Fifo, 0),
        };
        let attributes = Attributes { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime };
        writer.put(&Entry { path: entry.path, kind, attributes }, &mut reader)?;
    }
    // What is behind the end is padding; a program that still writes is not to be cut off.
    io::copy(&mut stream, &mut io::sink()).map_err(Error::Archive)?;
    let left_out = writer.finish()?;
    tracing::debug!(target: "prebake::copy", entries = count, left_out, "copied out of a guest");
    Ok(left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use tar::{EntryType, Header};

    /// One entry with any name, as no program would write it.
    fn entry(name: &str, kind: EntryType, link: &str, content: &[u8]) -> Vec<u8> {
        let mut header = Header::new_gnu();
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..name.len()].copy_from_slice(name.as_bytes());
        gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o6777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(content.len() as u64);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        header.set_cksum();
        let padding = vec![0; content.len().next_multiple_of(512) - content.len()];
        [header.as_bytes().as_slice(), content, &padding].concat()
    }

    fn unpack_at(target: &Path, path: &str, entries: &[Vec<u8>]) -> crate::error::Result<u64> {
        let archive = [entries.concat(), vec![0; 1024]].concat();
        unpack(archive.as_slice(), open(target, Path::new(path), CopyOptions::default())?)
    }

    #[test]
    fn an_archive_of_a_guests_writes_nothing_outside_of_the_target() {
        let folder = tempfile::tempdir().unwrap();
        let (target, outside) = (folder.path().join("target"), folder.path().join("outside"));
        fs::create_dir(&target).unwrap();
        fs::write(&outside, "untouched").unwrap();
        let absolute = outside.to_str().unwrap();
        let file = |name: &str| entry(name, EntryType::Regular, "", b"hostile");
        let long = [entry("././@LongLink", EntryType::GNULongName, "", b"../outside\0"), file("short")].concat();
        let pax = [entry("pax", EntryType::XHeader, "", b"19 path=../outside\n"), file("short")].concat();
        for entries in [
            vec![file("../outside")],
            vec![file("d/../../outside")],
            vec![long],
            vec![pax],
            vec![entry("l", EntryType::Symlink, "..", b""), file("l/outside")],
            vec![entry("l", EntryType::Symlink, "..", b""), entry("l", EntryType::Directory, "", b""), file("l/outside")],
            vec![entry("l", EntryType::Symlink, absolute, b""), entry("h", EntryType::Link, "l", b""), file("h")],
            vec![entry("h", EntryType::Link, "../outside", b""), file("h")],
            vec![entry("h", EntryType::Link, absolute, b"")],
        ] {
            assert!(unpack_at(&target, "/src/.", &entries).is_err(), "{entries:?}");
            assert_eq!(fs::read(&outside).unwrap(), b"untouched");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        }
        // What is at the end of a link of the archive's own is not written, and an absolute path is one below the target.
        unpack_at(
            &target,
            "/src/.",
            &[entry("x", EntryType::Symlink, absolute, b""), file("x"), file(&absolute[..99.min(absolute.len())])],
        )
        .unwrap();
        assert_eq!((fs::read(&outside).unwrap(), fs::read(target.join("x")).unwrap()), (b"untouched".to_vec(), b"hostile".to_vec()));
        // No other name than the one that was asked for, no devices, no bits that let others act as the user.
        assert!(unpack_at(&target, "/src/asked", &[file(".bashrc")]).is_err() && !target.join(".bashrc").exists());
        let left_out = unpack_at(&target, "/src/.", &[entry("dev", EntryType::Char, "", b""), file("program")]).unwrap();
        assert_eq!((left_out, target.join("dev").exists()), (1, false));
        assert_eq!(fs::metadata(target.join("program")).unwrap().mode() & 0o7777, 0o777);
    }

    fn any_entry() -> impl Strategy<Value = Vec<u8>> {
        let name = prop::sample::select(vec![
            "",
            ".",
            "..",
            "/",
            "a",
            "a/b",
            "a/b/c",
            "b",
            "../outside",
            "a/../../outside",
            "a/./b",
            "//outside",
            "../target/a",
            "\u{1b}[1m",
            "a/..",
        ]);
        let link = prop::sample::select(vec![
            "",
            ".",
            "..",
            "a",
            "b",
            "a/b",
            "../outside",
            "../../outside",
            "/tmp",
            "/proc/self/cwd",
            "/proc/self/root",
        ]);
        let kind = prop::sample::select(vec![
            EntryType::Regular,
            EntryType::Regular,
            EntryType::Directory,
            EntryType::Symlink,
            EntryType::Link,
            EntryType::Char,
            EntryType::Fifo,
            EntryType::GNULongName,
            EntryType::GNULongLink,
            EntryType::XHeader,
            EntryType::GNUSparse,
        ]);
        (name, kind, link, prop::sample::select(vec![&b""[..], b"hostile", b"../outside\0", b"19 path=../outside\n"]))
            .prop_map(|(name, kind, link, content)| entry(name, kind, link, content))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn whatever_an_archive_says_nothing_outside_of_the_target_changes(
            entries in prop::collection::vec(any_entry(), 1..14),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            path in prop::sample::select(vec!["/src/.", "/a", "/b", "/"]),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let (target, outside) = (folder.path().join("target"), folder.path().join("outside"));
            fs::create_dir(&target).unwrap();
            fs::write(&outside, "untouched").unwrap();
            std::os::unix::fs::symlink("..", target.join("users")).unwrap();
            let mut archive = [entries.concat(), vec![0; 1024]].concat();
            for (at, byte) in flips {
                let at = at.index(archive.len());
                archive[at] = byte;
            }
            if let Ok(writer) = open(&target, Path::new(path), CopyOptions::default()) {
                let _ = unpack(archive.as_slice(), writer);
            }
            prop_assert_eq!(fs::read(&outside).unwrap(), b"untouched");
            let names = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
            prop_assert_eq!(names(folder.path()).len(), 2);
            let kind = |path: &Path| fs::symlink_metadata(path).unwrap().mode();
            let mut waiting = vec![target];
            while let Some(path) = waiting.pop() {
                let mode = kind(&path);
                let file_type = rustix::fs::FileType::from_raw_mode(mode);
                use rustix::fs::FileType::{Directory, RegularFile, Symlink};
                prop_assert!(matches!(file_type, Directory | RegularFile | Symlink));
                prop_assert!(file_type == Symlink || mode & 0o7000 == 0, "{:o}", mode);
                if file_type == Directory {
                    // The archive may have made it one that its owner cannot read.
                    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
                    waiting.extend(names(&path).into_iter().map(|name| path.join(name)));
                }
            }
        }
    }

    #[test]
    fn an_archive_that_is_cut_off_or_is_none_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let whole = entry("a", EntryType::Regular, "", &[7; 2000]);
        for bytes in [&whole[..1000], b"no archive at all, but long enough for a header".repeat(20).as_slice()] {
            let writer = open(folder.path(), Path::new("/src/."), CopyOptions::default()).unwrap();
            assert!(unpack(bytes, writer).is_err());
        }
    }
}
