//! Who keeps what a guest does.

use super::Session;
use crate::error::{Error, Result};
use crate::host::file::HostFile;
use crate::host::file::atomic::AtomicFile;
use crate::machine::Engine;
use crate::machine::record::{BakeState, Point};
use crate::machine::saved::{Covered, Saved};
use crate::run::drive::Drive;
use crate::run::outlet::Outlet;
use snapshot::{Snapshot, Written};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Instructions that a guest may take to come to where it can be saved: a second or so, of which a system call hardly ever needs a thousandth.
const SAFE_POINT_WITHIN: u64 = 50_000_000;

/// Keeps what a guest does as the state of a session.
#[derive(Debug)]
pub struct Keeper {
    session: Session,
    base: Rc<Snapshot<HostFile>>,
    /// What the state covered when the machine was restored. What was written since, the machine knows.
    covered: Covered,
    /// What each state says of how it was saved.
    record: BakeState,
}

/// A state that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The session's name.
    pub session: String,
    /// Pages that it has.
    pub pages: u64,
    /// Bytes of them on the disk.
    pub bytes: u64,
    /// How long that took.
    pub took: Duration,
}

impl Keeper {
    /// Keeps a machine that was restored from `saved`, which says `baked` of itself, as the state of `session`.
    pub fn new(session: Session, saved: &Saved, baked: &BakeState) -> Self {
        let record = BakeState { point: Point::Idle, ..baked.clone() };
        Self { session, base: saved.snapshot().clone(), covered: saved.covered(), record }
    }

    /// The session.
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// Keeps the machine as it stands, or as it stands a little later, where copies of it can be told apart. Whatever was kept before stays until
    /// this is complete and on the disk.
    pub fn keep(&mut self, drive: &mut Drive, outlet: &Outlet) -> Result<Kept> {
        let start = Instant::now();
        let machine = drive.machine();
        let until = machine.count().saturating_add(SAFE_POINT_WITHIN);
        machine.run_to_safe_point(until)?;
        if !machine.at_safe_point() {
            return Err(Error::NoSafePoint { instructions: SAFE_POINT_WITHIN });
        }
        let path = self.session.state();
        let mut file = AtomicFile::create(&path)?;
        let written = self.write(machine, outlet, &mut file)?;
        file.commit()?;
        self.session.sync().map_err(|source| Error::Write { path, source })?;
        let bytes = written.pages * snapshot::PAGE_SIZE as u64;
        Ok(Kept { session: self.session.name().into(), pages: written.pages, bytes, took: start.elapsed() })
    }

    fn write(&self, machine: &mut dyn Engine, outlet: &Outlet, file: &mut AtomicFile) -> Result<Written> {
        let path = self.session.state();
        let error = |source| match source {
            snapshot::Error::Io { doing: _, source } => Error::Write { path: path.clone(), source },
            source => Error::Snapshot { path: path.clone(), source },
        };
        let mut writer = machine.save()?;
        writer.add(0, &self.record).map_err(error)?;
        writer.add(0, &outlet.look().tail().save()).map_err(error)?;
        machine.memory().save_delta(&writer, (&self.base, &self.covered), file.file()).map_err(error)
    }

    /// Ends the session, since its program has ended.
    pub fn end(&mut self) -> Result<()> {
        self.session.end()
    }
}
