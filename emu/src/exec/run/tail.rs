//! Tail calls: the first handler does it all.

use crate::cache::{Arm, Slot};
use crate::decode::Op;
use crate::exec::dispatch::{Done, go};
use crate::vcpu::Vcpu;

/// No op has an arm.
pub fn arm_of(_: &Op, _: Option<u8>) -> Arm {
    Arm
}

/// Runs ops from `slot` on until one leaves.
///
/// # Safety
/// As for [`Handler`].
#[inline(always)]
pub unsafe fn enter(cx: &mut Vcpu, slot: *const Slot) {
    // SAFETY: the caller vouches for the slot.
    let _: Done = unsafe { go(cx, slot) };
}
