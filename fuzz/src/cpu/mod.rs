//! Any bytes as a program: decoded, lowered and run under a budget, in every mode. How it is cut into blocks, where it is interrupted, what is
//! dropped from caches, that the CPU is saved and restored on the way: nothing of that may show.

mod board;
mod world;

use crate::input::Input;
use crate::p9::driver::reencode;
use board::FuzzBoard;
use emu::bus::{Ram, VecBacking};
use emu::cache::Limits;
use emu::engine::{VcpuExit, new_cache};
use emu::machine::CpuState;
use emu::vcpu::{Clock, Vcpu};
use std::any::Any;
use world::World;

/// Counts that a program may run for.
const BUDGET: u64 = 1200;

/// What is done where a run is interrupted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pause {
    Nothing,
    DropCaches,
    SaveAndRestore,
}

/// What is left of a run. The end of the budget may be passed within a repeated instruction, so runs are compared where they are paused alike.
#[derive(PartialEq, Eq, Debug)]
struct Outcome {
    stop: VcpuExit,
    cpu: CpuState,
    count: u64,
    retired: u64,
    halts: u64,
    now: u64,
    log: u64,
}

/// A world and its program; the first bytes say where to pause.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let pauses: Vec<u64> = (0..input.u8() & 7).map(|_| u64::from(input.u8()) + 1).collect();
    let block = usize::from(input.u8() & 63) + 1;
    let world = World::new(&mut input);
    let (wanted, ram) = outcome(&world, 64, &[], Pause::Nothing);
    for (block, pauses, pause) in
        [(1, &[][..], Pause::Nothing), (block, &pauses[..], Pause::DropCaches), (64, &pauses[..], Pause::SaveAndRestore)]
    {
        let (found, found_ram) = outcome(&world, block, pauses, pause);
        assert_eq!(found, wanted, "blocks of {block}, {pause:?} after {pauses:?}");
        assert!(same_bytes(&found_ram, &ram), "memory: blocks of {block}, {pause:?} after {pauses:?}");
    }
}

fn same_bytes(first: &Ram, second: &Ram) -> bool {
    let pages = first.dirty_pages().iter().zip(second.dirty_pages()).enumerate();
    pages.filter(|(_, (a, b))| **a || **b).all(|(page, _)| {
        let range = page << 12..(page + 1) << 12;
        first.bytes()[range.clone()] == second.bytes()[range]
    })
}

fn outcome(world: &World, block: usize, pauses: &[u64], pause: Pause) -> (Outcome, Ram) {
    let limits = Limits { block, cache: 1024 };
    let mut cpu = world.cpu(limits);
    let mut due = 0;
    let mut stop = VcpuExit::Due;
    for length in pauses.iter().copied().chain([BUDGET]) {
        due = (due + length).min(BUDGET);
        stop = run_until(&mut cpu, due);
        if stop != VcpuExit::Due {
            break;
        }
        match pause {
            Pause::Nothing => {}
            Pause::DropCaches => cpu.drop_caches(),
            Pause::SaveAndRestore => cpu = restored(cpu, limits),
        }
    }
    let now = cpu.now();
    let log = board(&mut cpu).log;
    let (count, retired, halts) = (cpu.count(), cpu.retired(), cpu.time.halts());
    (Outcome { stop, cpu: CpuState::of(&cpu), count, retired, halts, now, log }, cpu.mmu.into_ram())
}

/// As a machine runs under the virtual clock: halted, it goes on at its next deadline.
fn run_until(cpu: &mut Vcpu, due: u64) -> VcpuExit {
    loop {
        let stop = cpu.run(due);
        match (stop, cpu.board().deadline()) {
            (VcpuExit::Halted, Some(deadline)) if cpu.rflags() & 0x200 != 0 => cpu.time.skip_to(deadline),
            _ => return stop,
        }
    }
}

fn board(cpu: &mut Vcpu) -> &mut FuzzBoard {
    let board: &mut dyn Any = cpu.board_mut();
    board.downcast_mut().unwrap()
}

/// Another CPU in the state of the first, as a snapshot makes one.
fn restored(mut cpu: Vcpu, limits: Limits) -> Vcpu {
    let state = reencode(&CpuState::of(&cpu));
    let mut ram = Ram::new(Box::new(VecBacking::new(cpu.mmu.ram().bytes().len()).unwrap()));
    for (page, _) in cpu.mmu.ram().dirty_pages().iter().enumerate().filter(|(_, dirty)| **dirty) {
        let start = page << 12;
        assert!(ram.store(start as u64, &cpu.mmu.ram().bytes()[start..start + 4096]));
    }
    let (now, board) = (cpu.now(), board(&mut cpu).clone());
    let mut again = Vcpu::new(ram, Box::new(board), new_cache(limits), Clock::Virtual);
    state.apply(&mut again);
    assert_eq!(CpuState::of(&again), state, "record, CPU, record");
    again.time.resume(cpu.count(), cpu.time.not_retired(), cpu.time.halts());
    again.time.set_tsc(now);
    again
}
