//! Instructions on the x87 itself: its control, status and tag words, its environment, its whole state, and waiting.

use super::super::float::{Class, ControlWord, F80};
use super::{begin, begin_on_registers, content, free, pending, pop, status, update_summary, write};
use crate::cpu::{Cr0, Datum, Exception, Fpu, Word, slot};
use crate::decode::{AddressMode, Op};
use crate::exec::path::{EffectiveAddress, Path};
use crate::exec::row::rows;
use crate::vcpu::Vcpu;

/// FWAIT: #NM as CR0.MP says, #MF.
fn wait(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    if cx.control.cr0 & (Cr0::MP | Cr0::TS) == Cr0::MP | Cr0::TS {
        return Err(Exception::DEVICE_NOT_AVAILABLE);
    }
    pending(cx)
}

fn fnop(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    begin_on_registers(cx, op)
}

/// FNENI, FNDISI, FNSETPM: of older coprocessors, now without effect.
fn obsolete(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    cx.check_x87()
}

fn ffree(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    free(cx, op.a);
    Ok(())
}

fn ffreep(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    free(cx, op.a);
    pop(cx);
    Ok(())
}

fn rotate(cx: &mut Vcpu, op: &Op, by: u8) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    cx.fpu.top = cx.fpu.top.wrapping_add(by) & 7;
    cx.fpu.status &= !status::C1;
    Ok(())
}

fn fincstp(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    rotate(cx, op, 1)
}

fn fdecstp(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    rotate(cx, op, 7)
}

/// What FNINIT sets; the contents of the registers stay, though empty.
fn initialize(cx: &mut Vcpu) {
    let Fpu { mantissa, exponent, xmm, mxcsr, .. } = cx.fpu;
    cx.fpu = Fpu { mantissa, exponent, xmm, mxcsr, ..Fpu::default() };
}

fn fninit(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    cx.check_x87()?;
    initialize(cx);
    Ok(())
}

fn fnclex(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    cx.check_x87()?;
    cx.fpu.status &= !(status::EXCEPTIONS | status::STACK_FAULT | status::ERROR_SUMMARY | status::BUSY);
    Ok(())
}

fn fnstsw_ax(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    cx.check_x87()?;
    cx.fpu.status_word().write(&mut cx.regs, slot::RAX);
    Ok(())
}

fn fnstsw<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    cx.check_x87().map_err(P::raise)?;
    P::store(cx, op.segment, E::linear(cx, op), cx.fpu.status_word())
}

fn fnstcw<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    cx.check_x87().map_err(P::raise)?;
    P::store(cx, op.segment, E::linear(cx, op), cx.fpu.control)
}

fn fldcw<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    begin(cx).map_err(P::raise)?;
    let bits = P::load(cx, op.segment, E::linear(cx, op))?;
    cx.fpu.control = ControlWord::from_bits(bits).bits();
    update_summary(cx);
    Ok(())
}

/// Linear address `offset` bytes into an op's memory operand.
pub fn at(op: &Op, linear: u64, offset: usize) -> u64 {
    linear.wrapping_add(offset as u64) & AddressMode::linear_mask(op.scale)
}

/// Writes an image of at most two pages, all of it or nothing.
fn store_image<L: Layout, P: Path>(cx: &mut Vcpu, op: &Op, linear: u64, image: &[u8]) -> Result<(), P::Error> {
    for offset in [0, image.len() - L::FIELD] {
        P::modify::<L::Field, ()>(cx, op.segment, at(op, linear, offset), |field| (field, ()))?;
    }
    for (index, bytes) in image.chunks_exact(L::FIELD).enumerate() {
        let field = bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        P::store(cx, op.segment, at(op, linear, index * L::FIELD), L::Field::truncate(field))?;
    }
    Ok(())
}

fn load_image<L: Layout, P: Path>(cx: &mut Vcpu, op: &Op, linear: u64, image: &mut [u8]) -> Result<(), P::Error> {
    for (index, bytes) in image.chunks_exact_mut(L::FIELD).enumerate() {
        let field = P::load::<L::Field>(cx, op.segment, at(op, linear, index * L::FIELD))?.zero_extend();
        bytes.copy_from_slice(&field.to_le_bytes()[..L::FIELD]);
    }
    Ok(())
}

/// The tag word: two bits for each physical register (SDM Vol. 1, 8.1.7).
fn tag_word(cx: &Vcpu) -> u16 {
    (0..8).fold(0, |word, register| {
        let value = F80 { significand: cx.fpu.mantissa[register], sign_exponent: cx.fpu.exponent[register] };
        let tag = match value.class() {
            _ if cx.fpu.valid >> register & 1 == 0 => 0b11,
            Class::Normal => 0b00,
            Class::Zero => 0b01,
            Class::Unsupported | Class::Nan | Class::Infinity | Class::Denormal => 0b10,
        };
        word | tag << (2 * register)
    })
}

/// The environment as one operand size lays it out: seven fields of 16 or 32 bits. The whole image is a multiple of a field, and aligned as one.
trait Layout {
    /// A field.
    type Field: Word;
    /// Bytes of a field.
    const FIELD: usize = Self::Field::BYTES as usize;
    /// What stands in the upper half of the fields that have none.
    const FILLER: u32 = 0xFFFF_0000;
}

/// With a 16-bit operand size.
struct Narrow;
impl Layout for Narrow {
    type Field = u16;
}

/// With any other operand size.
struct Wide;
impl Layout for Wide {
    type Field = u32;
}

fn put_environment<L: Layout>(cx: &Vcpu, image: &mut [u8]) {
    let word = |value: u16| L::FILLER | u32::from(value);
    let fields = [
        word(cx.fpu.control),
        word(cx.fpu.status_word()),
        word(tag_word(cx)),
        cx.fpu.instruction as u32,
        u32::from(cx.fpu.opcode) << 16,
        cx.fpu.data as u32,
        word(0),
    ];
    for (field, bytes) in fields.iter().zip(image.chunks_exact_mut(L::FIELD)) {
        bytes.copy_from_slice(&field.to_le_bytes()[..L::FIELD]);
    }
}

fn set_environment<L: Layout>(cx: &mut Vcpu, image: &[u8]) {
    let field = |index: usize| {
        let mut bytes = [0; 4];
        bytes[..L::FIELD].copy_from_slice(&image[index * L::FIELD..(index + 1) * L::FIELD]);
        u32::from_le_bytes(bytes)
    };
    cx.fpu.control = ControlWord::from_bits(field(0) as u16).bits();
    cx.fpu.set_status_word(field(1) as u16);
    let tags = field(2);
    cx.fpu.valid = (0..8).fold(0, |valid, register| valid | u8::from(tags >> (2 * register) & 0b11 != 0b11) << register);
    cx.fpu.instruction = field(3).into();
    cx.fpu.opcode = (field(4) >> 16) as u16 & 0x7FF;
    cx.fpu.data = field(5).into();
    update_summary(cx);
}

fn fnstenv<L: Layout, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    cx.check_x87().map_err(P::raise)?;
    let mut image = [0; 28];
    let image = &mut image[..7 * L::FIELD];
    put_environment::<L>(cx, image);
    store_image::<L, P>(cx, op, E::linear(cx, op), image)?;
    cx.fpu.control |= status::EXCEPTIONS;
    update_summary(cx);
    Ok(())
}

fn fldenv<L: Layout, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    begin(cx).map_err(P::raise)?;
    let mut image = [0; 28];
    let image = &mut image[..7 * L::FIELD];
    load_image::<L, P>(cx, op, E::linear(cx, op), image)?;
    set_environment::<L>(cx, image);
    Ok(())
}

fn fnsave<L: Layout, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    cx.check_x87().map_err(P::raise)?;
    let mut image = [0; 108];
    let image = &mut image[..7 * L::FIELD + 80];
    let (environment, registers) = image.split_at_mut(7 * L::FIELD);
    put_environment::<L>(cx, environment);
    for (index, bytes) in (0..).zip(registers.chunks_exact_mut(10)) {
        bytes.copy_from_slice(&content(cx, index).to_le_bytes());
    }
    store_image::<L, P>(cx, op, E::linear(cx, op), image)?;
    initialize(cx);
    Ok(())
}

fn frstor<L: Layout, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    begin(cx).map_err(P::raise)?;
    let mut image = [0; 108];
    let image = &mut image[..7 * L::FIELD + 80];
    load_image::<L, P>(cx, op, E::linear(cx, op), image)?;
    let (environment, registers) = image.split_at(7 * L::FIELD);
    set_environment::<L>(cx, environment);
    let valid = cx.fpu.valid;
    for (index, bytes) in (0..8).zip(registers.as_chunks::<10>().0) {
        write(cx, index, F80::from_le_bytes(*bytes));
    }
    cx.fpu.valid = valid;
    Ok(())
}

rows! {
    Wait => call wait;
    Fnop => call fnop;
    Fneni => call obsolete;
    Fndisi => call obsolete;
    Fnsetpm => call obsolete;
    Ffree_sti => call ffree;
    Ffreep_sti => call ffreep;
    Fincstp => call fincstp;
    Fdecstp => call fdecstp;
    Fninit => call fninit;
    Fnclex => call fnclex;
    Fnstsw_AX => call fnstsw_ax;
    Fnstsw_m2byte => call_memory fnstsw;
    Fnstcw_m2byte => call_memory fnstcw;
    Fldcw_m2byte => call_memory fldcw;
    Fnstenv_m14byte => call_memory fnstenv[Narrow];
    Fnstenv_m28byte => call_memory fnstenv[Wide];
    Fldenv_m14byte => call_memory fldenv[Narrow];
    Fldenv_m28byte => call_memory fldenv[Wide];
    Fnsave_m94byte => call_memory fnsave[Narrow];
    Fnsave_m108byte => call_memory fnsave[Wide];
    Frstor_m94byte => call_memory frstor[Narrow];
    Frstor_m108byte => call_memory frstor[Wide];
}
