//! Text comparisons of SSE4.2: PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM Vol. 2, 4.1).

use std::marker::PhantomData;

use super::lanes::{Lane, Vector, each};
use crate::cpu::{LazyFlags, Rflags, Word, slot};
use crate::decode::Op;
use crate::exec::path::{EffectiveAddress, Path};
use crate::exec::row::rows;
use crate::vcpu::Vcpu;

/// The immediate of these instructions.
#[derive(Clone, Copy)]
struct Control(u8);

impl Control {
    /// Elements are words, otherwise bytes.
    fn words(self) -> bool {
        self.0 & 1 != 0
    }
    fn signed(self) -> bool {
        self.0 & 2 != 0
    }
    /// For an index: the last match is wanted, otherwise the first. For a mask: of whole elements, otherwise of bits.
    fn high(self) -> bool {
        self.0 & 1 << 6 != 0
    }
    /// Elements in an operand.
    fn count(self) -> usize {
        if self.words() { 8 } else { 16 }
    }
}

/// What a comparison found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Found {
    /// One bit for each element of the second operand: IntRes2.
    matches: u32,
    /// The second operand ends before its last element.
    second_ends: bool,
    /// The first operand does.
    first_ends: bool,
}

impl Found {
    fn flags(self) -> LazyFlags {
        let flag = |flag, set| if set { flag } else { 0 };
        LazyFlags::from_flags(
            flag(Rflags::CF, self.matches != 0)
                | flag(Rflags::ZF, self.second_ends)
                | flag(Rflags::SF, self.first_ends)
                | flag(Rflags::OF, self.matches & 1 != 0),
        )
    }
}

/// A mask of the lowest `length` bits.
fn lowest(length: usize) -> u32 {
    (1 << length) - 1
}

/// The matches, before polarity: IntRes1. The slices are the valid elements, of `count` in each operand.
fn aggregate<L: Lane>(control: Control, first: &[L], second: &[L], count: usize) -> u32 {
    let bits = |matches: &dyn Fn(usize) -> bool| (0..count).fold(0, |bits, at| bits | u32::from(matches(at)) << at);
    match control.0 >> 2 & 3 {
        0 => bits(&|at| second.get(at).is_some_and(|element| first.contains(element))),
        1 => bits(&|at| {
            let within = |element| first.chunks_exact(2).any(|range| (range[0]..=range[1]).contains(element));
            second.get(at).is_some_and(within)
        }),
        2 => bits(&|at| first.get(at) == second.get(at)),
        _ => bits(&|at| {
            let rest = second.get(at..).unwrap_or_default();
            let needle = &first[..first.len().min(count - at)];
            rest.starts_with(needle)
        }),
    }
}

/// Compares strings of given lengths, at most `count`.
fn compare<L: Lane>(control: Control, first: &[L], second: &[L], count: usize) -> Found {
    let matches = aggregate(control, first, second, count);
    let inverted = match control.0 >> 4 & 3 {
        1 => lowest(count),
        3 => lowest(second.len()),
        _ => 0,
    };
    Found { matches: matches ^ inverted, second_ends: second.len() < count, first_ends: first.len() < count }
}

/// Where the lengths come from.
trait Lengths {
    /// Lengths of the operands, which are given as bytes.
    fn lengths(cx: &Vcpu, control: Control, first: &[u8; 16], second: &[u8; 16]) -> (usize, usize);
}

/// The magnitudes of the numbers in EAX and EDX, or RAX and RDX.
struct Explicit<W>(PhantomData<W>);
impl<W: Word> Lengths for Explicit<W> {
    fn lengths(cx: &Vcpu, control: Control, _: &[u8; 16], _: &[u8; 16]) -> (usize, usize) {
        let length = |register| {
            let magnitude = W::read(&cx.regs, register).sign_extend().unsigned_abs();
            magnitude.min(control.count() as u64) as usize
        };
        (length(slot::RAX), length(slot::RDX))
    }
}

/// Up to the first element that is 0.
struct Implicit;
impl Lengths for Implicit {
    fn lengths(_: &Vcpu, control: Control, first: &[u8; 16], second: &[u8; 16]) -> (usize, usize) {
        let length = |operand: &[u8; 16]| {
            let size = 16 / control.count();
            operand.chunks_exact(size).position(|element| element.iter().all(|&byte| byte == 0)).unwrap_or(control.count())
        };
        (length(first), length(second))
    }
}

/// What becomes of the matches.
trait Answer {
    fn answer(cx: &mut Vcpu, control: Control, matches: u32);
}

/// Their place, to ECX; where there are none, the number of elements.
struct Index;
impl Answer for Index {
    fn answer(cx: &mut Vcpu, control: Control, matches: u32) {
        let index = match matches {
            0 => control.count() as u32,
            _ if control.high() => matches.ilog2(),
            _ => matches.trailing_zeros(),
        };
        cx.regs[slot::RCX] = u64::from(index);
    }
}

/// All of them, to XMM0.
struct Mask;
impl Answer for Mask {
    fn answer(cx: &mut Vcpu, control: Control, matches: u32) {
        let matched = |i: usize| matches >> i & 1 != 0;
        match (control.high(), control.words()) {
            (false, _) => [u64::from(matches), 0].write(cx, 0),
            (true, false) => each::<_, 16>(|i| u8::splat(matched(i))).write(cx, 0),
            (true, true) => each::<_, 8>(|i| u16::splat(matched(i))).write(cx, 0),
        }
    }
}

fn words(bytes: [u8; 16]) -> [u16; 8] {
    each(|i| u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]))
}

fn run<S: Lengths, A: Answer>(cx: &mut Vcpu, op: &Op, second: [u8; 16]) {
    let control = Control(op.immediate as u8);
    let first = <[u8; 16]>::read(cx, op.a);
    let (m, n) = S::lengths(cx, control, &first, &second);
    let count = control.count();
    let found = match (control.words(), control.signed()) {
        (false, false) => compare(control, &first[..m], &second[..n], count),
        (false, true) => compare(control, &first.map(u8::cast_signed)[..m], &second.map(u8::cast_signed)[..n], count),
        (true, false) => compare(control, &words(first)[..m], &words(second)[..n], count),
        (true, true) => compare(control, &words(first).map(u16::cast_signed)[..m], &words(second).map(u16::cast_signed)[..n], count),
    };
    A::answer(cx, control, found.matches);
    cx.flags = found.flags();
}

// Not inlined: a handler with locals in memory would not end in a jump.
#[inline(never)]
fn rri<S: Lengths, A: Answer>(cx: &mut Vcpu, op: &Op) {
    let second = Vector::read(cx, op.b);
    run::<S, A>(cx, op, second);
}

/// The memory operand need not be aligned.
// Not inlined: a handler with locals in memory would not end in a jump.
#[inline(never)]
fn rmi<S: Lengths, A: Answer, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let linear = E::linear(cx, op);
    let second = P::load(cx, op.segment, linear)?;
    run::<S, A>(cx, op, second);
    Ok(())
}

rows! {
    Pcmpestri_xmm_xmmm128_imm8 => register rri[Explicit<u32>, Index], memory rmi[Explicit<u32>, Index];
    Pcmpestri64_xmm_xmmm128_imm8 => register rri[Explicit<u64>, Index], memory rmi[Explicit<u64>, Index];
    Pcmpestrm_xmm_xmmm128_imm8 => register rri[Explicit<u32>, Mask], memory rmi[Explicit<u32>, Mask];
    Pcmpestrm64_xmm_xmmm128_imm8 => register rri[Explicit<u64>, Mask], memory rmi[Explicit<u64>, Mask];
    Pcmpistri_xmm_xmmm128_imm8 => register rri[Implicit, Index], memory rmi[Implicit, Index];
    Pcmpistrm_xmm_xmmm128_imm8 => register rri[Implicit, Mask], memory rmi[Implicit, Mask];
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGES: u8 = 1 << 2;
    const EACH: u8 = 2 << 2;
    const ORDERED: u8 = 3 << 2;
    const NEGATIVE: u8 = 1 << 4;
    const MASKED: u8 = 2 << 4;

    fn bytes(control: u8, first: &[u8], second: &[u8]) -> u32 {
        compare(Control(control), first, second, 16).matches
    }

    /// The comparison as the SDM spells it out: a table of all pairs, then overrides for invalid elements, then the aggregation.
    fn by_the_book<L: Lane>(control: u8, first: &[L], second: &[L], count: usize) -> u32 {
        let mode = control >> 2 & 3;
        let pair = |j: usize, i: usize| match (first.get(i), second.get(j)) {
            (Some(a), Some(b)) if mode == 1 && i.is_multiple_of(2) => a <= b,
            (Some(a), Some(b)) if mode == 1 => a >= b,
            (Some(a), Some(b)) => a == b,
            (None, Some(_)) => mode == 3,
            (None, None) => mode >= 2,
            (Some(_), None) => false,
        };
        let mut result = 0;
        for j in 0..count {
            let bit = match mode {
                0 => (0..count).any(|i| pair(j, i)),
                1 => (0..count / 2).any(|i| pair(j, 2 * i) && pair(j, 2 * i + 1)),
                2 => pair(j, j),
                _ => (0..count - j).all(|i| pair(i + j, i)),
            };
            result |= u32::from(bit) << j;
        }
        for j in 0..count {
            if control >> 4 & 1 != 0 && (control >> 5 & 1 == 0 || j < second.len()) {
                result ^= 1 << j;
            }
        }
        result
    }

    proptest::proptest! {
        #[test]
        fn comparisons_go_by_the_book(
            control: u8,
            first in proptest::collection::vec(0u8..4, 0..=16),
            second in proptest::collection::vec(0u8..4, 0..=16),
        ) {
            assert_eq!(bytes(control, &first, &second), by_the_book(control, &first, &second, 16));
            let words = |bytes: &[u8]| bytes.iter().take(8).map(|&byte| i16::from(byte) - 2).collect::<Vec<_>>();
            let (first, second) = (words(&first), words(&second));
            assert_eq!(compare(Control(control), &first, &second, 8).matches, by_the_book(control, &first, &second, 8));
        }
    }

    #[test]
    fn a_set_of_characters_matches_each_of_them() {
        assert_eq!(bytes(0, b"aeiou", b"moment"), 0b001010);
        assert_eq!(bytes(NEGATIVE, b"aeiou", b"moment"), 0xffff ^ 0b001010);
        assert_eq!(bytes(NEGATIVE | MASKED, b"aeiou", b"moment"), 0b110101);
    }

    #[test]
    fn half_a_range_matches_nothing() {
        assert_eq!(bytes(RANGES, b"az0", b"a0z!"), 0b0101);
        assert_eq!(bytes(RANGES, b"az09", b"a0z!"), 0b0111);
    }

    #[test]
    fn equal_strings_match_beyond_their_ends() {
        assert_eq!(bytes(EACH, b"abc", b"abd"), 0xfffb);
        assert_eq!(bytes(EACH, b"abc", b"abcd"), 0xfff7);
    }

    #[test]
    fn a_needle_may_run_over_the_end_of_a_full_operand() {
        assert_eq!(bytes(ORDERED, b"ab", b"abcabxxxxxxxxxxa"), 0x8009);
        assert_eq!(bytes(ORDERED, b"", b"a"), 0xffff);
    }
}
