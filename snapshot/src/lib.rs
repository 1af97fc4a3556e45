//! The prebake snapshot: sections, pages and bytes, as `FORMAT.md` specifies them. This crate has never heard of a CPU
//! or a disk.
//!
//! State that is to be saved is plain data under [`saved!`], with a [`Record`] implementation for each section.

mod codec;
mod digest;
mod error;
mod section;

pub use codec::{__codec, Decode, Encode, MAX_SECTIONS_LEN, Record, decode_record, encode_record};
pub use digest::{Digest, Digester};
pub use error::Error;
pub use section::SectionId;
