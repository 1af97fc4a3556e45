//! SSE scalar operations against the host.

use super::super::sse::{self, Predicate};
use super::super::{Double, Flags, Format, Mxcsr, Relation, Rounding, Single, Width};
use super::{Random, host};

/// Cases per operation.
const CASES: usize = 400_000;

/// All exceptions masked; random rounding, DAZ and FTZ; often with flags up already.
fn environment(random: &mut Random) -> Mxcsr {
    let bits = 0x1F80 | (random.bits() & 0x8040) as u32 | (random.below(4) << 13) as u32;
    let sticky = [0, 0x20, 0x3F, 0x20][random.below(4) as usize];
    Mxcsr::new(bits | sticky)
}

fn after(mxcsr: Mxcsr, raised: Flags) -> u32 {
    assert!(!raised.intersects(Flags::ROUNDED_UP));
    let mut mxcsr = mxcsr;
    mxcsr.accrue(raised).unwrap();
    mxcsr.bits()
}

type Ours<F> = fn(<F as Format>::Bits, <F as Format>::Bits, Mxcsr) -> (<F as Format>::Bits, Flags);
type Hosts<F> = fn(<F as Format>::Bits, <F as Format>::Bits, u32) -> (<F as Format>::Bits, u32);

fn check<F: Format>(name: &str, ours: Ours<F>, hosts: Hosts<F>) {
    let mut random = Random::new(1);
    for _ in 0..CASES {
        let mxcsr = environment(&mut random);
        let (a, b) = random.operands::<F>();
        let (result, flags) = ours(a, b, mxcsr);
        let (expected, expected_mxcsr) = hosts(a, b, mxcsr.bits());
        let found = after(mxcsr, flags);
        assert!(
            (result, found) == (expected, expected_mxcsr),
            "{name} {a:x?}, {b:x?} under {:x}: {result:x?}, {found:x}; the host {expected:x?}, {expected_mxcsr:x}",
            mxcsr.bits()
        );
    }
}

#[test]
fn addition_and_subtraction() {
    check::<Single>("addss", sse::add::<Single>, host::addss);
    check::<Double>("addsd", sse::add::<Double>, host::addsd);
    check::<Single>("subss", sse::sub::<Single>, host::subss);
    check::<Double>("subsd", sse::sub::<Double>, host::subsd);
}

#[test]
fn multiplication_and_division() {
    check::<Single>("mulss", sse::mul::<Single>, host::mulss);
    check::<Double>("mulsd", sse::mul::<Double>, host::mulsd);
    check::<Single>("divss", sse::div::<Single>, host::divss);
    check::<Double>("divsd", sse::div::<Double>, host::divsd);
}

#[test]
fn square_root() {
    check::<Single>("sqrtss", |_, b, mxcsr| sse::sqrt::<Single>(b, mxcsr), host::sqrtss);
    check::<Double>("sqrtsd", |_, b, mxcsr| sse::sqrt::<Double>(b, mxcsr), host::sqrtsd);
}

#[test]
fn minimum_and_maximum() {
    check::<Single>("minss", sse::min::<Single>, host::minss);
    check::<Double>("minsd", sse::min::<Double>, host::minsd);
    check::<Single>("maxss", sse::max::<Single>, host::maxss);
    check::<Double>("maxsd", sse::max::<Double>, host::maxsd);
}

#[test]
fn comparison_predicates() {
    macro_rules! predicate {
        ($single:ident, $double:ident, $immediate:literal) => {
            check::<Single>(
                stringify!($single),
                |a, b, mxcsr| {
                    let (holds, flags) = sse::compare::<Single>(a, b, Predicate::from_immediate($immediate), mxcsr);
                    (if holds { u32::MAX } else { 0 }, flags)
                },
                host::$single,
            );
            check::<Double>(
                stringify!($double),
                |a, b, mxcsr| {
                    let (holds, flags) = sse::compare::<Double>(a, b, Predicate::from_immediate($immediate), mxcsr);
                    (if holds { u64::MAX } else { 0 }, flags)
                },
                host::$double,
            );
        };
    }
    predicate!(cmpss0, cmpsd0, 0);
    predicate!(cmpss1, cmpsd1, 1);
    predicate!(cmpss2, cmpsd2, 2);
    predicate!(cmpss3, cmpsd3, 3);
    predicate!(cmpss4, cmpsd4, 4);
    predicate!(cmpss5, cmpsd5, 5);
    predicate!(cmpss6, cmpsd6, 6);
    predicate!(cmpss7, cmpsd7, 7);
}

fn check_order<F: Format>(name: &str, quiet: bool, hosts: fn(F::Bits, F::Bits, u32) -> (u64, u32)) {
    let mut random = Random::new(2);
    for _ in 0..CASES {
        let mxcsr = environment(&mut random);
        let (a, b) = random.operands::<F>();
        let (relation, flags) = sse::order::<F>(a, b, quiet, mxcsr);
        let (rflags, expected_mxcsr) = hosts(a, b, mxcsr.bits());
        let expected = match rflags & 0x45 {
            0x00 => Relation::Greater,
            0x01 => Relation::Less,
            0x40 => Relation::Equal,
            _ => Relation::Unordered,
        };
        assert_eq!((relation, after(mxcsr, flags)), (expected, expected_mxcsr), "{name} {a:x?}, {b:x?} under {:x}", mxcsr.bits());
    }
}

#[test]
fn ordering_into_rflags() {
    check_order::<Single>("comiss", false, host::comiss);
    check_order::<Double>("comisd", false, host::comisd);
    check_order::<Single>("ucomiss", true, host::ucomiss);
    check_order::<Double>("ucomisd", true, host::ucomisd);
}

#[test]
fn rounding_to_integral_values() {
    macro_rules! rounding {
        ($single:ident, $double:ident, $immediate:literal) => {
            fn mode(mxcsr: Mxcsr) -> Rounding {
                if $immediate & 4 != 0 { mxcsr.rounding() } else { Rounding::from_control($immediate) }
            }
            let single = |_, b, mxcsr| sse::round_to_integral::<Single>(b, mode(mxcsr), $immediate & 8 != 0, mxcsr);
            check::<Single>(stringify!($single), single, host::$single);
            let double = |_, b, mxcsr| sse::round_to_integral::<Double>(b, mode(mxcsr), $immediate & 8 != 0, mxcsr);
            check::<Double>(stringify!($double), double, host::$double);
        };
    }
    {
        rounding!(roundss0, roundsd0, 0);
    }
    {
        rounding!(roundss1, roundsd1, 1);
    }
    {
        rounding!(roundss2, roundsd2, 2);
    }
    {
        rounding!(roundss3, roundsd3, 3);
    }
    {
        rounding!(roundss4, roundsd4, 4);
    }
    {
        rounding!(roundss12, roundsd12, 12);
    }
}

#[test]
fn conversion_between_formats() {
    check::<Double>("cvtss2sd", |_, b, mxcsr| sse::resize::<Single, Double>(b as u32, mxcsr), host::cvtss2sd);
    let mut random = Random::new(3);
    for _ in 0..CASES {
        let mxcsr = environment(&mut random);
        let narrow = u64::from(random.operand::<Single>());
        let (result, flags) = sse::resize::<Single, Double>(narrow as u32, mxcsr);
        assert_eq!((result, after(mxcsr, flags)), host::cvtss2sd(0, narrow, mxcsr.bits()), "cvtss2sd {narrow:x} under {:x}", mxcsr.bits());
    }
    let narrowing: Ours<Double> = |_, b, mxcsr| {
        let (result, flags) = sse::resize::<Double, Single>(b, mxcsr);
        (result.into(), flags)
    };
    check::<Double>("cvtsd2ss", narrowing, |_, b, mxcsr| host::cvtsd2ss(0, b, mxcsr));
    // Doubles near the ends of the narrower format.
    for _ in 0..CASES {
        let mxcsr = environment(&mut random);
        let exponent = [896, 870, 1150][random.below(3) as usize] + random.below(10);
        let wide = random.operand::<Double>() & 0x800F_FFFF_FFFF_FFFF | exponent << 52;
        let (result, flags) = narrowing(0, wide, mxcsr);
        assert_eq!((result, after(mxcsr, flags)), host::cvtsd2ss(0, wide, mxcsr.bits()), "cvtsd2ss {wide:x} under {:x}", mxcsr.bits());
    }
}

type HostInteger = fn(u64, u32) -> (u64, u32);

fn check_to_int<F: Format>(name: &str, width: Width, truncate: bool, hosts: HostInteger) {
    let mut random = Random::new(4);
    for _ in 0..CASES {
        let mxcsr = environment(&mut random);
        let operand = random.operand::<F>();
        let rounding = if truncate { Rounding::Zero } else { mxcsr.rounding() };
        let (value, flags) = sse::to_int::<F>(operand, width, rounding, mxcsr);
        let value = if width == Width::W32 { u64::from(value as u32) } else { value as u64 };
        let found = (value, after(mxcsr, flags));
        assert_eq!(found, hosts(operand.into(), mxcsr.bits()), "{name} {operand:x?} under {:x}", mxcsr.bits());
    }
}

#[test]
fn conversion_to_integers() {
    check_to_int::<Single>("cvtss2si r32", Width::W32, false, host::cvtss2si32);
    check_to_int::<Single>("cvtss2si r64", Width::W64, false, host::cvtss2si64);
    check_to_int::<Double>("cvtsd2si r32", Width::W32, false, host::cvtsd2si32);
    check_to_int::<Double>("cvtsd2si r64", Width::W64, false, host::cvtsd2si64);
    check_to_int::<Single>("cvttss2si r32", Width::W32, true, host::cvttss2si32);
    check_to_int::<Single>("cvttss2si r64", Width::W64, true, host::cvttss2si64);
    check_to_int::<Double>("cvttsd2si r32", Width::W32, true, host::cvttsd2si32);
    check_to_int::<Double>("cvttsd2si r64", Width::W64, true, host::cvttsd2si64);
}

fn check_from_int<F: Format>(name: &str, wide: bool, hosts: HostInteger) {
    let mut random = Random::new(5);
    for _ in 0..CASES {
        let mxcsr = environment(&mut random);
        let random_bits = random.significand(64) >> random.below(64);
        let operand = if random.below(2) == 0 { random_bits } else { random_bits.wrapping_neg() };
        let value = if wide { operand as i64 } else { i64::from(operand as i32) };
        let (result, flags) = sse::from_int::<F>(value, mxcsr);
        let found = (result.into(), after(mxcsr, flags));
        assert_eq!(found, hosts(operand, mxcsr.bits()), "{name} {operand:x} under {:x}", mxcsr.bits());
    }
}

#[test]
fn conversion_from_integers() {
    check_from_int::<Single>("cvtsi2ss r32", false, host::cvtsi2ss32);
    check_from_int::<Single>("cvtsi2ss r64", true, host::cvtsi2ss64);
    check_from_int::<Double>("cvtsi2sd r32", false, host::cvtsi2sd32);
    check_from_int::<Double>("cvtsi2sd r64", true, host::cvtsi2sd64);
}

/// Ours within the architectural bound of the true value, and the host's special cases bit by bit.
fn check_approximation(name: &str, ours: fn(u32) -> u32, hosts: fn(u32, u32, u32) -> (u32, u32), truth: fn(f64) -> f64) {
    let mut random = Random::new(6);
    for case in 0..CASES {
        let operand = random.operand::<Single>();
        let (expected, mxcsr) = hosts(0, operand, 0x1F80);
        assert_eq!(mxcsr, 0x1F80);
        let result = ours(operand);
        let exact = truth(f64::from(f32::from_bits(operand)));
        // Near the smallest normal number an approximation may be tiny, and so zero.
        if (1.001 * f64::from(f32::MIN_POSITIVE)..1e38).contains(&exact.abs()) && !Single::is_denormal(operand) {
            let error = (f64::from(f32::from_bits(result)) - exact) / exact;
            assert!(error.abs() < 1.5 / 4096.0, "{name} {operand:x} (case {case}): off by {error:e}");
        } else if exact.is_nan() || exact == 0.0 || exact.is_infinite() {
            assert_eq!(result, expected, "{name} {operand:x}");
        }
    }
}

#[test]
fn approximations() {
    check_approximation("rcpss", sse::reciprocal, host::rcpss, |x| 1.0 / x);
    check_approximation("rsqrtss", sse::reciprocal_sqrt, host::rsqrtss, |x| 1.0 / x.sqrt());
}
