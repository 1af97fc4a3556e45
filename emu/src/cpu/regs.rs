//! The register file that ops index: general registers, segment bases and two constants, under one numbering.

/// Numbers of register-file slots. 0 to 15 are RAX to R15 in encoding order.
pub mod slot {
    /// RAX.
    pub const RAX: u8 = 0;
    /// RCX.
    pub const RCX: u8 = 1;
    /// RDX.
    pub const RDX: u8 = 2;
    /// RBX.
    pub const RBX: u8 = 3;
    /// RSP.
    pub const RSP: u8 = 4;
    /// RBP.
    pub const RBP: u8 = 5;
    /// RSI.
    pub const RSI: u8 = 6;
    /// RDI.
    pub const RDI: u8 = 7;
    /// R11, which SYSCALL and SYSRET use.
    pub const R11: u8 = 11;
    /// Always 0: an absent base, index or segment.
    pub const ZERO: u8 = 16;
    /// Linear address of the first instruction of the block that runs.
    pub const BLOCK: u8 = 17;
    /// Bases of ES, CS, SS, DS, FS and GS: six slots in that order.
    pub const SEGMENT: u8 = 18;
    /// Base of SS.
    pub const SS: u8 = SEGMENT + 2;
    /// Base of FS.
    pub const FS: u8 = SEGMENT + 4;
    /// Base of GS.
    pub const GS: u8 = SEGMENT + 5;
    /// Always [`BIAS_VALUE`]: an index register that lets a RIP-relative displacement, counted from the start of
    /// its block, stay within 32 bits.
    pub const BIAS: u8 = 24;
    /// Value of [`BIAS`]; more than the length of the longest block.
    pub const BIAS_VALUE: u64 = 4096;
}

/// The register file. Any `u8` is a valid index, which spares the bounds check; slots above [`slot::BIAS`] stay 0.
#[derive(Clone)]
#[repr(C, align(64))]
pub struct Regs([u64; 256]);

impl Default for Regs {
    fn default() -> Self {
        let mut regs = [0; 256];
        regs[slot::BIAS as usize] = slot::BIAS_VALUE;
        Self(regs)
    }
}

impl std::ops::Index<u8> for Regs {
    type Output = u64;
    #[inline(always)]
    fn index(&self, slot: u8) -> &u64 {
        &self.0[slot as usize]
    }
}

impl std::ops::IndexMut<u8> for Regs {
    #[inline(always)]
    fn index_mut(&mut self, slot: u8) -> &mut u64 {
        &mut self.0[slot as usize]
    }
}

impl Regs {
    /// Reads an 8-bit register. `operand` is the register's byte offset in the file: 8 × number, plus 1 for AH to BH.
    #[inline(always)]
    pub fn byte(&self, operand: u8) -> u8 {
        (self.0[(operand >> 3) as usize] >> ((operand & 1) * 8)) as u8
    }

    /// Writes an 8-bit register; see [`Regs::byte`].
    #[inline(always)]
    pub fn set_byte(&mut self, operand: u8, value: u8) {
        let shift = (operand & 1) * 8;
        let register = &mut self.0[(operand >> 3) as usize];
        *register = (*register & !(0xff << shift)) | (u64::from(value) << shift);
    }

    /// The sixteen general registers.
    pub fn general(&self) -> [u64; 16] {
        std::array::from_fn(|i| self.0[i])
    }

    /// Sets the sixteen general registers.
    pub fn set_general(&mut self, values: [u64; 16]) {
        self.0[..16].copy_from_slice(&values);
    }
}
