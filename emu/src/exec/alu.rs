//! Pure integer semantics: values in, values and flags out, no CPU state.

use crate::cpu::{FlagOp, LazyFlags, Rflags, Word};

/// ZF, SF and PF of a result.
#[inline(always)]
pub fn result_flags<W: Word>(result: u64) -> u64 {
    let result = result & W::MASK;
    u64::from((result as u8).count_ones() & 1 == 0) << 2 | u64::from(result == 0) << 6 | u64::from(result & W::SIGN != 0) << 7
}

#[inline(always)]
fn lazy<W: Word>(op: FlagOp, result: W, source: u64) -> LazyFlags {
    LazyFlags { result: result.zero_extend(), source, op, bits: W::BITS as u8 }
}

/// ZF, SF and PF of a result; CF, AF and OF as `carries` has them.
#[inline(always)]
pub fn with_carries<W: Word>(result: W, carries: u64) -> LazyFlags {
    lazy(FlagOp::Carries, result, carries)
}

/// ADD.
#[inline(always)]
pub fn add<W: Word>(first: W, second: W) -> (W, LazyFlags) {
    let result = W::truncate(first.zero_extend().wrapping_add(second.zero_extend()));
    (result, lazy(FlagOp::Add, result, second.zero_extend()))
}

/// SUB and CMP.
#[inline(always)]
pub fn sub<W: Word>(first: W, second: W) -> (W, LazyFlags) {
    let result = W::truncate(first.zero_extend().wrapping_sub(second.zero_extend()));
    (result, lazy(FlagOp::Sub, result, second.zero_extend()))
}

/// ADC.
#[inline(always)]
pub fn adc<W: Word>(first: W, second: W, carry: bool) -> (W, LazyFlags) {
    let (a, b) = (first.zero_extend(), second.zero_extend());
    let result = W::truncate(a.wrapping_add(b).wrapping_add(u64::from(carry)));
    let r = result.zero_extend();
    let carries = a & b | (a | b) & !r;
    (result, with_carries(result, carry_flags::<W>(carries)))
}

/// SBB.
#[inline(always)]
pub fn sbb<W: Word>(first: W, second: W, borrow: bool) -> (W, LazyFlags) {
    let (a, b) = (first.zero_extend(), second.zero_extend());
    let result = W::truncate(a.wrapping_sub(b).wrapping_sub(u64::from(borrow)));
    let r = result.zero_extend();
    let borrows = !a & b | (!a | b) & r;
    (result, with_carries(result, carry_flags::<W>(borrows)))
}

/// CF, AF and OF from the vector of carries (or borrows) out of each bit.
#[inline(always)]
fn carry_flags<W: Word>(carries: u64) -> u64 {
    let out = carries >> (W::BITS - 1) & 1;
    let below = carries >> (W::BITS - 2) & 1;
    out | (out ^ below) << 11 | (carries >> 3 & 1) << 4
}

macro_rules! logic {
    ($($name:ident $operator:tt $doc:literal),*) => {$(
        #[doc = $doc]
        #[inline(always)]
        pub fn $name<W: Word>(first: W, second: W) -> (W, LazyFlags) {
            let result = W::truncate(first.zero_extend() $operator second.zero_extend());
            (result, lazy(FlagOp::Logic, result, 0))
        }
    )*};
}
logic!(and & "AND and TEST.", or | "OR.", xor ^ "XOR.");

/// INC; `carry` is the CF that it keeps.
#[inline(always)]
pub fn inc<W: Word>(value: W, carry: bool) -> (W, LazyFlags) {
    let result = W::truncate(value.zero_extend().wrapping_add(1));
    (result, lazy(FlagOp::Inc, result, u64::from(carry)))
}

/// DEC; `carry` is the CF that it keeps.
#[inline(always)]
pub fn dec<W: Word>(value: W, carry: bool) -> (W, LazyFlags) {
    let result = W::truncate(value.zero_extend().wrapping_sub(1));
    (result, lazy(FlagOp::Dec, result, u64::from(carry)))
}

/// NEG.
#[inline(always)]
pub fn neg<W: Word>(value: W) -> (W, LazyFlags) {
    sub(W::truncate(0), value)
}

/// Flags of MUL and IMUL: CF and OF say that the upper half matters. SF, ZF, AF and PF are undefined; ours are those of the low half.
#[inline(always)]
pub fn multiply_flags<W: Word>(low: W, overflow: bool) -> LazyFlags {
    let both = if overflow { Rflags::CF | Rflags::OF } else { 0 };
    with_carries(low, both)
}

/// MUL: low half, high half, flags.
#[inline(always)]
pub fn mul<W: Word>(first: W, second: W) -> (W, W, LazyFlags) {
    let product = u128::from(first.zero_extend()) * u128::from(second.zero_extend());
    let (low, high) = (W::truncate(product as u64), W::truncate((product >> W::BITS) as u64));
    (low, high, multiply_flags(low, high.zero_extend() != 0))
}

/// IMUL: low half, high half, flags.
#[inline(always)]
pub fn imul<W: Word>(first: W, second: W) -> (W, W, LazyFlags) {
    let product = i128::from(first.sign_extend()) * i128::from(second.sign_extend());
    let (low, high) = (W::truncate(product as u64), W::truncate((product >> W::BITS) as u64));
    (low, high, multiply_flags(low, product != i128::from(low.sign_extend())))
}

/// DIV of high:low: quotient and remainder, or `None` for #DE.
#[inline(always)]
pub fn div<W: Word>(high: W, low: W, divisor: W) -> Option<(W, W)> {
    let divisor = divisor.zero_extend();
    if high.zero_extend() >= divisor {
        return None;
    }
    if high.zero_extend() == 0 {
        let low = low.zero_extend();
        return Some((W::truncate(low / divisor), W::truncate(low % divisor)));
    }
    let dividend = u128::from(high.zero_extend()) << W::BITS | u128::from(low.zero_extend());
    let divisor = u128::from(divisor);
    Some((W::truncate((dividend / divisor) as u64), W::truncate((dividend % divisor) as u64)))
}

/// IDIV of high:low: quotient and remainder, or `None` for #DE.
#[inline(always)]
pub fn idiv<W: Word>(high: W, low: W, divisor: W) -> Option<(W, W)> {
    let divisor = divisor.sign_extend();
    if divisor == 0 {
        return None;
    }
    let dividend = i128::from(high.sign_extend()) << W::BITS | i128::from(low.zero_extend());
    let (quotient, remainder) = match (i64::try_from(dividend), divisor) {
        (Ok(dividend), divisor) if divisor != -1 => (i128::from(dividend / divisor), i128::from(dividend % divisor)),
        _ => (dividend.checked_div(i128::from(divisor))?, dividend.checked_rem(i128::from(divisor))?),
    };
    let narrow = W::truncate(quotient as u64);
    (i128::from(narrow.sign_extend()) == quotient).then(|| (narrow, W::truncate(remainder as u64)))
}
