//! Copying files as `docker cp` does: into an archive on one side, and out of it to where they are to be on the other. The host and the guest's init
//! do the same with the roles exchanged, except that the host trusts nothing that an archive says.

mod pack;
mod writer;

pub use pack::pack;
pub use writer::{Attributes, Entry, Kind, Options, Writer};

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What is copied, which decides where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A file or folder: into the target if that is a folder, else under its name.
    Entry,
    /// What is in a folder, whose path ends in `/.`: into the target, which becomes a folder if it is not there.
    Content,
    /// An archive that somebody else has made: into the target, which must be a folder.
    Archive,
}

impl What {
    /// What the source `path` asks for, and what it is called in an archive.
    pub fn of(path: &Path) -> (Self, Vec<u8>) {
        use std::os::unix::ffi::OsStrExt;
        let bytes = path.as_os_str().as_bytes();
        let is_content = bytes.ends_with(b"/.") || bytes == b".";
        match path.file_name().filter(|_| !is_content) {
            Some(name) => (Self::Entry, name.as_bytes().to_vec()),
            None => (Self::Content, b".".to_vec()),
        }
    }

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Content => "content",
            Self::Archive => "archive",
        }
    }

    /// What a word stands for.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Entry, Self::Content, Self::Archive].into_iter().find(|what| what.word() == word)
    }
}

/// Why something is not copied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    System {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The target is not what it must be.
    #[error("{}: {problem}", path.display())]
    Target {
        /// The target.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An archive says something that is not followed.
    #[error("the archive has an entry {name:?} that is not copied: {problem}")]
    Entry {
        /// The entry.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An archive cannot be read.
    #[error("cannot read the archive: {0}")]
    Archive(#[source] io::Error),
    /// An archive has too much in it.
    #[error("the archive has more than {0} entries, or longer names than can be remembered; copy it in parts")]
    TooMany(u64),
}

/// The result of copying.
pub type Result<T> = std::result::Result<T, Error>;

fn system<E: Into<io::Error>>(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(E) -> Error {
    let path = path.into();
    move |source| Error::System { action, path, source: source.into() }
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
