//! The folders that the runtime has opened in advance, and where they are in the guest.

use super::call::Result;
use crate::config::BoundFolder;
use devices::p9::{Name, RelativePath};

/// The first descriptor that may be a folder.
const FIRST: wasi::Fd = 3;
/// Where a folder is that the runtime calls `.` or `/`.
const UNNAMED: &[u8] = b"host";
/// Longest name of a folder that is looked at.
const MAX_NAME: usize = 4096;

/// Those of the runtime that this module runs in, each at the path that the runtime gives it, outermost first.
pub fn preopened() -> Vec<BoundFolder> {
    let mut folders: Vec<BoundFolder> = Vec::new();
    for descriptor in FIRST.. {
        // SAFETY: nothing is passed but a number.
        let Ok(prestat) = (unsafe { wasi::fd_prestat_get(descriptor) }) else { break };
        if prestat.tag != wasi::PREOPENTYPE_DIR.raw() {
            continue;
        }
        // SAFETY: the tag says which member it is.
        let length = unsafe { prestat.u.dir }.pr_name_len;
        let mut name = vec![0; length.min(MAX_NAME)];
        // SAFETY: the buffer may be written.
        if unsafe { wasi::fd_prestat_dir_name(descriptor, name.as_mut_ptr(), name.len()) }.is_err() {
            continue;
        }
        if let Ok(path) = place_of(&name)
            && folders.iter().all(|folder| folder.path != path)
        {
            folders.push(BoundFolder { descriptor, file: None, read_only: false, room: None, path });
        }
    }
    folders.sort_by_key(|folder| folder.path.components().len());
    folders
}

/// The path of a folder that the runtime calls `name`, from the root on.
fn place_of(name: &[u8]) -> Result<RelativePath> {
    let names = name.split(|&byte| byte == b'/').filter(|name| !matches!(*name, [] | [b'.'] | [b'.', b'.']));
    let mut names = names.map(Name::new).collect::<Result<Vec<_>>>()?;
    if names.is_empty() {
        names.push(Name::new(UNNAMED)?);
    }
    RelativePath::new(names)
}
