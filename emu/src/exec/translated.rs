//! Code that was translated ahead of time, seen from the interpreter: how it is entered, and what it calls.
//!
//! Such code is a handler like any other: it gets the CPU and the slot that stands in front of a block's ops, and says which slot is next. It keeps
//! registers, flags and the budget to itself while it runs; whenever it calls one of the functions here, all of them are in the CPU.

use std::mem::offset_of;

use crate::cache::{self, Run, Slot};
use crate::cpu::{Fpu, LazyFlags};
use crate::decode::{Op, Opcode};
use crate::mmu::Mmu;
use crate::vcpu::{Time, Vcpu};

#[cfg(any(target_family = "wasm", feature = "loop-dispatch"))]
pub use calls::{evaluate, go, interpret, run};

/// Version of what translated code relies on: these functions, and the meaning of [`LAYOUT`].
pub const VERSION: u32 = 4;

/// Where translated code finds what it needs, in bytes: [`VERSION`]; in the CPU, the registers, the budget, the flags' result, source and operation
/// (their width is the byte behind), and the pointer to the TLB's table; its entries; in an entry, the tags for reads and writes and the addend; in a
/// slot, the immediate; in the CPU, the vector registers; in a slot, the op's number and its handler.
pub const LAYOUT: [u32; 15] = [
    VERSION,
    offset_of!(Vcpu, regs) as u32,
    (offset_of!(Vcpu, time) + Time::BUDGET) as u32,
    (offset_of!(Vcpu, flags) + offset_of!(LazyFlags, result)) as u32,
    (offset_of!(Vcpu, flags) + offset_of!(LazyFlags, source)) as u32,
    (offset_of!(Vcpu, flags) + offset_of!(LazyFlags, op)) as u32,
    (offset_of!(Vcpu, mmu) + Mmu::TABLE) as u32,
    Mmu::TABLE_ENTRIES as u32,
    Mmu::TABLE_READ as u32,
    Mmu::TABLE_WRITE as u32,
    Mmu::TABLE_ADDEND as u32,
    (offset_of!(Slot, op) + offset_of!(Op, immediate)) as u32,
    (offset_of!(Vcpu, fpu) + offset_of!(Fpu, xmm)) as u32,
    (offset_of!(Slot, op) + offset_of!(Op, code)) as u32,
    (offset_of!(Slot, run) + Run::HANDLER) as u32,
];

const _: () = assert!(offset_of!(LazyFlags, bits) == offset_of!(LazyFlags, op) + 1);

/// The slot that enters translated code by its handler.
pub fn slot(handler: cache::Handler, entry: u16) -> Slot {
    let op = Op { immediate: entry.into(), ..Op::bare(Opcode::TRANSLATED) };
    // SAFETY: translated code is a handler of the dispatcher's, as its linker vouches; all ops without an arm of their own are run by their handlers.
    unsafe { Slot::with_handler(handler, op) }
}

/// What translated code calls. It knows the loop alone.
#[cfg(any(target_family = "wasm", feature = "loop-dispatch"))]
mod calls {
    use crate::cache::{Link, MAX_BLOCK, Slot};
    use crate::cpu::{FlagOp, LazyFlags, slot};
    use crate::decode::Opcode;
    use crate::exec::dispatch::{leave, restore};
    use crate::exec::flow::looked_up;
    use crate::exec::retire::Flow;
    use crate::vcpu::{ExitReason, Vcpu};

    /// Goes on at linear `target`.
    pub fn go(cx: &mut Vcpu, target: u64) -> *const Slot {
        match looked_up(cx, target) {
            Flow::Goto(slot) => slot,
            Flow::Leave(done) => done.next(),
        }
    }

    /// Goes on at linear `target` with the interpreter's own ops, one at least: translated code that has stopped there would stop there again.
    pub fn interpret(cx: &mut Vcpu, target: u64) -> *const Slot {
        cx.regs[slot::BLOCK] = target;
        if cx.time.budget() >= MAX_BLOCK as i64
            && let Some(slot) = cx.cache.find(target)
        {
            // SAFETY: the slot is the first of a block in the cache; behind translated code's stand the block's ops.
            return unsafe { if (*slot).op.code == Opcode::TRANSLATED { slot.add(1) } else { slot } };
        }
        cx.rip = target;
        leave(cx, ExitReason::Block(Link::None)).next()
    }

    /// Runs an op that does not end its block, by its number: it belongs to the block whose address is in the register file. The slot that is next, if it is not the
    /// one behind.
    pub fn run(cx: &mut Vcpu, number: u32) -> Option<*const Slot> {
        let slot: *const Slot = cx.cache.translated().op(number)?;
        // SAFETY: the slot holds an op that is not the last of its block, and lies in a list that stays as long as the CPU; the one behind is compared, not read.
        let next = unsafe { restore((*slot).run.handler())(cx, slot) }.next();
        (next != slot.wrapping_add(1)).then_some(next)
    }

    /// Arithmetic flags, of the number of an operation with the width in its second byte.
    pub fn evaluate(operation: u32, result: u64, source: u64) -> u64 {
        let [op, bits, ..] = operation.to_le_bytes();
        FlagOp::from_number(op).map_or(0, |op| LazyFlags { result, source, op, bits }.evaluate())
    }
}
