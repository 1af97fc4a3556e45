//! What this host gives: what is behind a machine's devices, and files.

pub mod backend;
pub mod coming;
pub mod file;
pub mod memory;
pub mod net;
pub mod processor;
