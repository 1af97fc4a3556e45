//! Files that are there completely or not at all.

use super::place::Place;
use crate::error::{Error, Result};
use rustix::fs::Mode;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Who may read a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Whom the umask lets.
    Umask,
    /// Its owner alone, whatever the umask: for what holds a guest's memory, or what was typed.
    Owner,
}

/// A file that is written beside its place and takes it when it is complete. Dropped before that, it leaves no trace.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    /// Its name until then.
    beside: Option<OsString>,
    place: Place,
}

impl AtomicFile {
    /// Begins a file that is to be called `path`.
    pub fn create(path: &Path) -> Result<Self> {
        Self::at(Place::open(path)?, Readers::Umask)
    }

    /// The same, for its owner alone.
    pub fn create_private(path: &Path) -> Result<Self> {
        Self::at(Place::open(path)?, Readers::Owner)
    }

    /// Begins a file that is to be at `place`.
    pub fn at(place: Place, readers: Readers) -> Result<Self> {
        let (file, beside) = place.create(match readers {
            Readers::Umask => Mode::from_raw_mode(0o666),
            Readers::Owner => Mode::RUSR | Mode::WUSR,
        })?;
        Ok(Self { file, beside: Some(beside), place })
    }

    /// The file, to be written.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// What it is to be called.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// Puts the file in its place once all of it is on the disk. Returns it, open for reading and writing.
    pub fn commit(mut self) -> Result<File> {
        let error = |source| Error::Write { path: self.place.path().into(), source };
        self.file.sync_all().map_err(error)?;
        let file = self.file.try_clone().map_err(error)?;
        self.take_place()?;
        self.place.sync()?;
        Ok(file)
    }

    /// Puts the file in its place without waiting for the disk: if the host crashes, it may be there in part.
    fn commit_for_now(mut self) -> Result<()> {
        self.take_place()
    }

    fn take_place(&mut self) -> Result<()> {
        if let Some(beside) = &self.beside {
            self.place.take(&self.file, beside)?;
        }
        self.beside = None;
        Ok(())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            self.place.give_up(beside);
        }
    }
}

/// Removes what processes that were killed have left of files that they were writing in `folder`, where nobody else writes.
pub fn remove_leftovers(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_leftover = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".") && name.as_encoded_bytes().ends_with(b".part");
    for entry in entries.filter(|entry| is_leftover(&entry.file_name())) {
        // What cannot be removed is in nobody's way.
        let _ = fs::remove_file(entry.path());
    }
}

/// Writes `bytes` to the file at `path`, completely or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fill(AtomicFile::create(path)?, bytes)
}

/// The same to a file for its owner alone, which may be there in part if the host crashes soon after.
pub fn write_private_for_now(path: &Path, bytes: &[u8]) -> Result<()> {
    filled(AtomicFile::create_private(path)?, bytes)?.commit_for_now()
}

/// All of a file, which takes its place.
pub(super) fn fill(file: AtomicFile, bytes: &[u8]) -> Result<()> {
    filled(file, bytes)?.commit().map(drop)
}

fn filled(mut file: AtomicFile, bytes: &[u8]) -> Result<AtomicFile> {
    let written = file.file().write_all(bytes);
    written.map_err(|source| Error::Write { path: file.path().into(), source })?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, mknodat};
    use std::os::unix::fs::{MetadataExt, symlink};

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_only_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.file().write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        file.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn what_is_given_up_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        AtomicFile::create(&path).unwrap().file().write_all(b"half").unwrap();
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[test]
    fn what_a_killed_process_has_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = AtomicFile::create(&folder.path().join("a")).unwrap();
        file.file().write_all(b"half").unwrap();
        std::mem::forget(file);
        fs::write(folder.path().join("b.part"), "whole").unwrap();
        fs::write(folder.path().join(".c"), "whole").unwrap();
        remove_leftovers(folder.path());
        assert_eq!(names(folder.path()), [".c", "b.part"]);
    }

    #[test]
    fn a_link_is_replaced_and_what_it_leads_to_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "old").unwrap();
        symlink("target", &link).unwrap();
        write(&link, b"new").unwrap();
        assert_eq!((fs::read(&target).unwrap(), fs::read(&link).unwrap()), (b"old".to_vec(), b"new".to_vec()));
        assert!(!fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(names(folder.path()), ["link", "target"]);
    }

    #[test]
    fn only_files_and_links_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let kind = |path: &Path| AtomicFile::create(path).unwrap_err().kind().to_owned();
        let pipe = folder.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(kind(folder.path()), "not-a-file");
        assert_eq!(kind(&pipe), "not-a-file");
        for name in ["/dev/full", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/", "a/.."] {
            assert_eq!(kind(Path::new(name)), "not-a-file", "{name}");
        }
        assert_eq!(kind(&folder.path().join("missing").join("a")), "unwritable");
    }

    #[test]
    fn names_before_the_last_cannot_be_guessed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let files: Vec<_> = (0..100).map(|_| AtomicFile::create(&path).unwrap()).collect();
        let hidden = names(folder.path());
        assert_eq!(hidden.len(), files.len());
        let random = |name: &String| name.strip_prefix(".a.").and_then(|rest| rest.strip_suffix(".part")).map(str::len);
        assert!(hidden.iter().all(|name| random(name) == Some(16)), "{hidden:?}");
    }

    #[test]
    fn a_folder_that_is_moved_and_replaced_meanwhile_is_still_the_one_that_was_meant() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        fs::create_dir(at("shared")).unwrap();
        fs::create_dir(at("elsewhere")).unwrap();
        fs::write(at("elsewhere/a"), "precious").unwrap();
        let mut file = AtomicFile::create(&at("shared/a")).unwrap();
        file.file().write_all(b"new").unwrap();
        fs::rename(at("shared"), at("moved")).unwrap();
        symlink("elsewhere", at("shared")).unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read(at("elsewhere/a")).unwrap(), b"precious");
        assert_eq!(fs::read(at("moved/a")).unwrap(), b"new");
    }

    #[test]
    fn what_someone_else_put_in_the_way_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(folder.path().join("precious"), "precious").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        let beside = folder.path().join(&names(folder.path())[0]);
        fs::remove_file(&beside).unwrap();
        symlink("precious", &beside).unwrap();
        file.file().write_all(b"new").unwrap();
        assert_eq!(file.commit().unwrap_err().kind(), "unwritable");
        assert_eq!(fs::read(folder.path().join("precious")).unwrap(), b"precious");
    }

    #[test]
    fn what_is_for_its_owner_alone_is_so_whatever_the_umask() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        let (private, public) = (folder.path().join("private"), folder.path().join("public"));
        write_private_for_now(&private, b"").unwrap();
        write(&public, b"").unwrap();
        // Without an umask that lets others in, this would say nothing.
        assert!(mode(&public) & 0o044 != 0, "{:o}", mode(&public));
        assert_eq!(mode(&private), 0o600);
    }
}
