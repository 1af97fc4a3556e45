//! String instructions: MOVS, STOS, LODS, SCAS, CMPS, alone and repeated.
//!
//! A REP retires once, but each iteration takes one count off the budget, and the instruction can be cut off between any two: at a due
//! event, or when an iteration reached a device. Runs within a page go in bulk.

use super::alu;
use super::path::{Either, Path};
use super::row::rows;
use crate::bus::PAGE_SIZE;
use crate::cpu::{Exception, Rflags, Word, slot};
use crate::decode::{AddressMode, Op, Repeat};
use crate::vcpu::Vcpu;

/// An index register of the op's address size.
#[inline(always)]
fn offset(cx: &Vcpu, op: &Op, register: u8) -> u64 {
    cx.regs[register] & AddressMode::offset_mask(op.scale)
}

/// Linear address that an index register points at in a segment.
#[inline(always)]
pub fn pointed(cx: &Vcpu, op: &Op, segment: u8, register: u8) -> u64 {
    cx.regs[segment].wrapping_add(offset(cx, op, register)) & AddressMode::linear_mask(op.scale)
}

/// Segment of the destination: always ES.
pub fn destination_segment(op: &Op) -> u8 {
    if op.scale & AddressMode::LEGACY != 0 { slot::SEGMENT } else { slot::ZERO }
}

/// Sets as much of a register as the address size covers.
#[inline(always)]
fn set_offset(cx: &mut Vcpu, op: &Op, register: u8, value: u64) {
    let mask = AddressMode::offset_mask(op.scale);
    let kept = if mask == 0xffff { cx.regs[register] & !mask } else { 0 };
    cx.regs[register] = kept | value & mask;
}

#[inline(always)]
pub fn advance(cx: &mut Vcpu, op: &Op, register: u8, bytes: u64) {
    let down = cx.system_flags & Rflags::DF != 0;
    let value = cx.regs[register];
    set_offset(cx, op, register, if down { value.wrapping_sub(bytes) } else { value.wrapping_add(bytes) });
}

/// Takes `iterations` off the count register and the budget.
#[inline(always)]
fn spend(cx: &mut Vcpu, op: &Op, iterations: u64) {
    let left = offset(cx, op, slot::RCX) - iterations;
    set_offset(cx, op, slot::RCX, left);
    cx.time.pass(iterations);
}

/// The index registers that an instruction moves.
#[derive(Clone, Copy)]
pub struct Indices {
    registers: &'static [u8],
    /// A fault in the first iteration finds them cut to the address size: the instructions that processors have fast forms of.
    cut_first: bool,
}
/// Of LODS and OUTS.
pub const SOURCE: Indices = Indices { registers: &[slot::RSI], cut_first: false };
/// Of SCAS and INS.
pub const DESTINATION: Indices = Indices { registers: &[slot::RDI], cut_first: false };
/// Of CMPS.
pub const BOTH: Indices = Indices { registers: &[slot::RSI, slot::RDI], cut_first: false };
/// Of STOS.
pub const FILL: Indices = Indices { cut_first: true, ..DESTINATION };
/// Of MOVS.
pub const COPY: Indices = Indices { cut_first: true, ..BOTH };

/// Runs `once` as the prefix says. `bulk` may do several iterations at a stroke, at most as many as it is given, and says how many it did;
/// `goes_on` is asked after each single iteration.
///
/// The status flags change with the last iteration alone: where a fault, a trap or an interrupt comes before that, they are as before the
/// first (SDM Vol. 2, REP). With 32-bit addresses in 64-bit code, the count and `indices` are zero-extended even if the count is 0.
pub fn repeat(
    cx: &mut Vcpu,
    op: &Op,
    indices: Indices,
    bulk: impl Fn(&mut Vcpu, &Op, u64) -> u64,
    once: impl Fn(&mut Vcpu, &Op) -> Result<(), Exception>,
    goes_on: impl Fn(&Vcpu, Repeat) -> bool,
) -> Result<(), Exception> {
    let prefix = op.string().repeat();
    if prefix == Repeat::Once {
        return once(cx, op);
    }
    const MOVED: [u8; 3] = [slot::RCX, slot::RSI, slot::RDI];
    let (before, flags, not_retired) = (MOVED.map(|register| cx.regs[register]), cx.flags, cx.time.not_retired());
    for &register in [slot::RCX].iter().chain(indices.registers) {
        let value = cx.regs[register];
        set_offset(cx, op, register, value);
    }
    loop {
        let remaining = offset(cx, op, slot::RCX);
        if remaining == 0 {
            return Ok(());
        }
        if cx.time.budget() <= 0 || cx.attention {
            cx.flags = flags;
            cx.rep_interrupted = true;
            return Ok(());
        }
        let done = bulk(cx, op, remaining.min(cx.time.budget() as u64));
        if done > 0 {
            spend(cx, op, done);
            continue;
        }
        if let Err(exception) = once(cx, op) {
            cx.flags = flags;
            if (exception == Exception::UNAVAILABLE || !indices.cut_first) && cx.time.not_retired() == not_retired {
                MOVED.iter().zip(before).for_each(|(&register, value)| cx.regs[register] = value);
            }
            return Err(exception);
        }
        spend(cx, op, 1);
        if !goes_on(cx, prefix) {
            return Ok(());
        }
    }
}

/// Iterations of `size` bytes that fit between `linear` and the end of its page.
fn until_page_end(linear: u64, size: u64) -> u64 {
    (PAGE_SIZE - linear % PAGE_SIZE) / size
}

pub fn always(_: &Vcpu, _: Repeat) -> bool {
    true
}

/// REPE goes on while ZF is set, REPNE while it is clear.
fn while_flag(cx: &Vcpu, prefix: Repeat) -> bool {
    cx.flags.zero() != (prefix == Repeat::Repne)
}

pub fn no_bulk(_: &mut Vcpu, _: &Op, _: u64) -> u64 {
    0
}

fn movs<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let bulk = |cx: &mut Vcpu, op: &Op, most: u64| {
        let (from, to) = (pointed(cx, op, op.segment, slot::RSI), pointed(cx, op, destination_segment(op), slot::RDI));
        let count = most.min(until_page_end(from, W::BYTES)).min(until_page_end(to, W::BYTES));
        let bytes = count * W::BYTES;
        if count == 0 || cx.system_flags & Rflags::DF != 0 || wraps(op) {
            return 0;
        }
        let (Some(source), Some(target)) = (cx.mmu.readable(from, bytes), cx.mmu.writable(to, bytes)) else { return 0 };
        // A copy forwards into its own source repeats a pattern: one by one.
        let distance = (target as usize).wrapping_sub(source as usize);
        if distance != 0 && distance < bytes as usize {
            return 0;
        }
        // SAFETY: both TLB hits cover `bytes` bytes of guest RAM, and `copy` allows them to overlap.
        unsafe { std::ptr::copy(source, target, bytes as usize) };
        advance(cx, op, slot::RSI, bytes);
        advance(cx, op, slot::RDI, bytes);
        count
    };
    let once = |cx: &mut Vcpu, op: &Op| {
        let value: W = Either::load(cx, op.segment, pointed(cx, op, op.segment, slot::RSI))?;
        let segment = destination_segment(op);
        Either::store(cx, segment, pointed(cx, op, segment, slot::RDI), value)?;
        advance(cx, op, slot::RSI, W::BYTES);
        advance(cx, op, slot::RDI, W::BYTES);
        Ok(())
    };
    repeat(cx, op, COPY, bulk, once, always)
}

fn stos<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let bulk = |cx: &mut Vcpu, op: &Op, most: u64| {
        let to = pointed(cx, op, destination_segment(op), slot::RDI);
        let count = most.min(until_page_end(to, W::BYTES));
        if count == 0 || cx.system_flags & Rflags::DF != 0 || wraps(op) {
            return 0;
        }
        let Some(target) = cx.mmu.writable(to, count * W::BYTES) else { return 0 };
        let value = W::read(&cx.regs, slot::RAX);
        for i in 0..count {
            // SAFETY: the TLB hit covers `count` elements of guest RAM.
            unsafe { value.store(target.add((i * W::BYTES) as usize)) };
        }
        advance(cx, op, slot::RDI, count * W::BYTES);
        count
    };
    let once = |cx: &mut Vcpu, op: &Op| {
        let segment = destination_segment(op);
        Either::store(cx, segment, pointed(cx, op, segment, slot::RDI), W::read(&cx.regs, slot::RAX))?;
        advance(cx, op, slot::RDI, W::BYTES);
        Ok(())
    };
    repeat(cx, op, FILL, bulk, once, always)
}

/// Whether offsets can wrap within a page's run: only 16-bit ones, whose wrap-around need not fall on a page's end.
fn wraps(op: &Op) -> bool {
    op.scale & AddressMode::BITS16 != 0
}

fn lods<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let once = |cx: &mut Vcpu, op: &Op| {
        Either::load::<W>(cx, op.segment, pointed(cx, op, op.segment, slot::RSI))?.write(&mut cx.regs, slot::RAX);
        advance(cx, op, slot::RSI, W::BYTES);
        Ok(())
    };
    repeat(cx, op, SOURCE, no_bulk, once, always)
}

fn scas<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let once = |cx: &mut Vcpu, op: &Op| {
        let segment = destination_segment(op);
        let value: W = Either::load(cx, segment, pointed(cx, op, segment, slot::RDI))?;
        cx.flags = alu::sub(W::read(&cx.regs, slot::RAX), value).1;
        advance(cx, op, slot::RDI, W::BYTES);
        Ok(())
    };
    repeat(cx, op, DESTINATION, no_bulk, once, while_flag)
}

fn cmps<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let once = |cx: &mut Vcpu, op: &Op| {
        let first: W = Either::load(cx, op.segment, pointed(cx, op, op.segment, slot::RSI))?;
        let segment = destination_segment(op);
        let second: W = Either::load(cx, segment, pointed(cx, op, segment, slot::RDI))?;
        cx.flags = alu::sub(first, second).1;
        advance(cx, op, slot::RSI, W::BYTES);
        advance(cx, op, slot::RDI, W::BYTES);
        Ok(())
    };
    repeat(cx, op, BOTH, no_bulk, once, while_flag)
}

rows! {
    Movsb_m8_m8 => system movs[u8];
    Stosb_m8_AL => system stos[u8];
    Lodsb_AL_m8 => system lods[u8];
    Scasb_AL_m8 => system scas[u8];
    Cmpsb_m8_m8 => system cmps[u8];
    Movsw_m16_m16 => system movs[u16];
    Stosw_m16_AX => system stos[u16];
    Lodsw_AX_m16 => system lods[u16];
    Scasw_AX_m16 => system scas[u16];
    Cmpsw_m16_m16 => system cmps[u16];
    Movsd_m32_m32 => system movs[u32];
    Stosd_m32_EAX => system stos[u32];
    Lodsd_EAX_m32 => system lods[u32];
    Scasd_EAX_m32 => system scas[u32];
    Cmpsd_m32_m32 => system cmps[u32];
    Movsq_m64_m64 => system movs[u64];
    Stosq_m64_RAX => system stos[u64];
    Lodsq_RAX_m64 => system lods[u64];
    Scasq_RAX_m64 => system scas[u64];
    Cmpsq_m64_m64 => system cmps[u64];
}
