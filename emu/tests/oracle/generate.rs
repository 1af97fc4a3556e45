//! Encodings: for every `Code` that user mode may execute, its register and memory forms with registers, addressing modes, prefixes and immediates drawn by lot.

use iced_x86::{Code, Decoder, DecoderOptions, Encoder, EncodingKind, Instruction, Mnemonic, OpCodeOperandKind as Kind, OpKind, Register};

use super::rng::Rng;
use super::world::*;

/// What has no generated cases, and why.
const EXCLUDED: &[(&str, &[Mnemonic])] = &[
    ("would be a system call of the host", &[Mnemonic::Syscall, Mnemonic::Sysenter, Mnemonic::Int]),
    ("answers what the processor is", &[Mnemonic::Cpuid, Mnemonic::Xgetbv, Mnemonic::Rdpid]),
    ("depends on time or chance", &[Mnemonic::Rdtsc, Mnemonic::Rdtscp, Mnemonic::Rdpmc, Mnemonic::Rdrand, Mnemonic::Rdseed]),
    ("Linux emulates it or hides its answer", &[Mnemonic::Sgdt, Mnemonic::Sidt, Mnemonic::Sldt, Mnemonic::Str, Mnemonic::Smsw]),
    (
        "reads and writes an area whose layout is the processor's",
        &[
            Mnemonic::Xsave,
            Mnemonic::Xsave64,
            Mnemonic::Xrstor,
            Mnemonic::Xrstor64,
            Mnemonic::Xsaveopt,
            Mnemonic::Xsaveopt64,
            Mnemonic::Xsavec,
            Mnemonic::Xsavec64,
            Mnemonic::Xsaves,
            Mnemonic::Xsaves64,
            Mnemonic::Xrstors,
            Mnemonic::Xrstors64,
        ],
    ),
    ("is the virtual machine's, not the CPU's", &[Mnemonic::Vmcall, Mnemonic::Vmmcall, Mnemonic::Monitor, Mnemonic::Mwait]),
];

/// Single forms that have none.
const EXCLUDED_FORMS: &[(&str, &[Code])] = &[
    ("AMD reads 32 bits where Intel reads 16", &[Code::Movsxd_r16_rm16]),
    (
        "AMD knows no far pointers with 64-bit offsets",
        &[Code::Call_m1664, Code::Jmp_m1664, Code::Lss_r64_m1664, Code::Lfs_r64_m1664, Code::Lgs_r64_m1664],
    ),
    ("AMD allows it, and then refuses it, in 32-bit code too; to Intel it is undefined there", &[Code::Sysretd]),
    (
        "without a memory operand AMD refuses it",
        &[Code::Reservednop_rm16_r16_0F0D, Code::Reservednop_rm32_r32_0F0D, Code::Reservednop_rm64_r64_0F0D],
    ),
    ("an alias that no manual describes, with stack faults of its own", &[Code::Fstpnce_sti]),
    ("a hypervisor may stand between the processor and us, and gets RIP wrong", &[Code::Int1]),
];

/// Why `code` has no generated cases, if it has none.
pub fn excluded(code: Code) -> Option<&'static str> {
    let mnemonics = EXCLUDED.iter().find(|(_, mnemonics)| mnemonics.contains(&code.mnemonic())).map(|(reason, _)| *reason);
    mnemonics.or_else(|| EXCLUDED_FORMS.iter().find(|(_, codes)| codes.contains(&code)).map(|(reason, _)| *reason))
}

/// One encoding.
#[derive(Clone, Debug)]
pub struct Encoding {
    pub bits: u32,
    pub bytes: Vec<u8>,
    pub instruction: Instruction,
}

impl Encoding {
    /// Whether an operand given by ModRM lies in memory: the form, as the implementation's table has it.
    pub fn has_memory_operand(&self) -> bool {
        has_memory_operand(&self.instruction)
    }
}

/// As [`Encoding::has_memory_operand`].
pub fn has_memory_operand(instruction: &Instruction) -> bool {
    instruction.op_kinds().any(|kind| kind == OpKind::Memory)
}

/// Whether encodings of `code` can be made at all: one byte string, one instruction, no VEX or later.
pub fn is_legacy(code: Code) -> bool {
    let op = code.op_code();
    op.is_instruction() && op.encoding() == EncodingKind::Legacy && !op.fwait() && (op.mode64() || op.mode32())
}

/// `count` encodings of each form of `code` in each mode in which it exists; in 32-bit mode a quarter of that if it has some in 64-bit mode.
pub fn encodings(code: Code, count: u64, rng: &mut Rng) -> Vec<Encoding> {
    let op = code.op_code();
    let mut out = Vec::new();
    for bits in [64, 32] {
        let count = match bits {
            64 if op.mode64() => count,
            32 if op.mode32() && out.is_empty() => count,
            32 if op.mode32() => count.div_ceil(4),
            _ => continue,
        };
        for memory in [false, true] {
            let fits = match memory {
                true => op.op_kinds().iter().any(|kind| takes_memory(*kind)),
                false => !op.op_kinds().iter().any(|kind| matches!(kind, Kind::mem | Kind::mem_offs)),
            };
            if !fits {
                continue;
            }
            // Some draws have no encoding (AH with REX): a fixed number of tries for each.
            out.extend((0..count).filter_map(|_| (0..20).find_map(|_| encode(code, bits, memory, ENTRY, rng))));
        }
    }
    out
}

/// ModRM or absolute memory, not the implied operands of string instructions.
fn takes_memory(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::mem
            | Kind::mem_offs
            | Kind::r8_or_mem
            | Kind::r16_or_mem
            | Kind::r32_or_mem
            | Kind::r64_or_mem
            | Kind::mm_or_mem
            | Kind::xmm_or_mem
    )
}

/// One draw of a form, for the address `ip`; `None` if it has no encoding.
pub fn encode(code: Code, bits: u32, memory: bool, ip: u64, rng: &mut Rng) -> Option<Encoding> {
    let mut instruction = Instruction::default();
    instruction.set_code(code);
    let op = code.op_code();
    let narrow = rng.one_in(6);
    for (at, kind) in op.op_kinds().iter().enumerate() {
        operand(&mut instruction, at as u32, *kind, bits, memory, narrow, rng)?;
    }
    if op.can_use_lock_prefix() && rng.one_in(2) && has_memory_operand(&instruction) {
        instruction.set_has_lock_prefix(true);
    }
    match rng.below(4) {
        0 => {}
        1 if op.can_use_repne_prefix() && op.can_use_rep_prefix() => instruction.set_has_repne_prefix(true),
        _ => instruction.set_has_rep_prefix(op.can_use_rep_prefix() && instruction.is_string_instruction()),
    }
    let mut encoder = Encoder::new(bits);
    encoder.encode(&instruction, ip).ok()?;
    let bytes = encoder.take_buffer();
    let instruction = Decoder::with_ip(bits, &bytes, ip, DecoderOptions::NONE).decode();
    (instruction.code() == code && instruction.len() == bytes.len()).then_some(Encoding { bits, bytes, instruction })
}

fn operand(out: &mut Instruction, at: u32, kind: Kind, bits: u32, memory: bool, narrow: bool, rng: &mut Rng) -> Option<()> {
    if memory && takes_memory(kind) {
        out.set_op_kind(at, OpKind::Memory);
        address(out, kind, bits, narrow, rng);
        return Some(());
    }
    let count = if bits == 64 { 16 } else { 8 };
    let mut register = |base: Register, count: u64| base + rng.below(count) as u32;
    let chosen = match kind {
        Kind::r8_or_mem | Kind::r8_reg | Kind::r8_opcode => match bits {
            64 => register(Register::AL, 20),
            _ => register(Register::AL, 8),
        },
        Kind::r16_or_mem | Kind::r16_reg | Kind::r16_rm | Kind::r16_reg_mem | Kind::r16_opcode => register(Register::AX, count),
        Kind::r32_or_mem | Kind::r32_reg | Kind::r32_rm | Kind::r32_reg_mem | Kind::r32_opcode => register(Register::EAX, count),
        Kind::r64_or_mem | Kind::r64_reg | Kind::r64_rm | Kind::r64_reg_mem | Kind::r64_opcode => register(Register::RAX, count),
        Kind::mm_or_mem | Kind::mm_reg | Kind::mm_rm => register(Register::MM0, 8),
        Kind::xmm_or_mem | Kind::xmm_reg | Kind::xmm_rm => register(Register::XMM0, count),
        Kind::seg_reg => register(Register::ES, 6),
        Kind::cr_reg => rng.pick(&[Register::CR0, Register::CR2, Register::CR3, Register::CR4]),
        Kind::dr_reg => rng.pick(&[Register::DR0, Register::DR1, Register::DR2, Register::DR3, Register::DR6, Register::DR7]),
        Kind::sti_opcode => register(Register::ST0, 8),
        Kind::es => Register::ES,
        Kind::cs => Register::CS,
        Kind::ss => Register::SS,
        Kind::ds => Register::DS,
        Kind::fs => Register::FS,
        Kind::gs => Register::GS,
        Kind::al => Register::AL,
        Kind::cl => Register::CL,
        Kind::ax => Register::AX,
        Kind::dx => Register::DX,
        Kind::eax => Register::EAX,
        Kind::rax => Register::RAX,
        Kind::st0 => Register::ST0,
        _ => Register::None,
    };
    if chosen != Register::None {
        out.set_op_register(at, chosen);
        return Some(());
    }
    let number = super::corners::integer(rng);
    let target = stop_address(rng);
    let distance = 16 + rng.below(20);
    let near = if rng.one_in(2) { ENTRY + 5 * distance } else { ENTRY - distance };
    match kind {
        Kind::imm8 if at > 0 && out.op_kind(at - 1) == OpKind::Immediate16 => {
            out.set_op_kind(at, OpKind::Immediate8_2nd);
            out.set_immediate8_2nd(number as u8);
        }
        Kind::imm8 => {
            out.set_op_kind(at, OpKind::Immediate8);
            out.set_immediate8(number as u8);
        }
        Kind::imm8_const_1 => {
            out.set_op_kind(at, OpKind::Immediate8);
            out.set_immediate8(1);
        }
        Kind::imm8sex16 => {
            out.set_op_kind(at, OpKind::Immediate8to16);
            out.set_immediate8to16(number as i8 as i16);
        }
        Kind::imm8sex32 => {
            out.set_op_kind(at, OpKind::Immediate8to32);
            out.set_immediate8to32(number as i8 as i32);
        }
        Kind::imm8sex64 => {
            out.set_op_kind(at, OpKind::Immediate8to64);
            out.set_immediate8to64(number as i8 as i64);
        }
        Kind::imm16 => {
            out.set_op_kind(at, OpKind::Immediate16);
            // What RET and ENTER take off the stack stays in its window.
            let small = matches!(out.mnemonic(), Mnemonic::Ret | Mnemonic::Retf | Mnemonic::Enter);
            out.set_immediate16(if small { number as u16 & 0x1ff } else { number as u16 });
        }
        Kind::imm32 => {
            out.set_op_kind(at, OpKind::Immediate32);
            out.set_immediate32(number as u32);
        }
        Kind::imm32sex64 => {
            out.set_op_kind(at, OpKind::Immediate32to64);
            out.set_immediate32to64(number as i32 as i64);
        }
        Kind::imm64 => {
            out.set_op_kind(at, OpKind::Immediate64);
            out.set_immediate64(number);
        }
        Kind::br16_1 => {
            out.set_op_kind(at, OpKind::NearBranch16);
            out.set_near_branch16(near as u16);
        }
        Kind::br32_1 | Kind::br32_4 => {
            out.set_op_kind(at, OpKind::NearBranch32);
            out.set_near_branch32(if kind == Kind::br32_1 { near } else { target } as u32);
        }
        Kind::br64_1 | Kind::br64_4 => {
            out.set_op_kind(at, OpKind::NearBranch64);
            out.set_near_branch64(if kind == Kind::br64_1 { near } else { target });
        }
        Kind::br16_2 => {
            out.set_op_kind(at, OpKind::NearBranch16);
            out.set_near_branch16(target as u16);
        }
        Kind::farbr2_2 => {
            out.set_op_kind(at, OpKind::FarBranch16);
            out.set_far_branch16(target as u16);
            out.set_far_branch_selector(rng.pick(&[CS32, CS64, 0, USER_DS]));
        }
        Kind::farbr4_2 => {
            out.set_op_kind(at, OpKind::FarBranch32);
            out.set_far_branch32(target as u32);
            out.set_far_branch_selector(rng.pick(&[CS32, CS64, CS32, CS64, 0, USER_DS, 0x10, DATA_LDT]));
        }
        Kind::seg_rSI | Kind::es_rDI | Kind::seg_rDI | Kind::seg_rBX_al => {
            let wide = bits == 64 && !narrow;
            out.set_op_kind(
                at,
                match (kind, wide) {
                    (Kind::seg_rSI, true) => OpKind::MemorySegRSI,
                    (Kind::seg_rSI, false) => OpKind::MemorySegESI,
                    (Kind::es_rDI, true) => OpKind::MemoryESRDI,
                    (Kind::es_rDI, false) => OpKind::MemoryESEDI,
                    (Kind::seg_rDI, true) => OpKind::MemorySegRDI,
                    (Kind::seg_rDI, false) => OpKind::MemorySegEDI,
                    _ => OpKind::Memory,
                },
            );
            if kind == Kind::seg_rBX_al {
                out.set_memory_base(if wide { Register::RBX } else { Register::EBX });
                out.set_memory_index(Register::AL);
                out.set_memory_index_scale(1);
            }
            if kind != Kind::es_rDI && bits == 64 && rng.one_in(6) {
                out.set_segment_prefix(rng.pick(&[Register::FS, Register::GS]));
            }
        }
        _ => return None,
    }
    Some(())
}

/// A memory operand: any base, index, scale and displacement; absolute; RIP-relative; now and then with a segment prefix.
fn address(out: &mut Instruction, kind: Kind, bits: u32, narrow: bool, rng: &mut Rng) {
    let inside = DATA + 0x200 + 16 * rng.below(64);
    out.set_memory_index_scale(1);
    if kind == Kind::mem_offs {
        out.set_memory_displacement64(inside);
        out.set_memory_displ_size(if bits == 64 && !narrow { 8 } else { 4 });
        return;
    }
    if bits == 32 && narrow {
        // 16-bit addresses reach the data window through FS alone.
        const PAIRS: [(Register, Register); 8] = [
            (Register::BX, Register::SI),
            (Register::BX, Register::DI),
            (Register::BP, Register::SI),
            (Register::BP, Register::DI),
            (Register::SI, Register::None),
            (Register::DI, Register::None),
            (Register::BP, Register::None),
            (Register::BX, Register::None),
        ];
        let (base, index) = rng.pick(&PAIRS);
        out.set_segment_prefix(Register::FS);
        out.set_memory_base(base);
        out.set_memory_index(index);
        displacement(out, rng, 2);
        return;
    }
    if bits == 64 && rng.one_in(8) {
        out.set_segment_prefix(rng.pick(&[Register::FS, Register::GS]));
    }
    let (first, count, wide) = match (bits, narrow) {
        (64, false) => (Register::RAX, 16, 8),
        (64, true) => (Register::EAX, 16, 4),
        _ => (Register::EAX, 8, 4),
    };
    match rng.below(8) {
        0 if bits == 64 => {
            out.set_memory_base(if narrow { Register::EIP } else { Register::RIP });
            out.set_memory_displacement64(inside);
            out.set_memory_displ_size(wide);
            return;
        }
        1 => {
            out.set_memory_displacement64(inside);
            out.set_memory_displ_size(wide);
            return;
        }
        2 => {
            out.set_memory_index(first + rng.below(count) as u32);
            displacement(out, rng, wide);
        }
        3..=5 => {
            out.set_memory_base(first + rng.below(count) as u32);
            out.set_memory_index(first + rng.below(count) as u32);
        }
        _ => out.set_memory_base(first + rng.below(count) as u32),
    }
    if out.memory_index() == first + 4 {
        // RSP is no index, but a base.
        out.set_memory_index(Register::None);
        out.set_memory_base(first + 4);
    } else if out.memory_index() != Register::None {
        out.set_memory_index_scale(1 << rng.below(4));
    }
    if out.memory_base() != Register::None {
        displacement(out, rng, wide);
    }
}

fn displacement(out: &mut Instruction, rng: &mut Rng, wide: u32) {
    let (value, size) = match rng.below(3) {
        0 if out.memory_base() != Register::None => (0, 0),
        1 if out.memory_base() != Register::None => (rng.next() as i8 as i64, 1),
        _ => (i64::from(rng.next() as i16), wide),
    };
    out.set_memory_displacement64(value as u64);
    out.set_memory_displ_size(size);
}
