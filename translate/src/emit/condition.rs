//! Conditions on the arithmetic flags.

use emu::cpu::FlagOp;

use super::flags::Flags;
use super::registers::mask;
use super::{Emit, local};

/// A flag that is computed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bit {
    Carry,
    Parity,
    Adjust,
    Zero,
    Sign,
    Overflow,
}

impl Bit {
    /// Its place in RFLAGS.
    fn place(self) -> i64 {
        match self {
            Self::Carry => 0,
            Self::Parity => 2,
            Self::Adjust => 4,
            Self::Zero => 6,
            Self::Sign => 7,
            Self::Overflow => 11,
        }
    }
}

impl Emit<'_> {
    /// Pushes whether a condition holds, by its encoding: 0 or 1, of 32 bits.
    pub fn condition(&mut self, code: u8) {
        self.settle();
        match self.flags {
            Flags::Known(FlagOp::Sub, bits) if matches!(code >> 1, 1 | 3 | 6 | 7) => self.compared(code, bits),
            Flags::Known(FlagOp::Logic, bits) if matches!(code >> 1, 6 | 7) => {
                // OF is 0: the result is negative, or negative or 0.
                self.code().local_get(local::RESULT);
                self.sign_extend(bits);
                self.code().i64_const(0);
                match code {
                    12 => self.code().i64_lt_s(),
                    13 => self.code().i64_ge_s(),
                    14 => self.code().i64_le_s(),
                    _ => self.code().i64_gt_s(),
                };
            }
            Flags::Known(operation, bits) => {
                self.positive(code >> 1, |emit, bit| emit.bit_of(operation, bits, bit));
                self.finish(code);
            }
            Flags::Unchanged | Flags::Unknown => {
                self.evaluate();
                self.code().local_set(local::D);
                self.positive(code >> 1, |emit, bit| emit.bit_at(local::D, bit));
                self.finish(code);
            }
        }
    }

    /// To 32 bits, and the other way round for odd conditions.
    fn finish(&mut self, code: u8) {
        self.code().i32_wrap_i64();
        if code & 1 != 0 {
            self.code().i32_eqz();
        }
    }

    /// Unsigned and signed comparisons behind a subtraction: of what was subtracted from, and what was.
    fn compared(&mut self, code: u8, bits: u32) {
        let signed = code >= 12;
        self.minuend(bits);
        if signed {
            self.sign_extend(bits);
        }
        self.code().local_get(local::SOURCE);
        if signed {
            self.sign_extend(bits);
        }
        match code {
            2 => self.code().i64_lt_u(),
            3 => self.code().i64_ge_u(),
            6 => self.code().i64_le_u(),
            7 => self.code().i64_gt_u(),
            12 => self.code().i64_lt_s(),
            13 => self.code().i64_ge_s(),
            14 => self.code().i64_le_s(),
            _ => self.code().i64_gt_s(),
        };
    }

    /// Pushes what was subtracted from.
    fn minuend(&mut self, bits: u32) {
        self.code().local_get(local::RESULT).local_get(local::SOURCE).i64_add();
        self.truncate(bits);
    }

    /// Pushes whether the even condition of a pair holds, as 64 bits, of its flags.
    fn positive(&mut self, pair: u8, mut flag: impl FnMut(&mut Self, Bit)) {
        match pair {
            0 => flag(self, Bit::Overflow),
            1 => flag(self, Bit::Carry),
            2 => flag(self, Bit::Zero),
            3 => {
                flag(self, Bit::Carry);
                flag(self, Bit::Zero);
                self.code().i64_or();
            }
            4 => flag(self, Bit::Sign),
            5 => flag(self, Bit::Parity),
            _ => {
                flag(self, Bit::Sign);
                flag(self, Bit::Overflow);
                self.code().i64_xor();
                if pair == 7 {
                    flag(self, Bit::Zero);
                    self.code().i64_or();
                }
            }
        }
    }

    /// Pushes a flag, 0 or 1, that stands in its place in a local.
    fn bit_at(&mut self, flags: u32, bit: Bit) {
        self.code().local_get(flags).i64_const(bit.place()).i64_shr_u().i64_const(1).i64_and();
    }

    /// Pushes a flag, 0 or 1, of what the flags are known to be computed of: see `emu::cpu::LazyFlags`.
    pub fn bit_of(&mut self, operation: FlagOp, bits: u32, bit: Bit) {
        if operation == FlagOp::Flags || operation == FlagOp::Carries && matches!(bit, Bit::Carry | Bit::Adjust | Bit::Overflow) {
            self.bit_at(local::SOURCE, bit);
            return;
        }
        match bit {
            Bit::Zero => {
                self.code().local_get(local::RESULT).i64_eqz().i64_extend_i32_u();
            }
            Bit::Sign => {
                self.code().local_get(local::RESULT).i64_const(i64::from(bits) - 1).i64_shr_u().i64_const(1).i64_and();
            }
            Bit::Parity => {
                self.code().local_get(local::RESULT).i64_const(0xff).i64_and().i64_popcnt().i64_const(-1).i64_xor().i64_const(1).i64_and();
            }
            Bit::Carry => self.carry(operation, bits),
            Bit::Adjust => self.adjust(operation),
            Bit::Overflow => self.overflow(operation, bits),
        }
    }

    fn carry(&mut self, operation: FlagOp, bits: u32) {
        match operation {
            FlagOp::Add => {
                self.code().local_get(local::RESULT).local_get(local::SOURCE).i64_lt_u().i64_extend_i32_u();
            }
            FlagOp::Sub => {
                self.minuend(bits);
                self.code().local_get(local::SOURCE).i64_lt_u().i64_extend_i32_u();
            }
            FlagOp::Logic => {
                self.code().i64_const(0);
            }
            _ => {
                self.code().local_get(local::SOURCE).i64_const(1).i64_and();
            }
        }
    }

    /// Pushes the other operand of an addition or subtraction.
    fn other(&mut self, operation: FlagOp) {
        self.code().local_get(local::RESULT).local_get(local::SOURCE);
        let mut code = self.code();
        if operation == FlagOp::Add {
            code.i64_sub()
        } else {
            code.i64_add()
        };
    }

    fn adjust(&mut self, operation: FlagOp) {
        match operation {
            FlagOp::Add | FlagOp::Sub => {
                self.other(operation);
                self.code()
                    .local_get(local::RESULT)
                    .i64_xor()
                    .local_get(local::SOURCE)
                    .i64_xor()
                    .i64_const(4)
                    .i64_shr_u()
                    .i64_const(1)
                    .i64_and();
            }
            FlagOp::Inc | FlagOp::Dec => {
                let wanted = if operation == FlagOp::Inc { 0 } else { 0xf };
                self.code().local_get(local::RESULT).i64_const(0xf).i64_and().i64_const(wanted).i64_eq().i64_extend_i32_u();
            }
            _ => {
                self.code().i64_const(0);
            }
        }
    }

    fn overflow(&mut self, operation: FlagOp, bits: u32) {
        match operation {
            FlagOp::Add | FlagOp::Sub => {
                // Of an addition: (result ^ source) & (result ^ first); of a subtraction: (first ^ source) & (first ^ result).
                self.other(operation);
                self.code().local_get(local::RESULT).i64_xor();
                if operation == FlagOp::Add {
                    self.code().local_get(local::RESULT);
                } else {
                    self.other(operation);
                }
                self.code().local_get(local::SOURCE).i64_xor().i64_and().i64_const(i64::from(bits) - 1).i64_shr_u().i64_const(1).i64_and();
            }
            FlagOp::Inc | FlagOp::Dec => {
                let sign = (1u64 << (bits - 1)) as i64;
                let wanted = if operation == FlagOp::Inc { sign } else { mask(bits) & !sign };
                self.code().local_get(local::RESULT).i64_const(wanted).i64_eq().i64_extend_i32_u();
            }
            _ => {
                self.code().i64_const(0);
            }
        }
    }
}
