//! A guest that has settled: what it costs to let it be quiet for as long as a bake wants.

use crate::guest::running;
use criterion::{BatchSize, Criterion};
use emu::machine::{Halt, Machine, Settle, Stop, Thresholds, Verdict, model};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const LOCAL_APIC: u64 = 0xfee0_0000;
/// Wake-ups of the guest in a second of its time.
const TICKS: u64 = 100;

/// Runs the benchmarks of this subject.
pub fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("settle");
    group.bench_function("30 s of 100 ticks a second", |bencher| {
        bencher.iter_batched(
            || running(ticker),
            |mut machine| {
                let verdict = settle(&mut machine);
                assert!(verdict.wake_ups >= 30 * TICKS, "{verdict}");
                machine
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// Runs the guest until it counts as settled, as a bake does.
fn settle(machine: &mut Machine) -> Verdict {
    let mut settle = Settle::new(Thresholds::default());
    let mut before = machine.stats();
    loop {
        let Stop::Halted { deadline: Some(deadline) } = machine.run(u64::MAX).unwrap() else { panic!("the guest only ticks") };
        let stats = machine.stats();
        let halt = Halt {
            now: machine.now(),
            timer: true,
            instructions: stats.retired - before.retired,
            device_work: stats.device_work - before.device_work,
        };
        if let Some(verdict) = settle.halted(halt) {
            return verdict;
        }
        before = stats;
        machine.skip_to(deadline);
    }
}

/// Sets the local APIC's timer and halts, for ever.
fn ticker(a: &mut CodeAssembler) -> Result<(), IcedError> {
    const VECTOR: u64 = 0x40;
    const IDT: u64 = 0x4_0000;
    const POINTER: u64 = 0x4_1000;
    const CODE_SELECTOR: u32 = 0x10;
    let mut handler = a.create_label();
    // An interrupt gate, whose target lies below 4 GiB: SDM Vol. 3, 6.14.1.
    a.lea(rax, qword_ptr(handler))?;
    a.mov(edx, eax)?;
    a.and(eax, 0xffff)?;
    a.or(eax, CODE_SELECTOR << 16)?;
    a.and(edx, 0xffff_0000_u32)?;
    a.or(edx, 0x8e00)?;
    a.mov(edi, (IDT + VECTOR * 16) as u32)?;
    a.mov(dword_ptr(rdi), eax)?;
    a.mov(dword_ptr(rdi + 4), edx)?;
    a.mov(edi, POINTER as u32)?;
    a.mov(word_ptr(rdi), 0xfff)?;
    a.mov(eax, IDT as u32)?;
    a.mov(qword_ptr(rdi + 2), rax)?;
    a.lidt(ptr(rdi))?;

    // SDM Vol. 3, 10.4.1: the registers. Enabled; periodic; divided by 1.
    a.mov(ebx, LOCAL_APIC as u32)?;
    a.mov(dword_ptr(rbx + 0xf0), 0x1ff)?;
    a.mov(dword_ptr(rbx + 0x320), 1 << 17 | VECTOR as u32)?;
    a.mov(dword_ptr(rbx + 0x3e0), 0xb)?;
    a.mov(dword_ptr(rbx + 0x380), (model::TSC_HZ / TICKS) as u32)?;
    a.sti()?;
    let mut halt = a.create_label();
    a.set_label(&mut halt)?;
    a.hlt()?;
    a.jmp(halt)?;
    a.set_label(&mut handler)?;
    a.mov(dword_ptr(rbx + 0xb0), 0)?; // end of interrupt
    a.iretq()
}
