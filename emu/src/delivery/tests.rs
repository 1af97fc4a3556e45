use super::*;
use crate::cpu::{Cr4, SegmentName, slot};
use crate::engine::VcpuExit;
use crate::testing::*;

/// UD2 and the bytes of other instructions that the tests raise exceptions with.
const UD2: &[u8] = &[0x0f, 0x0b];
/// MOV RAX, [RBX].
const LOAD: &[u8] = &[0x48, 0x8b, 0x03];
/// MOV [RBX], RAX.
const STORE: &[u8] = &[0x48, 0x89, 0x03];
/// JMP RBX.
const JUMP: &[u8] = &[0xff, 0xe3];

#[test]
fn exception_pushes_the_frame_of_64_bit_mode() {
    let mut cx = long_mode();
    cx.set_rflags(Rflags::CF | Rflags::IF | Rflags::DF);
    cx.regs[slot::RSP] = STACK - 5;
    expect_vector(&mut cx, UD2, 6);
    let expected = Rflags::FIXED | Rflags::CF | Rflags::IF | Rflags::DF | Rflags::RF;
    assert_eq!(cx.regs[slot::RSP], STACK - 16 - 40, "aligned to 16 before the frame");
    assert_eq!(frame(&cx), [CODE, u64::from(selector::CODE64), expected, STACK - 5, u64::from(selector::DATA)]);
    assert_eq!(cx.system_flags & Rflags::IF, 0);
    assert_eq!(cx.system_flags & Rflags::DF, Rflags::DF);
    assert_eq!(cx.segment(SegmentName::Ss).selector, selector::DATA, "no change of level: SS stays");
}

#[test]
fn exception_from_user_mode_switches_to_the_stack_of_the_tss() {
    let mut cx = user_mode();
    expect_vector(&mut cx, UD2, 6);
    assert_eq!(cx.cpl, 0);
    assert_eq!(cx.regs[slot::RSP], LEVEL0_STACK - 40);
    assert_eq!(cx.segment(SegmentName::Ss).selector, 0);
    let [rip, cs, _, rsp, ss] = frame(&cx);
    assert_eq!([rip, cs, rsp, ss], [USER_CODE, u64::from(selector::USER_CODE64), USER_STACK, u64::from(selector::USER_DATA)]);
}

#[test]
fn stack_table_is_used_without_a_change_of_level() {
    let mut cx = long_mode();
    set_gate(&mut cx, 6, handler(6), selector::CODE64, 14, 0, 1);
    expect_vector(&mut cx, UD2, 6);
    assert_eq!(cx.regs[slot::RSP], IST_STACK - 40);
    assert_eq!(frame::<4>(&cx)[3], STACK);
}

#[test]
fn trap_gate_leaves_interrupts_on() {
    let mut cx = long_mode();
    cx.set_rflags(Rflags::IF);
    set_gate(&mut cx, 6, handler(6), selector::CODE64, 15, 0, 0);
    expect_vector(&mut cx, UD2, 6);
    assert_eq!(cx.system_flags & Rflags::IF, Rflags::IF);
}

#[test]
fn page_fault_codes_tell_what_was_tried() {
    let page = USER_DATA;
    let cases: &[(u64, &[u8], bool, u64)] = &[
        (0, LOAD, false, 0),
        (0, STORE, false, 2),
        (0, LOAD, true, 4),
        (0, STORE, true, 6),
        (PRESENT | USER, STORE, false, 3),
        (PRESENT | USER, STORE, true, 7),
        (PRESENT | WRITE, LOAD, true, 5),
        (PRESENT | WRITE, STORE, true, 7),
        (PRESENT | WRITE | USER | 1 << 51, LOAD, false, 9),
        (PRESENT | WRITE | USER | 1 << 63, JUMP, true, 0x15),
        (0, JUMP, true, 0x14),
    ];
    for &(flags, code, user, error) in cases {
        let mut cx = if user { user_mode() } else { long_mode() };
        map(&mut cx, page, flags);
        cx.regs[slot::RBX] = page + 0x123;
        expect_vector(&mut cx, code, 14);
        assert_eq!(frame::<1>(&cx), [error], "page {flags:#x}, code {code:x?}, user {user}");
        assert_eq!(cx.control.cr2, page + 0x123);
    }
}

#[test]
fn access_across_pages_reports_the_second_page() {
    let mut cx = long_mode();
    map(&mut cx, USER_DATA + 0x1000, 0);
    cx.regs[slot::RBX] = USER_DATA + 0xffd;
    expect_vector(&mut cx, STORE, 14);
    assert_eq!(cx.control.cr2, USER_DATA + 0x1000);
    assert_eq!(load64(&cx, USER_DATA + 0xff8), 0, "nothing was stored on the first page");
}

#[test]
fn smep_and_smap_keep_the_supervisor_out_of_user_pages() {
    let mut cx = long_mode();
    cx.control.cr4 |= Cr4::SMEP;
    cx.regs[slot::RBX] = USER_CODE;
    expect_vector(&mut cx, JUMP, 14);
    assert_eq!(frame::<1>(&cx), [0x11]);

    let mut cx = long_mode();
    cx.control.cr4 |= Cr4::SMAP;
    cx.mode_changed();
    cx.regs[slot::RBX] = USER_DATA;
    // STAC; MOV RAX, [RBX]; CLAC; MOV RAX, [RBX]
    let code = [&[0x0f, 0x01, 0xcb], LOAD, &[0x0f, 0x01, 0xca], LOAD].concat();
    expect_vector(&mut cx, &code, 14);
    assert_eq!(frame::<2>(&cx), [1, CODE + 9], "the first load passed");
}

#[test]
fn non_canonical_addresses_raise_gp_or_ss() {
    let mut cx = long_mode();
    cx.regs[slot::RBX] = 1 << 47;
    expect_vector(&mut cx, LOAD, 13);
    assert_eq!(frame::<1>(&cx), [0]);
    let mut cx = long_mode();
    set_gate(&mut cx, 12, handler(12), selector::CODE64, 14, 0, 1);
    cx.regs[slot::RSP] = (1 << 47) + 64;
    expect_vector(&mut cx, &[0x50], 12);
    assert_eq!(frame::<1>(&cx), [0]);
}

#[test]
fn gate_that_is_not_present_raises_np_with_the_gate_in_the_code() {
    let mut cx = long_mode();
    store64(&mut cx, IDT + 6 * 16, 0x0000_0e00_0008_0000);
    expect_vector(&mut cx, UD2, 11);
    assert_eq!(frame::<1>(&cx), [6 << 3 | 2 | 1], "IDT and EXT");
}

#[test]
fn vector_beyond_the_idt_raises_gp() {
    let mut cx = long_mode();
    cx.idtr.limit = 32 * 16 - 1;
    expect_vector(&mut cx, &[0xcd, 0x80], 13);
    assert_eq!(frame::<1>(&cx), [0x80 << 3 | 2], "a software interrupt is no external event");
}

#[test]
fn fault_while_a_page_fault_is_delivered_is_a_double_fault() {
    let mut cx = long_mode();
    store64(&mut cx, IDT + 14 * 16, 0);
    cx.regs[slot::RBX] = 0x7000_0000;
    expect_vector(&mut cx, LOAD, 8);
    let [code, rip, ..] = frame::<6>(&cx);
    assert_eq!([code, rip], [0, CODE]);
    assert_eq!(cx.control.cr2, 0x7000_0000);
}

#[test]
fn stack_that_is_not_mapped_turns_a_fault_into_a_double_fault() {
    let mut cx = long_mode();
    set_gate(&mut cx, 8, handler(8), selector::CODE64, 14, 0, 1);
    map(&mut cx, STACK - 0x1000, 0);
    cx.regs[slot::RBX] = 0x7000_0000;
    expect_vector(&mut cx, LOAD, 8);
    assert_eq!(cx.control.cr2, STACK - 8, "the push faulted last");
    assert_eq!(frame::<5>(&cx)[4], STACK, "the stack pointer has not moved");
}

#[test]
fn page_fault_while_a_benign_exception_is_delivered_is_delivered() {
    let mut cx = long_mode();
    set_gate(&mut cx, 14, handler(14), selector::CODE64, 14, 0, 1);
    map(&mut cx, STACK - 0x1000, 0);
    expect_vector(&mut cx, UD2, 14);
    assert_eq!(frame::<1>(&cx), [2]);
}

#[test]
fn fault_while_a_double_fault_is_delivered_shuts_down() {
    let mut cx = long_mode();
    cx.idtr.limit = 0;
    assert_eq!(run(&mut cx, UD2), VcpuExit::Shutdown);
}

#[test]
fn code_segment_of_a_gate_must_be_64_bit() {
    let mut cx = long_mode();
    set_gate(&mut cx, 6, handler(6), selector::CODE32, 14, 0, 0);
    expect_vector(&mut cx, UD2, 13);
    assert_eq!(frame::<1>(&cx), [u64::from(selector::CODE32) | 1]);
}

#[test]
fn software_interrupt_asks_for_the_gates_dpl() {
    let mut cx = user_mode();
    expect_vector(&mut cx, &[0xcd, 0x80], 13);
    assert_eq!(frame::<2>(&cx), [0x80 << 3 | 2, USER_CODE]);
    let mut cx = user_mode();
    set_gate(&mut cx, 0x80, handler(0x80), selector::CODE64, 15, 3, 0);
    expect_vector(&mut cx, &[0xcd, 0x80], 0x80);
    assert_eq!(frame::<1>(&cx), [USER_CODE + 2]);
}

#[test]
fn breakpoint_is_a_trap() {
    let mut cx = user_mode();
    set_gate(&mut cx, 3, handler(3), selector::CODE64, 14, 3, 0);
    expect_vector(&mut cx, &[0xcc], 3);
    let [rip, _, rflags] = frame(&cx);
    assert_eq!([rip, rflags & Rflags::RF], [USER_CODE + 1, 0]);
}

#[test]
fn single_step_traps_behind_the_instruction() {
    let mut cx = long_mode();
    cx.set_rflags(Rflags::TF);
    expect_vector(&mut cx, &[0x90, 0x90], 1);
    let [rip, _, rflags] = frame(&cx);
    assert_eq!([rip, rflags & (Rflags::RF | Rflags::TF)], [CODE + 1, Rflags::TF]);
    assert_eq!(cx.control.dr6 & 1 << 14, 1 << 14);
    assert_eq!(cx.system_flags & Rflags::TF, 0);
}

#[test]
fn single_step_does_not_follow_into_a_handler() {
    let mut cx = user_mode();
    set_gate(&mut cx, 0x80, handler(0x80), selector::CODE64, 14, 3, 0);
    cx.set_rflags(Rflags::TF);
    // INT 0x80; the handler's HLT is the next to run.
    expect_vector(&mut cx, &[0xcd, 0x80], 0x80);
    assert_eq!(cx.control.dr6 & 1 << 14, 0);
}

#[test]
fn single_step_is_held_off_behind_a_load_of_the_stack_segment() {
    let mut cx = long_mode();
    cx.set_rflags(Rflags::TF);
    cx.regs[slot::RAX] = u64::from(selector::DATA);
    // MOV SS, EAX; NOP; NOP
    expect_vector(&mut cx, &[0x8e, 0xd0, 0x90, 0x90], 1);
    assert_eq!(frame::<1>(&cx), [CODE + 3]);
}

#[test]
fn single_step_is_not_held_off_behind_sti() {
    let mut cx = long_mode();
    cx.set_rflags(Rflags::TF);
    expect_vector(&mut cx, &[0xfb, 0x90], 1);
    assert_eq!(frame::<1>(&cx), [CODE + 1]);
}

#[test]
fn single_step_traps_behind_the_popf_that_ends_it() {
    let mut cx = long_mode();
    cx.set_rflags(Rflags::TF);
    cx.regs[slot::RSP] -= 8;
    // POPFQ of 0
    expect_vector(&mut cx, &[0x9d, 0x90], 1);
    let [rip, _, rflags] = frame(&cx);
    assert_eq!([rip, rflags & Rflags::TF], [CODE + 1, 0]);
}

#[test]
fn interrupt_waits_for_the_instruction_behind_sti() {
    let mut cx = long_mode();
    board(&mut cx).pending.push(0x40);
    // STI; INC EAX; INC EAX
    expect_vector(&mut cx, &[0xfb, 0xff, 0xc0, 0xff, 0xc0], 0x40);
    assert_eq!(cx.regs[slot::RAX], 1);
    assert_eq!(frame::<1>(&cx), [CODE + 3]);
}

#[test]
fn interrupt_ends_a_halt() {
    let mut cx = long_mode();
    cx.set_rflags(Rflags::IF);
    expect_halt(&mut cx, &[0xf4]);
    assert_eq!(cx.time.halts(), 1);
    board(&mut cx).pending.push(0x41);
    let until = cx.count() + 10;
    assert_eq!(cx.run(until), VcpuExit::Halted);
    assert_eq!(cx.rip, handler(0x41) + 1);
    assert_eq!(frame::<1>(&cx), [CODE + 1]);
}

#[test]
fn protected_mode_pushes_doublewords() {
    let mut cx = protected_mode();
    expect_vector(&mut cx, UD2, 6);
    let sp = cx.regs[slot::RSP];
    assert_eq!(sp, STACK - 12);
    assert_eq!([load32(&cx, sp), load32(&cx, sp + 4)], [CODE as u32, u32::from(selector::CODE32)]);
    assert_eq!(load32(&cx, sp + 8), (Rflags::FIXED | Rflags::RF) as u32);
}

#[test]
fn protected_mode_switches_stacks_through_the_tss() {
    let mut cx = protected_user_mode();
    set_legacy_gate(&mut cx, 0x80, 15, 3);
    expect_vector(&mut cx, &[0xcd, 0x80], 0x80);
    let sp = cx.regs[slot::RSP];
    assert_eq!(sp, LEVEL0_STACK - 20);
    let frame: [u32; 5] = std::array::from_fn(|i| load32(&cx, sp + 4 * i as u64));
    let [eip, cs, _, esp, ss] = frame;
    assert_eq!([eip, cs], [USER_CODE as u32 + 2, u32::from(selector::USER_CODE32)]);
    assert_eq!([esp, ss], [USER_STACK as u32, u32::from(selector::USER_DATA)]);
    assert_eq!(cx.segment(SegmentName::Ss).selector, selector::DATA);
    assert_eq!(cx.cpl, 0);
}

#[test]
fn sixteen_bit_gate_pushes_words() {
    let mut cx = protected_mode();
    set_legacy_gate(&mut cx, 6, 6, 0);
    store(&mut cx, handler(6) & 0xffff, &[0xf4]);
    assert_eq!(run(&mut cx, UD2), VcpuExit::Halted);
    assert_eq!(cx.rip, (handler(6) & 0xffff) + 1, "the offset has 16 bits");
    assert_eq!(cx.regs[slot::RSP], STACK - 6);
}

#[test]
fn task_gate_raises_gp() {
    let mut cx = protected_mode();
    set_legacy_gate(&mut cx, 6, 5, 0);
    expect_vector(&mut cx, UD2, 13);
    assert_eq!(load32(&cx, cx.regs[slot::RSP]), 6 << 3 | 2 | 1);
}

#[test]
fn what_a_delivery_touched_stays_hidden_from_user_mode() {
    // The frame on the stack of level 0 was written, the IDT, the GDT and the TSS were read.
    for (address, code, error) in
        [(LEVEL0_STACK - 40, LOAD, 5), (LEVEL0_STACK - 40, STORE, 7), (IDT, LOAD, 5), (GDT, LOAD, 5), (TSS, LOAD, 5)]
    {
        let mut cx = user_mode();
        cx.regs[slot::RBX] = address;
        // ADD QWORD [RSP], 2; IRETQ: on behind the UD2.
        store(&mut cx, handler(6), &[0x48, 0x83, 0x04, 0x24, 2, 0x48, 0xcf]);
        expect_vector(&mut cx, &[UD2, code].concat(), 14);
        assert_eq!(frame::<2>(&cx), [error, USER_CODE + 2], "{address:#x}");
    }
}
