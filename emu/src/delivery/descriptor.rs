//! Descriptors: where they stand, what they say, and the checks on loading a data or stack segment (SDM Vol. 3, 3.4 and 5.2 to 5.8).

use crate::cpu::{CodeSize, Exception, Segment, is_canonical};
use crate::vcpu::Vcpu;

/// Types of system descriptors (SDM Vol. 3, table 3-2).
#[allow(missing_docs)]
pub mod system_type {
    pub const TSS16: u8 = 1;
    pub const LDT: u8 = 2;
    pub const TSS16_BUSY: u8 = 3;
    pub const CALL_GATE16: u8 = 4;
    pub const TASK_GATE: u8 = 5;
    pub const INTERRUPT_GATE16: u8 = 6;
    pub const TRAP_GATE16: u8 = 7;
    pub const TSS: u8 = 9;
    pub const TSS_BUSY: u8 = 11;
    pub const CALL_GATE: u8 = 12;
    pub const INTERRUPT_GATE: u8 = 14;
    pub const TRAP_GATE: u8 = 15;
}

/// An exception with an error code: `Exception::gp` and its like.
pub type Fault = fn(u32) -> Exception;

/// What a selector contributes to an error code: all but the RPL.
pub fn error_code(selector: u16) -> u32 {
    u32::from(selector & !3)
}

/// Whether a selector is null.
pub fn is_null(selector: u16) -> bool {
    selector & !3 == 0
}

/// Requested privilege level of a selector.
pub fn rpl(selector: u16) -> u8 {
    (selector & 3) as u8
}

/// Raises `fault` for `selector` unless `condition` holds.
pub fn require(condition: bool, fault: Fault, selector: u16) -> Result<(), Exception> {
    if condition { Ok(()) } else { Err(fault(error_code(selector))) }
}

/// An entry of the GDT or LDT.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// Its eight bytes.
    pub raw: u64,
    /// What they say of a segment.
    pub segment: Segment,
    /// Linear address of the entry.
    address: u64,
}

/// Linear address of a selector's entry if `bytes` bytes of it lie in its table.
fn entry_address(cx: &Vcpu, selector: u16, bytes: u64) -> Option<u64> {
    let (base, limit) = if selector & 4 == 0 {
        (cx.gdtr.base, u64::from(cx.gdtr.limit))
    } else if cx.ldtr.attributes != 0 {
        (cx.ldtr.base, u64::from(cx.ldtr.limit))
    } else {
        return None;
    };
    let offset = u64::from(selector & !7);
    (offset + bytes - 1 <= limit).then(|| system_linear(cx, base.wrapping_add(offset)))
}

/// A linear address of a system structure as the mode keeps it.
pub fn system_linear(cx: &Vcpu, linear: u64) -> u64 {
    if cx.long_mode() { linear } else { linear & 0xffff_ffff }
}

impl Descriptor {
    /// Reads the entry of a selector that is not null; `fault` if it lies outside of its table.
    pub fn read(cx: &mut Vcpu, selector: u16, fault: Fault) -> Result<Self, Exception> {
        Self::find(cx, selector)?.ok_or(fault(error_code(selector)))
    }

    /// Reads the entry of a selector, or finds that it lies outside of its table.
    pub fn find(cx: &mut Vcpu, selector: u16) -> Result<Option<Self>, Exception> {
        let Some(address) = entry_address(cx, selector, 8) else { return Ok(None) };
        let raw = cx.load_system(address)?;
        Ok(Some(Self { raw, segment: Segment::from_descriptor(selector, raw), address }))
    }

    /// The second half of a 16-byte system descriptor of long mode; `fault` if it lies outside of the table or its type is not 0.
    pub fn upper_half(&self, cx: &mut Vcpu, fault: Fault) -> Result<u64, Exception> {
        let selector = self.segment.selector;
        require(entry_address(cx, selector, 16).is_some(), fault, selector)?;
        let upper: u64 = cx.load_system(self.address.wrapping_add(8))?;
        require(upper >> 40 & 0x1f == 0, fault, selector)?;
        Ok(upper)
    }

    /// The LDT or TSS that this describes, its base 64 bits wide in long mode.
    pub fn system_segment(&self, cx: &mut Vcpu) -> Result<Segment, Exception> {
        let mut segment = self.segment;
        if cx.long_mode() {
            segment.base |= self.upper_half(cx, Exception::gp)? << 32;
            require(is_canonical(segment.base), Exception::gp, segment.selector)?;
        }
        Ok(segment)
    }

    /// The segment with its accessed flag set, in the table as well. To be done after all other checks.
    pub fn accessed(self, cx: &mut Vcpu) -> Result<Segment, Exception> {
        self.with_type_bit(cx, 1)
    }

    /// The TSS with its busy flag set, in the table as well.
    pub fn busy(self, cx: &mut Vcpu) -> Result<(), Exception> {
        self.with_type_bit(cx, 2).map(drop)
    }

    fn with_type_bit(self, cx: &mut Vcpu, bit: u8) -> Result<Segment, Exception> {
        let mut segment = self.segment;
        if segment.kind() & bit == 0 {
            segment.attributes |= u16::from(bit);
            cx.store_system(self.address.wrapping_add(5), (self.raw >> 40) as u8 | bit)?;
        }
        Ok(segment)
    }
}

/// A null selector in a segment register: every access through it faults outside of 64-bit mode.
pub fn null_segment(selector: u16) -> Segment {
    Segment { selector, ..Segment::default() }
}

/// What a load of DS, ES, FS or GS with `selector` gives.
pub fn data_segment(cx: &mut Vcpu, selector: u16) -> Result<Segment, Exception> {
    if is_null(selector) {
        return Ok(null_segment(selector));
    }
    let descriptor = Descriptor::read(cx, selector, Exception::gp)?;
    let segment = descriptor.segment;
    let privileged = segment.is_conforming() || rpl(selector).max(cx.cpl) <= segment.dpl();
    require(segment.is_readable() && privileged, Exception::gp, selector)?;
    require(segment.is_present(), Exception::np, selector)?;
    descriptor.accessed(cx)
}

/// What a load of SS with `selector` gives at the current privilege level.
pub fn stack_segment(cx: &mut Vcpu, selector: u16) -> Result<Segment, Exception> {
    if is_null(selector) {
        let allowed = cx.code_size == CodeSize::Bits64 && cx.cpl != 3 && rpl(selector) == cx.cpl;
        return if allowed { Ok(null_segment(selector)) } else { Err(Exception::GP0) };
    }
    let cpl = cx.cpl;
    stack_segment_for(cx, selector, cpl, Exception::gp)
}

/// What a load of SS with a selector that is not null gives for privilege level `cpl`; `fault` if it may not be one.
pub fn stack_segment_for(cx: &mut Vcpu, selector: u16, cpl: u8, fault: Fault) -> Result<Segment, Exception> {
    let descriptor = Descriptor::read(cx, selector, fault)?;
    let segment = descriptor.segment;
    require(rpl(selector) == cpl && segment.is_writable() && segment.dpl() == cpl, fault, selector)?;
    require(segment.is_present(), Exception::ss, selector)?;
    descriptor.accessed(cx)
}

/// The code segment that a gate leads to: more privileged than the current one or as privileged, and 64-bit code in long mode.
pub fn gate_code(cx: &mut Vcpu, selector: u16) -> Result<Segment, Exception> {
    if is_null(selector) {
        return Err(Exception::GP0);
    }
    let code = Descriptor::read(cx, selector, Exception::gp)?;
    let segment = code.segment;
    require(segment.is_code() && segment.dpl() <= cx.cpl, Exception::gp, selector)?;
    require(!cx.long_mode() || segment.is_long() && !segment.is_big(), Exception::gp, selector)?;
    require(segment.is_present(), Exception::np, selector)?;
    code.accessed(cx)
}
