//! What must not show: how code is cut into blocks, where a run is interrupted, what the caches hold. And that ops end in jumps.

use iced_x86::code_asm::*;
use proptest::prelude::*;

use super::{VcpuExit, new_cache};
use crate::cache::{Counts, Limits};
use crate::cpu::slot;
use crate::machine::CpuState;
use crate::testing::{CODE, DATA, STACK, TABLES, board, handler, load64, long_mode, selector, set_gate, store};
use crate::vcpu::Vcpu;

/// A CPU about to run `program`, with blocks of at most `block` instructions.
pub(super) fn cpu_with(program: &[u8], block: usize) -> Vcpu {
    let mut cpu = long_mode();
    cpu.cache = new_cache(Limits { block, cache: 4096 });
    cpu.mode_changed();
    store(&mut cpu, CODE, program);
    cpu
}

fn assemble(write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Vec<u8> {
    let mut assembler = CodeAssembler::new(64).unwrap();
    write(&mut assembler).unwrap();
    assembler.assemble(CODE).unwrap()
}

/// Loops, calls, memory, strings, divisions that fault now and then, a page-crossing tail, and code that changes itself.
pub(super) fn busy_program() -> Vec<u8> {
    assemble(|a| {
        let (mut again, mut routine, mut patched, mut skip) = (a.create_label(), a.create_label(), a.create_label(), a.create_label());
        a.mov(rbx, DATA)?;
        a.mov(rcx, 40u64)?;
        a.set_label(&mut again)?;
        a.add(rax, rcx)?;
        a.call(routine)?;
        a.adc(qword_ptr(rbx + rcx * 8), rax)?;
        a.test(rcx, 3)?;
        a.jne(skip)?;
        a.mov(rdx, rcx)?;
        a.mov(rsi, rbx)?;
        a.lea(rdi, qword_ptr(rbx + 0xff3))?;
        a.mov(rcx, 77u64)?;
        a.rep().movsb()?;
        a.mov(rcx, rdx)?;
        a.lea(rsi, qword_ptr(patched))?;
        a.inc(byte_ptr(rsi + 2))?;
        a.set_label(&mut skip)?;
        a.dec(rcx)?;
        a.jne(again)?;
        a.hlt()?;
        a.set_label(&mut routine)?;
        a.push(rax)?;
        a.set_label(&mut patched)?;
        a.sub(eax, 17)?;
        a.shl(rax, 3)?;
        a.xor(rax, qword_ptr(rbx))?;
        a.pop(rdx)?;
        a.ret()
    })
}

/// Runs until HLT, stopping at each of `stops` on the way; `at_stop` may do what must not show.
fn run_with_stops(cpu: &mut Vcpu, stops: &[u64], mut at_stop: impl FnMut(&mut Vcpu)) {
    let mut due = 0;
    for stop in stops {
        due += stop;
        match cpu.run(due) {
            VcpuExit::Due => at_stop(cpu),
            VcpuExit::Halted => return,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(cpu.run(u64::MAX / 2), VcpuExit::Halted);
}

pub(super) fn outcome(cpu: &Vcpu) -> (CpuState, u64, u64, Vec<u8>) {
    (CpuState::of(cpu), cpu.count(), cpu.retired(), cpu.mmu.ram().bytes().to_vec())
}

pub(super) fn reference() -> (CpuState, u64, u64, Vec<u8>) {
    let mut cpu = cpu_with(&busy_program(), 64);
    run_with_stops(&mut cpu, &[], |_| {});
    let outcome = outcome(&cpu);
    assert!(outcome.1 > 1000 && outcome.2 < outcome.1, "the program loops, and REP counts its iterations");
    outcome
}

#[test]
fn blocks_of_any_length_give_the_same_guest() {
    let wanted = reference();
    for block in [1, 2, 3, 7, 64] {
        let mut cpu = cpu_with(&busy_program(), block);
        run_with_stops(&mut cpu, &[], |_| {});
        assert!(outcome(&cpu) == wanted, "blocks of {block}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn interruptions_and_dropped_caches_do_not_show(
        stops in prop::collection::vec(1u64..90, 0..60),
        block in 1usize..=64,
        drops in any::<u64>(),
    ) {
        let mut cpu = cpu_with(&busy_program(), block);
        let mut number = 0;
        run_with_stops(&mut cpu, &stops, |cpu| {
            if drops >> (number % 64) & 1 != 0 {
                cpu.drop_caches();
            }
            number += 1;
        });
        prop_assert!(outcome(&cpu) == reference());
    }
}

#[test]
fn a_run_stops_at_the_very_count_that_was_asked_for() {
    let mut cpu = cpu_with(&busy_program(), 64);
    for due in 1..400 {
        assert_eq!(cpu.run(due), VcpuExit::Due);
        let inside_repeat = cpu.time.not_retired();
        assert!(cpu.count() == due || cpu.count() == due + 1 && inside_repeat > 0, "asked for {due}, stopped at {}", cpu.count());
    }
}

/// Where no RAM answers, a fetch reads ones: not an instruction.
#[test]
fn code_outside_ram_is_an_invalid_opcode() {
    let outside = 0x40_0000_u64;
    for budget in [1000, 10] {
        let mut cpu = cpu_with(&assemble(|a| a.jmp(rbx)), 64);
        // Behind the last page of RAM.
        store(&mut cpu, 0x3010, &(0x9000_u64 | 3).to_le_bytes());
        store(&mut cpu, 0x9000, &(outside | 3).to_le_bytes());
        cpu.flush_translations();
        cpu.regs[slot::RBX] = outside;
        assert_eq!(cpu.run(budget), VcpuExit::Halted);
        assert_eq!((cpu.rip, load64(&cpu, STACK - 40)), (handler(6) + 1, outside));
        cpu.drop_caches();
    }
}

/// Neither instruction ever retires: the handler of #UD is no instruction either, and gets a fresh stack each time.
#[test]
fn a_handler_that_faults_for_ever_ends_with_the_budget() {
    for (block, gate) in [(1, 14), (64, 14), (64, 15)] {
        let mut cpu = cpu_with(&[0x0f, 0x0b], block);
        set_gate(&mut cpu, 6, handler(6), selector::CODE64, gate, 0, 1);
        store(&mut cpu, handler(6), &[0x0f, 0x0b]);
        assert_eq!(cpu.run(10_000), VcpuExit::Due);
        assert_eq!((cpu.count(), cpu.retired(), cpu.rip), (10_000, 0, handler(6)));
    }
}

/// Through a trap gate interrupts stay on: whatever keeps its line raised is delivered again and again, before any instruction.
#[test]
fn interrupts_without_end_end_with_the_budget() {
    let mut cpu = cpu_with(&[0xfb, 0x90, 0x90], 64);
    set_gate(&mut cpu, 0x30, handler(0x30), selector::CODE64, 15, 0, 1);
    board(&mut cpu).pending = vec![0x30; 20_000];
    assert_eq!(cpu.run(10_000), VcpuExit::Due);
    assert_eq!((cpu.count(), cpu.retired(), cpu.rip), (10_000, 2, handler(0x30)));
}

#[test]
fn an_instruction_may_rewrite_the_next_one() {
    let program = assemble(|a| {
        let mut target = a.create_label();
        a.lea(rbx, qword_ptr(target))?;
        a.mov(byte_ptr(rbx + 1), 42)?;
        a.set_label(&mut target)?;
        a.mov(al, 1)?;
        a.hlt()
    });
    // With a budget of a block or more, and of less: those are not cached.
    for budget in [100, 10] {
        let mut cpu = cpu_with(&program, 64);
        assert_eq!(cpu.run(budget), VcpuExit::Halted);
        assert_eq!(cpu.regs[0] & 0xff, 42);
    }
}

#[test]
fn stores_to_code_are_noticed_through_every_address_of_its_page() {
    let (page, first, second) = (DATA + 0x1000, DATA + 0x2000, DATA + 0x3000);
    for through in [page, first, second] {
        let program = assemble(|a| {
            a.xor(eax, eax)?;
            a.mov(rsi, page)?;
            a.mov(rbx, first)?;
            a.mov(rcx, second)?;
            a.mov(rdi, through)?;
            // MOV AL, 1; RET: all addresses are known for stores before there is code.
            a.mov(byte_ptr(rsi), 0xb0)?;
            a.mov(byte_ptr(rbx + 1), 1)?;
            a.mov(byte_ptr(rcx + 2), 0xc3)?;
            a.call(rsi)?;
            a.mov(r8d, eax)?;
            a.mov(byte_ptr(rdi + 1), 2)?;
            a.call(rsi)?;
            a.hlt()
        });
        let mut cpu = cpu_with(&program, 64);
        for address in [first, second] {
            store(&mut cpu, TABLES + address / 4096 * 8, &(page | 3).to_le_bytes());
        }
        cpu.flush_translations();
        assert_eq!(cpu.run(1000), VcpuExit::Halted);
        assert_eq!([cpu.regs[8], cpu.regs[0]], [1, 2], "through {through:#x}");
    }
}

#[test]
fn an_instruction_across_two_pages_follows_changes_of_either() {
    let mut cpu = cpu_with(&[], 64);
    // MOV EAX, imm32 with its last byte on the second page; RET.
    let start = CODE + 0x1000 - 4;
    store(&mut cpu, start, &[0xb8, 1, 0, 0, 0x11, 0xc3]);
    let program = assemble(|a| {
        a.mov(rbx, start)?;
        a.call(rbx)?;
        a.mov(r8d, eax)?;
        a.mov(byte_ptr(CODE + 0x1000), 0x22)?;
        a.call(rbx)?;
        a.mov(r9d, eax)?;
        a.mov(byte_ptr(start + 1), 2)?;
        a.call(rbx)?;
        a.hlt()
    });
    store(&mut cpu, CODE, &program);
    assert_eq!(cpu.run(1000), VcpuExit::Halted);
    assert_eq!([cpu.regs[8], cpu.regs[9], cpu.regs[0]], [0x1100_0001, 0x2200_0001, 0x2200_0002]);
}

#[test]
fn an_interrupt_comes_at_the_boundary_after_sti_s_shadow() {
    let program = assemble(|a| {
        a.sti()?;
        a.inc(rax)?;
        a.inc(rax)?;
        a.hlt()
    });
    for block in [1, 64] {
        let mut cpu = cpu_with(&program, block);
        board(&mut cpu).pending.push(0x30);
        assert_eq!(cpu.run(100), VcpuExit::Halted);
        assert_eq!(cpu.regs[0], 1, "one instruction after STI");
        assert_eq!(cpu.rip, handler(0x30) + 1);
        assert_eq!(load64(&cpu, STACK - 40), CODE + 1 + 3, "RIP pushed");
    }
}

#[test]
fn a_full_cache_is_emptied_and_filled_again() {
    // More blocks than fit, each of them run twice.
    let mut cpu = long_mode();
    cpu.cache = new_cache(Limits { block: 64, cache: 256 });
    cpu.mode_changed();
    let program = assemble(|a| {
        for _ in 0..2 {
            for _ in 0..400 {
                let mut next = a.create_label();
                a.inc(rax)?;
                a.jmp(next)?;
                a.set_label(&mut next)?;
            }
        }
        a.hlt()
    });
    store(&mut cpu, CODE, &program);
    assert_eq!(cpu.run(10_000), VcpuExit::Halted);
    assert_eq!(cpu.regs[0], 800);
}

#[test]
fn a_billion_ops_run_on_a_small_stack() {
    let run = || {
        let program = assemble(|a| {
            let (mut again, mut routine) = (a.create_label(), a.create_label());
            a.mov(rbx, DATA)?;
            a.set_label(&mut again)?;
            a.call(routine)?;
            a.lea(rdx, qword_ptr(rax + rcx * 4 + 5))?;
            a.cmp(rdx, qword_ptr(rbx))?;
            a.cmovb(rsi, rdx)?;
            a.setne(dl)?;
            a.jmp(again)?;
            a.set_label(&mut routine)?;
            a.add(qword_ptr(rbx), rax)?;
            a.imul_2(rax, rcx)?;
            a.movdqu(xmm0, xmmword_ptr(rbx))?;
            a.paddq(xmm0, xmm1)?;
            a.rol(rcx, 7)?;
            a.xchg(qword_ptr(rbx + 8), rcx)?;
            a.bt(rax, 5)?;
            a.adc(rcx, 1)?;
            a.ret()
        });
        let mut cpu = cpu_with(&program, 64);
        assert_eq!(cpu.run(1_000_000_000), VcpuExit::Due);
        cpu.retired()
    };
    // Were a single one of these ops to return into the one before it instead of jumping on, this would overflow.
    let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(run).unwrap();
    assert_eq!(thread.join().unwrap(), 1_000_000_000);
}

/// The busy program's code changes: so each of its forms is a page of its own.
#[test]
fn a_profile_counts_what_runs_and_does_not_show() {
    let [plain, profiled] = [false, true].map(|profiled| {
        let mut cpu = cpu_with(&busy_program(), 64);
        cpu.cache.profile = profiled.then(Box::default);
        run_with_stops(&mut cpu, &[3, 200, 77], |_| {});
        cpu
    });
    assert!(outcome(&plain) == outcome(&profiled));
    assert!(profiled.cache.profile.unwrap().counts().pages.len() > 2);

    // mov ecx, 1000; dec ecx; jne to that; hlt.
    let mut cpu = cpu_with(&[0xb9, 0xe8, 3, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xf4], 64);
    cpu.cache.profile = Some(Box::default());
    run_with_stops(&mut cpu, &[], |_| {});
    let Counts { pages, edges } = cpu.cache.profile.unwrap().counts();
    let edges = edges.iter().map(|edge| (u64::from(edge.from.1) - CODE % 4096, u64::from(edge.to.1) - CODE % 4096, edge.count));
    assert_eq!(edges.collect::<Vec<_>>(), [(0, 5, 1), (5, 5, 998), (5, 9, 1)]);
    let counted = pages.iter().map(|page| page.blocks.iter().map(|&(offset, count)| (u64::from(offset) - CODE % 4096, count)));
    assert_eq!(counted.map(Iterator::collect).collect::<Vec<Vec<_>>>(), [[(0, 1), (5, 999), (9, 1)]]);
}

/// The machine stops twice in the loop, whose rest up to there is not run by blocks that are kept.
#[test]
fn no_edge_leads_over_a_stop() {
    // As above.
    let mut cpu = cpu_with(&[0xb9, 0xe8, 3, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xf4], 64);
    cpu.cache.profile = Some(Box::default());
    run_with_stops(&mut cpu, &[701, 600], |_| {});
    let Counts { pages, edges } = cpu.cache.profile.unwrap().counts();
    let head = (CODE % 4096) as u16 + 5;
    let led_there: u64 = edges.iter().filter(|edge| edge.to.1 == head).map(|edge| edge.count).sum();
    let entered = pages[0].blocks.iter().find(|(offset, _)| *offset == head).unwrap().1;
    assert_eq!((entered < 999, entered - led_there), (true, 2));
}
