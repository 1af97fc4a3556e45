//! A page of guest code to basic blocks.

use std::collections::BTreeSet;

use emu::decode::{Block, Form, Mode, Op, Opcode, decode_block};
use emu::exec::form;
use iced_x86::{Code, Decoder, Instruction, OpKind};

/// Bytes of a page.
pub const PAGE: usize = 4096;
/// Most instructions in a block: the budget that the dispatcher vouches for when it enters one.
const LIMIT: usize = emu::cache::MAX_BLOCK;

/// One instruction.
#[derive(Clone, Copy)]
pub struct Ins {
    /// As the interpreter runs it: its offset and retire index count from the start of its block.
    pub op: Op,
    /// As the decoder has it, decoded at its offset in the page.
    pub decoded: Instruction,
}

/// Where a branch leads, in bytes from the start of the page.
pub type Target = i64;

/// How a block ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Goes on with the next instruction.
    Next(Target),
    /// The last instruction is a direct jump.
    Jump(Target),
    /// The last instruction is a conditional jump.
    Branch {
        /// Its target.
        taken: Target,
        /// The instruction behind it.
        next: Target,
    },
    /// The last instruction is a direct call.
    Call {
        /// Its target.
        target: Target,
        /// Where it returns to.
        back: Target,
    },
    /// The last instruction is an indirect jump.
    JumpIndirect,
    /// The last instruction is an indirect call.
    CallIndirect {
        /// Where it returns to.
        back: Target,
    },
    /// The last instruction is a return.
    Return,
    /// The instruction at `at` is the interpreter's; it is none of the block's.
    Interpreted {
        /// Where it is.
        at: Target,
        /// Where it usually goes on.
        next: Target,
    },
}

/// A basic block.
pub struct CodeBlock {
    /// Offset of its first instruction in the page.
    pub offset: u16,
    /// Its instructions, with the branch at its end.
    pub instructions: Vec<Ins>,
    /// How it ends.
    pub end: End,
    /// How often it was entered, as far as that is known.
    pub entered: u64,
}

impl CodeBlock {
    /// Offset of the byte behind its last instruction.
    pub fn limit(&self) -> usize {
        let bytes = self.instructions.last().map_or(0, |last| usize::from(last.op.offset) + usize::from(last.op.length));
        usize::from(self.offset) + bytes
    }
}

struct Ops(Vec<Op>);

impl Block for Ops {
    fn form(code: Opcode) -> Option<Form> {
        form(code)
    }
    fn push(&mut self, op: Op) {
        self.0.push(op);
    }
}

/// The blocks of a page that start at `leaders`. A block ends where another starts. Leaders at which there is no whole instruction have none.
pub fn blocks(page: &[u8; PAGE], leaders: &BTreeSet<u16>) -> Vec<CodeBlock> {
    leaders.iter().filter_map(|&leader| block(page, leader, leaders)).collect()
}

fn block(page: &[u8; PAGE], leader: u16, leaders: &BTreeSet<u16>) -> Option<CodeBlock> {
    let mut ops = Ops(Vec::new());
    let start = usize::from(leader);
    if start >= PAGE || !decode_block(&page[start..], Mode::TRANSLATED, leader.into(), LIMIT, &mut ops) {
        return None;
    }
    let mut instructions = Vec::new();
    let mut end = None;
    for op in ops.0 {
        let at = start + usize::from(op.offset);
        let next = (at + usize::from(op.length)) as Target;
        if op.code == Opcode::FALL_THROUGH || at != start && leaders.contains(&(at as u16)) {
            end = Some(End::Next(at as Target));
            break;
        }
        let mut decoder = Decoder::with_ip(64, &page[at..], at as u64, emu::decode::OPTIONS);
        let decoded = decoder.decode();
        let ins = Ins { op, decoded };
        match form(op.code) {
            Some(Form::Inside) => instructions.push(ins),
            Some(Form::Last) => {
                let last = last_of(&decoded, next, at as Target);
                if !matches!(last, End::Interpreted { .. }) {
                    instructions.push(ins);
                }
                end = Some(last);
                break;
            }
            None => {
                end = Some(End::Interpreted { at: at as Target, next });
                break;
            }
        }
    }
    Some(CodeBlock { offset: leader, instructions, end: end?, entered: 0 })
}

fn last_of(decoded: &Instruction, next: Target, at: Target) -> End {
    let target = decoded.near_branch64() as Target;
    let direct = decoded.op_count() == 1 && decoded.op0_kind() == OpKind::NearBranch64;
    match decoded.code() {
        Code::Jmp_rel8_64 | Code::Jmp_rel32_64 => End::Jump(target),
        Code::Call_rel32_64 => End::Call { target, back: next },
        Code::Jmp_rm64 => End::JumpIndirect,
        Code::Call_rm64 => End::CallIndirect { back: next },
        Code::Retnq => End::Return,
        code if direct && code.is_jcc_short_or_near() => End::Branch { taken: target, next },
        _ => End::Interpreted { at, next },
    }
}
