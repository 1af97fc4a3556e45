//! What a machine is restored from: a snapshot, and what a session has changed since.

use super::coming::{Arrival, ComingPages};
use super::record::BakeState;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::host::backend::disk::Verify;
use crate::host::backend::ram::MappedRam;
use crate::host::coming::ComingReader;
use crate::host::file::HostFile;
use crate::host::file::ledger::{Ledger, Stamp};
use snapshot::{
    Delta, Digest, GROUP_SIZE, MachineId, PAGE_SIZE, PAGES_PER_GROUP, ReadAt, Run, Sections, Snapshot, Space, Travelling, Writer,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;
use tracing::debug;

/// A whole snapshot, and a delta on it if there is one.
#[derive(Debug)]
pub struct Saved {
    path: PathBuf,
    base: Base,
    /// The snapshot's file stays as it is.
    is_kept: bool,
    changes: Option<Changes>,
}

/// The snapshot, below what was changed.
#[derive(Debug, Clone)]
pub enum Base {
    /// It is here.
    Here(Rc<Snapshot<HostFile>>),
    /// It is on its way.
    Coming(ComingSnapshot),
}

/// A snapshot that is on its way.
#[derive(Clone)]
pub struct ComingSnapshot {
    /// All but its pages.
    pub travelling: Rc<Travelling<ComingReader>>,
    /// These.
    pub pages: ComingPages,
    /// What has it come.
    pub arrival: Rc<dyn Arrival>,
}

impl fmt::Debug for ComingSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComingSnapshot").field("travelling", &self.travelling).field("arrival", &self.arrival).finish_non_exhaustive()
    }
}

impl Base {
    /// All of it, for which is waited if it is on its way.
    pub fn whole(&self) -> Result<Rc<Snapshot<HostFile>>> {
        match self {
            Self::Here(snapshot) => Ok(snapshot.clone()),
            Self::Coming(coming) => {
                let path = coming.arrival.wait()?.snapshot;
                let snapshot = Snapshot::open(HostFile::open("snapshot", &path)?);
                snapshot.map(Rc::new).map_err(|source| Error::Snapshot { path, source })
            }
        }
    }
}

#[derive(Debug)]
struct Changes {
    path: PathBuf,
    delta: Delta<HostFile>,
}

/// For each page of a space whether it is not as in the snapshot below.
pub type Covered = BTreeMap<Space, Vec<bool>>;

impl Saved {
    /// Opens a snapshot. All but its pages is verified.
    pub fn open(context: &Context, path: &Path) -> Result<Self> {
        let file = HostFile::open("snapshot", path)?;
        let is_kept = context.keeps(file.file());
        Ok(Self { is_kept, ..Self::of(file, path)? })
    }

    /// The same of an open file, which may change. `path` is for errors.
    pub fn of(file: HostFile, path: &Path) -> Result<Self> {
        let snapshot = Snapshot::open(file).map_err(|source| Error::Snapshot { path: path.into(), source })?;
        Ok(Self { path: path.into(), base: Base::Here(Rc::new(snapshot)), is_kept: false, changes: None })
    }

    /// One that is on its way to the file at `path`.
    pub fn coming(path: &Path, snapshot: ComingSnapshot) -> Self {
        Self { path: path.into(), base: Base::Coming(snapshot), is_kept: false, changes: None }
    }

    /// The same with the delta at `path` over it, which is in the store.
    pub fn with_changes(self, context: &Context, path: &Path) -> Result<Self> {
        let error = |source| Error::Snapshot { path: path.into(), source };
        let file = HostFile::open("session", path)?;
        if !context.keeps(file.file()) {
            return Err(Error::NoStore);
        }
        let delta = Delta::open(file).map_err(error)?;
        delta.require_base(&*self.base.whole()?).map_err(error)?;
        Ok(Self { changes: Some(Changes { path: path.into(), delta }), ..self })
    }

    /// The file that says how the machine stands.
    pub fn path(&self) -> &Path {
        self.changes.as_ref().map_or(&self.path, |changes| &changes.path)
    }

    /// An error with it.
    pub fn error(&self, source: snapshot::Error) -> Error {
        Error::Snapshot { path: self.path().into(), source }
    }

    /// The snapshot, below what was changed.
    pub const fn base(&self) -> &Base {
        &self.base
    }

    /// The same, for which is waited if it is on its way.
    pub fn snapshot(&self) -> Result<Rc<Snapshot<HostFile>>> {
        self.base.whole()
    }

    fn here(&self) -> Option<&Rc<Snapshot<HostFile>>> {
        match &self.base {
            Base::Here(snapshot) => Some(snapshot),
            Base::Coming(_) => None,
        }
    }

    /// What a delta on the same snapshot must cover, whatever the machine does from here on.
    pub fn covered(&self) -> Covered {
        let Some(Changes { delta, .. }) = &self.changes else { return Covered::new() };
        delta.spaces().map(|space| (space, delta.covered(space))).collect()
    }

    /// The machine that was saved.
    pub fn machine(&self) -> &MachineId {
        match &self.base {
            Base::Here(snapshot) => snapshot.machine(),
            Base::Coming(coming) => coming.travelling.machine(),
        }
    }

    /// Its records.
    pub fn sections(&self) -> Sections<'_> {
        match (&self.changes, &self.base) {
            (Some(changes), _) => changes.delta.sections(),
            (None, Base::Here(snapshot)) => snapshot.sections(),
            (None, Base::Coming(coming)) => coming.travelling.sections(),
        }
    }

    /// What it says of how it was saved.
    pub fn baked(&self) -> Result<BakeState> {
        self.sections().take(0).map_err(|source| self.error(source))
    }

    /// Bytes of the files.
    pub fn file_length(&self) -> u64 {
        let base = match &self.base {
            Base::Here(snapshot) => snapshot.header().file_length(),
            Base::Coming(coming) => coming.travelling.stored_length(),
        };
        base + self.changes.as_ref().map_or(0, |changes| changes.delta.header().file_length())
    }

    /// The spaces that hold something.
    pub fn spaces(&self) -> BTreeSet<Space> {
        let mut spaces: BTreeSet<Space> = match &self.base {
            Base::Here(snapshot) => snapshot.spaces().collect(),
            Base::Coming(coming) => coming.travelling.spaces().collect(),
        };
        spaces.extend(self.changes.iter().flat_map(|changes| changes.delta.spaces()));
        spaces
    }

    /// Mappings that laying out all of it takes.
    pub fn mappings(&self) -> usize {
        let of_snapshot = |space| self.here().filter(|_| self.is_kept).map_or(0, |snapshot| snapshot.runs(space).count());
        let runs = |space| of_snapshot(space) + self.changes.as_ref().map_or(0, |changes| changes.delta.runs(space).len());
        self.spaces().into_iter().map(runs).sum()
    }

    /// Whether the snapshot's file stays as it is. If not, none of it is mapped: it is verified as it is read.
    pub const fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Whether there is nothing but the snapshot.
    pub const fn is_whole(&self) -> bool {
        self.changes.is_none()
    }

    /// Checks that all pages of disks are on disks of the machine, as [`Snapshot::require_disks`] does.
    pub fn require_disks(&self, size: impl Fn(u16) -> Option<u64>) -> std::result::Result<(), snapshot::Error> {
        match &self.base {
            Base::Here(snapshot) => snapshot.require_disks(&size)?,
            Base::Coming(coming) => coming.travelling.require_disks(&size)?,
        }
        self.changes.as_ref().map_or(Ok(()), |changes| changes.delta.require_disks(&size))
    }

    /// Makes sure of every byte that is to be mapped, unless that was done since the files last changed, or of every byte.
    pub fn verify(&self, ledger: &Ledger, verify: Verify) -> Result<()> {
        if let Some(snapshot) = self.here().filter(|_| self.is_kept || verify == Verify::Always) {
            verify_file(snapshot.source(), snapshot.header().content_digest, &self.path, (ledger, verify), || snapshot.verify_all())?;
        }
        let Some(Changes { path, delta }) = &self.changes else { return Ok(()) };
        verify_file(delta.source(), delta.header().content_digest, path, (ledger, verify), || delta.verify_all())
    }

    /// Lays out what `space` holds: first every stretch that `map` is to put in its place, then the bytes that `put` is to write over that. What is mapped
    /// must have passed [`Self::verify`].
    pub fn lay_out<T>(
        &self,
        space: Space,
        target: &mut T,
        map: impl Fn(&mut T, &File, Run) -> Result<()>,
        put: impl Fn(&mut T, u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let error = |source| Error::Snapshot { path: self.path.clone(), source };
        let mut group = Box::new([0; GROUP_SIZE]);
        match &self.base {
            Base::Here(snapshot) if self.is_kept => {
                for run in snapshot.runs(space) {
                    map(target, snapshot.source().file(), run)?;
                }
            }
            Base::Here(snapshot) => {
                for number in snapshot.group_numbers(space) {
                    snapshot.read_group(space, number, &mut group).map_err(error)?;
                    put(target, number * GROUP_SIZE as u64, &*group)?;
                }
            }
            Base::Coming(coming) => {
                for number in coming.travelling.page_numbers(space) {
                    coming.pages.borrow_mut().read(space, number, &mut group).map_err(error)?;
                    let place = number as usize % PAGES_PER_GROUP * PAGE_SIZE;
                    put(target, number * PAGE_SIZE as u64, &group[place..place + PAGE_SIZE])?;
                }
            }
        }
        let Some(Changes { path, delta }) = &self.changes else { return Ok(()) };
        for run in delta.runs(space) {
            map(target, delta.source().file(), run)?;
        }
        /// Either kind of error, until it is known of which file.
        enum Failed {
            Reading(snapshot::Error),
            Writing(Error),
        }
        impl From<snapshot::Error> for Failed {
            fn from(error: snapshot::Error) -> Self {
                Self::Reading(error)
            }
        }
        let patched = delta.patch(space, |address, bytes| put(target, address, bytes).map_err(Failed::Writing));
        patched.map_err(|error| match error {
            Failed::Reading(source) => Error::Snapshot { path: path.clone(), source },
            Failed::Writing(error) => error,
        })
    }

    /// `bytes` of memory with what `space` holds.
    pub fn memory(&self, space: Space, bytes: u64) -> Result<MappedRam> {
        let mut memory = MappedRam::zeroed(bytes)?;
        self.lay_out(space, &mut memory, MappedRam::map, MappedRam::put)?;
        Ok(memory)
    }

    /// The bytes in front of the snapshot's pages, and the length of its file, for a host that has laid out its pages. Of a snapshot with changes, a
    /// snapshot of the records alone.
    pub fn head(&self) -> Result<(Vec<u8>, u64)> {
        if let Some(Changes { delta, .. }) = &self.changes {
            let records = || {
                let mut writer = Writer::new(*delta.machine());
                writer.add_sections_of_delta(delta)?;
                writer.records()
            };
            let records = records().map_err(|source| self.error(source))?;
            let length = records.len() as u64;
            return Ok((records, length));
        }
        let snapshot = self.snapshot()?;
        let file = snapshot.source();
        let mut head = vec![0; snapshot.header().pages_offset() as usize];
        file.read_exact_at(&mut head, 0).map_err(|source| Error::Host { what: "read the snapshot", source })?;
        Ok((head, file.byte_len()))
    }
}

fn verify_file(
    file: &HostFile,
    content: Digest,
    path: &Path,
    (ledger, verify): (&Ledger, Verify),
    verify_all: impl FnOnce() -> std::result::Result<(), snapshot::Error>,
) -> Result<()> {
    let file = file.file();
    if verify == Verify::IfChanged && ledger.recall(file) == Some(content) {
        debug!(target: "prebake::verify", file = %path.display(), "unchanged since it was verified");
        return Ok(());
    }
    let (before, start) = (Stamp::of(file), Instant::now());
    verify_all().map_err(|source| Error::Snapshot { path: path.into(), source })?;
    debug!(target: "prebake::verify", file = %path.display(), elapsed = ?start.elapsed(), "verified");
    ledger.remember(file, before, content);
    Ok(())
}
