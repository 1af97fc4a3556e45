//! Where the block cache lies, so that a host can have memory for it at once.

use std::ops::Range;

/// Addresses in this process that the engine has not touched when a machine is made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Room {
    /// Tables that the first thousands of blocks fill, everywhere.
    pub tables: [Range<usize>; 2],
    /// Room for decoded blocks, which they fill from its start on.
    pub blocks: Range<usize>,
}

/// Where so many elements lie.
pub fn addresses<T>(first: *const T, count: usize) -> Range<usize> {
    first.addr()..first.wrapping_add(count).addr()
}
