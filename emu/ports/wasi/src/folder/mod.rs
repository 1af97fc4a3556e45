//! Folders of the host as file systems for 9P, through WASI's path calls.
#![cfg(target_os = "wasi")]

mod call;
mod filesystem;
mod open;
mod preopened;

pub use open::Folder;
pub use preopened::preopened;
