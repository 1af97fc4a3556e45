//! Guest bytes to ops.

mod lower;
mod op;

pub use lower::lower;
pub use op::{AddressMode, Op, Opcode};
