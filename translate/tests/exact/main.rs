//! Translated code against the interpreter: after as many instructions, the same registers, flags and memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod machine;
mod program;
mod sandbox;

use machine::Machine;
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
            let (left, rest, after) = sandbox.run(&before, entry + 1, budget);
            let ran = budget - rest;
            assert!((0..=budget).contains(&ran), "seed {seed} number {number}: {ran} of {budget}");
            reference.load(&before);
            let _ = reference.run(ran as u64);
            let wanted = reference.save();
            compare(seed, number, &program, left, ran, &after, &wanted);
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

fn compare(seed: u64, number: u64, program: &Program, left: Left, ran: i64, after: &machine::State, wanted: &machine::State) {
    if after == wanted {
        return;
    }
    let mut text = format!("seed {seed} number {number}, {left:x?} after {ran} instructions\n");
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
    panic!("{text}");
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
        let blocks = (0..rng.below(300)).map(|_| rng.below(PAGE as u64) as u16).collect();
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
