//! From ops to slots.

use super::arm_of;
use crate::cache::{self, Arm, Run, Slot};
use crate::decode::{Block, Form, Op, Opcode};
use crate::exec::dispatch::{Handler, erase, restore};
use crate::exec::flow::condition;
use crate::exec::lookup::{form, fused_handler, handler};

impl Slot {
    /// An op with its handler.
    pub fn new(op: Op) -> Self {
        Self::with(handler(&op), arm_of(&op, None), op)
    }

    /// An op that is run by `handler`, or by an arm that does the same.
    pub(in crate::exec) fn with(handler: Handler, arm: Arm, op: Op) -> Self {
        // SAFETY: the handler is one of the dispatcher's; arms follow from what handlers follow from.
        Self { run: unsafe { Run::new(erase(handler), arm) }, op }
    }

    /// An op that is run by a handler of no table.
    ///
    /// # Safety
    /// `handler` must be one of the dispatcher's, with its type changed.
    pub(in crate::exec) unsafe fn with_handler(handler: cache::Handler, op: Op) -> Self {
        // SAFETY: the caller vouches for it.
        Self::with(unsafe { restore(handler) }, arm_of(&op, None), op)
    }

    /// Makes this op run together with the one behind it, if the two are a pair for which there is a handler.
    fn fuse(&mut self, second: &Op) {
        if let Some(handler) = fused_handler(&self.op, second) {
            *self = Self::with(handler, arm_of(&self.op, condition(second.code)), self.op);
        }
    }
}

/// The slots of a block's ops.
pub struct Slots(Vec<Slot>);

impl Slots {
    /// None yet, in `scratch`, with room for `limit` instructions and the end of the block.
    pub fn for_instructions(limit: usize, mut scratch: Vec<Slot>) -> Self {
        scratch.reserve(limit + 1);
        Self(scratch)
    }

    /// What the block is cached as.
    pub fn into_vec(self) -> Vec<Slot> {
        self.0
    }
}

impl Block for Slots {
    #[inline(always)]
    fn form(code: Opcode) -> Option<Form> {
        form(code)
    }

    #[inline(always)]
    fn push(&mut self, op: Op) {
        if let Some(first) = self.0.last_mut() {
            first.fuse(&op);
        }
        self.0.push(Slot::new(op));
    }
}
