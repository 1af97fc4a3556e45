//! What is to be run: a machine, how it stands, and where it is saved.

use super::restore::Restored;
use super::{Outcome, RunRequest, RunTarget, SessionPolicy, check, cold, named, reference, restore};
use crate::context::Context;
use crate::distribution::oci::{self, Coming, VmArtifacts};
use crate::distribution::store::{Lock, Store};
use crate::error::{Error, Result, Setting};
use crate::host::backend::clock::seconds_since_1970;
use crate::machine::EngineKind;
use crate::machine::file::{MachineFile, Runnable, Voucher};
use crate::machine::program::Program;
use crate::machine::record::Point;
use crate::machine::saved::Saved;
use crate::make::shipped;
use crate::observer::Notice;
use crate::report::Report;
use crate::run::console::{Console, Control, InputSource};
use crate::session::{Attempt, FileRef, Origin, Session, Sessions, is_name};
use protocol::{COPIER, Mode};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;
use tracing::debug;

/// What is to be run.
pub struct Plan {
    /// The machine, unless there is only a snapshot.
    pub machine: Option<MachineFile>,
    /// How it stands; without, it boots.
    pub saved: Option<Saved>,
    /// What its program is connected to.
    pub mode: Mode,
    /// Its program runs already, and what the host serves to it was said when the session began.
    pub program: Program,
    /// Where what it does is saved.
    pub session: Option<Session>,
    /// It goes on where the session stands.
    pub resumed: bool,
    /// It is still on its way.
    pub coming: Option<Rc<Coming>>,
    /// What keeps its files in the store.
    _pins: Pins,
}

/// What keeps files in the store.
#[derive(Default)]
pub struct Pins {
    _artifacts: Option<VmArtifacts>,
    _locks: Vec<Lock>,
}

impl Pins {
    /// What keeps what was fetched, and the snapshot that was made of it.
    pub fn of(artifacts: VmArtifacts, snapshot: Option<Lock>) -> Self {
        Self { _artifacts: Some(artifacts), _locks: snapshot.into_iter().collect() }
    }
}

/// Files that a machine is made of, and what keeps them.
pub struct Files {
    /// The machine.
    pub machine: Option<PathBuf>,
    /// The snapshot.
    pub snapshot: Option<PathBuf>,
    /// Both are still on their way: the snapshot to its path, the machine to one that is not known yet.
    pub coming: Option<Rc<Coming>>,
    /// That the machine's code may be run, if someone who is trusted stands for it.
    pub voucher: Option<Voucher>,
    /// What keeps them.
    pub pins: Pins,
}

impl Files {
    fn saved(&self, context: &Context) -> Result<Option<Saved>> {
        match &self.coming {
            Some(coming) => coming.saved().map(Some),
            None => self.snapshot.as_deref().map(|path| Saved::open(context, path)).transpose(),
        }
    }

    fn machine(&self, context: &Context) -> Result<Option<MachineFile>> {
        let machine = match &self.coming {
            Some(coming) => Some(coming.machine()?),
            None => self.machine.as_deref().map(|path| MachineFile::open(context, path)).transpose()?,
        };
        Ok(machine.map(|machine| machine.vouched_for(self.voucher.clone())))
    }
}

impl Plan {
    /// Finds out what `request` asks for.
    pub fn of(context: &Context, request: &RunRequest, source: InputSource) -> Result<Self> {
        let mode = request.mode.unwrap_or(source.usual_mode());
        if let SessionPolicy::Named(name) = &request.session {
            if !is_name(name) {
                return Err(Error::SessionName { name: name.clone() });
            }
            if let Some(plan) = Self::resume_named(context, request, name, mode)? {
                return Ok(plan);
            }
        }
        if let SessionPolicy::Visited(name) = &request.session {
            let store = Store::open(context)?;
            return Ok(Self::hold(context, name, &store, &Sessions::of(&store)?)?.visited());
        }
        match &request.target {
            RunTarget::Session => match &request.session {
                SessionPolicy::Named(name) | SessionPolicy::Visited(name) => Err(Error::NoSession { name: name.clone() }),
                SessionPolicy::Automatic | SessionPolicy::Never => Err(Error::NothingToRun),
            },
            RunTarget::Reference(text) => reference::plan(context, request, text, mode),
            RunTarget::Files { machine, snapshot } => {
                let files =
                    Files { machine: machine.clone(), snapshot: snapshot.clone(), coming: None, voucher: None, pins: Pins::default() };
                match &request.session {
                    SessionPolicy::Named(name) | SessionPolicy::Visited(name) => {
                        Self::in_session(context, request, files, mode, (name, None))
                    }
                    SessionPolicy::Automatic | SessionPolicy::Never => Self::without_session(context, request, files, mode),
                }
            }
        }
    }

    /// A run of `files` of which nothing is saved.
    pub fn without_session(context: &Context, request: &RunRequest, files: Files, mode: Mode) -> Result<Self> {
        let saved = files.saved(context)?;
        Self::of_files(context, request, files, saved, mode)
    }

    /// The same of files whose snapshot is open.
    fn of_files(context: &Context, request: &RunRequest, files: Files, saved: Option<Saved>, mode: Mode) -> Result<Self> {
        Ok(Self {
            machine: files.machine(context)?,
            mode: mode_of(request, saved.as_ref(), mode)?,
            saved,
            program: request.program.clone(),
            session: None,
            resumed: false,
            coming: files.coming,
            _pins: files.pins,
        })
    }

    /// A run of `files` in the session `name`, which begins unless it was saved before. `image` is what they are of.
    pub fn in_session(
        context: &Context,
        request: &RunRequest,
        files: Files,
        mode: Mode,
        (name, image): (&str, Option<&reference::Resolved>),
    ) -> Result<Self> {
        let mut saved = None;
        let origin = || {
            let place = |path: &Path| match image {
                Some(_) => Ok(FileRef::Store(path.file_name().unwrap_or_default().to_string_lossy().into_owned())),
                None => {
                    let whole = path.canonicalize();
                    whole.map(FileRef::Path).map_err(|source| Error::Read { what: "file", path: path.into(), source })
                }
            };
            let base = files.snapshot.as_deref().ok_or_else(|| Error::SessionBase { name: name.into() })?;
            saved = files.saved(context)?;
            let mode = mode_of(request, saved.as_ref(), mode)?;
            Ok(Origin {
                reference: image.map(|image| image.reference.clone()),
                image: image.map(|image| image.digest),
                code: image.and_then(|image| image.code.clone()),
                signatures: image.map(|image| image.signatures.clone()).unwrap_or_default(),
                machine: files.machine.as_deref().map(place).transpose()?,
                base: place(base)?,
                on_terminal: mode == Mode::Tty,
                program: request.program.clone(),
                began: seconds_since_1970(),
            })
        };
        let store = Store::open(context)?;
        match Sessions::of(&store)?.hold(name, origin)? {
            Attempt::New(session) => Ok(Self { session: Some(session), ..Self::of_files(context, request, files, saved, mode)? }),
            Attempt::Saved(session) => Self::resume(context, session, &store),
            Attempt::InUse => Err(Error::SessionInUse { name: name.into() }),
        }
    }

    /// A run of a session that was named and has been saved.
    fn resume_named(context: &Context, request: &RunRequest, name: &str, mode: Mode) -> Result<Option<Self>> {
        let store = Store::open(context)?;
        let sessions = Sessions::of(&store)?;
        let Some(origin) = sessions.origin(name)? else { return Ok(None) };
        check_origin(request, name, &origin)?;
        if let Some(setting) = request.program.given() {
            return Err(Error::SessionOption { name: name.into(), setting });
        }
        if request.mode.is_some_and(|wanted| wanted != origin.mode()) {
            let setting = if mode == Mode::Tty { Setting::Terminal } else { Setting::Streams };
            return Err(Error::SessionOption { name: name.into(), setting });
        }
        Self::hold(context, name, &store, &sessions).map(Some)
    }

    fn hold(context: &Context, name: &str, store: &Store, sessions: &Sessions) -> Result<Self> {
        match sessions.hold(name, || Err(Error::NoSession { name: name.into() }))? {
            Attempt::Saved(session) | Attempt::New(session) => Self::resume(context, session, store),
            Attempt::InUse => Err(Error::SessionInUse { name: name.into() }),
        }
    }

    /// A session that is held goes on where it stands.
    fn resume(context: &Context, session: Session, store: &Store) -> Result<Self> {
        let _shared = store.share()?;
        let mut pins = Pins::default();
        let origin = session.origin().clone();
        let mut find = |file: &FileRef| {
            let gone = |path: &Path| Error::SessionFile { name: session.name().into(), path: path.into() };
            match file {
                FileRef::Path(path) if path.exists() => Ok(path.clone()),
                FileRef::Path(path) => Err(gone(path)),
                FileRef::Store(name) => {
                    let path = store.named(name);
                    pins._locks.push(store.pin(&path)?.ok_or_else(|| gone(&path))?);
                    Ok(path)
                }
            }
        };
        let machine = origin.machine.as_ref().map(&mut find).transpose()?;
        let base = find(&origin.base)?;
        let machine = machine.as_deref().map(|path| MachineFile::open(context, path)).transpose()?;
        let voucher = match (&origin.reference, origin.image) {
            (Some(reference), Some(digest)) => oci::voucher(context, reference, digest, origin.code.clone(), &origin.signatures)?,
            _ => None,
        };
        Ok(Self {
            machine: machine.map(|machine| machine.vouched_for(voucher)),
            saved: Some(Saved::open(context, &base)?.with_changes(context, &session.state())?),
            mode: origin.mode(),
            program: origin.program.clone(),
            session: Some(session),
            resumed: true,
            coming: None,
            _pins: pins,
        })
    }

    /// If the session's program has ended, one takes its place that does nothing.
    fn visited(mut self) -> Self {
        // What is wrong with it is told when it is restored.
        let has_ended = self.saved.as_ref().and_then(|saved| saved.baked().ok()).is_some_and(|baked| baked.point == Point::Exited);
        if has_ended {
            let arguments = vec!["copy".into(), "wait".into()];
            self.program = Program { entrypoint: Some(COPIER.into()), arguments, user: Some("0:0".into()), ..self.program };
            self.mode = Mode::Streams;
        }
        self
    }

    /// Makes the machine, and attends it to its end.
    pub fn run(
        self,
        context: &Context,
        request: &RunRequest,
        (console, control): (Console, Box<dyn Control>),
        (report, start): (&mut Report, Instant),
    ) -> Result<Outcome> {
        if self.saved.is_none() {
            let module = self.module(context, request)?;
            return cold::run(context, self, request, module, (console, control), (report, start));
        }
        let coming = self.coming.clone();
        let restored = self.restore(context, request, console, (&mut *report, start));
        let outcome = restored.and_then(|restored| restored.attend(context, request, control, (report, start)));
        outcome.map_err(|error| match coming {
            Some(coming) => coming.explain(error),
            None => error,
        })
    }

    /// Makes the machine as it was saved.
    pub fn restore(self, context: &Context, request: &RunRequest, console: Console, figures: (&mut Report, Instant)) -> Result<Restored> {
        let module = self.module(context, request)?;
        restore::restore(context, self, request, (module, console), figures)
    }

    /// The machine's module, if WAMR is to run it. What was asked for is checked first, as far as the machine's file tells.
    fn module(&self, context: &Context, request: &RunRequest) -> Result<Option<Runnable>> {
        if let (Some(machine), Some(mebibytes)) = (&self.machine, request.memory) {
            machine.require_memory(mebibytes)?;
        }
        if self.session.is_some() {
            check::can_be_saved(request)?;
        }
        let module = match &self.machine {
            Some(machine) if self.engine(request) == EngineKind::Wamr => match &request.aid {
                Some(aid) => return Err(Error::NotInModule { setting: aid.setting() }),
                None => {
                    if !machine.is_compiled() && request.engine.is_none() {
                        context.notice(Notice::Interpreted { path: machine.path() });
                    }
                    shipped::runnable(context, machine, request.engine, request.verify)?
                }
            },
            _ => None,
        };
        if let Some(machine) = self.machine.as_ref().filter(|_| request.verify && module.is_none()) {
            machine.verify()?;
        }
        let file = self.machine.as_ref().map(|machine| machine.path().display());
        debug!(target: "prebake::engine", in_module = module.is_some(), asked = ?request.engine, file = file.map(tracing::field::display), "chosen");
        Ok(module)
    }

    /// What is to run it. A module that was not compiled is only interpreted, so one that was made here runs natively unless it is asked for.
    fn engine(&self, request: &RunRequest) -> EngineKind {
        let usual = match (&request.target, &self.machine) {
            (RunTarget::Files { .. }, _) => EngineKind::Wamr,
            (_, Some(machine)) if machine.is_compiled() => EngineKind::Wamr,
            _ => EngineKind::Native,
        };
        request.engine.unwrap_or(usual)
    }
}

/// What the program is connected to: how the machine stands decides that, if it runs already.
fn mode_of(request: &RunRequest, saved: Option<&Saved>, wanted: Mode) -> Result<Mode> {
    match saved {
        // What is wrong with it is told when it is restored.
        Some(saved) if saved.baked().is_ok_and(|baked| baked.point == Point::Idle) => match request.mode {
            Some(Mode::Streams) => Err(Error::OnATerminal { path: saved.path().into() }),
            _ => Ok(Mode::Tty),
        },
        Some(saved) if saved.baked().is_ok_and(|baked| baked.speaks_container2wasm()) => match request.mode {
            Some(Mode::Streams) => Err(Error::NoInit { path: saved.path().into(), setting: Setting::Streams }),
            _ => Ok(Mode::Tty),
        },
        _ => Ok(wanted),
    }
}

/// Refuses a session that is of something else than what was to be run.
fn check_origin(request: &RunRequest, name: &str, origin: &Origin) -> Result<()> {
    let other = |found: String, wanted: String| Err(Error::OtherSession { name: name.into(), found, wanted });
    let shown = |file: &FileRef| match file {
        FileRef::Store(name) => format!("{name} in the store"),
        FileRef::Path(path) => path.display().to_string(),
    };
    let is = |file: &FileRef, path: &Path| matches!(file, FileRef::Path(own) if path.canonicalize().is_ok_and(|path| path == *own));
    let found = origin.reference.clone().unwrap_or_else(|| shown(origin.machine.as_ref().unwrap_or(&origin.base)));
    match &request.target {
        RunTarget::Session => Ok(()),
        RunTarget::Reference(text) => {
            let wanted = named::stored_name(text)?;
            if origin.reference.as_ref() == Some(&wanted) { Ok(()) } else { other(found, wanted) }
        }
        RunTarget::Files { machine, snapshot } => {
            let same_machine = match (machine, &origin.machine) {
                (Some(path), Some(file)) => is(file, path),
                (None, None) => true,
                _ => false,
            };
            let same_base = snapshot.as_ref().is_none_or(|path| is(&origin.base, path));
            let wanted = machine.as_ref().or(snapshot.as_ref()).map(|path| path.display().to_string());
            if same_machine && same_base { Ok(()) } else { other(found, wanted.unwrap_or_default()) }
        }
    }
}
