//! Structured control flow: Ramsey, Beyond Relooper.

use iced_x86::Code;
use wasm_encoder::BlockType;

use super::memory::Base;
use super::registers::Gpr;
use super::{Emit, Facts, Frame, local};
use crate::code::{End, Ins, Target};
use crate::graph::Node;

impl Emit<'_> {
    /// A node with all that it dominates.
    pub fn tree(&mut self, node: Node, facts: &Facts) {
        let order = &self.graph.order;
        let mut merges: Vec<Node> =
            order.nodes.iter().copied().filter(|&child| child != node && order.dominator[child] == node && self.is_merge(child)).collect();
        // Those that come last in the order stand furthest outside.
        merges.reverse();
        let is_head = self.is_head(node);
        if is_head {
            self.code().loop_(BlockType::Empty);
            self.frames.push(Frame::Loop(node));
        }
        self.within(node, &merges, facts);
        if is_head {
            self.code().end();
            self.frames.pop();
        }
    }

    fn within(&mut self, node: Node, merges: &[Node], facts: &Facts) {
        match merges {
            [] => self.node(node, facts),
            [last, others @ ..] => {
                self.code().block(BlockType::Empty);
                self.frames.push(Frame::Behind(*last));
                self.within(node, others, facts);
                self.code().end();
                self.frames.pop();
                self.tree(*last, facts);
            }
        }
    }

    fn is_head(&self, node: Node) -> bool {
        let graph = self.graph;
        self.before(node).any(|from| graph.order.leads_back(from, node))
    }

    /// Whether a node is reached by a branch to what follows a block: by more than one way forward, or by a choice.
    fn is_merge(&self, node: Node) -> bool {
        let graph = self.graph;
        let forward: Vec<Node> = self.before(node).filter(|&from| !graph.order.leads_back(from, node)).collect();
        forward.len() > 1 || forward.iter().any(|&from| from >= graph.first_choice)
    }

    fn before(&self, node: Node) -> impl Iterator<Item = Node> {
        let graph = self.graph;
        graph.order.nodes.iter().flat_map(move |&from| graph.next[from].iter().filter(move |&&to| to == node).map(move |_| from))
    }

    fn node(&mut self, node: Node, facts: &Facts) {
        if node >= self.graph.first_choice {
            self.choice(node, facts);
            return;
        }
        let known = facts.known[node];
        (self.flags, self.dirty) = (known.flags, known.dirty);
        self.block(node);
        self.end(node, facts);
    }

    /// Goes where the wanted entry is. At the root, with the registers that are wanted there.
    fn choice(&mut self, node: Node, facts: &Facts) {
        let graph = self.graph;
        let choice = &graph.choices[node - graph.first_choice];
        if node == graph.root() {
            return self.enter_by(node, &choice.ways, facts);
        }
        let ways = |entry: usize| choice.ways.iter().find(|&&(number, _)| number == entry).map(|&(_, to)| to).or(choice.otherwise);
        let other = choice.otherwise.or(choice.ways.first().map(|&(_, to)| to));
        // Every way is a merge: a branch to what follows a block, or back to a loop's head.
        let depths: Vec<u32> = (0..=graph.entries.len()).filter_map(|entry| ways(entry).or(other)).map(|to| self.way(node, to)).collect();
        let depth = other.map_or(0, |to| self.way(node, to));
        self.code().local_get(local::ENTRY).br_table(depths, depth);
    }

    /// Goes on at an entry, by its number, with the registers that are wanted there. Each has a way, the first by number 1.
    fn enter_by(&mut self, root: Node, ways: &[(usize, Node)], facts: &Facts) {
        let count = ways.len() as u32;
        for _ in 0..=count {
            self.code().block(BlockType::Empty);
            self.frames.push(Frame::Other);
        }
        // The innermost is left for the first; there is no entry 0.
        let depths: Vec<u32> = std::iter::once(count).chain(0..count).collect();
        self.code().local_get(local::ENTRY).br_table(depths, count);
        for &(number, to) in ways {
            self.code().end();
            self.frames.pop();
            self.load_registers(facts.wanted[self.graph.entries[number - 1]]);
            let depth = self.way(root, to);
            self.code().br(depth);
        }
        self.code().end().unreachable();
        self.frames.pop();
    }

    fn way(&self, from: Node, to: Node) -> u32 {
        if self.graph.order.leads_back(from, to) { self.depth(Frame::Loop(to)) } else { self.depth(Frame::Behind(to)) }
    }

    /// Goes on with a node.
    fn go(&mut self, from: Node, to: Node, facts: &Facts) {
        if self.graph.order.leads_back(from, to) || self.is_merge(to) {
            let depth = self.way(from, to);
            self.code().br(depth);
        } else {
            self.tree(to, facts);
        }
    }

    /// Goes on at an offset in the page, inside of the region or outside.
    fn go_to(&mut self, from: Node, target: Target, facts: &Facts) {
        if self.rehearsal.is_some() {
            return;
        }
        match self.by_offset.get(&target) {
            Some(&to) if !self.graph.cut.contains(&(from, to)) => self.go(from, self.graph.front[to], facts),
            _ => {
                self.code().local_get(local::PAGE).i64_const(target).i64_add().local_set(local::A);
                self.leave();
            }
        }
    }

    /// Leaves for the linear address in [`local::A`].
    fn leave(&mut self) {
        self.store_state(self.dirty);
        let go = self.region.helpers.go;
        self.code().local_get(local::CPU).local_get(local::A).call(go).return_();
    }

    /// Leaves for the code that has called this, if the guest comes back to it at [`local::A`].
    fn come_back(&mut self) {
        let back = self.region.globals.back();
        self.code().local_get(local::A).global_get(back).i64_eq().if_(BlockType::Empty);
        self.store_state(self.dirty);
        self.code().i32_const(0).return_().end();
    }

    /// Calls what is at the linear address in [`local::A`], and goes on at `back`, if that is a part of the region and the guest comes back to it.
    fn call(&mut self, from: Node, back: Target, facts: &Facts) {
        let graph = self.graph;
        let to = self.by_offset.get(&back).copied().filter(|&to| !graph.cut.contains(&(from, to)));
        let Some(to) = to.filter(|&to| graph.entry(to).is_some()) else {
            self.leave();
            return;
        };
        if self.rehearsal.is_some() {
            self.reads_anew = true;
            return;
        }
        self.store_state(self.dirty);
        let call = self.region.helpers.call;
        self.code()
            .local_get(local::CPU)
            .local_get(local::SLOT)
            .local_get(local::A)
            .local_get(local::PAGE)
            .i64_const(back)
            .i64_add()
            .call(call)
            .local_tee(local::PLACE)
            .if_(BlockType::Empty)
            .local_get(local::PLACE)
            .return_()
            .end();
        self.load_state();
        self.load_registers(facts.wanted[to]);
        self.go(from, graph.front[to], facts);
    }

    pub fn end(&mut self, node: Node, facts: &Facts) {
        let block = &self.region.blocks[node];
        self.settle();
        match block.end {
            End::Next(target) | End::Jump(target) => self.go_to(node, target, facts),
            End::Branch { taken, next } => {
                let code = block.instructions.last().map_or(Code::INVALID, |last| last.decoded.code());
                self.condition(code.condition_code() as u8 - 1);
                // What is known here holds on both ways.
                let (flags, dirty) = (self.flags, self.dirty);
                self.code().if_(BlockType::Empty);
                self.frames.push(Frame::Other);
                self.go_to(node, taken, facts);
                self.code().else_();
                (self.flags, self.dirty) = (flags, dirty);
                self.go_to(node, next, facts);
                self.code().end();
                self.frames.pop();
            }
            End::Call { target, back } => {
                self.push_return(back);
                if self.by_offset.contains_key(&target) {
                    self.go_to(node, target, facts);
                } else {
                    self.code().local_get(local::PAGE).i64_const(target).i64_add().local_set(local::A);
                    self.call(node, back, facts);
                }
            }
            End::CallIndirect { back } => {
                if let Some(last) = block.instructions.last() {
                    self.indirect_target(last);
                    self.push_return(back);
                    self.call(node, back, facts);
                }
            }
            End::JumpIndirect => {
                if let Some(last) = block.instructions.last() {
                    self.indirect_target(last);
                    self.leave();
                }
            }
            End::Return => {
                self.get_whole(emu::cpu::slot::RSP.into());
                self.code().local_set(local::ADDRESS);
                self.reach(64, false, Some(Base::STACK));
                self.load(64);
                self.code().local_set(local::A);
                self.check_canonical();
                self.get_whole(emu::cpu::slot::RSP.into());
                self.code().i64_const(8).i64_add();
                self.set_whole(emu::cpu::slot::RSP.into());
                self.come_back();
                self.leave();
            }
            End::Interpreted { at, .. } => {
                self.place = super::place(at as u32, 0);
                self.interpret();
            }
        }
    }

    /// Sets [`local::A`] to the target of an indirect branch.
    fn indirect_target(&mut self, ins: &Ins) {
        match Gpr::new(ins.decoded.op0_register()) {
            Some(gpr) => self.get(gpr),
            None => self.load_operand(&ins.op, 64),
        }
        self.code().local_set(local::A);
        self.check_canonical();
    }

    /// The interpreter raises the exception for a target in [`local::A`] that is not canonical.
    fn check_canonical(&mut self) {
        self.code().local_get(local::A).i64_const(16).i64_shl().i64_const(16).i64_shr_s().local_get(local::A).i64_ne();
        self.interpret_if();
    }

    fn push_return(&mut self, back: Target) {
        self.code().local_get(local::PAGE).i64_const(back).i64_add().local_set(local::B);
        self.push(local::B);
    }
}
