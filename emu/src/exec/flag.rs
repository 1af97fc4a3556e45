//! Instructions on RFLAGS: CLI and STI, PUSHF and POPF, LAHF and SAHF, single flags.

use super::stack::{peek, push};
use super::table::rows;
use super::{EffectiveAddress, Path, Slow};
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
    cx.shadow = cx.system_flags & Rflags::IF == 0;
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
    cx.flags = LazyFlags::from_flags(cx.flags.evaluate() & !Rflags::CF);
}
fn stc(cx: &mut Vcpu, _: &Op) {
    cx.flags = LazyFlags::from_flags(cx.flags.evaluate() | Rflags::CF);
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
