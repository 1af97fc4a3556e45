//! Breakpoints and single steps, by SDM Vol. 3, 17.2 and 17.3.

use super::*;
use crate::cpu::{Cr4, Efer};
use crate::machine::CpuState;
use crate::testing::*;

const BS: u64 = 1 << 14;
const MOV_STORE: [u8; 3] = [0x48, 0x89, 0x03]; // mov [rbx],rax
const MOV_LOAD: [u8; 3] = [0x48, 0x8b, 0x0b]; // mov rcx,[rbx]
const IRETQ: [u8; 2] = [0x48, 0xcf];

/// The R/W field.
#[derive(Clone, Copy)]
enum On {
    Code = 0,
    Write = 1,
    Port = 2,
    Access = 3,
}

/// Enables breakpoint `number`, globally.
fn set(cx: &mut Vcpu, number: usize, on: On, length: u64, address: u64) {
    let code = match length {
        1 => 0,
        2 => 1,
        8 => 2,
        _ => 3,
    };
    cx.control.dr[number] = address;
    cx.control.dr7 |= 2 << (2 * number) | ((on as u64) | code << 2) << (16 + 4 * number);
    cx.breakpoints_changed();
}

/// What of DR6 tells the cause.
fn cause(cx: &Vcpu) -> u64 {
    cx.control.dr6 & 0xe00f
}

/// After the HLT of a handler.
fn awake(cx: &mut Vcpu) -> &mut Vcpu {
    cx.halted = false;
    cx
}

/// A handler of #DB that notes DR6 and RIP in the frame, `n`th at [`LOG`] + 16 * n, sets RF and goes on.
const LOG: u64 = DATA + 0x800;
fn log_debug_exceptions(cx: &mut Vcpu) {
    let code = [
        &[0x50, 0x53][..],                           // push rax; push rbx
        &[0xbb],                                     // mov ebx,LOG
        &(LOG as u32 - 16).to_le_bytes(),            //
        &[0x83, 0xc3, 0x10],                         // again: add ebx,16
        &[0x48, 0x83, 0x3b, 0x00, 0x75, 0xf7],       // cmp qword [rbx],0; jne again
        &[0x0f, 0x21, 0xf0, 0x48, 0x89, 0x03],       // mov rax,dr6; mov [rbx],rax
        &[0x31, 0xc0, 0x0f, 0x23, 0xf0],             // xor eax,eax; mov dr6,rax
        &[0x48, 0x8b, 0x44, 0x24, 0x10],             // mov rax,[rsp+16]
        &[0x48, 0x89, 0x43, 0x08],                   // mov [rbx+8],rax
        &[0x48, 0x81, 0x4c, 0x24, 0x20, 0, 0, 1, 0], // or qword [rsp+32],RF
        &[0x5b, 0x58],                               // pop rbx; pop rax
        &IRETQ,
    ]
    .concat();
    store(cx, CODE + 0x2000, &code);
    set_gate(cx, 1, CODE + 0x2000, selector::CODE64, 14, 0, 0);
}

/// Cause and RIP of each.
fn log(cx: &Vcpu) -> Vec<(u64, u64)> {
    (0..)
        .map(|at| (load64(cx, LOG + 16 * at), load64(cx, LOG + 16 * at + 8)))
        .take_while(|(dr6, _)| *dr6 != 0)
        .map(|(dr6, rip)| (dr6 & 0xe00f, rip))
        .collect()
}

#[test]
fn code_breakpoint_faults_before_its_instruction_until_rf_lets_it_pass() {
    let mut cx = long_mode();
    set(&mut cx, 2, On::Code, 1, CODE + 2);
    // inc eax; inc eax; inc eax
    expect_vector(&mut cx, &[0xff, 0xc0, 0xff, 0xc0, 0xff, 0xc0, 0xf4], 1);
    assert_eq!([cx.regs[slot::RAX], cause(&cx)], [1, 1 << 2]);
    let [rip, _, rflags] = frame(&cx);
    assert_eq!([rip, rflags & Rflags::RF], [CODE + 2, 0]);
    // Back: once without RF, once with it.
    let rsp = cx.regs[slot::RSP];
    let here = cx.rip;
    expect_vector(awake(&mut cx), &IRETQ, 1);
    assert_eq!([frame::<1>(&cx)[0], cx.regs[slot::RAX]], [CODE + 2, 1]);
    store64(&mut cx, rsp + 16, Rflags::FIXED | Rflags::RF);
    cx.rip = here;
    assert_eq!(run(awake(&mut cx), &IRETQ), VcpuExit::Halted);
    assert_eq!([cx.rip, cx.regs[slot::RAX], cx.system_flags & Rflags::RF], [CODE + 7, 3, 0]);
}

#[test]
fn code_breakpoint_is_met_in_every_round_of_a_loop_and_in_code_that_ran_before() {
    let mut cx = long_mode();
    log_debug_exceptions(&mut cx);
    // mov ecx,3; mov dr0,rdx; L: dec ecx; jnz L; mov dr7,rsi; then the loop again
    cx.regs[slot::RDX] = CODE + 5;
    cx.regs[slot::RSI] = 2 | 0x400;
    let code = [
        &[0xb9, 3, 0, 0, 0][..],
        &[0xff, 0xc9, 0x75, 0xfc],
        &[0x0f, 0x23, 0xc2, 0x0f, 0x23, 0xfe],
        &[0x4d, 0x85, 0xc0, 0x75, 0x08], // test r8,r8; jnz end
        &[0x49, 0xff, 0xc0, 0xe9],       // inc r8; jmp to the start
        &(-28i32).to_le_bytes(),
        &[0xf4],
    ]
    .concat();
    let end = CODE + code.len() as u64;
    assert_eq!(run(&mut cx, &code), VcpuExit::Halted);
    assert_eq!([cx.rip, cx.regs[slot::RCX]], [end, 0]);
    assert_eq!(log(&cx), [(1, CODE + 5); 3]);
}

#[test]
fn code_breakpoint_is_one_on_the_first_byte_of_an_instruction() {
    let mut cx = long_mode();
    set(&mut cx, 0, On::Code, 1, CODE + 1);
    set(&mut cx, 1, On::Code, 1, DATA);
    // inc eax; mov [rbx],rax, to the second
    cx.regs[slot::RBX] = DATA;
    expect_halt(&mut cx, &[&[0xff, 0xc0][..], &MOV_STORE, &[0xf4]].concat());
    assert_eq!(cause(&cx), 0);
}

#[test]
fn code_breakpoint_is_reached_across_pages_and_by_a_jump() {
    for start in [CODE + 0xffe, CODE] {
        let mut cx = long_mode();
        set(&mut cx, 3, On::Code, 1, CODE + 0x1000);
        store(&mut cx, CODE + 0x1000, &[0xf4]);
        cx.rip = start;
        // inc eax onto the next page; or a jump there
        let code: &[u8] = if start == CODE { &[0xe9, 0xfb, 0x0f, 0, 0] } else { &[0xff, 0xc0] };
        expect_vector(&mut cx, code, 1);
        assert_eq!([frame::<1>(&cx)[0], cause(&cx)], [CODE + 0x1000, 8]);
    }
}

#[test]
fn interrupt_comes_before_a_code_breakpoint_and_that_before_a_fault() {
    let mut cx = long_mode();
    set(&mut cx, 0, On::Code, 1, CODE);
    cx.set_rflags(Rflags::IF);
    board(&mut cx).pending.push(0x40);
    // UD2
    expect_vector(&mut cx, &[0x0f, 0x0b], 0x40);
    assert_eq!([frame::<1>(&cx)[0], cause(&cx)], [CODE, 0]);
    expect_vector(awake(&mut cx), &IRETQ, 1);
    assert_eq!([frame::<1>(&cx)[0], cause(&cx)], [CODE, 1]);
    let rsp = cx.regs[slot::RSP];
    store64(&mut cx, rsp + 16, Rflags::FIXED | Rflags::RF);
    expect_vector(awake(&mut cx), &IRETQ, 6);
    assert_eq!(frame::<3>(&cx)[2] & Rflags::RF, Rflags::RF, "a fault pushes RF, so that it would be held off again");
}

#[test]
fn interrupt_between_iret_and_its_instruction_keeps_rf() {
    let mut cx = long_mode();
    set(&mut cx, 0, On::Code, 1, CODE + 0x100);
    let frame_at = STACK - 40;
    for (at, value) in
        [CODE + 0x100, selector::CODE64.into(), Rflags::FIXED | Rflags::RF | Rflags::IF, STACK, selector::DATA.into()].iter().enumerate()
    {
        store64(&mut cx, frame_at + 8 * at as u64, *value);
    }
    store(&mut cx, CODE + 0x100, &[0x90, 0xf4]);
    cx.regs[slot::RSP] = frame_at;
    board(&mut cx).pending.push(0x40);
    expect_vector(awake(&mut cx), &IRETQ, 0x40);
    assert_eq!(frame::<3>(&cx)[2] & Rflags::RF, Rflags::RF);
    assert_eq!(run(awake(&mut cx), &IRETQ), VcpuExit::Halted);
    assert_eq!([cx.rip, cause(&cx)], [CODE + 0x102, 0]);
}

#[test]
fn write_breakpoint_traps_behind_the_store() {
    let mut cx = long_mode();
    set(&mut cx, 1, On::Write, 4, DATA + 4);
    cx.regs[slot::RBX] = DATA;
    cx.regs[slot::RAX] = 0x1122_3344_5566_7788;
    expect_vector(&mut cx, &[&MOV_LOAD[..], &MOV_STORE, &[0xf4]].concat(), 1);
    let [rip, _, rflags] = frame(&cx);
    assert_eq!([rip, rflags & Rflags::RF, cause(&cx)], [CODE + 6, 0, 2]);
    assert_eq!(load64(&cx, DATA), 0x1122_3344_5566_7788);
}

#[test]
fn access_breakpoint_traps_behind_loads_and_not_behind_fetches() {
    let mut cx = long_mode();
    set(&mut cx, 0, On::Access, 8, DATA);
    set(&mut cx, 1, On::Access, 8, CODE);
    cx.regs[slot::RBX] = DATA + 7;
    expect_vector(&mut cx, &MOV_LOAD, 1);
    assert_eq!([frame::<1>(&cx)[0], cause(&cx)], [CODE + 3, 1]);
}

#[test]
fn data_breakpoint_covers_its_aligned_bytes_alone() {
    for length in [1, 2, 4, 8] {
        for offset in 0..24 {
            let mut cx = long_mode();
            // Unaligned addresses are cut.
            set(&mut cx, 0, On::Write, length, DATA + 8 + length - 1);
            cx.regs[slot::RBX] = DATA + offset;
            let met = (offset..offset + 2).any(|byte| (8..8 + length).contains(&byte));
            // mov [rbx],ax; ud2
            expect_vector(&mut cx, &[0x66, 0x89, 0x03, 0x0f, 0x0b], if met { 1 } else { 6 });
        }
    }
}

#[test]
fn data_breakpoint_is_met_on_a_page_that_was_used_before() {
    let mut cx = long_mode();
    cx.regs[slot::RBX] = DATA;
    cx.regs[slot::RDX] = DATA;
    cx.regs[slot::RSI] = 0x1_0402;
    // mov [rbx],rax twice, the debug registers between
    let code = [&MOV_STORE[..], &[0x0f, 0x23, 0xc2, 0x0f, 0x23, 0xfe], &MOV_STORE].concat();
    expect_vector(&mut cx, &code, 1);
    assert_eq!(frame::<1>(&cx), [CODE + 12]);
    // Without it the page is fast again.
    cx.control.dr7 = 0x400;
    cx.breakpoints_changed();
    cx.rip = CODE;
    expect_halt(awake(&mut cx), &[&MOV_STORE[..], &MOV_STORE, &[0xf4]].concat());
    assert!(cx.mmu.writable(DATA, 8).is_some());
}

#[test]
fn neighbours_on_the_page_of_a_data_breakpoint_do_not_trap() {
    let mut cx = long_mode();
    set(&mut cx, 0, On::Access, 8, DATA);
    cx.regs[slot::RBX] = DATA + 8;
    expect_halt(&mut cx, &[&MOV_STORE[..], &MOV_LOAD, &[0xf4]].concat());
    assert_eq!(cause(&cx), 0);
}

#[test]
fn data_breakpoint_traps_between_a_comparison_and_its_jump() {
    let mut cx = long_mode();
    set(&mut cx, 0, On::Access, 8, DATA);
    cx.regs[slot::RBX] = DATA;
    // cmp [rbx],rax; jne
    expect_vector(&mut cx, &[0x48, 0x39, 0x03, 0x75, 0x00, 0xf4], 1);
    assert_eq!(frame::<1>(&cx), [CODE + 3]);
}

#[test]
fn data_breakpoints_see_the_stack_and_calls() {
    // push rax; call +0; ret; push qword [rbx]
    for (code, lands) in [(&[0x50][..], CODE + 1), (&[0xe8, 0, 1, 0, 0], CODE + 0x105), (&[0xff, 0x33], CODE + 2)] {
        let mut cx = long_mode();
        set(&mut cx, 0, On::Write, 8, STACK - 8);
        set_gate(&mut cx, 1, handler(1), selector::CODE64, 14, 0, 1);
        cx.regs[slot::RBX] = DATA;
        expect_vector(&mut cx, code, 1);
        assert_eq!([frame::<1>(&cx)[0], cause(&cx)], [lands, 1]);
    }
    let mut cx = long_mode();
    store64(&mut cx, STACK - 8, CODE + 0x200);
    set(&mut cx, 0, On::Access, 8, STACK - 8);
    cx.regs[slot::RSP] = STACK - 8;
    expect_vector(&mut cx, &[0xc3], 1);
    assert_eq!(frame::<1>(&cx), [CODE + 0x200]);
}

#[test]
fn all_breakpoints_that_an_instruction_meets_are_told() {
    let mut cx = long_mode();
    set(&mut cx, 0, On::Write, 1, DATA);
    set(&mut cx, 1, On::Write, 1, DATA + 9);
    set(&mut cx, 3, On::Access, 1, DATA + 7);
    cx.control.dr6 |= 2;
    cx.set_rflags(Rflags::TF);
    cx.regs[slot::RBX] = DATA;
    expect_vector(&mut cx, &MOV_STORE, 1);
    assert_eq!(cause(&cx), BS | 1 | 8);
}

#[test]
fn instruction_that_faults_meets_no_data_breakpoint() {
    let mut cx = long_mode();
    set(&mut cx, 0, On::Access, 8, DATA);
    set_gate(&mut cx, 14, handler(14), selector::CODE64, 14, 0, 1);
    cx.regs[slot::RBX] = DATA;
    cx.regs[slot::RSP] = 0x7000_0000;
    // push qword [rbx]
    expect_vector(&mut cx, &[0xff, 0x33], 14);
    assert_eq!([cause(&cx), u64::from(cx.debug.detected)], [0, 0]);
}

#[test]
fn repeated_string_traps_behind_the_iteration() {
    let mut cx = long_mode();
    set(&mut cx, 0, On::Write, 1, DATA + 0x102);
    cx.regs[slot::RSI] = DATA;
    cx.regs[slot::RDI] = DATA + 0x100;
    cx.regs[slot::RCX] = 5;
    // rep movsb
    expect_vector(&mut cx, &[0xf3, 0xa4, 0xf4], 1);
    let [rip, _, rflags] = frame(&cx);
    assert_eq!([rip, rflags & Rflags::RF, cx.regs[slot::RCX], cause(&cx)], [CODE, Rflags::RF, 2, 1]);
    assert_eq!(run(awake(&mut cx), &IRETQ), VcpuExit::Halted);
    assert_eq!([cx.rip, cx.regs[slot::RCX]], [CODE + 3, 0]);
    // The last iteration ends the instruction.
    let mut cx = long_mode();
    set(&mut cx, 0, On::Write, 1, DATA + 0x102);
    cx.regs[slot::RDI] = DATA + 0x100;
    cx.regs[slot::RCX] = 3;
    expect_vector(&mut cx, &[0xf3, 0xaa, 0xf4], 1);
    let [rip, _, rflags] = frame(&cx);
    assert_eq!([rip, rflags & Rflags::RF, cx.regs[slot::RCX]], [CODE + 2, 0, 0]);
}

#[test]
fn single_step_traps_behind_each_iteration() {
    let mut cx = long_mode();
    log_debug_exceptions(&mut cx);
    cx.regs[slot::RDI] = DATA;
    cx.regs[slot::RCX] = 3;
    cx.set_rflags(Rflags::TF);
    // rep stosb; nop; ud2
    expect_vector(&mut cx, &[0xf3, 0xaa, 0x90, 0x0f, 0x0b], 6);
    assert_eq!(log(&cx), [(BS, CODE), (BS, CODE), (BS, CODE + 2), (BS, CODE + 3)]);
}

#[test]
fn single_step_ends_a_halt() {
    let mut cx = long_mode();
    cx.set_rflags(Rflags::TF);
    expect_vector(&mut cx, &[0xf4], 1);
    assert_eq!([frame::<1>(&cx)[0], cause(&cx)], [CODE + 1, BS]);
}

#[test]
fn iret_and_popf_into_tf_trap_behind_the_next_instruction() {
    let mut cx = long_mode();
    for (at, value) in [CODE + 0x100, selector::CODE64.into(), Rflags::FIXED | Rflags::TF, STACK, selector::DATA.into()].iter().enumerate()
    {
        store64(&mut cx, STACK - 40 + 8 * at as u64, *value);
    }
    store(&mut cx, CODE + 0x100, &[0x90, 0x90]);
    cx.regs[slot::RSP] = STACK - 40;
    expect_vector(awake(&mut cx), &IRETQ, 1);
    assert_eq!(frame::<1>(&cx), [CODE + 0x101]);
}

#[test]
fn sysret_into_tf_traps_at_once() {
    let mut cx = long_mode();
    cx.regs[slot::RCX] = USER_CODE;
    cx.regs[slot::R11] = Rflags::TF | Rflags::RF;
    expect_vector(&mut cx, &[0x48, 0x0f, 0x07], 1);
    let [rip, cs, rflags] = frame(&cx);
    assert_eq!([rip, cs], [USER_CODE, selector::USER_CODE64.into()]);
    assert_eq!([rflags, cause(&cx)], [Rflags::FIXED | Rflags::TF, BS]);
}

#[test]
fn system_calls_that_keep_tf_trap_at_the_systems_first_instruction() {
    for (code, rip) in [([0x0f, 0x05], CODE), ([0x0f, 0x34], CODE + 0x10)] {
        let mut cx = user_mode();
        cx.msrs.lstar = CODE;
        (cx.msrs.sysenter_cs, cx.msrs.sysenter_eip, cx.msrs.sysenter_esp) = (selector::CODE64.into(), CODE + 0x10, STACK);
        cx.set_rflags(Rflags::TF);
        cx.regs[slot::RSP] = STACK;
        expect_vector(&mut cx, &code, 1);
        assert_eq!([frame::<2>(&cx)[0], frame::<2>(&cx)[1]], [rip, selector::CODE64.into()]);
    }
}

#[test]
fn load_of_ss_holds_breakpoints_off_for_one_instruction() {
    // mov ss,[rbx]; nop; nop
    let code = [0x8e, 0x13, 0x90, 0x90, 0xf4];
    let watched = || {
        let mut cx = long_mode();
        store64(&mut cx, DATA, selector::DATA.into());
        cx.regs[slot::RBX] = DATA;
        set(&mut cx, 0, On::Access, 2, DATA);
        cx
    };
    let mut cx = watched();
    expect_vector(&mut cx, &code, 1);
    assert_eq!([frame::<1>(&cx)[0], cause(&cx)], [CODE + 3, 1]);
    // A code breakpoint on that one instruction is not met.
    let mut cx = long_mode();
    cx.regs[slot::RAX] = selector::DATA.into();
    set(&mut cx, 1, On::Code, 1, CODE + 2);
    expect_halt(&mut cx, &[0x8e, 0xd0, 0x90, 0x90, 0xf4]);
    // INT n goes first, and the trap waits at its handler.
    let mut cx = watched();
    set_gate(&mut cx, 0x80, CODE + 0x100, selector::CODE64, 14, 0, 0);
    store(&mut cx, CODE + 0x100, &[0xf4]);
    expect_vector(&mut cx, &[0x8e, 0x13, 0xcd, 0x80], 1);
    assert_eq!([frame::<1>(&cx)[0], cause(&cx)], [CODE + 0x100, 1]);
    // However the run is cut.
    let mut cx = watched();
    store(&mut cx, CODE, &code);
    while cx.run(cx.count() + 1) == VcpuExit::Due {}
    assert_eq!([frame::<1>(&cx)[0], cause(&cx)], [CODE + 3, 1]);
}

#[test]
fn port_breakpoint_needs_debugging_extensions() {
    for (extensions, vector) in [(0, 6), (Cr4::DE, 1)] {
        let mut cx = long_mode();
        cx.control.cr4 |= extensions;
        set(&mut cx, 0, On::Port, 2, 0x3f8);
        cx.regs[slot::RDX] = 0x3f9;
        // out dx,al; ud2
        expect_vector(&mut cx, &[0xee, 0x0f, 0x0b], vector);
        assert_eq!(board(&mut cx).writes.len(), 1, "the device was reached before the trap");
    }
    let mut cx = long_mode();
    cx.control.cr4 |= Cr4::DE;
    set(&mut cx, 0, On::Port, 2, 0x3f8);
    cx.regs[slot::RBX] = 0x3f8;
    cx.regs[slot::RDX] = 0x3fa;
    // in al,dx elsewhere; memory at the port's number
    map(&mut cx, 0, PRESENT | WRITE);
    expect_halt(&mut cx, &[&[0xec][..], &MOV_STORE, &[0xf4]].concat());
}

#[test]
fn port_breakpoint_traps_behind_the_iteration() {
    let mut cx = long_mode();
    cx.control.cr4 |= Cr4::DE;
    set(&mut cx, 0, On::Port, 1, 0x10);
    cx.regs[slot::RSI] = DATA;
    cx.regs[slot::RCX] = 3;
    cx.regs[slot::RDX] = 0x10;
    // rep outsb
    expect_vector(&mut cx, &[0xf3, 0x6e, 0xf4], 1);
    let [rip, _, rflags] = frame(&cx);
    assert_eq!([rip, rflags & Rflags::RF, cx.regs[slot::RCX]], [CODE, Rflags::RF, 2]);
}

#[test]
fn debugging_extensions_take_dr4_and_dr5_away() {
    for (extensions, number) in [(Cr4::DE, 4), (Cr4::DE, 5)] {
        let mut cx = long_mode();
        cx.regs[slot::RAX] = cx.control.cr4 | extensions;
        // mov cr4,rax; mov rbx,drN
        expect_vector(&mut cx, &[0x0f, 0x22, 0xe0, 0x0f, 0x21, 0xc3 | number << 3], 6);
    }
}

#[test]
fn general_detect_is_a_fault() {
    let mut cx = long_mode();
    cx.control.dr7 |= 1 << 13;
    expect_vector(&mut cx, &[0x0f, 0x23, 0xc0], 1);
    let [rip, _, rflags] = frame(&cx);
    assert_eq!([rip, rflags & Rflags::RF, cause(&cx)], [CODE, Rflags::RF, 1 << 13]);
}

#[test]
fn breakpoints_in_compatibility_mode_are_on_linear_addresses() {
    let mut cx = compatibility_mode();
    let segment = SegmentName::Cs as usize;
    cx.segments[segment].base = USER_CODE;
    cx.rip = 0x10;
    cx.mode_changed();
    set(&mut cx, 0, On::Code, 1, USER_CODE + 0x11);
    store(&mut cx, USER_CODE + 0x10, &[0x40, 0x40, 0xf4]);
    let until = cx.count() + 100;
    assert_eq!(cx.run(until), VcpuExit::Halted);
    assert_eq!([frame::<1>(&cx)[0], cx.regs[slot::RAX], cause(&cx)], [0x11, 1, 1]);
}

#[test]
fn breakpoints_are_met_however_the_run_is_cut() {
    // mov ecx,20; L: mov [rbx+rcx*8],rcx; add rax,[rbx+8*5]; rep stosb of 3; dec ecx; jnz L
    let code = [
        &[0xbd, 20, 0, 0, 0][..],
        &[0x48, 0x89, 0x2c, 0xeb],
        &[0x48, 0x03, 0x43, 0x28],
        &[0xbf, 0, 1, 4, 0, 0xb9, 3, 0, 0, 0, 0xf3, 0xaa],
        &[0xff, 0xcd, 0x75, 0xe8, 0xf4],
    ]
    .concat();
    let outcome = |block: usize, slice: u64, drop: bool| {
        let mut cx = long_mode();
        cx.cache = new_cache(Limits { block, cache: 4096 });
        cx.mode_changed();
        log_debug_exceptions(&mut cx);
        cx.regs[slot::RBX] = DATA;
        set(&mut cx, 0, On::Access, 8, DATA + 40);
        set(&mut cx, 1, On::Code, 1, CODE + 9);
        set(&mut cx, 2, On::Write, 1, DATA + 0x101);
        store(&mut cx, CODE, &code);
        while cx.run(cx.count() + slice) == VcpuExit::Due {
            if drop {
                cx.drop_caches();
            }
        }
        assert_eq!(cx.rip, CODE + code.len() as u64);
        (log(&cx), cx.count(), cx.regs.general(), cx.rflags())
    };
    let expected = outcome(64, 1_000_000, false);
    // The one store that is watched traps right before the code breakpoint, which the handler then lets pass.
    assert_eq!(expected.0.len(), 20 + 19 + 20 + 1);
    for (block, slice, drop) in [(1, 1_000_000, false), (64, 1, false), (3, 7, false), (64, 5, true)] {
        assert_eq!(outcome(block, slice, drop), expected, "blocks of {block}, slices of {slice}");
    }
}

#[test]
fn restored_cpu_has_its_breakpoints() {
    let mut saved = long_mode();
    set(&mut saved, 0, On::Write, 8, DATA);
    let mut cx = long_mode();
    CpuState::of(&saved).apply(&mut cx);
    cx.regs[slot::RBX] = DATA;
    assert_eq!(cx.control.efer & Efer::LMA, Efer::LMA);
    expect_vector(&mut cx, &MOV_STORE, 1);
}

#[test]
fn debugger_stops_before_its_addresses_and_the_guest_cannot_tell() {
    let mut cx = long_mode();
    let code = [0xff, 0xc0, 0xff, 0xc0, 0xff, 0xc0, 0xf4];
    store(&mut cx, CODE, &code);
    cx.set_debugger_breakpoints(vec![CODE + 4]);
    assert_eq!(cx.run(100), VcpuExit::Breakpoint);
    assert_eq!([cx.rip, cx.regs[slot::RAX], cx.count()], [CODE + 4, 2, 2]);
    assert_eq!(cx.run(100), VcpuExit::Breakpoint, "it stays there");
    cx.set_debugger_breakpoints(Vec::new());
    assert_eq!(cx.run(100), VcpuExit::Halted);
    assert_eq!([cx.regs[slot::RAX], cause(&cx)], [3, 0]);
}

/// A data breakpoint that MOV SS meets, in front of every way into a handler.
#[test]
fn breakpoint_of_mov_ss_is_told_of_once_whatever_comes_behind() {
    const HANDLER: u64 = 0x90;
    /// DR6 and RIP of each debug exception.
    type Logged<'a> = &'a [(u64, u64)];
    let cases: [(&str, &[u8], Logged<'_>, u64); 6] = [
        ("nop", &[0x90, 0xf4], &[(1, CODE + 3)], CODE + 4),
        ("int1", &[0xf1, 0xf4], &[(1, CODE + 3)], CODE + 4),
        ("int3", &[0xcc], &[(1, handler(3))], handler(3) + 1),
        ("int n", &[0xcd, 0x80], &[(1, handler(0x80))], handler(0x80) + 1),
        ("syscall", &[0x0f, 0x05], &[(1, handler(HANDLER as u8))], handler(HANDLER as u8) + 1),
        ("ud2", &[0x0f, 0x0b], &[], handler(6) + 1),
    ];
    for (name, code, logged, end) in cases {
        let mut cx = long_mode();
        log_debug_exceptions(&mut cx);
        // As Linux has it: a stack of its own, at the top of which every debug exception begins.
        set_gate(&mut cx, 1, CODE + 0x2000, selector::CODE64, 14, 0, 1);
        cx.msrs.lstar = handler(HANDLER as u8);
        store(&mut cx, DATA, &selector::DATA.to_le_bytes());
        set(&mut cx, 0, On::Access, 2, DATA);
        cx.regs[slot::RBX] = DATA;
        // mov ss,[rbx]
        assert_eq!(run(&mut cx, &[&[0x8e, 0x13][..], code].concat()), VcpuExit::Halted, "{name}");
        assert_eq!((log(&cx).as_slice(), cx.rip), (logged, end), "{name}");
    }
}

/// SDM Vol. 3, 6.8.3: of consecutive loads of SS the first alone is sure to hold anything off.
#[test]
fn second_load_of_ss_in_a_row_holds_nothing_off() {
    // mov ss,eax; mov ss,eax; nop; hlt
    let code = [0x8e, 0xd0, 0x8e, 0xd0, 0x90, 0xf4];
    let mut cx = long_mode();
    cx.regs[slot::RAX] = selector::DATA.into();
    cx.set_rflags(Rflags::TF);
    expect_vector(&mut cx, &code, 1);
    assert_eq!([frame::<1>(&cx)[0], cause(&cx)], [CODE + 4, BS]);
    // An interrupt that comes up during the first.
    let mut cx = long_mode();
    cx.regs[slot::RAX] = selector::DATA.into();
    store(&mut cx, CODE, &code);
    let until = cx.count() + 1;
    assert_eq!(cx.run(until), VcpuExit::Due);
    cx.set_rflags(Rflags::IF);
    board(&mut cx).pending.push(0x40);
    let until = cx.count() + 100;
    assert_eq!(cx.run(until), VcpuExit::Halted);
    assert_eq!((cx.rip, frame::<1>(&cx)[0]), (handler(0x40) + 1, CODE + 4));
}
