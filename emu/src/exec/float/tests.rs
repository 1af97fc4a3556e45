//! What no host can judge: unmasked responses of SSE, and the transcendental functions against multi-precision arithmetic.

use super::{ControlWord, Double, F80, Flags, Format, Mxcsr, Operand, Single, Unmasked, sse, x87};

/// MXCSR with one exception unmasked, bits of the flags.
fn unmasking(flag: Flags) -> Mxcsr {
    Mxcsr::new(Mxcsr::RESET.bits() & !(u32::from(flag.bits()) << 7))
}

fn power(exponent: i32) -> u32 {
    2f32.powi(exponent).to_bits()
}

#[test]
fn an_unmasked_underflow_reports_exact_tiny_results() {
    let (a, b) = (power(-100), power(-30));
    assert_eq!(sse::mul::<Single>(a, b, Mxcsr::RESET), (1 << 19, Flags::NONE));
    assert_eq!(sse::mul::<Single>(a, b, unmasking(Flags::UNDERFLOW)).1, Flags::UNDERFLOW);
    // FTZ acts only while underflow is masked.
    let flushing = Mxcsr::new(Mxcsr::RESET.bits() | 1 << 15);
    assert_eq!(sse::mul::<Single>(a, b, flushing), (0, Flags::UNDERFLOW | Flags::PRECISION));
    let flushing = Mxcsr::new(unmasking(Flags::UNDERFLOW).bits() | 1 << 15);
    assert_eq!(sse::mul::<Single>(a, b, flushing).1, Flags::UNDERFLOW);
}

#[test]
fn an_unmasked_overflow_is_inexact_only_if_rounded() {
    let large = power(100);
    assert_eq!(sse::mul::<Single>(large, large, Mxcsr::RESET).1, Flags::OVERFLOW | Flags::PRECISION);
    assert_eq!(sse::mul::<Single>(large, large, unmasking(Flags::OVERFLOW)).1, Flags::OVERFLOW);
    let odd = large | 1;
    assert_eq!(sse::mul::<Single>(odd, odd, unmasking(Flags::OVERFLOW)).1, Flags::OVERFLOW | Flags::PRECISION);
}

#[test]
fn an_unmasked_exception_of_an_operand_hides_those_of_results() {
    let mut mxcsr = unmasking(Flags::DENORMAL);
    let before = mxcsr.bits();
    assert_eq!(mxcsr.accrue(Flags::DENORMAL | Flags::ZERO_DIVIDE | Flags::PRECISION), Err(Unmasked));
    assert_eq!(mxcsr.bits(), before | 0b110);
    let mut mxcsr = unmasking(Flags::PRECISION);
    let before = mxcsr.bits();
    assert_eq!(mxcsr.accrue(Flags::DENORMAL | Flags::PRECISION), Err(Unmasked));
    assert_eq!(mxcsr.bits(), before | 0b10_0010);
}

#[test]
fn an_unmasked_inexact_result_is_reported_each_time() {
    let mut mxcsr = Mxcsr::new(unmasking(Flags::PRECISION).bits() | 0x20);
    let (sum, flags) = sse::add::<Double>(1f64.to_bits(), (1e-30f64).to_bits(), mxcsr);
    assert_eq!((sum, flags), (1f64.to_bits(), Flags::PRECISION));
    assert_eq!(mxcsr.accrue(flags), Err(Unmasked));
}

#[test]
fn the_first_nan_comes_out() {
    let (quiet, signaling, other) = (0x7FF8_0000_0000_1234, 0xFFF0_0000_0000_0077, 0x7FFC_0000_0000_0001);
    let add = |a, b| sse::add::<Double>(a, b, Mxcsr::RESET);
    assert_eq!(add(quiet, other), (quiet, Flags::NONE));
    assert_eq!(add(signaling, quiet), (0xFFF8_0000_0000_0077, Flags::INVALID));
    assert_eq!(add(quiet, signaling), (quiet, Flags::INVALID));
    assert_eq!(add(1f64.to_bits(), other), (other, Flags::NONE));
    assert_eq!(add(Double::INFINITY, Double::INFINITY | Double::SIGN), (Double::DEFAULT_NAN, Flags::INVALID));
}

#[test]
fn approximations_are_pinned() {
    let inputs = [1.0f32, 1.5, 2.0, 3.0, 100.0, 1e-30, 1e30];
    let reciprocals = [0x3F7F_F800, 0x3F2A_A600, 0x3EFF_F800, 0x3EAA_A600, 0x3C23_D200, 0x7149_F000, 0x0DA2_4000];
    let roots = [0x3F7F_FC00, 0x3F51_0200, 0x3F35_0200, 0x3F13_CA00, 0x3DCC_CA00, 0x5863_5E00, 0x2690_1C00];
    assert_eq!(inputs.map(|x| sse::reciprocal(x.to_bits())), reciprocals);
    assert_eq!(inputs.map(|x| sse::reciprocal_sqrt(x.to_bits())), roots);
}

#[test]
fn approximations_keep_the_architectural_bound() {
    for bits in (127u32 << 23..129 << 23).step_by(3) {
        let x = f64::from(f32::from_bits(bits));
        let reciprocal = f64::from(f32::from_bits(sse::reciprocal(bits)));
        let root = f64::from(f32::from_bits(sse::reciprocal_sqrt(bits)));
        assert!((reciprocal * x - 1.0).abs() * 4096.0 < 1.0, "{bits:x}");
        assert!((root * x.sqrt() - 1.0).abs() * 4096.0 < 1.0, "{bits:x}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Function {
    Sine,
    Cosine,
    Tangent,
    Arctangent,
    Exp2M1,
    Log2,
    Log2P1,
}
use Function::{Arctangent, Cosine, Exp2M1, Log2, Log2P1, Sine, Tangent};

type Register = (u16, u64);

#[test]
fn transcendental_functions_are_rounded_correctly() {
    let value = |(sign_exponent, significand)| F80 { significand, sign_exponent };
    for (function, rounding, st0, st1, expected) in VECTORS {
        let control = ControlWord::from_bits(ControlWord::INIT.bits() | rounding << 10);
        let (a, b) = (Operand::extended(value(st0)), Operand::extended(value(st1)));
        let (result, flags) = match function {
            Sine => x87::sine(&a, control).unwrap(),
            Cosine => x87::cosine(&a, control).unwrap(),
            Tangent => x87::tangent(&a, control).unwrap(),
            Arctangent => x87::arctangent(&b, &a, control),
            Exp2M1 => x87::exp2m1(&a, control),
            Log2 => x87::log2(&b, &a, control),
            Log2P1 => x87::log2p1(&b, &a, control),
        };
        assert_eq!(result, value(expected), "{function:?} of {st0:x?}, {st1:x?}, rounding {rounding}");
        assert!(flags.intersects(Flags::PRECISION));
    }
}

#[test]
fn exact_logarithms_are_exact() {
    let control = ControlWord::INIT;
    let eight = Operand::integer(8);
    let (result, flags) = x87::log2(&Operand::integer(5), &eight, control);
    assert_eq!((result, flags), (x87::from_int(15), Flags::NONE));
    let (result, flags) = x87::exp2m1(&Operand::integer(1), control);
    assert_eq!((result, flags), (F80::ONE, Flags::NONE));
}

/// Function, rounding control, ST(0), ST(1), result; computed with 600 bits.
#[rustfmt::skip]
const VECTORS: [(Function, u16, Register, Register, Register); 55] = [
    (Arctangent, 0, (0xc00d, 0x8000000000000015), (0x400f, 0xad7c27354f596727), (0x3fff, 0xe068dc98a2f000b3)),
    (Arctangent, 1, (0xbfdf, 0x8636f00000000000), (0xc041, 0x9e610bbc0825c7cc), (0xbfff, 0xc90fdaa22168c235)),
    (Arctangent, 2, (0xbfc1, 0xd58b1a03b4581e37), (0xbffc, 0x8000000000000000), (0xbfff, 0xc90fdaa22168c24f)),
    (Arctangent, 3, (0xbfd5, 0x98c006107b8fba72), (0xc030, 0xffffffffffffffff), (0xbfff, 0xc90fdaa22168c234)),
    (Arctangent, 0, (0xbfe1, 0x8000000000000000), (0xc00a, 0x8000000000000000), (0xbfff, 0xc90fdaa221a8c235)),
    (Arctangent, 1, (0x4030, 0xe3b6300000000000), (0xc002, 0xbd3c980000000000), (0xbfd0, 0xd4becdc5485bfca9)),
    (Arctangent, 2, (0xc013, 0xa5b9800000000000), (0xc03a, 0xf89280ece911738d), (0xbfff, 0xc90fdaa222136f71)),
    (Arctangent, 3, (0xc027, 0x8000000000000006), (0xbfe7, 0xffffffffffffffff), (0xc000, 0xc90fdaa22168c234)),
    (Cosine, 0, (0xbfe4, 0xffffffffffffffff), (0x0000, 0x0000000000000000), (0x3ffe, 0xfffffffffffff800)),
    (Cosine, 1, (0xc00e, 0xaedf200000000000), (0x0000, 0x0000000000000000), (0x3ffe, 0xd77bba2326b78a8a)),
    (Cosine, 2, (0x400b, 0x8000000000000004), (0x0000, 0x0000000000000000), (0x3ffe, 0xcdd2542f3673ae36)),
    (Cosine, 3, (0xc033, 0xac3c0685a4e15158), (0x0000, 0x0000000000000000), (0x3ffe, 0xe418b2a6130bba14)),
    (Cosine, 0, (0xc039, 0x849daeeaf6e0ff05), (0x0000, 0x0000000000000000), (0xbffd, 0xdecbfde0fb56f49f)),
    (Cosine, 1, (0xc01e, 0xe4158953796a48a1), (0x0000, 0x0000000000000000), (0xbffd, 0xedcb6bb432381c24)),
    (Cosine, 2, (0x3fe9, 0x8000000000000000), (0x0000, 0x0000000000000000), (0x3ffe, 0xfffffffffff80001)),
    (Cosine, 3, (0xbfff, 0x8000000000000000), (0x0000, 0x0000000000000000), (0x3ffe, 0x8a51407da8345c91)),
    (Exp2M1, 0, (0x3fce, 0xa3c6140e687c966c), (0x0000, 0x0000000000000000), (0x3fcd, 0xe309e2d07599b6a3)),
    (Exp2M1, 1, (0x3fbe, 0xe8e526e2edfde416), (0x0000, 0x0000000000000000), (0x3fbe, 0xa16e3bbc421142d2)),
    (Exp2M1, 2, (0x3fd4, 0xed16980000000000), (0x0000, 0x0000000000000000), (0x3fd4, 0xa456495a3ad16fe2)),
    (Exp2M1, 3, (0x3ff1, 0x996d77cf2a8a49f0), (0x0000, 0x0000000000000000), (0x3ff0, 0xd4b38356754febe2)),
    (Exp2M1, 0, (0xbfe4, 0xffffffffffffffff), (0x0000, 0x0000000000000000), (0xbfe4, 0xb17217e871f07acd)),
    (Exp2M1, 1, (0x3ff1, 0x8000000000000011), (0x0000, 0x0000000000000000), (0x3ff0, 0xb1730df6a524743d)),
    (Exp2M1, 2, (0x3fbe, 0x8000000000000003), (0x0000, 0x0000000000000000), (0x3fbd, 0xb17217f7d1cf79b1)),
    (Exp2M1, 3, (0xbffb, 0xb1e6ac8d3d13e9b6), (0x0000, 0x0000000000000000), (0xbffa, 0xef5869c20a0e7804)),
    (Log2, 1, (0x31a4, 0x8dd4ad2a767d5274), (0x4004, 0x9aaf900000000000), (0xc010, 0x8ac7f6264e7df9c0)),
    (Log2, 2, (0x3fff, 0xffffffffffffffff), (0xbfd5, 0xfadb3f378820e3bd), (0xbfd5, 0xfadb3f378820e3bb)),
    (Log2, 3, (0x4a15, 0x95fe680000000000), (0xc03d, 0xcfd69dfa4d7b8661), (0xc049, 0x8306e28d60f0637f)),
    (Log2, 0, (0x70fb, 0xfbe7500000000000), (0xbfd0, 0xf25d206ad23c6940), (0xbfde, 0xb983d9e48a6eef16)),
    (Log2, 1, (0x65fc, 0x800000000000000b), (0x3fda, 0x8000000000000000), (0x3fe7, 0x97f4000000000000)),
    (Log2, 2, (0x3fff, 0xffffffffffffffff), (0x3fca, 0x8000000000000000), (0x3fc9, 0xffffffffffffffff)),
    (Log2, 3, (0x43c3, 0x86de4de062766b80), (0x3ff2, 0xffffffffffffffff), (0x3ffc, 0xf104d37d4cc25243)),
    (Log2P1, 0, (0x3fbe, 0xd866f48bf7f35634), (0x4005, 0x8000000000000000), (0x3fc5, 0x9c19e625afdc36be)),
    (Log2P1, 1, (0xbff3, 0xf64c180000000000), (0xbfd0, 0x8000000000000002), (0x3fc5, 0xb1b528789196f8f2)),
    (Log2P1, 2, (0x3fd0, 0xe419300000000000), (0x4015, 0x8000000000000012), (0x3fe7, 0xa489c7f08825ece4)),
    (Log2P1, 3, (0x3fa8, 0xffffffffffffffff), (0x3fe7, 0xffffffffffffffff), (0x3f92, 0xb8aa3b295c17f0ba)),
    (Log2P1, 0, (0x3fed, 0xf2158573e06248b4), (0x4027, 0xfc7964a27ac56992), (0x4017, 0xac389623d67d66ad)),
    (Log2P1, 1, (0x3ffc, 0xb6bfe80000000000), (0xc034, 0xb228a7a179c8c490), (0xc032, 0xa8d4b5629819b427)),
    (Log2P1, 2, (0x3fc8, 0xb303080000000000), (0x3fdb, 0xd7bdb1225087a27e), (0x3fa5, 0xd9a52858f3644201)),
    (Log2P1, 3, (0xbfb6, 0xaaa8680000000000), (0xc012, 0x9176633f60cdb5d6), (0x3fca, 0x8be5e7b93059c11a)),
    (Sine, 0, (0xbff0, 0xdeb4f80000000000), (0x0000, 0x0000000000000000), (0xbff0, 0xdeb4f7fe3e8a8d10)),
    (Sine, 1, (0xbfde, 0x8000000000000000), (0x0000, 0x0000000000000000), (0xbfde, 0x8000000000000000)),
    (Sine, 2, (0xc023, 0xf541c2a5faa30fac), (0x0000, 0x0000000000000000), (0xbff9, 0xb12395e906b05e50)),
    (Sine, 3, (0xc028, 0xa4f8400000000000), (0x0000, 0x0000000000000000), (0x3ffe, 0xc9c529f530a7bc8c)),
    (Sine, 0, (0x400e, 0x8000000000000000), (0x0000, 0x0000000000000000), (0x3ffe, 0xed87fe1f66371ee9)),
    (Sine, 1, (0x4020, 0x8000000000000000), (0x0000, 0x0000000000000000), (0x3ffe, 0xd1c81c7841b034e4)),
    (Sine, 2, (0xc02e, 0x8000000000000000), (0x0000, 0x0000000000000000), (0x3ffb, 0x84e26225a910d778)),
    (Sine, 3, (0x3fbf, 0xffffffffffffffff), (0x0000, 0x0000000000000000), (0x3fbf, 0xfffffffffffffffe)),
    (Tangent, 0, (0xbfcb, 0xc599f00000000000), (0x0000, 0x0000000000000000), (0xbfcb, 0xc599f00000000000)),
    (Tangent, 1, (0xbfb1, 0xffffffffffffffff), (0x0000, 0x0000000000000000), (0xbfb2, 0x8000000000000000)),
    (Tangent, 2, (0x4018, 0x931a78b75f7cc5d8), (0x0000, 0x0000000000000000), (0x3fff, 0xce7073ad6398d893)),
    (Tangent, 3, (0x4008, 0xeef8ebcfdeb280e6), (0x0000, 0x0000000000000000), (0x3fff, 0x904fb130b23f6baf)),
    (Tangent, 0, (0xc03a, 0xffffffffffffffff), (0x0000, 0x0000000000000000), (0xbfff, 0xa7d6bfa7d27fc7b1)),
    (Tangent, 1, (0x3ff3, 0xa587315f492582c0), (0x0000, 0x0000000000000000), (0x3ff3, 0xa58731bb8effc9e4)),
    (Tangent, 2, (0xc004, 0x8000000000000000), (0x0000, 0x0000000000000000), (0xbffe, 0xa937b122a1951e9a)),
    (Tangent, 3, (0x4006, 0xee83600000000000), (0x0000, 0x0000000000000000), (0xbffd, 0x819149f95905a759)),
];
