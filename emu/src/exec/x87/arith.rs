//! FADD, FSUB, FMUL, FDIV in all their forms, FSQRT, FRNDINT, FSCALE, FXTRACT, FPREM, FPREM1, FABS, FCHS.

use super::super::float::x87::{self as semantics, Quotient};
use super::super::float::{ControlWord, F80, Flags, Operand};
use super::{
    Fault, begin, begin_on_registers, control, is_empty, operand, pop, push, read, record_data, settle, stack_fault, status, write,
};
use crate::cpu::{Datum, Exception};
use crate::decode::Op;
use crate::exec::path::{EffectiveAddress, Path};
use crate::exec::row::rows;
use crate::vcpu::Vcpu;

/// An operation of destination and source as a type, for rows.
trait Binary {
    fn compute(destination: &Operand, source: &Operand, control: ControlWord) -> (F80, Flags);
}

macro_rules! binary {
    ($($name:ident: |$destination:ident, $source:ident, $control:ident| $body:expr),* $(,)?) => {$(
        struct $name;
        impl Binary for $name {
            fn compute($destination: &Operand, $source: &Operand, $control: ControlWord) -> (F80, Flags) {
                $body
            }
        }
    )*};
}

binary! {
    Add: |destination, source, control| semantics::add(destination, source, control),
    Sub: |destination, source, control| semantics::sub(destination, source, control),
    Subr: |destination, source, control| semantics::sub(source, destination, control),
    Mul: |destination, source, control| semantics::mul(destination, source, control),
    Div: |destination, source, control| semantics::div(destination, source, control),
    Divr: |destination, source, control| semantics::div(source, destination, control),
    Scale: |destination, source, control| semantics::scale(destination, source, control),
}

/// Into ST(`destination`); says whether the instruction went through.
fn apply<B: Binary>(cx: &mut Vcpu, op: &Op, destination: u8, source: Option<Operand>) -> bool {
    let (Some(first), Some(second)) = (operand(cx, destination), source) else {
        let masked = stack_fault(cx, op, Fault::Underflow);
        if masked {
            write(cx, destination, F80::INDEFINITE);
        }
        return masked;
    };
    let control = control(cx);
    let (result, flags) = B::compute(&first, &second, control);
    let commit = settle(cx, op, control.respond(flags));
    if commit {
        write(cx, destination, result);
    }
    commit
}

/// ST(i), ST(j).
fn registers<B: Binary>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    let source = operand(cx, op.b);
    apply::<B>(cx, op, op.a, source);
    Ok(())
}

/// ST(i), ST(0), and pop.
fn registers_pop<B: Binary>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    let source = operand(cx, op.b);
    if apply::<B>(cx, op, op.a, source) {
        pop(cx);
    }
    Ok(())
}

/// ST(0), ST(1), without operands in the instruction.
fn top_two<B: Binary>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    let source = operand(cx, 1);
    apply::<B>(cx, op, 0, source);
    Ok(())
}

/// What a memory operand is, as a type, for rows.
pub trait MemoryOperand {
    /// Its bits.
    type Bits: Datum;
    /// Its value.
    fn operand(bits: Self::Bits) -> Operand;
}

macro_rules! memory_operand {
    ($($(#[$doc:meta])* $name:ident: $bits:ty, |$value:ident| $body:expr),* $(,)?) => {$(
        $(#[$doc])*
        pub struct $name;
        impl MemoryOperand for $name {
            type Bits = $bits;
            fn operand($value: $bits) -> Operand {
                $body
            }
        }
    )*};
}

memory_operand! {
    /// m32fp.
    Single: u32, |bits| Operand::single(bits),
    /// m64fp.
    Double: u64, |bits| Operand::double(bits),
    /// m16int.
    Int16: u16, |bits| Operand::integer((bits as i16).into()),
    /// m32int.
    Int32: u32, |bits| Operand::integer((bits as i32).into()),
}

/// ST(0), memory.
fn memory<B: Binary, M: MemoryOperand, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    begin(cx).map_err(P::raise)?;
    let source = M::operand(P::load(cx, op.segment, E::linear(cx, op))?);
    record_data::<E>(cx, op);
    apply::<B>(cx, op, 0, Some(source));
    Ok(())
}

/// ST(0) becomes what `operation` makes of it.
pub fn replace_top(cx: &mut Vcpu, op: &Op, operation: impl FnOnce(F80, ControlWord) -> (F80, Flags)) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    let control = control(cx);
    match read(cx, 0) {
        Some(value) => {
            let (result, flags) = operation(value, control);
            if settle(cx, op, control.respond(flags)) {
                write(cx, 0, result);
            }
        }
        None if stack_fault(cx, op, Fault::Underflow) => write(cx, 0, F80::INDEFINITE),
        None => {}
    }
    Ok(())
}

fn fsqrt(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    replace_top(cx, op, |value, control| semantics::sqrt(&Operand::extended(value), control))
}

fn frndint(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    replace_top(cx, op, semantics::round_to_integral)
}

fn fabs(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    replace_top(cx, op, |value, _| (value.abs(), Flags::NONE))
}

fn fchs(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    replace_top(cx, op, |value, _| (value.negate(), Flags::NONE))
}

/// What an instruction that reads ST(0) and pushes a second result finds: ST(0), or nothing after a stack fault, which then is settled:
/// both results are the default NaN if it is masked.
pub fn top_with_room(cx: &mut Vcpu, op: &Op) -> Option<F80> {
    let fault = match read(cx, 0) {
        None => Fault::Underflow,
        Some(_) if !is_empty(cx, 7) => Fault::Overflow,
        Some(value) => return Some(value),
    };
    if stack_fault(cx, op, fault) {
        write(cx, 0, F80::INDEFINITE);
        push(cx, F80::INDEFINITE);
    }
    None
}

fn fxtract(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    if let Some(value) = top_with_room(cx, op) {
        let (extracted, flags) = semantics::extract(&Operand::extended(value));
        let response = control(cx).respond(flags);
        if settle(cx, op, response) {
            write(cx, 0, extracted.exponent);
            push(cx, extracted.significand);
        }
    }
    Ok(())
}

fn partial_remainder(cx: &mut Vcpu, op: &Op, quotient: Quotient) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    let (Some(first), Some(second)) = (operand(cx, 0), operand(cx, 1)) else {
        if stack_fault(cx, op, Fault::Underflow) {
            write(cx, 0, F80::INDEFINITE);
        }
        return Ok(());
    };
    let control = control(cx);
    let (remainder, flags) = semantics::remainder(&first, &second, quotient, control);
    cx.fpu.status &= !status::C2;
    if settle(cx, op, control.respond(flags)) {
        write(cx, 0, remainder.value);
        let condition = |bit: u16, holds: bool| if holds { bit } else { 0 };
        let codes = condition(status::C0, remainder.quotient & 0b100 != 0)
            | condition(status::C3, remainder.quotient & 0b010 != 0)
            | condition(status::C1, remainder.quotient & 0b001 != 0)
            | condition(status::C2, !remainder.complete);
        let kept = cx.fpu.status & !(status::C0 | status::C1 | status::C2 | status::C3);
        cx.fpu.status = kept | codes;
    }
    Ok(())
}

fn fprem(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    partial_remainder(cx, op, Quotient::Truncated)
}

fn fprem1(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    partial_remainder(cx, op, Quotient::Nearest)
}

rows! {
    Fadd_st0_sti => call registers[Add];
    Fadd_sti_st0 => call registers[Add];
    Faddp_sti_st0 => call registers_pop[Add];
    Fadd_m32fp => call_memory memory[Add, Single];
    Fadd_m64fp => call_memory memory[Add, Double];
    Fiadd_m16int => call_memory memory[Add, Int16];
    Fiadd_m32int => call_memory memory[Add, Int32];
    Fsub_st0_sti => call registers[Sub];
    Fsub_sti_st0 => call registers[Sub];
    Fsubp_sti_st0 => call registers_pop[Sub];
    Fsub_m32fp => call_memory memory[Sub, Single];
    Fsub_m64fp => call_memory memory[Sub, Double];
    Fisub_m16int => call_memory memory[Sub, Int16];
    Fisub_m32int => call_memory memory[Sub, Int32];
    Fsubr_st0_sti => call registers[Subr];
    Fsubr_sti_st0 => call registers[Subr];
    Fsubrp_sti_st0 => call registers_pop[Subr];
    Fsubr_m32fp => call_memory memory[Subr, Single];
    Fsubr_m64fp => call_memory memory[Subr, Double];
    Fisubr_m16int => call_memory memory[Subr, Int16];
    Fisubr_m32int => call_memory memory[Subr, Int32];
    Fmul_st0_sti => call registers[Mul];
    Fmul_sti_st0 => call registers[Mul];
    Fmulp_sti_st0 => call registers_pop[Mul];
    Fmul_m32fp => call_memory memory[Mul, Single];
    Fmul_m64fp => call_memory memory[Mul, Double];
    Fimul_m16int => call_memory memory[Mul, Int16];
    Fimul_m32int => call_memory memory[Mul, Int32];
    Fdiv_st0_sti => call registers[Div];
    Fdiv_sti_st0 => call registers[Div];
    Fdivp_sti_st0 => call registers_pop[Div];
    Fdiv_m32fp => call_memory memory[Div, Single];
    Fdiv_m64fp => call_memory memory[Div, Double];
    Fidiv_m16int => call_memory memory[Div, Int16];
    Fidiv_m32int => call_memory memory[Div, Int32];
    Fdivr_st0_sti => call registers[Divr];
    Fdivr_sti_st0 => call registers[Divr];
    Fdivrp_sti_st0 => call registers_pop[Divr];
    Fdivr_m32fp => call_memory memory[Divr, Single];
    Fdivr_m64fp => call_memory memory[Divr, Double];
    Fidivr_m16int => call_memory memory[Divr, Int16];
    Fidivr_m32int => call_memory memory[Divr, Int32];
    Fsqrt => call fsqrt;
    Frndint => call frndint;
    Fabs => call fabs;
    Fchs => call fchs;
    Fscale => call top_two[Scale];
    Fxtract => call fxtract;
    Fprem => call fprem;
    Fprem1 => call fprem1;
}
