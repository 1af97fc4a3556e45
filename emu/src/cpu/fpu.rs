//! x87, MMX and SSE registers.

/// x87 and SSE state, laid out for the instructions, not for FXSAVE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fpu {
    /// The physical x87 registers R0 to R7: significand. An MMX register is the significand of its physical register.
    pub mantissa: [u64; 8],
    /// The physical x87 registers R0 to R7: sign and exponent.
    pub exponent: [u16; 8],
    /// Control word.
    pub control: u16,
    /// Status word without TOP.
    pub status: u16,
    /// TOP, 0 to 7.
    pub top: u8,
    /// One bit per physical register: set when it is not empty (as FXSAVE's abridged tag word).
    pub valid: u8,
    /// Last opcode, 11 bits.
    pub opcode: u16,
    /// Last instruction pointer.
    pub instruction: u64,
    /// Last data pointer.
    pub data: u64,
    /// XMM0 to XMM15.
    pub xmm: [u128; 16],
    /// MXCSR.
    pub mxcsr: u32,
}

impl Default for Fpu {
    fn default() -> Self {
        Self {
            mantissa: [0; 8],
            exponent: [0; 8],
            control: 0x37f,
            status: 0,
            top: 0,
            valid: 0,
            opcode: 0,
            instruction: 0,
            data: 0,
            xmm: [0; 16],
            mxcsr: 0x1f80,
        }
    }
}

impl Fpu {
    /// Status word with TOP in its place.
    pub fn status_word(&self) -> u16 {
        self.status & !0x3800 | u16::from(self.top & 7) << 11
    }
    /// Sets the status word and TOP.
    pub fn set_status_word(&mut self, word: u16) {
        self.status = word & !0x3800;
        self.top = (word >> 11 & 7) as u8;
    }
}
