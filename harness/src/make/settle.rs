//! A machine that nobody sits at: it boots under the virtual clock until it has settled where a snapshot is wanted.

use crate::error::{Error, Result};
use crate::host::net::Network;
use crate::machine::Engine;
use crate::machine::drive::{Drive, SLICE};
use crate::machine::output::HostOutput;
use crate::machine::record::{BakeState, Point};
use crate::make::bake::SettleOptions;
use attend::{Action, Settler};
use emu::machine::Verdict;
use snapshot::{HotPages, Written};
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};
use tracing::debug;

/// A moment of a bake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// Instructions up to it.
    pub instructions: u64,
    /// Wall time up to it.
    pub elapsed: Duration,
    /// Guest time in nanoseconds.
    pub now: u64,
}

/// What a bake came to.
#[derive(Debug, Clone, Copy)]
pub struct Settled {
    /// When the guest had booted: the last time that it halted after real work.
    pub booted: Moment,
    /// When it was judged to have settled.
    pub judged: Moment,
    /// Why.
    pub verdict: Verdict,
    /// The guest's init is there and listens.
    pub control: bool,
}

/// Boots the guest and waits until it has settled at the point, having run for so many counts at most, or is `interrupted` by a signal.
/// `progress` gets the moment after each stop, and ends the boot by an error.
pub fn settle(
    drive: &mut Drive,
    output: &HostOutput,
    mut network: Option<&mut Network>,
    (point, options, limit): (Point, SettleOptions, Option<u64>),
    mut interrupted: impl FnMut() -> Option<i32>,
    mut progress: impl FnMut(Moment) -> Result<()>,
) -> Result<Settled> {
    let point = if point == Point::Barrier { attend::Point::Barrier } else { attend::Point::Idle };
    let start = (drive.status(), drive.work());
    let mut settler = Settler::new((point, options.thresholds, options.within), (SLICE, limit), start);
    let (mut booted, mut judged) = (Moment::default(), Moment::default());
    loop {
        let action = settler.next(&mut output.look());
        if settler.last_disturbance().is_some_and(|last| last.at == judged.now) {
            booted = judged;
        }
        match action {
            Action::Run { until } => {
                if let Some(signal) = interrupted() {
                    return Err(Error::Interrupted { signal });
                }
                if let Some(network) = &mut network {
                    network.work(drive.machine())?;
                }
                let stop = drive.run(until)?;
                let status = drive.status();
                judged = Moment { instructions: drive.instructions(), elapsed: drive.elapsed(), now: status.now };
                progress(judged)?;
                settler.stopped(stop, status, drive.work());
            }
            Action::Push { port, bytes } => {
                drive.machine().push_input(port, &bytes);
            }
            Action::SkipTo(tick) => {
                let answered = network.as_mut().map(|network| wait(network, drive.machine(), tick)).transpose()?;
                if answered != Some(true) {
                    drive.machine().skip_to(tick);
                }
            }
            Action::End(end) => {
                let attend::Settled { verdict, control } = end?;
                return Ok(Settled { booted, judged, verdict, control });
            }
            // What only a guest needs that has a user.
            Action::Show { .. } | Action::Close(_) | Action::Resize(_) | Action::Wait { .. } => {}
            Action::Save { .. } | Action::Decline(_) | Action::Notify(_) | Action::Exec(_) => {}
        }
    }
}

/// Where the halted guest waits for the network, its time passes as ours does, up to `tick`: its timers would expire before any answer came. Whether
/// something came.
fn wait(network: &mut Network, machine: &mut dyn Engine, tick: u64) -> Result<bool> {
    let end = Instant::now() + Duration::from_nanos(tick.saturating_sub(machine.now()));
    loop {
        if network.work(machine)? {
            return Ok(true);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || !network.may_wake() {
            return Ok(false);
        }
        network.wait(left).map_err(|source| Error::Host { what: "wait for the network", source })?;
    }
}

/// Writes a snapshot of the machine, which was made at power-on, to `file`, which is empty and to be at `path`. `hot` says what of it is wanted first, if that
/// is known.
pub fn save(
    drive: &mut Drive,
    output: &HostOutput,
    (state, hot): (&BakeState, Option<&HotPages>),
    file: &mut File,
    path: &Path,
) -> Result<Written> {
    let machine = drive.machine();
    let mut writer = machine.save()?;
    let error = |source| Error::Snapshot { path: path.into(), source };
    writer.add(0, state).map_err(error)?;
    writer.add(0, &output.look().terminal().save()).map_err(error)?;
    if let Some(hot) = hot {
        writer.add(0, hot).map_err(error)?;
    }
    let written = machine.memory().save(&writer, true, file).map_err(|source| match source {
        snapshot::Error::Io { source, .. } => Error::Write { path: path.into(), source },
        source => Error::Snapshot { path: path.into(), source },
    })?;
    debug!(target: "prebake::save", file = %path.display(), pages = written.pages, bytes = written.file_length, "saved a snapshot");
    Ok(written)
}
