//! Integer instructions, as a program runs them, against arithmetic in 128 bits and shifts of one bit at a time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::NoBoard;
use emu::bus::{Ram, VecBacking};
use emu::cache::Limits;
use emu::cpu::{Control, Cr0, Cr4, Efer, Rflags, Segment, SegmentName, slot};
use emu::engine::{VcpuExit, new_cache};
use emu::vcpu::{Clock, Vcpu};
use proptest::prelude::*;

const CODE: u64 = 0x4000;

/// RAX, RBX, RCX, RDX.
type Registers = [u64; 4];
const SLOTS: [u8; 4] = [slot::RAX, slot::RBX, slot::RCX, slot::RDX];

/// Runs one instruction in 64-bit mode. The registers and flags after it; `None` if it raised an exception, for which there is no handler.
fn run(code: &[u8], registers: Registers, flags: u64) -> Option<(Registers, u64)> {
    let ram = Ram::new(Box::new(VecBacking::new(64 << 10).unwrap()));
    let mut cx = Vcpu::new(ram, Box::new(NoBoard), new_cache(Limits { block: 64, cache: 256 }), Clock::Virtual);
    // A page of 1 GiB.
    for (address, entry) in [(0x1000_u64, 0x2003_u64), (0x2000, 0x83)] {
        assert!(cx.mmu.store(address, &entry.to_le_bytes()));
    }
    assert!(cx.mmu.store(CODE, code) && cx.mmu.store(CODE + code.len() as u64, &[0xf4]));
    cx.control = Control {
        cr0: Cr0::PE | Cr0::PG | Cr0::NE | Cr0::ET,
        cr3: 0x1000,
        cr4: Cr4::PAE,
        efer: Efer::LME | Efer::LMA,
        ..Control::default()
    };
    for name in SegmentName::ALL {
        cx.segments[name as usize] = Segment::from_descriptor(0x10, 0x00cf_9300_0000_ffff);
    }
    cx.segments[SegmentName::Cs as usize] = Segment::from_descriptor(0x08, 0x00af_9b00_0000_ffff);
    SLOTS.iter().zip(registers).for_each(|(&slot, value)| cx.regs[slot] = value);
    cx.rip = CODE;
    cx.set_rflags(flags | Rflags::FIXED);
    cx.mode_changed();
    let stop = cx.run(100);
    assert!(matches!(stop, VcpuExit::Halted | VcpuExit::Shutdown), "{stop:?}");
    (stop == VcpuExit::Halted).then(|| (SLOTS.map(|slot| cx.regs[slot]), cx.rflags() & Rflags::ARITHMETIC))
}

/// An operand size.
#[derive(Clone, Copy, Debug)]
struct Width(u32);

impl Width {
    fn mask(self) -> u128 {
        (1 << self.0) - 1
    }

    fn unsigned(self, value: u64) -> u128 {
        u128::from(value) & self.mask()
    }

    fn signed(self, value: u64) -> i128 {
        let value = self.unsigned(value) as i128;
        if value >> (self.0 - 1) & 1 == 1 { value - (1 << self.0) } else { value }
    }

    fn fits(self, value: i128) -> bool {
        (-(1 << (self.0 - 1))..1 << (self.0 - 1)).contains(&value)
    }

    /// The register `old` once `value` was written to it: 32 bits clear the rest, fewer keep it.
    fn written(self, old: u64, value: u128) -> u64 {
        let value = (value & self.mask()) as u64;
        if self.0 >= 32 { value } else { old & !(self.mask() as u64) | value }
    }

    /// The instruction of opcode `wide` for operands of this size, and of the even opcode below it for bytes.
    fn encode(self, opcode: &[u8], modrm: u8) -> Vec<u8> {
        let mut code = match self.0 {
            16 => vec![0x66],
            64 => vec![0x48],
            _ => vec![],
        };
        code.extend(opcode);
        if self.0 == 8 {
            *code.last_mut().unwrap() &= !1;
        }
        code.push(modrm);
        code
    }
}

/// ZF, SF, PF of a result.
fn of_result(width: Width, result: u128) -> u64 {
    let result = result & width.mask();
    let parity = (0..8).filter(|bit| result >> bit & 1 == 1).count() % 2 == 0;
    let sign = result >> (width.0 - 1) & 1 == 1;
    flag(result == 0, Rflags::ZF) | flag(sign, Rflags::SF) | flag(parity, Rflags::PF)
}

fn flag(set: bool, bit: u64) -> u64 {
    if set { bit } else { 0 }
}

fn width() -> impl Strategy<Value = Width> {
    prop::sample::select(vec![Width(8), Width(16), Width(32), Width(64)])
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0..64_u32, -2..=2_i64).prop_map(|(bit, off)| (1_u64 << bit).wrapping_add_signed(off)),
        (0..64_u32, any::<u64>()).prop_map(|(bit, value)| value >> bit),
        prop::sample::select(vec![0, 1, u64::MAX, 0x7f7f_7f7f_7f7f_7f7f, 0x8080_8080_8080_8080]),
    ]
}

fn flags() -> impl Strategy<Value = u64> {
    any::<u64>().prop_map(|flags| flags & Rflags::ARITHMETIC)
}

/// RAX op RCX. Opcode, whether it subtracts, whether CF goes in, whether the result is written.
const SUMS: [(u8, bool, bool, bool); 5] = [
    (0x01, false, false, true),
    (0x11, false, true, true),
    (0x29, true, false, true),
    (0x19, true, true, true),
    (0x39, true, false, false),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn sums_are_those_of_wide_numbers(
        width in width(), a in value(), c in value(), before in flags(), (opcode, subtract, with_carry, write) in prop::sample::select(&SUMS[..]),
    ) {
        let carry = i128::from(with_carry && before & Rflags::CF != 0);
        let combine = |first: i128, second: i128| if subtract { first - second - carry } else { first + second + carry };
        let (wide, nibbles) = (combine(width.unsigned(a) as i128, width.unsigned(c) as i128), combine(i128::from(a & 15), i128::from(c & 15)));
        let result = wide as u128 & width.mask();
        let wanted = of_result(width, result)
            | flag(!(0..=width.mask() as i128).contains(&wide), Rflags::CF)
            | flag(!(0..16).contains(&nibbles), Rflags::AF)
            | flag(!width.fits(combine(width.signed(a), width.signed(c))), Rflags::OF);
        let rax = if write { width.written(a, result) } else { a };
        prop_assert_eq!(run(&width.encode(&[opcode], 0xc8), [a, 1, c, 3], before), Some(([rax, 1, c, 3], wanted)));
    }

    #[test]
    fn one_more_one_less_and_the_opposite(width in width(), a in value(), before in flags(), which in 0..3_u8) {
        let (opcode, modrm, result, signed) = match which {
            0 => (0xff, 0xc0, width.unsigned(a) + 1, width.signed(a) + 1),
            1 => (0xff, 0xc8, width.unsigned(a).wrapping_sub(1), width.signed(a) - 1),
            _ => (0xf7, 0xd8, width.unsigned(a).wrapping_neg(), -width.signed(a)),
        };
        let carry = if which < 2 { before & Rflags::CF } else { flag(width.unsigned(a) != 0, Rflags::CF) };
        let adjust = [a & 15 == 15, a & 15 == 0, a & 15 != 0][usize::from(which)];
        let wanted = of_result(width, result) | carry | flag(adjust, Rflags::AF) | flag(!width.fits(signed), Rflags::OF);
        prop_assert_eq!(run(&width.encode(&[opcode], modrm), [a, 1, 2, 3], before), Some(([width.written(a, result), 1, 2, 3], wanted)));
    }

    #[test]
    fn bits_are_combined_one_by_one(width in width(), a in value(), c in value(), before in flags(), which in 0..3_usize) {
        let opcode = [0x21, 0x09, 0x31][which];
        let bit = |number: u32| {
            let (a, c) = (a >> number & 1, c >> number & 1);
            u128::from([a * c, a.max(c), a ^ c][which]) << number
        };
        let result: u128 = (0..width.0).map(bit).sum();
        let (registers, flags) = run(&width.encode(&[opcode], 0xc8), [a, 1, c, 3], before).unwrap();
        prop_assert_eq!(registers, [width.written(a, result), 1, c, 3]);
        // AF is undefined.
        prop_assert_eq!(flags & !Rflags::AF, of_result(width, result));
    }

    #[test]
    fn products_are_wide(width in width(), a in value(), c in value(), before in flags(), signed in any::<bool>()) {
        let product = if signed { (width.signed(a) * width.signed(c)) as u128 } else { width.unsigned(a) * width.unsigned(c) };
        let matters = if signed { !width.fits(product as i128) } else { product >> width.0 != 0 };
        let (rax, rdx) = match width.0 {
            8 => (Width(16).written(a, product), 3),
            bits => (width.written(a, product), width.written(3, product >> bits)),
        };
        let (registers, flags) = run(&width.encode(&[0xf7], if signed { 0xe9 } else { 0xe1 }), [a, 1, c, 3], before).unwrap();
        prop_assert_eq!(registers, [rax, 1, c, rdx]);
        // The others are undefined.
        prop_assert_eq!(flags & (Rflags::CF | Rflags::OF), flag(matters, Rflags::CF | Rflags::OF));
    }

    #[test]
    fn quotients_and_remainders_make_the_dividend_again(
        width in width(), low in value(), high in value(), c in value(), near in any::<bool>(), signed in any::<bool>(),
    ) {
        // Half of the time the quotient has a chance to fit.
        let high = match (near, signed) {
            (false, _) => high,
            (true, true) => (width.signed(low) >> 127) as u64,
            (true, false) => high.checked_rem(width.unsigned(c) as u64).unwrap_or(0),
        };
        let a = if width.0 == 8 { low & 0xff | (high & 0xff) << 8 } else { low };
        let unsigned = width.unsigned(high) << width.0 | width.unsigned(low);
        let wanted = if signed {
            let dividend = width.signed(high) << width.0 | width.unsigned(low) as i128;
            let quotient = dividend.checked_div(width.signed(c)).filter(|quotient| width.fits(*quotient));
            quotient.map(|quotient| (quotient as u128, (dividend - quotient * width.signed(c)) as u128))
        } else {
            let quotient = unsigned.checked_div(width.unsigned(c)).filter(|quotient| *quotient <= width.mask());
            quotient.map(|quotient| (quotient, unsigned - quotient * width.unsigned(c)))
        };
        let found = run(&width.encode(&[0xf7], if signed { 0xf9 } else { 0xf1 }), [a, 1, c, high], 0);
        let wanted = wanted.map(|(quotient, remainder)| match width.0 {
            8 => [Width(16).written(a, quotient & 0xff | (remainder & 0xff) << 8), 1, c, high],
            _ => [width.written(a, quotient), 1, c, width.written(high, remainder)],
        });
        prop_assert_eq!(found.map(|(registers, _)| registers), wanted);
    }

    /// ROL, ROR, RCL, RCR, SHL, SHR, -, SAR by CL.
    #[test]
    fn shifts_are_shifts_by_one_again_and_again(
        width in width(), a in value(), count in any::<u8>(), before in flags(), which in prop::sample::select(vec![0_u8, 1, 2, 3, 4, 5, 7]),
    ) {
        let times = count & if width.0 == 64 { 63 } else { 31 };
        let top = width.0 - 1;
        let (mut value, mut carry) = (width.unsigned(a), u128::from(before & Rflags::CF));
        let mut overflow = 0;
        for _ in 0..times {
            let old = value;
            let out = if which & 1 == 0 { old >> top & 1 } else { old & 1 };
            let into = match which {
                0 | 1 => out,
                2 | 3 => carry,
                7 => old >> top & 1,
                _ => 0,
            };
            value = if which & 1 == 0 { old << 1 & width.mask() | into } else { old >> 1 | into << top };
            carry = out;
            overflow = (value ^ old) >> top & 1;
        }
        let code = width.encode(&[0xd3], 0xc0 | which << 3);
        let (registers, flags) = run(&code, [a, 1, u64::from(count), 3], before).unwrap();
        let rax = if times == 0 && width.0 != 32 { a } else { width.written(a, value) };
        prop_assert_eq!(registers, [rax, 1, u64::from(count), 3]);
        if times == 0 {
            prop_assert_eq!(flags, before);
            return Ok(());
        }
        // CF behind the operand's last bit is undefined for SHL and SHR alone; OF is defined for one bit.
        if matches!(which, 4 | 5) && u32::from(times) > width.0 {
            carry = u128::from(flags & Rflags::CF);
        }
        prop_assert_eq!(flags & Rflags::CF, carry as u64, "CF");
        if times == 1 {
            prop_assert_eq!(flags & Rflags::OF != 0, overflow == 1, "OF");
        }
        let rest = Rflags::ZF | Rflags::SF | Rflags::PF;
        prop_assert_eq!(flags & rest, if which < 4 { before & rest } else { of_result(width, value) });
    }

    /// SHLD and SHRD of RAX with bits of RBX, by CL.
    #[test]
    fn double_shifts_move_bits_across(width in prop::sample::select(vec![Width(16), Width(32), Width(64)]), a in value(), b in value(), count in any::<u8>(), left in any::<bool>()) {
        let times = u32::from(count & if width.0 == 64 { 63 } else { 31 });
        // More than the width is undefined.
        prop_assume!(times <= width.0);
        let top = width.0 - 1;
        let (mut value, mut carry) = (width.unsigned(a), 0);
        for step in 0..times {
            let bit = if left { width.unsigned(b) >> (top - step) & 1 } else { width.unsigned(b) >> step & 1 };
            carry = if left { value >> top & 1 } else { value & 1 };
            value = if left { value << 1 & width.mask() | bit } else { value >> 1 | bit << top };
        }
        let (registers, flags) = run(&width.encode(&[0x0f, if left { 0xa5 } else { 0xad }], 0xd8), [a, b, u64::from(count), 3], 0).unwrap();
        let rax = if times == 0 && width.0 != 32 { a } else { width.written(a, value) };
        prop_assert_eq!(registers, [rax, b, u64::from(count), 3]);
        if times > 0 {
            prop_assert_eq!(flags & Rflags::CF, carry as u64);
            prop_assert_eq!(flags & (Rflags::ZF | Rflags::SF | Rflags::PF), of_result(width, value));
        }
    }
}
