//! What an instance may do on its host, besides what WASI's rights say. Read by `c/posix.c` and `c/interpreter.c`.

use crate::ffi;
use std::fmt;
use std::ptr::NonNull;

/// A file of the host, told from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct HostFile {
    /// What it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

/// What may be changed of the host's files, wherever below its directories the guest meets them. What counts for a file is the innermost
/// directory, or the file itself, that was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Given for writing.
    pub writable: Vec<HostFile>,
    /// Given read-only.
    pub read_only: Vec<HostFile>,
    /// Neither moved, removed nor replaced.
    pub kept: Vec<HostFile>,
}

/// Says whether a guest that is interpreted may go on. It is asked while a call lasts, after every [`Watch::STEPS`] branches and calls that the guest
/// makes, and told how many there were in this call. It must not panic. Compiled code asks nobody: it is as trusted as any program.
pub struct Watch(Box<dyn FnMut(u64) -> bool>);

impl Watch {
    /// Some milliseconds.
    pub const STEPS: u32 = 1 << 20;

    /// One that asks `may_go_on`.
    pub fn new(may_go_on: impl FnMut(u64) -> bool + 'static) -> Self {
        Self(Box::new(may_go_on))
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// All of that for one instance. Its place in memory is known to C while the instance is called.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Guest {
    /// This one is all that C knows; it points into the rest.
    seen: ffi::Guest,
    watch: Option<Watch>,
    /// Steps of this call.
    steps: u64,
    _grants: Grants,
    _read_only_directories: Vec<bool>,
}

fn list(files: &[HostFile]) -> ffi::Files {
    ffi::Files { files: files.as_ptr(), count: files.len() }
}

impl Guest {
    pub fn new(grants: Grants, read_only_directories: Vec<bool>, watch: Option<Watch>) -> Box<Self> {
        let seen = ffi::Guest {
            writable: list(&grants.writable),
            read_only: list(&grants.read_only),
            kept: list(&grants.kept),
            read_only_directories: read_only_directories.as_ptr(),
            directory_count: read_only_directories.len(),
            steps: Watch::STEPS,
            may_go_on,
        };
        Box::new(Self { seen, watch, steps: 0, _grants: grants, _read_only_directories: read_only_directories })
    }

    /// Makes C know it while `work` is done.
    pub fn during<R>(&mut self, work: impl FnOnce() -> R) -> R {
        (self.seen.steps, self.steps) = (Watch::STEPS, 0);
        let this = NonNull::from(self).cast::<ffi::Guest>();
        // SAFETY: the place is this thread's own. What was there before is put back, so that it never points to what is gone.
        let before = unsafe { std::mem::replace(&mut *ffi::prebake_wamr_current(), this.as_ptr()) };
        let result = work();
        // SAFETY: as above.
        unsafe { *ffi::prebake_wamr_current() = before };
        result
    }
}

/// What C asks.
extern "C" fn may_go_on(guest: *mut ffi::Guest) -> bool {
    // SAFETY: C has it from `Guest::during`, which borrows all of it for as long. `seen` is its first field.
    let guest = unsafe { &mut *guest.cast::<Guest>() };
    guest.seen.steps = Watch::STEPS;
    guest.steps += u64::from(Watch::STEPS);
    guest.watch.as_mut().is_none_or(|Watch(may_go_on)| may_go_on(guest.steps))
}
