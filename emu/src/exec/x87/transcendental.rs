//! FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X, FYL2XP1.

use super::super::float::x87::{self as semantics};
use super::super::float::{Class, ControlWord, F80, Flags, Operand};
use super::arith::{replace_top, top_with_room};
use super::{Fault, begin_on_registers, control, operand, pop, push, read, settle, stack_fault, status, write};
use crate::cpu::Exception;
use crate::decode::Op;
use crate::exec::row::rows;
use crate::vcpu::Vcpu;

/// Says in C2 whether an argument was out of range.
fn set_out_of_range(cx: &mut Vcpu, out_of_range: bool) {
    cx.fpu.status = cx.fpu.status & !status::C2 | if out_of_range { status::C2 } else { 0 };
}

type Trigonometric = fn(&Operand, ControlWord) -> Option<(F80, Flags)>;

fn trigonometric(cx: &mut Vcpu, op: &Op, function: Trigonometric) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    let Some(value) = read(cx, 0) else {
        if stack_fault(cx, op, Fault::Underflow) {
            write(cx, 0, F80::INDEFINITE);
        }
        return Ok(());
    };
    let control = control(cx);
    match function(&Operand::extended(value), control) {
        Some((result, flags)) => {
            set_out_of_range(cx, false);
            if settle(cx, op, control.respond(flags)) {
                write(cx, 0, result);
            }
        }
        None => set_out_of_range(cx, true),
    }
    Ok(())
}

fn fsin(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    trigonometric(cx, op, semantics::sine)
}

fn fcos(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    trigonometric(cx, op, semantics::cosine)
}

/// Two results of ST(0): `first` in its place, `second` pushed.
fn two_results(
    cx: &mut Vcpu,
    op: &Op,
    first: Trigonometric,
    second: impl FnOnce(&Operand, F80, ControlWord) -> (F80, Flags),
) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    let Some(value) = top_with_room(cx, op) else { return Ok(()) };
    let (value, control) = (Operand::extended(value), control(cx));
    let Some((lower, flags)) = first(&value, control) else {
        set_out_of_range(cx, true);
        return Ok(());
    };
    let (upper, more) = second(&value, lower, control);
    set_out_of_range(cx, false);
    if settle(cx, op, control.respond(flags | more)) {
        write(cx, 0, lower);
        push(cx, upper);
    }
    Ok(())
}

fn fsincos(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    two_results(cx, op, semantics::sine, |value, sine, control| semantics::cosine(value, control).unwrap_or((sine, Flags::NONE)))
}

/// FPTAN pushes 1.0, or the NaN once more.
fn fptan(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let second = |_: &Operand, tangent: F80, _| (if tangent.class() == Class::Nan { tangent } else { F80::ONE }, Flags::NONE);
    two_results(cx, op, semantics::tangent, second)
}

fn f2xm1(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    replace_top(cx, op, |value, control| semantics::exp2m1(&Operand::extended(value), control))
}

/// Of ST(1) and ST(0), into ST(1), and pop.
fn top_two(cx: &mut Vcpu, op: &Op, function: fn(&Operand, &Operand, ControlWord) -> (F80, Flags)) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    let control = control(cx);
    let (result, commit) = match (operand(cx, 1), operand(cx, 0)) {
        (Some(y), Some(x)) => {
            let (result, flags) = function(&y, &x, control);
            (result, settle(cx, op, control.respond(flags)))
        }
        _ => (F80::INDEFINITE, stack_fault(cx, op, Fault::Underflow)),
    };
    if commit {
        write(cx, 1, result);
        pop(cx);
    }
    Ok(())
}

fn fpatan(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    top_two(cx, op, semantics::arctangent)
}

fn fyl2x(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    top_two(cx, op, semantics::log2)
}

fn fyl2xp1(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    top_two(cx, op, semantics::log2p1)
}

rows! {
    Fsin => call fsin;
    Fcos => call fcos;
    Fsincos => call fsincos;
    Fptan => call fptan;
    Fpatan => call fpatan;
    F2xm1 => call f2xm1;
    Fyl2x => call fyl2x;
    Fyl2xp1 => call fyl2xp1;
}
