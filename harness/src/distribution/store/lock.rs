//! Locks between processes. The kernel gives them back when a process ends, however it ends.

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

/// How often it is looked whether a lock is free.
const ATTENTION: Duration = Duration::from_millis(20);

/// A file that is locked until this is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// With whom a lock is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// With all who share it too.
    Shared,
    /// With nobody.
    Alone,
}

impl Lock {
    /// Locks the file at `path`, which is made if it is not there. While someone else has it locked, `goes_on` is asked several times a second; `None` if it
    /// says no.
    pub fn wait(path: &Path, sharing: Sharing, mut goes_on: impl FnMut() -> bool) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        while !attempt(&file, sharing)? {
            if !goes_on() {
                return Ok(None);
            }
            std::thread::sleep(ATTENTION);
        }
        Ok(Some(Self { _file: file }))
    }

    /// Locks an open file, if that can be had at once.
    pub fn attempt(file: File, sharing: Sharing) -> io::Result<Option<Self>> {
        Ok(attempt(&file, sharing)?.then_some(Self { _file: file }))
    }
}

fn attempt(file: &File, sharing: Sharing) -> io::Result<bool> {
    let operation = match sharing {
        Sharing::Shared => FlockOperation::NonBlockingLockShared,
        Sharing::Alone => FlockOperation::NonBlockingLockExclusive,
    };
    match flock(file.as_fd(), operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
