//! Machines for programs: started, saved and stopped by calls, with their console on whatever streams the program gives them.
//!
//! A [`Vm`] is a machine that runs in a thread of its own. It is what `prebake run` is, less the command line: the same [`RunRequest`] says what
//! is to be run, and the same sessions keep what is done. All that crosses the border are streams, numbers and text, so that an interface
//! for C or for another language is a matter of passing them on.
//!
//! `harness/examples/embed.rs` is a program that does it.

use crate::context::Context;
use crate::error::{Error, Result};
use crate::exec::{self, ExecRequest};
use crate::observer::{Notice, Observer, Progress};
use crate::report::Report;
use crate::run::console::{Console, Control, ControlCommand, InputSource, Terminal};
use crate::run::{self, Outcome, RunRequest};
use crate::session::Checkpoint;
use devices::console::WindowSize;
use std::collections::VecDeque;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;
use wamr::Runtime;

/// A machine that runs. Dropping it ends the machine; what was done in a session is saved.
#[derive(Debug)]
pub struct Vm {
    mailbox: Arc<Mailbox>,
    /// It was stopped: what is fetched for it is not wanted any more.
    stopped: Arc<AtomicBool>,
    /// None once it has been waited for.
    thread: Option<JoinHandle<(Result<Outcome>, Report)>>,
}

/// How a machine ended.
#[derive(Debug)]
pub struct Ended {
    /// The guest's status and what was saved, or why it failed.
    pub outcome: Result<Outcome>,
    /// Figures of the run.
    pub report: Report,
}

impl Vm {
    /// Starts what `request` asks for, with its console on `console`: fetches it if need be, restores it, gives it a fresh seed. All that is done in
    /// the machine's own thread, so this returns at once, and [`Self::wait`] tells if it failed.
    pub fn start(context: Context, request: RunRequest, console: Console) -> Result<Self> {
        let error = |source| Error::Host { what: "start a machine's thread", source };
        let (wake, waker) = UnixStream::pair().map_err(error)?;
        wake.set_nonblocking(true).map_err(error)?;
        waker.set_nonblocking(true).map_err(error)?;
        let stopped = Arc::new(AtomicBool::new(false));
        let context = context.observed_by(|observer| Arc::new(Stoppable { observer, stopped: stopped.clone() }));
        let mailbox = Arc::new(Mailbox { letters: Mutex::new(Some(Letters::default())), waker });
        let inbox = Inbox { mailbox: mailbox.clone(), wake, waiting: VecDeque::new() };
        let work = move || {
            let mut report = Report::of("run");
            let outcome = run::run(&context, &request, console, || Ok(Box::new(inbox)), (&mut report, Instant::now()));
            if let Err(error) = &outcome {
                report.fail(error, error.to_string());
            }
            (outcome, report)
        };
        // Starting WAMR touches the whole stack.
        let thread = std::thread::Builder::new().name("machine".into()).stack_size(Runtime::STACK).spawn(work).map_err(error)?;
        Ok(Self { mailbox, stopped, thread: Some(thread) })
    }

    /// Saves what the guest has done so far in its session, and lets it go on. Returns when that is on the disk.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let (sender, receiver): (_, Receiver<Result<Checkpoint>>) = channel();
        self.mailbox.post(|letters| letters.commands.push_back(Letter { command: ControlCommand::Save, answer: Some(sender) }));
        receiver.recv().unwrap_or(Err(Error::MachineEnded))
    }

    /// Runs a second program in the machine, with its streams on `console`, and returns its exit status. It takes signals and sizes from `control`, and
    /// begins once the machine's own program has.
    pub fn exec(&self, request: &ExecRequest, console: Console, control: Box<dyn Control>) -> Result<u8> {
        let (ours, theirs) = UnixStream::pair().map_err(|source| Error::Host { what: "connect to a machine", source })?;
        // One that has ended drops its end, which is told then.
        self.mailbox.post(|letters| letters.clients.push_back(theirs));
        exec::run(ours, request, console, control)
    }

    /// Saves what the guest has done, if it is in a session, and ends the machine: its user has gone.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.post(ControlCommand::Leave);
    }

    /// Tells the guest the size of its terminal.
    pub fn resize(&self, window: WindowSize) {
        self.post(ControlCommand::Resize(window));
    }

    /// Sends a signal to the guest's program, as one to `prebake run` would be: a second one ends the machine.
    pub fn signal(&self, number: i32) {
        self.post(ControlCommand::Signal(number));
    }

    /// Whether the machine has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until the machine ends.
    pub fn wait(mut self) -> Ended {
        self.join()
    }

    fn join(&mut self) -> Ended {
        let ended = self.thread.take().and_then(|thread| thread.join().ok());
        let (outcome, report) = ended.unwrap_or_else(|| (Err(Error::MachineEnded), Report::of("run")));
        Ended { outcome, report }
    }

    fn post(&self, command: ControlCommand) {
        self.mailbox.post(|letters| letters.commands.push_back(Letter { command, answer: None }));
    }
}

impl Drop for Vm {
    /// Ends the machine as [`Self::stop`] does, and returns when its thread is gone.
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.stop();
            self.join();
        }
    }
}

/// Gives up what comes before the machine once that is stopped.
struct Stoppable {
    observer: Arc<dyn Observer>,
    stopped: Arc<AtomicBool>,
}

impl Observer for Stoppable {
    fn notice(&self, notice: &Notice<'_>) {
        self.observer.notice(notice);
    }

    fn progress(&self, progress: &Progress<'_>) {
        self.observer.progress(progress);
    }

    fn is_cancelled(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || self.observer.is_cancelled()
    }
}

#[derive(Debug)]
struct Letter {
    command: ControlCommand,
    answer: Option<Sender<Result<Checkpoint>>>,
}

/// What was said to a machine and not yet taken.
#[derive(Debug, Default)]
struct Letters {
    commands: VecDeque<Letter>,
    clients: VecDeque<UnixStream>,
}

/// Where that waits; nothing any more once the machine has ended.
#[derive(Debug)]
struct Mailbox {
    letters: Mutex<Option<Letters>>,
    waker: UnixStream,
}

impl Mailbox {
    fn letters(&self) -> MutexGuard<'_, Option<Letters>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, letter: impl FnOnce(&mut Letters)) {
        if let Some(letters) = &mut *self.letters() {
            letter(letters);
        }
        // A pipe that is full wakes as well as one byte does, and a machine that has ended need not be woken.
        let _ = (&self.waker).write(&[0]);
    }
}

/// The machine's end of it.
struct Inbox {
    mailbox: Arc<Mailbox>,
    wake: UnixStream,
    /// Who waits for answers, in order.
    waiting: VecDeque<Sender<Result<Checkpoint>>>,
}

impl Control for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn take(&mut self) -> Option<ControlCommand> {
        // Emptied before the letters are looked at, so that none is missed.
        let mut bytes = [0; 64];
        while matches!((&self.wake).read(&mut bytes), Ok(1..)) {}
        let letter = self.mailbox.letters().as_mut()?.commands.pop_front()?;
        self.waiting.extend(letter.answer);
        Some(letter.command)
    }

    fn take_client(&mut self) -> Option<UnixStream> {
        self.mailbox.letters().as_mut()?.clients.pop_front()
    }

    fn answer(&mut self, checkpoint: Result<Checkpoint>) -> Option<Result<Checkpoint>> {
        match self.waiting.pop_front() {
            Some(waiting) => {
                // Who does not wait any more does not want to know.
                let _ = waiting.send(checkpoint);
                None
            }
            None => Some(checkpoint),
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        // Nobody takes what was said last, and who waits for an answer is to learn that.
        *self.mailbox.letters() = None;
    }
}

/// The program's side of a console.
#[derive(Debug)]
pub struct ConsoleEnds {
    /// What is written here, the guest reads. To close it is to go away.
    pub stdin: PipeWriter,
    /// What the guest writes.
    pub stdout: PipeReader,
    /// What it complains of, and what its kernel says.
    pub stderr: PipeReader,
}

/// A console on three new pipes, for a person whom the program stands in for: with a terminal of this size.
pub fn console(terminal: Terminal) -> Result<(Console, ConsoleEnds)> {
    let pipes = || Ok([io::pipe()?, io::pipe()?, io::pipe()?]);
    let pipes: io::Result<_> = pipes();
    let [input, output, errors] = pipes.map_err(|source| Error::Host { what: "make pipes", source })?;
    let console =
        Console { stdin: input.0.into(), stdout: output.1.into(), stderr: errors.1.into(), source: InputSource::RemoteTerminal, terminal };
    Ok((console, ConsoleEnds { stdin: input.1, stdout: output.0, stderr: errors.0 }))
}
