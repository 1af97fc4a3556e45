//! Protected mode without long mode: 8-byte gates, stacks from the TSS (SDM Vol. 3, 6.12).

use super::descriptor::{self, error_code, is_null, system_linear, system_type};
use super::stack::{Stack, Width};
use super::{Event, enter_handler};
use crate::cpu::{Exception, Segment, SegmentName, slot};
use crate::vcpu::Vcpu;

/// An 8-byte interrupt or trap gate.
struct Gate {
    selector: u16,
    offset: u64,
    width: Width,
    interrupt: bool,
}

fn read_gate(cx: &mut Vcpu, event: &Event) -> Result<Gate, Exception> {
    let start = u64::from(event.vector) * 8;
    if start + 7 > u64::from(cx.idtr.limit) {
        return Err(Exception::gp(event.gate_code()));
    }
    let raw: u64 = cx.load_system(system_linear(cx, cx.idtr.base.wrapping_add(start)))?;
    let dpl = (raw >> 45 & 3) as u8;
    let (width, interrupt) = match (raw >> 40 & 0x1f) as u8 {
        system_type::INTERRUPT_GATE16 => (Width::Word, true),
        system_type::TRAP_GATE16 => (Width::Word, false),
        system_type::INTERRUPT_GATE => (Width::Doubleword, true),
        system_type::TRAP_GATE => (Width::Doubleword, false),
        _ => return Err(Exception::gp(event.gate_code())),
    };
    if event.software && dpl < cx.cpl {
        return Err(Exception::gp(event.gate_code()));
    }
    if raw >> 47 & 1 == 0 {
        return Err(Exception::np(event.gate_code()));
    }
    let high = if width == Width::Doubleword { raw >> 32 & 0xffff_0000 } else { 0 };
    Ok(Gate { selector: (raw >> 16) as u16, offset: raw & 0xffff | high, width, interrupt })
}

/// Stack segment and pointer for privilege level `cpl` from the 32-bit or 16-bit TSS.
pub fn inner_stack(cx: &mut Vcpu, cpl: u8) -> Result<(Segment, u64), Exception> {
    let level = u64::from(cpl);
    let wide = cx.tr.kind() & 8 != 0;
    let (pointer_at, selector_at) = if wide { (4 + 8 * level, 8 + 8 * level) } else { (2 + 4 * level, 4 + 4 * level) };
    if selector_at + 1 > u64::from(cx.tr.limit) {
        return Err(Exception::ts(error_code(cx.tr.selector)));
    }
    let at = |cx: &Vcpu, offset| system_linear(cx, cx.tr.base.wrapping_add(offset));
    let pointer =
        if wide { u64::from(cx.load_system::<u32>(at(cx, pointer_at))?) } else { u64::from(cx.load_system::<u16>(at(cx, pointer_at))?) };
    let selector: u16 = cx.load_system(at(cx, selector_at))?;
    if is_null(selector) {
        return Err(Exception::ts(0));
    }
    let segment = descriptor::stack_segment_for(cx, selector, cpl, Exception::ts)?;
    Ok((segment, pointer))
}

pub(super) fn deliver(cx: &mut Vcpu, event: &Event) -> Result<(), Exception> {
    let gate = read_gate(cx, event)?;
    let mut code = descriptor::gate_code(cx, gate.selector)?;
    let cpl = if code.is_conforming() { cx.cpl } else { code.dpl() };
    let switched = if cpl < cx.cpl { Some(inner_stack(cx, cpl)?) } else { None };
    if gate.offset > u64::from(code.limit) {
        return Err(Exception::GP0);
    }
    let mut stack = match switched {
        Some((segment, pointer)) => Stack::new(segment, pointer, cpl),
        None => Stack::current(cx),
    };
    if switched.is_some() {
        stack.push(cx, gate.width, u64::from(cx.segment(SegmentName::Ss).selector))?;
        stack.push(cx, gate.width, cx.regs[slot::RSP])?;
    }
    let frame = [event.rflags, u64::from(cx.segment(SegmentName::Cs).selector), cx.rip];
    for value in frame.into_iter().chain(event.error_code.map(u64::from)) {
        stack.push(cx, gate.width, value)?;
    }

    if let Some((segment, _)) = switched {
        cx.segments[SegmentName::Ss as usize] = segment;
    }
    cx.regs[slot::RSP] = stack.pointer;
    cx.rip = gate.offset;
    code.selector = gate.selector & !3 | u16::from(cpl);
    cx.segments[SegmentName::Cs as usize] = code;
    cx.cpl = cpl;
    enter_handler(cx, gate.interrupt);
    cx.mode_changed();
    Ok(())
}
