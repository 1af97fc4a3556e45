//! Translated code against the interpreter: after as many instructions, the same registers, flags and memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod machine;
mod program;
mod sandbox;

use machine::{ALIAS, CODE, Machine, State};
use program::{Program, Rng, state};
use sandbox::{Left, Sandbox};
use translate::{PAGE, PageCode, regions};

/// What programs did.
#[derive(Debug, Default)]
struct Done {
    /// Instructions, those of functions that were called too.
    instructions: u64,
    /// Those that handlers ran.
    handled: u64,
    /// Runs that left for code outside.
    left_for: u64,
    /// How often code outside came to an entry; and how often the region was then entered anew.
    came_back: u64,
    entered: u64,
}

/// Runs programs of one seed.
fn programs(seed: u64, count: u64) -> Done {
    let mut reference = Machine::new();
    let mut done = Done::default();
    for number in 0..count {
        let mut rng = Rng(seed << 32 | number);
        let program = Program::draw(&mut rng);
        let mut sandbox = Sandbox::new(&program.page, &program.leaders);
        for _ in 0..4 {
            let entry = rng.below(sandbox.entries.len() as u64) as usize;
            let budget = if rng.one_in(2) { 64 + rng.below(64) } else { 64 + rng.below(2000) } as i64;
            let before = state(&mut rng, &program, sandbox.entries[entry]);
            let (left, ran) =
                agree(&mut reference, &mut sandbox, &program, &before, entry + 1, budget, &format!("seed {seed} number {number}"));
            done.instructions += ran as u64;
            done.left_for += u64::from(matches!(left, Left::For(_)));
        }
        done.handled += sandbox.handled();
        let (came_back, entered) = sandbox.came_back();
        done.came_back += came_back;
        done.entered += entered;
    }
    done
}

/// Runs a program from an entry, and as many instructions in the interpreter: how the region was left, and how many they were.
fn agree(
    reference: &mut Machine,
    sandbox: &mut Sandbox,
    program: &Program,
    before: &State,
    entry: usize,
    budget: i64,
    name: &str,
) -> (Left, i64) {
    let (left, rest, after) = sandbox.run(before, entry, budget);
    let ran = budget - rest;
    assert!((0..=budget).contains(&ran), "{name}: {ran} of {budget}");
    reference.load(before);
    let _ = reference.run(ran as u64);
    let wanted = reference.save();
    if after != wanted {
        panic!("{name}, {left:x?} after {ran} instructions\n{}", difference(program, &after, &wanted));
    }
    (left, ran)
}

fn difference(program: &Program, after: &State, wanted: &State) -> String {
    let mut text = String::new();
    for (name, ours, theirs) in [("rip", after.rip, wanted.rip), ("flags", after.flags, wanted.flags)] {
        if ours != theirs {
            text += &format!("{name}: {ours:x}, the interpreter has {theirs:x}\n");
        }
    }
    for register in 0..16 {
        let (ours, theirs) = (after.registers[register], wanted.registers[register]);
        if ours != theirs {
            text += &format!("r{register}: {ours:x}, the interpreter has {theirs:x}\n");
        }
    }
    if let Some(at) = (0..after.memory.len()).find(|&at| after.memory[at] != wanted.memory[at]) {
        text += &format!("memory at {at:x} of the windows\n");
    }
    for block in translate::blocks(&program.page, &program.leaders) {
        text += &format!("block at {:x}, ends with {:?}\n", block.offset, block.end);
        for ins in &block.instructions {
            let at = ins.decoded.ip() as usize;
            let bytes = &program.page[at..][..ins.decoded.len()];
            text += &format!("  {at:4x} {bytes:02x?} {} ({:?})\n", ins.decoded, ins.decoded.code());
        }
    }
    text
}

/// A program of fixed bytes.
fn program(code: &[u8], leaders: &[u16]) -> (Program, Sandbox) {
    let mut page = Box::new([0xf4; PAGE]);
    page[..code.len()].copy_from_slice(code);
    let program = Program { page, leaders: leaders.iter().copied().collect() };
    let sandbox = Sandbox::new(&program.page, &program.leaders);
    (program, sandbox)
}

/// Runs one from its start: how it was left, and after how many instructions.
fn run((program, sandbox): &mut (Program, Sandbox), prepare: impl Fn(&mut State)) -> (Left, i64) {
    let mut before = state(&mut Rng(1), program, 0);
    (before.rip, before.registers[4]) = (CODE, machine::STACK + 0x800);
    prepare(&mut before);
    let entry = sandbox.entries.iter().position(|&entry| entry == 0).unwrap();
    agree(&mut Machine::new(), sandbox, program, &before, entry + 1, 2000, "a fixed program")
}

fn fixed(code: &[u8], leaders: &[u16], prepare: impl Fn(&mut State)) -> (Left, i64) {
    run(&mut program(code, leaders), prepare)
}

/// A function that is called returns behind the call, but at the page's other address: what follows runs there.
#[test]
fn a_call_does_not_come_back_at_another_address_of_its_page() {
    // call 7; lea rax, [rip]; hlt, and at 0x10: xor qword [rsp], CODE ^ ALIAS; ret.
    let mut code = [0xf4; 0x19];
    code[..12].copy_from_slice(&[0xe8, 0xb, 0, 0, 0, 0x48, 0x8d, 0x05, 0, 0, 0, 0]);
    code[0x10..].copy_from_slice(&[0x48, 0x81, 0x34, 0x24, 0, 0x40, 0, 0, 0xc3]);
    for start in [CODE, ALIAS] {
        let (left, ran) = fixed(&code, &[0, 5], |state| state.rip = start);
        assert_eq!((left, ran), (Left::ToInterpreter((start ^ CODE ^ ALIAS) + 12), 4));
    }
}

/// What was called has changed the code behind the call: that is not the region's any more.
#[test]
fn a_call_does_not_come_back_to_code_that_has_changed() {
    // call 0x10; inc eax; hlt, and at 0x10: xor byte [rip - 0x10], 8; ret. The INC becomes a DEC.
    let mut code = [0xf4; 0x18];
    code[..7].copy_from_slice(&[0xe8, 0xb, 0, 0, 0, 0xff, 0xc0]);
    code[0x10..].copy_from_slice(&[0x80, 0x35, (6 - 0x17_i8) as u8, 0xff, 0xff, 0xff, 8, 0xc3]);
    fixed(&code, &[0, 5], |_| ());
}

/// An access finds its page by the one before it, with the same base, unless it leaves that page.
#[test]
fn an_access_that_crosses_into_another_page_takes_no_shortcut() {
    let patterned =
        |state: &mut State| state.memory.iter_mut().skip(PAGE).enumerate().for_each(|(at, byte)| *byte = (at / 256 + at * 7) as u8);
    // mov rax, [rdi]; mov rbx, [rdi + 12].
    let code = [0x48, 0x8b, 0x07, 0x48, 0x8b, 0x5f, 12];
    fixed(&code, &[0], |state| {
        patterned(state);
        state.registers[7] = machine::DATA + 0xff0;
    });
    // pop rax; pop rbx.
    fixed(&[0x58, 0x5b], &[0], |state| {
        patterned(state);
        state.registers[4] = machine::STACK + 0xff4;
    });
}

/// The push is the interpreter's, which raises the exception.
#[test]
fn a_stack_that_was_read_is_not_written_for_that() {
    // pop rax; push rbx.
    let left = fixed(&[0x58, 0x53], &[0], |state| state.registers[4] = machine::READ_ONLY + 0x800);
    assert_eq!(left, (Left::ToInterpreter(CODE + 1), 1));
}

/// AF is as the addition left it.
#[test]
fn a_rotation_leaves_the_flags_of_a_sum_before_it() {
    // adc eax, ebx; rol ecx, 4.
    let code = [0x11, 0xd8, 0xc1, 0xc1, 4];
    for flags in [0, 0x10] {
        for second in [0, 1] {
            fixed(&code, &[0], |state| (state.flags, state.registers[0], state.registers[3]) = (flags, 0xf, second));
        }
    }
}

/// A return goes straight to where the innermost call comes back to, until a handler has run: then the block cache says what stands there now, for all calls so far.
#[test]
fn a_return_asks_what_stands_behind_its_call_once_a_handler_has_run() {
    // call rax; hlt, at 0x10: call rcx; ret, at 0x20: nop dword [rax], or xadd ebx, edx; ret.
    for (inner, wanted) in [([0x0f, 0x1f, 0x00, 0xc3], 2), ([0x0f, 0xc1, 0xd3, 0xc3], 4)] {
        let mut code = [0xf4; 0x24];
        code[..2].copy_from_slice(&[0xff, 0xd0]);
        code[0x10..0x13].copy_from_slice(&[0xff, 0xd1, 0xc3]);
        code[0x20..].copy_from_slice(&inner);
        let mut program = program(&code, &[0, 2, 0x10, 0x12, 0x20]);
        let left = run(&mut program, |state| (state.registers[0], state.registers[1]) = (CODE + 0x10, CODE + 0x20));
        assert_eq!((left, program.1.asked()), ((Left::ToInterpreter(CODE + 2), 5), wanted));
    }
}

/// A region reads and writes back the registers that it needs, wherever it is entered and left.
#[test]
fn registers_that_a_region_does_not_read_at_first_are_as_they_were() {
    // bsf eax, ecx; mov [rdi], rax: of zero, EAX stays.
    let data = |state: &mut State| (state.registers[1], state.registers[7]) = (0, machine::DATA);
    fixed(&[0x0f, 0xbc, 0xc1, 0x48, 0x89, 0x07], &[0], data);
    // jz 4; mov ebx, edx; at 4: mov eax, [0]: the access is the interpreter's. EBX was written on one of the ways there.
    let code = [0x74, 2, 0x89, 0xd3, 0x8b, 0x04, 0x25, 0, 0, 0, 0];
    for zero in [0, 0x40] {
        let (left, ran) = fixed(&code, &[0, 2, 4], |state| state.flags = zero);
        assert_eq!((left, ran), (Left::ToInterpreter(CODE + 4), if zero == 0 { 2 } else { 1 }));
    }
    // call 0x10; add eax, ebx; hlt, and at 0x10: inc ebx; ret: what was called has changed what is read behind it.
    let mut code = [0xf4; 0x13];
    code[..7].copy_from_slice(&[0xe8, 0xb, 0, 0, 0, 0x01, 0xd8]);
    code[0x10..].copy_from_slice(&[0xff, 0xc3, 0xc3]);
    fixed(&code, &[0, 5], |_| ());
}

/// Which form the flags have behind a rotation depends on what they were before it, in blocks before.
#[test]
fn a_block_reads_flags_that_were_made_two_blocks_before() {
    // cmp eax, eax; jmp 4; rol ecx, 4; jmp 9; jz 0xd; inc ebx; inc edx.
    let code = [0x39, 0xc0, 0xeb, 0, 0xc1, 0xc1, 4, 0xeb, 0, 0x74, 2, 0xff, 0xc3, 0xff, 0xc2];
    let (_, ran) = fixed(&code, &[0, 4, 9, 0xb, 0xd], |_| ());
    assert_eq!(ran, 6);
}

#[test]
fn random_programs_agree_with_the_interpreter() {
    let done = programs(1, 400);
    let is_rich =
        done.instructions > 10_000 && done.handled > 100 && done.left_for > 100 && done.came_back > done.entered + 20 && done.entered > 20;
    assert!(is_rich, "the draw has become dull: {done:?}");
}

/// A profile is a file that may come from anywhere.
#[test]
fn any_bytes_with_any_blocks_become_valid_functions() {
    let mut instructions = 0;
    for number in 0..60 {
        let mut rng = Rng(number);
        let mut bytes = Box::new([0u8; PAGE]);
        // Of few values, so that prefixes, branches and short instructions follow one another.
        let values: Vec<u8> = (0..1 + rng.below(40)).map(|_| rng.next() as u8).collect();
        bytes.iter_mut().for_each(|byte| *byte = if rng.one_in(3) { rng.next() as u8 } else { rng.pick(&values) });
        let blocks = (0..rng.below(300)).map(|_| (rng.below(PAGE as u64) as u16, rng.below(100))).collect();
        for region in regions(&PageCode { bytes, blocks }) {
            instructions += region.iter().map(|block| block.instructions.len()).sum::<usize>();
            sandbox::check(&region);
        }
    }
    assert!(instructions > 10_000, "{instructions}");
}

#[test]
#[ignore = "a hundred seeds: make oracle"]
fn many_random_programs_agree_with_the_interpreter() {
    for seed in 2..=100 {
        programs(seed, 500);
    }
}
