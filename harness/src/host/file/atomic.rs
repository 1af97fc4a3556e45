//! Files that are there completely or not at all.

use crate::error::{Error, Result};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// A file that is written beside its place and takes it when it is complete. Dropped before that, it leaves no trace.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    beside: PathBuf,
    place: PathBuf,
}

impl AtomicFile {
    /// Begins a file that is to be called `path`.
    pub fn create(path: &Path) -> Result<Self> {
        let error = |source| Error::Write { path: path.into(), source };
        // A symbolic link stays, and what it leads to is replaced.
        let place = match fs::canonicalize(path) {
            Ok(place) => place,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => path.into(),
            Err(other) => return Err(error(other)),
        };
        if fs::metadata(&place).is_ok_and(|found| !found.is_file()) {
            return Err(Error::NotAFile { path: path.into() });
        }
        let name = place.file_name().ok_or_else(|| Error::NotAFile { path: path.into() })?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.part", std::process::id()));
        let beside = place.with_file_name(hidden);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&beside).map_err(error)?;
        Ok(Self { file, beside, place })
    }

    /// The file, to be written.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Puts the file in its place once all of it is on the disk. Returns it, open for reading and writing.
    pub fn commit(mut self) -> Result<File> {
        let commit = |this: &mut Self| {
            this.file.sync_all()?;
            fs::rename(&this.beside, &this.place)?;
            // Nothing is beside any more, so dropping must not remove what another process may put there.
            this.beside = PathBuf::new();
            let folder = this.place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder)?.sync_all()?;
            this.file.try_clone()
        };
        commit(&mut self).map_err(|source| Error::Write { path: self.place.clone(), source })
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.beside.as_os_str().is_empty() {
            // There is nobody to tell.
            let _ = fs::remove_file(&self.beside);
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

/// Writes `bytes` to the file at `path`, completely or not at all. What is not a regular file, such as a pipe, is written to as it is.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let error = |source| Error::Write { path: path.into(), source };
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return fs::write(path, bytes).map_err(error);
    }
    let mut file = AtomicFile::create(path)?;
    io::Write::write_all(file.file(), bytes).map_err(error)?;
    file.commit().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

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
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink("target", &link).unwrap();
        write(&link, b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(names(folder.path()), ["link", "target"]);
    }

    #[test]
    fn only_regular_files_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let kind = |path: &Path| AtomicFile::create(path).unwrap_err().kind().to_owned();
        assert_eq!(kind(folder.path()), "not-a-file");
        assert_eq!(kind(Path::new("/dev/full")), "not-a-file");
        assert_eq!(kind(&folder.path().join("missing").join("a")), "unwritable");
        assert_eq!(write(Path::new("/dev/full"), b"x").unwrap_err().kind(), "disk-full");
        write(Path::new("/dev/null"), b"x").unwrap();
    }
}
