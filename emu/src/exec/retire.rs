//! How ops end: they retire, raise an exception, or leave the dispatcher.

use super::dispatch::{Done, leave};
use crate::cache::Slot;
use crate::cpu::{CodeSize, Exception, Rflags, slot};
use crate::decode::Op;
use crate::vcpu::{ExitReason, Vcpu};

/// Where a `branch` handler goes.
pub enum Flow {
    /// On in another block.
    Goto(*const Slot),
    /// Out of the dispatcher; the exit is recorded.
    Leave(Done),
}

/// RIP of an op of the running block.
#[inline(always)]
pub fn rip_of(cx: &Vcpu, op: &Op) -> u64 {
    wrap(cx, cx.regs[slot::BLOCK].wrapping_add(u64::from(op.offset)))
}

/// An instruction pointer as the mode keeps it.
#[inline(always)]
pub fn wrap(cx: &Vcpu, rip: u64) -> u64 {
    match cx.code_size {
        CodeSize::Bits64 => rip,
        CodeSize::Bits32 | CodeSize::Bits16 => rip & 0xffff_ffff,
    }
}

/// Leaves at an op that raised an exception.
#[cold]
#[inline(never)]
pub fn fault(cx: &mut Vcpu, op: &Op, exception: Exception) -> Done {
    cx.time.leave_op();
    cx.time.retire(op.retired.into());
    cx.rip = rip_of(cx, op);
    leave(cx, ExitReason::Fault(exception))
}

/// Leaves behind an op that is done, for the engine to look at everything.
#[cold]
#[inline(never)]
fn interrupt_block(cx: &mut Vcpu, op: &Op) -> Done {
    cx.time.leave_op();
    cx.time.retire(i64::from(op.retired) + 1);
    cx.rip = wrap(cx, cx.regs[slot::BLOCK].wrapping_add(op.end()));
    leave(cx, ExitReason::Sync)
}

/// What a `register` handler may return.
pub trait Outcome {
    /// What it raised.
    fn exception(self) -> Option<Exception>;
}
impl Outcome for () {
    #[inline(always)]
    fn exception(self) -> Option<Exception> {
        None
    }
}
impl Outcome for Result<(), Exception> {
    #[inline(always)]
    fn exception(self) -> Option<Exception> {
        self.err()
    }
}

/// Ends an op that was run out of line: `None` to go on with the next, unless the engine must look first.
#[inline(always)]
pub fn finish(cx: &mut Vcpu, op: &Op, result: Result<(), Exception>) -> Option<Done> {
    match result {
        Ok(()) if cx.attention => Some(interrupt_block(cx, op)),
        Ok(()) => {
            cx.time.leave_op();
            None
        }
        Err(exception) => Some(fault(cx, op, exception)),
    }
}

/// Runs a `system` op.
pub fn run_system(cx: &mut Vcpu, op: &Op, body: fn(&mut Vcpu, &Op) -> Result<(), Exception>) -> Done {
    cx.time.retire(op.retired.into());
    cx.time.leave_op();
    let (flags, not_retired) = (cx.system_flags, cx.time.not_retired());
    cx.system_flags &= !Rflags::RF;
    let here = rip_of(cx, op);
    cx.rip = wrap(cx, here.wrapping_add(u64::from(op.length)));
    match body(cx, op) {
        Ok(()) if std::mem::take(&mut cx.rep_interrupted) => {
            cx.system_flags |= Rflags::RF;
            cx.rip = here;
            leave(cx, ExitReason::Sync)
        }
        Ok(()) => {
            cx.time.retire(1);
            leave(cx, ExitReason::Sync)
        }
        Err(exception) => {
            cx.rip = here;
            if exception == Exception::UNAVAILABLE {
                // It is as it was, or a REP that was interrupted.
                cx.system_flags |= if cx.time.not_retired() == not_retired { flags & Rflags::RF } else { Rflags::RF };
            }
            leave(cx, ExitReason::Fault(exception))
        }
    }
}
