//! Guest bytes to ops.

mod block;
mod frequent;
mod lower;
mod op;
mod view;

pub use block::{Block, Form, Mode, OPTIONS, decode_block};
use frequent::frequent;
pub use lower::lower;
pub use op::{AddressMode, Op, Opcode};
pub use view::{BlockEnd, Branch, FarTarget, Repeat, StringOp};

/// Bytes of the longest instruction.
pub const MAX_INSTRUCTION_BYTES: usize = 15;
