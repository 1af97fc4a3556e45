//! Why something failed.

use crate::border::for_c;
use prebake::error::Error;
use prebake::text::printable_lines;
use std::ffi::{CString, c_char};
use std::fmt;

/// Why something failed.
#[derive(Debug)]
pub struct Failure {
    kind: CString,
    message: CString,
}

impl Failure {
    /// One of this kind. What its message quotes may be anyone's, and is not to program the terminal that shows it.
    pub fn new(kind: &str, message: &str) -> Self {
        Self { kind: for_c(kind), message: for_c(printable_lines(message, "\n")) }
    }

    /// What C asks for cannot be.
    pub fn invalid(message: fmt::Arguments<'_>) -> Self {
        Self::new("invalid", &message.to_string())
    }

    /// Its kind.
    pub fn kind(&self) -> &str {
        self.kind.to_str().unwrap_or_default()
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        self.message.to_str().unwrap_or_default()
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self::new(error.kind(), &error.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

/// Hands a result to C: the value, or `failed` and the failure, if C wants it.
///
/// # Safety
/// `error` is NULL, or something can be written there.
pub unsafe fn hand<T>(result: Result<T, Failure>, failed: T, error: *mut *mut Failure) -> T {
    result.unwrap_or_else(|failure| {
        if !error.is_null() {
            // SAFETY: as the caller vouches.
            unsafe { error.write(Box::into_raw(Box::new(failure))) };
        }
        failed
    })
}

/// Its kind, a stable name: those of `prebake serve`, and "panic" for a fault of prebake's own. Valid until the error is freed.
#[unsafe(no_mangle)]
pub extern "C" fn prebake_error_kind(error: &Failure) -> *const c_char {
    error.kind.as_ptr()
}

/// What was found, what was wanted, and what to do, for a person. Valid until the error is freed.
#[unsafe(no_mangle)]
pub extern "C" fn prebake_error_message(error: &Failure) -> *const c_char {
    error.message.as_ptr()
}

/// Frees an error; NULL is none.
#[unsafe(no_mangle)]
pub extern "C" fn prebake_error_free(error: Option<Box<Failure>>) {
    drop(error);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_programs_the_terminal_that_shows_it() {
        let failure = Failure::new("missing", "no \x1b]0;evil\x07 file\nin \u{9b}2J");
        assert_eq!(failure.message(), "no \\u{1b}]0;evil\\u{7} file\nin \\u{9b}2J");
    }
}
