//! A machine that is started while it is still on its way into the store.
//!
//! A thread pulls it as always, but its layers in the order in which they are needed. What the machine needs to start is read as soon as it has come, and
//! everything is verified before it is used: the snapshot and the root disk by the digests that the configuration has of them.

use super::digest::Sha256;
use super::document::Config;
use super::error::OciError;
use super::layer::unpack_stream;
use super::pull::VmArtifacts;
use super::stream::ComingLayer;
use crate::artifact::{Artifact, MachineSize, PartKind};
use crate::context::Context;
use crate::distribution::trust::Signature;
use crate::error::{Error, Result};
use crate::host::coming::{ComingReader, Ends, Gate};
use crate::host::file::HostFile;
use crate::host::file::ledger::parse_digest;
use crate::machine::coming::{Arrival, Arrived, ComingMachine, ComingPages, ComingRoot, RootContent, read_all};
use crate::machine::file::MachineFile;
use crate::machine::saved::{ComingSnapshot, Saved};
use crate::observer::{Notice, Observer, Progress, Task};
use emu::machine::MachineError;
use snapshot::{Digest, Travelling, TravellingPages};
use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::debug;

/// So long after its start, a machine that has not come to its prompt leaves the line to what it waits for.
const ALONE: Duration = Duration::from_secs(3);
/// How often it is looked whether all has come.
const ATTENTION: Duration = Duration::from_millis(20);

/// What can be begun with before all of it has come.
pub struct Beginning {
    pub reference: String,
    pub digest: Sha256,
    pub signatures: Vec<Signature>,
    /// What everything must be.
    pub config: Config,
    pub metadata: Piece,
    pub root: Option<Piece>,
    pub snapshot: ComingLayer,
    /// Where the snapshot will be.
    pub place: PathBuf,
}

/// A part of the machine.
pub enum Piece {
    /// It is in a machine of the store, in this file.
    Here(PathBuf),
    /// It is on its way.
    Coming(ComingLayer),
}

/// Who pulls a machine that is wanted early.
pub struct Early<'a> {
    pub sender: &'a Sender<Beginning>,
    pub watcher: &'a Watcher,
}

/// A machine that is on its way into the store. Dropping it ends that; what has come stays.
pub struct Coming {
    context: Context,
    beginning: Beginning,
    gate: Rc<Gate>,
    watcher: Arc<Watcher>,
    thread: RefCell<Option<JoinHandle<Result<VmArtifacts>>>>,
    /// What became of it, and stays as long as this lives.
    artifacts: OnceCell<VmArtifacts>,
    /// What could not be read of a disk.
    failed: Rc<RefCell<Option<snapshot::Error>>>,
    /// The snapshot, once it was opened.
    snapshot: OnceCell<(Rc<Travelling<ComingReader>>, ComingPages)>,
    /// The same of the root.
    root: OnceCell<Rc<Travelling<ComingReader>>>,
}

impl fmt::Debug for Coming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coming").field("reference", &self.beginning.reference).finish_non_exhaustive()
    }
}

/// What was found of a reference.
pub enum Found {
    /// It is in the store.
    Here(VmArtifacts),
    /// It is on its way.
    Coming(Rc<Coming>),
}

impl From<VmArtifacts> for Found {
    fn from(artifacts: VmArtifacts) -> Self {
        Self::Here(artifacts)
    }
}

impl Coming {
    /// Has `pull` done in a thread of its own. It is given what is to know how early something can be begun with.
    pub fn start(context: &Context, pull: impl FnOnce(&Context, &Early<'_>) -> Result<VmArtifacts> + Send + 'static) -> Result<Found> {
        let watcher = Arc::new(Watcher::new(context));
        let (sender, receiver) = mpsc::channel();
        let thread = {
            let (watched, watcher) = (context.clone().observed_by(|_| watcher.clone()), watcher.clone());
            let work = move || pull(&watched, &Early { sender: &sender, watcher: &watcher });
            std::thread::Builder::new().name("pull".into()).spawn(work)
        };
        let thread = thread.map_err(|source| Error::Host { what: "start a thread for a pull", source })?;
        let Ok(beginning) = receiver.recv() else {
            return thread.join().unwrap_or(Err(Error::Cancelled)).map(Found::Here);
        };
        debug!(target: "prebake::registry", reference = beginning.reference, "can be begun with");
        let pieces = [Some(&beginning.metadata), beginning.root.as_ref()].into_iter().flatten();
        let coming = pieces.filter_map(|piece| match piece {
            Piece::Coming(layer) => Some(layer),
            Piece::Here(_) => None,
        });
        coming.chain([&beginning.snapshot]).for_each(|layer| layer.file.want(1));
        let gate = Rc::new(Gate::default());
        gate.ask({
            let context = context.clone();
            Box::new(move || context.observer().is_cancelled())
        });
        Ok(Found::Coming(Rc::new(Self {
            context: context.clone(),
            beginning,
            gate,
            watcher,
            thread: RefCell::new(Some(thread)),
            artifacts: OnceCell::new(),
            failed: Rc::default(),
            snapshot: OnceCell::new(),
            root: OnceCell::new(),
        })))
    }

    /// The reference in full.
    pub fn reference(&self) -> &str {
        &self.beginning.reference
    }

    /// Digest of the document that it names.
    pub fn digest(&self) -> Sha256 {
        self.beginning.digest
    }

    /// Digest of the machine's code.
    pub fn code(&self) -> &str {
        &self.beginning.config.code.digest
    }

    /// Who has signed the document.
    pub fn signatures(&self) -> &[Signature] {
        &self.beginning.signatures
    }

    /// Where the snapshot will be.
    pub fn place(&self) -> &Path {
        &self.beginning.place
    }

    /// The machine is about to run: from now on its user is not told how far this has come, and `ends` is asked whether a wait is to end, as in
    /// [`Gate::ask`].
    pub fn begin(&self, ends: Ends) {
        self.gate.ask(ends);
        self.watcher.begin();
    }

    /// The machine waits for its user: what it does not need comes now.
    pub fn at_prompt(&self) {
        self.watcher.all.store(true, Ordering::Relaxed);
    }

    /// The machine has ended: waits until all of it is in the store, unless `ends` says otherwise.
    pub fn finish(&self, ends: Ends) -> Result<()> {
        self.gate.ask(ends);
        self.watcher.state().runs = None;
        self.wait().map(drop)
    }

    /// The snapshot, as far as it has come: at least what is wanted of it first.
    pub fn saved(self: &Rc<Self>) -> Result<Saved> {
        let path = self.place();
        let open = || {
            let error = |source| Error::Snapshot { path: path.into(), source };
            let travelling = Travelling::open(self.beginning.snapshot.file.reader(&self.gate)).map_err(error)?;
            check_snapshot(&travelling, &self.beginning.config)?;
            let travelling = Rc::new(travelling);
            // All that is wanted first comes at the same time.
            self.beginning.snapshot.file.want(travelling.start());
            if let Some(Piece::Coming(layer)) = &self.beginning.root {
                layer.file.want(self.open_root(layer)?.start());
            }
            let pages = TravellingPages::new(travelling.clone()).map_err(error)?;
            Ok((travelling, Rc::new(RefCell::new(pages))))
        };
        let (travelling, pages) = match self.snapshot.get() {
            Some(snapshot) => snapshot,
            None => {
                let snapshot = open().map_err(|error| self.explain(error))?;
                self.snapshot.get_or_init(|| snapshot)
            }
        };
        let snapshot = ComingSnapshot { travelling: travelling.clone(), pages: pages.clone(), arrival: self.clone() };
        Ok(Saved::coming(path, snapshot))
    }

    /// The machine, as far as it has come.
    pub fn machine(self: &Rc<Self>) -> Result<MachineFile> {
        let path = Path::new(&self.beginning.reference);
        let open = || {
            let config = &self.beginning.config;
            let pages = config.layers.as_ref().map_or(0, |layers| layers.memory_pages);
            let machine = ComingMachine {
                size: MachineSize { pages, ram_size: config.ram_bytes },
                metadata: self.metadata()?,
                root: self.beginning.root.as_ref().map(|root| self.root(root)).transpose()?,
                arrival: self.clone(),
                whole: OnceCell::new(),
            };
            MachineFile::coming(&self.context, path, machine)
        };
        open().map_err(|error| self.explain(error))
    }

    fn metadata(&self) -> Result<Vec<u8>> {
        let kind = PartKind::Metadata;
        let metadata = match &self.beginning.metadata {
            Piece::Here(path) => artifact(path)?.read_part(kind).map_err(|source| Error::Artifact { path: path.clone(), source })?,
            Piece::Coming(ComingLayer { file, path, .. }) => {
                let limit = length(&self.beginning.config, kind);
                let packed = read_all(&file.reader(&self.gate), path)?;
                unpack_stream(&packed, limit).map_err(|_| not_described("the machine's metadata"))?
            }
        };
        match digest(&self.beginning.config, kind) {
            Some(wanted) if wanted == Digest::of(&metadata) => Ok(metadata),
            _ => Err(not_described("the machine's metadata")),
        }
    }

    fn root(&self, root: &Piece) -> Result<ComingRoot> {
        let (config, kind) = (&self.beginning.config, PartKind::Root);
        let content = match root {
            Piece::Here(path) => {
                let error = |source| Error::Artifact { path: path.clone(), source };
                let artifact = artifact(path)?;
                let start = artifact.file_offset(artifact.part(kind).map_err(error)?);
                RootContent::Here(HostFile::open("machine", path)?, start)
            }
            Piece::Coming(layer) => {
                let pages = TravellingPages::new(self.open_root(layer)?);
                let pages = pages.map_err(|source| Error::Snapshot { path: layer.path.clone(), source })?;
                RootContent::Coming(Rc::new(RefCell::new(pages)), self.failed.clone())
            }
        };
        let digest = digest(config, kind).ok_or_else(|| not_described("the machine's root"))?;
        Ok(ComingRoot { size: length(config, kind), digest, content })
    }

    /// The root, which is the one that the configuration describes.
    fn open_root(&self, ComingLayer { file, path, .. }: &ComingLayer) -> Result<Rc<Travelling<ComingReader>>> {
        if let Some(root) = self.root.get() {
            return Ok(root.clone());
        }
        let root = Travelling::open(file.reader(&self.gate)).map_err(|source| Error::Snapshot { path: path.clone(), source })?;
        let wanted = self.beginning.config.layers.as_ref().and_then(|layers| layers.root.as_ref());
        if wanted != Some(&root.header().content_digest.to_string()) {
            return Err(not_described("the machine's root"));
        }
        Ok(self.root.get_or_init(|| Rc::new(root)).clone())
    }

    /// What the guest needed of a disk and could not have: it must not go on.
    pub fn failure(&self) -> Option<Error> {
        let source = self.failed.borrow_mut().take()?;
        Some(Error::Snapshot { path: self.beginning.reference.clone().into(), source })
    }

    /// Why it comes to this error of what reads it: that what has come is not what it should be, and is fetched anew the next time, or that nothing more
    /// comes.
    pub fn explain(&self, error: Error) -> Error {
        let is_bad = match &error {
            Error::Machine(MachineError::Pages { source, .. })
            | Error::Restore { source: MachineError::Pages { source, .. }, .. }
            | Error::Snapshot { source, .. } => !matches!(source, snapshot::Error::Io { .. }),
            Error::Oci(error) => matches!(**error, OciError::Document { .. }),
            _ => false,
        };
        if is_bad {
            self.watcher.is_bad.store(true, Ordering::Relaxed);
            self.end();
            return error;
        }
        let is_cut = match &error {
            Error::Machine(MachineError::Pages { source: snapshot::Error::Io { source, .. }, .. })
            | Error::Restore { source: MachineError::Pages { source: snapshot::Error::Io { source, .. }, .. }, .. }
            | Error::Snapshot { source: snapshot::Error::Io { source, .. }, .. }
            | Error::Read { source, .. } => source.kind() == ErrorKind::BrokenPipe,
            _ => false,
        };
        if is_cut && let Err(failure) = self.wait() { failure } else { error }
    }

    /// Ends it.
    fn end(&self) {
        self.watcher.is_cancelled.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.borrow_mut().take() {
            // Its locks are given back before anything else is done.
            let _ = thread.join();
        }
    }
}

impl Arrival for Coming {
    fn wait(&self) -> Result<Arrived> {
        self.watcher.all.store(true, Ordering::Relaxed);
        while self.thread.borrow().as_ref().is_some_and(|thread| !thread.is_finished()) {
            std::thread::sleep(ATTENTION);
            if self.gate.is_to_end() {
                return Err(Error::Cancelled);
            }
        }
        if let Some(thread) = self.thread.borrow_mut().take() {
            let artifacts = thread.join().unwrap_or(Err(Error::Cancelled))?;
            let _ = self.artifacts.set(artifacts);
        }
        let Some(VmArtifacts { wasm_file, snapshot_file: Some(snapshot), .. }) = self.artifacts.get() else { return Err(Error::Cancelled) };
        Ok(Arrived { machine: wasm_file.clone(), snapshot: snapshot.clone() })
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.end();
    }
}

fn artifact(path: &Path) -> Result<Artifact<HostFile>> {
    Artifact::open(HostFile::open("machine", path)?).map_err(|source| Error::Artifact { path: path.into(), source })
}

/// Bytes of a part.
fn length(config: &Config, kind: PartKind) -> u64 {
    config.layers.as_ref().and_then(|layers| layers.parts.get(kind.name()).copied()).unwrap_or_default()
}

fn digest(config: &Config, kind: PartKind) -> Option<Digest> {
    config.payload.get(kind.name()).and_then(|digest| parse_digest(digest))
}

fn not_described(what: &str) -> Error {
    OciError::document("configuration", format!("it does not describe {what}")).into()
}

/// Checks that a snapshot is the one that `config` describes.
pub fn check_snapshot<S: snapshot::ReadAt>(travelling: &Travelling<S>, config: &Config) -> Result<()> {
    let (header, machine) = (travelling.header(), travelling.machine());
    let found = (header.content_digest.to_string(), travelling.stored_length(), machine.devices);
    let wanted = config.snapshot.as_ref().map(|snapshot| (snapshot.content.clone(), snapshot.stored_bytes, snapshot.devices));
    if (machine.model.as_str(), machine.ram_size) != (config.model.as_str(), config.ram_bytes) || Some(found) != wanted {
        return Err(not_described("this snapshot"));
    }
    Ok(())
}

/// What the thread that pulls says goes through this. When the machine runs, its user is told only of what they may wait for.
pub struct Watcher {
    context: Context,
    state: Mutex<Told>,
    is_cancelled: AtomicBool,
    /// All of it is to come: nobody has to wait for the machine to start.
    all: AtomicBool,
    /// What has come is not what it should be.
    is_bad: AtomicBool,
}

#[derive(Default)]
struct Told {
    /// Since when the machine runs.
    runs: Option<Instant>,
    /// A task, which has not ended.
    task: bool,
}

impl Watcher {
    fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            state: Mutex::default(),
            is_cancelled: AtomicBool::new(false),
            all: AtomicBool::new(false),
            is_bad: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, Told> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether all of it is to come, not only what the machine waits for.
    pub fn wants_all(&self) -> bool {
        self.all.load(Ordering::Relaxed) || self.state().runs.is_some_and(|since| since.elapsed() > ALONE)
    }

    fn begin(&self) {
        let mut state = self.state();
        state.runs = Some(Instant::now());
        if std::mem::take(&mut state.task) {
            self.context.observer().progress(&Progress { task: Task::Pull, done: 0, total: None, ended: true });
        }
    }
}

/// When the pull ends, removes what is in these places if what has come is not what it should be.
pub struct Discard<'a>(pub &'a Watcher, pub Vec<PathBuf>);

impl Drop for Discard<'_> {
    fn drop(&mut self) {
        if self.0.is_bad.load(Ordering::Relaxed) {
            self.1.iter().for_each(|path| drop(fs::remove_file(path)));
        }
    }
}

impl Observer for Watcher {
    fn notice(&self, notice: &Notice<'_>) {
        let runs = self.state().runs.is_some();
        if !runs || matches!(notice, Notice::Retrying { .. }) {
            self.context.observer().notice(notice);
        }
    }

    fn progress(&self, progress: &Progress<'_>) {
        let mut state = self.state();
        if state.runs.is_none() {
            state.task = !progress.ended;
            self.context.observer().progress(progress);
        }
    }

    /// Who stops a machine that runs says so to the machine, which may want the rest, for what is to be saved stands on it.
    fn is_cancelled(&self) -> bool {
        let runs = self.state().runs.is_some();
        self.is_cancelled.load(Ordering::Relaxed) || !runs && self.context.observer().is_cancelled()
    }
}
