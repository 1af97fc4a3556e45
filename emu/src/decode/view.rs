//! What the fields of an [`Op`] mean for ops that use them in a way of their own.

use super::{AddressMode, Op, Opcode};

/// A direct branch: the fields of the memory operand are links.
#[derive(Clone, Copy)]
pub struct Branch(Op);

impl Branch {
    /// The target, in bytes from the block's first instruction.
    #[inline(always)]
    pub fn target(&self) -> u64 {
        self.0.immediate
    }

    /// Whether the target lies on another page than the block, as far as that is known: an instruction there may reach into the next page.
    #[inline(always)]
    pub fn target_leaves_page(&self) -> bool {
        self.0.a != 0
    }

    /// As [`Self::target_leaves_page`] for the next instruction.
    #[inline(always)]
    pub fn next_leaves_page(&self) -> bool {
        self.0.b != 0
    }

    /// Link to the target: index of a slot, 0 where there is none yet.
    #[inline(always)]
    pub fn link_taken(&self) -> u32 {
        self.0.displacement as u32
    }

    /// Link to the next instruction: index of a slot, 0 where there is none yet.
    #[inline(always)]
    pub fn link_next(&self) -> u32 {
        u32::from_le_bytes([self.0.base, self.0.index, self.0.scale, self.0.segment])
    }
}

/// The end of a block whose last instruction is no branch.
#[derive(Clone, Copy)]
pub struct BlockEnd(Op);

impl BlockEnd {
    /// Mask of the linear addresses of code.
    #[inline(always)]
    pub fn linear_mask(&self) -> u64 {
        AddressMode::linear_mask(self.0.a)
    }

    /// See [`Branch::next_leaves_page`].
    #[inline(always)]
    pub fn next_leaves_page(&self) -> bool {
        self.0.b != 0
    }

    /// Link to the next instruction: index of a slot, 0 where there is none yet.
    #[inline(always)]
    pub fn link_next(&self) -> u32 {
        Branch(self.0).link_next()
    }
}

/// The prefix of a string instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeat {
    /// None: it runs once.
    Once,
    /// REP, which is REPE for comparisons.
    Rep,
    /// REPNE.
    Repne,
}

/// A string instruction. Its memory operands are implied: `segment` is that of the source.
#[derive(Clone, Copy)]
pub struct StringOp(Op);

impl StringOp {
    /// The prefix.
    #[inline(always)]
    pub fn repeat(&self) -> Repeat {
        match self.0.b {
            0 => Repeat::Once,
            1 => Repeat::Rep,
            _ => Repeat::Repne,
        }
    }
}

/// A far branch with its target in the instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FarTarget {
    /// Selector of the code segment or gate.
    pub selector: u16,
    /// Offset in the segment.
    pub offset: u32,
}

impl Op {
    /// A direct branch.
    #[inline(always)]
    pub fn branch(&self) -> Branch {
        Branch(*self)
    }

    /// Turns the op into a direct branch without links that leads to `target`, in bytes from the block's first instruction.
    pub fn set_target(&mut self, target: u64) {
        self.immediate = target;
        self.displacement = 0;
        self.set_link_next(0);
    }

    /// Says which ways of a direct branch lead to other pages.
    pub fn set_leaves_page(&mut self, target: bool, next: bool) {
        (self.a, self.b) = (u8::from(target), u8::from(next));
    }

    /// Sets [`Branch::target_leaves_page`].
    pub fn set_target_leaves_page(&mut self) {
        self.a = 1;
    }

    /// Sets [`Branch::next_leaves_page`] or [`BlockEnd::next_leaves_page`].
    pub fn set_next_leaves_page(&mut self) {
        self.b = 1;
    }

    /// The end of a block that has `retired` instructions and `offset` bytes, in 64-bit code or not.
    pub fn end_of_block(offset: u16, retired: u8, is_64_bit: bool, next_leaves_page: bool) -> Self {
        let a = if is_64_bit { 0 } else { AddressMode::LEGACY };
        let mut op = Self { a, b: u8::from(next_leaves_page), offset, retired, ..Self::bare(Opcode::FALL_THROUGH) };
        op.set_link_next(0);
        op
    }

    /// The end of a block.
    #[inline(always)]
    pub fn block_end(&self) -> BlockEnd {
        BlockEnd(*self)
    }

    /// Sets [`Branch::link_taken`].
    pub fn set_link_taken(&mut self, slot: u32) {
        self.displacement = slot as i32;
    }

    /// Sets [`Branch::link_next`] or [`BlockEnd::link_next`].
    pub fn set_link_next(&mut self, slot: u32) {
        [self.base, self.index, self.scale, self.segment] = slot.to_le_bytes();
    }

    /// A string instruction.
    #[inline(always)]
    pub fn string(&self) -> StringOp {
        StringOp(*self)
    }

    /// Sets [`StringOp::repeat`].
    pub fn set_repeat(&mut self, repeat: Repeat) {
        self.b = repeat as u8;
    }

    /// A far branch with its target in the instruction.
    pub fn far_target(&self) -> FarTarget {
        FarTarget { selector: (self.immediate >> 32) as u16, offset: self.immediate as u32 }
    }

    /// Sets [`Op::far_target`].
    pub fn set_far_target(&mut self, target: FarTarget) {
        self.immediate = u64::from(target.selector) << 32 | u64::from(target.offset);
    }

    /// Third register operand, as `Word::read` wants it for the operand's width. It lies in the immediate's highest byte: no instruction has
    /// three registers and an immediate of more than one byte.
    #[inline(always)]
    pub fn third(&self) -> u8 {
        (self.immediate >> 56) as u8
    }

    /// Sets [`Op::third`].
    pub fn set_third(&mut self, register: u8) {
        self.immediate = self.immediate & (u64::MAX >> 8) | u64::from(register) << 56;
    }

    /// The second immediate of ENTER.
    pub fn second_immediate(&self) -> u8 {
        self.displacement as u8
    }

    /// Sets [`Op::second_immediate`].
    pub fn set_second_immediate(&mut self, value: u8) {
        self.displacement = value.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::slot;

    #[test]
    fn views_give_back_what_was_set() {
        let mut op = Op::bare(Opcode::FALL_THROUGH);
        op.set_target(u64::MAX - 5);
        assert_eq!([op.base, op.index, op.scale, op.segment].map(|field| field == slot::ZERO), [false; 4], "no link, not a register");
        op.set_link_taken(0x8000_0001);
        op.set_link_next(0x1234_5678);
        op.set_leaves_page(true, false);
        let branch = op.branch();
        assert_eq!((branch.target(), branch.link_taken(), branch.link_next()), (u64::MAX - 5, 0x8000_0001, 0x1234_5678));
        assert_eq!((branch.target_leaves_page(), branch.next_leaves_page()), (true, false));

        for repeat in [Repeat::Once, Repeat::Rep, Repeat::Repne] {
            op.set_repeat(repeat);
            assert_eq!(op.string().repeat(), repeat);
        }
        let target = FarTarget { selector: 0xfedc, offset: 0x8765_4321 };
        op.set_far_target(target);
        assert_eq!(op.far_target(), target);

        op.immediate = 0x7f;
        op.set_third(200);
        assert_eq!((op.third(), op.immediate as u8), (200, 0x7f));
    }
}
