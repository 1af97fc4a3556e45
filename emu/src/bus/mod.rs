//! Guest RAM, and the board that answers everything that is not RAM.

mod absent;
mod board;
mod ram;

pub use absent::{PageError, PageSource};
pub use board::{AddressSpace, Board};
pub use ram::{PAGE_SHIFT, PAGE_SIZE, Ram, RamBacking, VecBacking};
