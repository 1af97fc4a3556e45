//! Reads of memory: with the page in the TLB, with a walk for each, and the walk alone.

use crate::guest::{self, CODE, DATA, RAM, TABLES, advance};
use criterion::{Criterion, Throughput};
use emu::bus::{Ram, VecBacking};
use emu::cpu::{Control, Cr0, Cr4, Efer};
use emu::machine::Machine;
use emu::mmu::{AccessKind, LinearAccess, walk};
use iced_x86::code_asm::*;
use std::hint::black_box;

const COUNT: u64 = 200_000;
const PAGE: u64 = 4096;
/// Instructions of the loop for each read.
const PER_READ: u64 = 4;

/// Runs the benchmarks of this subject.
pub fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tlb");
    group.throughput(Throughput::Elements(COUNT / PER_READ));
    // The TLB has 4096 entries: 512 pages fit, of 8192 none is left when its turn comes again.
    for (name, pages, small) in [("hit", 512, true), ("miss, pages of 4 KiB", 8192, true), ("miss, pages of 1 GiB", 8192, false)] {
        let mut machine = reader(pages, small);
        group.bench_function(name, |bencher| bencher.iter(|| advance(&mut machine, COUNT)));
    }
    group.throughput(Throughput::Elements(1));
    let mut machine = flusher();
    // MOV to CR3 and eight reads.
    group.bench_function("flush and eight reads", |bencher| bencher.iter(|| advance(&mut machine, 10)));

    let mut ram = Ram::new(Box::new(VecBacking::new(RAM as usize).unwrap()));
    assert!(ram.store(TABLES, &tables()));
    let control = Control {
        cr0: Cr0::PE | Cr0::PG | Cr0::WP,
        cr3: TABLES,
        cr4: Cr4::PAE,
        efer: Efer::LME | Efer::LMA | Efer::NXE,
        ..Control::default()
    };
    let access = LinearAccess { kind: AccessKind::Read, user: false, may_touch_user: true };
    let mut linear = DATA;
    group.bench_function("walk alone", |bencher| {
        bencher.iter(|| {
            linear = DATA + (linear + PAGE) % (RAM - DATA);
            walk(&mut ram, &control, black_box(linear), access).unwrap().address
        });
    });
    group.finish();
}

/// Page tables at [`TABLES`] that map all of RAM one to one by pages of 4 KiB, so that a walk has four steps.
fn tables() -> Vec<u8> {
    const PRESENT_WRITE_ACCESSED_DIRTY: u64 = 0x63;
    let entry = |address: u64| (address | PRESENT_WRITE_ACCESSED_DIRTY).to_le_bytes();
    let directories = RAM.div_ceil(2 << 20);
    let mut bytes = vec![0; ((3 + directories) * PAGE) as usize];
    let mut put = |page: u64, index: u64, address: u64| {
        let at = (page * PAGE + index * 8) as usize;
        bytes[at..at + 8].copy_from_slice(&entry(address));
    };
    put(0, 0, TABLES + PAGE);
    put(1, 0, TABLES + 2 * PAGE);
    for directory in 0..directories {
        put(2, directory, TABLES + (3 + directory) * PAGE);
    }
    for page in 0..RAM / PAGE {
        put(3 + page / 512, page % 512, page * PAGE);
    }
    bytes
}

/// A program with [`tables`] behind it.
fn with_tables(mut program: Vec<u8>) -> Machine {
    program.resize((TABLES - CODE) as usize, 0);
    program.extend(tables());
    guest::machine(&program)
}

/// Reads a quadword of each of `pages` pages in turn, for ever.
fn reader(pages: u64, small: bool) -> Machine {
    let program = guest::assemble(|a| {
        if small {
            a.mov(rax, TABLES)?;
            a.mov(cr3, rax)?;
        }
        let mut outer = a.create_label();
        let mut inner = a.create_label();
        a.set_label(&mut outer)?;
        a.mov(rdi, DATA)?;
        a.mov(ecx, pages as u32)?;
        a.set_label(&mut inner)?;
        a.mov(rax, qword_ptr(rdi))?;
        a.add(rdi, PAGE as i32)?;
        a.dec(ecx)?;
        a.jne(inner)?;
        a.jmp(outer)
    });
    with_tables(program)
}

/// Loads CR3 and reads eight pages, for ever: ten instructions.
fn flusher() -> Machine {
    let program = guest::assemble(|a| {
        a.mov(rax, TABLES)?;
        a.mov(rdi, DATA)?;
        let mut top = a.create_label();
        a.set_label(&mut top)?;
        a.mov(cr3, rax)?;
        for page in 0..8 {
            a.mov(rdx, qword_ptr(rdi + page * PAGE))?;
        }
        a.jmp(top)
    });
    with_tables(program)
}
