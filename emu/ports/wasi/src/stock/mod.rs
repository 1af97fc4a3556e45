//! `_start`: the machine in a runtime that knows nothing of it. It boots what it carries, runs the command that the runtime was given, and
//! ends with its status.

mod arguments;
mod error;
#[cfg(target_os = "wasi")]
mod host;
mod packed;
#[cfg(target_os = "wasi")]
mod run;

#[cfg(target_os = "wasi")]
pub use run::run;
