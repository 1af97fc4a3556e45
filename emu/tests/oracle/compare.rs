//! Differences between two worlds, apart from what is undefined.

use super::field::Field;
use super::undefined::{Instead, TOP, Undefined};
use super::world::*;

/// An x87 exception is pending.
const PENDING: u16 = 1 << 7;

/// One line for each difference, `expected` first. Empty: the same.
pub fn differences(expected: &World, got: &World, undefined: &Undefined) -> Vec<String> {
    let mut out = Vec::new();
    if undefined.instead.is_some_and(|(hosts, instead)| hosts.contains(&expected.stop.vector) && does(instead, expected, got)) {
        return out;
    }
    if undefined.passed.contains(&got.state.rip) && got.stop.is_of_memory() && expected.state.fx.fsw & PENDING != 0 {
        return out;
    }
    let string_at = undefined.faulting_string.then_some(expected.state.gpr[gpr::RDI]);
    let either = string_at.is_some_and(|rdi| either_string(expected.stop, got.stop, rdi))
        || undefined.misaligned && misaligned(expected.stop, got.stop);
    if !either && !same_stop(expected.stop, got.stop, undefined) {
        out.push(format!("stop: {} / {}", expected.stop.describe(), got.stop.describe()));
    }
    let narrow = expected.state.bits() == 32;
    for field in Field::all() {
        let (a, b) = (field.get(&expected.state), field.get(&got.state));
        if a == b || same(field, a, b, narrow, undefined) {
            continue;
        }
        out.push(format!("{}: {a:x} / {b:x}", field.name()));
    }
    for ((start, a), (_, b)) in expected.memory.windows().iter().zip(got.memory.windows()) {
        if *a != b {
            memory_differences(*start, a, b, undefined, &mut out);
        }
    }
    out
}

/// Whether `got` is what is right instead of the exception that ended `expected`.
fn does(instead: Instead, expected: &World, got: &World) -> bool {
    let same_place = got.state.rip == expected.state.rip;
    match instead {
        Instead::Raises(vector) => same_place && got.stop.vector == vector,
        Instead::Passes => !same_place || got.stop.vector != expected.stop.vector,
    }
}

/// Linux hides which of its own pages are present: it sets P in the error code of every #PF beyond user space.
fn same_stop(a: CaseExit, b: CaseExit, undefined: &Undefined) -> bool {
    let hidden = if a.vector == 14 && a.cr2 >= USER_SPACE { 1 } else { 0 };
    let known = if undefined.fault_offset { !0xfff } else { u64::MAX };
    (a.vector, a.error | hidden, a.cr2 & known) == (b.vector, b.error | hidden, b.cr2 & known)
}

/// Whether two stops may be for one string each: two page faults, one of them at `rdi`, or two of a page fault, an address that is not canonical and one
/// that is not aligned. The address may be one of 32 or of 16 bits.
fn either_string(a: CaseExit, b: CaseExit, rdi: u64) -> bool {
    const LONGEST: u64 = 8;
    let starts_at = |stop: CaseExit, start: u64| stop.cr2.wrapping_sub(start) & 0xffff_ffff < LONGEST;
    let is_there = |stop: CaseExit| starts_at(stop, rdi) || starts_at(stop, rdi & 0xffff);
    match (a.vector, b.vector) {
        (14, 14) => a.error == b.error && (is_there(a) || is_there(b)),
        (14, 13 | 17) => b.error == 0,
        (13 | 17, 14) => a.error == 0,
        _ => misaligned(a, b),
    }
}

/// Whether one stop is #AC and the other #GP.
fn misaligned(a: CaseExit, b: CaseExit) -> bool {
    matches!([a.vector, b.vector], [17, 13] | [13, 17])
}

fn same(field: Field, a: u128, b: u128, narrow: bool, undefined: &Undefined) -> bool {
    match field {
        // 32-bit code has no upper halves and no R8 to R15.
        Field::Gpr(number) if narrow => number >= 8 || (a ^ b) as u32 & !undefined.gpr[number] as u32 == 0,
        Field::Gpr(number) => (a ^ b) as u64 & !undefined.gpr[number] == 0,
        Field::Flag(bit) => undefined.rflags & bit != 0,
        // The way from the handler back to user code clears the RPL of a null selector (SDM vol. 2, IRET), so the host's cannot be seen.
        Field::Segment(seg::ES | seg::DS | seg::FS | seg::GS) => a <= 3 && b <= 3,
        Field::Ftw => undefined.mmx,
        Field::Fsw => (a ^ b) as u16 & !undefined.fsw & if undefined.mmx { !TOP } else { !0 } == 0,
        Field::Xmm(_) if undefined.nans => same_but_for_nans(a, b),
        Field::Xmm(_) => undefined.xmm_relative.is_some_and(|bound| (0..4).all(|lane| near(lane_of(a, lane), lane_of(b, lane), bound))),
        Field::St(0) if undefined.tiny && a == moved_up(b) => true,
        Field::St(_) => undefined.mmx || rank(a).abs_diff(rank(b)) <= undefined.st_ulps.into() && a >> 79 == b >> 79,
        _ => false,
    }
}

/// A denormal as it is delivered after an unmasked underflow.
fn moved_up(denormal: u128) -> u128 {
    const ADJUSTMENT: u128 = 24576;
    let significand = denormal as u64;
    let shift = significand.leading_zeros();
    let exponent = ADJUSTMENT + 1 - u128::from(shift);
    denormal >> 79 << 79 | exponent << 64 | u128::from(significand.checked_shl(shift).unwrap_or(0))
}

/// Numbers 80-bit floats in their order: neighbours differ by one, across powers of two as well.
fn rank(value: u128) -> u128 {
    (value >> 64 & 0x7fff) << 63 | value & (u64::MAX >> 1) as u128
}

fn lane_of(vector: u128, lane: u32) -> f32 {
    f32::from_bits((vector >> (32 * lane)) as u32)
}

fn near(a: f32, b: f32, bound: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_normal() && b.is_normal() && (a - b).abs() <= a.abs() * bound)
}

/// Whether lanes of 32 or of 64 bits are the same, or both NaNs.
fn same_but_for_nans(a: u128, b: u128) -> bool {
    let double = |vector: u128, lane: u32| f64::from_bits((vector >> (64 * lane)) as u64);
    let singles =
        (0..4).map(|lane| [lane_of(a, lane), lane_of(b, lane)]).all(|[a, b]| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan());
    let doubles =
        (0..2).map(|lane| [double(a, lane), double(b, lane)]).all(|[a, b]| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan());
    singles || doubles
}

fn memory_differences(start: u64, a: &[u8], b: &[u8], undefined: &Undefined, out: &mut Vec<String>) {
    const SHOWN: usize = 24;
    let hidden = |at: u64| undefined.memory.iter().any(|(from, len)| at.wrapping_sub(*from) < *len);
    let differ = |at: &usize| a[*at] != b[*at] && !hidden(start + *at as u64);
    let Some(first) = (0..a.len()).find(differ) else { return };
    let last = (0..a.len()).rev().find(differ).unwrap_or(first);
    let shown = first..(last + 1).min(first + SHOWN);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    out.push(format!("[{:x}]: {} / {}", start + first as u64, hex(&a[shown.clone()]), hex(&b[shown])));
}
