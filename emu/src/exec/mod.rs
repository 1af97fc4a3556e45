//! What ops do, and the dispatcher that runs them.
//!
//! Every instruction form stands in one row of a table in one of the files here: its `Code`, then the handler of its register form, of its
//! memory form or of both. Row kinds, and the signature of what they name (`W` stands for the types in brackets):
//!
//! | row | handler | for |
//! |---|---|---|
//! | `register f[W]` | `fn<W>(&mut Vcpu, &Op)`, or `-> Result<(), Exception>` | registers and immediates only |
//! | `memory f[W]`, `stack f[W]` | `fn<W, P: Path, E: EffectiveAddress>(&mut Vcpu, &Op) -> Result<(), P::Error>` | reads or writes memory: an operand; the stack or another implied address |
//! | `compare f[W]`, `compare_memory f[W]` | as `register` (without errors) and `memory` | sets flags that a conditional jump often reads: compiled together with that, too |
//! | `call f[W]`, `call_memory f[W]` | as `register` (with errors) and `memory` | work that is worth a call, or keeps something on the host's stack |
//! | `branch f[W]`, `branch_memory f[W]` | `fn<W, P, E>(&mut Vcpu, *const Slot) -> Result<Flow, P::Error>` | ends a block, goes on in another |
//! | `system f[W]`, `system_memory f[W]` | `fn<W>(&mut Vcpu, &Op) -> Result<(), Exception>` | ends a block; the engine looks at everything afterwards |
//!
//! `memory` and `branch` handlers are compiled for two paths: [`Fast`] knows only TLB hits and gives up at the first miss; then the same
//! handler runs again as [`Slow`], which knows everything else (`call_memory` handlers run once, as [`Either`]). So a handler must not change anything before its last access to memory.
//! A `system` handler finds `rip` at the next instruction and may set it; counts are exact. When it fails, `rip` is put back.
//!
//! How the ops that follow one another are run is [`dispatch`]'s.

// Handlers have one signature for each kind of row, whether they need all of it or not.
#![allow(clippy::extra_unused_type_parameters)]

#[cfg(test)]
mod advertised;
pub mod alu;
mod arith;
mod bits;
mod branch;
mod control;
mod data;
mod decimal;
mod dispatch;
mod far;
mod flag;
pub mod float;
mod hint;
mod msr;
mod path;
mod port;
mod segment;
mod shift;
mod sse;
mod sse42;
mod stack;
mod string;
mod syscall;
mod table;
// Of the dispatcher that could leave something on the stack.
#[cfg(all(test, not(any(target_family = "wasm", feature = "loop-dispatch"))))]
mod tests;
mod vector;
mod x87;

use crate::cache::Slot;
use crate::cpu::{Exception, Rflags, slot};
use crate::decode::{Op, Opcode};
use crate::vcpu::{CodeSize, Vcpu};

pub use dispatch::{Done, Handler, Run, enter, go, leave, next};
pub use path::{Based, EffectiveAddress, Either, Fast, General, Indexed, Miss, Path, Slow};
pub use table::{catalogue, implemented, implements, is_direct_branch, is_terminal};
use table::{fused_handler, handler};

/// Why the dispatcher was left. `rip` and `left` are exact.
#[derive(Clone, Copy, Debug)]
pub enum ExitReason {
    /// The block at `rip` is wanted.
    Block(Link),
    /// An exception of the instruction at `rip`.
    Fault(Exception),
    /// Anything may have changed: look at it all.
    Sync,
}

/// The link, if any, that would have led to the block that is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// None: the way there depends on the mapping.
    None,
    /// The target of the branch in this slot.
    Taken(*const Slot),
    /// What follows the branch or block end in this slot.
    Next(*const Slot),
}

/// Where a `branch` handler goes.
pub enum Flow {
    /// On in another block.
    Goto(*const Slot),
    /// Out of the dispatcher; the exit is recorded.
    Leave(Done),
}

/// RIP of an op of the running block.
#[inline(always)]
fn rip_of(cx: &Vcpu, op: &Op) -> u64 {
    wrap(cx, cx.regs[slot::BLOCK].wrapping_add(u64::from(op.offset)))
}

/// An instruction pointer as the mode keeps it.
#[inline(always)]
pub(crate) fn wrap(cx: &Vcpu, rip: u64) -> u64 {
    match cx.code_size {
        CodeSize::Bits64 => rip,
        CodeSize::Bits32 | CodeSize::Bits16 => rip & 0xffff_ffff,
    }
}

/// Leaves at an op that raised an exception.
#[cold]
#[inline(never)]
fn fault(cx: &mut Vcpu, op: &Op, exception: Exception) -> Done {
    cx.partial = 0;
    cx.left -= i64::from(op.retired);
    cx.rip = rip_of(cx, op);
    leave(cx, ExitReason::Fault(exception))
}

/// Leaves behind an op that is done, for the engine to look at everything.
#[cold]
#[inline(never)]
fn interrupt_block(cx: &mut Vcpu, op: &Op) -> Done {
    cx.partial = 0;
    cx.left -= i64::from(op.retired) + 1;
    cx.rip = wrap(cx, cx.regs[slot::BLOCK].wrapping_add(op.end()));
    leave(cx, ExitReason::Sync)
}

/// What a `register` handler may return.
trait Outcome {
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
fn finish(cx: &mut Vcpu, op: &Op, result: Result<(), Exception>) -> Option<Done> {
    match result {
        Ok(()) if cx.attention => Some(interrupt_block(cx, op)),
        Ok(()) => {
            cx.partial = 0;
            None
        }
        Err(exception) => Some(fault(cx, op, exception)),
    }
}

/// Runs a `system` op.
fn run_system(cx: &mut Vcpu, op: &Op, body: fn(&mut Vcpu, &Op) -> Result<(), Exception>) -> Done {
    cx.left -= i64::from(op.retired);
    cx.partial = 0;
    let (flags, repeated) = (cx.system_flags, cx.repeated);
    cx.system_flags &= !Rflags::RF;
    let here = rip_of(cx, op);
    cx.rip = wrap(cx, here.wrapping_add(u64::from(op.length)));
    match body(cx, op) {
        Ok(()) if std::mem::take(&mut cx.cut_off) => {
            cx.system_flags |= Rflags::RF;
            cx.rip = here;
            leave(cx, ExitReason::Sync)
        }
        Ok(()) => {
            cx.left -= 1;
            leave(cx, ExitReason::Sync)
        }
        Err(exception) => {
            cx.rip = here;
            if exception == Exception::UNAVAILABLE {
                // It is as it was, or a REP that was cut off.
                cx.system_flags |= if cx.repeated == repeated { flags & Rflags::RF } else { Rflags::RF };
            }
            leave(cx, ExitReason::Fault(exception))
        }
    }
}

/// What ops do that are no instruction: see [`Opcode`].
mod synthetic {
    use super::*;

    pub fn invalid(_: &mut Vcpu, _: &Op) -> Result<(), Exception> {
        Err(Exception::INVALID_OPCODE)
    }

    pub fn unimplemented(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
        *cx.cache.gaps.entry(op.immediate as u16).or_default() += 1;
        Err(Exception::INVALID_OPCODE)
    }

    pub fn unavailable(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
        // `a` says whether it is SSE, which is also switched off by CR4.
        let checked = if op.a != 0 { cx.check_sse() } else { cx.check_mmx() };
        checked.and(Err(Exception::INVALID_OPCODE))
    }

    pub fn too_long(_: &mut Vcpu, _: &Op) -> Result<(), Exception> {
        Err(Exception::GP0)
    }

    pub unsafe fn stale(cx: &mut Vcpu, _: *const Slot) -> Done {
        cx.rip = cx.regs[slot::BLOCK];
        leave(cx, ExitReason::Block(Link::None))
    }
}

/// Handler of an op that has no `Code`.
fn synthetic_handler(code: Opcode) -> Handler {
    match code {
        Opcode::FALL_THROUGH => branch::run_fall_through,
        Opcode::UNIMPLEMENTED => |cx, slot| {
            // SAFETY: the dispatcher hands over a valid slot.
            run_system(cx, unsafe { &(*slot).op }, synthetic::unimplemented)
        },
        Opcode::UNAVAILABLE => |cx, slot| {
            // SAFETY: the dispatcher hands over a valid slot.
            run_system(cx, unsafe { &(*slot).op }, synthetic::unavailable)
        },
        Opcode::TOO_LONG => |cx, slot| {
            // SAFETY: the dispatcher hands over a valid slot.
            run_system(cx, unsafe { &(*slot).op }, synthetic::too_long)
        },
        Opcode::STALE => synthetic::stale,
        _ => |cx, slot| {
            // SAFETY: the dispatcher hands over a valid slot.
            run_system(cx, unsafe { &(*slot).op }, synthetic::invalid)
        },
    }
}
