//! Ports: IN, OUT, INS, OUTS, and who may use them (SDM Vol. 1, 19.5).

use super::flag::may_do_io;
use super::string::{self, advance, destination_segment, pointed};
use super::table::rows;
use crate::bus::Space;
use crate::cpu::{Exception, Word, slot};
use crate::decode::Op;
use crate::delivery::descriptor::{system_linear, system_type};
use crate::vcpu::Vcpu;

/// Offset in a 32-bit or 64-bit TSS of the I/O permission bitmap's own offset.
const BITMAP_POINTER: u64 = 102;

/// Raises #GP(0) unless `size` ports from `port` may be used: at a level up to IOPL, or if the TSS's bitmap has 0 for all of them.
fn check_permission(cx: &mut Vcpu, port: u16, size: u64) -> Result<(), Exception> {
    if may_do_io(cx) {
        return Ok(());
    }
    let limit = u64::from(cx.tr.limit);
    if cx.tr.kind() != system_type::TSS_BUSY || limit < BITMAP_POINTER + 1 {
        return Err(Exception::GP0);
    }
    let start: u16 = cx.load_system(system_linear(cx, cx.tr.base.wrapping_add(BITMAP_POINTER)))?;
    let byte = u64::from(start) + u64::from(port) / 8;
    if byte + 1 > limit {
        return Err(Exception::GP0);
    }
    let bits: u16 = cx.load_system(system_linear(cx, cx.tr.base.wrapping_add(byte)))?;
    let wanted = ((1 << size) - 1) << (port % 8);
    if bits & wanted == 0 { Ok(()) } else { Err(Exception::GP0) }
}

fn read<W: Word>(cx: &mut Vcpu, port: u16) -> Result<W, Exception> {
    check_permission(cx, port, W::BYTES)?;
    cx.attention = true;
    let now = cx.now();
    Ok(W::truncate(cx.board.read(Space::Port, u64::from(port), W::BYTES as u8, &mut cx.ram, now)))
}

fn write<W: Word>(cx: &mut Vcpu, port: u16, value: W) -> Result<(), Exception> {
    check_permission(cx, port, W::BYTES)?;
    cx.attention = true;
    let now = cx.now();
    cx.board.write(Space::Port, u64::from(port), W::BYTES as u8, value.zero_extend(), &mut cx.ram, now);
    Ok(())
}

fn dx(cx: &Vcpu) -> u16 {
    u16::read(&cx.regs, slot::RDX)
}

fn in_immediate<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let value: W = read(cx, op.immediate as u16 & 0xff)?;
    value.write(&mut cx.regs, slot::RAX);
    Ok(())
}
fn in_dx<W: Word>(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    let value: W = read(cx, dx(cx))?;
    value.write(&mut cx.regs, slot::RAX);
    Ok(())
}
fn out_immediate<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    write(cx, op.immediate as u16 & 0xff, W::read(&cx.regs, slot::RAX))
}
fn out_dx<W: Word>(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    write(cx, dx(cx), W::read(&cx.regs, slot::RAX))
}

fn ins<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    string::repeat(cx, op, string::no_bulk, ins_once::<W>, string::always)
}

fn ins_once<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let port = dx(cx);
    check_permission(cx, port, W::BYTES)?;
    let segment = destination_segment(op);
    let linear = pointed(cx, op, segment, slot::RDI);
    // What a device gives away must have a place to go to.
    cx.modify_slow::<W, _>(segment, linear, |value| (value, ()))?;
    let value: W = read(cx, port)?;
    cx.store_slow(segment, linear, value)?;
    advance(cx, op, slot::RDI, W::BYTES);
    Ok(())
}

fn outs<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    string::repeat(cx, op, string::no_bulk, outs_once::<W>, string::always)
}

fn outs_once<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let port = dx(cx);
    check_permission(cx, port, W::BYTES)?;
    let value: W = cx.load_slow(op.segment, pointed(cx, op, op.segment, slot::RSI))?;
    write(cx, port, value)?;
    advance(cx, op, slot::RSI, W::BYTES);
    Ok(())
}

rows! {
    In_AL_imm8 => system in_immediate[u8];
    In_AX_imm8 => system in_immediate[u16];
    In_EAX_imm8 => system in_immediate[u32];
    In_AL_DX => system in_dx[u8];
    In_AX_DX => system in_dx[u16];
    In_EAX_DX => system in_dx[u32];
    Out_imm8_AL => system out_immediate[u8];
    Out_imm8_AX => system out_immediate[u16];
    Out_imm8_EAX => system out_immediate[u32];
    Out_DX_AL => system out_dx[u8];
    Out_DX_AX => system out_dx[u16];
    Out_DX_EAX => system out_dx[u32];
    Insb_m8_DX => system_memory ins[u8];
    Insw_m16_DX => system_memory ins[u16];
    Insd_m32_DX => system_memory ins[u32];
    Outsb_DX_m8 => system_memory outs[u8];
    Outsw_DX_m16 => system_memory outs[u16];
    Outsd_DX_m32 => system_memory outs[u32];
}
