//! WAMR, started and stopped.

use crate::error::{Error, Result};
use crate::ffi;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

static STARTED: AtomicBool = AtomicBool::new(false);

/// WAMR, for one thread, as long as this or anything made from it is there. A process has one at a time.
///
/// Starting it handles SIGSEGV and SIGBUS, which is how a guest's bounds are checked, and how a file is found to be shorter than it was; what was handled
/// before is asked next, and again alone when this is dropped.
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
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(Error::AlreadyStarted);
        }
        // SAFETY: it was not started, or was stopped since.
        if unsafe { ffi::prebake_wamr_start() } {
            Ok(Self(Rc::new(Started { not_send: PhantomData })))
        } else {
            STARTED.store(false, Ordering::Release);
            Err(Error::Start)
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // SAFETY: it was started on this thread, since `self` is not `Send`, and all that is made from it holds `self`.
        unsafe { ffi::prebake_wamr_stop() };
        STARTED.store(false, Ordering::Release);
    }
}
