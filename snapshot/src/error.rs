//! Everything that can be wrong with a snapshot.

use crate::{Digest, Form, Model, Record, SectionId, SectionName, Space};
use std::{fmt, io};

/// Why a snapshot could not be read or written. Each message says what was found, what was wanted and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host could not read or write.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },

    /// The file begins with something else.
    #[error("this is not a snapshot: it begins with \"{}\" instead of \"{}\"; pass a file made by `prebake bake`",
        found.escape_ascii(), crate::MAGIC.escape_ascii())]
    NotASnapshot {
        /// The first bytes, at most 8.
        found: Vec<u8>,
    },

    /// The format is newer than this program.
    #[error("the snapshot has format version {found}, but this program reads up to {supported}; use a newer prebake")]
    NewerVersion {
        /// The snapshot's version.
        found: u32,
        /// The newest that can be read.
        supported: u32,
    },

    /// The end of the file is missing.
    #[error("the snapshot is truncated: it has {found} of {wanted} bytes; fetch or bake it again")]
    Truncated {
        /// Bytes in the file.
        found: u64,
        /// Bytes there should be.
        wanted: u64,
    },

    /// The file goes on after the end of the snapshot.
    #[error("the snapshot should be {wanted} bytes long, but the file has {found}; fetch or bake it again")]
    TooLong {
        /// Bytes in the file.
        found: u64,
        /// Bytes there should be.
        wanted: u64,
    },

    /// Bytes are not those that were written.
    #[error("the snapshot is corrupted: {part} has digest {found}, expected {wanted}; fetch or bake it again")]
    Corrupted {
        /// Where.
        part: Part,
        /// Digest of the bytes that are there.
        found: Digest,
        /// Digest of the bytes that should be there.
        wanted: Digest,
    },

    /// Bytes that must be zero are not.
    #[error("the snapshot is corrupted: bytes {offset} to {} of the file should be zero; fetch or bake it again", offset + len)]
    HoleNotEmpty {
        /// Where the zeroes begin in the file.
        offset: u64,
        /// How many there should be.
        len: u64,
    },

    /// The digests fit, but what they cover breaks the format's rules: a mistake or malice of whoever wrote it.
    #[error("the snapshot is malformed: {part}: {problem}; bake it again")]
    Malformed {
        /// Where.
        part: Part,
        /// What was found and what was wanted.
        problem: String,
    },

    /// The snapshot needs a feature of the format that is not implemented.
    #[error("the snapshot uses unknown features (bits {bits:#x}); use a newer prebake")]
    UnsupportedFeatures {
        /// The feature bits that are not known.
        bits: u32,
    },

    /// The snapshot is a delta, where a whole one was wanted.
    #[error("the snapshot is a delta on {base} and cannot be used alone; pass a whole snapshot, or run its session")]
    Delta {
        /// Content digest of its base.
        base: Digest,
    },

    /// The snapshot is whole, where a delta was wanted.
    #[error("the snapshot is whole, but a delta was expected; pass the state of a session")]
    NotADelta,

    /// The delta is on another snapshot.
    #[error("the snapshot is a delta on {wanted}, not on {found}; pass the base that it was saved on")]
    WrongBase {
        /// Content digest of the snapshot that was given.
        found: Digest,
        /// Content digest of the delta's base.
        wanted: Digest,
    },

    /// The snapshot is in the other form.
    #[error("{}", match found {
        Form::Travelling => "the snapshot is in its travelling form, which cannot be restored from; unpack it with `prebake unpack`",
        Form::Stored => "the snapshot is in its stored form: there is nothing to unpack",
    })]
    WrongForm {
        /// Its form.
        found: Form,
    },

    /// The snapshot is of another machine model.
    #[error(
        "the snapshot is of machine model {found}, but {wanted} was asked for; \
        choose that model, or bake the image again for this one"
    )]
    WrongModel {
        /// The snapshot's model.
        found: Model,
        /// The model of the machine that is to be restored.
        wanted: Model,
    },

    /// The snapshot is of a machine with more or less memory.
    #[error("the snapshot is of a machine with {} MiB of RAM, but {} MiB were requested; omit the size, or bake the image again",
        found >> 20, wanted >> 20)]
    WrongRamSize {
        /// The snapshot's RAM in bytes.
        found: u64,
        /// The RAM of the machine that is to be restored.
        wanted: u64,
    },

    /// The snapshot is of a machine with other optional devices.
    #[error(
        "the snapshot is of a machine with optional devices {found:#x}, but {wanted:#x} were asked for; \
        give the same disks, shares and ports as when it was baked"
    )]
    WrongDevices {
        /// The snapshot's devices.
        found: u32,
        /// The devices of the machine that is to be restored.
        wanted: u32,
    },

    /// The snapshot holds pages of a disk that the machine has not, or behind that disk's end.
    #[error(
        "the snapshot holds pages of disk {number} up to byte {found}, but the machine's disk has room for {wanted}; \
        give the machine that it was baked from, or bake it again"
    )]
    WrongDisk {
        /// Which disk, from 0.
        number: u16,
        /// Where its last pages end.
        found: u64,
        /// Bytes that the machine's disk holds in memory; 0 without such a disk.
        wanted: u64,
    },

    /// No disk in memory has that size.
    #[error("{found} bytes of {space} are not supported: the size must be a multiple of {} KiB", crate::GROUP_SIZE >> 10)]
    InvalidDiskSize {
        /// Which memory.
        space: Space,
        /// Its bytes.
        found: u64,
    },

    /// No machine has that much RAM.
    #[error("{found} bytes of RAM are not supported: the size must be a multiple of {} MiB, at most {} MiB",
        crate::RAM_SIZE_UNIT >> 20, crate::MAX_RAM_SIZE >> 20)]
    InvalidRamSize {
        /// Bytes of RAM.
        found: u64,
    },

    /// A section that must not be ignored is not known to the machine.
    #[error(
        "the snapshot has the section {name} (version {version}), without which it must not be restored, \
        and this program does not know it; use a newer prebake"
    )]
    UnknownCriticalSection {
        /// Which.
        name: SectionName,
        /// Version of its record.
        version: u16,
    },

    /// A section that the machine needs is not there.
    #[error("the snapshot has no section {name}; bake it again")]
    MissingSection {
        /// Which.
        name: SectionName,
    },

    /// A section's record is of a version that this program does not read.
    #[error("section {name} of the snapshot has version {found}, but this program reads version {supported}; {}",
        if found > supported { "use a newer prebake" } else { "bake it again" })]
    SectionVersion {
        /// Which.
        name: SectionName,
        /// The record's version in the snapshot.
        found: u16,
        /// The version that can be read.
        supported: u16,
    },

    /// A record's bytes are those that were written, but make no sense to the record's owner.
    #[error("section {id} holds an invalid record: {problem}; bake the snapshot again")]
    InvalidRecord {
        /// The kind of section.
        id: SectionId,
        /// What was found and what was wanted.
        problem: String,
    },

    /// A record ended before its section did.
    #[error("section {id} is {length} bytes long, but its record ends {unconsumed} bytes before that; bake the snapshot again")]
    RecordNotConsumed {
        /// The kind of section.
        id: SectionId,
        /// Bytes left over.
        unconsumed: u64,
        /// Bytes in the section.
        length: u64,
    },

    /// A value in a record has no encoding.
    #[error("the record of section {id} cannot be saved: {problem}")]
    RecordNotEncodable {
        /// The kind of section.
        id: SectionId,
        /// What is wrong with it.
        problem: String,
    },

    /// Two records were given for one section.
    #[error("section {name} was saved twice; give each device of a kind its own instance")]
    DuplicateSection {
        /// Which.
        name: SectionName,
    },

    /// There are more sections than a snapshot may have.
    #[error("the machine has {found} sections of state, but a snapshot holds at most {}", crate::MAX_SECTIONS)]
    TooManySections {
        /// How many.
        found: u64,
    },

    /// The sections together are longer than those of a snapshot may be.
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
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => "missing",
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "disk-full",
                _ => "io",
            },
            Self::NotASnapshot { .. } => "not-a-snapshot",
            Self::NewerVersion { .. } => "newer-version",
            Self::Truncated { .. } => "truncated",
            Self::TooLong { .. } => "too-long",
            Self::Corrupted { .. } | Self::HoleNotEmpty { .. } => "corrupted",
            Self::Malformed { .. } => "malformed",
            Self::UnsupportedFeatures { .. } => "unsupported-features",
            Self::Delta { .. } => "delta",
            Self::NotADelta => "not-a-delta",
            Self::WrongBase { .. } => "wrong-base",
            Self::WrongForm { found: Form::Travelling } => "travelling-form",
            Self::WrongForm { found: Form::Stored } => "stored-form",
            Self::WrongModel { .. } => "wrong-model",
            Self::WrongRamSize { .. } => "wrong-ram-size",
            Self::WrongDevices { .. } => "wrong-devices",
            Self::WrongDisk { .. } => "wrong-disk",
            Self::InvalidDiskSize { .. } => "invalid-disk-size",
            Self::InvalidRamSize { .. } => "invalid-ram-size",
            Self::UnknownCriticalSection { .. } => "unknown-critical-section",
            Self::MissingSection { .. } => "missing-section",
            Self::SectionVersion { found, supported, .. } if found > supported => "newer-section",
            Self::SectionVersion { .. } => "older-section",
            Self::InvalidRecord { .. } => "invalid-record",
            Self::RecordNotConsumed { .. } => "record-not-consumed",
            Self::RecordNotEncodable { .. } => "record-not-encodable",
            Self::DuplicateSection { .. } => "duplicate-section",
            Self::TooManySections { .. } => "too-many-sections",
            Self::SectionsTooLong { .. } => "sections-too-long",
        }
    }

    pub(crate) fn malformed(part: Part, problem: impl Into<String>) -> Self {
        Self::Malformed { part, problem: problem.into() }
    }

    pub(crate) fn reading(source: io::Error) -> Self {
        Self::Io { doing: "reading the snapshot", source }
    }

    pub(crate) fn writing(source: io::Error) -> Self {
        Self::Io { doing: "writing the snapshot", source }
    }
}

/// A part of a snapshot that has a digest of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The fixed header.
    Header,
    /// The section table.
    Table,
    /// A section's body.
    Section(SectionName),
    /// The page index.
    Index,
    /// What the header, table and index say together.
    Content,
    /// The pages that travel first.
    #[cfg(feature = "travel")]
    Hot,
    /// A group of pages.
    Pages {
        /// The memory that they are in.
        space: Space,
        /// Address of the first.
        address: u64,
    },
}

impl Part {
    /// Checks that `bytes` have the recorded digest.
    pub(crate) fn verify(self, bytes: &[u8], wanted: Digest) -> Result<(), Error> {
        self.require(Digest::of(bytes), wanted)
    }

    /// Checks that what was `found` is the recorded digest.
    pub(crate) fn require(self, found: Digest, wanted: Digest) -> Result<(), Error> {
        if found == wanted { Ok(()) } else { Err(Error::Corrupted { part: self, found, wanted }) }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("the header"),
            Self::Table => f.write_str("the section table"),
            Self::Section(name) => write!(f, "section {name}"),
            Self::Index => f.write_str("the page index"),
            Self::Content => f.write_str("the content as a whole"),
            #[cfg(feature = "travel")]
            Self::Hot => f.write_str("the first frame of pages"),
            Self::Pages { space, address } => write!(f, "the group of pages at {address:#x} of {space}"),
        }
    }
}
