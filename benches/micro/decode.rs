//! Bytes to ops and their slots, apart from the block cache around them.

use crate::guest::{DATA, assemble};
use criterion::{Criterion, Throughput};
use emu::cache::Limits;
use emu::cpu::{CodeSize, Cr0, Cr4};
use emu::decode::{Mode, decode_block};
use emu::engine::new_cache;
use emu::exec::Slots;
use iced_x86::code_asm::*;
use iced_x86::{Decoder, DecoderOptions, Instruction};
use std::hint::black_box;

const ROUNDS: usize = 5;
/// Instructions of the block.
const COUNT: usize = 12 * ROUNDS;

/// Runs the benchmarks of this subject.
pub fn measure(criterion: &mut Criterion) {
    let code = code();
    let mode = Mode::new(CodeSize::Bits64, false, Cr0::PE | Cr0::PG, Cr4::PAE | Cr4::OSFXSR);
    let mut cache = new_cache(Limits::default());
    let mut block = || {
        assert!(decode_block(black_box(&code), mode, 0, COUNT, &mut Slots::begin(&mut cache, None)));
        black_box(cache.begun())
    };

    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(COUNT as u64));
    let mut instruction = Instruction::default();
    group.bench_function("instructions alone", |bencher| {
        bencher.iter(|| {
            let mut decoder = Decoder::with_ip(64, black_box(&code), 0, DecoderOptions::NONE);
            while decoder.can_decode() {
                decoder.decode_out(&mut instruction);
                black_box(&instruction);
            }
        });
    });
    group.bench_function("a block of slots", |bencher| bencher.iter(&mut block));
    group.finish();
}

/// What compilers emit most, some times over.
fn code() -> Vec<u8> {
    assemble(|a| {
        for round in 0..ROUNDS {
            a.mov(rdx, rax)?;
            a.mov(rax, qword_ptr(rdi + round * 8))?;
            a.mov(dword_ptr(rsp + 0x120), ecx)?;
            a.push(rbx)?;
            a.xor(eax, eax)?;
            a.lea(rsi, rdi + rcx * 8 + 16)?;
            a.add(rsp, 8)?;
            a.test(rax, rax)?;
            a.movzx(ecx, byte_ptr(rdi + rdx))?;
            a.cmp(dword_ptr(rbp - 0x14), 0x1234)?;
            a.mov(r9, DATA)?;
            a.movaps(xmm1, xmm0)?;
        }
        Ok(())
    })
}
