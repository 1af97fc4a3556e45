//! Everything that can be wrong with an artifact.

use super::{MAX_FILE_LEN, PartKind};
use payload::Error as PayloadError;
use std::io;

/// Why an artifact could not be made or read. Each message says what was found, what was wanted and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The host could not read or write.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The file begins with something else.
    #[error("not a machine: the file begins with \"{}\", unlike a WebAssembly module or a WAMR .aot; \
        pass a file made by `prebake convert` or `prebake aot`", found.escape_ascii())]
    NotAnArtifact {
        /// The first bytes, at most 8.
        found: Vec<u8>,
    },
    /// The file holds code of this format in a version that is not read here.
    #[error("the {what} has version {found}, but this version of prebake reads version {supported}; make the file again with this version")]
    OtherCodeVersion {
        /// What kind of code.
        what: &'static str,
        /// The file's version.
        found: u32,
        /// The only one that is read.
        supported: u32,
    },
    /// The file has no payload.
    #[error("the file holds code but no payload; pass a file made by `prebake convert` or `prebake aot`")]
    NoPayload,
    /// The end of the file is missing.
    #[error("the file is truncated: it has {found} bytes, expected at least {wanted}; fetch or convert it again")]
    Truncated {
        /// Bytes in the file.
        found: u64,
        /// Bytes that it should have at least.
        wanted: u64,
    },
    /// The file is not what it was a moment ago.
    #[error("another process changed the file while it was opened; run it again when nobody writes to it")]
    Changed,
    /// A part was given twice.
    #[error("the {part} is given twice; a payload has each part only once")]
    DuplicatePart {
        /// Which part.
        part: PartKind,
    },
    /// A part's content is not as long as was said.
    #[error("the {part} has {found} bytes{}, expected {wanted}; do not change the file while it is packed",
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
    #[error(
        "code and payload have {found} bytes together, but a machine file holds at most {MAX_FILE_LEN} (4 GiB); make the image smaller"
    )]
    TooLarge {
        /// Bytes that the file would have.
        found: u64,
    },
    /// The payload's table or locator.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The module is not one that can carry a payload.
    #[error("the module cannot be linked: {problem}")]
    NotLinkable {
        /// What is wrong and what to do.
        problem: String,
    },
    /// A file that should be a code file is not one.
    #[error("not a code file: {problem}; pass a linked module, or the result of compiling one with WAMR")]
    NotACodeFile {
        /// What is wrong.
        problem: String,
    },
}

/// The result of making or reading an artifact.
pub type Result<T> = std::result::Result<T, ArtifactError>;

impl ArtifactError {
    /// A stable name of the kind of error, for scripts.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::NotAnArtifact { .. } => "not-an-artifact",
            Self::OtherCodeVersion { .. } => "other-code-version",
            Self::NoPayload => "no-payload",
            Self::Truncated { .. } => "truncated",
            Self::Changed => "changed",
            Self::DuplicatePart { .. } => "duplicate-part",
            Self::PartChanged { .. } => "part-changed",
            Self::TooLarge { .. } => "too-large",
            Self::Payload(error) => error.kind(),
            Self::NotLinkable { .. } => "not-linkable",
            Self::NotACodeFile { .. } => "not-a-code-file",
        }
    }

    pub(super) fn malformed(problem: impl Into<String>) -> Self {
        Self::Payload(PayloadError::malformed(problem))
    }

    pub(super) fn not_linkable(problem: impl Into<String>) -> Self {
        Self::NotLinkable { problem: problem.into() }
    }

    pub(super) fn not_a_code_file(problem: impl Into<String>) -> Self {
        Self::NotACodeFile { problem: problem.into() }
    }
}
