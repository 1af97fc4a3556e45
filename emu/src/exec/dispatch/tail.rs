//! Tail calls: every handler ends in a call of the next op's, which optimised builds turn into a jump, provided that nothing on the host's
//! stack has had its address taken by then. Handlers that are inlined must keep to that; a test looks at every one of them.

use super::restore;
use crate::cache::Slot;
use crate::vcpu::{ExitReason, Vcpu};

/// Proof that whoever left the dispatcher said why: only [`leave`] makes it.
pub struct Done(());

/// Goes on with `slot`.
///
/// # Safety
/// As for [`Handler`].
#[inline(always)]
pub unsafe fn go(cx: &mut Vcpu, slot: *const Slot) -> Done {
    // SAFETY: the caller vouches for the slot.
    unsafe { restore((*slot).run.handler())(cx, slot) }
}

/// Leaves the dispatcher.
#[inline(always)]
pub fn leave(cx: &mut Vcpu, reason: ExitReason) -> Done {
    cx.exit = reason;
    Done(())
}
