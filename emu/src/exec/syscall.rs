//! Calls into the system and back: SYSCALL, SYSRET, SYSENTER, SYSEXIT, software interrupts.

use super::row::rows;
use crate::cpu::{CodeSize, Efer, Exception, Rflags, Segment, SegmentName, Vector, is_canonical, slot};
use crate::decode::Op;
use crate::delivery;
use crate::vcpu::Vcpu;

/// Attributes of present, accessed segments with a limit in pages, DPL 0.
const CODE_ATTRIBUTES: u16 = 0x809b;
const DATA_ATTRIBUTES: u16 = 0xc093;
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
    cx.segments[SegmentName::Cs as usize] = flat(selector, CODE_ATTRIBUTES | if wide { LONG } else { BIG });
    cx.segments[SegmentName::Ss as usize] = flat(stack, DATA_ATTRIBUTES);
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
    // With TF masked the system's first instruction is not to be trapped.
    cx.debug.single_step &= cx.system_flags & Rflags::TF != 0;
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
    let flags = cx.regs[slot::R11] & SYSRET_FLAGS & !Rflags::RF;
    // Unlike IRET's, a TF that SYSRET loads traps before the program's next instruction, and must not need memory that cannot be had.
    if flags & Rflags::TF != 0 && !cx.mmu.bring_in_all() {
        return Err(Exception::UNAVAILABLE);
    }
    cx.set_rflags(flags);
    cx.debug.single_step = flags & Rflags::TF != 0;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn syscall_and_sysret_go_there_and_back() {
        let mut cx = user_mode();
        cx.msrs.lstar = CODE;
        cx.msrs.fmask = Rflags::IF | Rflags::DF;
        cx.set_rflags(Rflags::IF | Rflags::DF | Rflags::ZF);
        // MOV EAX, CS; MOV EDX, SS; PUSHFQ would use the user's stack: leave RFLAGS to R11; SYSRETQ.
        store(&mut cx, CODE, &[0x8c, 0xc8, 0x8c, 0xd2, 0x48, 0x0f, 0x07]);
        expect_vector(&mut cx, &[0x0f, 0x05, 0x0f, 0x0b], 6);
        assert_eq!(cx.regs[slot::RAX], u64::from(selector::CODE64));
        assert_eq!(cx.regs[slot::RDX], u64::from(selector::DATA));
        assert_eq!(cx.regs[slot::RCX], USER_CODE + 2);
        assert_eq!(cx.regs[slot::R11], Rflags::FIXED | Rflags::IF | Rflags::DF | Rflags::ZF);
        let [rip, cs, rflags, rsp, ss] = frame(&cx);
        assert_eq!([rip, cs], [USER_CODE + 2, u64::from(selector::USER_CODE64)]);
        assert_eq!([rsp, ss], [USER_STACK, u64::from(selector::USER_DATA)]);
        assert_eq!(rflags, Rflags::FIXED | Rflags::IF | Rflags::DF | Rflags::ZF | Rflags::RF);
    }

    #[test]
    fn syscall_masks_flags() {
        let mut cx = user_mode();
        cx.msrs.lstar = CODE;
        cx.msrs.fmask = Rflags::IF | Rflags::ZF;
        cx.set_rflags(Rflags::IF | Rflags::ZF | Rflags::CF);
        store(&mut cx, CODE, &[0xf4]);
        assert_eq!(run(&mut cx, &[0x0f, 0x05]), crate::engine::VcpuExit::Halted);
        assert_eq!([cx.rip, cx.rflags()], [CODE + 1, Rflags::FIXED | Rflags::CF]);
        assert_eq!(cx.cpl, 0);
    }

    #[test]
    fn single_step_does_not_follow_into_a_system_call() {
        let mut cx = user_mode();
        cx.msrs.lstar = CODE;
        cx.msrs.fmask = Rflags::TF;
        cx.set_rflags(Rflags::TF);
        // SYSRETQ: TF comes back with R11, and the trap with it.
        store(&mut cx, CODE, &[0x48, 0x0f, 0x07]);
        expect_vector(&mut cx, &[0x0f, 0x05, 0x90, 0x90], 1);
        assert_eq!(frame::<1>(&cx), [USER_CODE + 2]);
    }

    #[test]
    fn syscall_is_undefined_without_sce_and_outside_of_64_bit_mode() {
        let mut cx = user_mode();
        cx.control.efer &= !Efer::SCE;
        expect_vector(&mut cx, &[0x0f, 0x05], 6);
        let mut cx = compatibility_mode();
        expect_vector(&mut cx, &[0x0f, 0x05], 6);
    }

    #[test]
    fn sysret_refuses_user_mode_and_non_canonical_targets() {
        let mut cx = user_mode();
        expect_vector(&mut cx, &[0x48, 0x0f, 0x07], 13);
        let mut cx = long_mode();
        cx.regs[slot::RCX] = 1 << 47;
        expect_vector(&mut cx, &[0x48, 0x0f, 0x07], 13);
        assert_eq!(frame::<2>(&cx), [0, CODE]);
    }

    #[test]
    fn sysret_with_32_bit_operands_goes_to_compatibility_mode() {
        let mut cx = long_mode();
        cx.regs[slot::RCX] = 0xffff_ffff_0000_0000 | USER_CODE;
        // INC EAX in 32-bit code; UD2.
        store(&mut cx, USER_CODE, &[0x40, 0x0f, 0x0b]);
        expect_vector(&mut cx, &[0x0f, 0x07], 6);
        assert_eq!(frame::<2>(&cx), [USER_CODE + 1, u64::from(selector::USER_CODE32)]);
    }

    #[test]
    fn sysenter_and_sysexit_go_there_and_back() {
        let mut cx = user_mode();
        // SYSEXIT finds the user's 64-bit code 32 bytes above the selector, so the table is made to fit.
        cx.msrs.sysenter_cs = u64::from(selector::CODE64);
        set_descriptor(&mut cx, selector::CODE64 + 32, flat(0xa0fb));
        set_descriptor(&mut cx, selector::CODE64 + 40, flat(0xc0f3));
        cx.msrs.sysenter_esp = STACK;
        cx.msrs.sysenter_eip = CODE;
        cx.set_rflags(Rflags::IF);
        cx.regs[slot::RCX] = USER_STACK - 64;
        cx.regs[slot::RDX] = USER_CODE + 0x100;
        store(&mut cx, USER_CODE + 0x100, &[0x0f, 0x0b]);
        // PUSHFQ; POP RAX; SYSEXITQ
        store(&mut cx, CODE, &[0x9c, 0x58, 0x48, 0x0f, 0x35]);
        expect_vector(&mut cx, &[0x0f, 0x34], 6);
        assert_eq!(cx.regs[slot::RAX] & Rflags::IF, 0);
        let [rip, cs, _, rsp, ss] = frame(&cx);
        assert_eq!([rip, rsp], [USER_CODE + 0x100, USER_STACK - 64]);
        assert_eq!([cs, ss], [u64::from(selector::CODE64 + 32) | 3, u64::from(selector::CODE64 + 40) | 3]);
    }

    #[test]
    fn sysenter_without_a_selector_raises_gp() {
        let mut cx = user_mode();
        cx.msrs.sysenter_cs = 3;
        expect_vector(&mut cx, &[0x0f, 0x34], 13);
    }

    #[test]
    fn into_traps_only_with_overflow() {
        let mut cx = compatibility_mode();
        set_gate(&mut cx, 4, handler(4), selector::CODE64, 14, 3, 0);
        expect_vector(&mut cx, &[0xce, 0x0f, 0x0b], 6);
        let mut cx = compatibility_mode();
        set_gate(&mut cx, 4, handler(4), selector::CODE64, 14, 3, 0);
        cx.set_rflags(Rflags::OF);
        expect_vector(&mut cx, &[0xce], 4);
        assert_eq!(frame::<1>(&cx), [USER_CODE + 1]);
    }

    #[test]
    fn int1_needs_no_dpl() {
        let mut cx = user_mode();
        expect_vector(&mut cx, &[0xf1], 1);
        assert_eq!(frame::<1>(&cx), [USER_CODE + 1]);
    }
}
