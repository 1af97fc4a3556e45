//! Segment registers and descriptor tables (SDM Vol. 3, 3.4 and 3.5).

/// Segment registers in the order of their encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum SegmentName {
    Es = 0,
    Cs = 1,
    Ss = 2,
    Ds = 3,
    Fs = 4,
    Gs = 5,
}

impl SegmentName {
    /// All six, in encoding order.
    pub const ALL: [Self; 6] = [Self::Es, Self::Cs, Self::Ss, Self::Ds, Self::Fs, Self::Gs];
}

/// Visible and hidden part of a segment register, LDTR or TR. The base of the six segment registers is kept in the register file as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    /// The selector.
    pub selector: u16,
    /// Linear base address.
    pub base: u64,
    /// Last valid offset, in bytes, granularity applied.
    pub limit: u32,
    /// Bits 8 to 23 of the descriptor's second doubleword, shifted down by 8: type, S, DPL, P, (limit), AVL, L, D/B, G.
    /// 0 marks a null selector.
    pub attributes: u16,
}

impl Segment {
    /// Type field, bits 0 to 3.
    pub fn kind(&self) -> u8 {
        (self.attributes & 0xf) as u8
    }
    /// S: code or data rather than system.
    pub fn is_code_or_data(&self) -> bool {
        self.attributes & 0x10 != 0
    }
    /// A code segment.
    pub fn is_code(&self) -> bool {
        self.attributes & 0x18 == 0x18
    }
    /// A conforming code segment.
    pub fn is_conforming(&self) -> bool {
        self.attributes & 0x1c == 0x1c
    }
    /// A data segment that may be written.
    pub fn is_writable(&self) -> bool {
        self.attributes & 0x1a == 0x12
    }
    /// Data, or code that may be read.
    pub fn is_readable(&self) -> bool {
        self.attributes & 0x18 == 0x10 || self.attributes & 0x1a == 0x1a
    }
    /// A data segment that expands down.
    pub fn is_expand_down(&self) -> bool {
        self.attributes & 0x1c == 0x14
    }
    /// Descriptor privilege level.
    pub fn dpl(&self) -> u8 {
        (self.attributes >> 5 & 3) as u8
    }
    /// P.
    pub fn is_present(&self) -> bool {
        self.attributes & 0x80 != 0
    }
    /// L: 64-bit code.
    pub fn is_long(&self) -> bool {
        self.attributes & 0x2000 != 0
    }
    /// D/B: 32-bit default size.
    pub fn is_big(&self) -> bool {
        self.attributes & 0x4000 != 0
    }
    /// Whether the segment covers 4 GiB from 0.
    pub fn is_flat(&self) -> bool {
        self.base == 0 && self.is_unlimited()
    }
    /// Whether the segment covers 4 GiB from its base.
    pub fn is_unlimited(&self) -> bool {
        self.limit == u32::MAX && self.is_present() && !self.is_expand_down()
    }
    /// Whether `length` bytes from `offset` lie within the limit.
    pub fn covers(&self, offset: u64, length: u64) -> bool {
        let last = offset + (length - 1);
        if self.is_expand_down() {
            let top = if self.is_big() { u64::from(u32::MAX) } else { 0xffff };
            offset > u64::from(self.limit) && last <= top
        } else {
            last <= u64::from(self.limit)
        }
    }
    /// Reads an 8-byte descriptor (SDM Vol. 3, figure 3-8).
    pub fn from_descriptor(selector: u16, descriptor: u64) -> Self {
        let base = (descriptor >> 16 & 0xff_ffff) | (descriptor >> 32 & 0xff00_0000);
        let raw = (descriptor & 0xffff | descriptor >> 32 & 0xf_0000) as u32;
        let granular = descriptor >> 55 & 1 != 0;
        let limit = if granular { raw << 12 | 0xfff } else { raw };
        Self { selector, base, limit, attributes: (descriptor >> 40) as u16 & 0xf0ff }
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DescriptorTable {
    /// Linear base address.
    pub base: u64,
    /// Last valid offset in bytes.
    pub limit: u16,
}
