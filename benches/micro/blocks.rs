//! The block cache: how a block is found, and what it costs to make one.

use crate::guest::{advance, running};
use criterion::{Criterion, Throughput};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Instructions of a block here.
const BLOCK: u64 = 4;

/// Runs the benchmarks of this subject.
pub fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("blocks");
    // The jump table has 16384 entries, and so has the table in front of the map of blocks.
    for (name, blocks, indirect) in [("linked", 256, false), ("found in the jump table", 256, true), ("found by address", 32768, true)] {
        let mut machine = running(|a| chain(a, blocks, indirect));
        let round = blocks * BLOCK;
        group.throughput(Throughput::Elements(blocks));
        group.bench_function(name, |bencher| bencher.iter(|| advance(&mut machine, round)));
    }

    let blocks = 2048;
    let mut machine = running(|a| chain(a, blocks, false));
    group.throughput(Throughput::Elements(blocks));
    group.bench_function("built", |bencher| {
        bencher.iter(|| {
            machine.drop_caches();
            advance(&mut machine, blocks * BLOCK);
        });
    });

    let mut machine = running(rewriter);
    group.throughput(Throughput::Elements(1));
    group.bench_function("rewritten", |bencher| bencher.iter(|| advance(&mut machine, 3)));
    group.finish();
}

/// `blocks` blocks that jump from each to the next and round again, directly or through a register.
fn chain(a: &mut CodeAssembler, blocks: u64, indirect: bool) -> Result<(), IcedError> {
    let mut start = a.create_label();
    let mut next = start;
    for number in 0..blocks {
        if number == 0 {
            a.set_label(&mut start)?
        } else {
            a.set_label(&mut next)?
        }
        next = if number + 1 == blocks { start } else { a.create_label() };
        a.add(rbx, 7)?;
        a.xor(ecx, ebx)?;
        if indirect {
            a.lea(rax, qword_ptr(next))?;
            a.jmp(rax)?;
        } else {
            a.mov(rax, rcx)?;
            a.jmp(next)?;
        }
    }
    Ok(())
}

/// Writes to its own code, for ever: the store drops the block that the jump leads to.
fn rewriter(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut top = a.create_label();
    a.set_label(&mut top)?;
    a.mov(byte_ptr(top), 0xc6)?; // The byte that is there: MOV r/m8, imm8.
    a.nop()?;
    a.jmp(top)
}
