//! A machine.

use crate::border::{enter, quietly, text};
use crate::error::{Failure, hand};
use crate::store::{OnProgress, Prebake, User, tell_progress};
use devices::console::WindowSize;
use prebake::error::Error;
use prebake::observer::{self, Notice, Observer};
use prebake::run::attended;
use prebake::service::output::{Stream, forward};
use prebake::service::spec::MachineSpec;
use prebake::service::{self, ConsoleEnds, Handle, LAST_SIGNAL, Vm};
use prebake::session::Checkpoint;
use std::ffi::{c_char, c_int, c_void};
use std::io::{self, PipeWriter, Write};
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// A machine that runs, or has ended. Several threads may use it at a time.
pub struct Machine {
    handle: Handle,
    /// None once its end was sent.
    stdin: Mutex<Option<PipeWriter>>,
    end: Arc<End>,
    /// What tells C of it. None once it was waited for.
    teller: Option<JoinHandle<()>>,
}

/// Whether it has ended, and C has heard all of it.
#[derive(Default)]
struct End {
    has_come: Mutex<bool>,
    changed: Condvar,
}

/// Hears a machine. Functions may be NULL, and must neither throw nor jump.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Listener {
    /// What all of them are called with. It must be there until `on_end` has returned.
    user: *mut c_void,
    /// Hears what the guest writes: stream 1, which a terminal is too, or 2, which has what its kernel says as well. While it does not return, the guest waits.
    on_output: Option<extern "C" fn(user: *mut c_void, stream: c_int, bytes: *const u8, length: usize)>,
    /// Hears, on another thread than the functions above and below, how far it has come with what it has to fetch or boot.
    on_progress: OnProgress,
    /// Hears, on that thread too, that the machine was to be saved, and could not be. One that was stopped runs on then, until it is stopped again.
    on_not_saved: Option<extern "C" fn(user: *mut c_void, error: *const Failure)>,
    /// Hears how it ended. It is the last that is heard of a machine, and is always heard, on the thread of `on_output`.
    on_end: Option<extern "C" fn(user: *mut c_void, ended: *const Ended)>,
}

// SAFETY: what is in it are addresses, and the header says on which threads C gets `user` back.
unsafe impl Send for Listener {}
// SAFETY: as above.
unsafe impl Sync for Listener {}

/// What became of a machine.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its program has ended, with a status.
    Exited,
    /// It was stopped.
    Stopped,
    /// A signal ended it; 1, SIGHUP, if its user has gone.
    Signalled,
    /// prebake could not run it, or not any longer.
    Failed,
}

/// How a machine ended. What it points to is valid until `on_end` returns.
#[repr(C)]
pub struct Ended {
    /// What became of it.
    ending: Ending,
    /// The program's status if it exited, or the number of the signal.
    status: c_int,
    /// Why it failed, or NULL.
    error: *const Failure,
    /// What was saved of it at its end, or NULL.
    saved: *const Saved,
    /// Milliseconds until a guest that was restored could go on, or a negative number.
    restore_ms: f64,
    /// Milliseconds until the guest wrote its first byte, or a negative number.
    first_output_ms: f64,
    /// Instructions that the guest executed.
    guest_instructions: u64,
}

/// What was saved of a machine.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Saved {
    /// The session's name, with the NUL character that ends it.
    session: [c_char; 129],
    /// Pages that it has.
    pages: u64,
    /// Bytes of them on the disk.
    bytes: u64,
    /// How long that took.
    milliseconds: f64,
}

impl From<&Checkpoint> for Saved {
    fn from(checkpoint: &Checkpoint) -> Self {
        let mut session = [0; 129];
        // A name has 128 characters at most.
        for (to, from) in session[..128].iter_mut().zip(checkpoint.session.bytes()) {
            *to = from as c_char;
        }
        Self { session, pages: checkpoint.pages, bytes: checkpoint.bytes, milliseconds: checkpoint.took.as_secs_f64() * 1e3 }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Observer for Listener {
    fn notice(&self, notice: &Notice<'_>) {
        if let (Notice::SessionNotSaved(error), Some(tell)) = (notice, self.on_not_saved) {
            tell(self.user, &Failure::from(*error));
        }
    }

    fn progress(&self, progress: &observer::Progress<'_>) {
        tell_progress(self.on_progress, User(self.user), progress);
    }
}

impl Listener {
    fn output(&self, stream: Stream, bytes: &[u8]) {
        let number = match stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        };
        if let Some(tell) = self.on_output {
            tell(self.user, number, bytes.as_ptr(), bytes.len());
        }
    }

    fn end(&self, service::Ended { outcome, report }: &service::Ended, lost: Option<&Error>) {
        let Some(tell) = self.on_end else { return };
        let saved = outcome.as_ref().ok().and_then(|outcome| outcome.checkpoint.as_ref()).map(Saved::from);
        let failed = |error: &Error| (Ending::Failed, 0, Some(Failure::from(error)));
        let (ending, status, error) = match (outcome, lost) {
            (Err(error), _) | (Ok(_), Some(error)) => failed(error),
            (Ok(outcome), None) => match outcome.ending {
                attended::Ending::Exited(status) => (Ending::Exited, status.into(), None),
                attended::Ending::Left => (Ending::Stopped, 0, None),
                attended::Ending::Signalled(number) => (Ending::Signalled, number, None),
                attended::Ending::BrokenPipe => (Ending::Signalled, libc::SIGPIPE, None),
            },
        };
        let ended = Ended {
            ending,
            status,
            error: error.as_ref().map_or(ptr::null(), ptr::from_ref),
            saved: saved.as_ref().map_or(ptr::null(), ptr::from_ref),
            restore_ms: report.restore_ms.unwrap_or(-1.0),
            first_output_ms: report.first_output_ms.unwrap_or(-1.0),
            guest_instructions: report.guest_instructions,
        };
        tell(self.user, &ended);
    }
}

impl Machine {
    fn start(prebake: &Prebake, spec: &str, listener: Listener) -> Result<Self, Failure> {
        let spec: MachineSpec = serde_json::from_str(spec).map_err(|error| Failure::invalid(format_args!("the spec: {error}")))?;
        let request = spec.request()?;
        let (console, ConsoleEnds { stdin, stdout, stderr }) = spec.console()?;
        let vm = Vm::start(prebake.context(listener), request, console)?;
        let (handle, end) = (vm.handle(), Arc::<End>::default());
        let told = end.clone();
        let teller = thread::Builder::new().name("output".into()).spawn(move || {
            let passed_on = forward(stdout, stderr, |stream, bytes| listener.output(stream, bytes));
            listener.end(&vm.wait(), passed_on.err().as_ref());
            *lock(&told.has_come) = true;
            told.changed.notify_all();
        });
        let teller = teller.map_err(|source| Error::Host { what: "start a thread", source })?;
        Ok(Self { handle, stdin: Mutex::new(Some(stdin)), end, teller: Some(teller) })
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        let written = lock(&self.stdin).as_mut().map(|stdin| stdin.write_all(bytes));
        match written {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Err(Error::MachineEnded.into()),
            Some(Err(source)) => Err(Error::Host { what: "write what a machine reads", source }.into()),
            None => Err(Failure::invalid(format_args!("the end of what the machine reads was sent already"))),
        }
    }

    fn wait(&self) {
        let has_come = lock(&self.end.has_come);
        drop(self.end.changed.wait_while(has_come, |has_come| !*has_come).unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.handle.hang_up();
        lock(&self.stdin).take();
        // What it is told may be the reason that C frees it.
        if let Some(teller) = self.teller.take().filter(|teller| teller.thread().id() != thread::current().id()) {
            // It has told C of whatever went wrong.
            let _ = teller.join();
        }
    }
}

/// Starts a machine. `spec` is JSON, as `prebake serve` has it: {"image": "alpine", "terminal": {"columns": 80, "rows": 24}} is a shell of Alpine. Returns at
/// once, or NULL if `spec` cannot be: what fails later is heard by `on_end`.
///
/// # Safety
/// The text ends in a NUL character, the functions of `listener` can be called, and an error can be written where `error` points.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prebake_vm_start(
    prebake: &Prebake,
    spec: *const c_char,
    listener: &Listener,
    error: *mut *mut Failure,
) -> Option<Box<Machine>> {
    // SAFETY: as the caller vouches.
    let started = enter(|| Ok(Some(Box::new(Machine::start(prebake, unsafe { text("spec", spec)? }, *listener)?))));
    // SAFETY: as the caller vouches.
    unsafe { hand(started, None, error) }
}

/// Gives the machine something to read; waits while it has not taken what was written before. Returns whether that worked: a machine that ends reads no more.
///
/// # Safety
/// There are `length` bytes at `bytes`, and an error can be written where `error` points.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prebake_vm_write(vm: &Machine, bytes: *const c_void, length: usize, error: *mut *mut Failure) -> bool {
    // SAFETY: as the caller vouches; no bytes need no address.
    let bytes = if length == 0 { &[] } else { unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), length) } };
    // SAFETY: as the caller vouches.
    unsafe { hand(enter(|| vm.write(bytes).map(|()| true)), false, error) }
}

/// Sends the end of what the machine reads. To a machine with a terminal it means that its user has gone: it is saved and ends.
#[unsafe(no_mangle)]
pub extern "C" fn prebake_vm_close_input(vm: &Machine) {
    lock(&vm.stdin).take();
}

/// Tells the machine the size of its terminal. A size of 0 is none, and is not told.
#[unsafe(no_mangle)]
pub extern "C" fn prebake_vm_resize(vm: &Machine, columns: u16, rows: u16) {
    if columns > 0 && rows > 0 {
        quietly(|| vm.handle.resize(WindowSize { cols: columns, rows }));
    }
}

/// Sends a signal from 1 to 64 to the machine's program. A second one of SIGTERM, SIGINT, SIGQUIT or SIGHUP ends the machine; where it is in a session, the first
/// SIGTERM or SIGHUP saves and ends it. Returns whether there is such a signal.
#[unsafe(no_mangle)]
pub extern "C" fn prebake_vm_signal(vm: &Machine, number: c_int) -> bool {
    let is_one = (1..=LAST_SIGNAL).contains(&number);
    if is_one {
        quietly(|| vm.handle.signal(number));
    }
    is_one
}

/// Saves what the guest has done in its session, and returns once that is on the disk. What was saved is written where `saved` points, if that is not NULL. Returns
/// whether that worked.
///
/// # Safety
/// An error can be written where `error` points.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prebake_vm_checkpoint(vm: &Machine, saved: Option<&mut Saved>, error: *mut *mut Failure) -> bool {
    let done = enter(|| {
        let checkpoint = vm.handle.checkpoint()?;
        if let Some(saved) = saved {
            *saved = (&checkpoint).into();
        }
        Ok(true)
    });
    // SAFETY: as the caller vouches.
    unsafe { hand(done, false, error) }
}

/// Saves the machine if it is in a session, and ends it. Returns at once: `on_end` hears when that is done, or `on_not_saved` that it runs on. If a part of its image
/// has yet to come, that comes first; a second stop does not wait for it.
#[unsafe(no_mangle)]
pub extern "C" fn prebake_vm_stop(vm: &Machine) {
    quietly(|| vm.handle.stop());
}

/// Waits until the machine has ended and `on_end` has returned.
#[unsafe(no_mangle)]
pub extern "C" fn prebake_vm_wait(vm: &Machine) {
    vm.wait();
}

/// Frees a machine; NULL is none. One that runs is saved if it is in a session, ends, and is waited for. The functions of its listener may free it, too.
#[unsafe(no_mangle)]
pub extern "C" fn prebake_vm_free(vm: Option<Box<Machine>>) {
    quietly(|| drop(vm));
}
