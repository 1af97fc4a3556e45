//! The host's own CPU.
//!
//! A child process maps the windows and runs one case after another. Registers go in through a signal frame that `rt_sigreturn` loads and come out in the signal frame of
//! the exception that ends the case, so the kernel is the trampoline: every register, the x87 and SSE state included, 32-bit code included. The child is forked again only when it dies.

use std::io::Error;
use std::mem::size_of;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::child;
use super::world::{CaseExit, USER_SPACE, World};

/// Cases in one exchange with the child.
pub const BATCH: usize = 64;

/// What the parent and the child share.
#[repr(C)]
pub struct Shared {
    /// The case that the child is at.
    pub at: AtomicU32,
    /// How many cases there are.
    pub count: AtomicU32,
    pub worlds: [World; BATCH],
}

/// The running child.
struct Child {
    pid: libc::pid_t,
    /// A byte sent here starts a batch; one read from here ends it.
    line: libc::c_int,
}

/// Runs cases on the host.
pub struct Host {
    shared: *mut Shared,
    child: Option<Child>,
    /// How long one case may take.
    patience: Duration,
}

impl Host {
    /// Nothing is forked before the first case.
    pub fn new() -> Host {
        // SAFETY: a new anonymous mapping; nothing else is touched.
        let shared = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size_of::<Shared>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(shared, libc::MAP_FAILED, "mmap of the shared area: {}", Error::last_os_error());
        Host { shared: shared.cast(), child: None, patience: Duration::from_secs(2) }
    }

    /// Shortens the time after which a case counts as hung.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Runs each world until an exception stops it and leaves the result in its place.
    pub fn run(&mut self, worlds: &mut [Box<World>]) {
        for batch in worlds.chunks_mut(BATCH) {
            self.run_batch(batch);
        }
    }

    fn run_batch(&mut self, batch: &mut [Box<World>]) {
        for (at, world) in batch.iter().enumerate() {
            let bases = [world.state.fs_base, world.state.gs_base];
            assert!(bases.iter().all(|base| *base < USER_SPACE), "{bases:x?}: Linux takes no such base of FS or GS");
            // SAFETY: `at` is below BATCH, and the child, if there is one, waits for its line.
            unsafe { (*self.shared).worlds[at].clone_from(world) };
        }
        let (at, count) = self.counters();
        count.store(batch.len() as u32, Ordering::Release);
        at.store(0, Ordering::Release);
        while (self.counters().0.load(Ordering::Acquire) as usize) < batch.len() {
            if let Err(reason) = self.exchange() {
                self.end_child();
                let lost = self.counters().0.fetch_add(1, Ordering::AcqRel) as usize;
                // SAFETY: the child has ended, and `lost` was below the batch's length.
                unsafe { (*self.shared).worlds[lost].stop = CaseExit { vector: reason, ..CaseExit::default() } };
            }
        }
        for (at, world) in batch.iter_mut().enumerate() {
            // SAFETY: as above.
            unsafe { (**world).clone_from(&(*self.shared).worlds[at]) };
        }
    }

    fn counters(&self) -> (&AtomicU32, &AtomicU32) {
        // SAFETY: the mapping lives as long as `self`, and the counters are atomic.
        unsafe { (&(*self.shared).at, &(*self.shared).count) }
    }

    /// Lets the child work through the rest of the batch. The error is the reason for which the case that it is at has no result.
    fn exchange(&mut self) -> Result<(), u32> {
        let shared = self.shared;
        let line = self.child.get_or_insert_with(|| fork(shared)).line;
        let mut byte = 0u8;
        // SAFETY: one byte from a local variable.
        if unsafe { libc::send(line, (&raw const byte).cast(), 1, libc::MSG_NOSIGNAL) } != 1 {
            return Err(CaseExit::DIED);
        }
        let mut seen = self.counters().0.load(Ordering::Acquire);
        let mut since = Instant::now();
        loop {
            let mut poll = libc::pollfd { fd: line, events: libc::POLLIN, revents: 0 };
            // SAFETY: one descriptor, in a local variable.
            if unsafe { libc::poll(&mut poll, 1, 20) } == 1 {
                // SAFETY: one byte into a local variable.
                let got = unsafe { libc::read(line, (&raw mut byte).cast(), 1) };
                return if got == 1 { Ok(()) } else { Err(CaseExit::DIED) };
            }
            let now = self.counters().0.load(Ordering::Acquire);
            if now != seen {
                (seen, since) = (now, Instant::now());
            } else if since.elapsed() > self.patience {
                return Err(CaseExit::HUNG);
            }
        }
    }

    fn end_child(&mut self) {
        if let Some(child) = self.child.take() {
            // SAFETY: our own child, which nobody else waits for, and our own descriptor.
            unsafe {
                libc::kill(child.pid, libc::SIGKILL);
                libc::waitpid(child.pid, ptr::null_mut(), 0);
                libc::close(child.line);
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.end_child();
        // SAFETY: the mapping of `new`; no reference to it is left.
        unsafe { libc::munmap(self.shared.cast(), size_of::<Shared>()) };
    }
}

fn fork(shared: *mut Shared) -> Child {
    let mut ends = [0; 2];
    // SAFETY: two descriptors into a local array.
    let made = unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr()) };
    assert_eq!(made, 0, "socketpair: {}", Error::last_os_error());
    // SAFETY: the child allocates nothing, takes no lock and never returns (other threads may have held a lock at the fork).
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", Error::last_os_error());
    // SAFETY: each side closes the other's end.
    unsafe {
        if pid == 0 {
            libc::close(ends[0]);
            child::main(shared, ends[1])
        }
        libc::close(ends[1]);
    }
    Child { pid, line: ends[0] }
}
