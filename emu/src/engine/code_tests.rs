//! Where code comes from: its pages, the end of its segment, the length of its instructions.

use super::*;
use crate::cpu::Segment;
use crate::testing::*;

const GLOBAL: u64 = 1 << 8;
/// RET 0, whose operand lies on the page behind.
const ROUTINE: u64 = CODE + 0x1fff;
const BEHIND: u64 = CODE + 0x2000;
/// A JMP to [`ROUTINE`], and a NOP in front of it.
const JUMP: u64 = ROUTINE - 3;
const NOP: u64 = ROUTINE - 1;

fn store_routine(cx: &mut Vcpu) {
    store(cx, JUMP, &[0xeb, 1, 0x90, 0xc2, 0, 0]);
}

/// Calls `entry`, which leads to [`ROUTINE`], until the way there is known, takes the page behind it away, does `then`, and calls it again.
fn take_away_behind(entry: u64, then: &[u8]) -> Vcpu {
    let mut cx = long_mode();
    map(&mut cx, ROUTINE & !0xfff, PRESENT | WRITE | GLOBAL);
    store_routine(&mut cx);
    cx.regs[slot::RSI] = entry;
    cx.regs[slot::RBX] = BEHIND;
    cx.regs[slot::RDI] = TABLES + BEHIND / 4096 * 8;
    const CALL: &[u8] = &[0xff, 0xd6]; // call rsi
    let program = [CALL, CALL, CALL, &[0x48, 0x89, 0x07], then, CALL, &[0xf4]].concat(); // mov [rdi],rax
    expect_vector(&mut cx, &program, 14);
    cx
}

#[test]
fn instruction_on_two_pages_does_not_outlive_the_second() {
    // invlpg [rbx]; or mov rcx,cr3; mov cr3,rcx
    for then in [&[0x0f, 0x01, 0x3b][..], &[0x0f, 0x20, 0xd9, 0x0f, 0x22, 0xd9]] {
        for entry in [ROUTINE, JUMP, NOP] {
            let cx = take_away_behind(entry, then);
            let [_, rip] = frame(&cx);
            assert_eq!([cx.control.cr2, rip], [BEHIND, ROUTINE], "from {entry:#x}");
        }
    }
}

#[test]
fn what_leads_to_an_instruction_on_two_pages_asks_the_jump_table() {
    for entry in [JUMP, NOP] {
        let mut cx = long_mode();
        store_routine(&mut cx);
        cx.regs[slot::RSI] = entry;
        expect_halt(&mut cx, &[0xff, 0xd6, 0xff, 0xd6, 0xf4]);
        assert!(cx.cache.find(ROUTINE).is_some());
        let block = cx.cache.find(entry).expect("the block that leads there");
        // SAFETY: it is the first of a block's in the cache, and the NOP has the block's end behind it.
        let leaves = unsafe {
            let (jump, end) = ((*block).op.branch(), (*block.add(1)).op.block_end());
            if entry == JUMP { jump.target_leaves_page() } else { end.next_leaves_page() }
        };
        assert!(leaves, "from {entry:#x}");
    }
}

#[test]
fn instruction_on_two_pages_is_read_anew_when_the_second_is_another() {
    let mut cx = long_mode();
    // jmp rel32, to a RET on a third page; on another page in the second's place its distance is larger by 1, and leads to a HLT.
    let (other, target) = (BEHIND + 0x1000, ROUTINE + 5 + 0x2010);
    store(&mut cx, ROUTINE, &[0xe9, 0x10, 0x20, 0, 0]);
    store(&mut cx, other, &[0x11, 0x20, 0, 0]);
    store(&mut cx, target, &[0xc3, 0xf4]);
    cx.regs[slot::RSI] = ROUTINE;
    cx.regs[slot::RBX] = BEHIND;
    cx.regs[slot::RDI] = TABLES + BEHIND / 4096 * 8;
    cx.regs[slot::RAX] = other | PRESENT | WRITE;
    let program = [0xff, 0xd6, 0xff, 0xd6, 0xff, 0xd6, 0x48, 0x89, 0x07, 0x0f, 0x01, 0x3b, 0xff, 0xd6, 0x0f, 0x0b];
    assert_eq!(run(&mut cx, &program), VcpuExit::Halted);
    assert_eq!(cx.rip, target + 2);
}

#[test]
fn instruction_that_ends_beyond_the_canonical_addresses_is_not_fetched() {
    let mut cx = long_mode();
    // The last page of the lower half is that of DATA: entries 255, 511, 511 and 511.
    let last = (1 << 47) - 2;
    let entries = [cx.control.cr3 + 8 * 255, DATA + 0x1000 + 8 * 511, DATA + 0x2000 + 8 * 511, DATA + 0x3000 + 8 * 511];
    for (entry, next) in entries.into_iter().zip([DATA + 0x1000, DATA + 0x2000, DATA + 0x3000, DATA]) {
        store64(&mut cx, entry, next | PRESENT | WRITE);
    }
    // inc eax fits, mov eax,imm32 does not.
    store(&mut cx, DATA + 0xffc, &[0xff, 0xc0, 0xb8, 0]);
    cx.rip = last - 2;
    let until = cx.count() + 100;
    assert_eq!(cx.run(until), VcpuExit::Halted);
    let [error, rip] = frame(&cx);
    assert_eq!([cx.rip, error, rip, cx.regs[slot::RAX]], [handler(13) + 1, 0, last, 1]);
}

/// Protected mode with a code segment that ends behind `bytes` bytes from [`CODE`] on.
fn limited(bytes: u64) -> Vcpu {
    let mut cx = protected_mode();
    limit(&mut cx, bytes);
    cx
}

fn limit(cx: &mut Vcpu, bytes: u64) {
    cx.segments[SegmentName::Cs as usize].limit = (CODE + bytes - 1) as u32;
    cx.mode_changed();
}

/// Error code and EIP of the frame that the last delivery pushed, and ESP before it.
fn fault(cx: &Vcpu) -> [u64; 3] {
    let frame = cx.regs[slot::RSP];
    [load32(cx, frame).into(), load32(cx, frame + 4).into(), frame + 16]
}

#[test]
fn straight_code_ends_with_its_segment() {
    // inc eax, up to and onto the limit; then mov eax,imm32 across it.
    let mut cx = limited(6);
    expect_vector(&mut cx, &[0x40; 12], 13);
    assert_eq!(fault(&cx), [0, CODE + 6, STACK]);
    assert_eq!(cx.regs[slot::RAX], 6);
    for (bytes, executed) in [(9, 4), (8, 4), (6, 4), (5, 4), (4, 4), (2, 2)] {
        let mut cx = limited(bytes);
        expect_vector(&mut cx, &[0x40, 0x40, 0x40, 0x40, 0xb8, 0, 0, 0, 0, 0xf4], 13);
        let at = if bytes == 9 { CODE + 9 } else { CODE + executed };
        assert_eq!(fault(&cx), [0, at, STACK], "{bytes} bytes");
        assert_eq!(cx.regs[slot::RAX], if bytes == 9 { 0 } else { executed }, "{bytes} bytes");
    }
    // Across a page as well.
    let mut cx = protected_mode();
    cx.rip = CODE + 0xffe;
    limit(&mut cx, 0x1002);
    expect_vector(&mut cx, &[0xb8, 0, 0, 0, 0, 0xf4], 13);
    assert_eq!(fault(&cx), [0, CODE + 0xffe, STACK]);
}

#[test]
fn code_that_ran_without_a_limit_meets_one() {
    let mut cx = protected_mode();
    // A loop of two blocks: dec ecx; jnz +1; hlt; nop; jmp to the start.
    let program = [0x49, 0x75, 0x01, 0xf4, 0x90, 0xeb, 0xf9];
    cx.regs[slot::RCX] = 30;
    assert_eq!((run(&mut cx, &program), cx.rip), (VcpuExit::Halted, CODE + 4));
    cx.halted = false;
    cx.regs[slot::RCX] = 30;
    cx.rip = CODE;
    limit(&mut cx, 6);
    expect_vector(&mut cx, &program, 13);
    assert_eq!(fault(&cx), [0, CODE + 5, STACK]);
    assert_eq!(cx.regs[slot::RCX], 29);
}

#[test]
fn branch_beyond_the_limit_faults_where_it_stands_and_has_done_nothing() {
    let cases: [(&str, &[u8]); 11] = [
        ("jmp rel8", &[0xeb, 0x40]),
        ("jmp rel32", &[0xe9, 0x40, 0, 0, 0]),
        ("jmp ebx", &[0xff, 0xe3]),
        ("jmp [edx]", &[0xff, 0x22]),
        ("je", &[0x74, 0x40]),
        ("call rel32", &[0xe8, 0x40, 0, 0, 0]),
        ("call ebx", &[0xff, 0xd3]),
        ("call [edx]", &[0xff, 0x12]),
        ("ret", &[0xc3]),
        ("ret 8", &[0xc2, 8, 0]),
        ("loop", &[0xe2, 0x40]),
    ];
    for (name, code) in cases {
        let mut cx = limited(0x20);
        store(&mut cx, DATA, &((CODE + 0x40) as u32).to_le_bytes());
        store(&mut cx, STACK - 4, &((CODE + 0x40) as u32).to_le_bytes());
        cx.regs[slot::RSP] = STACK - 4;
        cx.regs[slot::RBX] = CODE + 0x40;
        cx.regs[slot::RCX] = 7;
        cx.regs[slot::RDX] = DATA;
        cx.set_rflags(Rflags::ZF);
        expect_vector(&mut cx, code, 13);
        assert_eq!(fault(&cx), [0, CODE, STACK - 4], "{name}");
        assert_eq!(cx.regs[slot::RCX], 7, "{name}");
        assert_eq!(load32(&cx, STACK - 4), (CODE + 0x40) as u32, "{name}");
    }
    // Not taken, they go on.
    let mut cx = limited(0x20);
    cx.regs[slot::RCX] = 1;
    expect_halt(&mut cx, &[0x74, 0x40, 0xe2, 0x40, 0xf4]);
    assert_eq!(cx.regs[slot::RCX], 0);
}

#[test]
fn code_at_one_offset_of_two_segments_is_not_mixed_up() {
    let mut cx = protected_mode();
    let with_base = |cx: &mut Vcpu, base: u64| {
        let cs = cx.segments[SegmentName::Cs as usize];
        cx.segments[SegmentName::Cs as usize] = Segment { base, ..cs };
        cx.mode_changed();
    };
    // In each a routine that is called by its address, and sets another register.
    for (base, register) in [(CODE, 0x40), (CODE + 0x3000, 0x43)] {
        store(&mut cx, base + 0x100, &[register, 0xc3]);
        store(&mut cx, base, &[0xff, 0xd2, 0xff, 0xd2, 0xff, 0xd2, 0xf4]);
    }
    cx.regs[slot::RDX] = 0x100;
    for base in [CODE, CODE + 0x3000, CODE] {
        with_base(&mut cx, base);
        cx.halted = false;
        cx.rip = 0;
        let until = cx.count() + 1000;
        assert_eq!(cx.run(until), VcpuExit::Halted);
    }
    assert_eq!([cx.regs[slot::RAX], cx.regs[slot::RBX]], [6, 3]);
}

#[test]
fn instruction_of_more_than_15_bytes_raises_gp_whatever_its_bytes_are() {
    // add word [rsp+disp32],imm16: nine bytes behind its prefixes. Then one whose opcode is none.
    for (prefixes, vector) in [(6, None), (7, Some(13)), (14, Some(13))] {
        let mut cx = long_mode();
        let program = [&vec![0x66; prefixes][..], &[0x81, 0x84, 0x24, 0, 0, 0, 0, 1, 0, 0xf4]].concat();
        cx.regs[slot::RSP] = STACK - 64;
        match vector {
            None => expect_halt(&mut cx, &program),
            Some(vector) => expect_vector(&mut cx, &program, vector),
        }
    }
    let mut cx = long_mode();
    expect_vector(&mut cx, &[&[0x66; 13][..], &[0x0f, 0x04]].concat(), 6);
}

#[test]
fn flags_of_an_unfinished_comparison_are_those_from_before_it() {
    let mut cx = long_mode();
    let flags = Rflags::CF | Rflags::OF | Rflags::FIXED;
    cx.set_rflags(flags);
    cx.regs[slot::RSI] = DATA;
    cx.regs[slot::RDI] = DATA;
    cx.regs[slot::RCX] = 5;
    store(&mut cx, CODE, &[0xf3, 0xa6, 0xf4]);
    // Cut off by the end of the run between two iterations, and by single steps.
    let until = cx.count() + 2;
    assert_eq!(cx.run(until), VcpuExit::Due);
    assert_eq!([cx.regs[slot::RCX], cx.rip, cx.rflags() & !Rflags::RF], [3, CODE, flags]);
    let until = cx.count() + 100;
    assert_eq!(cx.run(until), VcpuExit::Halted);
    assert_eq!(cx.rflags() & Rflags::ARITHMETIC, Rflags::ZF | Rflags::PF);
    let mut cx = long_mode();
    cx.set_rflags(flags | Rflags::TF);
    cx.regs[slot::RCX] = 5;
    cx.regs[slot::RSI] = DATA;
    cx.regs[slot::RDI] = DATA;
    expect_vector(&mut cx, &[0xf3, 0xa6], 1);
    assert_eq!(frame::<3>(&cx)[2] & Rflags::ARITHMETIC, Rflags::CF | Rflags::OF);
}

#[test]
fn no_address_finds_a_block_where_there_is_none() {
    // Each bit that the jump table's keys hold back for the mode, and for what is no key.
    for bit in 47..64 {
        for low in [0, 1 << 63, 1 << 52] {
            for mut cx in [long_mode(), user_mode()] {
                cx.regs[slot::RBX] = low ^ 1 << bit;
                if !is_canonical(cx.regs[slot::RBX]) {
                    expect_vector(&mut cx, &[0xff, 0xe3], 13); // jmp rbx
                }
            }
        }
    }
}
