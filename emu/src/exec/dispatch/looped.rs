//! A loop: every handler returns the slot that comes next. The handlers of the ops that run most often are inlined into it, each in an arm of
//! its own; the others are called.

use super::Handler;
use super::arms::{self, arm_of, key};
use super::hot::hot_ops;
use crate::cache::Slot;
use crate::decode::{Op, Opcode};
use crate::exec::{ExitReason, branch, fused_handler, handler};
use crate::vcpu::Vcpu;

/// The slot that comes next. That is [`EXIT`] when the dispatcher is left, and then proof that whoever left it said why: only [`leave`] makes that.
pub struct Done(*const Slot);

/// What the dispatcher derives from an op.
#[derive(Clone, Copy)]
pub struct Run {
    handler: Handler,
    arm: u16,
}

impl Run {
    /// For an op.
    pub fn of_op(op: &Op) -> Self {
        Self { handler: handler(op), arm: arm_of(op, None) }
    }

    /// For an op together with the one behind it, if there is a handler for the two.
    pub fn of_pair(first: &Op, second: &Op) -> Option<Self> {
        fused_handler(first, second).map(|handler| Self { handler, arm: arm_of(first, branch::condition(second.code)) })
    }
}

/// Ends the loop: an arm like any other, which spares a compare after each op.
static EXIT: Slot = Slot { run: Run { handler: exit, arm: arms::EXIT }, op: Op::bare(Opcode::INVALID) };

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

/// An arm's number where a pattern is wanted.
struct Arm<const NUMBER: u16>;

impl<const NUMBER: u16> Arm<NUMBER> {
    const NUMBER: u16 = NUMBER;
}

/// Runs ops from `slot` on until one leaves.
///
/// # Safety
/// As for [`Handler`].
pub unsafe fn enter(cx: &mut Vcpu, mut slot: *const Slot) {
    loop {
        // SAFETY: the caller vouches for the first slot, and handlers hand over valid ones.
        let run = unsafe { (*slot).run };
        macro_rules! run_op {
            ($($code:ident $way:ident $($jump:ident)?;)*) => {
                // There is an arm for each number that the mask leaves, so that the jump needs no compare.
                match run.arm & arms::MASK {
                    $(Arm::<{ key!($code $way $($jump)?).arm() }>::NUMBER => {
                        const HANDLER: Handler = key!($code $way $($jump)?).handler();
                        // SAFETY: as above.
                        unsafe { HANDLER(cx, slot) }
                    })*
                    // SAFETY: as above.
                    arms::FALL_THROUGH => unsafe { branch::run_fall_through(cx, slot) },
                    arms::EXIT => return,
                    // SAFETY: as above.
                    _ => unsafe { (run.handler)(cx, slot) },
                }
            };
        }
        Done(slot) = hot_ops!(run_op);
    }
}
