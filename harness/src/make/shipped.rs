//! What this prebake is shipped with: the machine's module, the guest's kernel and init. They lie in one folder, [`Folders::shipped`].

use crate::context::Folders;
use crate::error::{Error, Result};
use std::fs;
use std::path::PathBuf;

/// The module's file, in the folder of the program.
const MODULE: &str = "machine.wasm";
/// The guest's kernel …
const KERNEL: &str = "vmlinux";
/// … and its first file system, with init alone.
const INITRAMFS: &str = "initramfs.cpio";
/// The machine's module that this program is shipped with.
pub fn machine_module(folders: &Folders) -> Result<Vec<u8>> {
    let path = folders.shipped.join(MODULE);
    fs::read(&path).map_err(|source| Error::Read { what: "machine module", path, source })
}

/// The kernel for machines that are made of container images.
pub fn kernel(folders: &Folders) -> PathBuf {
    folders.shipped.join(KERNEL)
}

/// The initramfs for them.
pub fn initramfs(folders: &Folders) -> PathBuf {
    folders.shipped.join(INITRAMFS)
}
