//! SSE to SSE4.1: each instruction in four rounding modes, with and without FTZ and DAZ.

use crate::hash::{Hash, Sampler};
use crate::values::{DOUBLES, INTEGERS, SINGLES};
use std::arch::asm;

/// What goes in and what comes out. The assembly below knows the offsets.
#[repr(C)]
struct Operands {
    x: [u64; 2],
    y: [u64; 2],
    general: u64,
    mxcsr: u32,
    /// The program's own MXCSR, while the instruction runs.
    kept: u32,
}

struct Instruction {
    name: &'static str,
    run: fn(&mut Operands),
}

/// Instructions over `{x}` and `{y}` (XMM) and `{g}` (general).
macro_rules! instructions {
    ($($text:literal)*) => {
        &[$(Instruction {
            name: $text,
            // SAFETY: the offsets are those of `Operands`, exceptions are masked, and MXCSR is put back.
            run: |operands| unsafe {
                asm!(
                    "stmxcsr [{o} + 44]",
                    "ldmxcsr [{o} + 40]",
                    "movups {x}, [{o}]",
                    "movups {y}, [{o} + 16]",
                    "mov {g}, [{o} + 32]",
                    // The comment names what the instruction may not.
                    concat!($text, " # {x} {y} {g}"),
                    "movups [{o}], {x}",
                    "mov [{o} + 32], {g}",
                    "stmxcsr [{o} + 40]",
                    "ldmxcsr [{o} + 44]",
                    o = in(reg) operands,
                    x = out(xmm_reg) _,
                    y = out(xmm_reg) _,
                    g = out(reg) _,
                )
            },
        }),*]
    };
}

const OF_SINGLES: &[Instruction] = instructions! {
    "addss {x}, {y}" "subss {x}, {y}" "mulss {x}, {y}" "divss {x}, {y}" "minss {x}, {y}" "maxss {x}, {y}" "sqrtss {x}, {y}"
    "addps {x}, {y}" "subps {x}, {y}" "mulps {x}, {y}" "divps {x}, {y}" "minps {x}, {y}" "maxps {x}, {y}" "sqrtps {x}, {y}"
    "haddps {x}, {y}" "hsubps {x}, {y}" "addsubps {x}, {y}" "dpps {x}, {y}, 0xff" "dpps {x}, {y}, 0x75"
    "cmpss {x}, {y}, 0" "cmpss {x}, {y}, 1" "cmpss {x}, {y}, 2" "cmpss {x}, {y}, 3"
    "cmpps {x}, {y}, 4" "cmpps {x}, {y}, 5" "cmpps {x}, {y}, 6" "cmpps {x}, {y}, 7"
    "comiss {x}, {y}; pushfq; pop {g}; and {g}, 0x8d5" "ucomiss {x}, {y}; pushfq; pop {g}; and {g}, 0x8d5"
    "cvtss2sd {x}, {y}" "cvtps2pd {x}, {y}" "cvtps2dq {x}, {y}" "cvttps2dq {x}, {y}"
    "cvtss2si {g:e}, {y}" "cvtss2si {g}, {y}" "cvttss2si {g:e}, {y}" "cvttss2si {g}, {y}"
    "roundss {x}, {y}, 0" "roundss {x}, {y}, 1" "roundss {x}, {y}, 2" "roundps {x}, {y}, 3" "roundps {x}, {y}, 4" "roundps {x}, {y}, 12"
};

const OF_DOUBLES: &[Instruction] = instructions! {
    "addsd {x}, {y}" "subsd {x}, {y}" "mulsd {x}, {y}" "divsd {x}, {y}" "minsd {x}, {y}" "maxsd {x}, {y}" "sqrtsd {x}, {y}"
    "addpd {x}, {y}" "subpd {x}, {y}" "mulpd {x}, {y}" "divpd {x}, {y}" "minpd {x}, {y}" "maxpd {x}, {y}" "sqrtpd {x}, {y}"
    "haddpd {x}, {y}" "hsubpd {x}, {y}" "addsubpd {x}, {y}" "dppd {x}, {y}, 0x33"
    "cmppd {x}, {y}, 0" "cmppd {x}, {y}, 1" "cmppd {x}, {y}, 2" "cmppd {x}, {y}, 3"
    "cmpsd {x}, {y}, 4" "cmpsd {x}, {y}, 5" "cmpsd {x}, {y}, 6" "cmpsd {x}, {y}, 7"
    "comisd {x}, {y}; pushfq; pop {g}; and {g}, 0x8d5" "ucomisd {x}, {y}; pushfq; pop {g}; and {g}, 0x8d5"
    "cvtsd2ss {x}, {y}" "cvtpd2ps {x}, {y}" "cvtpd2dq {x}, {y}" "cvttpd2dq {x}, {y}"
    "cvtsd2si {g:e}, {y}" "cvtsd2si {g}, {y}" "cvttsd2si {g:e}, {y}" "cvttsd2si {g}, {y}"
    "roundsd {x}, {y}, 0" "roundsd {x}, {y}, 1" "roundsd {x}, {y}, 2" "roundpd {x}, {y}, 3" "roundpd {x}, {y}, 4" "roundpd {x}, {y}, 12"
};

const OF_INTEGERS: &[Instruction] = instructions! {
    "cvtsi2ss {x}, {g:e}" "cvtsi2ss {x}, {g}" "cvtsi2sd {x}, {g:e}" "cvtsi2sd {x}, {g}" "cvtdq2ps {x}, {y}" "cvtdq2pd {x}, {y}"
};

const APPROXIMATIONS: &[Instruction] = instructions! {
    "rcpss {x}, {y}" "rcpps {x}, {y}" "rsqrtss {x}, {y}" "rsqrtps {x}, {y}"
};

/// Rounding control, FTZ and DAZ.
const MODES: [u32; 16] = {
    let mut modes = [0x1f80; 16];
    let mut index = 0;
    while index < 16 {
        modes[index] |= ((index as u32 & 3) << 13) | ((index as u32 >> 2 & 1) << 15) | ((index as u32 >> 3) << 6);
        index += 1;
    }
    modes
};

/// Runs all of them.
pub fn run(sampler: &mut Sampler) {
    let at = |index: usize| SINGLES[index % SINGLES.len()];
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    // Neighbouring lanes hold values of different kinds.
    let singles: Vec<_> = (0..SINGLES.len()).map(|i| [pair(at(i), at(i + 7)), pair(at(i + 12), at(i + 19))]).collect();
    let rotated = |values: &[u64], by: usize| -> Vec<[u64; 2]> {
        (0..values.len()).map(|index| [values[index], values[(index + by) % values.len()]]).collect()
    };
    let (doubles, integers) = (rotated(&DOUBLES, 9), rotated(&INTEGERS, 5));
    group(sampler, OF_SINGLES, &singles, true);
    group(sampler, OF_DOUBLES, &doubles, true);
    group(sampler, OF_INTEGERS, &integers, true);
    group(sampler, APPROXIMATIONS, &singles, false);
}

fn group(sampler: &mut Sampler, instructions: &[Instruction], values: &[[u64; 2]], exact: bool) {
    for Instruction { name, run } in instructions {
        let mut hash = Hash::new();
        for &mxcsr in &MODES {
            for &x in values {
                for &y in values {
                    if sampler.take() {
                        let mut operands = Operands { x, y, general: y[0], mxcsr, kept: 0 };
                        run(&mut operands);
                        hash.fold(&[operands.x[0], operands.x[1], operands.general, u64::from(operands.mxcsr)]);
                    }
                }
            }
        }
        hash.print(name, exact);
    }
}
