//! Everything that can be wrong with an artefact.

use super::{MAX_CODE_LEN, MAX_FILE_LEN, MAX_MEMORY_PAGES, MEMORY_PAGE, PartKind};
use snapshot::Digest;
use std::io;

/// Why an artefact could not be made or read. Each message says what was found, what was wanted and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ArtefactError {
    /// The host could not read or write.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The file begins with something else.
    #[error("this is no machine: it begins with \"{}\", as neither a WebAssembly module nor a WAMR .aot does; \
        give a file that `prebake convert` or `prebake aot` wrote", found.escape_ascii())]
    NotAnArtefact {
        /// The first bytes, at most 8.
        found: Vec<u8>,
    },
    /// The file holds code of this format in a version that is not read here.
    #[error("the {what} has version {found}, but this prebake reads version {supported}; make the file again with this prebake")]
    OtherCodeVersion {
        /// What kind of code.
        what: &'static str,
        /// The file's version.
        found: u32,
        /// The only one that is read.
        supported: u32,
    },
    /// The file has no payload.
    #[error("the file holds code but no payload; give a file that `prebake convert` or `prebake aot` wrote")]
    NoPayload,
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
    /// The end of the file is missing.
    #[error("the file is truncated: {found} bytes of at least {wanted}; fetch or convert it again")]
    Truncated {
        /// Bytes in the file.
        found: u64,
        /// Bytes that it should have at least.
        wanted: u64,
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
    #[error("the file is corrupted: its {what} has digest {found}, but {wanted} was recorded; fetch or convert it again")]
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
    /// A part was given twice.
    #[error("the {part} is given twice; a payload has each part once")]
    DuplicatePart {
        /// Which part.
        part: PartKind,
    },
    /// A part's content is not as long as was said.
    #[error("the {part} gave {found} bytes{} when {wanted} were expected; leave the file alone while it is packed",
        if found > wanted { " or more" } else { "" })]
    PartChanged {
        /// Which part.
        part: PartKind,
        /// Bytes that came.
        found: u64,
        /// Bytes that were announced.
        wanted: u64,
    },
    /// The file would be longer than its format can say.
    #[error("code and payload are {found} bytes together, but a machine has at most {MAX_FILE_LEN} (4 GiB); make the image smaller")]
    TooLarge {
        /// Bytes that the file would have.
        found: u64,
    },
    /// The code is longer than any that is read.
    #[error("the file has {found} bytes of code, at most {MAX_CODE_LEN} are read; give a file that prebake made")]
    CodeTooLarge {
        /// Bytes of code.
        found: u64,
    },
    /// The memory is larger than a module can have.
    #[error(
        "a memory of {found} pages was asked for, at most {MAX_MEMORY_PAGES} of {MEMORY_PAGE} bytes are possible; \
        give the machine less memory"
    )]
    MemoryTooLarge {
        /// Pages that were asked for.
        found: u32,
    },
    /// The memory is smaller than the code was compiled for.
    #[error("a memory of {found} pages was asked for, but the code was compiled for at least {wanted}; give the machine more memory")]
    MemoryTooSmall {
        /// Pages that were asked for.
        found: u32,
        /// Pages of the code file.
        wanted: u32,
    },
    /// Guest RAM does not fit into the memory, or has a size that no guest has.
    #[error("guest RAM of {ram_size} bytes in a memory of {pages} pages; wanted is a multiple of 2 MiB that fits and is not 0")]
    InvalidRamSize {
        /// Bytes of guest RAM.
        ram_size: u64,
        /// Pages of memory.
        pages: u32,
    },
    /// The module is not one that can carry a payload.
    #[error("the module cannot be linked: {problem}")]
    NotLinkable {
        /// What is wrong and what to do.
        problem: String,
    },
    /// A file that should be a code file is not one.
    #[error("this is no code file: {problem}; give a linked module, or what WAMR compiled from one")]
    NotACodeFile {
        /// What is wrong.
        problem: String,
    },
}

/// The result of making or reading an artefact.
pub type Result<T> = std::result::Result<T, ArtefactError>;

impl ArtefactError {
    /// A stable name of the kind of error, for scripts.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::NotAnArtefact { .. } => "not-an-artefact",
            Self::OtherCodeVersion { .. } => "other-code-version",
            Self::NoPayload => "no-payload",
            Self::OtherVersion { .. } => "other-payload-version",
            Self::Truncated { .. } => "truncated",
            Self::Malformed { .. } => "malformed",
            Self::MisplacedPart { .. } => "misplaced-part",
            Self::Corrupted { .. } => "corrupted",
            Self::MissingPart { .. } => "missing-part",
            Self::DuplicatePart { .. } => "duplicate-part",
            Self::PartChanged { .. } => "part-changed",
            Self::TooLarge { .. } => "too-large",
            Self::CodeTooLarge { .. } => "code-too-large",
            Self::MemoryTooLarge { .. } => "memory-too-large",
            Self::MemoryTooSmall { .. } => "memory-too-small",
            Self::InvalidRamSize { .. } => "invalid-ram-size",
            Self::NotLinkable { .. } => "not-linkable",
            Self::NotACodeFile { .. } => "not-a-code-file",
        }
    }

    pub(super) fn malformed(problem: impl Into<String>) -> Self {
        Self::Malformed { problem: problem.into() }
    }

    pub(super) fn not_linkable(problem: impl Into<String>) -> Self {
        Self::NotLinkable { problem: problem.into() }
    }

    pub(super) fn not_a_code_file(problem: impl Into<String>) -> Self {
        Self::NotACodeFile { problem: problem.into() }
    }
}
