//! FCOM, FUCOM, FICOM, FTST, FXAM, and the forms that set RFLAGS.

use super::super::float::{Class, F80, Flags, Operand, Relation, x87::compare};
use super::arith::{Double, Int16, Int32, MemoryOperand, Single};
use super::{Fault, begin, begin_on_registers, content, control, is_empty, operand, pop, record_data, settle, stack_fault, status};
use crate::cpu::Exception;
use crate::decode::Op;
use crate::exec::path::{EffectiveAddress, Path};
use crate::exec::row::rows;
use crate::exec::simd::float::compare::flags_of;
use crate::vcpu::Vcpu;

/// A relation in C3, C2 and C0.
fn codes_of(relation: Relation) -> u16 {
    match relation {
        Relation::Greater => 0,
        Relation::Less => status::C0,
        Relation::Equal => status::C3,
        Relation::Unordered => status::C3 | status::C2 | status::C0,
    }
}

fn set_codes(cx: &mut Vcpu, codes: u16) {
    cx.fpu.status = cx.fpu.status & !(status::C3 | status::C2 | status::C0) | codes;
}

/// Which NaNs raise #I, as a type, for rows.
trait Quietness {
    const QUIET: bool;
}

/// FCOM and its like: all.
struct Ordered;
impl Quietness for Ordered {
    const QUIET: bool = false;
}

/// FUCOM and its like: signaling ones.
struct Unordered;
impl Quietness for Unordered {
    const QUIET: bool = true;
}

/// How many registers are popped, as a type, for rows.
trait Pops {
    const COUNT: usize;
}

macro_rules! pops {
    ($($name:ident: $count:literal),*) => {$(
        struct $name;
        impl Pops for $name {
            const COUNT: usize = $count;
        }
    )*};
}
pops!(Keep: 0, Pop: 1, PopTwo: 2);

/// The relation of ST(0) to `second`, unless an invalid operation is unmasked, which leaves the codes as they were (SDM Vol. 2, FCOM);
/// and whether registers are popped: not after an unmasked exception of either kind.
fn relate<Q: Quietness>(cx: &mut Vcpu, op: &Op, second: Option<Operand>) -> (Option<Relation>, bool) {
    let (Some(first), Some(second)) = (operand(cx, 0), second) else {
        let masked = stack_fault(cx, op, Fault::Underflow);
        return (masked.then_some(Relation::Unordered), masked);
    };
    let (relation, flags) = compare(&first, &second, Q::QUIET);
    let response = control(cx).respond(flags);
    let commit = settle(cx, op, response);
    let invalid = flags.intersects(Flags::INVALID) && !commit;
    ((!invalid).then_some(relation), commit)
}

fn pop_all<N: Pops>(cx: &mut Vcpu, commit: bool) {
    if commit {
        (0..N::COUNT).for_each(|_| pop(cx));
    }
}

/// Compares into the condition codes.
fn into_codes<Q: Quietness, N: Pops>(cx: &mut Vcpu, op: &Op, second: Option<Operand>) {
    let (relation, commit) = relate::<Q>(cx, op, second);
    if let Some(relation) = relation {
        set_codes(cx, codes_of(relation));
    }
    pop_all::<N>(cx, commit);
}

/// ST(0), ST(i).
fn registers<Q: Quietness, N: Pops>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    let second = operand(cx, op.b);
    into_codes::<Q, N>(cx, op, second);
    Ok(())
}

/// ST(0), ST(1), without operands in the instruction.
fn top_two<Q: Quietness, N: Pops>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    let second = operand(cx, 1);
    into_codes::<Q, N>(cx, op, second);
    Ok(())
}

/// ST(0), memory.
fn memory<N: Pops, M: MemoryOperand, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    begin(cx).map_err(P::raise)?;
    let second = M::operand(P::load(cx, op.segment, E::linear(cx, op))?);
    record_data::<E>(cx, op);
    into_codes::<Ordered, N>(cx, op, Some(second));
    Ok(())
}

/// ST(0), ST(i), into ZF, PF and CF.
fn into_flags<Q: Quietness, N: Pops>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    let second = operand(cx, op.b);
    let (relation, commit) = relate::<Q>(cx, op, second);
    if let Some(relation) = relation {
        cx.flags = flags_of(relation);
    }
    pop_all::<N>(cx, commit);
    Ok(())
}

fn ftst(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    into_codes::<Ordered, Keep>(cx, op, Some(Operand::extended(F80::ZERO)));
    Ok(())
}

fn fxam(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    begin_on_registers(cx, op)?;
    let value = content(cx, 0);
    let codes = match value.class() {
        _ if is_empty(cx, 0) => status::C3 | status::C0,
        Class::Unsupported => 0,
        Class::Nan => status::C0,
        Class::Normal => status::C2,
        Class::Infinity => status::C2 | status::C0,
        Class::Zero => status::C3,
        Class::Denormal => status::C3 | status::C2,
    };
    let sign = if value.is_negative() { status::C1 } else { 0 };
    cx.fpu.status = cx.fpu.status & !status::C1 | sign;
    set_codes(cx, codes);
    Ok(())
}

rows! {
    Fcom_st0_sti => call registers[Ordered, Keep];
    Fcom_st0_sti_DCD0 => call registers[Ordered, Keep];
    Fcomp_st0_sti => call registers[Ordered, Pop];
    Fcomp_st0_sti_DCD8 => call registers[Ordered, Pop];
    Fcomp_st0_sti_DED0 => call registers[Ordered, Pop];
    Fcompp => call top_two[Ordered, PopTwo];
    Fucom_st0_sti => call registers[Unordered, Keep];
    Fucomp_st0_sti => call registers[Unordered, Pop];
    Fucompp => call top_two[Unordered, PopTwo];
    Fcom_m32fp => call_memory memory[Keep, Single];
    Fcom_m64fp => call_memory memory[Keep, Double];
    Fcomp_m32fp => call_memory memory[Pop, Single];
    Fcomp_m64fp => call_memory memory[Pop, Double];
    Ficom_m16int => call_memory memory[Keep, Int16];
    Ficom_m32int => call_memory memory[Keep, Int32];
    Ficomp_m16int => call_memory memory[Pop, Int16];
    Ficomp_m32int => call_memory memory[Pop, Int32];
    Fcomi_st0_sti => call into_flags[Ordered, Keep];
    Fcomip_st0_sti => call into_flags[Ordered, Pop];
    Fucomi_st0_sti => call into_flags[Unordered, Keep];
    Fucomip_st0_sti => call into_flags[Unordered, Pop];
    Ftst => call ftst;
    Fxam => call fxam;
}
