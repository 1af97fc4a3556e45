//! The host's side of the guest's console, and what is said to the machine besides.

use crate::error::{Error, Result};
use crate::session::Checkpoint;
use devices::console::WindowSize;
use protocol::Mode;
use std::any::Any;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The three streams that the guest's program, or its terminal, is connected to.
#[derive(Debug)]
pub struct Console {
    /// What the guest reads.
    pub stdin: OwnedFd,
    /// What it writes, on a terminal too.
    pub stdout: OwnedFd,
    /// What it complains of, and what its kernel says.
    pub stderr: OwnedFd,
    /// Where what it reads comes from.
    pub source: InputSource,
    /// What the guest's terminal is to be called, and how large it is at first.
    pub terminal: Terminal,
}

/// The guest's terminal, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terminal {
    /// Its name, for `TERM`.
    pub name: Option<String>,
    /// Its size.
    pub window: Option<WindowSize>,
}

/// Where input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputSource {
    /// A program or a file. On a terminal it is given line by line, since a program may discard what was typed before it asked.
    Pipe,
    /// A person at a terminal elsewhere. Its end means that the person has gone.
    RemoteTerminal,
    /// A person at the terminal of this process, which [`Control::raw_mode`] makes raw, and which has keys that are prebake's.
    LocalTerminal,
}

impl InputSource {
    /// What a program is connected to if nothing else was said.
    pub const fn usual_mode(self) -> Mode {
        match self {
            Self::Pipe => Mode::Streams,
            Self::RemoteTerminal | Self::LocalTerminal => Mode::Tty,
        }
    }
}

/// The input side of a [`Console`].
#[derive(Debug)]
pub struct Input {
    /// What the guest reads.
    pub stdin: OwnedFd,
    /// Where that comes from.
    pub source: InputSource,
    /// The guest's terminal.
    pub terminal: Terminal,
}

impl Console {
    /// The input side, and the streams for output: standard output, standard error.
    pub fn split(self) -> (Input, [OwnedFd; 2]) {
        let Self { stdin, stdout, stderr, source, terminal } = self;
        (Input { stdin, source, terminal }, [stdout, stderr])
    }

    /// The same once more.
    pub(super) fn try_clone(&self) -> Result<Self> {
        let clone = |stream: &OwnedFd| stream.try_clone().map_err(|source| Error::Host { what: "use the streams of a console", source });
        let (stdin, stdout, stderr) = (clone(&self.stdin)?, clone(&self.stdout)?, clone(&self.stderr)?);
        Ok(Self { stdin, stdout, stderr, source: self.source, terminal: self.terminal.clone() })
    }
}

/// What can be said to a machine that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlCommand {
    /// A signal has come. The guest's program gets it, unless what it does is saved and the signal says that its user has gone.
    Signal(i32),
    /// The guest's terminal has another size.
    Resize(WindowSize),
    /// Save what the guest has done, and go on.
    Save,
    /// Save it, and end.
    Leave,
    /// The same, but nobody is left to be asked what to do if it cannot be saved: the run ends then too, with an error.
    HangUp,
}

/// What a machine's user controls it by: commands come from it, and it has the terminal, if there is one.
pub trait Control {
    /// Becomes readable when there is one.
    fn as_fd(&self) -> BorrowedFd<'_>;
    /// The next one.
    fn take(&mut self) -> Option<ControlCommand>;
    /// Somebody who wants to start other programs in the machine.
    fn take_client(&mut self) -> Option<UnixStream> {
        None
    }
    /// Takes what became of a [`ControlCommand::Save`]; gives it back if nobody waits for it, and the user is to be told.
    fn answer(&mut self, checkpoint: Result<Checkpoint>) -> Option<Result<Checkpoint>> {
        Some(checkpoint)
    }
    /// Passes every key of the [local terminal](InputSource::LocalTerminal) to the guest until the result is dropped.
    fn raw_mode(&mut self) -> io::Result<Option<Box<dyn Any>>> {
        Ok(None)
    }
}
