//! Everything that can keep the machine from reaching its program.

use std::io;

/// A reason not to start the program. Its text goes to the host, which shows it to the user.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on a named thing failed.
    #[error("cannot {action} {object}: {source}")]
    System {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what: a path, mostly.
        object: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The disk that is to be the root carries none of the file systems tried.
    #[error("no file system on root device {0}; it must carry ext4, squashfs or erofs")]
    UnknownRoot(String),
    /// The terminal ended or failed at the barrier.
    #[error("the barrier on the terminal failed: {0}")]
    Barrier(#[source] io::Error),
    /// The control port ended before it said how to start.
    #[error("the control port closed before it said how to start")]
    NoStart,
    /// The control port's first line was something else.
    #[error("the control port's first line must be `start tty` or `start streams`, got {0:?}")]
    NotAStart(String),
    /// The host's seed is too short to tell this machine from its siblings.
    #[error("the seed for the random generator has {found} bytes, at least {needed} are needed")]
    ShortSeed {
        /// Bytes in the file.
        found: usize,
        /// Bytes that make a seed.
        needed: usize,
    },
    /// The host's `info`, or the image's description, cannot be followed.
    #[error("{what} has a line `{key}:` that cannot be followed: {problem}")]
    Line {
        /// Whose line.
        what: &'static str,
        /// Which line.
        key: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The host asks for a network that the machine has no device for.
    #[error("the machine has no network interface eth0")]
    NoNetwork,
    /// Neither the host nor the image says what to run.
    #[error("the image has no command of its own, and none was given")]
    NoCommand,
    /// The container has no such user or group.
    #[error("the container has no {what} {name:?} in its {list}; give a number, or one that is there")]
    Unknown {
        /// `user` or `group`.
        what: &'static str,
        /// Its name.
        name: String,
        /// Where it was looked for.
        list: &'static str,
    },
    /// The disk for what is written to the root carries something else.
    #[error("the disk {0} has neither a file system nor zeros at its start; give an empty one")]
    ForeignUpper(String),
    /// The disk for what is written to the root is too small or too large for a file system.
    #[error("the disk {device} has {size} bytes; what is written to the root needs 1 MiB to 8 TiB")]
    UpperSize {
        /// The disk.
        device: String,
        /// Its size in bytes.
        size: u64,
    },
    /// What the container's process 1 said.
    #[error("{0}")]
    Inside(String),
    /// The container's process 1 is gone.
    #[error("the container's process 1 has ended before the program was started")]
    InsideEnded,
    /// The host wants files of its own in the guest, but there is no share with them.
    #[error("the host's info binds files, but the machine has no share `wasi0` that they could be in")]
    NoFolders,
    /// The host wants three streams, but a port for one of them is missing.
    #[error("the machine has no port named {0}")]
    NoPort(&'static str),
}

/// Result of anything before the program's start.
pub type Result<T> = std::result::Result<T, Error>;

/// Names what was tried, for the error.
pub trait Context<T> {
    /// Turns a failure into [`Error::System`].
    fn context(self, action: &'static str, object: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, action: &'static str, object: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::System { action, object: object.into(), source: source.into() })
    }
}
