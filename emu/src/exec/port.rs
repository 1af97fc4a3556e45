//! Ports: IN, OUT, INS, OUTS, and who may use them (SDM Vol. 1, 19.5).

use super::flag::may_do_io;
use super::row::rows;
use super::string::{self, advance, destination_segment, pointed};
use crate::bus::AddressSpace;
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
    cx.watch_port(port, W::BYTES);
    Ok(W::truncate(cx.read_board(AddressSpace::Port, port.into(), W::BYTES as u8)))
}

fn write<W: Word>(cx: &mut Vcpu, port: u16, value: W) -> Result<(), Exception> {
    check_permission(cx, port, W::BYTES)?;
    cx.attention = true;
    cx.watch_port(port, W::BYTES);
    cx.write_board(AddressSpace::Port, port.into(), W::BYTES as u8, value.zero_extend());
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

/// The permission is checked first, also if nothing is to be repeated.
fn ins<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    check_permission(cx, dx(cx), W::BYTES)?;
    string::repeat(cx, op, string::DESTINATION, string::no_bulk, ins_once::<W>, string::always)
}

fn ins_once<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let port = dx(cx);
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
    check_permission(cx, dx(cx), W::BYTES)?;
    string::repeat(cx, op, string::SOURCE, string::no_bulk, outs_once::<W>, string::always)
}

fn outs_once<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let port = dx(cx);
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
    Insb_m8_DX => system ins[u8];
    Insw_m16_DX => system ins[u16];
    Insd_m32_DX => system ins[u32];
    Outsb_DX_m8 => system outs[u8];
    Outsw_DX_m16 => system outs[u16];
    Outsd_DX_m32 => system outs[u32];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Rflags;
    use crate::testing::*;

    #[test]
    fn ports_are_read_and_written_in_three_sizes() {
        let mut cx = long_mode();
        cx.regs[slot::RAX] = 0x1122_3344;
        cx.regs[slot::RDX] = 0x3f8;
        // OUT DX, AL; OUT DX, AX; OUT 0x80, EAX; IN AX, DX
        expect_halt(&mut cx, &[0xee, 0x66, 0xef, 0xe7, 0x80, 0x66, 0xed, 0xf4]);
        assert_eq!(board(&mut cx).writes, [(0x3f8, 1, 0x44), (0x3f8, 2, 0x3344), (0x80, 4, 0x1122_3344)]);
        assert_eq!(cx.regs[slot::RAX], 0x1122_03f8);
    }

    /// User mode, with the I/O permission bitmap behind the TSS: all ports refused but those given.
    fn with_bitmap(allowed: &[u16]) -> Vcpu {
        let mut cx = user_mode();
        let map = TSS + 104;
        store(&mut cx, TSS + BITMAP_POINTER, &104u16.to_le_bytes());
        store(&mut cx, map, &[0xff; 129]);
        for port in allowed {
            let byte = map + u64::from(port / 8);
            let bits = cx.mmu.ram().load::<1>(byte).unwrap()[0] & !(1 << (port % 8));
            store(&mut cx, byte, &[bits]);
        }
        cx.tr.limit = 104 + 128;
        cx
    }

    #[test]
    fn bitmap_lets_user_mode_use_single_ports() {
        let mut cx = with_bitmap(&[0x67, 0x68]);
        cx.regs[slot::RDX] = 0x67;
        // OUT DX, AX over both, then UD2; OUT DX, EAX needs two more.
        expect_vector(&mut cx, &[0x66, 0xef, 0x0f, 0x0b], 6);
        assert_eq!(board(&mut cx).writes.len(), 1);
        let mut cx = with_bitmap(&[0x67, 0x68]);
        cx.regs[slot::RDX] = 0x67;
        expect_vector(&mut cx, &[0xef], 13);
        assert!(board(&mut cx).writes.is_empty());
    }

    #[test]
    fn ports_beyond_the_bitmap_are_refused() {
        let mut cx = with_bitmap(&[]);
        cx.regs[slot::RDX] = 0x3f9 + 8;
        expect_vector(&mut cx, &[0xec], 13);
        let mut cx = user_mode();
        cx.set_rflags(Rflags::IOPL);
        cx.regs[slot::RDX] = 0xffff;
        expect_vector(&mut cx, &[0xec, 0x0f, 0x0b], 6);
    }

    #[test]
    fn repeated_output_writes_every_element() {
        let mut cx = long_mode();
        cx.regs[slot::RSI] = DATA;
        cx.regs[slot::RCX] = 3;
        cx.regs[slot::RDX] = 0x10;
        store(&mut cx, DATA, b"abc");
        let before = cx.count();
        // REP OUTSB
        expect_halt(&mut cx, &[0xf3, 0x6e, 0xf4]);
        assert_eq!(board(&mut cx).writes, [(0x10, 1, 0x61), (0x10, 1, 0x62), (0x10, 1, 0x63)]);
        assert_eq!([cx.regs[slot::RCX], cx.regs[slot::RSI]], [0, DATA + 3]);
        assert_eq!([cx.count() - before, cx.retired()], [5, 2], "iterations count, but do not retire");
    }

    #[test]
    fn interrupt_between_iterations_pushes_rf() {
        let mut cx = long_mode();
        cx.set_rflags(Rflags::IF);
        cx.regs[slot::RDI] = DATA;
        cx.regs[slot::RCX] = 4;
        cx.regs[slot::RDX] = 0x55;
        store(&mut cx, CODE, &[0xf3, 0x6c, 0xf4]);
        let until = cx.count() + 2;
        cx.run(until);
        board(&mut cx).pending.push(0x40);
        let until = cx.count() + 10;
        cx.run(until);
        assert_eq!(cx.rip, handler(0x40) + 1);
        let [rip, _, rflags] = frame(&cx);
        assert_eq!([rip, rflags & Rflags::RF, cx.regs[slot::RCX]], [CODE, Rflags::RF, 2]);
    }

    #[test]
    fn input_to_a_page_that_faults_takes_nothing_from_the_device() {
        let mut cx = long_mode();
        map(&mut cx, DATA, 0);
        cx.regs[slot::RDI] = DATA;
        expect_vector(&mut cx, &[0x6c], 14);
        assert_eq!(cx.regs[slot::RDI], DATA);
    }
}
