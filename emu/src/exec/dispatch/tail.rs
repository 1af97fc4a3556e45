//! Tail calls: every handler ends in a call of the next op's, which optimised builds turn into a jump, provided that nothing on the host's
//! stack has had its address taken by then. Handlers that are inlined must keep to that; a test looks at every one of them.

use super::Handler;
use crate::cache::Slot;
use crate::decode::Op;
use crate::exec::{ExitReason, fused_handler, handler};
use crate::vcpu::Vcpu;

/// Proof that whoever left the dispatcher said why: only [`leave`] makes it.
pub struct Done(());

/// What the dispatcher derives from an op.
#[derive(Clone, Copy)]
pub struct Run(Handler);

impl Run {
    /// For an op with this handler.
    #[cfg(test)]
    pub fn of(handler: Handler) -> Self {
        Self(handler)
    }

    /// For an op.
    pub fn of_op(op: &Op) -> Self {
        Self(handler(op))
    }

    /// For an op together with the one behind it, if there is a handler for the two.
    pub fn of_pair(first: &Op, second: &Op) -> Option<Self> {
        fused_handler(first, second).map(Self)
    }
}

/// Goes on with `slot`.
///
/// # Safety
/// As for [`Handler`].
#[inline(always)]
pub unsafe fn go(cx: &mut Vcpu, slot: *const Slot) -> Done {
    // SAFETY: the caller vouches for the slot.
    unsafe { ((*slot).run.0)(cx, slot) }
}

/// Leaves the dispatcher.
#[inline(always)]
pub fn leave(cx: &mut Vcpu, reason: ExitReason) -> Done {
    cx.exit = reason;
    Done(())
}

/// Runs ops from `slot` on until one leaves.
///
/// # Safety
/// As for [`Handler`].
#[inline(always)]
pub unsafe fn enter(cx: &mut Vcpu, slot: *const Slot) {
    // SAFETY: the caller vouches for the slot.
    let Done(()) = unsafe { go(cx, slot) };
}
