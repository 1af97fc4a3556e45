//! Single instructions on the host's processor, each with its environment set before and read after.

use super::super::F80;

/// Defines functions that run one SSE instruction on two operands under an MXCSR and give the destination and the MXCSR after.
macro_rules! sse_binary {
    ($($name:ident($bits:ty, $load:literal) = $instruction:literal;)*) => {$(
        pub(in super::super) fn $name(a: $bits, b: $bits, mut mxcsr: u32) -> ($bits, u32) {
            let mut result = a;
            let default = 0x1F80u32;
            // SAFETY: all exceptions are masked, memory is that of the locals, and MXCSR is put back.
            unsafe {
                core::arch::asm!(
                    concat!($load, " {x}, [{a}]"),
                    concat!($load, " {y}, [{b}]"),
                    "ldmxcsr [{m}]",
                    $instruction,
                    "stmxcsr [{m}]",
                    "ldmxcsr [{d}]",
                    concat!($load, " [{a}], {x}"),
                    a = in(reg) &raw mut result, b = in(reg) &raw const b, m = in(reg) &raw mut mxcsr, d = in(reg) &raw const default,
                    x = out(xmm_reg) _, y = out(xmm_reg) _, options(nostack),
                );
            }
            (result, mxcsr)
        }
    )*};
}

sse_binary! {
    addss(u32, "movss") = "addss {x}, {y}";
    addsd(u64, "movsd") = "addsd {x}, {y}";
    subss(u32, "movss") = "subss {x}, {y}";
    subsd(u64, "movsd") = "subsd {x}, {y}";
    mulss(u32, "movss") = "mulss {x}, {y}";
    mulsd(u64, "movsd") = "mulsd {x}, {y}";
    divss(u32, "movss") = "divss {x}, {y}";
    divsd(u64, "movsd") = "divsd {x}, {y}";
    sqrtss(u32, "movss") = "sqrtss {x}, {y}";
    sqrtsd(u64, "movsd") = "sqrtsd {x}, {y}";
    minss(u32, "movss") = "minss {x}, {y}";
    minsd(u64, "movsd") = "minsd {x}, {y}";
    maxss(u32, "movss") = "maxss {x}, {y}";
    maxsd(u64, "movsd") = "maxsd {x}, {y}";
    cmpss0(u32, "movss") = "cmpss {x}, {y}, 0";
    cmpss1(u32, "movss") = "cmpss {x}, {y}, 1";
    cmpss2(u32, "movss") = "cmpss {x}, {y}, 2";
    cmpss3(u32, "movss") = "cmpss {x}, {y}, 3";
    cmpss4(u32, "movss") = "cmpss {x}, {y}, 4";
    cmpss5(u32, "movss") = "cmpss {x}, {y}, 5";
    cmpss6(u32, "movss") = "cmpss {x}, {y}, 6";
    cmpss7(u32, "movss") = "cmpss {x}, {y}, 7";
    cmpsd0(u64, "movsd") = "cmpsd {x}, {y}, 0";
    cmpsd1(u64, "movsd") = "cmpsd {x}, {y}, 1";
    cmpsd2(u64, "movsd") = "cmpsd {x}, {y}, 2";
    cmpsd3(u64, "movsd") = "cmpsd {x}, {y}, 3";
    cmpsd4(u64, "movsd") = "cmpsd {x}, {y}, 4";
    cmpsd5(u64, "movsd") = "cmpsd {x}, {y}, 5";
    cmpsd6(u64, "movsd") = "cmpsd {x}, {y}, 6";
    cmpsd7(u64, "movsd") = "cmpsd {x}, {y}, 7";
    roundss0(u32, "movss") = "roundss {x}, {y}, 0";
    roundss1(u32, "movss") = "roundss {x}, {y}, 1";
    roundss2(u32, "movss") = "roundss {x}, {y}, 2";
    roundss3(u32, "movss") = "roundss {x}, {y}, 3";
    roundss4(u32, "movss") = "roundss {x}, {y}, 4";
    roundss12(u32, "movss") = "roundss {x}, {y}, 12";
    roundsd0(u64, "movsd") = "roundsd {x}, {y}, 0";
    roundsd1(u64, "movsd") = "roundsd {x}, {y}, 1";
    roundsd2(u64, "movsd") = "roundsd {x}, {y}, 2";
    roundsd3(u64, "movsd") = "roundsd {x}, {y}, 3";
    roundsd4(u64, "movsd") = "roundsd {x}, {y}, 4";
    roundsd12(u64, "movsd") = "roundsd {x}, {y}, 12";
    cvtss2sd(u64, "movsd") = "cvtss2sd {x}, {y}";
    cvtsd2ss(u64, "movsd") = "cvtsd2ss {x}, {y}";
    rcpss(u32, "movss") = "rcpss {x}, {y}";
    rsqrtss(u32, "movss") = "rsqrtss {x}, {y}";
}

/// Defines functions that run one SSE instruction from or to a general register.
macro_rules! sse_integer {
    ($($name:ident = $before:literal, $instruction:literal, $after:literal;)*) => {$(
        pub(in super::super) fn $name(a: u64, mut mxcsr: u32) -> (u64, u32) {
            let mut result = a;
            let default = 0x1F80u32;
            // SAFETY: all exceptions are masked, memory is that of the locals, and MXCSR is put back.
            unsafe {
                core::arch::asm!(
                    "pxor {x}, {x}",
                    $before,
                    "ldmxcsr [{m}]",
                    $instruction,
                    "stmxcsr [{m}]",
                    "ldmxcsr [{d}]",
                    $after,
                    r = inout(reg) result, m = in(reg) &raw mut mxcsr, d = in(reg) &raw const default,
                    x = out(xmm_reg) _, options(nostack),
                );
            }
            (result, mxcsr)
        }
    )*};
}

sse_integer! {
    cvtss2si32 = "movq {x}, {r}", "cvtss2si {r:e}, {x}", "";
    cvtss2si64 = "movq {x}, {r}", "cvtss2si {r}, {x}", "";
    cvtsd2si32 = "movq {x}, {r}", "cvtsd2si {r:e}, {x}", "";
    cvtsd2si64 = "movq {x}, {r}", "cvtsd2si {r}, {x}", "";
    cvttss2si32 = "movq {x}, {r}", "cvttss2si {r:e}, {x}", "";
    cvttss2si64 = "movq {x}, {r}", "cvttss2si {r}, {x}", "";
    cvttsd2si32 = "movq {x}, {r}", "cvttsd2si {r:e}, {x}", "";
    cvttsd2si64 = "movq {x}, {r}", "cvttsd2si {r}, {x}", "";
    cvtsi2ss32 = "", "cvtsi2ss {x}, {r:e}", "movq {r}, {x}";
    cvtsi2ss64 = "", "cvtsi2ss {x}, {r}", "movq {r}, {x}";
    cvtsi2sd32 = "", "cvtsi2sd {x}, {r:e}", "movq {r}, {x}";
    cvtsi2sd64 = "", "cvtsi2sd {x}, {r}", "movq {r}, {x}";
}

/// Defines functions that compare two SSE operands and give RFLAGS and the MXCSR after.
macro_rules! sse_order {
    ($($name:ident($bits:ty, $load:literal) = $instruction:literal;)*) => {$(
        pub(in super::super) fn $name(a: $bits, b: $bits, mut mxcsr: u32) -> (u64, u32) {
            let rflags: u64;
            let default = 0x1F80u32;
            // SAFETY: all exceptions are masked, memory is that of the locals, MXCSR is put back, and the stack is balanced.
            unsafe {
                core::arch::asm!(
                    concat!($load, " {x}, [{a}]"),
                    concat!($load, " {y}, [{b}]"),
                    "ldmxcsr [{m}]",
                    $instruction,
                    "pushfq",
                    "pop {f}",
                    "stmxcsr [{m}]",
                    "ldmxcsr [{d}]",
                    a = in(reg) &raw const a, b = in(reg) &raw const b, m = in(reg) &raw mut mxcsr, d = in(reg) &raw const default,
                    f = out(reg) rflags, x = out(xmm_reg) _, y = out(xmm_reg) _,
                );
            }
            (rflags, mxcsr)
        }
    )*};
}

sse_order! {
    comiss(u32, "movss") = "comiss {x}, {y}";
    comisd(u64, "movsd") = "comisd {x}, {y}";
    ucomiss(u32, "movss") = "ucomiss {x}, {y}";
    ucomisd(u64, "movsd") = "ucomisd {x}, {y}";
}

/// What an x87 instruction left: ST(0), ST(1), the memory operand and the status word.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct X87 {
    pub st0: F80,
    pub st1: F80,
    pub memory: [u8; 16],
    pub status: u16,
}

/// An x87 instruction: control word, ST(0), ST(1), memory operand → what it left.
pub(in super::super) type Instruction = fn(u16, F80, F80, [u8; 16]) -> X87;

/// Defines functions that run one x87 instruction on a fresh stack of two values. Exceptions may be unmasked: they are cleared before any
/// waiting instruction.
macro_rules! x87 {
    ($($name:ident = $instruction:literal;)*) => {$(
        pub(in super::super) fn $name(control: u16, st0: F80, st1: F80, mut memory: [u8; 16]) -> X87 {
            let (mut upper, mut lower) = ([0u8; 16], [0u8; 16]);
            upper[..10].copy_from_slice(&st0.to_le_bytes());
            lower[..10].copy_from_slice(&st1.to_le_bytes());
            let status: u16;
            // SAFETY: pending exceptions are cleared before an instruction that would raise them, memory is that of the locals, and the
            // x87 is left as a function call must leave it.
            unsafe {
                core::arch::asm!(
                    "fninit",
                    "fld tbyte ptr [{b}]",
                    "fld tbyte ptr [{a}]",
                    "fldcw [{c}]",
                    concat!($instruction, " # {m}"),
                    "fnstsw ax",
                    "fnclex",
                    "fstp tbyte ptr [{a}]",
                    "fstp tbyte ptr [{b}]",
                    "fninit",
                    a = in(reg) &raw mut upper, b = in(reg) &raw mut lower, c = in(reg) &raw const control, m = in(reg) &raw mut memory,
                    out("ax") status,
                    out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                    out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                    options(nostack),
                );
            }
            let value = |bytes: [u8; 16]| F80::from_le_bytes(core::array::from_fn(|index| bytes[index]));
            X87 { st0: value(upper), st1: value(lower), memory, status }
        }
    )*};
}

x87! {
    fadd = "fadd st, st(1)";
    fsub = "fsub st, st(1)";
    fsubr = "fsubr st, st(1)";
    fmul = "fmul st, st(1)";
    fdiv = "fdiv st, st(1)";
    fdivr = "fdivr st, st(1)";
    fadd_m32 = "fadd dword ptr [{m}]";
    fsub_m64 = "fsub qword ptr [{m}]";
    fmul_m64 = "fmul qword ptr [{m}]";
    fdiv_m32 = "fdiv dword ptr [{m}]";
    fiadd_m16 = "fiadd word ptr [{m}]";
    fidivr_m32 = "fidivr dword ptr [{m}]";
    fsqrt = "fsqrt";
    fcom = "fcom st(1)";
    fucom = "fucom st(1)";
    fcom_m32 = "fcom dword ptr [{m}]";
    ftst = "ftst";
    fxam = "fxam";
    fld_m32 = "fld dword ptr [{m}]";
    fld_m64 = "fld qword ptr [{m}]";
    fild_m16 = "fild word ptr [{m}]";
    fild_m32 = "fild dword ptr [{m}]";
    fild_m64 = "fild qword ptr [{m}]";
    fbld = "fbld [{m}]";
    fst_m32 = "fst dword ptr [{m}]";
    fst_m64 = "fst qword ptr [{m}]";
    fist_m16 = "fist word ptr [{m}]";
    fist_m32 = "fist dword ptr [{m}]";
    fistp_m64 = "fistp qword ptr [{m}]";
    fisttp_m16 = "fisttp word ptr [{m}]";
    fisttp_m32 = "fisttp dword ptr [{m}]";
    fisttp_m64 = "fisttp qword ptr [{m}]";
    fbstp = "fbstp [{m}]";
    frndint = "frndint";
    fscale = "fscale";
    fxtract = "fxtract";
    fprem = "fprem";
    fprem1 = "fprem1";
    fld1 = "fld1";
    fldl2t = "fldl2t";
    fldl2e = "fldl2e";
    fldpi = "fldpi";
    fldlg2 = "fldlg2";
    fldln2 = "fldln2";
    fldz = "fldz";
    fsin = "fsin";
    fcos = "fcos";
    fptan = "fptan";
    fpatan = "fpatan";
    f2xm1 = "f2xm1";
    fyl2x = "fyl2x";
    fyl2xp1 = "fyl2xp1";
}
