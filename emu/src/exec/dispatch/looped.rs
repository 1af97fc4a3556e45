//! A loop: every handler returns the slot that comes next.

use super::Handler;
use crate::cache::Slot;
use crate::exec::ExitReason;
use crate::vcpu::Vcpu;

/// The slot that comes next; null when the dispatcher was left, and then proof that whoever left it said why: only [`leave`] makes that.
pub struct Done(*const Slot);

/// What the dispatcher derives from an op.
#[derive(Clone, Copy)]
pub struct Run(Handler);

impl Run {
    /// For an op with this handler.
    pub fn of(handler: Handler) -> Self {
        Self(handler)
    }
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
    Done(std::ptr::null())
}

/// Runs ops from `slot` on until one leaves.
///
/// # Safety
/// As for [`Handler`].
pub unsafe fn enter(cx: &mut Vcpu, mut slot: *const Slot) {
    while !slot.is_null() {
        // SAFETY: the caller vouches for the first slot, and handlers hand over valid ones.
        slot = unsafe { ((*slot).run.0)(cx, slot) }.0;
    }
}
