//! Arithmetic, element by element and across elements: ADD, SUB, MUL, DIV, SQRT, MIN, MAX, RCP, RSQRT, ROUND, CMP, ADDSUB, HADD, HSUB, DP.

use super::{Packed, accrue, exception, low, mxcsr, set_low};
use crate::cpu::{Datum, Exception};
use crate::decode::Op;
use crate::exec::float::sse::{self as semantics, Predicate};
use crate::exec::float::{Double, Flags, Format, Mxcsr, Rounding, Single, Unmasked};
use crate::exec::path::{EffectiveAddress, Path};
use crate::exec::row::rows;
use crate::exec::simd::lanes::Vector;
use crate::exec::simd::load_aligned;
use crate::vcpu::Vcpu;

/// An operation on two elements as a type, for rows.
trait Operation<F: Format> {
    /// The result in the ordinary case, when nothing is raised.
    #[inline(always)]
    fn fast(_first: F::Bits, _second: F::Bits, _immediate: u8, _mxcsr: Mxcsr) -> Option<F::Bits> {
        None
    }
    /// The result and the exceptions it raises. What has one operand takes the second.
    fn compute(first: F::Bits, second: F::Bits, immediate: u8, mxcsr: Mxcsr) -> (F::Bits, Flags);
}

macro_rules! operations {
    ($($name:ident: |$first:ident, $second:ident, $immediate:ident, $mxcsr:ident| $body:expr, $fast:expr;)*) => {$(
        struct $name;
        #[allow(unused_variables, reason = "no operation needs all of them")]
        impl<F: Format> Operation<F> for $name {
            #[inline(always)]
            fn fast($first: F::Bits, $second: F::Bits, $immediate: u8, $mxcsr: Mxcsr) -> Option<F::Bits> {
                $fast
            }
            #[inline(always)]
            fn compute($first: F::Bits, $second: F::Bits, $immediate: u8, $mxcsr: Mxcsr) -> (F::Bits, Flags) {
                $body
            }
        }
    )*};
}

#[inline(always)]
fn mask<F: Format>(holds: bool) -> F::Bits {
    F::from_raw(if holds { u64::MAX } else { 0 })
}

operations! {
    Add: |first, second, immediate, mxcsr| semantics::add::<F>(first, second, mxcsr), semantics::add_fast::<F>(first, second, mxcsr);
    Sub: |first, second, immediate, mxcsr| semantics::sub::<F>(first, second, mxcsr), semantics::sub_fast::<F>(first, second, mxcsr);
    Mul: |first, second, immediate, mxcsr| semantics::mul::<F>(first, second, mxcsr), semantics::mul_fast::<F>(first, second, mxcsr);
    Div: |first, second, immediate, mxcsr| semantics::div::<F>(first, second, mxcsr), semantics::div_fast::<F>(first, second, mxcsr);
    Min: |first, second, immediate, mxcsr| semantics::min::<F>(first, second, mxcsr), semantics::min_fast::<F>(first, second);
    Max: |first, second, immediate, mxcsr| semantics::max::<F>(first, second, mxcsr), semantics::max_fast::<F>(first, second);
    Sqrt: |first, second, immediate, mxcsr| semantics::sqrt::<F>(second, mxcsr), semantics::sqrt_fast::<F>(second, mxcsr);
    Cmp: |first, second, immediate, mxcsr| {
        let (holds, flags) = semantics::compare::<F>(first, second, Predicate::from_immediate(immediate), mxcsr);
        (mask::<F>(holds), flags)
    }, semantics::compare_fast::<F>(first, second, Predicate::from_immediate(immediate)).map(mask::<F>);
}

/// ROUNDxx.
struct Round;
impl<F: Format> Operation<F> for Round {
    #[inline(always)]
    fn compute(_: F::Bits, second: F::Bits, immediate: u8, mxcsr: Mxcsr) -> (F::Bits, Flags) {
        // Bit 2 selects MXCSR's rounding control, bit 3 suppresses #P.
        let rounding = if immediate & 0b100 != 0 { mxcsr.rounding() } else { Rounding::from_control(immediate.into()) };
        semantics::round_to_integral::<F>(second, rounding, immediate & 0b1000 != 0, mxcsr)
    }
}

struct Rcp;
impl Operation<Single> for Rcp {
    #[inline(always)]
    fn compute(_: u32, second: u32, _: u8, _: Mxcsr) -> (u32, Flags) {
        (semantics::reciprocal(second), Flags::NONE)
    }
}

struct Rsqrt;
impl Operation<Single> for Rsqrt {
    #[inline(always)]
    fn compute(_: u32, second: u32, _: u8, _: Mxcsr) -> (u32, Flags) {
        (semantics::reciprocal_sqrt(second), Flags::NONE)
    }
}

#[inline(always)]
fn scalar<O: Operation<F>, F: Packed>(cx: &mut Vcpu, op: &Op, second: F::Bits) -> Result<(), Unmasked> {
    match O::fast(low::<F>(cx, op.a), second, op.immediate as u8, mxcsr(cx)) {
        Some(result) => {
            set_low::<F>(cx, op.a, result);
            Ok(())
        }
        None => scalar_checked::<O, F>(cx, op, second),
    }
}

#[cold]
#[inline(never)]
fn scalar_checked<O: Operation<F>, F: Packed>(cx: &mut Vcpu, op: &Op, second: F::Bits) -> Result<(), Unmasked> {
    let (result, flags) = O::compute(low::<F>(cx, op.a), second, op.immediate as u8, mxcsr(cx));
    accrue(cx, flags)?;
    set_low::<F>(cx, op.a, result);
    Ok(())
}

/// Register, register: the lowest elements.
#[inline(always)]
fn scalar_rr<O: Operation<F>, F: Packed>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let second = low::<F>(cx, op.b);
    scalar::<O, F>(cx, op, second).map_err(|_| exception(cx))
}

/// Register, memory: the lowest element.
#[inline(always)]
fn scalar_rm<O: Operation<F>, F: Packed, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let second = P::load(cx, op.segment, E::linear(cx, op))?;
    scalar::<O, F>(cx, op, second).map_err(|_| P::raise(exception(cx)))
}

/// The operation on each pair of elements, and all their exceptions.
fn each<O: Operation<F>, F: Packed>(first: F::Lanes, second: F::Lanes, immediate: u8, mxcsr: Mxcsr) -> (F::Lanes, Flags) {
    let (mut result, mut flags) = (first, Flags::NONE);
    for (element, &second) in result.as_mut().iter_mut().zip(second.as_ref()) {
        let (value, raised) = O::compute(*element, second, immediate, mxcsr);
        *element = value;
        flags |= raised;
    }
    (result, flags)
}

/// An operation on two registers' elements as a type, for rows.
trait Across<F: Packed> {
    /// The result in the ordinary case, when nothing is raised.
    #[inline(always)]
    fn fast(_first: F::Lanes, _second: F::Lanes, _immediate: u8, _mxcsr: Mxcsr) -> Option<F::Lanes> {
        None
    }
    /// The result, or what an exception on the way there leads to.
    fn compute(cx: &mut Vcpu, first: F::Lanes, second: F::Lanes, immediate: u8) -> Result<F::Lanes, Unmasked>;
}

/// Element by element.
struct Each<O>(O);
impl<O: Operation<F>, F: Packed> Across<F> for Each<O> {
    #[inline(always)]
    fn fast(first: F::Lanes, second: F::Lanes, immediate: u8, mxcsr: Mxcsr) -> Option<F::Lanes> {
        let mut result = first;
        for (element, &second) in result.as_mut().iter_mut().zip(second.as_ref()) {
            *element = O::fast(*element, second, immediate, mxcsr)?;
        }
        Some(result)
    }
    fn compute(cx: &mut Vcpu, first: F::Lanes, second: F::Lanes, immediate: u8) -> Result<F::Lanes, Unmasked> {
        let (result, flags) = each::<O, F>(first, second, immediate, mxcsr(cx));
        accrue(cx, flags)?;
        Ok(result)
    }
}

/// Differences in the even elements, sums in the odd ones.
struct AddSub;
impl<F: Packed> Across<F> for AddSub {
    fn compute(cx: &mut Vcpu, first: F::Lanes, second: F::Lanes, _: u8) -> Result<F::Lanes, Unmasked> {
        let (mut result, mut flags) = (first, Flags::NONE);
        for (index, (element, &second)) in result.as_mut().iter_mut().zip(second.as_ref()).enumerate() {
            let operation = if index % 2 == 0 { semantics::sub::<F> } else { semantics::add::<F> };
            let (value, raised) = operation(*element, second, mxcsr(cx));
            *element = value;
            flags |= raised;
        }
        accrue(cx, flags)?;
        Ok(result)
    }
}

/// Neighbours with each other: first those of the first operand, then those of the second.
struct Horizontal<O>(O);
impl<O: Operation<F>, F: Packed> Across<F> for Horizontal<O> {
    fn compute(cx: &mut Vcpu, first: F::Lanes, second: F::Lanes, _: u8) -> Result<F::Lanes, Unmasked> {
        let (mut even, mut odd) = (first, first);
        let elements = first.as_ref().iter().chain(second.as_ref());
        for (index, &element) in elements.enumerate() {
            let side = if index % 2 == 0 { &mut even } else { &mut odd };
            side.as_mut()[index / 2] = element;
        }
        let (result, flags) = each::<O, F>(even, odd, 0, mxcsr(cx));
        accrue(cx, flags)?;
        Ok(result)
    }
}

/// DPPS and DPPD: products where the immediate's upper half says so, their sum where the lower half does. An unmasked exception of one step
/// keeps the next from being taken (SDM Vol. 2, DPPS).
struct DotProduct;
impl<F: Packed> Across<F> for DotProduct {
    fn compute(cx: &mut Vcpu, first: F::Lanes, second: F::Lanes, immediate: u8) -> Result<F::Lanes, Unmasked> {
        let zero = F::from_raw(0);
        let mut terms = first;
        let mut flags = Flags::NONE;
        for (index, (term, &second)) in terms.as_mut().iter_mut().zip(second.as_ref()).enumerate() {
            let (product, raised) =
                if immediate >> (4 + index) & 1 != 0 { semantics::mul::<F>(*term, second, mxcsr(cx)) } else { (zero, Flags::NONE) };
            *term = product;
            flags |= raised;
        }
        accrue(cx, flags)?;
        // Neighbours first, then the sums of neighbours. The order shows where two terms are NaNs: each element has a sum of its own, which begins with
        // its own term, but for the first of the two steps of DPPS.
        let mut distance = 1;
        while distance < terms.as_ref().len() {
            let mut flags = Flags::NONE;
            let own_first = 2 * distance == terms.as_ref().len();
            let before = terms;
            for (index, term) in terms.as_mut().iter_mut().enumerate() {
                let [own, other] = [index, index ^ distance].map(|index| before.as_ref()[index]);
                let (sum, raised) =
                    if own_first { semantics::add::<F>(own, other, mxcsr(cx)) } else { semantics::add::<F>(other, own, mxcsr(cx)) };
                *term = sum;
                flags |= raised;
            }
            accrue(cx, flags)?;
            distance *= 2;
        }
        for (index, element) in terms.as_mut().iter_mut().enumerate() {
            if immediate >> index & 1 == 0 {
                *element = zero;
            }
        }
        Ok(terms)
    }
}

#[inline(always)]
fn packed<A: Across<F>, F: Packed>(cx: &mut Vcpu, op: &Op, second: F::Lanes) -> Result<(), Unmasked> {
    match A::fast(F::Lanes::read(cx, op.a), second, op.immediate as u8, mxcsr(cx)) {
        Some(result) => {
            result.write(cx, op.a);
            Ok(())
        }
        // As one number it is passed in registers; as an array its address would be.
        None => packed_checked::<A, F>(cx, op, second.to_u128()),
    }
}

#[cold]
#[inline(never)]
fn packed_checked<A: Across<F>, F: Packed>(cx: &mut Vcpu, op: &Op, second: u128) -> Result<(), Unmasked> {
    let (first, second) = (F::Lanes::read(cx, op.a), F::Lanes::from_u128(second));
    A::compute(cx, first, second, op.immediate as u8)?.write(cx, op.a);
    Ok(())
}

/// Register, register: all elements.
#[inline(always)]
fn packed_rr<A: Across<F>, F: Packed>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let second = F::Lanes::read(cx, op.b);
    packed::<A, F>(cx, op, second).map_err(|_| exception(cx))
}

/// Register, memory: all elements.
#[inline(always)]
fn packed_rm<A: Across<F>, F: Packed, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let second = load_aligned::<F::Lanes, P, E>(cx, op)?;
    packed::<A, F>(cx, op, second).map_err(|_| P::raise(exception(cx)))
}

rows! {
    Addss_xmm_xmmm32 => register scalar_rr[Add, Single], memory scalar_rm[Add, Single];
    Addsd_xmm_xmmm64 => register scalar_rr[Add, Double], memory scalar_rm[Add, Double];
    Addps_xmm_xmmm128 => register packed_rr[Each<Add>, Single], memory packed_rm[Each<Add>, Single];
    Addpd_xmm_xmmm128 => register packed_rr[Each<Add>, Double], memory packed_rm[Each<Add>, Double];
    Subss_xmm_xmmm32 => register scalar_rr[Sub, Single], memory scalar_rm[Sub, Single];
    Subsd_xmm_xmmm64 => register scalar_rr[Sub, Double], memory scalar_rm[Sub, Double];
    Subps_xmm_xmmm128 => register packed_rr[Each<Sub>, Single], memory packed_rm[Each<Sub>, Single];
    Subpd_xmm_xmmm128 => register packed_rr[Each<Sub>, Double], memory packed_rm[Each<Sub>, Double];
    Mulss_xmm_xmmm32 => register scalar_rr[Mul, Single], memory scalar_rm[Mul, Single];
    Mulsd_xmm_xmmm64 => register scalar_rr[Mul, Double], memory scalar_rm[Mul, Double];
    Mulps_xmm_xmmm128 => register packed_rr[Each<Mul>, Single], memory packed_rm[Each<Mul>, Single];
    Mulpd_xmm_xmmm128 => register packed_rr[Each<Mul>, Double], memory packed_rm[Each<Mul>, Double];
    Divss_xmm_xmmm32 => register scalar_rr[Div, Single], memory scalar_rm[Div, Single];
    Divsd_xmm_xmmm64 => register scalar_rr[Div, Double], memory scalar_rm[Div, Double];
    Divps_xmm_xmmm128 => register packed_rr[Each<Div>, Single], memory packed_rm[Each<Div>, Single];
    Divpd_xmm_xmmm128 => register packed_rr[Each<Div>, Double], memory packed_rm[Each<Div>, Double];
    Minss_xmm_xmmm32 => register scalar_rr[Min, Single], memory scalar_rm[Min, Single];
    Minsd_xmm_xmmm64 => register scalar_rr[Min, Double], memory scalar_rm[Min, Double];
    Minps_xmm_xmmm128 => register packed_rr[Each<Min>, Single], memory packed_rm[Each<Min>, Single];
    Minpd_xmm_xmmm128 => register packed_rr[Each<Min>, Double], memory packed_rm[Each<Min>, Double];
    Maxss_xmm_xmmm32 => register scalar_rr[Max, Single], memory scalar_rm[Max, Single];
    Maxsd_xmm_xmmm64 => register scalar_rr[Max, Double], memory scalar_rm[Max, Double];
    Maxps_xmm_xmmm128 => register packed_rr[Each<Max>, Single], memory packed_rm[Each<Max>, Single];
    Maxpd_xmm_xmmm128 => register packed_rr[Each<Max>, Double], memory packed_rm[Each<Max>, Double];
    Sqrtss_xmm_xmmm32 => register scalar_rr[Sqrt, Single], memory scalar_rm[Sqrt, Single];
    Sqrtsd_xmm_xmmm64 => register scalar_rr[Sqrt, Double], memory scalar_rm[Sqrt, Double];
    Sqrtps_xmm_xmmm128 => register packed_rr[Each<Sqrt>, Single], memory packed_rm[Each<Sqrt>, Single];
    Sqrtpd_xmm_xmmm128 => register packed_rr[Each<Sqrt>, Double], memory packed_rm[Each<Sqrt>, Double];
    Roundss_xmm_xmmm32_imm8 => call scalar_rr[Round, Single], call_memory scalar_rm[Round, Single];
    Roundsd_xmm_xmmm64_imm8 => call scalar_rr[Round, Double], call_memory scalar_rm[Round, Double];
    Roundps_xmm_xmmm128_imm8 => call packed_rr[Each<Round>, Single], call_memory packed_rm[Each<Round>, Single];
    Roundpd_xmm_xmmm128_imm8 => call packed_rr[Each<Round>, Double], call_memory packed_rm[Each<Round>, Double];
    Cmpss_xmm_xmmm32_imm8 => register scalar_rr[Cmp, Single], memory scalar_rm[Cmp, Single];
    Cmpsd_xmm_xmmm64_imm8 => register scalar_rr[Cmp, Double], memory scalar_rm[Cmp, Double];
    Cmpps_xmm_xmmm128_imm8 => register packed_rr[Each<Cmp>, Single], memory packed_rm[Each<Cmp>, Single];
    Cmppd_xmm_xmmm128_imm8 => register packed_rr[Each<Cmp>, Double], memory packed_rm[Each<Cmp>, Double];
    Rcpss_xmm_xmmm32 => call scalar_rr[Rcp, Single], call_memory scalar_rm[Rcp, Single];
    Rcpps_xmm_xmmm128 => call packed_rr[Each<Rcp>, Single], call_memory packed_rm[Each<Rcp>, Single];
    Rsqrtss_xmm_xmmm32 => call scalar_rr[Rsqrt, Single], call_memory scalar_rm[Rsqrt, Single];
    Rsqrtps_xmm_xmmm128 => call packed_rr[Each<Rsqrt>, Single], call_memory packed_rm[Each<Rsqrt>, Single];
    Addsubps_xmm_xmmm128 => call packed_rr[AddSub, Single], call_memory packed_rm[AddSub, Single];
    Addsubpd_xmm_xmmm128 => call packed_rr[AddSub, Double], call_memory packed_rm[AddSub, Double];
    Haddps_xmm_xmmm128 => call packed_rr[Horizontal<Add>, Single], call_memory packed_rm[Horizontal<Add>, Single];
    Haddpd_xmm_xmmm128 => call packed_rr[Horizontal<Add>, Double], call_memory packed_rm[Horizontal<Add>, Double];
    Hsubps_xmm_xmmm128 => call packed_rr[Horizontal<Sub>, Single], call_memory packed_rm[Horizontal<Sub>, Single];
    Hsubpd_xmm_xmmm128 => call packed_rr[Horizontal<Sub>, Double], call_memory packed_rm[Horizontal<Sub>, Double];
    Dpps_xmm_xmmm128_imm8 => call packed_rr[DotProduct, Single], call_memory packed_rm[DotProduct, Single];
    Dppd_xmm_xmmm128_imm8 => call packed_rr[DotProduct, Double], call_memory packed_rm[DotProduct, Double];
}
