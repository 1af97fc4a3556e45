//! From ops to slots.

use super::arm_of;
use crate::cache::{self, Arm, Cache, Run, Slot};
use crate::decode::{Block, Form, Op, Opcode};
use crate::exec::dispatch::{Handler, erase, restore};
use crate::exec::flow::condition;
use crate::exec::lookup::{form, fused_handler, handler};

fn run(handler: Handler, arm: Arm) -> Run {
    // SAFETY: the handler is one of the dispatcher's; arms follow from what handlers follow from.
    unsafe { Run::new(erase(handler), arm) }
}

impl Slot {
    /// An op with its handler.
    pub fn new(op: Op) -> Self {
        Self::with(handler(&op), arm_of(&op, None), op)
    }

    /// An op that is run by `handler`, or by an arm that does the same.
    pub(in crate::exec) fn with(handler: Handler, arm: Arm, op: Op) -> Self {
        Self { run: run(handler, arm), op }
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
            self.run = run(handler, arm_of(&self.op, condition(second.code)));
        }
    }
}

/// What a block's ops become: slots behind all blocks of the cache.
pub struct Slots<'a>(&'a mut Cache);

impl<'a> Slots<'a> {
    /// Begins a block, with `front` in front of its ops; see [`Cache::begin`].
    pub fn begin(cache: &'a mut Cache, front: Option<Slot>) -> Self {
        cache.begin();
        front.into_iter().for_each(|front| cache.push(front));
        Self(cache)
    }
}

impl Block for Slots<'_> {
    #[inline(always)]
    fn form(code: Opcode) -> Option<Form> {
        form(code)
    }

    #[inline(always)]
    fn push(&mut self, op: Op) {
        if let Some(first) = self.0.last() {
            first.fuse(&op);
        }
        self.0.push(Slot::new(op));
    }
}
