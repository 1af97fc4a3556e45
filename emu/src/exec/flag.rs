//! Instructions on RFLAGS: CLI and STI, PUSHF and POPF, LAHF and SAHF, single flags.

use super::path::{EffectiveAddress, Path, Slow};
use super::row::rows;
use super::stack::{peek, push};
use crate::cpu::{Exception, LazyFlags, Rflags, Word, slot};
use crate::decode::Op;
use crate::vcpu::Vcpu;

/// Whether the current privilege level may change IF and use ports.
#[inline(always)]
pub fn may_do_io(cx: &Vcpu) -> bool {
    u64::from(cx.cpl) <= (cx.system_flags & Rflags::IOPL) >> 12
}

fn cli(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    if !may_do_io(cx) {
        return Err(Exception::GP0);
    }
    cx.system_flags &= !Rflags::IF;
    Ok(())
}

fn sti(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    if !may_do_io(cx) {
        return Err(Exception::GP0);
    }
    cx.interrupts_blocked = cx.system_flags & Rflags::IF == 0;
    cx.system_flags |= Rflags::IF;
    Ok(())
}

fn pushf<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, _: &Op) -> Result<(), P::Error> {
    let image = cx.rflags() & !(Rflags::RF | Rflags::VM);
    push::<W, P>(cx, W::truncate(image))
}

fn popf<W: Word>(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    let image = peek::<W, Slow>(cx)?.zero_extend();
    let mut mask = Rflags::ARITHMETIC | Rflags::TF | Rflags::DF | Rflags::NT;
    if W::BITS > 16 {
        mask |= Rflags::AC | Rflags::ID | Rflags::VIF | Rflags::VIP;
    }
    if cx.cpl == 0 {
        mask |= Rflags::IOPL;
    }
    if may_do_io(cx) {
        mask |= Rflags::IF;
    }
    cx.set_stack_pointer(cx.regs[slot::RSP].wrapping_add(W::BYTES));
    // VIF and VIP are never loaded from here, but cleared.
    let loaded = image & mask & !(Rflags::VIF | Rflags::VIP);
    cx.set_rflags(cx.rflags() & !mask | loaded);
    cx.view_changed();
    Ok(())
}

/// The flags that AH exchanges with RFLAGS.
const AH_FLAGS: u64 = Rflags::CF | Rflags::PF | Rflags::AF | Rflags::ZF | Rflags::SF;
/// AH among the 8-bit registers.
const AH: u8 = 1;

fn lahf(cx: &mut Vcpu, _: &Op) {
    let image = cx.flags.evaluate() & AH_FLAGS | Rflags::FIXED;
    cx.regs.set_byte(AH, image as u8);
}

fn sahf(cx: &mut Vcpu, _: &Op) {
    let overflow = if cx.flags.overflow() { Rflags::OF } else { 0 };
    cx.flags = LazyFlags::from_flags(u64::from(cx.regs.byte(AH)) & AH_FLAGS | overflow);
}

fn clc(cx: &mut Vcpu, _: &Op) {
    cx.flags = cx.flags.with_carries(Rflags::CF, 0);
}
fn stc(cx: &mut Vcpu, _: &Op) {
    cx.flags = cx.flags.with_carries(Rflags::CF, Rflags::CF);
}
fn cmc(cx: &mut Vcpu, _: &Op) {
    cx.flags = LazyFlags::from_flags(cx.flags.evaluate() ^ Rflags::CF);
}
fn cld(cx: &mut Vcpu, _: &Op) {
    cx.system_flags &= !Rflags::DF;
}
fn std(cx: &mut Vcpu, _: &Op) {
    cx.system_flags |= Rflags::DF;
}

fn set_access_control(cx: &mut Vcpu, value: u64) -> Result<(), Exception> {
    if cx.cpl != 0 {
        return Err(Exception::INVALID_OPCODE);
    }
    cx.system_flags = cx.system_flags & !Rflags::AC | value;
    cx.view_changed();
    Ok(())
}
fn clac(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    set_access_control(cx, 0)
}
fn stac(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    set_access_control(cx, Rflags::AC)
}

rows! {
    Cli => register cli;
    Sti => system sti;
    Pushfw => stack pushf[u16];
    Pushfd => stack pushf[u32];
    Pushfq => stack pushf[u64];
    Popfw => system popf[u16];
    Popfd => system popf[u32];
    Popfq => system popf[u64];
    Lahf => register lahf;
    Sahf => register sahf;
    Clc => register clc;
    Stc => register stc;
    Cmc => register cmc;
    Cld => register cld;
    Std => register std;
    Clac => register clac;
    Stac => register stac;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn cli_and_sti_ask_for_iopl() {
        for code in [[0xfa], [0xfb]] {
            let mut cx = user_mode();
            expect_vector(&mut cx, &code, 13);
            let mut cx = user_mode();
            cx.set_rflags(Rflags::IOPL);
            // UD2 behind it.
            expect_vector(&mut cx, &[code[0], 0x0f, 0x0b], 6);
        }
    }

    /// POPFQ of `image` and UD2; the flags as they were then.
    fn popped(mut cx: Vcpu, image: u64) -> u64 {
        cx.regs[slot::RSP] -= 8;
        let top = cx.regs[slot::RSP];
        store64(&mut cx, top, image);
        expect_vector(&mut cx, &[0x9d, 0x0f, 0x0b], 6);
        frame::<3>(&cx)[2] & !Rflags::RF
    }

    const ALL: u64 = !Rflags::TF & 0x3f_ffff;

    #[test]
    fn popf_changes_what_the_level_may() {
        let always = Rflags::FIXED | Rflags::ARITHMETIC | Rflags::DF | Rflags::NT | Rflags::AC | Rflags::ID;
        assert_eq!(popped(long_mode(), ALL), always | Rflags::IF | Rflags::IOPL);
        assert_eq!(popped(user_mode(), ALL), always);
        let mut cx = user_mode();
        cx.set_rflags(Rflags::IOPL);
        assert_eq!(popped(cx, ALL & !Rflags::IOPL), always | Rflags::IOPL | Rflags::IF);
        let mut cx = user_mode();
        cx.set_rflags(Rflags::IF);
        assert_eq!(popped(cx, 0), Rflags::FIXED | Rflags::IF);
    }

    #[test]
    fn popf_that_sets_tf_traps_behind_the_next_instruction() {
        let mut cx = long_mode();
        cx.regs[slot::RSP] -= 8;
        let top = cx.regs[slot::RSP];
        store64(&mut cx, top, Rflags::TF);
        expect_vector(&mut cx, &[0x9d, 0x90, 0x90], 1);
        assert_eq!(frame::<1>(&cx), [CODE + 2]);
    }

    #[test]
    fn pushf_pushes_all_but_rf_and_vm() {
        let mut cx = long_mode();
        cx.set_rflags(ALL);
        expect_halt(&mut cx, &[0x9c, 0xf4]);
        let visible = ALL & !(Rflags::RF | Rflags::VM) & !(1 << 3 | 1 << 5 | 1 << 15);
        assert_eq!(load64(&cx, STACK - 8), visible);
    }

    #[test]
    fn sixteen_bit_popf_leaves_the_upper_flags() {
        let mut cx = long_mode();
        cx.set_rflags(Rflags::AC | Rflags::ID);
        cx.regs[slot::RSP] -= 2;
        let top = cx.regs[slot::RSP];
        store(&mut cx, top, &[1, 0]);
        expect_halt(&mut cx, &[0x66, 0x9d, 0xf4]);
        assert_eq!(cx.rflags(), Rflags::FIXED | Rflags::CF | Rflags::AC | Rflags::ID);
    }

    #[test]
    fn lahf_and_sahf_exchange_five_flags() {
        let mut cx = long_mode();
        cx.set_rflags(Rflags::OF | Rflags::CF | Rflags::SF);
        // LAHF; MOV BL, AH; MOV AH, 0x44; SAHF
        expect_halt(&mut cx, &[0x9f, 0x88, 0xe3, 0xb4, 0x44, 0x9e, 0xf4]);
        assert_eq!(cx.regs[slot::RBX], 0x83);
        assert_eq!(cx.rflags(), Rflags::FIXED | Rflags::OF | Rflags::ZF | Rflags::PF);
    }

    #[test]
    fn stac_is_undefined_in_user_mode() {
        let mut cx = user_mode();
        expect_vector(&mut cx, &[0x0f, 0x01, 0xcb], 6);
    }
}
