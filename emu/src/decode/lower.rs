//! Operands of an iced-x86 instruction to the fields of an op.
//!
//! The rules are the same for every instruction: the first register operand goes to `a`, the second to `b`, a third to [`Op::third`], the memory operand to
//! `base`, `index`, `scale`, `segment` and `displacement`, an immediate or branch target to `immediate`.

use iced_x86::{Code, Instruction, OpKind, Register};

use super::{AddressMode, FarTarget, Op, Opcode, Repeat};
use crate::cpu::{CodeSize, slot};

/// Lowers one instruction that was decoded at IP `offset`, its distance from the start of its block; `retired` instructions precede it there.
pub fn lower(instruction: &Instruction, size: CodeSize, offset: u16, retired: u8) -> Op {
    let mut op = Op {
        code: Opcode::of(instruction.code(), false),
        a: 0,
        b: 0,
        base: slot::ZERO,
        index: slot::ZERO,
        scale: if size == CodeSize::Bits64 { 0 } else { AddressMode::LEGACY },
        segment: slot::ZERO,
        displacement: 0,
        offset,
        retired,
        length: instruction.len() as u8,
        immediate: 0,
    };
    if instruction.code() == Code::INVALID {
        op.code = Opcode::INVALID;
        return op;
    }
    let mut registers = 0;
    for operand in 0..instruction.op_count() {
        match instruction.op_kind(operand) {
            OpKind::Register => {
                let number = register_operand(instruction.op_register(operand));
                match registers {
                    0 => op.a = number,
                    1 => op.b = number,
                    _ => op.set_third(number),
                }
                registers += 1;
            }
            kind => other_operand(&mut op, instruction, (operand, kind), size),
        }
    }
    op
}

/// Any operand but a register. Out of line, so that nothing of it is computed ahead of the loop over operands.
#[inline(never)]
fn other_operand(op: &mut Op, instruction: &Instruction, (operand, kind): (u32, OpKind), size: CodeSize) {
    match kind {
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
            op.set_target(instruction.near_branch_target());
        }
        OpKind::FarBranch16 => {
            op.set_far_target(FarTarget { selector: instruction.far_branch_selector(), offset: instruction.far_branch16().into() });
        }
        OpKind::FarBranch32 => {
            op.set_far_target(FarTarget { selector: instruction.far_branch_selector(), offset: instruction.far_branch32() });
        }
        OpKind::Immediate8_2nd => op.set_second_immediate(instruction.immediate8_2nd()),
        OpKind::Memory => {
            op.code = Opcode::of(instruction.code(), true);
            memory_operand(instruction, size, op);
        }
        OpKind::MemorySegSI
        | OpKind::MemorySegDI
        | OpKind::MemorySegESI
        | OpKind::MemorySegEDI
        | OpKind::MemorySegRSI
        | OpKind::MemorySegRDI
        | OpKind::MemoryESDI
        | OpKind::MemoryESEDI
        | OpKind::MemoryESRDI => string_operand(instruction, kind, size, op),
        _ => op.immediate = instruction.immediate(operand),
    }
}

/// The number under which handlers find a register of whatever class.
fn register_operand(register: Register) -> u8 {
    // iced numbers SPL to R15L after AH to BH.
    let number = register.full_register().number() as u8;
    match register {
        Register::AH | Register::CH | Register::DH | Register::BH => number * 8 + 1,
        _ if register.is_gpr8() => number * 8,
        _ => number,
    }
}

fn gpr_slot(register: Register) -> u8 {
    if register == Register::None { slot::ZERO } else { register.number() as u8 }
}

fn segment_slot(register: Register, base: Register, size: CodeSize) -> u8 {
    match register {
        Register::FS => slot::FS,
        Register::GS => slot::GS,
        _ if size != CodeSize::Bits64 => slot::SEGMENT + register.number() as u8,
        _ if matches!(base.full_register(), Register::RSP | Register::RBP) => slot::SS,
        _ => slot::ZERO,
    }
}

fn memory_operand(instruction: &Instruction, size: CodeSize, op: &mut Op) {
    let (base, index) = (instruction.memory_base(), instruction.memory_index());
    op.segment = segment_slot(instruction.memory_segment(), base, size);
    let bytes = if base != Register::None {
        base.size()
    } else if index != Register::None {
        index.size()
    } else {
        instruction.memory_displ_size() as usize
    };
    op.scale |= instruction.memory_index_scale().trailing_zeros() as u8;
    op.scale |= match bytes {
        8 => AddressMode::BITS64,
        4 => AddressMode::BITS32,
        _ if size == CodeSize::Bits64 => AddressMode::BITS64,
        _ => AddressMode::BITS16,
    };
    if instruction.is_ip_rel_memory_operand() {
        set_relative_address(op, instruction.ip_rel_memory_address() as i64);
        return;
    }
    op.base = gpr_slot(base);
    // XLAT has AL for an index, which its handler adds itself.
    op.index = if index == Register::AL { slot::ZERO } else { gpr_slot(index) };
    let displacement = instruction.memory_displacement64();
    op.displacement = displacement as i32;
    if bytes == 8 && i64::from(op.displacement) as u64 != displacement {
        // Only the MOV forms with a 64-bit offset get here: they keep the offset where an immediate would stand.
        op.immediate = displacement;
        op.displacement = 0;
    }
}

/// Makes the memory operand what lies so many bytes from the start of the block.
pub(super) fn set_relative_address(op: &mut Op, delta: i64) {
    op.base = slot::BLOCK;
    op.displacement = i32::try_from(delta).unwrap_or_else(|_| {
        op.index = slot::BIAS;
        (delta - slot::BIAS_VALUE as i64) as i32
    });
}

fn string_operand(instruction: &Instruction, kind: OpKind, size: CodeSize, op: &mut Op) {
    op.scale = op.scale & AddressMode::LEGACY
        | match kind {
            OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => AddressMode::BITS16,
            OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => AddressMode::BITS32,
            _ => AddressMode::BITS64,
        };
    if instruction.is_string_instruction() {
        op.set_repeat(match (instruction.has_repne_prefix(), instruction.has_rep_prefix()) {
            (true, _) => Repeat::Repne,
            (false, true) => Repeat::Rep,
            (false, false) => Repeat::Once,
        });
    }
    if matches!(kind, OpKind::MemoryESDI | OpKind::MemoryESEDI | OpKind::MemoryESRDI) {
        return;
    }
    op.segment = segment_slot(instruction.memory_segment(), Register::None, size);
}
