//! The arithmetic flags: what was computed, in locals, as `emu::cpu::LazyFlags` has it in memory.

use emu::cpu::FlagOp;
use iced_x86::{Instruction, Mnemonic};

use super::{Emit, local};

/// What is known of the lazy flags in the locals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flags {
    /// They are as at the start of the block.
    Unchanged,
    /// Nothing.
    Unknown,
    /// Their operation and width in bits.
    Known(FlagOp, u32),
}

impl Flags {
    /// What is known behind something with this effect, if `before` was known before.
    pub fn after(self, before: Self) -> Self {
        if self == Self::Unchanged { before } else { self }
    }

    /// What is known where two ways meet.
    pub fn or(self, other: Self) -> Self {
        if self == other { self } else { Self::Unknown }
    }
}

/// What is yet to be done for flags that are read: most are overwritten unread. The operands stay in [`local::FIRST`] and [`local::SECOND`] until then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pending {
    /// [`local::SOURCE`] is made of the first operand, shifted by the second, and of the result.
    Shift(Mnemonic, u32),
    /// CF and OF become those of the first operand, to which a value has been rotated. The other flags stay.
    Rotation {
        /// To the left.
        left: bool,
        /// Width in bits.
        bits: u32,
    },
    /// [`local::SOURCE`] is made of the carries, or borrows, out of each bit of both operands' sum or difference.
    Carries {
        /// A difference.
        subtract: bool,
        /// Width in bits.
        bits: u32,
    },
}

/// Whether an instruction's handler may change arithmetic flags.
pub fn may_change(instruction: &Instruction) -> bool {
    // By a whole turn, these set OF in the interpreter; iced-x86 says that they leave it.
    instruction.rflags_modified() != 0 || matches!(instruction.mnemonic(), Mnemonic::Rcl | Mnemonic::Rcr)
}

impl Emit<'_> {
    /// Says what the flags were computed of: [`local::RESULT`] and [`local::SOURCE`] are set.
    pub fn flags_are(&mut self, operation: FlagOp, bits: u32) {
        let number = operation as i32 | (bits as i32) << 8;
        self.code().i32_const(number).local_set(local::OPERATION);
        self.flags = Flags::Known(operation, bits);
        self.pending = None;
    }

    /// Does what is pending. Uses [`local::C`] and [`local::D`].
    pub fn settle(&mut self) {
        match self.pending.take() {
            None => {}
            Some(Pending::Shift(mnemonic, bits)) => self.shift_carries(mnemonic, bits),
            Some(Pending::Rotation { left, bits }) => self.rotation_carries(left, bits),
            Some(Pending::Carries { subtract, bits }) => self.sum_carries(subtract, bits),
        }
    }

    fn sum_carries(&mut self, subtract: bool, bits: u32) {
        // The carries, or borrows, out of each bit: a & b | (a | b) & !r, or !a & b | (!a | b) & r.
        self.code().local_get(local::FIRST);
        if subtract {
            self.code().i64_const(-1).i64_xor();
        }
        self.code().local_tee(local::C).local_get(local::SECOND).i64_and().local_get(local::C).local_get(local::SECOND).i64_or();
        self.code().local_get(local::RESULT);
        if !subtract {
            self.code().i64_const(-1).i64_xor();
        }
        self.code().i64_and().i64_or().local_set(local::C);
        let out = i64::from(bits) - 1;
        self.code()
            .local_get(local::C)
            .i64_const(out)
            .i64_shr_u()
            .i64_const(1)
            .i64_and()
            .local_tee(local::D)
            .local_get(local::C)
            .i64_const(out - 1)
            .i64_shr_u()
            .i64_const(1)
            .i64_and()
            .local_get(local::D)
            .i64_xor()
            .i64_const(11)
            .i64_shl()
            .i64_or()
            .local_get(local::C)
            .i64_const(3)
            .i64_shr_u()
            .i64_const(1)
            .i64_and()
            .i64_const(4)
            .i64_shl()
            .i64_or()
            .local_set(local::SOURCE);
    }

    /// Sets the flags to what is on the stack, in their places in RFLAGS.
    pub fn set_flags(&mut self) {
        self.code().local_set(local::SOURCE);
        self.code().i64_const(0).local_set(local::RESULT);
        self.flags_are(FlagOp::Flags, 64);
    }

    /// Pushes CF, AF and OF in their places in RFLAGS, if what they are computed of is known.
    fn carries(&mut self, operation: FlagOp, bits: u32) {
        self.bit_of(operation, bits, super::condition::Bit::Carry);
        self.bit_of(operation, bits, super::condition::Bit::Adjust);
        self.code().i64_const(4).i64_shl().i64_or();
        self.bit_of(operation, bits, super::condition::Bit::Overflow);
        self.code().i64_const(11).i64_shl().i64_or();
    }

    /// Changes some of CF, AF and OF: `mask` names them, their bits are in [`local::C`]. The others stay.
    pub fn replace_carries(&mut self, mask: i64) {
        match self.flags {
            Flags::Known(operation, bits) if operation != FlagOp::Flags => {
                self.carries(operation, bits);
                self.code().i64_const(!mask).i64_and().local_get(local::C).i64_or().local_set(local::SOURCE);
                self.flags_are(FlagOp::Carries, bits);
            }
            before => {
                self.evaluate();
                self.code().i64_const(!mask).i64_and().local_get(local::C).i64_or();
                self.set_flags();
                // In a rehearsal: what is known at the start decides which of the two it becomes.
                if before == Flags::Unchanged {
                    self.flags = Flags::Unknown;
                }
            }
        }
    }

    /// Pushes all arithmetic flags in their places in RFLAGS.
    pub fn evaluate(&mut self) {
        if let Flags::Known(FlagOp::Flags, _) = self.flags {
            self.code().local_get(local::SOURCE);
            return;
        }
        let evaluate = self.region.helpers.evaluate;
        self.code().local_get(local::OPERATION).local_get(local::RESULT).local_get(local::SOURCE).call(evaluate);
    }
}
