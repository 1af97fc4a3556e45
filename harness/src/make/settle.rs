//! A machine that nobody sits at: it boots under the virtual clock until it has settled where a snapshot is wanted.

use crate::error::{Error, Result};
use crate::host::file::atomic::AtomicFile;
use crate::machine::record::{BakeState, Point};
use crate::make::bake::SettleOptions;
use crate::run::drive::{Drive, Pause};
use crate::run::outlet::Outlet;
use devices::console::Port;
use emu::machine::{Settle, Verdict};
use protocol::{ANSWER, Mode, Request, Said};
use snapshot::Written;
use std::path::Path;
use std::time::Duration;

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

/// Boots the guest and waits until it has settled at `point`, or is `interrupted` by a signal. `progress` hears of instructions and guest time now and then, and ends it by an error.
pub fn settle(
    drive: &mut Drive,
    outlet: &Outlet,
    mut interrupted: impl FnMut() -> Option<i32>,
    point: Point,
    options: SettleOptions,
    mut progress: impl FnMut(Moment) -> Result<()>,
) -> Result<Settled> {
    let mut settle = Settle::new(options.thresholds);
    let mut booted = Moment::default();
    loop {
        if let Some(signal) = interrupted() {
            return Err(Error::Interrupted { signal });
        }
        let pause = drive.advance()?;
        let moment = Moment { instructions: drive.instructions(), elapsed: drive.elapsed(), now: drive.machine().now() };
        progress(moment)?;
        while let Some(said) = outlet.look().take_said() {
            if let Said::Failed(reason) = said {
                return Err(Error::GuestFailed { reason });
            }
        }
        let deadline = match pause {
            Pause::Slice if moment.now <= options.within => continue,
            Pause::Slice => None,
            Pause::Halted { deadline } => deadline,
            Pause::PowerOff(_) | Pause::HaltedForGood => return Err(ended("the guest powered off", outlet)),
            Pause::Reset => return Err(ended("the guest reset the machine", outlet)),
        };
        let verdict = if matches!(pause, Pause::Halted { .. }) { settle.halted(drive.halt(deadline)) } else { None };
        let at_barrier = outlet.look().at_barrier();
        if at_barrier && point == Point::Idle {
            start_on_terminal(drive, outlet);
            continue;
        }
        // Nobody else is there to answer, and a line editor that gets no answer waits for it at every prompt.
        if let Some(answer) = outlet.look().tail().answer_cursor_query() {
            drive.machine().push_input(Port::Tty, answer.as_bytes());
            continue;
        }
        if settle.last_disturbance().is_some_and(|last| last.at == moment.now) {
            booted = moment;
        }
        match (verdict, deadline) {
            (Some(verdict), _) if point == Point::Barrier && !at_barrier => {
                return Err(Error::NoBarrier { evidence: verdict.to_string(), output: outlet.look().unseen() });
            }
            (Some(verdict), _) => {
                let control = drive.machine().wants_input(Port::Control);
                return Ok(Settled { booted, judged: moment, verdict, control });
            }
            (None, Some(tick)) if moment.now <= options.within => drive.machine().skip_to(tick),
            (None, _) => return Err(never_settled(&settle, options, moment, outlet)),
        }
    }
}

/// Writes a snapshot of the machine, which was made at power-on, to `file`, which is to be at `path`.
pub fn save(drive: &mut Drive, outlet: &Outlet, state: &BakeState, file: &mut AtomicFile, path: &Path) -> Result<Written> {
    let machine = drive.machine();
    let mut writer = machine.save()?;
    let error = |source| Error::Snapshot { path: path.into(), source };
    writer.add(0, state).map_err(error)?;
    writer.add(0, &outlet.look().tail().save()).map_err(error)?;
    machine.memory().save(&writer, true, file.file()).map_err(|source| match source {
        snapshot::Error::Io { source, .. } => Error::Write { path: path.into(), source },
        source => Error::Snapshot { path: path.into(), source },
    })
}

fn start_on_terminal(drive: &mut Drive, outlet: &Outlet) {
    let start = Request::Start { mode: Mode::Tty, term: None, time: None };
    drive.machine().push_input(Port::Control, start.to_string().as_bytes());
    drive.machine().push_input(Port::Tty, ANSWER);
    outlet.look().pass_barrier();
}

fn ended(how: &'static str, outlet: &Outlet) -> Error {
    Error::GuestEnded { how, output: outlet.look().unseen() }
}

fn never_settled(settle: &Settle, options: SettleOptions, moment: Moment, outlet: &Outlet) -> Error {
    let Moment { instructions, now, .. } = moment;
    let last = settle.last_disturbance().unwrap_or(emu::machine::Disturbance { at: now, instructions, device_work: 0 });
    Error::NeverSettled { within: options.within, last, output: outlet.look().unseen() }
}
