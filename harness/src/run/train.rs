//! Trains a machine: commands run in it, and the code that they run most is translated.
//!
//! Each command runs in a machine of its own, from power-on, under the virtual clock and with the published random numbers, so that equal machines
//! trained alike are equal. What the commands write is gone with their machines.

use super::console::{Console, Control, ControlCommand, InputSource, Terminal};
use super::{RunRequest, RunTarget, SessionPolicy};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::machine::{ClockSource, DebugAid, EngineKind};
use crate::make::translated::{Done, Translation, translate};
use crate::observer::Notice;
use crate::report::Report;
use protocol::Mode;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Guest instructions after which a command is taken to run for ever.
const PATIENCE: u64 = 50_000_000_000;

/// What a machine is trained with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lesson {
    /// A command for the guest's shell.
    Command(String),
    /// What the guest's shell reads: a file of this host.
    Script(PathBuf),
}

impl Lesson {
    /// What it is called.
    fn name(&self) -> String {
        match self {
            Self::Command(command) => command.clone(),
            Self::Script(path) => path.display().to_string(),
        }
    }
}

/// Trains the machine in `file`, which gets the translated code.
pub fn train(context: &Context, file: &Path, lessons: &[Lesson], instructions: usize) -> Result<Done> {
    let temporary = context.temporary()?;
    let folder = tempfile::tempdir_in(temporary).map_err(|source| Error::Write { path: temporary.into(), source })?;
    let mut profiles = Vec::new();
    for (number, lesson) in lessons.iter().enumerate() {
        let name = lesson.name();
        context.notice(Notice::Training { lesson: &name });
        let profile = folder.path().join(number.to_string());
        let status = learn(context, file, lesson, &profile)?;
        if status != 0 {
            return Err(Error::Training { lesson: name, status });
        }
        profiles.push(profile);
    }
    translate(context, &Translation { machine: file.into(), profiles, instructions, output: file.into() })
}

/// Runs a lesson, and says what it ended with.
fn learn(context: &Context, file: &Path, lesson: &Lesson, profile: &Path) -> Result<u8> {
    let mut request = RunRequest::new(RunTarget::Files { machine: Some(file.into()), snapshot: None });
    request.session = SessionPolicy::Never;
    request.engine = Some(EngineKind::Native);
    request.clock = ClockSource::Virtual;
    request.mode = Some(Mode::Streams);
    request.limit_instructions = Some(PATIENCE);
    request.aid = Some(DebugAid::Profile(profile.into()));
    request.program.entrypoint = Some("sh".into());
    let input = match lesson {
        Lesson::Command(command) => {
            request.program.arguments = vec!["-c".into(), command.clone()];
            Path::new("/dev/null")
        }
        Lesson::Script(path) => path,
    };
    let read = |path: &Path| File::open(path).map_err(|source| Error::Read { what: "script", path: path.into(), source });
    let nowhere = || -> Result<OwnedFd> {
        let path = Path::new("/dev/null");
        let file = File::options().write(true).open(path).map_err(|source| Error::Write { path: path.into(), source })?;
        Ok(file.into())
    };
    let console = Console {
        stdin: read(input)?.into(),
        stdout: nowhere()?,
        stderr: nowhere()?,
        source: InputSource::Pipe,
        terminal: Terminal::default(),
    };
    let control = || Ok(Box::new(Nobody::new()?) as Box<dyn Control>);
    super::run(context, &request, console, control, (&mut Report::of("bake"), Instant::now()))?.status()
}

/// Controls nothing.
struct Nobody {
    ours: UnixStream,
    /// Kept open: an end that is closed is readable.
    _theirs: UnixStream,
}

impl Nobody {
    fn new() -> Result<Self> {
        let (ours, theirs) = UnixStream::pair().map_err(|source| Error::Host { what: "start a machine", source })?;
        Ok(Self { ours, _theirs: theirs })
    }
}

impl Control for Nobody {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ours.as_fd()
    }
    fn take(&mut self) -> Option<ControlCommand> {
        None
    }
}
