//! The loop. The handlers of the ops that run most often are inlined into it, each in an arm of its own; the others are called.

use super::arms::{self, key};
use super::hot::hot_ops;
use crate::cache::Slot;
use crate::exec::dispatch::{Handler, restore};
use crate::exec::flow;
use crate::vcpu::Vcpu;

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
                // See [`arms::EXIT`].
                match run.arm() & arms::MASK {
                    $(Arm::<{ key!($code $way $($jump)?).arm() }>::NUMBER => {
                        const HANDLER: Handler = key!($code $way $($jump)?).handler();
                        // SAFETY: as above.
                        unsafe { HANDLER(cx, slot) }
                    })*
                    // SAFETY: as above.
                    arms::FALL_THROUGH => unsafe { flow::run_fall_through(cx, slot) },
                    arms::EXIT => return,
                    // SAFETY: as above.
                    _ => unsafe { restore(run.handler())(cx, slot) },
                }
            };
        }
        slot = hot_ops!(run_op).next();
    }
}
