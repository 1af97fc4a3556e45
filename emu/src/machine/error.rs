//! What can be wrong with a machine.

use devices::RestoreError;
use devices::blk::BlockError;
use devices::p9::BadTag;
use snapshot::{Digest, GROUP_SIZE};

use super::model;

/// What can be wrong with a machine that is to be made.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The kernel is not one.
    #[error("cannot boot this kernel: {problem}; pass an uncompressed 64-bit vmlinux (ELF for x86-64)")]
    NotAKernel {
        /// What is wrong with it.
        problem: String,
    },
    /// Something is larger than RAM.
    #[error("the {what} needs RAM up to {end:#x}, but the machine has {ram:#x} bytes, starting at {:#x}; give it more memory", 0x10_0000)]
    DoesNotFit {
        /// What it is.
        what: &'static str,
        /// First address behind it.
        end: u64,
        /// Bytes of RAM.
        ram: u64,
    },
    /// The command line is too long or holds a NUL.
    #[error("the kernel command line has {length} bytes; the limit is {limit}, and none may be 0")]
    CommandLine {
        /// Its length.
        length: usize,
        /// The longest.
        limit: usize,
    },
    /// The RAM size is not one that the model has.
    #[error("unsupported memory size of {bytes} bytes: use a multiple of {} MiB from {} to {} MiB", model::RAM_UNIT >> 20, model::MIN_RAM >> 20, model::MAX_RAM >> 20)]
    RamSize {
        /// What was asked for.
        bytes: u64,
    },
    /// More devices than the model has slots.
    #[error("{count} {what} were given, but the machine has room for {limit}")]
    TooMany {
        /// Kind of device.
        what: &'static str,
        /// How many were asked for.
        count: usize,
        /// How many there can be.
        limit: usize,
    },
    /// A share's tag is not one.
    #[error("share: {0}")]
    Tag(#[from] BadTag),
    /// A share is not the one that the snapshot was taken with.
    #[error("share {number} has the tag {found:?}, but the snapshot was taken with {wanted:?}; pass the same shares in the same order")]
    WrongShare {
        /// Its number, from 0.
        number: usize,
        /// Tag of the share that was given.
        found: String,
        /// Tag in the snapshot.
        wanted: String,
    },
    /// A disk is not the one that the snapshot was taken with.
    #[error(
        "disk {number} is not the one that the snapshot was taken with: its contents have digest {found}, wanted {wanted}; give the same file"
    )]
    WrongDisk {
        /// Its number, from 0.
        number: usize,
        /// Digest of the disk that was given.
        found: Digest,
        /// Digest in the snapshot.
        wanted: Digest,
    },
    /// The snapshot holds changes to a disk that was given as read-only.
    #[error("the snapshot holds changes to disk {number}, which is read-only now; pass it without `:ro`")]
    ReadOnlyDisk {
        /// Its number, from 0.
        number: usize,
    },
    /// Changed blocks of a disk could not be read.
    #[error("the changes to disk {number} cannot be read: {problem}")]
    Disk {
        /// Its number, from 0.
        number: usize,
        /// What its backend said.
        problem: BlockError,
    },
    /// Pages of the snapshot could not be brought into RAM. The machine stands before whatever needs them; [`Machine::run`] tries again.
    #[error("group {group} of guest RAM ({} KiB each) cannot be restored, so the machine has stopped: {source}", GROUP_SIZE >> 10)]
    Pages {
        /// Number of the group of pages.
        group: u64,
        /// What is wrong with it.
        source: snapshot::Error,
    },
    /// A device's record is not one that it could have written.
    #[error(transparent)]
    Device(#[from] RestoreError),
    /// The snapshot's sections are wrong.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
}

impl MachineError {
    /// A stable name of the kind of error.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotAKernel { .. } => "not-a-kernel",
            Self::DoesNotFit { .. } => "does-not-fit",
            Self::CommandLine { .. } => "command-line",
            Self::RamSize { .. } => "ram-size",
            Self::TooMany { .. } => "too-many-devices",
            Self::Tag(_) => "share-tag",
            Self::WrongShare { .. } => "wrong-share",
            Self::WrongDisk { .. } => "wrong-disk",
            Self::ReadOnlyDisk { .. } => "read-only-disk",
            Self::Disk { .. } => "disk",
            Self::Pages { source, .. } => source.kind(),
            Self::Device(_) => "invalid-record",
            Self::Snapshot(error) => error.kind(),
        }
    }
}
