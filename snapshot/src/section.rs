//! Sections: the parts of a snapshot that are not pages.

use std::fmt;

/// The name of a kind of section: four ASCII letters, digits or spaces.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SectionId([u8; 4]);

impl SectionId {
    /// An id from its letters.
    pub const fn new(letters: [u8; 4]) -> Self {
        Self(letters)
    }

    /// The letters as they are stored.
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }
}

impl fmt::Display for SectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for SectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SectionId({self})")
    }
}
