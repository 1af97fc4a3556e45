//! Long mode: 16-byte gates, IST, stacks from the 64-bit TSS (SDM Vol. 3, 6.14).

use super::descriptor::{self, error_code, system_type};
use super::stack::{Stack, Width};
use super::{Event, enter_handler};
use crate::cpu::{Exception, SegmentName, is_canonical, slot};
use crate::vcpu::Vcpu;

/// A 16-byte interrupt or trap gate.
struct Gate {
    selector: u16,
    offset: u64,
    stack_table: u64,
    interrupt: bool,
}

fn read_gate(cx: &mut Vcpu, event: &Event) -> Result<Gate, Exception> {
    let start = u64::from(event.vector) * 16;
    if start + 15 > u64::from(cx.idtr.limit) {
        return Err(Exception::gp(event.gate_code()));
    }
    let low: u64 = cx.load_system(cx.idtr.base.wrapping_add(start))?;
    let high: u64 = cx.load_system(cx.idtr.base.wrapping_add(start + 8))?;
    let kind = (low >> 40 & 0x1f) as u8;
    let dpl = (low >> 45 & 3) as u8;
    let known = matches!(kind, system_type::INTERRUPT_GATE | system_type::TRAP_GATE);
    if !known || event.software && dpl < cx.cpl {
        return Err(Exception::gp(event.gate_code()));
    }
    if low >> 47 & 1 == 0 {
        return Err(Exception::np(event.gate_code()));
    }
    Ok(Gate {
        selector: (low >> 16) as u16,
        offset: low & 0xffff | low >> 32 & 0xffff_0000 | high << 32,
        stack_table: low >> 32 & 7,
        interrupt: kind == system_type::INTERRUPT_GATE,
    })
}

/// A stack pointer from the 64-bit TSS at `offset`.
pub fn stack_pointer(cx: &mut Vcpu, offset: u64) -> Result<u64, Exception> {
    if offset + 7 > u64::from(cx.tr.limit) {
        return Err(Exception::ts(error_code(cx.tr.selector)));
    }
    let pointer = cx.load_system(cx.tr.base.wrapping_add(offset))?;
    if is_canonical(pointer) { Ok(pointer) } else { Err(Exception::SS0) }
}

/// Offset in the 64-bit TSS of the stack pointer for privilege level `cpl`.
pub fn level_offset(cpl: u8) -> u64 {
    4 + 8 * u64::from(cpl)
}

pub(super) fn deliver(cx: &mut Vcpu, event: &Event) -> Result<(), Exception> {
    let gate = read_gate(cx, event)?;
    let mut code = descriptor::gate_code(cx, gate.selector)?;
    let cpl = if code.is_conforming() { cx.cpl } else { code.dpl() };
    let inner = cpl < cx.cpl;
    let pointer = match gate.stack_table {
        0 if inner => stack_pointer(cx, level_offset(cpl))?,
        0 => cx.regs[slot::RSP],
        table => stack_pointer(cx, 28 + 8 * table)?,
    };
    if !is_canonical(gate.offset) {
        return Err(Exception::GP0);
    }
    let mut stack = Stack::flat(pointer & !0xf, cpl);
    let frame = [
        u64::from(cx.segment(SegmentName::Ss).selector),
        cx.regs[slot::RSP],
        event.rflags,
        u64::from(cx.segment(SegmentName::Cs).selector),
        cx.rip,
    ];
    for value in frame.into_iter().chain(event.error_code.map(u64::from)) {
        stack.push(cx, Width::Quadword, value)?;
    }

    cx.regs[slot::RSP] = stack.pointer;
    cx.rip = gate.offset;
    code.selector = gate.selector & !3 | u16::from(cpl);
    cx.segments[SegmentName::Cs as usize] = code;
    if inner {
        cx.segments[SegmentName::Ss as usize] = descriptor::null_segment(u16::from(cpl));
    }
    cx.cpl = cpl;
    enter_handler(cx, gate.interrupt);
    cx.mode_changed();
    Ok(())
}
