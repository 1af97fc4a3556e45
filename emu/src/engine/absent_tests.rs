//! What must not show either: that memory came in when it was touched, and what went wrong with that on the way.

use std::cell::Cell;
use std::rc::Rc;

use proptest::prelude::*;

use super::VcpuExit;
use super::tests::{busy_program, cpu_with, outcome, reference};
use crate::bus::{PageSource, Ram, VecBacking};
use crate::cpu::{Exception, Rflags, slot};
use crate::delivery::{Undelivered, exception};
use crate::machine::CpuState;
use crate::mmu::Mmu;
use crate::testing::{CODE, DATA, IDT, board, handler, long_mode, run, store};
use crate::vcpu::Vcpu;
use snapshot::{Error, GROUP_SIZE, PAGE_SIZE, PAGES_PER_GROUP};

/// Memory to be read, which says of each group how often it cannot be.
struct StoredPages {
    bytes: Vec<u8>,
    failures: Vec<u8>,
    /// Groups that were read.
    read: Rc<Cell<usize>>,
}

impl PageSource for StoredPages {
    fn pages(&self) -> Vec<u64> {
        let pages = self.bytes.as_chunks::<PAGE_SIZE>().0;
        (0..).zip(pages).filter(|(_, page)| page.iter().any(|&byte| byte != 0)).map(|(number, _)| number).collect()
    }
    fn read(&mut self, number: u64, group: &mut [u8; GROUP_SIZE]) -> Result<u16, Error> {
        let number = number / PAGES_PER_GROUP as u64;
        // What a failure leaves behind must not be seen.
        group.fill(0xf4);
        let failures = &mut self.failures[number as usize];
        if *failures > 0 {
            *failures -= 1;
            return Err(Error::Io { doing: "reading the snapshot", source: std::io::ErrorKind::TimedOut.into() });
        }
        *group = self.bytes.as_chunks::<GROUP_SIZE>().0[number as usize];
        self.read.set(self.read.get() + 1);
        Ok(u16::MAX)
    }
}

/// Takes a CPU's memory away, to be brought in again; each group fails as often as `failures` says. Tells how many groups were read.
fn forget_memory(cpu: &mut Vcpu, failures: impl Fn(u64) -> u8) -> Rc<Cell<usize>> {
    let bytes = cpu.mmu.ram().bytes().to_vec();
    let read = Rc::<Cell<usize>>::default();
    let failures = (0..(bytes.len() / GROUP_SIZE) as u64).map(failures).collect();
    let backing = Box::new(VecBacking::new(bytes.len()).unwrap());
    cpu.mmu = Mmu::new(Ram::of_pages(backing, Box::new(StoredPages { bytes, failures, read: read.clone() })));
    cpu.flush_translations();
    read
}

/// Runs to HLT, trying again whenever memory could not be had. At each failure the CPU is where one with all of its memory is after as many
/// counts.
fn run_with_retries(cpu: &mut Vcpu, whole: impl Fn() -> Vcpu) -> usize {
    let mut failures = 0;
    loop {
        match cpu.run(u64::MAX / 2) {
            VcpuExit::Halted => return failures,
            VcpuExit::Unavailable => failures += 1,
            other => panic!("{other:?}"),
        }
        let mut same = whole();
        assert_eq!(same.run(cpu.count()), VcpuExit::Due);
        assert_eq!((CpuState::of(cpu), cpu.count()), (CpuState::of(&same), same.count()));
        // Nothing moves until it is there.
        if !cpu.mmu.retry() {
            failures += 1;
            let error = cpu.mmu.take_error().unwrap();
            assert_eq!(error.source.kind(), "io");
            while !cpu.mmu.retry() {}
        }
    }
}

#[test]
fn memory_that_comes_in_when_it_is_touched_does_not_show() {
    let mut cpu = cpu_with(&busy_program(), 64);
    let read = forget_memory(&mut cpu, |_| 0);
    assert_eq!(cpu.run(u64::MAX / 2), VcpuExit::Halted);
    // One with tables, one with code: the rest is zero, as the stack is, or not wanted.
    assert_eq!(read.get(), 2);
    assert!(cpu.mmu.ram().dirty_pages().iter().filter(|&&dirty| dirty).count() < 10);
    assert!(cpu.mmu.bring_in_all());
    assert!(outcome(&cpu) == reference());
}

#[test]
fn a_page_that_was_only_read_is_not_dirty() {
    let mut cpu = cpu_with(&busy_program(), 64);
    forget_memory(&mut cpu, |_| 0);
    assert!(cpu.mmu.bring_in_all());
    assert!(cpu.mmu.ram().dirty_pages().iter().all(|&dirty| !dirty));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn failures_that_pass_do_not_show(failures in prop::collection::vec(0u8..3, 64), block in 1usize..=64) {
        let mut cpu = cpu_with(&busy_program(), block);
        forget_memory(&mut cpu, |group| failures[group as usize]);
        run_with_retries(&mut cpu, || cpu_with(&busy_program(), 64));
        while !cpu.mmu.bring_in_all() {}
        prop_assert!(outcome(&cpu) == reference());
    }
}

#[test]
fn a_repeat_that_cannot_go_on_is_cut_off_between_two_iterations() {
    // std; mov ecx, 100; rep lodsb; hlt: downwards over a group's beginning.
    let mut partial = cpu_with(&[0xfd, 0xb9, 100, 0, 0, 0, 0xf3, 0xac, 0xf4], 64);
    let beginning = DATA + GROUP_SIZE as u64;
    partial.regs[slot::RSI] = beginning + 29;
    store(&mut partial, beginning - 0x1000, &[7; 0x2000]);
    forget_memory(&mut partial, |group| u8::from(group == DATA / GROUP_SIZE as u64));
    assert_eq!(partial.run(u64::MAX / 2), VcpuExit::Unavailable);
    assert_eq!((partial.count(), partial.time.not_retired(), partial.regs[slot::RCX]), (2 + 30, 30, 70));
    assert_ne!(partial.rflags() & Rflags::RF, 0);
    assert!(partial.mmu.retry());
    assert_eq!(partial.run(u64::MAX / 2), VcpuExit::Halted);
    assert_eq!((partial.count(), partial.time.not_retired()), (2 + 100 + 2, 100));
}

#[test]
fn an_interrupt_is_acknowledged_once_it_can_be_delivered() {
    let mut cpu = long_mode();
    store(&mut cpu, CODE, &[0xfb, 0x90, 0x90, 0xf4]);
    board(&mut cpu).pending = vec![0x41];
    // The group of the tables is there; the handler's address is in the IDT, on a page that is moved to another group.
    let far = 0x10_0000;
    let gates = cpu.mmu.ram().bytes()[IDT as usize..][..0x1000].to_vec();
    store(&mut cpu, far, &gates);
    cpu.idtr.base = far;
    forget_memory(&mut cpu, |group| u8::from(group == far / GROUP_SIZE as u64));
    assert_eq!(cpu.run(100), VcpuExit::Unavailable);
    let stands = (cpu.rip, cpu.count());
    assert_eq!(board(&mut cpu).pending, [0x41]);
    assert!(cpu.mmu.retry());
    assert_eq!(cpu.run(100), VcpuExit::Halted);
    assert_eq!(stands, (CODE + 2, 2));
    assert_eq!(cpu.rip, handler(0x41) + 1);
    assert!(board(&mut cpu).pending.is_empty());
}

#[test]
fn a_fault_that_cannot_be_delivered_leaves_cr2_alone() {
    let mut cpu = long_mode();
    cpu.control.cr2 = 0x1234;
    // Something is on the handler's stack: it must come in, too.
    let frame = cpu.regs[slot::RSP] - 0x100;
    store(&mut cpu, frame, &[1]);
    forget_memory(&mut cpu, |_| 1);
    assert_eq!(exception(&mut cpu, Exception::page_fault(0x5678, 0)), Err(Undelivered::Unavailable));
    assert_eq!(cpu.control.cr2, 0x1234);
    assert!(cpu.mmu.retry());
    assert_eq!(exception(&mut cpu, Exception::page_fault(0x5678, 0)), Err(Undelivered::Unavailable), "the handler's stack");
}

#[test]
fn whoever_traces_has_all_memory() {
    let mut cpu = long_mode();
    cpu.set_rflags(Rflags::TF | Rflags::FIXED);
    let program = [0x90, 0xf4];
    store(&mut cpu, CODE, &program);
    let last = 0x3f_0000;
    store(&mut cpu, last, &[1]);
    forget_memory(&mut cpu, |group| u8::from(group == last / GROUP_SIZE as u64));
    assert_eq!(cpu.run(100), VcpuExit::Unavailable);
    assert_eq!(cpu.count(), 0);
    assert!(cpu.mmu.retry());
    assert_eq!(run(&mut cpu, &program), VcpuExit::Halted);
    assert_eq!(cpu.rip, handler(1) + 1);
}
