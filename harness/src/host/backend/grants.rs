//! What a guest may change of the host's files, wherever it meets them.
//!
//! A directory or file that was given read-only can lie in another that was given for writing, and has a path there too. What counts for a file
//! is the innermost directory, or the file itself, that was given, told by device and inode. Neither that nor what leads to it may be moved,
//! removed or replaced: a host that uses it by its path would find something else there.
//!
//! Other names of its files stay unknown: hard links that the host has made, and what is mounted in several places.

use devices::p9::{Access, FileIdentity};
use rustix::fs::{AtFlags, Stat, fstat, statat};
use rustix::io::{Errno, Result};
use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::Path;

/// See above. Nothing to look for, where nothing was given read-only.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Grants {
    writable: BTreeSet<FileIdentity>,
    read_only: BTreeSet<FileIdentity>,
    kept: BTreeSet<FileIdentity>,
}

/// What tells a file from all others.
fn identity(stat: &Stat) -> FileIdentity {
    FileIdentity { device: stat.st_dev, inode: stat.st_ino }
}

impl Grants {
    /// Of these directories and files, by paths without symbolic links.
    pub fn of<'a>(given: impl Iterator<Item = (&'a Path, Access)> + Clone) -> Result<Self> {
        let identity = |path: &Path| rustix::fs::stat(path).map(|stat| identity(&stat));
        let with = |wanted| given.clone().filter(move |(_, access)| *access == wanted).map(|(path, _)| path);
        let mut grants = Self { writable: with(Access::ReadWrite).map(identity).collect::<Result<_>>()?, ..Self::default() };
        for path in with(Access::ReadOnly) {
            // What was given both ways was given for writing.
            let own = identity(path)?;
            if !grants.writable.contains(&own) {
                grants.read_only.insert(own);
                for leading in path.ancestors() {
                    grants.kept.insert(identity(leading)?);
                }
            }
        }
        Ok(grants)
    }

    /// What may be done with `file`, and below it, in a directory where `access` is what may be done.
    pub fn below(&self, file: impl AsFd, access: Access) -> Result<Access> {
        if self.read_only.is_empty() {
            return Ok(access);
        }
        let own = identity(&fstat(file)?);
        Ok(match (self.writable.contains(&own), self.read_only.contains(&own)) {
            (true, _) => Access::ReadWrite,
            (false, true) => Access::ReadOnly,
            (false, false) => access,
        })
    }

    /// Whether what `directory` has under `name`, if anything, must stay there.
    pub fn is_kept(&self, directory: impl AsFd, name: &[u8]) -> Result<bool> {
        if self.kept.is_empty() {
            return Ok(false);
        }
        match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(self.kept.contains(&identity(&stat))),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What was given for writing, what read-only, and what must stay where it is.
    pub fn lists(&self) -> [Vec<FileIdentity>; 3] {
        [&self.writable, &self.read_only, &self.kept].map(|set| set.iter().copied().collect())
    }
}
