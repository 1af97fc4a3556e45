//! Loads, stores, exchanges and constants: FLD, FILD, FBLD, FST, FIST, FISTTP, FBSTP, FXCH, FCMOVcc, FLD1 and its like.

use super::super::float::x87::{self as semantics, Constant};
use super::super::float::{self, ControlWord, F80, Flags, Operand, Response, Rounding, Width};
use super::super::flow::{Cc, Cond};
use super::arith::{Double, Int16, Int32, MemoryOperand, Single};
use super::control::at;
use super::{
    Fault, begin, begin_on_registers, content, control, is_empty, pop, push, read, record_data, settle, stack_fault, status, write,
};
use crate::cpu::{Condition, Datum, Exception};
use crate::decode::Op;
use crate::exec::path::{EffectiveAddress, Path};
use crate::exec::row::rows;
use crate::vcpu::Vcpu;

/// Pushes a value that raised what `response` says.
fn deliver(cx: &mut Vcpu, op: &Op, value: F80, response: Response) {
    if !is_empty(cx, 7) {
        if stack_fault(cx, op, Fault::Overflow) {
            push(cx, F80::INDEFINITE);
        }
    } else if settle(cx, op, response) {
        push(cx, value);
    }
}

/// From memory, converted.
fn load<M: MemoryOperand, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    begin(cx).map_err(P::raise)?;
    let (value, flags) = semantics::load(&M::operand(P::load(cx, op.segment, E::linear(cx, op))?));
    record_data::<E>(cx, op);
    let response = control(cx).respond_load(flags);
    deliver(cx, op, value, response);
    Ok(())
}

/// From memory, as it is.
fn load_register<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    begin(cx).map_err(P::raise)?;
    let value = P::load(cx, op.segment, E::linear(cx, op))?;
    record_data::<E>(cx, op);
    let response = control(cx).respond_load(Flags::NONE);
    deliver(cx, op, value, response);
    Ok(())
}

/// FBLD.
fn load_decimal<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    begin(cx).map_err(P::raise)?;
    let bytes: F80 = P::load(cx, op.segment, E::linear(cx, op))?;
    record_data::<E>(cx, op);
    let response = control(cx).respond_load(Flags::NONE);
    deliver(cx, op, semantics::from_bcd(bytes.to_le_bytes()), response);
    Ok(())
}

/// m64int, which has no arithmetic forms.
struct Int64;
impl MemoryOperand for Int64 {
    type Bits = u64;
    fn operand(bits: u64) -> Operand {
        Operand::integer(bits as i64)
    }
}

/// FLD ST(i).
fn fld(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    let response = control(cx).respond_load(Flags::NONE);
    match read(cx, op.a) {
        Some(value) => deliver(cx, op, value, response),
        None if stack_fault(cx, op, Fault::Underflow) => push(cx, F80::INDEFINITE),
        None => {}
    }
    Ok(())
}

fn load_constant(cx: &mut Vcpu, op: &Op, constant: Constant) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    let control = control(cx);
    deliver(cx, op, constant.load(control), control.respond_load(Flags::NONE));
    Ok(())
}

macro_rules! constants {
    ($($name:ident: $constant:ident),*) => {$(
        fn $name(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
            load_constant(cx, op, Constant::$constant)
        }
    )*};
}
constants!(fld1: One, fldl2t: Log2Of10, fldl2e: Log2OfE, fldpi: Pi, fldlg2: Log10Of2, fldln2: LnOf2, fldz: Zero);

/// What ST(0) becomes in memory, as a type, for rows.
trait Stored {
    /// What is written.
    type Bits: Datum;
    /// What is written after a masked stack underflow.
    const INDEFINITE: Self::Bits;
    /// The conversion.
    fn convert(value: F80, control: ControlWord) -> (Self::Bits, Flags);
    /// Writes it to memory.
    fn write<P: Path>(cx: &mut Vcpu, op: &Op, linear: u64, bits: Self::Bits) -> Result<(), P::Error> {
        P::store(cx, op.segment, linear, bits)
    }
}

macro_rules! stored {
    ($($name:ident: $bits:ty, $indefinite:expr, |$value:ident, $control:ident| $body:expr;)*) => {$(
        impl Stored for $name {
            type Bits = $bits;
            const INDEFINITE: $bits = $indefinite;
            fn convert($value: F80, $control: ControlWord) -> ($bits, Flags) {
                $body
            }
        }
    )*};
}

/// m80fp: bits as they are, the significand first. It stays written if the rest cannot be.
struct Register;
impl Stored for Register {
    type Bits = F80;
    const INDEFINITE: F80 = F80::INDEFINITE;
    fn convert(value: F80, _: ControlWord) -> (F80, Flags) {
        (value, Flags::NONE)
    }
    fn write<P: Path>(cx: &mut Vcpu, op: &Op, linear: u64, bits: F80) -> Result<(), P::Error> {
        P::store(cx, op.segment, linear, bits.significand)?;
        P::store(cx, op.segment, at(op, linear, 8), bits.sign_exponent)
    }
}

/// m80bcd.
struct Decimal;
/// Integers truncated, as FISTTP does.
struct Truncated<T>(T);

fn integer<T: Datum>(value: F80, width: Width, rounding: Rounding) -> (T, Flags) {
    let (value, flags) = semantics::to_int(value, width, rounding);
    (T::from_u128(value as u128), flags)
}

stored! {
    Single: u32, 0xFFC0_0000, |value, control| semantics::store::<float::Single>(value, control);
    Double: u64, 0xFFF8_0000_0000_0000, |value, control| semantics::store::<float::Double>(value, control);
    Decimal: F80, F80::from_le_bytes(semantics::BCD_INDEFINITE), |value, control| {
        let (bytes, flags) = semantics::to_bcd(value, control.rounding());
        (F80::from_le_bytes(bytes), flags)
    };
    Int16: u16, 1 << 15, |value, control| integer(value, Width::W16, control.rounding());
    Int32: u32, 1 << 31, |value, control| integer(value, Width::W32, control.rounding());
    Int64: u64, 1 << 63, |value, control| integer(value, Width::W64, control.rounding());
}

macro_rules! truncated {
    ($($name:ident: $width:ident),*) => {$(
        impl Stored for Truncated<$name> {
            type Bits = <$name as Stored>::Bits;
            const INDEFINITE: Self::Bits = <$name as Stored>::INDEFINITE;
            fn convert(value: F80, _: ControlWord) -> (Self::Bits, Flags) {
                integer(value, Width::$width, Rounding::Zero)
            }
        }
    )*};
}
truncated!(Int16: W16, Int32: W32, Int64: W64);

/// Writes the result if it is delivered. The operand's page faults come before the x87's exceptions, also if nothing is written.
fn write_if<S: Stored, P: Path>(cx: &mut Vcpu, op: &Op, linear: u64, bits: S::Bits, commit: bool) -> Result<(), P::Error> {
    if commit { S::write::<P>(cx, op, linear, bits) } else { P::modify::<S::Bits, _>(cx, op.segment, linear, |old| (old, ())) }
}

/// Stores ST(0), and says whether the instruction went through.
fn store_top<S: Stored, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<bool, P::Error> {
    begin(cx).map_err(P::raise)?;
    let (control, linear) = (control(cx), E::linear(cx, op));
    let Some(value) = read(cx, 0) else {
        write_if::<S, P>(cx, op, linear, S::INDEFINITE, control.respond(Flags::INVALID).commit)?;
        record_data::<E>(cx, op);
        return Ok(stack_fault(cx, op, Fault::Underflow));
    };
    let (bits, flags) = S::convert(value, control);
    let response = control.respond_store(flags);
    write_if::<S, P>(cx, op, linear, bits, response.commit)?;
    record_data::<E>(cx, op);
    Ok(settle(cx, op, response))
}

fn store<S: Stored, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    store_top::<S, P, E>(cx, op).map(drop)
}

fn store_pop<S: Stored, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    if store_top::<S, P, E>(cx, op)? {
        pop(cx);
    }
    Ok(())
}

/// ST(0) to ST(i); says whether the instruction went through.
fn copy_top(cx: &mut Vcpu, op: &Op) -> Result<bool, Exception> {
    begin_on_registers(cx, op)?;
    let Some(value) = read(cx, 0) else {
        let masked = stack_fault(cx, op, Fault::Underflow);
        if masked {
            write(cx, op.a, F80::INDEFINITE);
        }
        return Ok(masked);
    };
    cx.fpu.status &= !status::C1;
    write(cx, op.a, value);
    Ok(true)
}

fn fst(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    copy_top(cx, op).map(drop)
}

fn fstp(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    if copy_top(cx, op)? {
        pop(cx);
    }
    Ok(())
}

/// FSTP at another encoding, which ignores an empty ST(0) but for popping it.
fn fstpnce(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    cx.fpu.status &= !status::C1;
    if let Some(value) = read(cx, 0) {
        write(cx, op.a, value);
    }
    pop(cx);
    Ok(())
}

/// An empty register counts as the default NaN if that is masked.
fn fxch(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    let (first, second) = (read(cx, 0), read(cx, op.b));
    cx.fpu.status &= !status::C1;
    if (first.is_none() || second.is_none()) && !stack_fault(cx, op, Fault::Underflow) {
        return Ok(());
    }
    write(cx, 0, second.unwrap_or(F80::INDEFINITE));
    write(cx, op.b, first.unwrap_or(F80::INDEFINITE));
    Ok(())
}

fn fcmov<C: Cond>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    if is_empty(cx, 0) || is_empty(cx, op.b) {
        if stack_fault(cx, op, Fault::Underflow) {
            write(cx, 0, F80::INDEFINITE);
        }
    } else if Condition::holds(C::CODE, &cx.flags) {
        let value = content(cx, op.b);
        write(cx, 0, value);
    }
    Ok(())
}

rows! {
    Fld_m32fp => call_memory load[Single];
    Fld_m64fp => call_memory load[Double];
    Fld_m80fp => call_memory load_register;
    Fild_m16int => call_memory load[Int16];
    Fild_m32int => call_memory load[Int32];
    Fild_m64int => call_memory load[Int64];
    Fbld_m80bcd => call_memory load_decimal;
    Fld_sti => call fld;
    Fld1 => call fld1;
    Fldl2t => call fldl2t;
    Fldl2e => call fldl2e;
    Fldpi => call fldpi;
    Fldlg2 => call fldlg2;
    Fldln2 => call fldln2;
    Fldz => call fldz;
    Fst_m32fp => call_memory store[Single];
    Fst_m64fp => call_memory store[Double];
    Fstp_m32fp => call_memory store_pop[Single];
    Fstp_m64fp => call_memory store_pop[Double];
    Fstp_m80fp => call_memory store_pop[Register];
    Fist_m16int => call_memory store[Int16];
    Fist_m32int => call_memory store[Int32];
    Fistp_m16int => call_memory store_pop[Int16];
    Fistp_m32int => call_memory store_pop[Int32];
    Fistp_m64int => call_memory store_pop[Int64];
    Fisttp_m16int => call_memory store_pop[Truncated<Int16>];
    Fisttp_m32int => call_memory store_pop[Truncated<Int32>];
    Fisttp_m64int => call_memory store_pop[Truncated<Int64>];
    Fbstp_m80bcd => call_memory store_pop[Decimal];
    Fst_sti => call fst;
    Fstp_sti => call fstp;
    Fstpnce_sti => call fstpnce;
    Fstp_sti_DFD0 => call fstp;
    Fstp_sti_DFD8 => call fstp;
    Fxch_st0_sti => call fxch;
    Fxch_st0_sti_DDC8 => call fxch;
    Fxch_st0_sti_DFC8 => call fxch;
    Fcmovb_st0_sti => call fcmov[Cc<2>];
    Fcmovnb_st0_sti => call fcmov[Cc<3>];
    Fcmove_st0_sti => call fcmov[Cc<4>];
    Fcmovne_st0_sti => call fcmov[Cc<5>];
    Fcmovbe_st0_sti => call fcmov[Cc<6>];
    Fcmovnbe_st0_sti => call fcmov[Cc<7>];
    Fcmovu_st0_sti => call fcmov[Cc<10>];
    Fcmovnu_st0_sti => call fcmov[Cc<11>];
}
