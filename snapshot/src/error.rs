//! Everything that can be wrong with a snapshot.

use crate::{Record, SectionId};

/// Why a snapshot could not be read or written. Each message says what was found, what was wanted and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A record's bytes have its digest but make no sense to the record's owner.
    #[error("section {id} holds a record that cannot be used: {problem}; bake the snapshot again")]
    InvalidRecord {
        /// The section.
        id: SectionId,
        /// What was found and what was wanted.
        problem: String,
    },

    /// A record ended before its section did.
    #[error("section {id} is {length} bytes long, but its record ends {unconsumed} bytes before that; bake the snapshot again")]
    RecordNotConsumed {
        /// The section.
        id: SectionId,
        /// Bytes left over.
        unconsumed: u64,
        /// Bytes in the section.
        length: u64,
    },

    /// A value in a record has no encoding.
    #[error("the record of section {id} cannot be saved: {problem}")]
    RecordNotEncodable {
        /// The section.
        id: SectionId,
        /// What is wrong with it.
        problem: String,
    },

    /// The sections together would be longer than a snapshot may have.
    #[error("the state besides the pages takes {found} bytes, but a snapshot holds at most {}", crate::MAX_SECTIONS_LEN)]
    SectionsTooLong {
        /// Bytes of sections.
        found: u64,
    },
}

impl Error {
    /// An [`Error::InvalidRecord`] from the owner of record `R`, who says what was found and what was wanted.
    pub fn invalid_record<R: Record>(problem: impl Into<String>) -> Self {
        Self::InvalidRecord { id: R::ID, problem: problem.into() }
    }

    /// A stable name of the kind of error, for scripts.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::InvalidRecord { .. } => "invalid-record",
            Self::RecordNotConsumed { .. } => "record-not-consumed",
            Self::RecordNotEncodable { .. } => "record-not-encodable",
            Self::SectionsTooLong { .. } => "sections-too-long",
        }
    }
}
