//! A decoded instruction as the dispatcher wants it, and how blocks are linked.

use crate::decode::Op;

/// A handler whose signature is not known here: it takes the CPU, which is made of what is in this module.
pub type Handler = unsafe fn();

/// Number of the arm that an op has in the loop.
#[cfg(any(target_family = "wasm", feature = "loop-dispatch"))]
pub type Arm = u16;
/// Nothing: ops have no arms where they go on by tail calls.
#[cfg(not(any(target_family = "wasm", feature = "loop-dispatch")))]
#[derive(Clone, Copy)]
pub struct Arm;

/// How an op is run: what the dispatcher derives from it.
#[derive(Clone, Copy)]
pub struct Run {
    handler: Handler,
    arm: Arm,
}

impl Run {
    /// Where the handler stands.
    pub const HANDLER: usize = std::mem::offset_of!(Self, handler);

    /// By a handler, or by its arm.
    ///
    /// # Safety
    /// `handler` must be one of the dispatcher's, with its type changed, and the arm must do what it does.
    pub const unsafe fn new(handler: Handler, arm: Arm) -> Self {
        Self { handler, arm }
    }

    /// The op's handler.
    #[inline(always)]
    pub fn handler(self) -> Handler {
        self.handler
    }

    /// The op's arm.
    #[inline(always)]
    pub fn arm(self) -> Arm {
        self.arm
    }
}

/// One op with what the dispatcher derived from it. Aligned to its size, so that none lies on two of the host's cache lines.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub struct Slot {
    /// How it is run.
    pub run: Run,
    /// The op.
    pub op: Op,
}

/// The link, if any, that would have led to the block that is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// None: the way there depends on the mapping.
    None,
    /// The target of the branch in this slot.
    Taken(*const Slot),
    /// What follows the branch or block end in this slot.
    Next(*const Slot),
}
