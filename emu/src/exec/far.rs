//! Transfers to another code segment: far JMP, CALL and RET, IRET.

use super::path::{Fast, Path};
use super::row::rows;
use super::segment::part;
use super::stack::stack_linear;
use crate::cpu::{CodeSize, Exception, Rflags, Segment, SegmentName, Word, is_canonical, slot};
use crate::decode::Op;
use crate::delivery::descriptor::{self, Descriptor, is_null, require, rpl, system_type};
use crate::delivery::stack::{Stack, Width};
use crate::delivery::{legacy, long};
use crate::vcpu::Vcpu;

/// Checks an instruction pointer against the code segment that it will run in.
fn check_offset(cx: &Vcpu, code: &Segment, offset: u64) -> Result<(), Exception> {
    let valid = if cx.long_mode() && code.is_long() { is_canonical(offset) } else { offset <= u64::from(code.limit) };
    if valid { Ok(()) } else { Err(Exception::GP0) }
}

/// L and D together are reserved in long mode.
fn check_size(cx: &Vcpu, code: &Segment) -> Result<(), Exception> {
    require(!(cx.long_mode() && code.is_long() && code.is_big()), Exception::gp, code.selector)
}

/// Goes to `offset` in `code` at privilege level `cpl`.
fn enter(cx: &mut Vcpu, mut code: Segment, cpl: u8, offset: u64) {
    code.selector = code.selector & !3 | u16::from(cpl);
    cx.segments[SegmentName::Cs as usize] = code;
    cx.cpl = cpl;
    cx.rip = offset;
    cx.mode_changed();
}

/// A call gate.
struct CallGate {
    code: Segment,
    offset: u64,
    width: Width,
    /// Words or doublewords to copy to an inner stack.
    parameters: u64,
}

fn call_gate(cx: &mut Vcpu, gate: &Descriptor) -> Result<CallGate, Exception> {
    let selector = gate.segment.selector;
    let width = match (gate.segment.is_code_or_data(), gate.segment.kind(), cx.long_mode()) {
        (false, system_type::CALL_GATE, true) => Width::Quadword,
        (false, system_type::CALL_GATE, false) => Width::Doubleword,
        (false, system_type::CALL_GATE16, false) => Width::Word,
        _ => return Err(Exception::gp(descriptor::error_code(selector))),
    };
    require(gate.segment.dpl() >= cx.cpl.max(rpl(selector)), Exception::gp, selector)?;
    require(gate.segment.is_present(), Exception::np, selector)?;
    let high = match width {
        Width::Word => 0,
        Width::Doubleword => gate.raw >> 32 & 0xffff_0000,
        Width::Quadword => gate.raw >> 32 & 0xffff_0000 | gate.upper_half(cx, Exception::gp)? << 32,
    };
    let offset = gate.raw & 0xffff | high;
    let code = descriptor::gate_code(cx, (gate.raw >> 16) as u16)?;
    check_offset(cx, &code, offset)?;
    Ok(CallGate { code, offset, width, parameters: gate.raw >> 32 & 0x1f })
}

/// The entry that a far JMP or CALL names.
fn target(cx: &mut Vcpu, selector: u16) -> Result<Descriptor, Exception> {
    if is_null(selector) { Err(Exception::GP0) } else { Descriptor::read(cx, selector, Exception::gp) }
}

/// The code segment of a far JMP or CALL without a gate, which keeps the privilege level.
fn direct_code(cx: &mut Vcpu, target: Descriptor, offset: u64) -> Result<Segment, Exception> {
    let (segment, selector) = (target.segment, target.segment.selector);
    let privileged = if segment.is_conforming() { segment.dpl() <= cx.cpl } else { rpl(selector) <= cx.cpl && segment.dpl() == cx.cpl };
    require(privileged, Exception::gp, selector)?;
    check_size(cx, &segment)?;
    require(segment.is_present(), Exception::np, selector)?;
    check_offset(cx, &segment, offset)?;
    target.accessed(cx)
}

fn jump(cx: &mut Vcpu, selector: u16, offset: u64) -> Result<(), Exception> {
    let target = target(cx, selector)?;
    let (code, offset) = if target.segment.is_code() {
        (direct_code(cx, target, offset)?, offset)
    } else {
        let gate = call_gate(cx, &target)?;
        require(gate.code.is_conforming() || gate.code.dpl() == cx.cpl, Exception::gp, gate.code.selector)?;
        (gate.code, gate.offset)
    };
    let cpl = cx.cpl;
    enter(cx, code, cpl, offset);
    Ok(())
}

fn call(cx: &mut Vcpu, selector: u16, offset: u64, width: Width) -> Result<(), Exception> {
    let target = target(cx, selector)?;
    if !target.segment.is_code() {
        let gate = call_gate(cx, &target)?;
        return call_through(cx, &gate);
    }
    let code = direct_code(cx, target, offset)?;
    let mut stack = Stack::current(cx);
    push_return(cx, &mut stack, width)?;
    cx.regs[slot::RSP] = stack.pointer;
    let cpl = cx.cpl;
    enter(cx, code, cpl, offset);
    Ok(())
}

fn push_return(cx: &mut Vcpu, stack: &mut Stack, width: Width) -> Result<(), Exception> {
    stack.push(cx, width, u64::from(cx.segment(SegmentName::Cs).selector))?;
    stack.push(cx, width, cx.rip)
}

fn call_through(cx: &mut Vcpu, gate: &CallGate) -> Result<(), Exception> {
    let cpl = if gate.code.is_conforming() { cx.cpl } else { gate.code.dpl() };
    let inner = cpl < cx.cpl;
    let wide = gate.width == Width::Quadword;
    let (segment, mut stack) = match (inner, wide) {
        (true, true) => {
            let pointer = long::stack_pointer(cx, long::level_offset(cpl))?;
            (descriptor::null_segment(u16::from(cpl)), Stack::flat(pointer, cpl))
        }
        (true, false) => {
            let (segment, pointer) = legacy::inner_stack(cx, cpl)?;
            (segment, Stack::new(segment, pointer, cpl))
        }
        (false, true) => (*cx.segment(SegmentName::Ss), Stack::flat(cx.regs[slot::RSP], cpl)),
        (false, false) => (*cx.segment(SegmentName::Ss), Stack::current(cx)),
    };
    if inner {
        stack.push(cx, gate.width, u64::from(cx.segment(SegmentName::Ss).selector))?;
        stack.push(cx, gate.width, cx.regs[slot::RSP])?;
        for i in (0..if wide { 0 } else { gate.parameters }).rev() {
            let value = match gate.width {
                Width::Word => u64::from(popped::<u16>(cx, i * 2)?),
                _ => u64::from(popped::<u32>(cx, i * 4)?),
            };
            stack.push(cx, gate.width, value)?;
        }
    }
    push_return(cx, &mut stack, gate.width)?;
    cx.segments[SegmentName::Ss as usize] = segment;
    cx.regs[slot::RSP] = stack.pointer;
    enter(cx, gate.code, cpl, gate.offset);
    Ok(())
}

/// What lies `distance` bytes above the stack pointer.
fn popped<W: Word>(cx: &mut Vcpu, distance: u64) -> Result<W, Exception> {
    let offset = cx.regs[slot::RSP].wrapping_add(distance) & cx.stack_mask();
    let linear = stack_linear(cx, offset);
    Fast::load(cx, slot::SS, linear).or_else(|_| cx.load_slow(slot::SS, linear))
}

/// The code segment that RET or IRET goes back to: at the level of the selector's RPL.
fn return_code(cx: &mut Vcpu, selector: u16, offset: u64) -> Result<Segment, Exception> {
    let code = target(cx, selector)?;
    let (segment, level) = (code.segment, rpl(selector));
    let privileged = if segment.is_conforming() { segment.dpl() <= level } else { segment.dpl() == level };
    require(segment.is_code() && level >= cx.cpl && privileged, Exception::gp, selector)?;
    check_size(cx, &segment)?;
    require(segment.is_present(), Exception::np, selector)?;
    check_offset(cx, &segment, offset)?;
    code.accessed(cx)
}

/// The stack segment that RET or IRET goes back to together with `code`.
fn return_stack(cx: &mut Vcpu, selector: u16, code: &Segment) -> Result<Segment, Exception> {
    let level = rpl(code.selector);
    if is_null(selector) {
        let allowed = cx.long_mode() && code.is_long() && level != 3 && rpl(selector) == level;
        return if allowed { Ok(descriptor::null_segment(selector)) } else { Err(Exception::GP0) };
    }
    descriptor::stack_segment_for(cx, selector, level, Exception::gp)
}

/// Takes away the data segments that the new privilege level must not use. Null selectors lose their RPL; a base without a descriptor stays.
fn drop_privileged_segments(cx: &mut Vcpu) {
    use SegmentName::{Ds, Es, Fs, Gs};
    for name in [Es, Ds, Fs, Gs] {
        let segment = &mut cx.segments[name as usize];
        if segment.attributes == 0 {
            segment.selector = 0;
        } else if !segment.is_conforming() && segment.dpl() < cx.cpl {
            *segment = Segment::default();
        }
    }
}

/// Goes back to `code` and, with `stack` given, to that stack: its segment and pointer.
fn go_back(cx: &mut Vcpu, code: Segment, offset: u64, stack: Option<(Segment, u64)>) {
    let level = rpl(code.selector);
    let outer = level != cx.cpl;
    cx.cpl = level;
    if let Some((segment, _)) = stack {
        cx.segments[SegmentName::Ss as usize] = segment;
    }
    if outer {
        drop_privileged_segments(cx);
    }
    enter(cx, code, level, offset);
    if let Some((_, pointer)) = stack {
        // To a stack of 16 bits, bits 16 to 31 stay as they were; the upper half of RSP is not the outer level's to see.
        if cx.stack_mask() != u64::MAX {
            cx.regs[slot::RSP] &= 0xffff_ffff;
        }
        cx.set_stack_pointer(pointer);
    }
}

/// RET to another segment, with the bytes of parameters to drop as immediate.
fn retf<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let offset = popped::<W>(cx, 0)?.zero_extend();
    let selector = popped::<W>(cx, W::BYTES)?.zero_extend() as u16;
    let code = return_code(cx, selector, offset)?;
    let above = 2 * W::BYTES + op.immediate;
    if rpl(selector) == cx.cpl {
        cx.set_stack_pointer(cx.regs[slot::RSP].wrapping_add(above));
        go_back(cx, code, offset, None);
        return Ok(());
    }
    let pointer = popped::<W>(cx, above)?.zero_extend();
    let selector = popped::<W>(cx, above + W::BYTES)?.zero_extend() as u16;
    let segment = return_stack(cx, selector, &code)?;
    go_back(cx, code, offset, Some((segment, pointer.wrapping_add(op.immediate))));
    Ok(())
}

/// Bits of RFLAGS that IRET of operand size `W` loads at the current privilege level.
fn loaded_flags<W: Word>(cx: &Vcpu) -> u64 {
    let mut mask = Rflags::ARITHMETIC | Rflags::TF | Rflags::DF | Rflags::NT;
    if W::BITS > 16 {
        mask |= Rflags::AC | Rflags::ID | Rflags::RF;
    }
    if cx.cpl == 0 {
        mask |= Rflags::IOPL;
        if W::BITS > 16 {
            mask |= Rflags::VIF | Rflags::VIP;
        }
    }
    if u64::from(cx.cpl) <= (cx.system_flags & Rflags::IOPL) >> 12 {
        mask |= Rflags::IF;
    }
    mask
}

/// IRET. A nested task to go back to (NT), or virtual-8086 mode, raise #GP: neither exists here.
fn iret<W: Word>(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    if cx.system_flags & Rflags::NT != 0 {
        return Err(Exception::GP0);
    }
    let offset = popped::<W>(cx, 0)?.zero_extend();
    let selector = popped::<W>(cx, W::BYTES)?.zero_extend() as u16;
    let flags = popped::<W>(cx, 2 * W::BYTES)?.zero_extend();
    if !cx.long_mode() && cx.cpl == 0 && flags & Rflags::VM != 0 {
        return Err(Exception::GP0);
    }
    let code = return_code(cx, selector, offset)?;
    let stack = if rpl(selector) != cx.cpl || cx.code_size == CodeSize::Bits64 {
        let pointer = popped::<W>(cx, 3 * W::BYTES)?.zero_extend();
        let selector = popped::<W>(cx, 4 * W::BYTES)?.zero_extend() as u16;
        Some((return_stack(cx, selector, &code)?, pointer))
    } else {
        cx.set_stack_pointer(cx.regs[slot::RSP].wrapping_add(3 * W::BYTES));
        None
    };
    let mask = loaded_flags::<W>(cx);
    cx.set_rflags(cx.rflags() & !mask | flags & mask);
    go_back(cx, code, offset, stack);
    Ok(())
}

fn width<W: Word>() -> Width {
    match W::BITS {
        16 => Width::Word,
        32 => Width::Doubleword,
        _ => Width::Quadword,
    }
}

/// The far pointer that stands in the instruction.
fn immediate(op: &Op) -> (u16, u64) {
    let target = op.far_target();
    (target.selector, target.offset.into())
}

/// The far pointer in memory.
fn pointer<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(u16, u64), Exception> {
    let offset = cx.load_slow::<W>(op.segment, part(cx, op, 0))?.zero_extend();
    let selector = cx.load_slow::<u16>(op.segment, part(cx, op, W::BYTES))?;
    Ok((selector, offset))
}

fn jmp_ptr(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let (selector, offset) = immediate(op);
    jump(cx, selector, offset)
}

fn jmp_far<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let (selector, offset) = pointer::<W>(cx, op)?;
    jump(cx, selector, offset)
}

fn call_ptr<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let (selector, offset) = immediate(op);
    call(cx, selector, offset, width::<W>())
}

fn call_far<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let (selector, offset) = pointer::<W>(cx, op)?;
    call(cx, selector, offset, width::<W>())
}

rows! {
    Jmp_ptr1616 => system jmp_ptr;
    Jmp_ptr1632 => system jmp_ptr;
    Jmp_m1616 => system_memory jmp_far[u16];
    Jmp_m1632 => system_memory jmp_far[u32];
    Jmp_m1664 => system_memory jmp_far[u64];
    Call_ptr1616 => system call_ptr[u16];
    Call_ptr1632 => system call_ptr[u32];
    Call_m1616 => system_memory call_far[u16];
    Call_m1632 => system_memory call_far[u32];
    Call_m1664 => system_memory call_far[u64];
    Retfw => system retf[u16];
    Retfd => system retf[u32];
    Retfq => system retf[u64];
    Retfw_imm16 => system retf[u16];
    Retfd_imm16 => system retf[u32];
    Retfq_imm16 => system retf[u64];
    Iretw => system iret[u16];
    Iretd => system iret[u32];
    Iretq => system iret[u64];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    /// Pushes a frame of quadwords, the first one lowest.
    fn push_frame(cx: &mut Vcpu, values: &[u64]) {
        cx.regs[slot::RSP] -= 8 * values.len() as u64;
        let base = cx.regs[slot::RSP];
        for (i, &value) in values.iter().enumerate() {
            store64(cx, base + 8 * i as u64, value);
        }
    }

    const IRETQ: &[u8] = &[0x48, 0xcf];
    const RETFQ: &[u8] = &[0x48, 0xcb];

    fn iret_to(code: u16, rip: u64, flags: u64, stack: u16, rsp: u64) -> Vcpu {
        let mut cx = long_mode();
        push_frame(&mut cx, &[rip, u64::from(code), flags, rsp, u64::from(stack)]);
        cx
    }

    #[test]
    fn iret_goes_to_user_mode_and_drops_the_supervisors_segments() {
        let mut cx = iret_to(selector::USER_CODE64, USER_CODE, Rflags::IF | Rflags::CF | Rflags::ID, selector::USER_DATA, USER_STACK);
        // UD2, to come back with the state on the stack.
        store(&mut cx, USER_CODE, &[0x0f, 0x0b]);
        expect_vector(&mut cx, IRETQ, 6);
        let [rip, cs, rflags, rsp, ss] = frame(&cx);
        assert_eq!([rip, cs, rsp, ss], [USER_CODE, u64::from(selector::USER_CODE64), USER_STACK, u64::from(selector::USER_DATA)]);
        assert_eq!(rflags, Rflags::FIXED | Rflags::IF | Rflags::CF | Rflags::ID | Rflags::RF);
        assert_eq!(cx.segment(SegmentName::Ds).attributes, 0, "DPL 0 must not be left to user mode");
    }

    #[test]
    fn return_to_an_outer_level_leaves_null_selectors_without_rpl() {
        for (return_, words) in [(IRETQ, 5), (RETFQ, 4)] {
            let mut cx = long_mode();
            let (code, stack) = (u64::from(selector::USER_CODE64), u64::from(selector::USER_DATA));
            let frame = [USER_CODE, code, 0, USER_STACK, stack];
            let far = [USER_CODE, code, USER_STACK, stack];
            push_frame(&mut cx, if words == 5 { &frame } else { &far });
            for (name, selector) in [(SegmentName::Es, 1), (SegmentName::Ds, 3), (SegmentName::Fs, 2), (SegmentName::Gs, 0)] {
                cx.segments[name as usize] = Segment { base: 0x1000, ..descriptor::null_segment(selector) };
            }
            store(&mut cx, USER_CODE, &[0x0f, 0x0b]);
            expect_vector(&mut cx, return_, 6);
            for name in [SegmentName::Es, SegmentName::Ds, SegmentName::Fs, SegmentName::Gs] {
                assert_eq!((cx.segment(name).selector, cx.segment(name).base), (0, 0x1000), "{name:?}");
            }
        }
    }

    /// What Linux calls espfix.
    #[test]
    fn return_to_a_stack_of_16_bits_shows_nothing_of_the_upper_half_of_rsp() {
        let mut cx = long_mode();
        set_descriptor(&mut cx, selector::FREE, flat(0x80f3));
        // RAM once more, in the upper half.
        let top_level = cx.control.cr3;
        let first = load64(&cx, top_level);
        store64(&mut cx, top_level + 8 * 256, first);
        cx.regs[slot::RSP] = STACK;
        push_frame(&mut cx, &[USER_CODE, u64::from(selector::USER_CODE32), 0, 0xabcd_5678, u64::from(selector::FREE | 3)]);
        cx.regs[slot::RSP] |= 0xffff_8000_0000_0000;
        let kept = cx.regs[slot::RSP] & 0xffff_0000;
        store(&mut cx, USER_CODE, &[0x0f, 0x0b]);
        expect_vector(&mut cx, IRETQ, 6);
        let [_, _, _, rsp] = frame(&cx);
        assert_eq!(rsp, kept | 0x5678);
    }

    #[test]
    fn iret_to_compatibility_mode_runs_32_bit_code() {
        let mut cx = iret_to(selector::USER_CODE32, USER_CODE, 0, selector::USER_DATA, USER_STACK);
        // INC EAX in 32-bit code, a REX prefix in 64-bit code; then UD2.
        store(&mut cx, USER_CODE, &[0x40, 0x0f, 0x0b]);
        expect_vector(&mut cx, IRETQ, 6);
        assert_eq!(frame::<1>(&cx), [USER_CODE + 1]);
        assert_eq!(cx.regs[slot::RAX], 1);
    }

    #[test]
    fn iret_to_the_same_level_accepts_a_null_stack_segment() {
        let mut cx = iret_to(selector::CODE64, DATA, Rflags::IF, 0, STACK - 64);
        store(&mut cx, DATA, &[0xf4]);
        assert_eq!(run(&mut cx, IRETQ), crate::engine::VcpuExit::Halted);
        assert_eq!([cx.rip, cx.regs[slot::RSP]], [DATA + 1, STACK - 64]);
        assert_eq!(cx.segment(SegmentName::Ss).selector, 0);
    }

    #[test]
    fn iret_refuses_what_it_must_not_go_to() {
        let user = selector::USER_CODE64;
        let cases = [
            (0, USER_CODE, selector::USER_DATA, 0),
            (0xf8, USER_CODE, selector::USER_DATA, 0xf8),
            (selector::DATA, USER_CODE, selector::DATA, selector::DATA),
            (selector::CODE64 | 3, USER_CODE, selector::USER_DATA, selector::CODE64),
            (user, 1 << 47, selector::USER_DATA, 0),
            (user, USER_CODE, 0, 0),
            (user, USER_CODE, selector::DATA, selector::DATA),
            (user, USER_CODE, selector::USER_CODE32, selector::USER_CODE32 & !3),
        ];
        for (code, rip, stack, error) in cases {
            let mut cx = iret_to(code, rip, 0, stack, USER_STACK);
            let before = cx.regs[slot::RSP];
            expect_vector(&mut cx, IRETQ, 13);
            let [pushed, at, _, _, rsp] = frame(&cx);
            assert_eq!([pushed, at, rsp], [u64::from(error), CODE, before], "code {code:#x}, stack {stack:#x}");
        }
    }

    #[test]
    fn iret_in_user_mode_keeps_if_and_iopl() {
        let mut cx = user_mode();
        cx.set_rflags(Rflags::IF);
        let (code, stack) = (u64::from(selector::USER_CODE64), u64::from(selector::USER_DATA));
        push_frame(&mut cx, &[USER_CODE + 2, code, Rflags::IOPL | Rflags::AC, USER_STACK, stack]);
        expect_vector(&mut cx, &[0x48, 0xcf, 0x0f, 0x0b], 6);
        assert_eq!(frame::<3>(&cx)[2] & (Rflags::IOPL | Rflags::IF | Rflags::AC), Rflags::IF | Rflags::AC);
    }

    #[test]
    fn nested_task_flag_raises_gp() {
        let mut cx = iret_to(selector::CODE64, CODE, 0, selector::DATA, STACK);
        cx.set_rflags(Rflags::NT);
        expect_vector(&mut cx, IRETQ, 13);
    }

    #[test]
    fn far_return_to_user_mode_drops_parameters_on_both_stacks() {
        let mut cx = long_mode();
        let (code, stack) = (u64::from(selector::USER_CODE64), u64::from(selector::USER_DATA));
        push_frame(&mut cx, &[USER_CODE, code, 0xdead, USER_STACK - 8, stack]);
        store(&mut cx, USER_CODE, &[0x0f, 0x0b]);
        // RETFQ 8
        expect_vector(&mut cx, &[0x48, 0xca, 8, 0], 6);
        assert_eq!(frame::<4>(&cx)[3], USER_STACK);
    }

    #[test]
    fn far_return_to_the_same_level_leaves_the_stack_segment_alone() {
        let mut cx = long_mode();
        push_frame(&mut cx, &[DATA, u64::from(selector::CODE64)]);
        store(&mut cx, DATA, &[0xf4]);
        assert_eq!(run(&mut cx, RETFQ), crate::engine::VcpuExit::Halted);
        assert_eq!([cx.rip, cx.regs[slot::RSP]], [DATA + 1, STACK]);
    }

    #[test]
    fn far_return_to_an_inner_level_raises_gp() {
        let mut cx = user_mode();
        push_frame(&mut cx, &[CODE, u64::from(selector::CODE64)]);
        expect_vector(&mut cx, RETFQ, 13);
        assert_eq!(frame::<1>(&cx), [u64::from(selector::CODE64)]);
    }

    /// A 16-byte call gate in the free entries, with a given DPL.
    fn call_gate_to(cx: &mut Vcpu, target: u64, dpl: u64) {
        let raw = target & 0xffff | u64::from(selector::CODE64) << 16 | (0x8c | dpl << 5) << 40 | (target >> 16 & 0xffff) << 48;
        set_descriptor(cx, selector::FREE, raw);
        set_descriptor(cx, selector::FREE + 8, target >> 32);
    }

    /// CALL FAR [RBX] with a 32-bit offset.
    const CALL: &[u8] = &[0xff, 0x1b];

    fn far_pointer_to(cx: &mut Vcpu, number: u16) {
        cx.regs[slot::RBX] = USER_DATA;
        store64(cx, USER_DATA, u64::from(number) << 32);
    }

    #[test]
    fn call_gate_leads_to_the_inner_level_and_back() {
        let mut cx = user_mode();
        call_gate_to(&mut cx, DATA, 3);
        far_pointer_to(&mut cx, selector::FREE | 3);
        // At level 0: RETFQ. Back in user mode: UD2.
        store(&mut cx, DATA, RETFQ);
        expect_vector(&mut cx, &[CALL, &[0x0f, 0x0b]].concat(), 6);
        let [rip, cs, _, rsp, ss] = frame(&cx);
        assert_eq!([rip, cs], [USER_CODE + 2, u64::from(selector::USER_CODE64)]);
        assert_eq!([rsp, ss], [USER_STACK, u64::from(selector::USER_DATA)]);
        let inner: [u64; 4] = std::array::from_fn(|i| load64(&cx, LEVEL0_STACK - 32 + 8 * i as u64));
        assert_ne!(inner, [0; 4], "the gate pushed onto the stack of level 0");
    }

    #[test]
    fn call_gate_asks_for_its_dpl() {
        let mut cx = user_mode();
        call_gate_to(&mut cx, DATA, 0);
        far_pointer_to(&mut cx, selector::FREE | 3);
        expect_vector(&mut cx, CALL, 13);
        assert_eq!(frame::<1>(&cx), [u64::from(selector::FREE)]);
    }

    #[test]
    fn legacy_call_gate_copies_parameters() {
        let mut cx = protected_user_mode();
        let raw = DATA & 0xffff | u64::from(selector::CODE32) << 16 | 2 << 32 | 0xec << 40 | DATA >> 16 << 48;
        set_descriptor(&mut cx, selector::FREE, raw);
        cx.regs[slot::RSP] = USER_STACK - 8;
        store64(&mut cx, USER_STACK - 8, 0x2222_2222_1111_1111);
        store(&mut cx, DATA, &[0xf4]);
        far_pointer_to(&mut cx, selector::FREE | 3);
        assert_eq!(run(&mut cx, CALL), crate::engine::VcpuExit::Halted);
        assert_eq!(cx.regs[slot::RSP], LEVEL0_STACK - 24);
        let pushed: [u32; 6] = std::array::from_fn(|i| load32(&cx, LEVEL0_STACK - 24 + 4 * i as u64));
        let (code, stack) = (u32::from(selector::USER_CODE32), u32::from(selector::USER_DATA));
        assert_eq!(pushed, [USER_CODE as u32 + 2, code, 0x1111_1111, 0x2222_2222, USER_STACK as u32 - 8, stack]);
    }

    #[test]
    fn far_jump_enters_compatibility_mode_and_64_bit_mode() {
        let mut cx = long_mode();
        cx.regs[slot::RBX] = DATA;
        store64(&mut cx, DATA, u64::from(selector::CODE32) << 32 | (CODE + 0x100));
        // In 32-bit code: INC EAX; JMP FAR to 64-bit code, where a HLT waits.
        let mut code = vec![0x40, 0xea];
        code.extend((CODE as u32 + 0x200).to_le_bytes());
        code.extend(selector::CODE64.to_le_bytes());
        store(&mut cx, CODE + 0x100, &code);
        store(&mut cx, CODE + 0x200, &[0xf4]);
        assert_eq!(run(&mut cx, &[0xff, 0x2b]), crate::engine::VcpuExit::Halted);
        assert_eq!([cx.rip, cx.regs[slot::RAX]], [CODE + 0x201, 1]);
        assert_eq!(cx.code_size, CodeSize::Bits64);
    }

    #[test]
    fn far_jump_to_a_tss_raises_gp() {
        let mut cx = long_mode();
        set_descriptor(&mut cx, selector::TSS, TSS << 16 | 0x89 << 40 | 103);
        cx.regs[slot::RBX] = DATA;
        store64(&mut cx, DATA, u64::from(selector::TSS) << 32);
        expect_vector(&mut cx, &[0xff, 0x2b], 13);
        assert_eq!(frame::<1>(&cx), [u64::from(selector::TSS)]);
    }

    #[test]
    fn accessed_flag_of_the_code_segment_is_set_in_the_table() {
        let mut cx = long_mode();
        set_descriptor(&mut cx, selector::FREE, flat(0xa09a));
        cx.regs[slot::RBX] = DATA;
        store64(&mut cx, DATA, u64::from(selector::FREE) << 32 | (CODE + 2));
        expect_halt(&mut cx, &[0xff, 0x2b, 0xf4]);
        assert_eq!(load64(&cx, GDT + u64::from(selector::FREE)), flat(0xa09b));
    }
}
