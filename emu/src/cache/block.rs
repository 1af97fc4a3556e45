//! What a cached block is known by, and where it is.

use crate::decode::Mode;

/// What a block's bytes are: a guest-physical address, and how they were decoded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BlockKey {
    /// Guest-physical address of the first instruction.
    pub address: u64,
    /// How they were decoded.
    pub mode: Mode,
}

/// A cached block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// Index of its first slot.
    pub start: u32,
    /// Page number of the second page, for a block that is one instruction across two.
    pub second_page: Option<u32>,
    /// Bytes of its code.
    pub length: u16,
}
