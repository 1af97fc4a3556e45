//! What a machine can be given besides what it boots: a clock, disks, directories.

use super::config::BAKE_EPOCH;
use crate::error::{Error, Result};
use crate::host::backend::clock::since_1970;
use devices::p9::Access;
use protocol::RESERVED_TAG;
use std::path::PathBuf;

/// What runs a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// WAMR, the module in a machine's file.
    Wamr,
    /// This program.
    Native,
}

/// Where a machine's time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockSource {
    /// The count of instructions.
    Virtual,
    /// The host's clock.
    Host,
}

impl ClockSource {
    /// Its time, in nanoseconds since 1970, for a machine that is made now.
    pub fn epoch(self) -> u64 {
        match self {
            Self::Virtual => BAKE_EPOCH,
            Self::Host => since_1970(),
        }
    }

    /// The same in seconds.
    pub fn epoch_seconds(self) -> u64 {
        self.epoch() / 1_000_000_000
    }
}

/// The disks and shares that a machine is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    /// vda, vdb and so on, after those of a machine's file.
    pub disks: Vec<DiskFile>,
    /// In the order of their mount tags.
    pub shares: Vec<SharedDirectory>,
    /// A network device. A machine's file has its own, or none.
    pub network: bool,
}

/// A file of the host that the guest sees as a disk. It is never written: changes are kept apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFile {
    /// The file.
    pub path: PathBuf,
    /// The guest cannot write to it.
    pub read_only: bool,
}

/// A directory of the host that the guest mounts over 9P.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedDirectory {
    /// The mount tag.
    pub tag: String,
    /// The directory.
    pub path: PathBuf,
    /// The guest cannot write to it.
    pub read_only: bool,
}

/// Longest mount tag that Linux accepts.
const MAX_TAG: usize = 255;

impl SharedDirectory {
    /// What the guest may do with it.
    pub const fn access(&self) -> Access {
        if self.read_only { Access::ReadOnly } else { Access::ReadWrite }
    }

    /// Refuses a mount tag that the guest could not use.
    pub fn check_tag(tag: &str) -> Result<()> {
        let problem = if tag.is_empty() || tag.len() > MAX_TAG || !tag.bytes().all(|byte| byte.is_ascii_graphic()) {
            format!("a mount tag is 1 to {MAX_TAG} printable characters without spaces")
        } else if tag == RESERVED_TAG {
            format!("the mount tag {RESERVED_TAG} is reserved: prebake talks to the guest's init through it")
        } else {
            return Ok(());
        };
        Err(Error::WrongShare { problem })
    }
}
