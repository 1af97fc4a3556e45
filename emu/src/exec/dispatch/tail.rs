//! Tail calls: every handler ends in a call of the next op's, which optimised builds turn into a jump, provided that nothing on the host's
//! stack has had its address taken by then. Handlers that are inlined must keep to that; a test looks at every one of them.

use super::Handler;
use crate::cache::Slot;
use crate::exec::ExitReason;
use crate::vcpu::Vcpu;

/// Proof that whoever left the dispatcher said why: only [`leave`] makes it.
pub struct Done(());

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
