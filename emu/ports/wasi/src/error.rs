//! What goes wrong, as the host is told: a stable kind, and a message.

use crate::config::SnapshotPlace;
use emu::machine::MachineError;
use std::io;

/// Why a call of the ABI failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A line of the configuration is not one.
    #[error("configuration: `{line}` is not understood")]
    Config {
        /// The line.
        line: String,
    },
    /// A call that cannot be made now.
    #[error("{call} was called {problem}")]
    Order {
        /// The call.
        call: &'static str,
        /// Why it cannot be made.
        problem: &'static str,
    },
    /// There is no kernel to boot.
    #[error("there is no kernel to boot: the configuration has no line `kernel=OFFSET,LENGTH`")]
    NoKernel,
    /// There cannot be so much guest RAM.
    #[error("configuration: ram={bytes}: guest RAM is what the module's memory has behind pb_ram")]
    NoRam {
        /// What was asked for.
        bytes: u64,
    },
    /// There cannot be such an upper disk.
    #[error("configuration: upper={bytes}: the upper disk is what the module's memory has behind guest RAM, a multiple of 64 KiB")]
    NoUpper {
        /// What was asked for.
        bytes: u64,
    },
    /// There cannot be such a root disk.
    #[error("configuration: root={offset},{length}: a disk is a positive multiple of 512 bytes, and ends below 4 GiB of the payload")]
    NoRoot {
        /// Where it is in the payload.
        offset: u32,
        /// Bytes of it.
        length: u32,
    },
    /// Two folders cannot be at one place, and none at the root.
    #[error("configuration: the lines `bind=` must name different paths below the root")]
    Binds,
    /// The snapshot's file cannot be opened.
    #[error("cannot open the snapshot{} of descriptor {}: {source}", place.name.as_ref().map_or(String::new(), |name| format!(" {name}")), place.descriptor)]
    SnapshotFile {
        /// Where it should be.
        place: SnapshotPlace,
        /// What the runtime said.
        source: io::Error,
    },
    /// The heap is full.
    #[error("no room for {bytes} bytes of {what} in the module's heap")]
    OutOfMemory {
        /// What they were.
        what: &'static str,
        /// How many.
        bytes: u64,
    },
    /// The machine cannot be made or saved.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The snapshot is wrong.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
}

impl Error {
    /// A stable name.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Config { .. } => "machine-config",
            Self::Order { .. } => "machine-order",
            Self::NoKernel => "machine-no-kernel",
            Self::NoRam { .. } => "machine-no-ram",
            Self::NoUpper { .. } => "machine-no-upper",
            Self::NoRoot { .. } => "machine-no-root",
            Self::Binds => "machine-binds",
            Self::SnapshotFile { .. } => "machine-no-snapshot",
            Self::OutOfMemory { .. } => "machine-out-of-memory",
            Self::Machine(error) => error.kind(),
            Self::Snapshot(error) => error.kind(),
        }
    }
}
