//! Everything that can be wrong with a payload's table and locator.

use super::{MAX_CODE_LEN, MAX_MEMORY_PAGES, MEMORY_PAGE, PartKind};
use snapshot::Digest;

/// Why a payload could not be described or understood. Each message says what was found, what was wanted and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The payload's format is another than this program's.
    #[error(
        "the payload has format version {found}, but this prebake reads version {supported}; \
        use the prebake that made it, or convert the image again"
    )]
    OtherVersion {
        /// The payload's version.
        found: u32,
        /// The only one that is read.
        supported: u32,
    },
    /// Values in the file contradict each other or the format.
    #[error("the file is malformed: {problem}; fetch or convert it again")]
    Malformed {
        /// What is wrong.
        problem: String,
    },
    /// A part of the payload is not where it should be.
    #[error("the {part} is {length} bytes at {found} of a payload of {payload}, but belongs at {wanted}; fetch or convert the file again")]
    MisplacedPart {
        /// Which part.
        part: PartKind,
        /// Its length in bytes.
        length: u64,
        /// Its offset from the payload's start.
        found: u64,
        /// The offset that follows from the parts before it.
        wanted: u64,
        /// Bytes in the payload.
        payload: u64,
    },
    /// Bytes are not those that were written.
    #[error("the file is corrupted: its {what} has digest {found}, expected {wanted}; fetch or convert it again")]
    Corrupted {
        /// Where.
        what: &'static str,
        /// Digest of the bytes that are there.
        found: Digest,
        /// Digest of the bytes that should be there.
        wanted: Digest,
    },
    /// A part that was asked for is not in the payload.
    #[error("the payload has no {part}; convert the image again")]
    MissingPart {
        /// Which part.
        part: PartKind,
    },
    /// The code is longer than any that is read.
    #[error("the file has {found} bytes of code, but the limit is {MAX_CODE_LEN}; pass a file made by prebake")]
    CodeTooLarge {
        /// Bytes of code.
        found: u64,
    },
    /// The memory is larger than a module can have.
    #[error(
        "a memory of {found} pages was asked for, at most {MAX_MEMORY_PAGES} of {MEMORY_PAGE} bytes are possible; \
        give the machine less memory, or a smaller upper disk"
    )]
    MemoryTooLarge {
        /// Pages that were asked for.
        found: u32,
    },
    /// The memory is smaller than the code was compiled for.
    #[error("{found} pages of memory were requested, but the code was compiled for at least {wanted}; give the machine more memory")]
    MemoryTooSmall {
        /// Pages that were asked for.
        found: u32,
        /// Pages of the code file.
        wanted: u32,
    },
    /// Guest RAM does not fit into the memory, or has a size that no guest has.
    #[error("{ram_size} bytes of guest RAM in {pages} pages of memory: the size must be a positive multiple of 2 MiB that fits")]
    InvalidRamSize {
        /// Bytes of guest RAM.
        ram_size: u64,
        /// Pages of memory.
        pages: u32,
    },
}

/// The result of describing or understanding a payload.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A stable name of the kind of error, for scripts.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::OtherVersion { .. } => "other-payload-version",
            Self::Malformed { .. } => "malformed",
            Self::MisplacedPart { .. } => "misplaced-part",
            Self::Corrupted { .. } => "corrupted",
            Self::MissingPart { .. } => "missing-part",
            Self::CodeTooLarge { .. } => "code-too-large",
            Self::MemoryTooLarge { .. } => "memory-too-large",
            Self::MemoryTooSmall { .. } => "memory-too-small",
            Self::InvalidRamSize { .. } => "invalid-ram-size",
        }
    }

    /// Values contradict each other or the format.
    pub fn malformed(problem: impl Into<String>) -> Self {
        Self::Malformed { problem: problem.into() }
    }

    pub(crate) fn end_of_table() -> Self {
        Self::malformed("the table does not end where its parts do")
    }
}
