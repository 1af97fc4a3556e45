//! Calls into the system and back: SYSCALL, SYSRET, SYSENTER, SYSEXIT, software interrupts.

use super::table::rows;
use crate::cpu::{Efer, Exception, Rflags, Segment, SegmentName, Vector, slot};
use crate::decode::Op;
use crate::delivery;
use crate::vcpu::{CodeSize, Vcpu, is_canonical};

/// Attributes of present, accessed segments with a limit in pages, DPL 0.
const CODE: u16 = 0x809b;
const DATA: u16 = 0xc093;
const LONG: u16 = 0x2000;
const BIG: u16 = 0x4000;

/// RFLAGS bits that SYSRET takes from R11.
const SYSRET_FLAGS: u64 = 0x003c_7fd7;

/// Goes to `rip` at level `cpl` with the flat segments that these instructions imply; `selector` is that of CS, `stack` that of SS.
fn enter(cx: &mut Vcpu, selector: u64, stack: u64, cpl: u8, size: CodeSize, rip: u64) {
    let flat = |selector: u64, attributes: u16| Segment {
        selector: selector as u16 & !3 | u16::from(cpl),
        base: 0,
        limit: u32::MAX,
        attributes: attributes | u16::from(cpl) << 5,
    };
    let wide = size == CodeSize::Bits64;
    cx.segments[SegmentName::Cs as usize] = flat(selector, CODE | if wide { LONG } else { BIG });
    cx.segments[SegmentName::Ss as usize] = flat(stack, DATA);
    cx.cpl = cpl;
    cx.rip = rip;
    cx.mode_changed();
}

fn check_syscall(cx: &Vcpu) -> Result<(), Exception> {
    // Outside of 64-bit mode Intel's processors do not know these two.
    let known = cx.code_size == CodeSize::Bits64 && cx.control.efer & Efer::SCE != 0;
    if known { Ok(()) } else { Err(Exception::INVALID_OPCODE) }
}

fn syscall(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    check_syscall(cx)?;
    cx.regs[slot::RCX] = cx.rip;
    cx.regs[slot::R11] = cx.rflags();
    cx.set_rflags(cx.rflags() & !cx.msrs.fmask);
    let selector = cx.msrs.star >> 32;
    let rip = cx.msrs.lstar;
    enter(cx, selector & !3, (selector & !3) + 8, 0, CodeSize::Bits64, rip);
    Ok(())
}

fn sysret(cx: &mut Vcpu, size: CodeSize, rip: u64) -> Result<(), Exception> {
    check_syscall(cx)?;
    if cx.cpl != 0 || !is_canonical(rip) {
        return Err(Exception::GP0);
    }
    cx.set_rflags(cx.regs[slot::R11] & SYSRET_FLAGS);
    let selector = cx.msrs.star >> 48;
    let code = if size == CodeSize::Bits64 { selector + 16 } else { selector };
    enter(cx, code, selector + 8, 3, size, rip);
    Ok(())
}

fn sysretq(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    let rip = cx.regs[slot::RCX];
    sysret(cx, CodeSize::Bits64, rip)
}

fn sysretd(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    let rip = cx.regs[slot::RCX] & 0xffff_ffff;
    sysret(cx, CodeSize::Bits32, rip)
}

fn sysenter(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    let selector = cx.msrs.sysenter_cs & 0xfffc;
    if selector == 0 {
        return Err(Exception::GP0);
    }
    cx.system_flags &= !(Rflags::IF | Rflags::VM);
    let wide = cx.long_mode();
    let mask = if wide { u64::MAX } else { 0xffff_ffff };
    cx.regs[slot::RSP] = cx.msrs.sysenter_esp & mask;
    let rip = cx.msrs.sysenter_eip & mask;
    let size = if wide { CodeSize::Bits64 } else { CodeSize::Bits32 };
    enter(cx, selector, selector + 8, 0, size, rip);
    Ok(())
}

fn sysexit(cx: &mut Vcpu, size: CodeSize) -> Result<(), Exception> {
    let selector = cx.msrs.sysenter_cs & 0xfffc;
    let (code, stack, mask) = if size == CodeSize::Bits64 { (32, 40, u64::MAX) } else { (16, 24, 0xffff_ffff) };
    let rip = cx.regs[slot::RDX] & mask;
    let pointer = cx.regs[slot::RCX] & mask;
    if cx.cpl != 0 || selector == 0 || !is_canonical(rip) || !is_canonical(pointer) {
        return Err(Exception::GP0);
    }
    cx.regs[slot::RSP] = pointer;
    enter(cx, selector + code, selector + stack, 3, size, rip);
    Ok(())
}

fn sysexitd(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    sysexit(cx, CodeSize::Bits32)
}

fn sysexitq(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    sysexit(cx, CodeSize::Bits64)
}

fn int(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    delivery::software(cx, op.immediate as u8)
}

fn int3(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    delivery::software(cx, Vector::Breakpoint as u8)
}

fn into(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    if cx.flags.overflow() { delivery::software(cx, Vector::Overflow as u8) } else { Ok(()) }
}

fn int1(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    delivery::debug_interrupt(cx)
}

rows! {
    Syscall => system syscall;
    Sysretd => system sysretd;
    Sysretq => system sysretq;
    Sysenter => system sysenter;
    Sysexitd => system sysexitd;
    Sysexitq => system sysexitq;
    Int_imm8 => system int;
    Int3 => system int3;
    Into => system into;
    Int1 => system int1;
}
