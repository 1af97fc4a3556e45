//! From ops to slots.

use crate::cache::{Run, Slot};
use crate::decode::Op;
use crate::exec::dispatch::{Handler, erase};
use crate::exec::lookup::{fused_handler, handler};

#[cfg(any(target_family = "wasm", feature = "loop-dispatch"))]
use super::arms::arm_of;
#[cfg(any(target_family = "wasm", feature = "loop-dispatch"))]
use crate::exec::branch::condition;

impl Slot {
    /// An op with its handler.
    pub fn new(op: Op) -> Self {
        #[cfg(any(target_family = "wasm", feature = "loop-dispatch"))]
        return Self::with(handler(&op), arm_of(&op, None), op);
        #[cfg(not(any(target_family = "wasm", feature = "loop-dispatch")))]
        Self::with(handler(&op), op)
    }

    /// An op that is run by `handler`.
    pub(in crate::exec) fn with(handler: Handler, #[cfg(any(target_family = "wasm", feature = "loop-dispatch"))] arm: u16, op: Op) -> Self {
        // SAFETY: the handler is one of the dispatcher's, and arms follow from the same keys as handlers.
        let run = unsafe {
            Run::new(
                erase(handler),
                #[cfg(any(target_family = "wasm", feature = "loop-dispatch"))]
                arm,
            )
        };
        Self { run, op }
    }

    /// Makes this op run together with the one behind it, if the two are a pair for which there is a handler.
    fn fuse(&mut self, second: &Op) {
        if let Some(handler) = fused_handler(&self.op, second) {
            *self = Self::with(
                handler,
                #[cfg(any(target_family = "wasm", feature = "loop-dispatch"))]
                arm_of(&self.op, condition(second.code)),
                self.op,
            );
        }
    }
}

/// The slots of a block's ops.
pub fn slots(ops: &[Op]) -> Vec<Slot> {
    let mut slots: Vec<Slot> = ops.iter().map(|&op| Slot::new(op)).collect();
    for (slot, second) in slots.iter_mut().zip(ops.iter().skip(1)) {
        slot.fuse(second);
    }
    slots
}
