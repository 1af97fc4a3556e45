//! What crosses between C and Rust: texts, panics, and a signal that must not.

use crate::error::Failure;
use libc::{
    SIG_BLOCK, SIG_SETMASK, SIGPIPE, pthread_sigmask, sigaddset, sigemptyset, sigismember, sigpending, sigset_t, sigtimedwait, timespec,
};
use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

/// Does what C asks for. What it panics with is a failure, and writing to someone who has gone is an error and no signal.
pub fn enter<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let _quiet = NoPipeSignal::begin();
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Err(Failure::new("panic", &format!("prebake has failed within: {}", text.unwrap_or("for no reason that it tells"))))
    })
}

/// The same of something that fails by a panic only, of which nobody is told.
pub fn quietly(work: impl FnOnce()) {
    let _ = enter(|| {
        work();
        Ok(())
    });
}

/// A text that C gives; `None` if it is NULL.
///
/// # Safety
/// It is NULL, or it ends in a NUL character and stays as it is while the result is used.
pub unsafe fn optional<'a>(what: &str, text: *const c_char) -> Result<Option<&'a str>, Failure> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: as the caller vouches.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(Some).map_err(|_| Failure::invalid(format_args!("{what} is not UTF-8")))
}

/// The same of a text that has to be there.
///
/// # Safety
/// As for [`optional`].
pub unsafe fn text<'a>(what: &str, text: *const c_char) -> Result<&'a str, Failure> {
    // SAFETY: as the caller vouches.
    unsafe { optional(what, text) }?.ok_or_else(|| Failure::invalid(format_args!("{what} is NULL")))
}

/// Something that C gives by its address.
pub fn given<'a, T>(what: &str, value: Option<&'a T>) -> Result<&'a T, Failure> {
    value.ok_or_else(|| Failure::invalid(format_args!("{what} is NULL")))
}

/// A text for C. What it has after a NUL character, C would not see.
pub fn for_c(text: impl Into<Vec<u8>>) -> CString {
    let mut bytes = text.into();
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    CString::new(bytes).unwrap_or_default()
}

/// The address of a text, or NULL.
pub fn address(text: Option<&CString>) -> *const c_char {
    text.map_or(ptr::null(), |text| text.as_ptr())
}

/// While it is there, SIGPIPE does not come to this thread, nor to the threads that it starts. A program in Rust ignores that signal, but in one in C it ends
/// the process.
struct NoPipeSignal {
    before: sigset_t,
    /// It had come before, and is whose it was.
    was_pending: bool,
}

impl NoPipeSignal {
    fn begin() -> Self {
        let (mut blocked, mut before) = (MaybeUninit::<sigset_t>::uninit(), MaybeUninit::<sigset_t>::uninit());
        let was_pending = is_pending();
        // SAFETY: both sets are there; the first is filled before it is read, and the second by the call.
        unsafe {
            sigemptyset(blocked.as_mut_ptr());
            sigaddset(blocked.as_mut_ptr(), SIGPIPE);
            pthread_sigmask(SIG_BLOCK, blocked.as_ptr(), before.as_mut_ptr());
            Self { before: before.assume_init(), was_pending }
        }
    }
}

impl Drop for NoPipeSignal {
    fn drop(&mut self) {
        // SAFETY: the set is filled before it is read.
        unsafe {
            if !self.was_pending && is_pending() {
                let (mut set, now) = (MaybeUninit::<sigset_t>::uninit(), timespec { tv_sec: 0, tv_nsec: 0 });
                sigemptyset(set.as_mut_ptr());
                sigaddset(set.as_mut_ptr(), SIGPIPE);
                sigtimedwait(set.as_ptr(), ptr::null_mut(), &now);
            }
            pthread_sigmask(SIG_SETMASK, &self.before, ptr::null_mut());
        }
    }
}

fn is_pending() -> bool {
    let mut pending = MaybeUninit::<sigset_t>::uninit();
    // SAFETY: the call fills the set if it succeeds.
    unsafe { sigpending(pending.as_mut_ptr()) == 0 && sigismember(pending.as_ptr(), SIGPIPE) == 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Whether SIGPIPE is blocked in this thread.
    fn is_blocked() -> bool {
        let mut now = MaybeUninit::<sigset_t>::uninit();
        // SAFETY: the call fills the set.
        unsafe {
            pthread_sigmask(SIG_BLOCK, ptr::null(), now.as_mut_ptr());
            sigismember(now.as_ptr(), SIGPIPE) == 1
        }
    }

    #[test]
    fn writing_to_one_who_has_gone_is_no_signal() {
        // SAFETY: the default disposition runs no code of ours.
        unsafe { libc::signal(SIGPIPE, libc::SIG_DFL) };
        let gone = || {
            let (reader, mut writer) = std::io::pipe().unwrap();
            drop(reader);
            writer.write(b"x").unwrap_err().kind()
        };
        let found = enter(|| {
            assert!(is_blocked());
            Ok((gone(), std::thread::spawn(gone).join().unwrap()))
        });
        assert_eq!(found.unwrap(), (std::io::ErrorKind::BrokenPipe, std::io::ErrorKind::BrokenPipe));
        assert!(!is_blocked() && !is_pending());
    }

    #[test]
    fn a_panic_is_a_failure_by_its_kind() {
        let failure = enter::<()>(|| panic!("so {}", 1)).unwrap_err();
        assert_eq!((failure.kind(), failure.message()), ("panic", "prebake has failed within: so 1"));
    }

    #[test]
    fn texts_are_checked() {
        let wrong = c"\xff";
        // SAFETY: they end in a NUL character.
        let (read, null) = unsafe { (text("it", wrong.as_ptr()).unwrap_err(), text("it", ptr::null()).unwrap_err()) };
        assert_eq!((read.message(), null.message()), ("it is not UTF-8", "it is NULL"));
        assert_eq!(for_c("a\0b").as_c_str(), c"a");
    }
}
