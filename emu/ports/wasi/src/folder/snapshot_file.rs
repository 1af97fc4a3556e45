//! A snapshot's file that the module reads itself.

use super::call::{Descriptor, Opening, Result};
use crate::config::SnapshotPlace;
use devices::p9::Errno;
use snapshot::ReadAt;
use std::io;
use std::rc::Rc;

/// A snapshot's file.
#[derive(Debug)]
pub struct SnapshotFile {
    file: Rc<Descriptor>,
    length: u64,
}

impl SnapshotFile {
    /// Opens it.
    pub fn open(place: &SnapshotPlace) -> io::Result<Self> {
        let open = || -> Result<Self> {
            let given = Descriptor::of_runtime(place.descriptor);
            let file = match &place.name {
                None => given,
                Some(name) => Rc::new(given.open(name.as_bytes(), Opening { read: true, write: false, oflags: 0, fdflags: 0 })?),
            };
            let length = file.stat_self()?.size;
            Ok(Self { file, length })
        };
        open().map_err(error)
    }
}

impl ReadAt for SnapshotFile {
    fn byte_len(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], offset + done as u64).map_err(error)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => done += read,
            }
        }
        Ok(())
    }
}

fn error(errno: Errno) -> io::Error {
    let kind = if errno == Errno::ENOENT { io::ErrorKind::NotFound } else { io::ErrorKind::Other };
    io::Error::new(kind, errno)
}
