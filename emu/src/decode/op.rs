//! The op: one decoded instruction as plain data, the input of the interpreter and of any later translator.

use iced_x86::Code;

use crate::cpu::slot;

/// Number of an op's meaning. The first numbers are those of iced-x86's `Code`, doubled, plus one for the form with a memory operand; what
/// has no `Code` of its own comes after [`Opcode::SYNTHETIC`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opcode(pub u16);

impl Opcode {
    /// First number of ops that are not one instruction.
    pub const SYNTHETIC: u16 = 0x4000;
    /// Goes on at the instruction behind the block.
    pub const FALL_THROUGH: Self = Self(Self::SYNTHETIC);
    /// Raises #UD: no instruction.
    pub const INVALID: Self = Self(Self::SYNTHETIC + 1);
    /// Raises #UD and is counted: an instruction that is not implemented.
    pub const UNIMPLEMENTED: Self = Self(Self::SYNTHETIC + 2);
    /// Raises #UD or #NM: an instruction on registers that CR0 or CR4 have switched off.
    pub const UNAVAILABLE: Self = Self(Self::SYNTHETIC + 3);
    /// Raises #GP(0): an instruction of more than [`MAX_INSTRUCTION_BYTES`](super::MAX_INSTRUCTION_BYTES).
    pub const TOO_LONG: Self = Self(Self::SYNTHETIC + 4);
    /// Stands at the start of a block whose bytes have changed.
    pub const STALE: Self = Self(Self::SYNTHETIC + 5);
    /// Stands in front of a block's ops: runs code that was translated ahead of time. Its immediate is the number of the entry.
    pub const TRANSLATED: Self = Self(Self::SYNTHETIC + 6);
    /// Stands in front of a block's ops: counts the block. Its immediate is the index of the count.
    pub const COUNTED: Self = Self(Self::SYNTHETIC + 7);

    /// The number of an instruction's register or memory form.
    pub const fn of(code: Code, memory: bool) -> Self {
        Self(code as u16 * 2 + memory as u16)
    }

    /// The instruction; `None` for what is no single one.
    pub fn code(self) -> Option<Code> {
        if self.0 < Self::SYNTHETIC { Code::try_from(usize::from(self.0 / 2)).ok() } else { None }
    }

    /// Whether it is a branch with its target as immediate.
    pub fn is_direct_branch(self) -> bool {
        self.code().is_some_and(|code| {
            code.is_jcc_short_or_near()
                || code.is_jmp_short_or_near()
                || code.is_call_near()
                || code.is_jcx_short()
                || code.is_loop()
                || code.is_loopcc()
        })
    }
}

/// How an op forms its effective address: operand `scale` of [`Op`].
///
/// Bits 0 and 1: log2 of the scale. Bits 2 and 3: address size. Bit 4: linear addresses wrap at 4 GiB.
pub struct AddressMode;

impl AddressMode {
    /// 64-bit addresses.
    pub const BITS64: u8 = 0;
    /// Offsets wrap at 4 GiB.
    pub const BITS32: u8 = 1 << 2;
    /// Offsets wrap at 64 KiB.
    pub const BITS16: u8 = 2 << 2;
    /// Linear addresses wrap at 4 GiB: not in 64-bit mode.
    pub const LEGACY: u8 = 1 << 4;

    /// Set, outside of 64-bit mode, in the linear addresses that come of a segment whose rights or limit have to be looked at. No page has such
    /// an address, so that the TLB never has it.
    pub const CHECKED: u64 = 1 << 63;

    /// Mask of offsets for an op's `scale`.
    #[inline(always)]
    pub fn offset_mask(scale: u8) -> u64 {
        static MASKS: [u64; 4] = [u64::MAX, 0xffff_ffff, 0xffff, 0xffff];
        MASKS[(scale >> 2 & 3) as usize]
    }

    /// Mask of linear addresses for an op's `scale`, with [`CHECKED`](Self::CHECKED).
    #[inline(always)]
    pub fn linear_mask(scale: u8) -> u64 {
        static MASKS: [u64; 2] = [u64::MAX, AddressMode::CHECKED | 0xffff_ffff];
        MASKS[(scale >> 4 & 1) as usize]
    }
}

/// One op. 24 bytes, no host address in it; fields that an instruction does not need are 0. Some ops use fields in ways of their own: then
/// [`Op::branch`], [`Op::string`] and the like say what they mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Op {
    /// What it does.
    pub code: Opcode,
    /// First register operand, as `Word::read` wants it for the operand's width.
    pub a: u8,
    /// Second register operand.
    pub b: u8,
    /// Register-file slot of the memory operand's base.
    pub base: u8,
    /// Register-file slot of the memory operand's index.
    pub index: u8,
    /// See [`AddressMode`].
    pub scale: u8,
    /// Register-file slot of the memory operand's segment base.
    pub segment: u8,
    /// Displacement.
    pub displacement: i32,
    /// Bytes from the block's first instruction to this one.
    pub offset: u16,
    /// Instructions of the block before this one: its retire index.
    pub retired: u8,
    /// Bytes of the instruction.
    pub length: u8,
    /// Immediate.
    pub immediate: u64,
}

impl Op {
    /// An op without operands at the start of its block.
    pub const fn bare(code: Opcode) -> Self {
        Self {
            code,
            a: 0,
            b: 0,
            base: slot::ZERO,
            index: slot::ZERO,
            scale: 0,
            segment: slot::ZERO,
            displacement: 0,
            offset: 0,
            retired: 0,
            length: 0,
            immediate: 0,
        }
    }

    /// Bytes from the block's first instruction to the one after this.
    #[inline(always)]
    pub fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.length)
    }
}

const _: () = assert!(size_of::<Op>() == 24);
