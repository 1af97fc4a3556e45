//! Files out of an archive.
//!
//! Everything is found from the target's own descriptor on. With [`Options::confined`] no link leads anywhere on the way, no name leads up, and what is there
//! is replaced, not written through: an archive puts nothing outside of the target, whatever it says.

use crate::{Error, Result, What, shown, system};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, chownat, fchmod, fchown, fstat, futimens, linkat,
    mkdirat, mknodat, openat, openat2, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Entries of an archive.
const MAX_ENTRIES: u64 = 2 << 20;
/// Bytes of the paths of folders that are made, which are remembered to the end.
const MAX_FOLDERS: usize = 64 << 20;
/// Just the place of a folder.
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Bits that let a program act as its owner.
const SPECIAL_BITS: u32 = 0o7000;

/// How files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The archive is not trusted.
    pub confined: bool,
    /// Files get the archive's owners, and its bits that let programs act as these. Otherwise they belong to who copies them.
    pub keeps_owners: bool,
}

/// What an archive says of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its path.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// What it is like.
    pub attributes: Attributes,
}

/// A file's attributes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Its permissions.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// When it was changed: seconds since 1970, and nanoseconds.
    pub mtime: (i64, u32),
}

/// What a file is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Kind {
    /// A file with content.
    #[default]
    File,
    /// A folder.
    Folder,
    /// A symbolic link to this.
    Symlink(Vec<u8>),
    /// Another name of this entry.
    Link(Vec<u8>),
    /// A character device, a block device or a pipe, with its number.
    Special(FileType, u64),
}

/// Writes the files of one archive.
#[derive(Debug)]
pub struct Writer {
    options: Options,
    target: PathBuf,
    base: OwnedFd,
    /// What every path in the archive begins with, if that is known: an archive that is not trusted might put other things beside what was asked for.
    expected: Option<Vec<u8>>,
    /// What that becomes.
    name: Option<Vec<u8>>,
    /// The target's path says that it is a folder, or it is something else.
    must_be: Option<bool>,
    /// Folders that were made, and what they are to be like at the end.
    folders: Vec<(PathBuf, Attributes)>,
    /// Bytes of their paths.
    remembered: usize,
    entries: u64,
    skipped: u64,
}

impl Writer {
    /// Writes `what` to `target`, as [`What`] says. An entry has the name `expected`, if that is known.
    pub fn open(target: &Path, what: What, expected: Option<&[u8]>, options: Options) -> Result<Self> {
        let is_folder = match fs::metadata(target) {
            Ok(metadata) => Some(metadata.is_dir()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(system("look at", target)(error)),
        };
        // As with cp, a link to a file stands for the file.
        let resolved = if is_folder == Some(false) { fs::canonicalize(target).map_err(system("find", target))? } else { target.to_owned() };
        let target = resolved.as_path();
        let problem = |problem| Err(Error::Target { path: target.into(), problem });
        let says_folder = target.as_os_str().as_bytes().ends_with(b"/");
        let (folder, name, must_be) = match (what, is_folder) {
            (_, Some(true)) => (target, None, None),
            (What::Archive, _) => return problem("it must be a folder that is there"),
            (What::Content, Some(false)) => return problem("it is a file, so a folder's content cannot be copied to it"),
            (What::Content, None) => {
                fs::create_dir(target).map_err(system("make", target))?;
                (target, None, None)
            }
            (What::Entry, found) => {
                let Some(name) = target.file_name() else { return problem("it is not there") };
                let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let must_be = found.map(|_| false).or(says_folder.then_some(true));
                (parent, Some(name.as_bytes().to_vec()), must_be)
            }
        };
        let base = openat(CWD, folder, FOLDER, Mode::empty()).map_err(system("open", folder))?;
        let (folders, target) = (Vec::new(), target.to_owned());
        let expected = expected.filter(|_| what == What::Entry).map(<[u8]>::to_vec);
        Ok(Self { options, target, base, expected, name, must_be, folders, remembered: 0, entries: 0, skipped: 0 })
    }

    /// Writes one entry, whose content is `content`.
    pub fn put(&mut self, entry: &Entry, content: &mut impl Read) -> Result<()> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(Error::TooMany(MAX_ENTRIES));
        }
        let path = self.place(&entry.path)?;
        let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
            // The folder itself whose content it is.
            return Ok(());
        };
        if parent.as_os_str().is_empty() && self.name.is_some() {
            let problem = |problem| Err(Error::Target { path: self.target.clone(), problem });
            match (self.must_be, &entry.kind) {
                (Some(true), kind) if *kind != Kind::Folder => return problem("there is no such folder"),
                (Some(false), Kind::Folder) => return problem("it is a file, so a folder cannot be copied to it"),
                _ => {}
            }
        }
        let folder = self.make_folders(parent).map_err(system("find", self.target.join(parent)))?;
        let failed = |action: &'static str| system::<Errno>(action, self.target.join(&path));
        if entry.kind == Kind::Folder {
            match mkdirat(&folder, name, Mode::RWXU) {
                Ok(()) => {
                    self.remembered += path.as_os_str().len();
                    if self.remembered > MAX_FOLDERS {
                        return Err(Error::TooMany(self.entries));
                    }
                    self.folders.push((path, entry.attributes));
                }
                // One that was there before stays as it is.
                Err(Errno::EXIST) => {
                    let flags = if self.options.confined { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() };
                    let found = statat(&folder, name, flags).map_err(failed("look at"))?;
                    if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
                        return Err(failed("make the folder")(Errno::NOTDIR));
                    }
                }
                Err(error) => return Err(failed("make the folder")(error)),
            }
            return Ok(());
        }
        if matches!(entry.kind, Kind::Special(..)) && self.options.confined {
            self.skipped += 1;
            return Ok(());
        }
        let linked = match &entry.kind {
            Kind::Link(target) => Some(self.linked(entry, target)?),
            _ => None,
        };
        match unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed("replace")(error)),
        }
        match (&entry.kind, linked) {
            (Kind::File, _) => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = openat(&folder, name, flags, Mode::RUSR | Mode::WUSR).map_err(failed("create"))?;
                let mut file = File::from(file);
                io::copy(content, &mut file).map_err(system("write", self.target.join(&path)))?;
                self.finish_file(&file, entry.attributes).map_err(failed("set the attributes of"))
            }
            (_, Some(linked)) => {
                let old = format!("/proc/self/fd/{}", linked.as_raw_fd());
                linkat(CWD, old, &folder, name, AtFlags::SYMLINK_FOLLOW).map_err(failed("link"))
            }
            (Kind::Symlink(target), _) => {
                symlinkat(OsStr::from_bytes(target), &folder, name).map_err(failed("link"))?;
                self.finish_link(&folder, name, entry.attributes).map_err(failed("set the attributes of"))
            }
            (Kind::Special(kind, device), _) => {
                mknodat(&folder, name, *kind, Mode::from_raw_mode(entry.attributes.mode & 0o7777), *device).map_err(failed("make"))?;
                self.finish_link(&folder, name, entry.attributes).map_err(failed("set the attributes of"))
            }
            (Kind::Folder | Kind::Link(_), _) => Ok(()),
        }
    }

    /// Gives the folders that were made their attributes. Returns how many devices and pipes were left out.
    pub fn finish(mut self) -> Result<u64> {
        while let Some((path, attributes)) = self.folders.pop() {
            let failed = |error: Errno| system("set the attributes of", self.target.join(&path))(error);
            let folder = self.find(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC).map_err(failed)?;
            self.finish_file(&File::from(folder), attributes).map_err(failed)?;
        }
        Ok(self.skipped)
    }

    /// Where an entry goes, from the base on.
    fn place(&self, path: &[u8]) -> Result<PathBuf> {
        let mut place = PathBuf::new();
        for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
            if part == b".." || part.contains(&0) {
                return Err(Error::Entry { name: shown(path), problem: "its path leads up, or has a NUL in it".into() });
            }
            let first = place.as_os_str().is_empty();
            if first && self.expected.as_deref().is_some_and(|expected| expected != part) {
                return Err(Error::Entry { name: shown(path), problem: "it is not what was asked for".into() });
            }
            place.push(OsStr::from_bytes(self.name.as_deref().filter(|_| first).unwrap_or(part)));
        }
        Ok(place)
    }

    fn find(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        if self.options.confined {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            openat2(&self.base, path, flags, Mode::empty(), resolve)
        } else {
            openat(&self.base, path, flags, Mode::empty())
        }
    }

    /// The folder at `path`, which is made if it is not there.
    fn make_folders(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        match self.find(path, FOLDER) {
            Err(Errno::NOENT) => {
                let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::NOENT) };
                match mkdirat(&self.make_folders(parent)?, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => self.find(path, FOLDER),
                    Err(error) => Err(error),
                }
            }
            opened => opened,
        }
    }

    /// The file that an entry is another name of.
    fn linked(&self, entry: &Entry, target: &[u8]) -> Result<OwnedFd> {
        let path = self.place(target)?;
        let file = self.find(&path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC).and_then(|file| Ok((fstat(&file)?, file)));
        let (found, file) = file.map_err(system("find", self.target.join(&path)))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(Error::Entry { name: shown(&entry.path), problem: "it is another name of something that is not a file".into() });
        }
        Ok(file)
    }

    fn finish_file(&self, file: &impl AsFd, attributes: Attributes) -> rustix::io::Result<()> {
        if self.options.keeps_owners {
            fchown(file, Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))?;
        }
        let keeps = if self.options.confined && !self.options.keeps_owners { 0o777 } else { 0o777 | SPECIAL_BITS };
        fchmod(file, Mode::from_raw_mode(attributes.mode & keeps))?;
        futimens(file, &times(attributes))
    }

    fn finish_link(&self, folder: &OwnedFd, name: &OsStr, attributes: Attributes) -> rustix::io::Result<()> {
        if self.options.keeps_owners {
            chownat(folder, name, Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        utimensat(folder, name, &times(attributes), AtFlags::SYMLINK_NOFOLLOW)
    }
}

fn times(attributes: Attributes) -> Timestamps {
    let time = Timespec { tv_sec: attributes.mtime.0, tv_nsec: attributes.mtime.1.into() };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    const HOSTILE: Options = Options { confined: true, keeps_owners: false };

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { path: path.into(), kind, attributes: Attributes { mode: 0o644, mtime: (1_700_000_000, 5), ..Attributes::default() } }
    }

    fn with_mode(mode: u32, path: &str, kind: Kind) -> Entry {
        let entry = entry(path, kind);
        Entry { attributes: Attributes { mode, ..entry.attributes }, ..entry }
    }

    fn put(writer: &mut Writer, path: &str, kind: Kind) -> Result<()> {
        writer.put(&entry(path, kind), &mut &b"content"[..])
    }

    /// A place with a folder `inside` and a file `outside`.
    fn place() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let temporary = tempfile::tempdir().unwrap();
        let (inside, outside) = (temporary.path().join("inside"), temporary.path().join("outside"));
        fs::create_dir(&inside).unwrap();
        fs::write(&outside, "untouched").unwrap();
        (temporary, inside, outside)
    }

    #[test]
    fn files_folders_and_links_arrive_with_their_attributes() {
        let (_temporary, inside, _) = place();
        let mut writer = Writer::open(&inside, What::Entry, Some(b"d"), HOSTILE).unwrap();
        writer.put(&with_mode(0o555, "d", Kind::Folder), &mut io::empty()).unwrap();
        writer.put(&with_mode(0o6755, "d/file", Kind::File), &mut &b"content"[..]).unwrap();
        put(&mut writer, "d/missing/deep", Kind::File).unwrap();
        put(&mut writer, "d/symlink", Kind::Symlink(b"/nowhere".to_vec())).unwrap();
        put(&mut writer, "d/link", Kind::Link(b"d/file".to_vec())).unwrap();
        put(&mut writer, "d/pipe", Kind::Special(FileType::Fifo, 0)).unwrap();
        assert_eq!(writer.finish().unwrap(), 1);
        let look = |name: &str| fs::symlink_metadata(inside.join(name)).unwrap();
        assert_eq!(look("d").mode() & 0o7777, 0o555);
        assert_eq!((look("d").mtime(), look("d").mtime_nsec()), (1_700_000_000, 5));
        // What lets others act as the user does not come from a guest.
        assert_eq!((look("d/file").mode() & 0o7777, look("d/file").ino()), (0o755, look("d/link").ino()));
        assert_eq!(fs::read(inside.join("d/missing/deep")).unwrap(), b"content");
        assert_eq!(fs::read_link(inside.join("d/symlink")).unwrap(), Path::new("/nowhere"));
        fs::set_permissions(inside.join("d"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }

    #[test]
    fn nothing_is_written_outside_of_the_target() {
        let (_temporary, inside, outside) = place();
        let up = || put(&mut Writer::open(&inside, What::Content, None, HOSTILE).unwrap(), "./../outside", Kind::File);
        assert!(matches!(up(), Err(Error::Entry { .. })));
        let mut writer = Writer::open(&inside, What::Content, None, HOSTILE).unwrap();
        put(&mut writer, "/outside", Kind::File).unwrap();
        assert!(inside.join("outside").exists());
        // A link of the archive's own is replaced, and never followed.
        put(&mut writer, "leaf", Kind::Symlink(b"../outside".to_vec())).unwrap();
        put(&mut writer, "leaf", Kind::File).unwrap();
        assert_eq!(fs::read(inside.join("leaf")).unwrap(), b"content");
        put(&mut writer, "way", Kind::Symlink(b"..".to_vec())).unwrap();
        assert!(put(&mut writer, "way/outside", Kind::File).is_err());
        assert!(put(&mut writer, "way/new/file", Kind::File).is_err());
        assert!(put(&mut writer, "way", Kind::Folder).is_err());
        put(&mut writer, "to", Kind::Symlink(outside.as_os_str().as_bytes().to_vec())).unwrap();
        for target in ["to", "way/outside", "../outside", "missing"] {
            assert!(put(&mut writer, "name", Kind::Link(target.into())).is_err(), "{target}");
        }
        // Neither is one of the user's.
        symlink("..", inside.join("users")).unwrap();
        assert!(put(&mut writer, "users/outside", Kind::File).is_err());
        assert_eq!(fs::read(&outside).unwrap(), b"untouched");
        assert_eq!(fs::read_dir(inside.parent().unwrap()).unwrap().count(), 2);
    }

    #[test]
    fn a_folder_that_was_there_stays_as_it_was() {
        let (_temporary, inside, _) = place();
        fs::create_dir(inside.join("own")).unwrap();
        let set = |path: &Path| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        set(&inside);
        set(&inside.join("own"));
        let mut writer = Writer::open(&inside, What::Content, None, HOSTILE).unwrap();
        for path in [".", "./own", "./new"] {
            writer.put(&with_mode(0o777, path, Kind::Folder), &mut io::empty()).unwrap();
        }
        writer.finish().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&inside), mode(&inside.join("own")), mode(&inside.join("new"))), (0o700, 0o700, 0o777));
    }

    #[test]
    fn nothing_but_what_was_asked_for_arrives() {
        let (_temporary, inside, _) = place();
        let mut writer = Writer::open(&inside, What::Entry, Some(b"asked"), HOSTILE).unwrap();
        put(&mut writer, "asked", Kind::File).unwrap();
        for other in [".profile", "asked2", "other/asked"] {
            assert!(matches!(put(&mut writer, other, Kind::File), Err(Error::Entry { .. })), "{other}");
        }
        assert_eq!(fs::read_dir(&inside).unwrap().count(), 1);
    }

    #[test]
    fn where_it_goes_is_as_with_docker() {
        let (_temporary, inside, outside) = place();
        let copy = |target: &Path, what, kind: Kind| {
            let mut writer = Writer::open(target, what, None, HOSTILE)?;
            put(&mut writer, if what == What::Content { "." } else { "src" }, kind)?;
            if what == What::Content { put(&mut writer, "./src", Kind::File) } else { Ok(()) }
        };
        copy(&inside, What::Entry, Kind::File).unwrap();
        copy(&inside.join("new"), What::Entry, Kind::File).unwrap();
        copy(&inside.join("folder/"), What::Entry, Kind::Folder).unwrap();
        copy(&inside.join("content"), What::Content, Kind::Folder).unwrap();
        copy(&outside, What::Entry, Kind::File).unwrap();
        for made in ["src", "new", "folder", "content/src"] {
            assert!(inside.join(made).exists(), "{made}");
        }
        assert_eq!(fs::read(&outside).unwrap(), b"content");
        // A link that is named is one of the user's.
        fs::write(&outside, "old").unwrap();
        symlink("../outside", inside.join("named")).unwrap();
        copy(&inside.join("named"), What::Entry, Kind::File).unwrap();
        assert_eq!((fs::read(&outside).unwrap(), inside.join("named").is_symlink()), (b"content".to_vec(), true));
        for (target, what, kind) in [
            (inside.join("file/"), What::Entry, Kind::File),
            (outside.clone(), What::Entry, Kind::Folder),
            (outside.clone(), What::Content, Kind::Folder),
            (inside.join("no"), What::Archive, Kind::File),
            (inside.join("no/such/file"), What::Entry, Kind::File),
        ] {
            assert!(copy(&target, what, kind).is_err(), "{target:?} {what}");
        }
    }
}
