//! A machine that starts before all of it is on this host: what it touches is there, or is waited for.

use crate::artifact::{Artifact, MachineSize};
use crate::error::{Error, Result};
use crate::host::coming::ComingReader;
use crate::host::file::HostFile;
use devices::blk::{BlockError, BlockSource};
use emu::bus::PageSource;
use snapshot::{Digest, GROUP_SIZE, PAGE_SIZE, PAGES_PER_GROUP, Space, TravellingPages};
use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The pages of a file that is on its way, for all who read it.
pub type ComingPages = Rc<RefCell<TravellingPages<ComingReader>>>;

/// Who has a machine come.
pub trait Arrival: fmt::Debug {
    /// Waits until its files are in the store.
    fn wait(&self) -> Result<Arrived>;
}

/// See [`Arrival::wait`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// The machine.
    pub machine: PathBuf,
    /// The snapshot.
    pub snapshot: PathBuf,
}

/// A machine's file that is on its way: what is needed of it to restore a snapshot of the machine.
pub struct ComingMachine {
    /// How large it is.
    pub size: MachineSize,
    /// Its metadata, verified.
    pub metadata: Vec<u8>,
    /// Its root disk.
    pub root: Option<ComingRoot>,
    /// What has it come.
    pub arrival: Rc<dyn Arrival>,
    /// The file, once it was waited for.
    pub whole: OnceCell<Artifact<HostFile>>,
}

impl ComingMachine {
    /// Its file, for which is waited.
    pub fn whole(&self) -> Result<&Artifact<HostFile>> {
        if let Some(whole) = self.whole.get() {
            return Ok(whole);
        }
        let path = self.arrival.wait()?.machine;
        let whole = Artifact::open(HostFile::open("machine", &path)?).map_err(|source| Error::Artifact { path, source })?;
        Ok(self.whole.get_or_init(|| whole))
    }
}

/// A root disk.
pub struct ComingRoot {
    /// Bytes.
    pub size: u64,
    /// Digest of all of it.
    pub digest: Digest,
    /// What is in it.
    pub content: RootContent,
}

/// Where a root disk is.
pub enum RootContent {
    /// In a file, from this byte on.
    Here(HostFile, u64),
    /// On its way. What could not be read of it, and why, is in the second.
    Coming(ComingPages, Rc<RefCell<Option<snapshot::Error>>>),
}

/// RAM that is on its way.
pub struct ComingRam(pub ComingPages);

impl PageSource for ComingRam {
    fn pages(&self) -> Vec<u64> {
        self.0.borrow().travelling().page_numbers(Space::Ram).collect()
    }

    fn read(&mut self, number: u64, group: &mut [u8; GROUP_SIZE]) -> std::result::Result<u16, snapshot::Error> {
        self.0.borrow_mut().read(Space::Ram, number, group)
    }
}

/// A disk that is on its way.
pub struct ComingDisk {
    pages: ComingPages,
    size: u64,
    /// The group that was read last: its number, and which of its pages are there.
    group: (u64, u16),
    bytes: Box<[u8; GROUP_SIZE]>,
    failed: Rc<RefCell<Option<snapshot::Error>>>,
}

impl ComingDisk {
    /// The disk with these `pages`. `size` is in bytes. What cannot be read goes to `failed`, since the guest that reads it must not go on.
    pub fn new(pages: ComingPages, size: u64, failed: Rc<RefCell<Option<snapshot::Error>>>) -> Self {
        Self { pages, size, group: (0, 0), bytes: Box::new([0; GROUP_SIZE]), failed }
    }
}

impl BlockSource for ComingDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> std::result::Result<(), BlockError> {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let (page, within) = (at / PAGE_SIZE as u64, (at % PAGE_SIZE as u64) as usize);
            let (group, place) = (page / PAGES_PER_GROUP as u64, (page % PAGES_PER_GROUP as u64) as usize);
            if self.group.0 != group || self.group.1 & 1 << place == 0 {
                self.group.1 = 0;
                let read = self.pages.borrow_mut().read(Space::Disk(0), page, &mut self.bytes);
                match read {
                    Ok(found) => self.group = (group, found),
                    Err(error) => {
                        *self.failed.borrow_mut() = Some(error);
                        return Err(BlockError::Host);
                    }
                }
            }
            let length = (PAGE_SIZE - within).min(bytes.len() - done);
            bytes[done..done + length].copy_from_slice(&self.bytes[place * PAGE_SIZE + within..][..length]);
            done += length;
        }
        Ok(())
    }
}

/// Reads the machine's metadata and the like, which is small: all of a file that is on its way.
pub fn read_all(file: &ComingReader, path: &Path) -> Result<Vec<u8>> {
    use snapshot::ReadAt;
    let mut bytes = vec![0; file.byte_len() as usize];
    file.read_exact_at(&mut bytes, 0).map_err(|source| Error::Read { what: "layer", path: path.into(), source })?;
    Ok(bytes)
}
