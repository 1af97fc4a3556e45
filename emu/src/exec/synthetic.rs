//! What ops do that are no instruction: see [`Opcode`].

use super::dispatch::{Done, Handler, leave, next};
use super::flow;
use super::retire::run_system;
use crate::cache::{Link, Slot};
use crate::cpu::{Exception, slot};
use crate::decode::{Op, Opcode};
use crate::vcpu::{ExitReason, Vcpu};

fn invalid(_: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    Err(Exception::INVALID_OPCODE)
}

fn unimplemented(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    cx.cache.count_unimplemented(op.immediate as u16);
    Err(Exception::INVALID_OPCODE)
}

fn unavailable(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    // `a` says whether it is SSE, which is also switched off by CR4.
    let checked = if op.a != 0 { cx.check_sse() } else { cx.check_mmx() };
    checked.and(Err(Exception::INVALID_OPCODE))
}

fn too_long(_: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    Err(Exception::GP0)
}

unsafe fn stale(cx: &mut Vcpu, _: *const Slot) -> Done {
    cx.rip = cx.regs[slot::BLOCK];
    leave(cx, ExitReason::Block(Link::None))
}

unsafe fn counted(cx: &mut Vcpu, slot: *const Slot) -> Done {
    // SAFETY: the dispatcher hands over a valid slot.
    let index = unsafe { (*slot).op.immediate } as u32;
    if let Some(profile) = &mut cx.cache.profile {
        profile.count(index);
    }
    // SAFETY: the block's ops stand behind this one.
    unsafe { next(cx, slot) }
}

/// Handler of an op that has no `Code`.
pub fn handler(code: Opcode) -> Handler {
    match code {
        Opcode::FALL_THROUGH => flow::run_fall_through,
        Opcode::UNIMPLEMENTED => |cx, slot| {
            // SAFETY: the dispatcher hands over a valid slot.
            run_system(cx, unsafe { &(*slot).op }, unimplemented)
        },
        Opcode::UNAVAILABLE => |cx, slot| {
            // SAFETY: the dispatcher hands over a valid slot.
            run_system(cx, unsafe { &(*slot).op }, unavailable)
        },
        Opcode::TOO_LONG => |cx, slot| {
            // SAFETY: the dispatcher hands over a valid slot.
            run_system(cx, unsafe { &(*slot).op }, too_long)
        },
        Opcode::STALE => stale,
        Opcode::COUNTED => counted,
        _ => |cx, slot| {
            // SAFETY: the dispatcher hands over a valid slot.
            run_system(cx, unsafe { &(*slot).op }, invalid)
        },
    }
}
