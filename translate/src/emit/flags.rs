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
            _ => {
                self.evaluate();
                self.code().i64_const(!mask).i64_and().local_get(local::C).i64_or();
                self.set_flags();
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
