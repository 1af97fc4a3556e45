//! Every handler ends in a jump: when the next op runs, nothing of the last one is left on the host's stack.

use std::cell::Cell;

use iced_x86::Code;

use super::dispatch::{Done, Handler, go, leave};
use super::enter;
use super::lookup::{form, fused_handler, handler, implemented};
use crate::cache::{Arm, Block, BlockKey, Slot};
use crate::cpu::{CodeSize, Cr4, slot};
use crate::decode::{AddressMode, Form, Mode, Op, Opcode};
use crate::testing::{CODE, DATA, STACK, long_mode, store64};
use crate::vcpu::{ExitReason, Vcpu};

thread_local! {
    static DEPTH: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Stands where the next op would, and notes how deep the stack is.
#[inline(never)]
unsafe fn probe(cpu: &mut Vcpu, _: *const Slot) -> Done {
    let marker = 0u8;
    DEPTH.set(Some(&raw const marker as usize));
    leave(cpu, ExitReason::Sync)
}

/// A way to form the op's address: for each, a table may hold another handler.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Address {
    Based,
    Indexed,
    General,
}

fn op(code: Opcode, address: Address) -> Op {
    Op {
        code,
        a: slot::RAX,
        b: slot::RCX,
        base: slot::RBX,
        index: if address == Address::Based { slot::ZERO } else { 8 },
        scale: if address == Address::General { AddressMode::BITS32 } else { 0 },
        segment: slot::ZERO,
        displacement: 0,
        offset: 0,
        retired: 0,
        length: 4,
        immediate: 1,
    }
}

/// Where branches lead.
const TARGET: u64 = CODE + 0x108;

struct Bench {
    cpu: Vcpu,
    /// A cached block that is nothing but the probe.
    target: Block,
}

impl Bench {
    fn new() -> Self {
        let mut cpu = long_mode();
        let probe_op = op(Opcode::STALE, Address::Based);
        let key = BlockKey { address: TARGET, mode: Mode::new(CodeSize::Bits64, false, 0, Cr4::OSFXSR) };
        cpu.cache.begin();
        cpu.cache.push(Slot::with(probe, Arm, probe_op));
        // SAFETY: the probe leaves.
        let target = unsafe { cpu.cache.keep(key, None) };
        for address in [TARGET, TARGET & 0xffff, CODE, 4, CODE + 4] {
            cpu.cache.remember(address, address, &target, true);
        }
        Self { cpu, target }
    }

    /// State in which hardly any instruction faults: small numbers, pointers to memory, a branch target in memory.
    fn prepare(&mut self, cold: bool) {
        let cpu = &mut self.cpu;
        cpu.regs.set_general([3; 16]);
        cpu.regs[slot::RBX] = DATA;
        cpu.regs[slot::RSI] = DATA;
        cpu.regs[slot::RDI] = DATA;
        cpu.regs[slot::RDX] = 0;
        cpu.regs[8] = 0;
        cpu.regs[slot::RSP] = STACK - 0x400;
        cpu.regs[slot::RBP] = STACK - 0x300;
        cpu.regs[slot::BLOCK] = CODE;
        store64(cpu, DATA, TARGET);
        store64(cpu, DATA + 8, 0);
        store64(cpu, STACK - 0x400, TARGET);
        cpu.set_rflags(2);
        cpu.fpu = crate::cpu::Fpu::default();
        cpu.time.leave_op();
        cpu.time.set_due(cpu.count() + 1000);
        cpu.attention = false;
        if cold {
            cpu.mmu.flush();
        }
    }

    /// Depth of the stack in the op behind `run`, which stands in front of `ops`; `None` when the op did not go on.
    fn depth(&mut self, run: Handler, ops: &[Op]) -> Option<usize> {
        let mut slots: Vec<Slot> = ops.iter().map(|&op| Slot::new(op)).collect();
        slots[0] = Slot::with(run, Arm, ops[0]);
        slots.push(Slot::with(probe, Arm, op(Opcode::STALE, Address::Based)));
        DEPTH.set(None);
        // SAFETY: the slots end in an op that leaves, and links lead to a cached block that does.
        unsafe { enter(&mut self.cpu, slots.as_ptr()) };
        DEPTH.get()
    }

    /// Points a branch at the probe, whichever way it goes.
    fn aim(&self, op: &mut Op) {
        op.set_target(TARGET - CODE);
        op.set_link_taken(self.target.start);
        op.set_link_next(self.target.start);
        op.set_leaves_page(false, false);
    }
}

/// What never goes on to another op from the prepared state: it always faults, or wants other values than memory holds; and branches of
/// 32-bit code whose targets are cut to 16 bits, where no block is.
fn stays(code: Code) -> bool {
    let name = format!("{code:?}");
    let cut_target = name.ends_with("rm16") && (name.starts_with("Jmp") || name.starts_with("Call")) || name.starts_with("Retnw");
    let faults = ["Ud", "Bound", "Rdpmc", "Ldmxcsr", "Mov_r32_cr", "Mov_r64_cr"].iter().any(|prefix| name.starts_with(prefix));
    cut_target || faults
}

#[test]
fn no_op_leaves_anything_on_the_stack() {
    let mut bench = Bench::new();
    let baseline = bench.depth(probe, &[op(Opcode::STALE, Address::Based)]).unwrap();
    let (mut grew, mut stopped, mut tried) = (Vec::new(), Vec::new(), 0);
    for (code, memory) in implemented() {
        let ways: &[Address] = if memory { &[Address::Based, Address::Indexed, Address::General] } else { &[Address::Based] };
        for &address in ways {
            for cold in [true, false, false] {
                let mut op = op(Opcode::of(code, memory), address);
                let direct = op.code.is_direct_branch();
                let last = form(op.code) != Some(Form::Inside);
                let branch = direct || last && branches_indirectly(code);
                if last && !branch {
                    continue;
                }
                if direct {
                    bench.aim(&mut op);
                } else if branch {
                    op.a = slot::RSI;
                    op.immediate = 0;
                }
                bench.prepare(cold);
                if branch && !direct {
                    bench.cpu.regs[slot::RSI] = TARGET;
                }
                tried += 1;
                match bench.depth(handler(&op), &[op]) {
                    Some(depth) if depth == baseline => {}
                    Some(depth) => {
                        grew.push(format!("{code:?} memory={memory} {address:?} cold={cold}: {} bytes", baseline.wrapping_sub(depth)))
                    }
                    None if stays(code) => {}
                    None => stopped.push(format!("{code:?} memory={memory} {address:?} cold={cold}")),
                }
            }
        }
    }
    assert!(tried > 5000, "only {tried} handlers were tried");
    assert!(grew.is_empty(), "{} of {tried} grow the stack: {:#?}", grew.len(), &grew[..grew.len().min(60)]);
    assert!(stopped.is_empty(), "{} did not go on: {:#?}", stopped.len(), &stopped[..stopped.len().min(60)]);
}

fn branches_indirectly(code: Code) -> bool {
    code.is_jmp_near_indirect() || code.is_call_near_indirect() || format!("{code:?}").starts_with("Retn")
}

#[test]
fn no_fused_pair_leaves_anything_on_the_stack() {
    let mut bench = Bench::new();
    let baseline = bench.depth(probe, &[op(Opcode::STALE, Address::Based)]).unwrap();
    let jumps: Vec<Code> = Code::values().filter(|code| format!("{code:?}").ends_with("_rel8_64") && code.is_jcc_short()).collect();
    let mut tried = 0;
    for (code, memory) in implemented() {
        for address in [Address::Indexed, Address::General] {
            for &jump in &jumps {
                let first = op(Opcode::of(code, memory), address);
                let mut second = op(Opcode::of(jump, false), Address::Based);
                bench.aim(&mut second);
                let Some(run) = fused_handler(&first, &second) else { continue };
                for cold in [true, false] {
                    bench.prepare(cold);
                    assert_eq!(bench.depth(run, &[first, second]), Some(baseline), "{code:?} and {jump:?}, cold={cold}");
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 1000, "only {tried} pairs were tried");
}

#[test]
fn the_probe_notices_a_frame_that_is_left() {
    #[inline(never)]
    unsafe fn calls(cpu: &mut Vcpu, slot: *const Slot) -> Done {
        let mut kept = [0u8; 64];
        std::hint::black_box(&mut kept);
        // SAFETY: the test's slots have a next one.
        let done = unsafe { go(cpu, slot.add(1)) };
        std::hint::black_box(&mut kept);
        done
    }
    let mut bench = Bench::new();
    let nop = op(Opcode::STALE, Address::Based);
    let baseline = bench.depth(probe, &[nop]).unwrap();
    assert!(bench.depth(calls, &[nop]).unwrap() + 64 <= baseline);
}
