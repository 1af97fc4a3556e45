//! Segment registers and descriptor tables: MOV, PUSH and POP of segment registers, far pointer loads, LGDT, LLDT, LTR and their
//! stores, LAR, LSL, VERR, VERW, ARPL, SWAPGS.

use super::path::{EffectiveAddress, General, Path, Slow};
use super::row::rows;
use super::stack::{peek, push, push_narrow};
use crate::cpu::is_canonical;
use crate::cpu::{DescriptorTable, Exception, LazyFlags, Rflags, Segment, SegmentName, Word, slot};
use crate::decode::{AddressMode, Op};
use crate::delivery::descriptor::{self, Descriptor, is_null, require, rpl, system_type};
use crate::vcpu::Vcpu;

/// Linear address `distance` bytes into an op's memory operand.
pub fn part(cx: &Vcpu, op: &Op, distance: u64) -> u64 {
    let offset = General::offset(cx, op).wrapping_add(distance) & AddressMode::offset_mask(op.scale);
    cx.regs[op.segment].wrapping_add(offset) & AddressMode::linear_mask(op.scale)
}

/// Raises #GP(0) unless the CPU runs at privilege level 0.
#[inline(always)]
pub fn privileged(cx: &Vcpu) -> Result<(), Exception> {
    if cx.cpl == 0 { Ok(()) } else { Err(Exception::GP0) }
}

fn name(number: u8) -> SegmentName {
    SegmentName::ALL[usize::from(number) % 6]
}

/// Loads a segment register other than CS.
fn load(cx: &mut Vcpu, name: SegmentName, selector: u16) -> Result<(), Exception> {
    let segment = match name {
        SegmentName::Cs => return Err(Exception::INVALID_OPCODE),
        SegmentName::Ss => descriptor::stack_segment(cx, selector)?,
        _ => descriptor::data_segment(cx, selector)?,
    };
    cx.segments[name as usize] = segment;
    cx.mode_changed();
    Ok(())
}

/// As [`load`]; a load of SS alone holds interrupts and the single-step trap off for one instruction, which sets the stack pointer.
fn load_alone(cx: &mut Vcpu, name: SegmentName, selector: u16) -> Result<(), Exception> {
    load(cx, name, selector)?;
    if name == SegmentName::Ss {
        cx.interrupts_blocked = true;
        cx.debug.blocked_by_mov_ss = true;
        cx.debug.single_step = false;
    }
    Ok(())
}

fn mov_to_segment(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    load_alone(cx, name(op.a), u16::read(&cx.regs, op.b))
}

fn mov_to_segment_memory(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let selector = cx.load_slow(op.segment, General::linear(cx, op))?;
    load_alone(cx, name(op.a), selector)
}

fn mov_from_segment<W: Word>(cx: &mut Vcpu, op: &Op) {
    let selector = cx.segment(name(op.b)).selector;
    W::truncate(u64::from(selector)).write(&mut cx.regs, op.a);
}

fn mov_from_segment_memory<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let selector = cx.segment(name(op.a)).selector;
    P::store(cx, op.segment, E::linear(cx, op), selector)
}

fn push_segment<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let selector = cx.segment(name(op.a)).selector;
    if W::BITS == 32 {
        return push_narrow::<W, u16, P>(cx, selector);
    }
    push::<W, P>(cx, W::truncate(u64::from(selector)))
}

/// With 32-bit operands the selector alone is read, which is half of what the stack pointer moves by (SDM Vol. 2, PUSH).
fn pop_segment<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let selector = if W::BITS == 32 { peek::<u16, Slow>(cx)? } else { peek::<W, Slow>(cx)?.zero_extend() as u16 };
    // A new SS decides how the stack pointer wraps only from the next instruction on.
    let pointer = cx.regs[slot::RSP].wrapping_add(W::BYTES);
    let before = cx.regs[slot::RSP];
    cx.set_stack_pointer(pointer);
    load_alone(cx, name(op.a), selector).inspect_err(|_| cx.regs[slot::RSP] = before)
}

/// LDS, LES, LFS, LGS, LSS: a far pointer into a segment register and a general register.
fn load_pointer<W: Word>(cx: &mut Vcpu, op: &Op, name: SegmentName) -> Result<(), Exception> {
    let offset: W = cx.load_slow(op.segment, part(cx, op, 0))?;
    let selector = cx.load_slow(op.segment, part(cx, op, W::BYTES))?;
    load(cx, name, selector)?;
    offset.write(&mut cx.regs, op.a);
    Ok(())
}

fn lds<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    load_pointer::<W>(cx, op, SegmentName::Ds)
}
fn les<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    load_pointer::<W>(cx, op, SegmentName::Es)
}
fn lfs<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    load_pointer::<W>(cx, op, SegmentName::Fs)
}
fn lgs<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    load_pointer::<W>(cx, op, SegmentName::Gs)
}
fn lss<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    load_pointer::<W>(cx, op, SegmentName::Ss)
}

fn swapgs(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    privileged(cx)?;
    let base = &mut cx.segments[SegmentName::Gs as usize].base;
    std::mem::swap(base, &mut cx.msrs.kernel_gs_base);
    cx.regs[slot::GS] = *base;
    Ok(())
}

/// Reads the operand of LGDT or LIDT; `W` is the width of the base, of which the 16-bit forms take 24 bits.
fn table_operand<W: Word>(cx: &mut Vcpu, op: &Op, mask: u64) -> Result<DescriptorTable, Exception> {
    privileged(cx)?;
    let limit = cx.load_slow(op.segment, part(cx, op, 0))?;
    let base = cx.load_slow::<W>(op.segment, part(cx, op, 2))?.zero_extend() & mask;
    if is_canonical(base) { Ok(DescriptorTable { base, limit }) } else { Err(Exception::GP0) }
}

const BASE24: u64 = 0xff_ffff;

fn lgdt<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    cx.gdtr = table_operand::<W>(cx, op, u64::MAX)?;
    Ok(())
}
fn lgdt16(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    cx.gdtr = table_operand::<u32>(cx, op, BASE24)?;
    Ok(())
}
fn lidt<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    cx.idtr = table_operand::<W>(cx, op, u64::MAX)?;
    Ok(())
}
fn lidt16(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    cx.idtr = table_operand::<u32>(cx, op, BASE24)?;
    Ok(())
}

fn store_table<W: Word>(cx: &mut Vcpu, op: &Op, table: DescriptorTable, mask: u64) -> Result<(), Exception> {
    let (first, last) = (part(cx, op, 0), part(cx, op, 2));
    // The base is checked before the limit is stored, so that a fault leaves nothing behind.
    cx.modify_slow::<W, _>(op.segment, last, |value| (value, ()))?;
    cx.store_slow(op.segment, first, table.limit)?;
    cx.store_slow(op.segment, last, W::truncate(table.base & mask))
}

fn sgdt<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let table = cx.gdtr;
    store_table::<W>(cx, op, table, u64::MAX)
}
fn sgdt16(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let table = cx.gdtr;
    store_table::<u32>(cx, op, table, BASE24)
}
fn sidt<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let table = cx.idtr;
    store_table::<W>(cx, op, table, u64::MAX)
}
fn sidt16(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let table = cx.idtr;
    store_table::<u32>(cx, op, table, BASE24)
}

fn load_ldt(cx: &mut Vcpu, selector: u16) -> Result<(), Exception> {
    if is_null(selector) {
        cx.ldtr = descriptor::null_segment(selector);
        return Ok(());
    }
    require(selector & 4 == 0, Exception::gp, selector)?;
    let entry = Descriptor::read(cx, selector, Exception::gp)?;
    let is_ldt = !entry.segment.is_code_or_data() && entry.segment.kind() == system_type::LDT;
    require(is_ldt, Exception::gp, selector)?;
    require(entry.segment.is_present(), Exception::np, selector)?;
    cx.ldtr = entry.system_segment(cx)?;
    Ok(())
}

fn lldt(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    privileged(cx)?;
    load_ldt(cx, u16::read(&cx.regs, op.a))
}

fn lldt_memory(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    privileged(cx)?;
    let selector = cx.load_slow(op.segment, General::linear(cx, op))?;
    load_ldt(cx, selector)
}

fn load_task(cx: &mut Vcpu, selector: u16) -> Result<(), Exception> {
    if is_null(selector) {
        return Err(Exception::GP0);
    }
    require(selector & 4 == 0, Exception::gp, selector)?;
    let entry = Descriptor::read(cx, selector, Exception::gp)?;
    let kind = entry.segment.kind();
    let is_tss = kind == system_type::TSS || kind == system_type::TSS16 && !cx.long_mode();
    require(is_tss && !entry.segment.is_code_or_data(), Exception::gp, selector)?;
    require(entry.segment.is_present(), Exception::np, selector)?;
    let mut segment = entry.system_segment(cx)?;
    entry.busy(cx)?;
    segment.attributes |= 2;
    cx.tr = segment;
    Ok(())
}

fn ltr(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    privileged(cx)?;
    load_task(cx, u16::read(&cx.regs, op.a))
}

fn ltr_memory(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    privileged(cx)?;
    let selector = cx.load_slow(op.segment, General::linear(cx, op))?;
    load_task(cx, selector)
}

fn sldt<W: Word>(cx: &mut Vcpu, op: &Op) {
    W::truncate(u64::from(cx.ldtr.selector)).write(&mut cx.regs, op.a);
}
fn sldt_memory<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    P::store(cx, op.segment, E::linear(cx, op), cx.ldtr.selector)
}
fn str_<W: Word>(cx: &mut Vcpu, op: &Op) {
    W::truncate(u64::from(cx.tr.selector)).write(&mut cx.regs, op.a);
}
fn str_memory<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    P::store(cx, op.segment, E::linear(cx, op), cx.tr.selector)
}

fn set_zero_flag(cx: &mut Vcpu, value: bool) {
    let others = cx.flags.evaluate() & !Rflags::ZF;
    cx.flags = LazyFlags::from_flags(if value { others | Rflags::ZF } else { others });
}

/// The entry of a selector, if the current level may look at it: what LAR, LSL, VERR and VERW have in common.
fn visible(cx: &mut Vcpu, selector: u16) -> Result<Option<Segment>, Exception> {
    if is_null(selector) {
        return Ok(None);
    }
    let Some(entry) = Descriptor::find(cx, selector)? else { return Ok(None) };
    let allowed = entry.segment.is_conforming() || entry.segment.dpl() >= cx.cpl.max(rpl(selector));
    Ok(allowed.then_some(entry.segment))
}

fn is_system(segment: &Segment, kinds: &[u8]) -> bool {
    !segment.is_code_or_data() && kinds.contains(&segment.kind())
}

/// LAR: the access rights of an entry.
fn access_rights(cx: &mut Vcpu, selector: u16) -> Result<Option<u64>, Exception> {
    use system_type::{CALL_GATE, CALL_GATE16, LDT, TASK_GATE, TSS, TSS_BUSY, TSS16, TSS16_BUSY};
    let kinds: &[u8] = if cx.long_mode() {
        &[LDT, TSS, TSS_BUSY, CALL_GATE]
    } else {
        &[TSS16, LDT, TSS16_BUSY, CALL_GATE16, TASK_GATE, TSS, TSS_BUSY, CALL_GATE]
    };
    let segment = visible(cx, selector)?.filter(|segment| segment.is_code_or_data() || is_system(segment, kinds));
    Ok(segment.map(|segment| u64::from(segment.attributes) << 8))
}

/// LSL: the limit of an entry in bytes.
fn limit(cx: &mut Vcpu, selector: u16) -> Result<Option<u64>, Exception> {
    use system_type::{LDT, TSS, TSS_BUSY, TSS16, TSS16_BUSY};
    let kinds: &[u8] = if cx.long_mode() { &[LDT, TSS, TSS_BUSY] } else { &[TSS16, LDT, TSS16_BUSY, TSS, TSS_BUSY] };
    let segment = visible(cx, selector)?.filter(|segment| segment.is_code_or_data() || is_system(segment, kinds));
    Ok(segment.map(|segment| u64::from(segment.limit)))
}

fn readable(cx: &mut Vcpu, selector: u16) -> Result<Option<u64>, Exception> {
    Ok(visible(cx, selector)?.filter(Segment::is_readable).map(|_| 0))
}

fn writable(cx: &mut Vcpu, selector: u16) -> Result<Option<u64>, Exception> {
    Ok(visible(cx, selector)?.filter(Segment::is_writable).map(|_| 0))
}

type Query = fn(&mut Vcpu, u16) -> Result<Option<u64>, Exception>;

fn answer<W: Word>(cx: &mut Vcpu, op: &Op, selector: u16, query: Query) -> Result<(), Exception> {
    let answer = query(cx, selector)?;
    if let Some(value) = answer {
        W::truncate(value).write(&mut cx.regs, op.a);
    }
    set_zero_flag(cx, answer.is_some());
    Ok(())
}

fn memory_selector(cx: &mut Vcpu, op: &Op) -> Result<u16, Exception> {
    cx.load_slow(op.segment, General::linear(cx, op))
}

fn lar<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let selector = u16::read(&cx.regs, op.b);
    answer::<W>(cx, op, selector, access_rights)
}
fn lar_memory<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let selector = memory_selector(cx, op)?;
    answer::<W>(cx, op, selector, access_rights)
}
fn lsl<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let selector = u16::read(&cx.regs, op.b);
    answer::<W>(cx, op, selector, limit)
}
fn lsl_memory<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let selector = memory_selector(cx, op)?;
    answer::<W>(cx, op, selector, limit)
}

fn verify(cx: &mut Vcpu, selector: u16, query: Query) -> Result<(), Exception> {
    let verified = query(cx, selector)?.is_some();
    set_zero_flag(cx, verified);
    Ok(())
}

fn verr(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    verify(cx, u16::read(&cx.regs, op.a), readable)
}
fn verr_memory(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let selector = memory_selector(cx, op)?;
    verify(cx, selector, readable)
}
fn verw(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    verify(cx, u16::read(&cx.regs, op.a), writable)
}
fn verw_memory(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let selector = memory_selector(cx, op)?;
    verify(cx, selector, writable)
}

/// ARPL's result: the selector with its RPL raised to `level`'s, and whether that changed it.
fn adjusted(selector: u16, level: u16) -> (u16, bool) {
    let raised = selector & 3 < level & 3;
    (if raised { selector & !3 | level & 3 } else { selector }, raised)
}

fn arpl(cx: &mut Vcpu, op: &Op) {
    let (selector, raised) = adjusted(u16::read(&cx.regs, op.a), u16::read(&cx.regs, op.b));
    selector.write(&mut cx.regs, op.a);
    set_zero_flag(cx, raised);
}

/// Writes only what it changes: a selector in a page that is read-only may be compared.
fn arpl_memory<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let linear = E::linear(cx, op);
    let (selector, raised) = adjusted(P::load(cx, op.segment, linear)?, u16::read(&cx.regs, op.a));
    if raised {
        P::store(cx, op.segment, linear, selector)?;
    }
    set_zero_flag(cx, raised);
    Ok(())
}

rows! {
    Mov_Sreg_rm16 => system mov_to_segment, system_memory mov_to_segment_memory;
    Mov_Sreg_r32m16 => system mov_to_segment, system_memory mov_to_segment_memory;
    Mov_Sreg_r64m16 => system mov_to_segment, system_memory mov_to_segment_memory;
    Mov_rm16_Sreg => register mov_from_segment[u16], memory mov_from_segment_memory;
    Mov_r32m16_Sreg => register mov_from_segment[u32], memory mov_from_segment_memory;
    Mov_r64m16_Sreg => register mov_from_segment[u64], memory mov_from_segment_memory;
    Pushw_ES => stack push_segment[u16];
    Pushd_ES => stack push_segment[u32];
    Pushw_CS => stack push_segment[u16];
    Pushd_CS => stack push_segment[u32];
    Pushw_SS => stack push_segment[u16];
    Pushd_SS => stack push_segment[u32];
    Pushw_DS => stack push_segment[u16];
    Pushd_DS => stack push_segment[u32];
    Pushw_FS => stack push_segment[u16];
    Pushd_FS => stack push_segment[u32];
    Pushq_FS => stack push_segment[u64];
    Pushw_GS => stack push_segment[u16];
    Pushd_GS => stack push_segment[u32];
    Pushq_GS => stack push_segment[u64];
    Popw_ES => system pop_segment[u16];
    Popd_ES => system pop_segment[u32];
    Popw_SS => system pop_segment[u16];
    Popd_SS => system pop_segment[u32];
    Popw_DS => system pop_segment[u16];
    Popd_DS => system pop_segment[u32];
    Popw_FS => system pop_segment[u16];
    Popd_FS => system pop_segment[u32];
    Popq_FS => system pop_segment[u64];
    Popw_GS => system pop_segment[u16];
    Popd_GS => system pop_segment[u32];
    Popq_GS => system pop_segment[u64];
    Lds_r16_m1616 => system_memory lds[u16];
    Lds_r32_m1632 => system_memory lds[u32];
    Les_r16_m1616 => system_memory les[u16];
    Les_r32_m1632 => system_memory les[u32];
    Lfs_r16_m1616 => system_memory lfs[u16];
    Lfs_r32_m1632 => system_memory lfs[u32];
    Lfs_r64_m1664 => system_memory lfs[u64];
    Lgs_r16_m1616 => system_memory lgs[u16];
    Lgs_r32_m1632 => system_memory lgs[u32];
    Lgs_r64_m1664 => system_memory lgs[u64];
    Lss_r16_m1616 => system_memory lss[u16];
    Lss_r32_m1632 => system_memory lss[u32];
    Lss_r64_m1664 => system_memory lss[u64];
    Swapgs => register swapgs;
    Lgdt_m1632_16 => system_memory lgdt16;
    Lgdt_m1632 => system_memory lgdt[u32];
    Lgdt_m1664 => system_memory lgdt[u64];
    Lidt_m1632_16 => system_memory lidt16;
    Lidt_m1632 => system_memory lidt[u32];
    Lidt_m1664 => system_memory lidt[u64];
    Sgdt_m1632_16 => system_memory sgdt16;
    Sgdt_m1632 => system_memory sgdt[u32];
    Sgdt_m1664 => system_memory sgdt[u64];
    Sidt_m1632_16 => system_memory sidt16;
    Sidt_m1632 => system_memory sidt[u32];
    Sidt_m1664 => system_memory sidt[u64];
    Lldt_rm16 => system lldt, system_memory lldt_memory;
    Lldt_r32m16 => system lldt, system_memory lldt_memory;
    Lldt_r64m16 => system lldt, system_memory lldt_memory;
    Ltr_rm16 => system ltr, system_memory ltr_memory;
    Ltr_r32m16 => system ltr, system_memory ltr_memory;
    Ltr_r64m16 => system ltr, system_memory ltr_memory;
    Sldt_rm16 => register sldt[u16], memory sldt_memory;
    Sldt_r32m16 => register sldt[u32], memory sldt_memory;
    Sldt_r64m16 => register sldt[u64], memory sldt_memory;
    Str_rm16 => register str_[u16], memory str_memory;
    Str_r32m16 => register str_[u32], memory str_memory;
    Str_r64m16 => register str_[u64], memory str_memory;
    Lar_r16_rm16 => system lar[u16], system_memory lar_memory[u16];
    Lar_r32_r32m16 => system lar[u32], system_memory lar_memory[u32];
    Lar_r64_r64m16 => system lar[u64], system_memory lar_memory[u64];
    Lsl_r16_rm16 => system lsl[u16], system_memory lsl_memory[u16];
    Lsl_r32_r32m16 => system lsl[u32], system_memory lsl_memory[u32];
    Lsl_r64_r64m16 => system lsl[u64], system_memory lsl_memory[u64];
    Verr_rm16 => system verr, system_memory verr_memory;
    Verr_r32m16 => system verr, system_memory verr_memory;
    Verr_r64m16 => system verr, system_memory verr_memory;
    Verw_rm16 => system verw, system_memory verw_memory;
    Verw_r32m16 => system verw, system_memory verw_memory;
    Verw_r64m16 => system verw, system_memory verw_memory;
    Arpl_rm16_r16 => register arpl, memory arpl_memory;
    Arpl_r32m16_r32 => register arpl, memory arpl_memory;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Cr4;
    use crate::engine::VcpuExit;
    use crate::testing::*;

    #[test]
    fn load_of_a_data_segment_checks_type_level_and_presence() {
        let cases = [(0x100, 13), (selector::CODE64 | 3, 13), (selector::DATA | 3, 13), (selector::FREE | 3, 11)];
        for (number, vector) in cases {
            let mut cx = user_mode();
            set_descriptor(&mut cx, selector::FREE, flat(0xc073));
            cx.regs[slot::RAX] = u64::from(number);
            // MOV DS, EAX
            expect_vector(&mut cx, &[0x8e, 0xd8], vector);
            assert_eq!(frame::<1>(&cx), [u64::from(number & !3)], "selector {number:#x}");
            assert_eq!(cx.segment(SegmentName::Ds).selector, selector::USER_DATA);
        }
    }

    #[test]
    fn load_of_the_stack_segment_checks_type_level_and_presence() {
        for (number, vector) in [(selector::DATA, 13), (selector::USER_CODE32, 13), (selector::FREE | 3, 12)] {
            let mut cx = user_mode();
            set_descriptor(&mut cx, selector::FREE, flat(0xc073));
            cx.regs[slot::RAX] = u64::from(number);
            // MOV SS, EAX
            expect_vector(&mut cx, &[0x8e, 0xd0], vector);
            assert_eq!(frame::<1>(&cx), [u64::from(number & !3)], "selector {number:#x}");
        }
    }

    #[test]
    fn null_stack_segment_is_for_the_supervisor_in_64_bit_mode() {
        let mut cx = long_mode();
        expect_halt(&mut cx, &[0x8e, 0xd0, 0xf4]);
        assert_eq!(cx.segment(SegmentName::Ss).attributes, 0);
        let mut cx = user_mode();
        expect_vector(&mut cx, &[0x8e, 0xd0], 13);
        let mut cx = protected_mode();
        expect_vector(&mut cx, &[0x8e, 0xd0], 13);
    }

    #[test]
    fn mov_to_cs_is_undefined() {
        let mut cx = long_mode();
        expect_vector(&mut cx, &[0x8e, 0xc8], 6);
    }

    #[test]
    fn load_of_the_stack_segment_holds_interrupts_off_for_one_instruction() {
        let mut cx = long_mode();
        cx.set_rflags(Rflags::IF);
        cx.regs[slot::RAX] = u64::from(selector::DATA);
        board(&mut cx).pending.push(0x40);
        // Held off already, so that the load is the first to run.
        cx.interrupts_blocked = true;
        // MOV SS, EAX; INC EAX; INC EAX
        expect_vector(&mut cx, &[0x8e, 0xd0, 0xff, 0xc0, 0xff, 0xc0], 0x40);
        assert_eq!(frame::<1>(&cx), [CODE + 4]);
    }

    #[test]
    fn base_of_fs_comes_from_the_descriptor_and_a_null_selector_clears_it() {
        let mut cx = user_mode();
        set_descriptor(&mut cx, selector::FREE, flat(0xc0f3) | (USER_DATA & 0xff_ffff) << 16);
        store64(&mut cx, USER_DATA + 8, 0x1234);
        cx.regs[slot::RAX] = u64::from(selector::FREE | 3);
        // MOV FS, EAX; MOV RBX, FS:[8]; XOR EAX, EAX; MOV FS, EAX; UD2
        let code = [&[0x8e, 0xe0][..], &[0x64, 0x48, 0x8b, 0x1c, 0x25, 8, 0, 0, 0], &[0x31, 0xc0, 0x8e, 0xe0], &[0x0f, 0x0b]].concat();
        expect_vector(&mut cx, &code, 6);
        assert_eq!(cx.regs[slot::RBX], 0x1234);
        assert_eq!(*cx.segment(SegmentName::Fs), Segment::default());
    }

    #[test]
    fn swapgs_exchanges_the_bases_and_belongs_to_the_supervisor() {
        let mut cx = long_mode();
        cx.msrs.kernel_gs_base = DATA;
        store64(&mut cx, DATA, 0x77);
        // SWAPGS; MOV RAX, GS:[0]
        expect_halt(&mut cx, &[0x0f, 0x01, 0xf8, 0x65, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0xf4]);
        assert_eq!([cx.regs[slot::RAX], cx.msrs.kernel_gs_base], [0x77, 0]);
        let mut cx = user_mode();
        expect_vector(&mut cx, &[0x0f, 0x01, 0xf8], 13);
    }

    #[test]
    fn push_and_pop_of_a_segment_register_move_a_quadword() {
        let mut cx = long_mode();
        // PUSH FS; POP GS
        expect_halt(&mut cx, &[0x0f, 0xa0, 0x0f, 0xa9, 0xf4]);
        assert_eq!(cx.regs[slot::RSP], STACK);
        assert_eq!(load64(&cx, STACK - 8), u64::from(selector::DATA));
    }

    #[test]
    fn far_pointer_load_sets_both_registers_or_none() {
        let mut cx = long_mode();
        cx.regs[slot::RBX] = DATA;
        store64(&mut cx, DATA, u64::from(selector::DATA) << 32 | 0x1234_5678);
        // LSS EAX, [RBX]
        expect_halt(&mut cx, &[0x0f, 0xb2, 0x03, 0xf4]);
        assert_eq!([cx.regs[slot::RAX], u64::from(cx.segment(SegmentName::Ss).selector)], [0x1234_5678, u64::from(selector::DATA)]);
        let mut cx = long_mode();
        cx.regs[slot::RBX] = DATA;
        store64(&mut cx, DATA, 0x100 << 32 | 0x1234_5678);
        // LFS EAX, [RBX]
        expect_vector(&mut cx, &[0x0f, 0xb4, 0x03], 13);
        assert_eq!(cx.regs[slot::RAX], 0);
    }

    #[test]
    fn descriptor_tables_are_stored_as_they_were_loaded() {
        let mut cx = long_mode();
        cx.regs[slot::RBX] = DATA;
        store(&mut cx, DATA, &[0xff, 0x0f]);
        store64(&mut cx, DATA + 2, IDT + 0x10);
        // LIDT [RBX]; SIDT [RBX + 16]
        expect_halt(&mut cx, &[0x0f, 0x01, 0x1b, 0x0f, 0x01, 0x4b, 0x10, 0xf4]);
        assert_eq!(cx.idtr, DescriptorTable { base: IDT + 0x10, limit: 0xfff });
        assert_eq!(cx.mmu.ram().load::<10>(DATA), cx.mmu.ram().load::<10>(DATA + 16));
    }

    #[test]
    fn table_base_must_be_canonical_and_the_level_0() {
        let mut cx = long_mode();
        cx.regs[slot::RBX] = DATA;
        store64(&mut cx, DATA + 2, 1 << 47);
        expect_vector(&mut cx, &[0x0f, 0x01, 0x13], 13);
        let mut cx = user_mode();
        cx.regs[slot::RBX] = USER_DATA;
        expect_vector(&mut cx, &[0x0f, 0x01, 0x13], 13);
    }

    fn tss_descriptor(cx: &mut Vcpu, attributes: u64) {
        set_descriptor(cx, selector::TSS, (TSS & 0xff_ffff) << 16 | attributes << 40 | 103);
        set_descriptor(cx, selector::TSS + 8, 0xffff_8000);
    }

    #[test]
    fn ltr_takes_a_64_bit_base_and_marks_the_tss_busy() {
        let mut cx = long_mode();
        tss_descriptor(&mut cx, 0x89);
        cx.regs[slot::RAX] = u64::from(selector::TSS);
        // LTR AX; STR EDX
        expect_halt(&mut cx, &[0x0f, 0x00, 0xd8, 0x0f, 0x00, 0xca, 0xf4]);
        assert_eq!(cx.tr, Segment { selector: selector::TSS, base: 0xffff_8000_0000_0000 | TSS, limit: 103, attributes: 0x8b });
        assert_eq!(cx.regs[slot::RDX], u64::from(selector::TSS));
        assert_eq!(load64(&cx, GDT + u64::from(selector::TSS)) >> 40 & 0xff, 0x8b);
    }

    #[test]
    fn ltr_refuses_a_busy_tss() {
        let mut cx = long_mode();
        tss_descriptor(&mut cx, 0x8b);
        cx.regs[slot::RAX] = u64::from(selector::TSS);
        expect_vector(&mut cx, &[0x0f, 0x00, 0xd8], 13);
        assert_eq!(frame::<1>(&cx), [u64::from(selector::TSS)]);
    }

    #[test]
    fn ldt_serves_selectors_with_the_table_indicator() {
        let mut cx = long_mode();
        set_descriptor(&mut cx, selector::FREE, DATA << 16 | 0x82 << 40 | 15);
        set_descriptor(&mut cx, selector::FREE + 8, 0);
        store64(&mut cx, DATA + 8, flat(0xc093));
        cx.regs[slot::RAX] = u64::from(selector::FREE);
        cx.regs[slot::RBX] = 0xc;
        // LLDT AX; MOV FS, EBX; MOV EBX, 0x14; MOV GS, EBX
        expect_vector(&mut cx, &[0x0f, 0x00, 0xd0, 0x8e, 0xe3, 0xbb, 0x14, 0, 0, 0, 0x8e, 0xeb], 13);
        assert_eq!(cx.segment(SegmentName::Fs).selector, 0xc);
        assert_eq!(frame::<1>(&cx), [0x14], "beyond the limit of the LDT");
    }

    #[test]
    fn system_segments_are_refused_by_kind_presence_and_place() {
        // LLDT AX, LTR AX
        let (lldt, ltr) = ([0x0f, 0x00, 0xd0], [0x0f, 0x00, 0xd8]);
        let (ldt, tss, free) = (0x82, 0x89, selector::FREE);
        let cases = [
            (lldt, ldt, free, None),
            (ltr, tss, free, None),
            (lldt, ldt & !0x80, free, Some((11, free))),
            (ltr, tss & !0x80, free, Some((11, free))),
            (lldt, tss, free, Some((13, free))),
            (ltr, ldt, free, Some((13, free))),
            (lldt, 0x92, free, Some((13, free))),
            (ltr, 0x99, free, Some((13, free))),
            // An LDT's entry; beyond the GDT; none
            (lldt, ldt, free | 4, Some((13, free | 4))),
            (ltr, tss, free | 4, Some((13, free | 4))),
            (lldt, ldt, 0xfff8, Some((13, 0xfff8))),
            (ltr, tss, 0xfff8, Some((13, 0xfff8))),
            (lldt, ldt, 3, None),
            (ltr, tss, 3, Some((13, 0))),
        ];
        for (code, attributes, number, fault) in cases {
            let mut cx = long_mode();
            set_descriptor(&mut cx, free, DATA << 16 | attributes << 40 | 103);
            set_descriptor(&mut cx, free + 8, 0);
            cx.regs[slot::RAX] = u64::from(number);
            match fault {
                Some((vector, error)) => {
                    expect_vector(&mut cx, &code, vector);
                    assert_eq!(frame::<1>(&cx), [u64::from(error)], "{code:x?} of {attributes:#x} at {number:#x}");
                }
                None => expect_halt(&mut cx, &[&code[..], &[0xf4]].concat()),
            }
        }
    }

    #[test]
    fn what_may_be_seen_depends_on_the_requested_level_too() {
        let conforming = flat(0xa09f);
        for (number, seen) in [(selector::DATA, true), (selector::DATA | 1, false), (selector::USER_DATA, true), (selector::FREE | 3, true)]
        {
            // LAR ECX, EAX; LSL ECX, EAX; VERR AX
            for code in [[0x0f, 0x02, 0xc8], [0x0f, 0x03, 0xc8], [0x0f, 0x00, 0xe0]] {
                let mut cx = long_mode();
                set_descriptor(&mut cx, selector::FREE, conforming);
                cx.regs[slot::RAX] = u64::from(number);
                expect_halt(&mut cx, &[&code[..], &[0xf4]].concat());
                assert_eq!(cx.flags.zero(), seen, "{code:x?} of {number:#x}");
            }
        }
    }

    #[test]
    fn lar_and_lsl_answer_what_the_level_may_see() {
        let mut cx = user_mode();
        cx.regs[slot::RAX] = u64::from(selector::USER_DATA);
        // LAR ECX, EAX; LSL EDX, EAX; SETZ BL; MOV EAX, DATA; LAR ESI, EAX; SETZ BH; UD2
        let code = [
            &[0x0f, 0x02, 0xc8, 0x0f, 0x03, 0xd0, 0x0f, 0x94, 0xc3][..],
            &[0xb8, selector::DATA as u8, 0, 0, 0, 0x0f, 0x02, 0xf0, 0x0f, 0x94, 0xc7],
            &[0x0f, 0x0b],
        ]
        .concat();
        expect_vector(&mut cx, &code, 6);
        assert_eq!([cx.regs[slot::RCX], cx.regs[slot::RDX]], [0x00c0_f300, 0xffff_ffff]);
        assert_eq!([cx.regs[slot::RBX], cx.regs[slot::RSI]], [1, 0]);
    }

    #[test]
    fn verr_and_verw_tell_code_from_data() {
        let mut cx = long_mode();
        cx.regs[slot::RAX] = u64::from(selector::CODE64);
        // VERR AX; SETZ BL; VERW AX; SETZ BH
        expect_halt(&mut cx, &[0x0f, 0x00, 0xe0, 0x0f, 0x94, 0xc3, 0x0f, 0x00, 0xe8, 0x0f, 0x94, 0xc7, 0xf4]);
        assert_eq!(cx.regs[slot::RBX], 1);
    }

    #[test]
    fn arpl_raises_the_requested_level() {
        let mut cx = protected_mode();
        cx.regs[slot::RAX] = 0x10;
        cx.regs[slot::RCX] = 0x1b;
        // ARPL AX, CX
        expect_halt(&mut cx, &[0x63, 0xc8, 0xf4]);
        assert_eq!(cx.regs[slot::RAX], 0x13);
        assert!(cx.flags.zero());
    }

    #[test]
    fn segment_limits_are_checked_in_protected_mode() {
        let mut cx = protected_mode();
        // One page of data from DATA.
        set_descriptor(&mut cx, selector::FREE, 0xfff | DATA << 16 | 0x4093 << 40);
        store64(&mut cx, DATA + 0xff8, 0x5555_6666_7777_8888);
        cx.regs[slot::RAX] = u64::from(selector::FREE);
        cx.regs[slot::RBX] = 0xffc;
        // MOV DS, EAX; MOV ECX, [EBX]; INC EBX; MOV ECX, [EBX]
        expect_vector(&mut cx, &[0x8e, 0xd8, 0x8b, 0x0b, 0x43, 0x8b, 0x0b], 13);
        assert_eq!(cx.regs[slot::RCX], 0x5555_6666);
        assert_eq!(load32(&cx, cx.regs[slot::RSP] + 4), CODE as u32 + 5);
    }

    #[test]
    fn rights_and_limits_hold_where_another_segment_has_reached_the_page() {
        // MOV EAX, [EBX]; MOV [EBX], EAX; MOV FS, ECX; MOV GS, ECX
        let reached = [0x8b, 0x03, 0x89, 0x03, 0x8e, 0xe1, 0x8e, 0xe9];
        let (page, read_only) = (0xfff | DATA << 16 | 0x4093 << 40, flat(0xc091));
        let cases: [(u64, u64, &[u8], Option<u8>); 10] = [
            // MOV [EBX], EAX, and MOV EDX, [EBX], through CS
            (0, 0, &[0x2e, 0x89, 0x03], Some(13)),
            (0, 0, &[0x2e, 0x8b, 0x13], None),
            // The same through FS or GS: null; a page that [EBX] is beyond, and within; read-only; all that there is
            (0, 0, &[0x64, 0x8b, 0x13], Some(13)),
            (0, 0, &[0x65, 0x89, 0x03], Some(13)),
            (page, DATA, &[0x65, 0x8b, 0x13], Some(13)),
            (page, 0xffc, &[0x65, 0x8b, 0x13], None),
            (page, 0xffd, &[0x64, 0x8b, 0x13], Some(13)),
            (read_only, DATA, &[0x64, 0x8b, 0x13], None),
            (read_only, DATA, &[0x64, 0x89, 0x03], Some(13)),
            (flat(0xc093), DATA, &[0x64, 0x89, 0x03], None),
        ];
        for (descriptor, offset, code, vector) in cases {
            let mut cx = protected_mode();
            set_descriptor(&mut cx, selector::FREE, descriptor);
            cx.regs[slot::RCX] = if descriptor == 0 { 0 } else { u64::from(selector::FREE) };
            cx.regs[slot::RBX] = DATA;
            store64(&mut cx, DATA, 0x1234_5678);
            // MOV EBX, offset
            let move_on = [&[0xbb][..], &(if descriptor == 0 { DATA } else { offset } as u32).to_le_bytes()].concat();
            let code = [&reached[..], &move_on, code, &[0xf4]].concat();
            match vector {
                Some(vector) => expect_vector(&mut cx, &code, vector),
                None => expect_halt(&mut cx, &code),
            }
        }
    }

    #[test]
    fn smap_protects_user_pages_from_implicit_accesses_even_with_ac() {
        let mut cx = long_mode();
        cx.control.cr4 |= Cr4::SMAP;
        cx.mode_changed();
        cx.gdtr.base = USER_DATA;
        store64(&mut cx, USER_DATA + u64::from(selector::DATA), flat(0xc093));
        cx.regs[slot::RAX] = u64::from(selector::DATA);
        // An implicit access to a user page is refused by SMAP even with RFLAGS.AC set.
        cx.set_rflags(Rflags::AC);
        assert_eq!(run(&mut cx, &[0x8e, 0xd8]), VcpuExit::Shutdown);
    }
}
