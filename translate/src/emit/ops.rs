//! What instructions do, for those that programs run most: each as its handler in `emu::exec` does it. All others are run by their handlers.

use emu::cpu::{FlagOp, slot};
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

use super::flags::Pending;
use super::memory::Base;
use super::registers::{Gpr, mask};
use super::{Emit, local};
use crate::code::Ins;

const CF: i64 = 1;
pub const CF_AND_OF: i64 = 1 | 1 << 11;
pub const RAX: u32 = slot::RAX as u32;
pub const RCX: u32 = slot::RCX as u32;
pub const RDX: u32 = slot::RDX as u32;
const RSP: u32 = slot::RSP as u32;
const RBP: u32 = slot::RBP as u32;

/// A place that an instruction reads and writes.
#[derive(Clone, Copy)]
pub enum Place {
    Register(Gpr),
    Memory(u32),
}

impl Place {
    /// Operand `operand`, if it is one of these.
    pub fn new(instruction: &Instruction, operand: u32) -> Option<Self> {
        match instruction.op_kind(operand) {
            OpKind::Register => Gpr::new(instruction.op_register(operand)).map(Self::Register),
            OpKind::Memory => {
                let bits = instruction.memory_size().size() as u32 * 8;
                matches!(bits, 8 | 16 | 32 | 64).then_some(Self::Memory(bits))
            }
            _ => None,
        }
    }

    pub fn bits(self) -> u32 {
        match self {
            Self::Register(gpr) => gpr.bits,
            Self::Memory(bits) => bits,
        }
    }
}

impl Emit<'_> {
    /// An instruction that is no branch.
    pub fn instruction(&mut self, ins: &Ins) {
        let reached = self.reached;
        if self.inline(ins) {
            self.reached.keep(reached, &ins.decoded);
        } else {
            self.run_op(ins);
        }
    }

    /// Writes an instruction; `false`, and nothing, if this is left to its handler.
    fn inline(&mut self, ins: &Ins) -> bool {
        let decoded = &ins.decoded;
        if decoded.code() != ins.op.code.code().unwrap_or(Code::INVALID) || decoded.has_lock_prefix() {
            return false;
        }
        match decoded.mnemonic() {
            Mnemonic::Nop | Mnemonic::Endbr64 => true,
            Mnemonic::Mov => self.mov(ins),
            Mnemonic::Movzx => self.extend(ins, false),
            Mnemonic::Movsx => self.extend(ins, true),
            Mnemonic::Movsxd => self.extend(ins, true),
            Mnemonic::Lea => self.lea(ins),
            Mnemonic::Add | Mnemonic::Sub | Mnemonic::And | Mnemonic::Or | Mnemonic::Xor | Mnemonic::Adc | Mnemonic::Sbb => {
                self.binary(ins, true)
            }
            Mnemonic::Cmp | Mnemonic::Test => self.binary(ins, false),
            Mnemonic::Inc | Mnemonic::Dec | Mnemonic::Neg | Mnemonic::Not => self.unary(ins),
            Mnemonic::Shl | Mnemonic::Sal | Mnemonic::Shr | Mnemonic::Sar | Mnemonic::Rol | Mnemonic::Ror => self.shift(ins),
            Mnemonic::Imul if decoded.op_count() > 1 => self.imul(ins),
            Mnemonic::Imul | Mnemonic::Mul => self.multiply(ins),
            Mnemonic::Div => self.div(ins),
            Mnemonic::Push => self.push_operand(ins),
            Mnemonic::Pop => self.pop(ins),
            Mnemonic::Leave => self.leave_frame(ins),
            Mnemonic::Xchg => self.xchg(ins),
            Mnemonic::Bswap => self.bswap(ins),
            Mnemonic::Bt => self.bt(ins),
            Mnemonic::Bsf => self.scan(ins, true),
            Mnemonic::Bsr => self.scan(ins, false),
            Mnemonic::Prefetcht0 | Mnemonic::Prefetcht1 | Mnemonic::Prefetcht2 | Mnemonic::Prefetchnta => true,
            Mnemonic::Cbw => self.extend_accumulator(8, 16),
            Mnemonic::Cwde => self.extend_accumulator(16, 32),
            Mnemonic::Cdqe => self.extend_accumulator(32, 64),
            Mnemonic::Cdq => self.fill_upper(32),
            Mnemonic::Cqo => self.fill_upper(64),
            _ if decoded.code().condition_code() as u8 != 0 => self.conditional(ins),
            // Branches are the block's end.
            Mnemonic::Jmp | Mnemonic::Call | Mnemonic::Ret => true,
            _ => self.vector(ins),
        }
    }

    /// Pushes a source operand of `bits`, zero-extended: a register, memory or an immediate.
    pub fn source(&mut self, ins: &Ins, operand: u32, bits: u32) -> bool {
        match ins.decoded.op_kind(operand) {
            OpKind::Register | OpKind::Memory => match Place::new(&ins.decoded, operand) {
                Some(Place::Register(gpr)) => self.get(gpr),
                Some(Place::Memory(bits)) => self.load_operand(&ins.op, bits),
                None => return false,
            },
            _ => {
                let immediate = ins.op.immediate as i64 & mask(bits);
                self.code().i64_const(immediate);
            }
        }
        true
    }

    fn mov(&mut self, ins: &Ins) -> bool {
        let decoded = &ins.decoded;
        let (Some(to), true) = (Place::new(decoded, 0), is_plain_source(decoded, 1)) else { return false };
        if matches!(
            decoded.code(),
            Code::Mov_AL_moffs8
                | Code::Mov_AX_moffs16
                | Code::Mov_EAX_moffs32
                | Code::Mov_RAX_moffs64
                | Code::Mov_moffs8_AL
                | Code::Mov_moffs16_AX
                | Code::Mov_moffs32_EAX
                | Code::Mov_moffs64_RAX
        ) {
            return false;
        }
        match to {
            Place::Register(gpr) => {
                self.source(ins, 1, gpr.bits);
                self.set(gpr);
            }
            Place::Memory(bits) => {
                self.source(ins, 1, bits);
                self.code().local_set(local::A);
                self.linear(&ins.op);
                self.reach(bits, true, Base::of(&ins.op));
                self.store(bits, local::A);
            }
        }
        true
    }

    /// MOVZX, MOVSX, MOVSXD.
    fn extend(&mut self, ins: &Ins, signed: bool) -> bool {
        let decoded = &ins.decoded;
        let (Some(Place::Register(to)), Some(from)) = (Place::new(decoded, 0), Place::new(decoded, 1)) else { return false };
        self.source(ins, 1, from.bits());
        if signed {
            self.sign_extend(from.bits());
        }
        self.truncate(to.bits);
        self.set(to);
        true
    }

    fn lea(&mut self, ins: &Ins) -> bool {
        let Some(to) = Gpr::new(ins.decoded.op0_register()) else { return false };
        self.offset(&ins.op);
        self.truncate(to.bits);
        self.set(to);
        true
    }

    /// Sets [`local::A`] to the first operand, which is written later if `write`.
    pub fn first(&mut self, ins: &Ins, place: Place, write: bool) {
        match place {
            Place::Register(gpr) => self.get(gpr),
            Place::Memory(bits) => {
                self.linear(&ins.op);
                self.reach(bits, write, Base::of(&ins.op));
                self.load(bits);
            }
        }
        self.code().local_set(local::A);
    }

    /// Writes a result that [`Self::first`] was called for.
    pub fn write(&mut self, place: Place, value: u32) {
        match place {
            Place::Register(gpr) => {
                self.code().local_get(value);
                self.set(gpr);
            }
            Place::Memory(bits) => self.store(bits, value),
        }
    }

    /// Operations of two operands: the first and the result, if `write`, are in the first operand.
    fn binary(&mut self, ins: &Ins, write: bool) -> bool {
        let decoded = &ins.decoded;
        let (Some(to), true) = (Place::new(decoded, 0), is_plain_source(decoded, 1)) else { return false };
        let bits = to.bits();
        // One of them at most is in memory.
        if matches!(to, Place::Memory(_)) {
            self.first(ins, to, write);
            self.source(ins, 1, bits);
            self.code().local_set(local::B);
        } else {
            self.source(ins, 1, bits);
            self.code().local_set(local::B);
            self.first(ins, to, write);
        }
        match decoded.mnemonic() {
            Mnemonic::Add => self.sum(bits, FlagOp::Add),
            Mnemonic::Sub | Mnemonic::Cmp => self.sum(bits, FlagOp::Sub),
            Mnemonic::Adc | Mnemonic::Sbb => self.sum_with_carry(bits, decoded.mnemonic() == Mnemonic::Sbb),
            mnemonic => {
                self.code().local_get(local::A).local_get(local::B);
                match mnemonic {
                    Mnemonic::Or => self.code().i64_or(),
                    Mnemonic::Xor => self.code().i64_xor(),
                    _ => self.code().i64_and(),
                };
                self.code().local_set(local::RESULT).i64_const(0).local_set(local::SOURCE);
                self.flags_are(FlagOp::Logic, bits);
            }
        }
        if write {
            self.write(to, local::RESULT);
        }
        true
    }

    /// [`local::A`] plus or minus [`local::B`], with flags.
    fn sum(&mut self, bits: u32, operation: FlagOp) {
        self.code().local_get(local::A).local_get(local::B);
        let mut code = self.code();
        if operation == FlagOp::Add {
            code.i64_add()
        } else {
            code.i64_sub()
        };
        self.truncate(bits);
        self.code().local_set(local::RESULT).local_get(local::B).local_set(local::SOURCE);
        self.flags_are(operation, bits);
    }

    fn sum_with_carry(&mut self, bits: u32, subtract: bool) {
        self.condition(2);
        self.code().i64_extend_i32_u().local_set(local::C).local_get(local::A).local_get(local::B);
        if subtract {
            self.code().i64_sub().local_get(local::C).i64_sub();
        } else {
            self.code().i64_add().local_get(local::C).i64_add();
        }
        self.truncate(bits);
        self.code().local_set(local::RESULT);
        self.code().local_get(local::A).local_set(local::FIRST).local_get(local::B).local_set(local::SECOND);
        self.flags_are(FlagOp::Carries, bits);
        self.pending = Some(Pending::Carries { subtract, bits });
    }

    fn unary(&mut self, ins: &Ins) -> bool {
        let decoded = &ins.decoded;
        let Some(to) = Place::new(decoded, 0) else { return false };
        let bits = to.bits();
        self.first(ins, to, true);
        match decoded.mnemonic() {
            Mnemonic::Not => {
                self.code().local_get(local::A).i64_const(mask(bits)).i64_xor().local_set(local::A);
                self.write(to, local::A);
                return true;
            }
            Mnemonic::Neg => {
                self.code().local_get(local::A).local_set(local::B).i64_const(0).local_set(local::A);
                self.sum(bits, FlagOp::Sub);
            }
            mnemonic => {
                let (step, operation) = if mnemonic == Mnemonic::Inc { (1, FlagOp::Inc) } else { (-1, FlagOp::Dec) };
                self.condition(2);
                self.code().i64_extend_i32_u().local_set(local::SOURCE).local_get(local::A).i64_const(step).i64_add();
                self.truncate(bits);
                self.code().local_set(local::RESULT);
                self.flags_are(operation, bits);
            }
        }
        self.write(to, local::RESULT);
        true
    }

    /// Stores a local below the stack pointer and moves that.
    pub fn push(&mut self, value: u32) {
        self.get_whole(RSP);
        self.code().i64_const(8).i64_sub().local_set(local::ADDRESS);
        self.reach(64, true, Some(Base::STACK));
        self.store(64, value);
        self.code().local_get(local::ADDRESS);
        self.set_whole(RSP);
    }

    fn push_operand(&mut self, ins: &Ins) -> bool {
        let decoded = &ins.decoded;
        match decoded.code() {
            Code::Push_r64 | Code::Push_rm64 | Code::Pushq_imm32 | Code::Pushq_imm8 => {}
            _ => return false,
        }
        self.source(ins, 0, 64);
        self.code().local_set(local::A);
        self.push(local::A);
        true
    }

    fn pop(&mut self, ins: &Ins) -> bool {
        let Some(Place::Register(to)) = Place::new(&ins.decoded, 0) else { return false };
        if to.bits != 64 {
            return false;
        }
        self.get_whole(RSP);
        self.code().local_set(local::ADDRESS);
        self.reach(64, false, Some(Base::STACK));
        self.code().local_get(local::ADDRESS).i64_const(8).i64_add();
        self.set_whole(RSP);
        self.load(64);
        self.set_whole(to.number);
        true
    }

    fn leave_frame(&mut self, ins: &Ins) -> bool {
        if ins.decoded.code() != Code::Leaveq {
            return false;
        }
        self.get_whole(RBP);
        self.code().local_set(local::ADDRESS);
        self.reach(64, false, Some(Base::register(RBP)));
        self.code().local_get(local::ADDRESS).i64_const(8).i64_add();
        self.set_whole(RSP);
        self.load(64);
        self.set_whole(RBP);
        true
    }

    fn xchg(&mut self, ins: &Ins) -> bool {
        let (Some(first), Some(Place::Register(second))) = (Place::new(&ins.decoded, 0), Place::new(&ins.decoded, 1)) else { return false };
        self.first(ins, first, true);
        self.get(second);
        self.code().local_set(local::B);
        self.write(first, local::B);
        self.code().local_get(local::A);
        self.set(second);
        true
    }

    fn bswap(&mut self, ins: &Ins) -> bool {
        let Some(gpr) = Gpr::new(ins.decoded.op0_register()) else { return false };
        if gpr.bits == 16 {
            return false;
        }
        self.get(gpr);
        self.code().local_set(local::A);
        // Bytes, then pairs, then halves change places.
        for (step, low) in [(8, 0x00ff_00ff_00ff_00ff_i64), (16, 0x0000_ffff_0000_ffff)] {
            self.code().local_get(local::A).i64_const(step).i64_shr_u().i64_const(low).i64_and();
            self.code().local_get(local::A).i64_const(low).i64_and().i64_const(step).i64_shl().i64_or().local_set(local::A);
        }
        self.code().local_get(local::A);
        if gpr.bits == 64 {
            self.code().i64_const(32).i64_rotl();
        }
        self.set(gpr);
        true
    }

    /// BT, other than by a register in memory.
    fn bt(&mut self, ins: &Ins) -> bool {
        let decoded = &ins.decoded;
        let (Some(place), true) = (Place::new(decoded, 0), is_plain_source(decoded, 1)) else { return false };
        let bits = place.bits();
        // By a register, it reaches beyond a memory operand.
        if matches!(place, Place::Memory(_)) && decoded.op1_kind() == OpKind::Register {
            return false;
        }
        self.settle();
        self.first(ins, place, false);
        self.code().local_get(local::A);
        self.source(ins, 1, bits);
        self.code().i64_const(i64::from(bits) - 1).i64_and().i64_shr_u().i64_const(1).i64_and().local_set(local::C);
        self.replace_carries(CF);
        true
    }

    fn extend_accumulator(&mut self, from: u32, to: u32) -> bool {
        self.get(Gpr::low(RAX, from));
        self.sign_extend(from);
        self.truncate(to);
        self.set(Gpr::low(RAX, to));
        true
    }

    fn fill_upper(&mut self, bits: u32) -> bool {
        self.get(Gpr::low(RAX, bits));
        self.sign_extend(bits);
        self.code().i64_const(63).i64_shr_s();
        self.truncate(bits);
        self.set(Gpr::low(RDX, bits));
        true
    }

    /// CMOVcc and SETcc; Jcc is the block's end.
    fn conditional(&mut self, ins: &Ins) -> bool {
        let decoded = &ins.decoded;
        let condition = decoded.code().condition_code() as u8 - 1;
        if decoded.code().is_jcc_short_or_near() {
            return true;
        }
        let Some(to) = Place::new(decoded, 0) else { return false };
        match (to, decoded.op_count()) {
            (Place::Register(gpr), 2) => {
                if !is_plain_source(decoded, 1) {
                    return false;
                }
                self.source(ins, 1, gpr.bits);
                self.code().local_set(local::A);
                self.get(gpr);
                self.code().local_set(local::B);
                self.condition(condition);
                self.code().local_set(local::POINTER).local_get(local::A).local_get(local::B).local_get(local::POINTER).select();
                self.set(gpr);
            }
            (to, 1) => {
                self.condition(condition);
                self.code().i64_extend_i32_u().local_set(local::A);
                match to {
                    Place::Register(_) => self.write(to, local::A),
                    Place::Memory(bits) => {
                        self.linear(&ins.op);
                        self.reach(bits, true, Base::of(&ins.op));
                        self.store(bits, local::A);
                    }
                }
            }
            _ => return false,
        }
        true
    }
}

/// Whether an operand is a general register, memory of an integer's size, or an immediate.
pub fn is_plain_source(instruction: &Instruction, operand: u32) -> bool {
    match instruction.op_kind(operand) {
        OpKind::Register => {
            let register = instruction.op_register(operand);
            register.is_gpr() && register != Register::None
        }
        OpKind::Memory => Place::new(instruction, operand).is_some(),
        OpKind::Immediate8
        | OpKind::Immediate16
        | OpKind::Immediate32
        | OpKind::Immediate64
        | OpKind::Immediate8to16
        | OpKind::Immediate8to32
        | OpKind::Immediate8to64
        | OpKind::Immediate32to64 => true,
        _ => false,
    }
}
