//! WAMR, started and stopped.

use crate::error::{Error, Result};
use crate::ffi;
use std::cell::Cell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

/// Threads that have WAMR.
static THREADS: Mutex<usize> = Mutex::new(0);

thread_local! {
    static IS_STARTED: Cell<bool> = const { Cell::new(false) };
}

/// WAMR, for one thread, as long as this or anything made from it is there. Each thread of a process can have its own.
///
/// The first of a process handles SIGSEGV and SIGBUS, which is how a guest's bounds are checked, and how a file is found to be shorter than it was; what was
/// handled before is asked next, and again alone when the last is dropped.
#[derive(Debug, Clone)]
pub struct Runtime(#[allow(dead_code)] Rc<Started>);

#[derive(Debug)]
struct Started {
    /// WAMR keeps a thread's signal stack and guard pages with the thread.
    not_send: PhantomData<*mut ()>,
}

impl Runtime {
    /// A good size for the stack of the thread, in bytes. Compiled code recurses on it. On a process's first thread [`start`](Self::start) touches every
    /// page of the stack, which takes milliseconds for 8 MiB.
    pub const STACK: usize = 1 << 20;

    /// Starts WAMR on this thread.
    pub fn start() -> Result<Self> {
        if IS_STARTED.get() {
            return Err(Error::AlreadyStarted);
        }
        let mut threads = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: this thread has not started it, or has stopped it since, and so has the process if no thread has it. Nobody else starts or stops it now.
        if unsafe { ffi::prebake_wamr_start(*threads == 0) } {
            *threads += 1;
            IS_STARTED.set(true);
            Ok(Self(Rc::new(Started { not_send: PhantomData })))
        } else {
            Err(Error::Start)
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let mut threads = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
        *threads -= 1;
        // SAFETY: it was started on this thread, since `self` is not `Send`, and all that is made from it holds `self`. Nobody else starts or stops it now.
        unsafe { ffi::prebake_wamr_stop(*threads == 0) };
        IS_STARTED.set(false);
    }
}
