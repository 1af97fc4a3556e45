//! A stack to push onto before it is the current one.

use crate::cpu::{CodeSize, Datum, Exception, Segment, SegmentName, slot};
use crate::vcpu::Vcpu;

/// Width of what a gate or an operand size pushes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Width {
    Word,
    Doubleword,
    Quadword,
}

impl Width {
    /// In bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Word => 2,
            Self::Doubleword => 4,
            Self::Quadword => 8,
        }
    }
}

/// A stack. Pushing changes memory below the stack pointer, and nothing else of the CPU.
#[derive(Clone, Copy, Debug)]
pub struct Stack {
    segment: Segment,
    /// 64-bit mode: no segment.
    flat: bool,
    /// Privilege level of the accesses.
    cpl: u8,
    /// Stack pointer.
    pub pointer: u64,
    /// Raised beyond the limit: #SS with the selector of a stack that is switched to, otherwise with 0.
    fault: Exception,
}

impl Stack {
    /// The current stack.
    pub fn current(cx: &Vcpu) -> Self {
        Self {
            segment: *cx.segment(SegmentName::Ss),
            flat: cx.code_size == CodeSize::Bits64,
            cpl: cx.cpl,
            pointer: cx.regs[slot::RSP],
            fault: Exception::SS0,
        }
    }

    /// A stack of 64-bit mode.
    pub fn flat(pointer: u64, cpl: u8) -> Self {
        Self { segment: Segment::default(), flat: true, cpl, pointer, fault: Exception::SS0 }
    }

    /// A stack in a segment, to be switched to.
    pub fn new(segment: Segment, pointer: u64, cpl: u8) -> Self {
        Self { segment, flat: false, cpl, pointer, fault: Exception::ss(super::descriptor::error_code(segment.selector)) }
    }

    fn mask(&self) -> u64 {
        match (self.flat, self.segment.is_big()) {
            (true, _) => u64::MAX,
            (false, true) => 0xffff_ffff,
            (false, false) => 0xffff,
        }
    }

    /// Pushes.
    pub fn push(&mut self, cx: &mut Vcpu, width: Width, value: u64) -> Result<(), Exception> {
        match width {
            Width::Word => self.store(cx, value as u16),
            Width::Doubleword => self.store(cx, value as u32),
            Width::Quadword => self.store(cx, value),
        }
    }

    fn store<T: Datum>(&mut self, cx: &mut Vcpu, value: T) -> Result<(), Exception> {
        let mask = self.mask();
        let offset = self.pointer.wrapping_sub(T::BYTES) & mask;
        let linear = if self.flat {
            offset
        } else {
            if !self.segment.covers(offset, T::BYTES) {
                return Err(self.fault);
            }
            self.segment.base.wrapping_add(offset) & 0xffff_ffff
        };
        if self.cpl == 3 {
            cx.check_alignment::<T>(linear)?;
        }
        cx.store_stack(linear, value, self.cpl)?;
        self.pointer = self.pointer & !mask | offset;
        Ok(())
    }
}
