//! FADD, FSUB, FMUL, FDIV, FSQRT and the comparisons.

use super::super::arith::{self, Outcome, Relation};
use super::super::env::ControlWord;
use super::super::f80::F80;
use super::super::flags::Flags;
use super::super::operand::Operand;
use super::super::round::Rounding;
use super::{finish, not_a_number, not_numbers};

fn binary(a: &Operand, b: &Operand, control: ControlWord, operation: fn(&Operand, &Operand, Rounding) -> Outcome) -> (F80, Flags) {
    if let Some(result) = not_numbers(a, b) {
        return result;
    }
    let outcome = operation(a, b, control.rounding());
    finish(outcome, outcome.flags(a.denormal || b.denormal), control.precision(), control)
}

/// `a` + `b`, at the precision of the control word.
pub fn add(a: &Operand, b: &Operand, control: ControlWord) -> (F80, Flags) {
    binary(a, b, control, arith::add)
}

/// `a` − `b`, at the precision of the control word.
pub fn sub(a: &Operand, b: &Operand, control: ControlWord) -> (F80, Flags) {
    binary(a, b, control, |a, b, rounding| arith::add(a, &b.negated(), rounding))
}

/// `a` × `b`, at the precision of the control word.
pub fn mul(a: &Operand, b: &Operand, control: ControlWord) -> (F80, Flags) {
    binary(a, b, control, arith::multiply)
}

/// `a` / `b`, at the precision of the control word.
pub fn div(a: &Operand, b: &Operand, control: ControlWord) -> (F80, Flags) {
    binary(a, b, control, arith::divide)
}

/// √`a`, at the precision of the control word.
pub fn sqrt(a: &Operand, control: ControlWord) -> (F80, Flags) {
    if let Some(result) = not_a_number(a) {
        return result;
    }
    let outcome = arith::square_root(a);
    finish(outcome, outcome.flags(a.denormal), control.precision(), control)
}

/// FCOM and FCOMI (`quiet` clear: any NaN raises #I), FUCOM and FUCOMI (`quiet` set: only a signaling one does). FTST compares with zero.
pub fn compare(a: &Operand, b: &Operand, quiet: bool) -> (Relation, Flags) {
    match not_numbers(a, b) {
        Some((_, invalid)) => (Relation::Unordered, if quiet { invalid } else { Flags::INVALID }),
        None => (arith::compare(a, b).into(), Flags::DENORMAL.when(a.denormal || b.denormal)),
    }
}
