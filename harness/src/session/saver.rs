//! Saving what a guest does as the state of a session.

use super::Session;
use crate::error::{Error, Result};
use crate::host::file::HostFile;
use crate::host::file::atomic::AtomicFile;
use crate::host::net::Network;
use crate::machine::Engine;
use crate::machine::drive::Drive;
use crate::machine::output::HostOutput;
use crate::machine::record::BakeState;
use crate::machine::saved::{Base, Covered, Saved};
use crate::report::SavedFigures;
use attend::SavePoint;
use net::ConnectionsState;
use snapshot::{Snapshot, Written};
use std::time::{Duration, Instant};
use tracing::debug;

/// Saves what a guest does as the state of a session.
#[derive(Debug)]
pub struct Saver {
    session: Session,
    base: Base,
    /// What the state covered when the machine was restored. What was written since, the machine knows.
    covered: Covered,
    /// What the first state says of how it was saved.
    record: BakeState,
}

/// A state that was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The session's name.
    pub session: String,
    /// Pages that it has.
    pub pages: u64,
    /// Bytes of them on the disk.
    pub bytes: u64,
    /// How long that took.
    pub took: Duration,
    /// What its program was doing.
    pub at: SavePoint,
}

impl From<&Checkpoint> for SavedFigures {
    fn from(saved: &Checkpoint) -> Self {
        Self { pages: saved.pages, bytes: saved.bytes, milliseconds: saved.took.as_secs_f64() * 1e3 }
    }
}

impl Saver {
    /// Saves a machine that was restored from `saved`, which says `baked` of itself, as the state of `session`.
    pub fn new(session: Session, saved: &Saved, baked: &BakeState) -> Self {
        Self { session, base: saved.base().clone(), covered: saved.covered(), record: baked.clone() }
    }

    /// The session.
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// Saves the machine as it stands, or as it stands a little later, where copies of it can be told apart. Whatever was saved before stays until
    /// this is complete and on the disk.
    pub fn save(
        &mut self,
        drive: &mut Drive,
        output: &HostOutput,
        network: Option<&Network>,
        (at, within): (SavePoint, u64),
    ) -> Result<Checkpoint> {
        let start = Instant::now();
        let machine = drive.machine();
        let until = machine.count().saturating_add(within);
        machine.run_to_safe_point(until)?;
        if !machine.at_safe_point() {
            return Err(Error::NoSafePoint { instructions: within });
        }
        // A session stands on files that are in the store.
        let base = self.base.whole()?;
        if let Base::Coming(coming) = &self.base {
            self.session.settle(&coming.arrival.wait()?.machine)?;
            self.base = Base::Here(base.clone());
        }
        let path = self.session.state();
        let mut file = AtomicFile::create_private(&path)?;
        let written = self.write(machine, &base, (output, network, at), &mut file)?;
        self.session.sync().map_err(|source| Error::Write { path, source })?;
        file.commit()?;
        let bytes = written.pages * snapshot::PAGE_SIZE as u64;
        debug!(target: "prebake::save", session = self.session.name(), ?at, pages = written.pages, elapsed = ?start.elapsed(), "saved a session");
        Ok(Checkpoint { session: self.session.name().into(), pages: written.pages, bytes, took: start.elapsed(), at })
    }

    fn write(
        &self,
        machine: &mut dyn Engine,
        base: &Snapshot<HostFile>,
        (output, network, at): (&HostOutput, Option<&Network>, SavePoint),
        file: &mut AtomicFile,
    ) -> Result<Written> {
        let path = self.session.state();
        let error = |source| match source {
            snapshot::Error::Io { doing: _, source } => Error::Write { path: path.clone(), source },
            source => Error::Snapshot { path: path.clone(), source },
        };
        let mut writer = machine.save()?;
        writer.add(0, &BakeState { point: at.into(), ..self.record.clone() }).map_err(error)?;
        writer.add(0, &output.look().terminal().save()).map_err(error)?;
        if let Some(connections) = network.and_then(|network| ConnectionsState::of(&network.connections())) {
            writer.add(0, &connections).map_err(error)?;
        }
        machine.memory().save_delta(&writer, (base, &self.covered), file.file()).map_err(error)
    }
}
