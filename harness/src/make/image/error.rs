//! Everything that can be wrong with a container image.

use super::text::Quoted;
use crate::distribution::oci::{NotADigest, OciError, Sha256};
use crate::text::printable;
use std::io;

/// Why an image could not be turned into a root file system. Each message says what was found, what was wanted and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The host could not read or write.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The name names no image.
    #[error("invalid image name `{name}`: {problem}; pass a reference such as alpine:3.20, or a path that begins with / or ./")]
    Name {
        /// What was given.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// What is at a path is no image.
    #[error("{name} is not a container image: {problem}; pass an OCI layout, an archive made by `docker save`, or a root folder")]
    NotAnImage {
        /// What was given.
        name: String,
        /// What was found.
        problem: String,
    },
    /// There are several images, or none of that name.
    #[error("{name} {problem}; there {}", listed(names))]
    Choice {
        /// What was given.
        name: String,
        /// What is wrong.
        problem: String,
        /// What there is.
        names: Vec<String>,
    },
    /// The image is not for this machine.
    #[error("the image has no linux/amd64 variant; there {}; choose another image", listed(found))]
    Platform {
        /// What there is.
        found: Vec<String>,
    },
    /// The registry refused, or could not be reached.
    #[error("{reference}: {}", printable(&source.to_string()))]
    Registry {
        /// What was asked for.
        reference: String,
        /// Why not.
        source: Box<OciError>,
    },
    /// Something is not the JSON that it should be.
    #[error("cannot read the image's {what}: {source}; fetch or build the image again")]
    Json {
        /// Which document.
        what: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A document contradicts itself or another.
    #[error("the image's {what} is malformed: {problem}; fetch or build the image again")]
    Document {
        /// Which document.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A digest of a kind that is not known here.
    #[error("{0}; build the image again with sha256 digests")]
    UnknownDigest(NotADigest),
    /// Bytes are not those that the image names.
    #[error("{what} has digest {found}, expected {wanted}; fetch the image again")]
    WrongDigest {
        /// What was read.
        what: String,
        /// Of the bytes that are there.
        found: Sha256,
        /// Of the bytes that should be there.
        wanted: Sha256,
    },
    /// Something has not the length that the image says.
    #[error("{what} has {found} bytes, expected {wanted}; fetch the image again")]
    WrongLength {
        /// What was read.
        what: String,
        /// Its bytes.
        found: u64,
        /// The bytes that it should have.
        wanted: u64,
    },
    /// A part of the image is not there.
    #[error("{what} is missing; fetch the image again")]
    Missing {
        /// Which part.
        what: String,
    },
    /// A layer or an archive cannot be decompressed.
    #[error("cannot decompress {what}: {source}; fetch the image again")]
    Compression {
        /// Which layer or archive.
        what: String,
        /// What the decompressor says.
        source: io::Error,
    },
    /// A layer or an archive is compressed in a way that is not known here.
    #[error("{what} is compressed with {form}, which prebake cannot read; compress it with gzip, zstd, xz or bzip2")]
    UnknownCompression {
        /// Which layer or archive.
        what: String,
        /// How it is compressed.
        form: &'static str,
    },
    /// What should be an archive is something else.
    #[error("{what} is not a tar archive: it is {found}")]
    NotAnArchive {
        /// Which layer or archive.
        what: String,
        /// What it is.
        found: String,
    },
    /// An archive ends too early.
    #[error("{archive} is truncated: it ends in {place}; fetch the image again")]
    Truncated {
        /// Which archive.
        archive: String,
        /// Where.
        place: &'static str,
    },
    /// An archive is not as archives are.
    #[error("{archive} is malformed{}: {problem}; build the image again", entry(path))]
    Archive {
        /// Which archive.
        archive: String,
        /// Which entry; empty if that is not known.
        path: Vec<u8>,
        /// What is wrong.
        problem: String,
    },
    /// An entry of a layer cannot be placed in the tree.
    #[error("layer {layer} has an invalid entry {}: {problem}; build the image again", Quoted(path))]
    Entry {
        /// Which layer, from 1 on.
        layer: usize,
        /// Its path.
        path: Vec<u8>,
        /// What is wrong.
        problem: String,
    },
    /// There is more of something than is taken.
    #[error("the image has more than {limit} {what}, which is the limit; make the image smaller")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much is taken.
        limit: u64,
    },
    /// The root file system does not fit into a machine.
    #[error("the image's files need {found} bytes, but a machine file has room for {limit} (4 GiB in all); make the image smaller")]
    TooLarge {
        /// Bytes of the root file system.
        found: u64,
        /// Bytes that a machine has.
        limit: u64,
    },
}

/// The result of everything that is done with an image.
pub type Result<T> = std::result::Result<T, ImageError>;

impl ImageError {
    /// A stable name of the kind of error, for scripts.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Io { .. } => "image-io",
            Self::Name { .. } => "image-name",
            Self::NotAnImage { .. } => "not-an-image",
            Self::Choice { .. } => "image-choice",
            Self::Platform { .. } => "image-platform",
            Self::Registry { source, .. } => source.kind(),
            Self::Json { .. } | Self::Document { .. } => "image-document",
            Self::UnknownDigest(_) => "image-digest-kind",
            Self::WrongDigest { .. } => "image-digest",
            Self::WrongLength { .. } => "image-length",
            Self::Missing { .. } => "image-missing",
            Self::Compression { .. } | Self::UnknownCompression { .. } => "image-compression",
            Self::NotAnArchive { .. } => "not-an-image",
            Self::Truncated { .. } => "image-truncated",
            Self::Archive { .. } => "image-archive",
            Self::Entry { .. } => "image-entry",
            Self::TooMuch { .. } => "image-too-much",
            Self::TooLarge { .. } => "image-too-large",
        }
    }

    pub(super) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        // Readers that check what they pass on say what is wrong inside of the error that `Read` allows them.
        move |source| source.downcast::<Self>().unwrap_or_else(|source| Self::Io { doing, source })
    }
}

impl From<ImageError> for io::Error {
    fn from(error: ImageError) -> Self {
        Self::other(error)
    }
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "is none".into(),
        [one] => format!("is {one}"),
        many => format!("are {}", many.join(", ")),
    }
}

fn entry(path: &[u8]) -> String {
    if path.is_empty() { String::new() } else { format!(" at {}", Quoted(path)) }
}
