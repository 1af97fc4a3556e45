//! How a machine is started: from a snapshot, from what a session has saved, or cold; what a reference names, or files.
//!
//! [`plan`] finds out what is to be run, [`restore`] and [`cold`] make a machine of it, and [`run`] attends it to its end. The program and the
//! library's [`crate::service`] do this alike.

mod asked;
pub mod attended;
mod check;
mod clients;
mod cold;
pub mod console;
pub mod named;
mod network;
mod outside;
mod plan;
mod reference;
mod restore;
pub(crate) mod stdin;
pub mod train;

use crate::context::Context;
use crate::distribution::oci::{OciError, PullOptions};
use crate::error::{Error, Result, exit};
use crate::host::backend::ram::pages_loaded;
use crate::host::net::NetworkOptions;
use crate::machine::DebugAid;
use crate::machine::config::Seed;
use crate::machine::output::HostOutput;
use crate::machine::program::Program;
use crate::machine::{ClockSource, Devices, EngineKind};
use crate::observer::Notice;
use crate::report::{Report, millis_between};
use crate::run::attended::{Attended, Ending};
use crate::run::console::{Console, Control};
use crate::session::Checkpoint;
use asked::Asked;
use plan::Plan;
use protocol::Mode;
use rustix::process::Signal;
use std::path::PathBuf;
use std::time::Instant;

/// How memory comes out of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreMode {
    /// Mapped, once all of the file is verified.
    Map,
    /// Read and verified when the guest first touches it.
    Read,
}

/// What is to be run, and how.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// What.
    pub target: RunTarget,
    /// What becomes of what the guest does.
    pub session: SessionPolicy,
    /// What runs the machine; `None` for what is usual.
    pub engine: Option<EngineKind>,
    /// Verify every byte, even of files that are unchanged since they last were.
    pub verify: bool,
    /// How memory comes out of a snapshot.
    pub restore: RestoreMode,
    /// Insist on this much memory, in MiB.
    pub memory: Option<u32>,
    /// The program, and what it gets.
    pub program: Program,
    /// Disks and shares.
    pub devices: Devices,
    /// The network, if one was asked for, or none. Otherwise a machine with a network device has the usual one.
    pub network: Option<NetworkOptions>,
    /// What the program is connected to, if that was said; otherwise, to a terminal if someone types what it reads.
    pub mode: Option<Mode>,
    /// Where the guest's time comes from.
    pub clock: ClockSource,
    /// Give up after this many guest instructions.
    pub limit_instructions: Option<u64>,
    /// Who looks on at every instruction.
    pub aid: Option<DebugAid>,
    /// How a reference is looked up.
    pub pull: PullOptions,
    /// Random bytes for the guest's generator, besides the host's. To be drawn anew for each run.
    pub seed: Option<Seed>,
}

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunTarget {
    /// Files: a machine, a snapshot, or a machine out of a snapshot.
    Files {
        /// The machine.
        machine: Option<PathBuf>,
        /// The snapshot; without one, the machine boots.
        snapshot: Option<PathBuf>,
    },
    /// What a reference names.
    Reference(String),
    /// What a session is of.
    Session,
}

/// What becomes of what the guest does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionPolicy {
    /// A reference that a person runs at a terminal, with nothing said of its program, has a session of its own. Anything else is not saved.
    Automatic,
    /// It is not saved.
    Never,
    /// It is saved in the session of this name, which goes on if it was saved before.
    Named(String),
    /// The session of this name is visited: others start programs in it, and it is saved at the end. If its own program has ended, that stays so.
    Visited(String),
}

impl RunRequest {
    /// Runs `target` as is usual.
    pub fn new(target: RunTarget) -> Self {
        Self {
            target,
            session: SessionPolicy::Automatic,
            engine: None,
            verify: false,
            restore: RestoreMode::Map,
            memory: None,
            program: Program::default(),
            devices: Devices::default(),
            network: None,
            mode: None,
            clock: ClockSource::Host,
            limit_instructions: None,
            aid: None,
            pull: PullOptions::default(),
            seed: None,
        }
    }

    /// Whether WAMR may have to run it.
    pub fn may_need_wamr(&self) -> bool {
        let no_module = matches!(self.target, RunTarget::Files { machine: None, .. });
        !no_module && self.engine != Some(EngineKind::Native)
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// How.
    pub ending: Ending,
    /// What was saved of it.
    pub checkpoint: Option<Checkpoint>,
}

impl Outcome {
    /// The exit code of a process that ran it: the guest's own status, or 0 if its user left it. A signal to the process is an error.
    pub fn status(&self) -> Result<u8> {
        match self.ending {
            Ending::Exited(status) => Ok(status),
            Ending::Left => Ok(0),
            Ending::Signalled(signal) => Err(Error::Interrupted { signal }),
            Ending::BrokenPipe => Ok(exit::of_signal(Signal::PIPE.as_raw())),
        }
    }
}

/// Runs what was asked for to its end. `control` is called when the machine is about to run.
pub fn run(
    context: &Context,
    request: &RunRequest,
    console: Console,
    control: impl FnOnce() -> Result<Box<dyn Control>>,
    (report, start): (&mut Report, Instant),
) -> Result<Outcome> {
    if let Some(asked) = Asked::begin(context, request) {
        // What is in the store nearly always is what is wanted.
        let (tentative, stored) = (asked.context(), asked.request());
        let restored = tentative
            .outcome(Plan::of(&tentative, stored, console.source))
            .and_then(|plan| plan.restore(&tentative, stored, console.try_clone()?, (&mut *report, start)));
        match restored {
            _ if !asked.is_current() => {}
            // Some of it is not there, or damaged.
            Err(Error::Oci(error)) if matches!(*error, OciError::NotInStore { .. }) => {}
            restored => return restored?.attend(&tentative, stored, control()?, (report, start)),
        }
    }
    let plan = context.outcome(Plan::of(context, request, console.source))?;
    plan.run(context, request, (console, control()?), (report, start))
}

/// Runs an attended guest to its end, and takes the figures.
pub fn attend(context: &Context, attended: &mut Attended, output: &HostOutput, (report, start): (&mut Report, Instant)) -> Result<Outcome> {
    let ending = attended.run();
    let checkpoint = attended.checkpoint().cloned();
    let drive = attended.drive();
    report.take(drive);
    let finished = drive.machine().finish();
    report.pages_loaded = pages_loaded(drive.machine().memory().bytes);
    report.first_output_ms = output.first().map(|first| millis_between(start, first));
    report.kept = checkpoint.as_ref().map(Into::into);
    if drive.machine().disk_was_full() {
        context.notice(Notice::DiskFull);
    }
    let ending = ending?;
    finished?;
    Ok(Outcome { ending, checkpoint })
}
