//! A loop: every handler returns the slot that comes next.

use super::erase;
use crate::cache::{Run, Slot};
use crate::decode::{Op, Opcode};
use crate::vcpu::{ExitReason, Vcpu};

/// The slot that comes next. That is [`EXIT`] when the dispatcher is left, and then proof that whoever left it said why: only [`leave`] makes that.
pub struct Done(*const Slot);

impl Done {
    /// The slot that comes next.
    #[inline(always)]
    pub fn next(self) -> *const Slot {
        self.0
    }
}

/// Number of the arm that leaves the loop: all bits of any mask.
pub const EXIT_ARM: u16 = u16::MAX;

/// Ends the loop: an arm like any other, which spares a compare after each op.
// SAFETY: the handler is the dispatcher's, and its arm leaves the loop.
static EXIT: Slot = Slot { run: unsafe { Run::new(erase(exit), EXIT_ARM) }, op: Op::bare(Opcode::INVALID) };

unsafe fn exit(_: &mut Vcpu, slot: *const Slot) -> Done {
    Done(slot)
}

/// Goes on with `slot`.
///
/// # Safety
/// As for [`Handler`].
#[inline(always)]
pub unsafe fn go(_: &mut Vcpu, slot: *const Slot) -> Done {
    Done(slot)
}

/// Leaves the dispatcher.
#[inline(always)]
pub fn leave(cx: &mut Vcpu, reason: ExitReason) -> Done {
    cx.exit = reason;
    Done(&raw const EXIT)
}
