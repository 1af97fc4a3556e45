//! Machines for programs in C, in the program's own process, and so for every language that can call C: `include/prebake.h` is made of this.
//!
//! [`store`] has images and sessions, [`vm`] a machine, [`error`] why something failed; [`border`] is what all of them cross: texts, panics and SIGPIPE.
//! What a machine is to be is said in JSON, in the words of `prebake serve`; all else is numbers, texts and functions.

mod border;
pub mod error;
pub mod store;
pub mod vm;

use std::ffi::{CStr, c_char};

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"",
};

/// The version of prebake.
#[unsafe(no_mangle)]
pub extern "C" fn prebake_version() -> *const c_char {
    VERSION.as_ptr()
}
