//! What the library tells while it works: notices, and how far a task has come. How that is worded and drawn is the front end's matter.

use crate::distribution::oci::OciError;
use crate::error::{Error, Result};
use crate::session::Checkpoint;
use attend::record::Point;
use emu::machine::Verdict;
use std::cell::Cell;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use wamr::Baseline;

/// Time between two reports of one task.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

/// Hears what the library does. It is called on the thread that does the work: that of the caller, or that of the machine.
pub trait Observer: Send + Sync {
    /// Something that a person should know.
    fn notice(&self, notice: &Notice<'_>);
    /// How far a task has come; several times a second at most, and once when it ends.
    fn progress(&self, progress: &Progress<'_>);
    /// Whether the work is to be given up. What was asked for then fails with [`Error::Cancelled`]; what was fetched so far is kept.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn notice(&self, _notice: &Notice<'_>) {}
    fn progress(&self, _progress: &Progress<'_>) {}
}

/// How far a task has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The task.
    pub task: Task<'a>,
    /// How much is done: bytes, unless the task says otherwise.
    pub done: u64,
    /// How much there is to do, if that is known.
    pub total: Option<u64>,
    /// The task has ended, with success or not.
    pub ended: bool,
}

/// Something that takes a while. Tasks follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task<'a> {
    /// Layers come from a registry.
    Pull,
    /// Files go to a registry.
    Push,
    /// A part of a container image comes from a registry.
    FetchImage {
        /// Which part.
        what: &'a str,
    },
    /// A layer of a container image is read.
    ReadImage {
        /// Which layer.
        what: &'a str,
    },
    /// A folder is read as a root file system. Counted in files.
    ReadFolder,
    /// The root file system is packed into a machine.
    PackRoot,
    /// A machine or a snapshot is packed for travelling.
    Pack {
        /// Which.
        path: &'a Path,
    },
    /// A snapshot that has travelled is unpacked.
    UnpackSnapshot,
    /// A machine's code is compiled. Counted in seconds.
    Compile {
        /// The processor that it is compiled for.
        baseline: Baseline,
        /// Time that it has taken so far.
        elapsed: Duration,
    },
    /// A guest boots. Counted in instructions.
    Boot {
        /// Time that has passed for the guest.
        guest_time: Duration,
    },
}

impl Task<'_> {
    /// A stable name, for programs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::FetchImage { .. } => "fetch-image",
            Self::ReadImage { .. } => "read-image",
            Self::ReadFolder => "read-folder",
            Self::PackRoot => "pack-root",
            Self::Pack { .. } => "pack",
            Self::UnpackSnapshot => "unpack-snapshot",
            Self::Compile { .. } => "compile",
            Self::Boot { .. } => "boot",
        }
    }
}

/// What runs a machine whose own code does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instead {
    /// WAMR, with the shipped machine's code.
    ShippedCode,
    /// The native engine.
    NativeEngine,
    /// The native engine, although WAMR was asked for: the shipped machine's code is not here.
    NoShippedCode,
}

/// Something that a person should know.
#[derive(Debug)]
pub enum Notice<'a> {
    /// A machine that runs needs something of itself that has not come from the registry yet.
    WaitingForMachine,
    /// A machine has ended before all of it had come, and the rest does not come.
    NotAllFetched {
        /// Why.
        error: &'a Error,
    },
    /// A machine's code is compiled, because it is not in the cache. This takes a minute or so.
    Compiling {
        /// The processor that it is compiled for.
        baseline: Baseline,
    },
    /// A module that was not compiled is interpreted, because it was named as a file.
    Interpreted {
        /// The machine.
        path: &'a Path,
    },
    /// A machine is trained: a command or a script runs in it, and what it runs is counted.
    Training {
        /// The command, or the script's path.
        lesson: &'a str,
    },
    /// A container image has been read.
    ImageRead {
        /// Its name.
        name: &'a str,
        /// Files in it.
        files: u64,
        /// Bytes of the root file system.
        bytes: u64,
    },
    /// A name that could be meant as a path was taken for a reference.
    TakenForReference {
        /// The name.
        name: &'a str,
        /// The reference in full.
        reference: &'a str,
        /// A file or folder of this name exists.
        exists: bool,
    },
    /// Extended attributes were left out, because a guest could not have them.
    AttributesLeftOut {
        /// How many.
        count: u64,
    },
    /// A cold boot begins.
    Booting {
        /// What is booted.
        path: &'a Path,
        /// Memory in MiB.
        memory: u64,
    },
    /// A guest has booted and settled.
    Settled {
        /// Where it stands.
        point: Point,
        /// Instructions of the boot.
        instructions: u64,
        /// Wall time of the boot.
        elapsed: Duration,
        /// Guest time of the boot.
        guest_time: Duration,
        /// Why it is judged to have settled.
        verdict: Verdict,
        /// Wall time until that was known.
        waited: Duration,
    },
    /// Layers have been fetched.
    Fetched {
        /// Bytes of them.
        bytes: u64,
    },
    /// A snapshot has been packed for travelling.
    Packed {
        /// The snapshot.
        path: &'a Path,
        /// Bytes that travel.
        bytes: u64,
        /// Bytes of the snapshot itself.
        stored: u64,
    },
    /// A registry does not answer; what was pulled before is used.
    RegistryDown {
        /// What is wrong.
        error: &'a OciError,
    },
    /// A registry does not answer; it is tried again.
    Retrying {
        /// What is wrong.
        error: &'a OciError,
        /// When.
        after: Duration,
    },
    /// Credentials that the user may have for a registry cannot be read. It matters only if the registry wants some.
    CredentialsUnread {
        /// The registry.
        registry: &'a str,
        /// What cannot be read, and why.
        problem: &'a str,
    },
    /// Another process removes files from the store; this one waits for it.
    WaitingForPrune,
    /// Other processes use the store; removing files waits for them.
    WaitingForUsers,
    /// Another process makes or fetches the same; this one waits for it.
    WaitingForOther,
    /// A reference names an ordinary image: a machine is made of it.
    OrdinaryImage {
        /// The reference.
        reference: &'a str,
    },
    /// A machine has no snapshot: it boots once, and is saved.
    FirstBoot,
    /// That is done.
    FirstBootSaved {
        /// How long it took.
        elapsed: Duration,
    },
    /// A reference names something newer than an earlier session is of, which is kept.
    NewerImage {
        /// The reference.
        reference: &'a str,
        /// The session.
        session: &'a str,
    },
    /// Another process runs the session: this run starts afresh and saves nothing.
    SessionInUse {
        /// The session.
        session: &'a str,
    },
    /// A session was saved, because that was asked for.
    SessionSaved(&'a Checkpoint),
    /// A session could not be saved.
    SessionNotSaved(&'a Error),
    /// The guest ended without waiting to be saved: the session stays as it was saved last.
    ExitNotSaved,
    /// The user leaves, and the session could not be saved: leaving again loses it.
    LeavingLoses,
    /// The cache cannot be written, so that nothing is kept there.
    NoCache {
        /// It, if there is one at all.
        folder: Option<&'a Path>,
    },
    /// The store cannot be written, so that nothing is kept of a run.
    NoStore {
        /// It, if there is one at all.
        folder: Option<&'a Path>,
    },
    /// What the user trusts cannot be read, so that nothing counts as trusted.
    NoPolicy {
        /// Why not.
        error: &'a Error,
    },
    /// Native code needs more than this processor has, so it does not run.
    OtherProcessor {
        /// The machine's file.
        path: &'a Path,
        /// What it was compiled for.
        cpu: &'a str,
        /// What runs the machine.
        instead: Instead,
    },
    /// Native code is not trusted, so it does not run.
    NotTrusted {
        /// The machine's file.
        path: &'a Path,
        /// What runs the machine.
        instead: Instead,
    },
    /// The guest's writes to a disk failed: there is no room left for changed blocks.
    DiskFull,
    /// A port of the guest is published on a free port of the host.
    Published {
        /// The host's address.
        address: SocketAddr,
        /// The guest's port.
        guest: u16,
        /// Its protocol: `tcp` or `udp`.
        protocol: &'static str,
    },
    /// The guest has a network while it is baked.
    BakedWithNetwork,
    /// The machine waits for a debugger.
    WaitingForDebugger {
        /// Where.
        address: SocketAddr,
    },
}

/// Reports how far one task has come.
pub(crate) struct Tracker<'a> {
    observer: &'a dyn Observer,
    task: Cell<Task<'a>>,
    total: Option<u64>,
    done: Cell<u64>,
    reported: Cell<Option<Instant>>,
}

impl<'a> Tracker<'a> {
    /// A task of `total`, if that is known.
    pub fn new(observer: &'a dyn Observer, task: Task<'a>, total: Option<u64>) -> Self {
        Self { observer, task: Cell::new(task), total, done: Cell::new(0), reported: Cell::new(None) }
    }

    /// So much is done.
    pub fn set(&self, done: u64) {
        self.done.set(done);
        if self.reported.get().is_none_or(|last| last.elapsed() >= INTERVAL) {
            self.reported.set(Some(Instant::now()));
            self.report(false);
        }
    }

    /// The same of a task that tells more of itself.
    pub fn set_task(&self, task: Task<'a>, done: u64) {
        self.task.set(task);
        self.set(done);
    }

    /// Fails if the work is to be given up.
    pub fn check(&self) -> Result<()> {
        if self.observer.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn report(&self, ended: bool) {
        self.observer.progress(&Progress { task: self.task.get(), done: self.done.get(), total: self.total, ended });
    }
}

impl Drop for Tracker<'_> {
    fn drop(&mut self) {
        if self.reported.get().is_some() {
            self.report(true);
        }
    }
}

/// A reader that reports how much of it has been read, and fails when the work is to be given up.
pub(crate) struct Tracked<'a, R> {
    inner: R,
    done: u64,
    tracker: Tracker<'a>,
}

impl<'a, R> Tracked<'a, R> {
    /// Reads `inner`, which has `total` bytes.
    pub fn new(inner: R, observer: &'a dyn Observer, task: Task<'a>, total: u64) -> Self {
        Self { inner, done: 0, tracker: Tracker::new(observer, task, Some(total)) }
    }
}

impl<R: Read> Read for Tracked<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tracker.check().map_err(io::Error::other)?;
        let count = self.inner.read(buffer)?;
        self.done += count as u64;
        self.tracker.set(self.done);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[derive(Default)]
    struct Heard {
        events: Mutex<Vec<(u64, bool)>>,
        cancelled: AtomicBool,
    }

    impl Observer for Heard {
        fn notice(&self, _notice: &Notice<'_>) {}
        fn progress(&self, progress: &Progress<'_>) {
            self.events.lock().unwrap().push((progress.done, progress.ended));
        }
        fn is_cancelled(&self) -> bool {
            self.cancelled.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn a_task_reports_its_beginning_and_its_end() {
        let heard = Heard::default();
        let mut all = Vec::new();
        Tracked::new(&[1; 5000][..], &heard, Task::PackRoot, 5000).read_to_end(&mut all).unwrap();
        let events = heard.events.into_inner().unwrap();
        assert!(events.first().is_some_and(|(_, ended)| !ended));
        assert_eq!(events.last(), Some(&(5000, true)));
    }

    #[test]
    fn work_that_is_cancelled_fails() {
        let heard = Heard::default();
        let mut reader = Tracked::new(&[1; 5000][..], &heard, Task::PackRoot, 5000);
        assert!(reader.read(&mut [0; 10]).is_ok());
        heard.cancelled.store(true, Ordering::Relaxed);
        assert!(reader.read(&mut [0; 10]).is_err());
    }
}
