//! Machines for programs: started, saved and stopped by calls, with their console on whatever streams the program gives them.
//!
//! A [`Vm`] is a machine that runs in a thread of its own. It is what `prebake run` is, less the command line: the same [`RunRequest`] says what
//! is to be run, and the same sessions keep what is done. All that crosses the border are streams, numbers and text, so that an interface
//! for C or for another language is a matter of passing them on.
//!
//! What such an interface needs besides is in the modules below: [`spec`] says in words and numbers what is to be run, [`output`] passes on what the
//! guest writes, [`store`] tells what is in the store, and [`ensure`] can be cancelled.
//!
//! `harness/examples/embed.rs` is a program that does it.

pub mod output;
pub mod spec;
pub mod store;

use crate::context::Context;
use crate::distribution::oci::{PullOptions, VmArtifacts};
use crate::error::{Error, Result};
use crate::exec::{self, ExecRequest};
use crate::observer::{Notice, Observer, Progress};
use crate::report::Report;
use crate::run::console::{Console, Control, ControlCommand, InputSource, Terminal};
use crate::run::{self, Outcome, RunRequest, named};
use crate::session::Checkpoint;
use devices::console::WindowSize;
use std::collections::VecDeque;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;
use wamr::Runtime;

/// The last of Linux's signals.
pub const LAST_SIGNAL: i32 = 64;

/// A machine that runs. Dropping it ends the machine; what was done in a session is saved.
#[derive(Debug)]
pub struct Vm {
    handle: Handle,
    /// None once it has been waited for.
    thread: Option<JoinHandle<(Result<Outcome>, Report)>>,
}

/// What is said to a machine that runs, from any thread. One that has ended hears nothing.
#[derive(Debug, Clone)]
pub struct Handle {
    mailbox: Arc<Mailbox>,
    /// It was stopped: what is fetched for it is not wanted any more.
    stopped: Cancel,
}

impl Deref for Vm {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

/// Gives up what is being done with it.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Gives it up: it fails with [`Error::Cancelled`] soon, and what was fetched so far is kept.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is given up.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn watch(&self, context: Context) -> Context {
        context.observed_by(|observer| Arc::new(Stoppable { observer, cancel: self.clone() }))
    }
}

/// The same as [`named::ensure`], until `cancel` says otherwise.
pub fn ensure(context: &Context, name: &str, options: &PullOptions, cancel: &Cancel) -> Result<VmArtifacts> {
    named::ensure(&cancel.watch(context.clone()), name, options)
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
        let stopped = Cancel::default();
        let context = stopped.watch(context);
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
        Ok(Self { handle: Handle { mailbox, stopped }, thread: Some(thread) })
    }

    /// What can be said to it, for other threads.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
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
}

impl Handle {
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

    /// Saves what the guest has done, if it is in a session, and ends the machine. A machine that has not come in full from its registry is saved once it has;
    /// one that is stopped again does not wait for that. If that cannot be saved, the observer is told, and the machine runs on until it is stopped again.
    pub fn stop(&self) {
        self.stopped.cancel();
        self.post(ControlCommand::Leave);
    }

    /// The same for a user who has gone, and cannot be asked: if that cannot be saved, the machine ends with an error.
    pub fn hang_up(&self) {
        self.stopped.cancel();
        self.post(ControlCommand::HangUp);
    }

    /// Tells the guest the size of its terminal.
    pub fn resize(&self, window: WindowSize) {
        self.post(ControlCommand::Resize(window));
    }

    /// Sends a signal to the guest's program, as one to `prebake run` would be: a second one ends the machine. There are signals from 1 to 64; others are
    /// not sent.
    pub fn signal(&self, number: i32) {
        if (1..=LAST_SIGNAL).contains(&number) {
            self.post(ControlCommand::Signal(number));
        }
    }

    fn post(&self, command: ControlCommand) {
        self.mailbox.post(|letters| letters.say(command));
    }
}

impl Drop for Vm {
    /// Ends the machine as [`Handle::hang_up`] does, and returns when its thread is gone.
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.hang_up();
            self.join();
        }
    }
}

/// Gives up what is being done once that is cancelled.
struct Stoppable {
    observer: Arc<dyn Observer>,
    cancel: Cancel,
}

impl Observer for Stoppable {
    fn notice(&self, notice: &Notice<'_>) {
        self.observer.notice(notice);
    }

    fn progress(&self, progress: &Progress<'_>) {
        self.observer.progress(progress);
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled() || self.observer.is_cancelled()
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

impl Letters {
    /// Of several sizes the last counts. Of all else two of a kind do, as a second signal or stop ends a machine: nothing piles up for one that is long in
    /// taking it.
    fn say(&mut self, command: ControlCommand) {
        let is_size = |command: &ControlCommand| matches!(command, ControlCommand::Resize(_));
        if is_size(&command) {
            self.commands.retain(|letter| !is_size(&letter.command));
        }
        if self.commands.iter().filter(|letter| letter.command == command).count() < 2 {
            self.commands.push_back(Letter { command, answer: None });
        }
    }
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
    /// What is written here, the guest reads. To close it is to go away, or on three streams the end of what there is to read.
    pub stdin: PipeWriter,
    /// What the guest writes.
    pub stdout: PipeReader,
    /// What it complains of, and what its kernel says.
    pub stderr: PipeReader,
}

/// A console on three new pipes, for a person whom the program stands in for: with a terminal of this size.
pub fn console(terminal: Terminal) -> Result<(Console, ConsoleEnds)> {
    on_pipes(InputSource::RemoteTerminal, terminal)
}

/// A console on three new pipes, without a terminal: every byte is as it was written.
pub fn streams() -> Result<(Console, ConsoleEnds)> {
    on_pipes(InputSource::Pipe, Terminal::default())
}

fn on_pipes(source: InputSource, terminal: Terminal) -> Result<(Console, ConsoleEnds)> {
    let pipes = || Ok([io::pipe()?, io::pipe()?, io::pipe()?]);
    let pipes: io::Result<_> = pipes();
    let [input, output, errors] = pipes.map_err(|source| Error::Host { what: "make pipes", source })?;
    let console = Console { stdin: input.0.into(), stdout: output.1.into(), stderr: errors.1.into(), source, terminal };
    Ok((console, ConsoleEnds { stdin: input.1, stdout: output.0, stderr: errors.0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_to_a_machine_that_does_not_listen_does_not_pile_up() {
        let (wake, waker) = UnixStream::pair().unwrap();
        waker.set_nonblocking(true).unwrap();
        wake.set_nonblocking(true).unwrap();
        let mailbox = Arc::new(Mailbox { letters: Mutex::new(Some(Letters::default())), waker });
        let handle = Handle { mailbox: mailbox.clone(), stopped: Cancel::default() };
        for n in 1..10_000_u16 {
            handle.resize(WindowSize { cols: n, rows: n });
            handle.signal(n.into());
            handle.signal(15);
            handle.stop();
        }
        let mut inbox = Inbox { mailbox, wake, waiting: VecDeque::new() };
        let taken: Vec<_> = std::iter::from_fn(|| inbox.take()).collect();
        assert!(taken.len() <= 2 * 64 + 3, "{}", taken.len());
        let of = |command| taken.iter().filter(|taken| **taken == command).count();
        assert_eq!((of(ControlCommand::Signal(15)), of(ControlCommand::Signal(1)), of(ControlCommand::Leave)), (2, 1, 2));
        // The size is the last that was told.
        assert_eq!(of(ControlCommand::Resize(WindowSize { cols: 9999, rows: 9999 })), 1);
    }
}
