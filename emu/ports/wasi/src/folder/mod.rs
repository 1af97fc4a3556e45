//! Files of the host through WASI's path calls: folders as file systems for 9P, and the snapshot.
#![cfg(target_os = "wasi")]

mod call;
mod filesystem;
mod open;
mod preopened;
mod snapshot_file;

pub use open::Folder;
pub use preopened::preopened;
pub use snapshot_file::SnapshotFile;
