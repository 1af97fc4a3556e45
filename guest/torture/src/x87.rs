//! x87: each instruction at three precisions and in four rounding modes.

use crate::hash::{Hash, Sampler};
use crate::values::{DOUBLES, EXTENDED, INTEGERS, SINGLES};
use std::arch::asm;

/// What goes in and what comes out. The assembly below knows the offsets.
#[repr(C)]
struct Operands {
    /// ST(0), in 80 bits.
    top: [u64; 2],
    /// ST(1).
    next: [u64; 2],
    memory: [u64; 2],
    control: u16,
    status: u16,
}

struct Instruction {
    name: &'static str,
    run: fn(&mut Operands),
}

/// Instructions over the stack and `[{m}]`.
macro_rules! instructions {
    ($($text:literal)*) => {
        &[$(Instruction {
            name: $text,
            // SAFETY: the offsets are those of `Operands`, exceptions are masked, and the FPU is left as a program starts with it.
            run: |operands| unsafe {
                asm!(
                    "fninit",
                    "fldcw [{o} + 48]",
                    "fld tbyte ptr [{o} + 16]",
                    "fld tbyte ptr [{o}]",
                    "lea {m}, [{o} + 32]",
                    // The comment names what the instruction may not.
                    concat!($text, " # {m}"),
                    "fnstsw [{o} + 50]",
                    "fstp tbyte ptr [{o}]",
                    "fstp tbyte ptr [{o} + 16]",
                    "fninit",
                    o = in(reg) operands,
                    m = out(reg) _,
                    out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                    out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                )
            },
        }),*]
    };
}

const OF_REGISTERS: &[Instruction] = instructions! {
    "fadd st, st(1)" "fsub st, st(1)" "fsubr st, st(1)" "fmul st, st(1)" "fdiv st, st(1)" "fdivr st, st(1)"
    "fsqrt" "frndint" "fscale" "fxtract" "fprem" "fprem1" "fabs" "fchs" "fxam" "ftst" "fcom st(1)" "fucom st(1)"
    "fcomi st, st(1); pushfq; pop [{m}]; and qword ptr [{m}], 0x8d5" "fucomi st, st(1); pushfq; pop [{m}]; and qword ptr [{m}], 0x8d5"
    "fst dword ptr [{m}]" "fst qword ptr [{m}]" "fstp tbyte ptr [{m}]"
    "fist word ptr [{m}]" "fist dword ptr [{m}]" "fistp qword ptr [{m}]" "fbstp tbyte ptr [{m}]"
    "fisttp word ptr [{m}]" "fisttp dword ptr [{m}]" "fisttp qword ptr [{m}]"
    "fldpi" "fldl2e" "fldl2t" "fldlg2" "fldln2"
};

const OF_SINGLES: &[Instruction] = instructions! {
    "fld dword ptr [{m}]" "fadd dword ptr [{m}]" "fmul dword ptr [{m}]" "fdivr dword ptr [{m}]" "fcom dword ptr [{m}]"
};

const OF_DOUBLES: &[Instruction] = instructions! {
    "fld qword ptr [{m}]" "fsub qword ptr [{m}]" "fmul qword ptr [{m}]" "fdiv qword ptr [{m}]" "fcom qword ptr [{m}]"
};

const OF_INTEGERS: &[Instruction] = instructions! {
    "fild word ptr [{m}]" "fild dword ptr [{m}]" "fild qword ptr [{m}]" "fiadd word ptr [{m}]" "fidiv dword ptr [{m}]"
};

const TRANSCENDENTALS: &[Instruction] = instructions! {
    "fsin" "fcos" "fsincos" "fptan" "fpatan" "f2xm1" "fyl2x" "fyl2xp1"
};

/// Runs all of them.
pub fn run(sampler: &mut Sampler) {
    group(sampler, OF_REGISTERS, &[], true);
    group(sampler, OF_SINGLES, &SINGLES.map(u64::from), true);
    group(sampler, OF_DOUBLES, &DOUBLES, true);
    group(sampler, OF_INTEGERS, &INTEGERS, true);
    group(sampler, TRANSCENDENTALS, &[], false);
}

/// With all of `memory` as the operand in memory; without any, with all values as ST(1).
fn group(sampler: &mut Sampler, instructions: &[Instruction], memory: &[u64], exact: bool) {
    let values = EXTENDED.map(|(significand, exponent)| [significand, u64::from(exponent)]);
    let one = values[2];
    let second: Vec<_> = match memory {
        [] => values.iter().map(|&value| (value, 0)).collect(),
        _ => memory.iter().map(|&number| (one, number)).collect(),
    };
    for Instruction { name, run } in instructions {
        let mut hash = Hash::new();
        for precision in [0_u16, 2, 3] {
            for rounding in 0..4_u16 {
                for &top in &values {
                    for &(next, memory) in &second {
                        if sampler.take() {
                            let control = 0x7f | precision << 8 | rounding << 10;
                            let mut operands = Operands { top, next, memory: [memory, 0], control, status: 0 };
                            run(&mut operands);
                            let Operands { top, next, memory, status, .. } = operands;
                            hash.fold(&[top[0], top[1], next[0], next[1], memory[0], memory[1], u64::from(status)]);
                        }
                    }
                }
            }
        }
        hash.print(name, exact);
    }
}
