//! A region as a function of WebAssembly.
//!
//! Guest registers are locals. Those that the region uses are read when it is entered, those that it may have changed are written when it is left.
//! What the fast path of an access to memory does not handle leaves the region in front of the instruction, with the state as it is there: the
//! interpreter then runs it.

mod call;
mod condition;
mod control;
mod flags;
mod memory;
mod multiply;
mod ops;
mod registers;
mod shift;
mod vector;

use std::collections::{BTreeMap, BTreeSet};

use emu::decode::Op;
use wasm_encoder::{BlockType, Function, InstructionSink, MemArg, MemArgTarget, ValType};

use crate::code::{CodeBlock, End, Ins, Target};
use crate::graph::{Graph, Node, Shape, graph};
use crate::layout::{Globals, Helpers, Layout};
use flags::{Flags, Pending};
use memory::Reached;

pub use call::{PARAMETERS as CALL_PARAMETERS, call};

/// Locals of a region's function. The first two are its parameters.
mod local {
    /// The CPU.
    pub const CPU: u32 = 0;
    /// The slot that led here.
    pub const SLOT: u32 = 1;
    /// RAX, and the other registers behind it.
    pub const REGISTERS: u32 = 2;
    /// Linear address of the page.
    pub const PAGE: u32 = 18;
    /// What is left of the budget behind the running block.
    pub const BUDGET: u32 = 19;
    /// Result of the lazy flags.
    pub const RESULT: u32 = 20;
    /// Source of the lazy flags.
    pub const SOURCE: u32 = 21;
    /// Linear address of an access to memory.
    pub const ADDRESS: u32 = 22;
    /// For values.
    pub const A: u32 = 23;
    /// See [`A`].
    pub const B: u32 = 24;
    /// See [`A`].
    pub const C: u32 = 25;
    /// See [`A`].
    pub const D: u32 = 26;
    /// Operands of flags that are pending: see [`super::flags::Pending`].
    pub const FIRST: u32 = 27;
    /// See [`FIRST`].
    pub const SECOND: u32 = 28;
    /// Linear address of the page that was reached by each base: see [`super::memory::Base`].
    pub const REACHED: u32 = 29;
    /// Number of 64-bit locals behind the parameters.
    pub const WIDE: u32 = 27 + super::memory::BASES;
    /// Operation and width of the lazy flags.
    pub const OPERATION: u32 = 2 + WIDE;
    /// The TLB's current table.
    pub const TLB: u32 = OPERATION + 1;
    /// The entry that is wanted, 0 once it is reached.
    pub const ENTRY: u32 = OPERATION + 2;
    /// Where the interpreter goes on: the offset in the page, and above it what is to be given back of the budget.
    pub const PLACE: u32 = OPERATION + 3;
    /// An entry of the TLB.
    pub const TLB_ENTRY: u32 = OPERATION + 4;
    /// Address of an access in the machine's memory.
    pub const POINTER: u32 = OPERATION + 5;
    /// What makes an address of a linear one on the page that was reached by each base.
    pub const ADDEND: u32 = OPERATION + 6;
    /// Number of 32-bit locals behind those.
    pub const NARROW: u32 = 6 + super::memory::BASES;
}

/// What a region needs to be written.
pub struct Region<'a> {
    /// Its blocks.
    pub blocks: &'a [CodeBlock],
    /// Where the state is.
    pub layout: Layout,
    /// What is called.
    pub helpers: Helpers,
    /// What is shared with other regions.
    pub globals: Globals,
    /// Number of the first op that is run by its handler.
    pub first_op: u32,
}

/// A region's function.
pub struct Translated {
    /// The function's body, of type `(i32, i32) -> i32`.
    pub body: Function,
    /// Offsets of the blocks in the page that can be entered: the first by number 1, and so on.
    pub entries: Vec<u16>,
    /// Ops that are run by their handlers, in the order of their numbers.
    pub ops: Vec<Op>,
}

/// Writes a region.
pub fn translate(region: &Region<'_>) -> Translated {
    let blocks = region.blocks;
    let by_offset: BTreeMap<Target, Node> = blocks.iter().enumerate().map(|(node, block)| (block.offset.into(), node)).collect();
    let graph = graph(&shape(blocks, &by_offset));
    let facts = facts(region, &by_offset, &graph);
    let mut emit = Emit::new(region, &by_offset, &graph);
    emit.function(&facts);
    let entries = graph.entries.iter().map(|&node| blocks[node].offset).collect();
    Translated { body: emit.body, entries, ops: emit.ops }
}

fn shape(blocks: &[CodeBlock], by_offset: &BTreeMap<Target, Node>) -> Shape {
    let inside = |targets: &[Target]| targets.iter().filter_map(|target| by_offset.get(target).copied()).collect();
    let mut shape = Shape { next: Vec::new(), back: Vec::new(), entered: entered(blocks, by_offset) };
    for block in blocks {
        let (next, back) = match block.end {
            End::Next(target) | End::Jump(target) => (inside(&[target]), None),
            End::Branch { taken, next } => (inside(&[taken, next]), None),
            End::Call { target, back } if by_offset.contains_key(&target) => (inside(&[target]), Some(back)),
            End::Call { back, .. } | End::CallIndirect { back } => (inside(&[back]), Some(back)),
            End::JumpIndirect | End::Return => (Vec::new(), None),
            End::Interpreted { next, .. } => (Vec::new(), Some(next)),
        };
        shape.next.push(next);
        shape.back.push(back.and_then(|back| by_offset.get(&back).copied()));
    }
    shape
}

/// Of each block, whether it was entered more often than the blocks before it can have led to it: by an indirect jump, or by code that is no part of the region.
fn entered(blocks: &[CodeBlock], by_offset: &BTreeMap<Target, Node>) -> Vec<bool> {
    let node = |target: Target| by_offset.get(&target).copied();
    let mut ways = vec![0_u32; blocks.len()];
    let targets = |block: &CodeBlock| match block.end {
        End::Next(target) | End::Jump(target) | End::Call { target, .. } => [node(target), None],
        End::Branch { taken, next } => [node(taken), node(next)],
        _ => [None; 2],
    };
    blocks.iter().flat_map(targets).flatten().for_each(|to| ways[to] += 1);
    let mut most = vec![0_u64; blocks.len()];
    for block in blocks {
        let targets = targets(block);
        for (to, other) in [(targets[0], targets[1]), (targets[1], targets[0])] {
            // Whatever went the other way, if that is the only way there, did not come here.
            let elsewhere = other.filter(|&other| ways[other] == 1).map_or(0, |other| blocks[other].entered);
            if let Some(to) = to {
                most[to] = most[to].saturating_add(block.entered.saturating_sub(elsewhere));
            }
        }
    }
    blocks.iter().zip(most).map(|(block, most)| block.entered - most.min(block.entered) > block.entered / 16).collect()
}

/// What holds at the start of a block.
#[derive(Clone, Copy)]
struct Known {
    flags: Flags,
    /// Registers that may differ from what is in memory.
    dirty: u16,
}

/// What is known of a region before it is written.
struct Facts {
    /// For each block.
    known: Vec<Known>,
    /// For each block, registers that must hold what the guest's do: it reads them, or may write them back, or goes on with a block that does.
    wanted: Vec<u16>,
    /// Registers that are written back where the interpreter takes over, wherever that is.
    written_back: BTreeSet<u16>,
}

/// What a block does, whatever is known before it.
struct Effect {
    flags: Flags,
    /// Registers that it writes.
    written: u16,
    /// Registers that it reads before it has written them.
    wanted: u16,
    /// It is left by a call, behind which the state is read anew.
    reads_anew: bool,
    /// Registers that it has written where the interpreter may take over.
    written_back: BTreeSet<u16>,
}

/// Writes every block once for nothing, to see what it does.
fn facts(region: &Region<'_>, by_offset: &BTreeMap<Target, Node>, graph: &Graph) -> Facts {
    let mut facts = Facts { known: Vec::new(), wanted: Vec::new(), written_back: BTreeSet::new() };
    let mut effects = Vec::new();
    for node in 0..region.blocks.len() {
        let mut emit = Emit::new(region, by_offset, graph);
        emit.flags = Flags::Unchanged;
        emit.rehearsal = Some(BTreeSet::new());
        emit.block(node);
        emit.end(node, &facts);
        let (flags, written, wanted, reads_anew) = (emit.flags, emit.dirty, emit.wanted, emit.reads_anew);
        effects.push(Effect { flags, written, wanted, reads_anew, written_back: emit.rehearsal.unwrap_or_default() });
    }
    // Forward to a fixed point; what is not known yet agrees with everything.
    let mut known: Vec<Option<Known>> = vec![None; region.blocks.len()];
    for &entry in &graph.entries {
        known[entry] = Some(Known { flags: Flags::Unknown, dirty: 0 });
    }
    let block_of = |node: Node| graph.front.iter().position(|&front| front == node);
    let mut changed = true;
    while changed {
        changed = false;
        for &from in graph.order.nodes.iter().filter(|&&node| node < graph.first_choice) {
            let Some(before) = known[from] else { continue };
            let effect = &effects[from];
            let after = match effect.reads_anew {
                true => Known { flags: Flags::Unknown, dirty: 0 },
                false => Known { flags: effect.flags.after(before.flags), dirty: before.dirty | effect.written },
            };
            for to in graph.next[from].iter().filter_map(|&node| block_of(node)) {
                let merged =
                    known[to].map_or(after, |there| Known { flags: there.flags.or(after.flags), dirty: there.dirty | after.dirty });
                if known[to].is_none_or(|there| there.flags != merged.flags || there.dirty != merged.dirty) {
                    known[to] = Some(merged);
                    changed = true;
                }
            }
        }
    }
    facts.known = known.into_iter().map(|known| known.unwrap_or(Known { flags: Flags::Unknown, dirty: 0 })).collect();
    for (known, effect) in facts.known.iter().zip(&effects) {
        facts.written_back.extend(effect.written_back.iter().map(|written| known.dirty | written));
    }
    // Backward.
    facts.wanted = facts.known.iter().zip(&effects).map(|(known, effect)| known.dirty | effect.wanted).collect();
    changed = true;
    while changed {
        changed = false;
        for &from in graph.order.nodes.iter().rev().filter(|&&node| node < graph.first_choice && !effects[node].reads_anew) {
            let behind = graph.next[from].iter().filter_map(|&node| block_of(node)).fold(0, |all, to| all | facts.wanted[to]);
            let wanted = facts.wanted[from] | behind & !effects[from].written;
            changed |= wanted != facts.wanted[from];
            facts.wanted[from] = wanted;
        }
    }
    facts
}

/// What a branch in WebAssembly can lead to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// Where the interpreter takes over, with these registers written back.
    Interpret(u16),
    /// The head of a loop.
    Loop(Node),
    /// What follows a block.
    Behind(Node),
    /// Nothing of ours.
    Other,
}

struct Emit<'a> {
    region: &'a Region<'a>,
    by_offset: &'a BTreeMap<Target, Node>,
    graph: &'a Graph,
    body: Function,
    frames: Vec<Frame>,
    /// What the locals of the flags hold.
    flags: Flags,
    /// What is yet to be done to them.
    pending: Option<Pending>,
    /// Pages that this block has reached.
    reached: Reached,
    /// Registers that may differ from what is in memory.
    dirty: u16,
    /// Registers that this block reads before it has written them.
    wanted: u16,
    /// Registers that it has written.
    written: u16,
    /// The instruction that is being written, for when the interpreter must run it: see [`local::PLACE`].
    place: i32,
    /// Offset in the page of the block that is being written.
    block: u16,
    /// A block is written to see what it does, and nothing behind it: with which registers written the interpreter may take over.
    rehearsal: Option<BTreeSet<u16>>,
    /// A block was left by a call, behind which the state is read anew.
    reads_anew: bool,
    /// Instructions of the block that is being written.
    count: i64,
    /// Ops that are run by their handlers.
    ops: Vec<Op>,
}

impl<'a> Emit<'a> {
    fn new(region: &'a Region<'a>, by_offset: &'a BTreeMap<Target, Node>, graph: &'a Graph) -> Self {
        let body = Function::new([(local::WIDE, ValType::I64), (local::NARROW, ValType::I32)]);
        Self {
            region,
            by_offset,
            graph,
            body,
            frames: Vec::new(),
            flags: Flags::Unknown,
            pending: None,
            reached: Reached::default(),
            dirty: 0,
            wanted: 0,
            written: 0,
            place: 0,
            block: 0,
            rehearsal: None,
            reads_anew: false,
            count: 0,
            ops: Vec::new(),
        }
    }

    fn code(&mut self) -> InstructionSink<'_> {
        self.body.instructions()
    }

    /// The whole function.
    fn function(&mut self, facts: &Facts) {
        for &written in facts.written_back.iter().rev() {
            self.code().block(BlockType::Empty);
            self.frames.push(Frame::Interpret(written));
        }
        self.enter();
        self.tree(self.graph.root(), facts);
        self.code().unreachable();
        for &written in &facts.written_back {
            self.code().end();
            self.frames.pop();
            self.hand_over(written);
        }
        self.code().unreachable().end();
    }

    /// The interpreter takes over.
    fn hand_over(&mut self, written: u16) {
        self.code()
            .local_get(local::BUDGET)
            .local_get(local::PLACE)
            .i32_const(16)
            .i32_shr_u()
            .i64_extend_i32_u()
            .i64_add()
            .local_set(local::BUDGET);
        self.store_state(written);
        let interpret = self.region.helpers.interpret;
        self.code()
            .local_get(local::CPU)
            .local_get(local::PAGE)
            .local_get(local::PLACE)
            .i32_const(0xffff)
            .i32_and()
            .i64_extend_i32_u()
            .i64_add()
            .call(interpret)
            .return_();
    }

    /// Reads the state.
    fn enter(&mut self) {
        let layout = self.region.layout;
        let block = layout.registers + 8 * u32::from(emu::cpu::slot::BLOCK);
        self.code()
            .local_get(local::SLOT)
            .i32_load(at(layout.immediate, 2))
            .local_set(local::ENTRY)
            .local_get(local::CPU)
            .i64_load(at(block, 3))
            .i64_const(!0xfff)
            .i64_and()
            .local_set(local::PAGE);
        self.load_state();
    }

    /// Reads what others may have changed, but for registers: flags, the budget, the TLB's table.
    fn load_state(&mut self) {
        let layout = self.region.layout;
        self.code().local_get(local::CPU).i64_load(at(layout.budget, 3)).local_set(local::BUDGET);
        self.load_flags();
        self.load_tlb();
    }

    fn load_registers(&mut self, registers: u16) {
        let layout = self.region.layout;
        for register in (0..16).filter(|register| registers >> register & 1 != 0) {
            self.code().local_get(local::CPU).i64_load(at(layout.registers + 8 * register, 3)).local_set(local::REGISTERS + register);
        }
    }

    fn load_flags(&mut self) {
        let layout = self.region.layout;
        self.code()
            .local_get(local::CPU)
            .i64_load(at(layout.result, 3))
            .local_set(local::RESULT)
            .local_get(local::CPU)
            .i64_load(at(layout.source, 3))
            .local_set(local::SOURCE)
            .local_get(local::CPU)
            .i32_load16_u(at(layout.operation, 0))
            .local_set(local::OPERATION);
    }

    fn load_tlb(&mut self) {
        let layout = self.region.layout;
        self.code().local_get(local::CPU).i32_load(at(layout.tlb, 2)).local_set(local::TLB);
        self.forget_reached();
    }

    /// Writes registers, the flags and the budget.
    fn store_state(&mut self, registers: u16) {
        let layout = self.region.layout;
        for register in (0..16).filter(|register| registers >> register & 1 != 0) {
            self.code().local_get(local::CPU).local_get(local::REGISTERS + register).i64_store(at(layout.registers + 8 * register, 3));
        }
        self.code()
            .local_get(local::CPU)
            .local_get(local::RESULT)
            .i64_store(at(layout.result, 3))
            .local_get(local::CPU)
            .local_get(local::SOURCE)
            .i64_store(at(layout.source, 3))
            .local_get(local::CPU)
            .local_get(local::OPERATION)
            .i32_store16(at(layout.operation, 0))
            .local_get(local::CPU)
            .local_get(local::BUDGET)
            .i64_store(at(layout.budget, 3));
    }

    /// A block without its end: what is known behind it is in `flags` and `dirty`.
    fn block(&mut self, node: Node) {
        let block = &self.region.blocks[node];
        let count = block.instructions.len();
        (self.block, self.count) = (block.offset, count as i64);
        (self.wanted, self.written) = (0, 0);
        self.reached = Reached::default();
        if self.graph.entry(node).is_some() {
            self.code().i32_const(0).local_set(local::ENTRY);
        }
        self.code().local_get(local::BUDGET).i64_const(count as i64).i64_sub().local_tee(local::BUDGET).i64_const(0).i64_lt_s();
        self.place = place(block.offset.into(), count);
        self.interpret_if();
        for (index, ins) in block.instructions.iter().enumerate() {
            self.place = place(u32::from(block.offset) + u32::from(ins.op.offset), count - index);
            self.instruction(ins);
        }
    }

    /// Leaves for the interpreter if the number on the stack is not 0.
    fn interpret_if(&mut self) {
        let place = self.place;
        self.code().if_(BlockType::Empty).i32_const(place).local_set(local::PLACE);
        self.frames.push(Frame::Other);
        // Here alone: on the other way they are still pending.
        let (flags, pending) = (self.flags, self.pending);
        self.settle();
        (self.flags, self.pending) = (flags, pending);
        self.take_over();
        self.code().end();
        self.frames.pop();
    }

    /// Leaves for the interpreter.
    fn interpret(&mut self) {
        let place = self.place;
        self.code().i32_const(place).local_set(local::PLACE);
        self.take_over();
    }

    /// Leaves for where the interpreter takes over.
    fn take_over(&mut self) {
        match &mut self.rehearsal {
            Some(written_back) => {
                written_back.insert(self.dirty);
                self.code().unreachable();
            }
            None => {
                let depth = self.depth(Frame::Interpret(self.dirty));
                self.code().br(depth);
            }
        }
    }

    fn depth(&self, wanted: Frame) -> u32 {
        self.frames.iter().rev().position(|&frame| frame == wanted).unwrap_or_default() as u32
    }

    /// An op of the interpreter's, by its handler.
    fn run_op(&mut self, ins: &Ins) {
        self.settle();
        let layout = self.region.layout;
        let run = self.region.helpers.run;
        // Its retire index counts from the start of the block, at which the budget was greater.
        let whole = self.count;
        self.code().local_get(local::BUDGET).i64_const(whole).i64_add().local_set(local::BUDGET);
        self.store_state(self.dirty);
        let block = self.block;
        let number = self.region.first_op + self.ops.len() as u32;
        self.ops.push(ins.op);
        self.code()
            .local_get(local::CPU)
            .local_get(local::PAGE)
            .i64_const(block.into())
            .i64_add()
            .i64_store(at(layout.registers + 8 * u32::from(emu::cpu::slot::BLOCK), 3))
            .local_get(local::CPU)
            .i32_const(number as i32)
            .call(run)
            .local_tee(local::PLACE)
            .if_(BlockType::Empty)
            .local_get(local::PLACE)
            .return_()
            .end()
            .local_get(local::BUDGET)
            .i64_const(whole)
            .i64_sub()
            .local_set(local::BUDGET);
        // It may have changed what stands where calls come back to.
        let globals = self.region.globals;
        self.code().i64_const(Globals::NOWHERE).global_set(globals.back());
        self.code().global_get(globals.handled()).i32_const(1).i32_add().global_set(globals.handled());
        let changes = registers::changed_by(&ins.decoded);
        self.load_registers(changes);
        self.written |= changes;
        // They are written again where the region is left: only then is a register's local the same wherever it is left.
        self.dirty |= changes;
        self.load_tlb();
        if flags::may_change(&ins.decoded) {
            self.load_flags();
            self.flags = Flags::Unknown;
        }
    }
}

/// See [`local::PLACE`].
fn place(offset: u32, back: usize) -> i32 {
    (offset | (back as u32) << 16) as i32
}

fn at(offset: u32, align: u32) -> MemArg {
    MemArg { offset: offset.into(), align, target: MemArgTarget::Memory(0), ordering: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_others_cannot_have_led_to_so_often_is_entered() {
        // jz 4; inc eax; at 4: inc ecx; ret.
        let mut page = Box::new([0xf4; crate::PAGE]);
        page[..7].copy_from_slice(&[0x74, 2, 0xff, 0xc0, 0xff, 0xc1, 0xc3]);
        for (last, wanted) in [(100, false), (106, false), (107, true), (300, true)] {
            let page = crate::PageCode { bytes: page.clone(), blocks: BTreeMap::from([(0, 100), (2, 40), (4, last)]) };
            let blocks = crate::regions(&page).remove(0);
            let by_offset = blocks.iter().enumerate().map(|(node, block)| (block.offset.into(), node)).collect();
            assert_eq!(entered(&blocks, &by_offset), [true, false, wanted], "{last}");
        }
    }
}
