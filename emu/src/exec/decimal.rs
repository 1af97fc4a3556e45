//! Decimal adjustment, which exists outside of 64-bit mode alone: AAA, AAS, AAM, AAD, DAA, DAS; and SALC.

use super::alu::result_flags;
use super::row::rows;
use crate::cpu::{Exception, LazyFlags, Rflags, Word, slot};
use crate::decode::Op;
use crate::vcpu::Vcpu;

fn ax(cx: &Vcpu) -> u16 {
    u16::read(&cx.regs, slot::RAX)
}

fn al(cx: &Vcpu) -> u8 {
    ax(cx) as u8
}

fn set_ax(cx: &mut Vcpu, value: u16) {
    value.write(&mut cx.regs, slot::RAX);
}

fn set_al(cx: &mut Vcpu, value: u8) {
    set_ax(cx, ax(cx) & 0xff00 | u16::from(value));
}

fn carries(adjust: bool, carry: bool) -> u64 {
    let adjust = if adjust { Rflags::AF } else { 0 };
    adjust | if carry { Rflags::CF } else { 0 }
}

/// AAA and AAS: `adjusted` is AX after the correction. The flags that are undefined are cleared.
fn ascii(cx: &mut Vcpu, adjusted: u16) {
    let needed = al(cx) & 0xf > 9 || cx.flags.adjust();
    let result = if needed { adjusted } else { ax(cx) };
    set_ax(cx, result & 0xff0f);
    cx.flags = LazyFlags::from_flags(carries(needed, needed));
}

fn aaa(cx: &mut Vcpu, _: &Op) {
    ascii(cx, ax(cx).wrapping_add(0x106));
}

fn aas(cx: &mut Vcpu, _: &Op) {
    ascii(cx, ax(cx).wrapping_sub(0x106));
}

fn aam(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let base = op.immediate as u8;
    let (Some(tens), Some(ones)) = (al(cx).checked_div(base), al(cx).checked_rem(base)) else {
        return Err(Exception::DIVIDE);
    };
    set_ax(cx, u16::from_le_bytes([ones, tens]));
    cx.flags = LazyFlags::from_flags(result_flags::<u8>(ones.into()));
    Ok(())
}

fn aad(cx: &mut Vcpu, op: &Op) {
    let [ones, tens] = ax(cx).to_le_bytes();
    let result = tens.wrapping_mul(op.immediate as u8).wrapping_add(ones);
    set_ax(cx, result.into());
    cx.flags = LazyFlags::from_flags(result_flags::<u8>(result.into()));
}

/// DAA and DAS: `correct` adds or subtracts, and says whether it carried.
fn decimal(cx: &mut Vcpu, correct: fn(u8, u8) -> (u8, bool)) {
    let (old, old_carry) = (al(cx), cx.flags.carry());
    let low = old & 0xf > 9 || cx.flags.adjust();
    let high = old > 0x99 || old_carry;
    let (mut result, mut carry) = (old, high);
    if low {
        let carried;
        (result, carried) = correct(result, 6);
        carry |= carried;
    }
    if high {
        (result, _) = correct(result, 0x60);
    }
    set_al(cx, result);
    cx.flags = LazyFlags::from_flags(carries(low, carry) | result_flags::<u8>(result.into()));
}

fn daa(cx: &mut Vcpu, _: &Op) {
    decimal(cx, u8::overflowing_add);
}

fn das(cx: &mut Vcpu, _: &Op) {
    decimal(cx, u8::overflowing_sub);
}

fn salc(cx: &mut Vcpu, _: &Op) {
    let value = if cx.flags.carry() { 0xff } else { 0 };
    set_al(cx, value);
}

rows! {
    Aaa => register aaa;
    Aas => register aas;
    Aam_imm8 => register aam;
    Aad_imm8 => register aad;
    Daa => register daa;
    Das => register das;
    Salc => register salc;
}
