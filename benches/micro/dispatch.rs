//! What an instruction costs once it is decoded: loops over what compilers emit most, in blocks that are linked and with every access in the TLB.

use crate::guest::{DATA, advance, running};
use criterion::{Criterion, Throughput};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Instructions between two looks at the clock.
const COUNT: u64 = 1_000_000;

type Program = fn(&mut CodeAssembler) -> Result<(), IcedError>;

/// Runs the benchmarks of this subject.
pub fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dispatch");
    group.throughput(Throughput::Elements(COUNT));
    let programs: [(&str, Program); 6] = [
        ("registers", registers),
        ("memory", memory),
        ("compare and branch", branches),
        ("call and return", calls),
        ("vectors", vectors),
        ("x87", x87),
    ];
    for (name, program) in programs {
        let mut machine = running(program);
        group.bench_function(name, |bencher| bencher.iter(|| advance(&mut machine, COUNT)));
    }
    group.finish();
}

/// Loops over `body` for ever.
fn repeat(a: &mut CodeAssembler, body: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Result<(), IcedError> {
    let mut top = a.create_label();
    a.set_label(&mut top)?;
    body(a)?;
    a.jmp(top)
}

fn registers(a: &mut CodeAssembler) -> Result<(), IcedError> {
    repeat(a, |a| {
        for _ in 0..4 {
            a.mov(rax, rcx)?;
            a.add(rax, 17)?;
            a.lea(rdx, rax + rcx * 4)?;
            a.xor(ebx, edx)?;
            a.shl(rbx, 3)?;
            a.sub(rcx, rbx)?;
            a.and(edx, 0xff)?;
            a.movzx(esi, dl)?;
            a.rol(esi, 5)?;
            a.movsxd(rdi, esi)?;
        }
        Ok(())
    })
}

fn memory(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(rdi, DATA)?;
    a.mov(rsp, DATA + 0x8000)?;
    repeat(a, |a| {
        for at in 0..4 {
            a.mov(rax, qword_ptr(rdi + at * 24))?;
            a.mov(qword_ptr(rdi + at * 24 + 0x1000), rax)?;
            a.push(rax)?;
            a.add(dword_ptr(rdi + at * 8 + 0x2000), eax)?;
            a.movzx(ecx, byte_ptr(rdi + rax + 0x3000))?;
            a.mov(byte_ptr(rdi + 0x3800), cl)?;
            a.cmp(qword_ptr(rdi + 0x40), rax)?;
            a.pop(rdx)?;
        }
        Ok(())
    })
}

fn branches(a: &mut CodeAssembler) -> Result<(), IcedError> {
    repeat(a, |a| {
        for step in 0..8 {
            let mut over = a.create_label();
            a.inc(rax)?;
            a.test(eax, 1 << step)?;
            a.jne(over)?;
            a.mov(rdx, rax)?;
            a.set_label(&mut over)?;
            a.nop()?;
        }
        Ok(())
    })
}

fn calls(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(rsp, DATA + 0x8000)?;
    let mut function = a.create_label();
    repeat(a, |a| {
        for _ in 0..4 {
            a.call(function)?;
            a.inc(rax)?;
        }
        Ok(())
    })?;
    a.set_label(&mut function)?;
    a.push(rbp)?;
    a.mov(rbp, rsp)?;
    a.pop(rbp)?;
    a.ret()
}

/// Switches SSE on: CR4.OSFXSR.
fn enable_sse(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(rax, cr4)?;
    a.or(rax, 1 << 9)?;
    a.mov(cr4, rax)
}

fn vectors(a: &mut CodeAssembler) -> Result<(), IcedError> {
    enable_sse(a)?;
    a.mov(rdi, DATA)?;
    a.mov(eax, 3)?;
    a.cvtsi2sd(xmm0, eax)?;
    a.movaps(xmm1, xmm0)?;
    repeat(a, |a| {
        for at in 0..4 {
            a.movups(xmm2, xmmword_ptr(rdi + at * 16))?;
            a.pxor(xmm2, xmm3)?;
            a.paddd(xmm3, xmm2)?;
            a.pcmpeqb(xmm2, xmm3)?;
            a.pmovmskb(ecx, xmm2)?;
            a.movups(xmmword_ptr(rdi + at * 16 + 0x1000), xmm3)?;
            a.mulsd(xmm0, xmm1)?;
            a.divsd(xmm0, xmm1)?;
        }
        Ok(())
    })
}

fn x87(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.fninit()?;
    a.mov(rdi, DATA)?;
    repeat(a, |a| {
        for _ in 0..4 {
            a.fld1()?;
            a.fadd(qword_ptr(rdi))?;
            a.fmul_2(st0, st0)?;
            a.fstp(qword_ptr(rdi + 8))?;
        }
        Ok(())
    })
}
