//! The encodings that most of 64-bit code consists of, straight to ops: the library, which knows every encoding, takes several times as long.
//!
//! They have general registers and memory for operands, and no prefix but REX. What is not here, or not here whole, is left to the library; and a test
//! holds both to the same ops.

use iced_x86::Code;

use super::lower::set_relative_address;
use super::{Op, Opcode};
use crate::cpu::slot;

const REX_W: u8 = 1 << 3;
const REX_R: u8 = 1 << 2;
const REX_X: u8 = 1 << 1;
const REX_B: u8 = 1;

const CL: u8 = 8 * slot::RCX;

/// Where an instruction has its operands, but for immediates.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operands {
    /// It is left to the library.
    Unknown,
    /// Nowhere: it has none, or the accumulator.
    Implied,
    /// In the opcode's low bits: a register.
    InOpcode,
    /// In ModRM: a register or memory, then a register.
    RmReg,
    /// In ModRM: a register, then a register or memory.
    RegRm,
    /// In ModRM: a register, then memory.
    RegMemory,
    /// In ModRM: a register or memory. The reg field selects the instruction.
    Rm,
    /// As above; then CL.
    RmCl,
    /// As above, opcodes F6 and F7: only TEST, /0 and /1, has the immediate.
    Unary,
    /// As above, opcode FF: from /2 on, near calls, jumps and PUSH are 64 bits wide.
    Indirect,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Immediate {
    None,
    /// 1, which stands nowhere.
    One,
    Byte,
    /// 8 bits that stand for as many as the operands have.
    SignedByte,
    /// 32 bits that stand for as many as the operands have.
    Long,
    /// As many bits as the operands have.
    Whole,
    /// 8 bits: how far to branch.
    NearBranch,
    /// 32 bits: how far to branch.
    Branch,
}

/// What is known of an opcode.
#[derive(Clone, Copy)]
struct Row {
    /// The number of its `Code`; for operands of 32 bits if there are two.
    code: u16,
    /// The next number is that for operands of 64 bits.
    wide: bool,
    /// How far apart the numbers are that the reg field selects from 0 on, and how many of it are here.
    step: u8,
    selected: u8,
    operands: Operands,
    /// The register or memory that ModRM says, or the register in the opcode, is 8 bits wide; the other one is.
    bytes: [bool; 2],
    immediate: Immediate,
}

impl Row {
    const fn new(code: Code, operands: Operands, immediate: Immediate) -> Self {
        Self { code: code as u16, wide: false, step: 0, selected: 8, operands, bytes: [false; 2], immediate }
    }

    const fn wide(self) -> Self {
        Self { wide: true, ..self }
    }

    const fn bytes(self, rm: bool, reg: bool) -> Self {
        Self { bytes: [rm, reg], ..self }
    }

    /// The instruction so many numbers on.
    const fn plus(self, more: u16) -> Self {
        Self { code: self.code + more, ..self }
    }

    const fn group(self, step: u8, selected: u8) -> Self {
        Self { step, selected, ..self }
    }
}

/// Of the 16 conditions, the numbers follow one another, three apart where there are forms of three widths.
const fn condition(opcode: u8) -> u16 {
    opcode as u16 & 15
}

/// The row of an opcode, or of the one behind the byte 0F.
const fn row(escaped: bool, opcode: u8) -> Row {
    use Code::*;
    use Immediate as I;
    use Operands::*;
    const ARITHMETIC: [Code; 8] = [Add_rm8_r8, Or_rm8_r8, Adc_rm8_r8, Sbb_rm8_r8, And_rm8_r8, Sub_rm8_r8, Xor_rm8_r8, Cmp_rm8_r8];
    match (escaped, opcode) {
        (false, 0x00..=0x3f) => {
            let code = ARITHMETIC[opcode as usize >> 3];
            match opcode & 7 {
                0 => Row::new(code, RmReg, I::None).bytes(true, true),
                1 => Row::new(code, RmReg, I::None).plus(2).wide(),
                2 => Row::new(code, RegRm, I::None).plus(4).bytes(true, true),
                3 => Row::new(code, RegRm, I::None).plus(6).wide(),
                4 => Row::new(code, Implied, I::Byte).plus(8),
                5 => Row::new(code, Implied, I::Long).plus(10).wide(),
                _ => Row::new(INVALID, Unknown, I::None),
            }
        }
        (false, 0x50..=0x57) => Row::new(Push_r64, InOpcode, I::None),
        (false, 0x58..=0x5f) => Row::new(Pop_r64, InOpcode, I::None),
        (false, 0x63) => Row::new(Movsxd_r32_rm32, RegRm, I::None).wide(),
        (false, 0x69) => Row::new(Imul_r32_rm32_imm32, RegRm, I::Long).wide(),
        (false, 0x6b) => Row::new(Imul_r32_rm32_imm8, RegRm, I::SignedByte).wide(),
        (false, 0x70..=0x7f) => Row::new(Jo_rel8_64, Implied, I::NearBranch).plus(3 * condition(opcode)),
        (false, 0x80) => Row::new(Add_rm8_imm8, Rm, I::Byte).bytes(true, false).group(1, 8),
        (false, 0x81) => Row::new(Add_rm32_imm32, Rm, I::Long).wide().group(3, 8),
        (false, 0x83) => Row::new(Add_rm32_imm8, Rm, I::SignedByte).wide().group(3, 8),
        (false, 0x84) => Row::new(Test_rm8_r8, RmReg, I::None).bytes(true, true),
        (false, 0x85) => Row::new(Test_rm32_r32, RmReg, I::None).wide(),
        (false, 0x88) => Row::new(Mov_rm8_r8, RmReg, I::None).bytes(true, true),
        (false, 0x89) => Row::new(Mov_rm32_r32, RmReg, I::None).wide(),
        (false, 0x8a) => Row::new(Mov_r8_rm8, RegRm, I::None).bytes(true, true),
        (false, 0x8b) => Row::new(Mov_r32_rm32, RegRm, I::None).wide(),
        (false, 0x8d) => Row::new(Lea_r32_m, RegMemory, I::None).wide(),
        (false, 0xa8) => Row::new(Test_AL_imm8, Implied, I::Byte),
        (false, 0xa9) => Row::new(Test_EAX_imm32, Implied, I::Long).wide(),
        (false, 0xb0..=0xb7) => Row::new(Mov_r8_imm8, InOpcode, I::Byte).bytes(true, false),
        (false, 0xb8..=0xbf) => Row::new(Mov_r32_imm32, InOpcode, I::Whole).wide(),
        (false, 0xc0) => Row::new(Rol_rm8_imm8, Rm, I::Byte).bytes(true, false).group(1, 8),
        (false, 0xc1) => Row::new(Rol_rm32_imm8, Rm, I::Byte).wide().group(3, 8),
        (false, 0xc3) => Row::new(Retnq, Implied, I::None),
        (false, 0xc6) => Row::new(Mov_rm8_imm8, Rm, I::Byte).bytes(true, false).group(0, 1),
        (false, 0xc7) => Row::new(Mov_rm32_imm32, Rm, I::Long).wide().group(0, 1),
        (false, 0xd0) => Row::new(Rol_rm8_1, Rm, I::One).bytes(true, false).group(1, 8),
        (false, 0xd1) => Row::new(Rol_rm32_1, Rm, I::One).wide().group(3, 8),
        (false, 0xd2) => Row::new(Rol_rm8_CL, RmCl, I::None).bytes(true, false).group(1, 8),
        (false, 0xd3) => Row::new(Rol_rm32_CL, RmCl, I::None).wide().group(3, 8),
        (false, 0xe8) => Row::new(Call_rel32_64, Implied, I::Branch),
        (false, 0xe9) => Row::new(Jmp_rel32_64, Implied, I::Branch),
        (false, 0xeb) => Row::new(Jmp_rel8_64, Implied, I::NearBranch),
        (false, 0xf6) => Row::new(Test_rm8_imm8, Unary, I::Byte).bytes(true, false).group(1, 8),
        (false, 0xf7) => Row::new(Test_rm32_imm32, Unary, I::Long).wide().group(3, 8),
        (false, 0xfe) => Row::new(Inc_rm8, Rm, I::None).bytes(true, false).group(1, 2),
        (false, 0xff) => Row::new(Inc_rm32, Indirect, I::None).wide().group(3, 7),
        (true, 0x1f) => Row::new(Nop_rm32, Rm, I::None).wide().group(0, 1),
        (true, 0x40..=0x4f) => Row::new(Cmovo_r32_rm32, RegRm, I::None).plus(3 * condition(opcode)).wide(),
        (true, 0x80..=0x8f) => Row::new(Jo_rel32_64, Implied, I::Branch).plus(3 * condition(opcode)),
        (true, 0x90..=0x9f) => Row::new(Seto_rm8, Rm, I::None).plus(condition(opcode)).bytes(true, false),
        (true, 0xaf) => Row::new(Imul_r32_rm32, RegRm, I::None).wide(),
        (true, 0xb6) => Row::new(Movzx_r32_rm8, RegRm, I::None).wide().bytes(true, false),
        (true, 0xb7) => Row::new(Movzx_r32_rm16, RegRm, I::None).wide(),
        (true, 0xbe) => Row::new(Movsx_r32_rm8, RegRm, I::None).wide().bytes(true, false),
        (true, 0xbf) => Row::new(Movsx_r32_rm16, RegRm, I::None).wide(),
        _ => Row::new(INVALID, Unknown, I::None),
    }
}

static ROWS: [[Row; 256]; 2] = rows();

const fn rows() -> [[Row; 256]; 2] {
    let mut rows = [[row(false, 0); 256]; 2];
    let mut opcode = 0;
    while opcode < 256 {
        rows[0][opcode] = row(false, opcode as u8);
        rows[1][opcode] = row(true, opcode as u8);
        opcode += 1;
    }
    rows
}

/// The bytes of an instruction, from front to end.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    #[inline(always)]
    fn take<const COUNT: usize>(&mut self) -> Option<[u8; COUNT]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    #[inline(always)]
    fn signed_byte(&mut self) -> Option<i32> {
        self.take().map(i8::from_le_bytes).map(i32::from)
    }

    #[inline(always)]
    fn long(&mut self) -> Option<i32> {
        self.take().map(i32::from_le_bytes)
    }
}

/// The instruction that `bytes` begin with, as [`lower`](super::lower()) has it, if it is one of those in question and all of it is there. It lies `offset`
/// bytes into its block, behind `retired` others.
///
/// Inline, so that the op is never in memory by single fields and then read as a whole, which a processor waits for.
#[inline(always)]
pub fn frequent(bytes: &[u8], offset: u16, retired: u8) -> Option<Op> {
    let mut rest = Rest(bytes);
    let [first] = rest.take()?;
    let (rex, [opcode]) = if first & 0xf0 == 0x40 { (first, rest.take()?) } else { (0, [first]) };
    let (rows, [opcode]) = if opcode == 0x0f { (&ROWS[1], rest.take()?) } else { (&ROWS[0], [opcode]) };
    let Row { mut code, wide, step, selected, operands, bytes: [byte_rm, byte_reg], mut immediate } = rows[usize::from(opcode)];
    let mut is_wide = rex & REX_W != 0;
    let mut op = Op { offset, retired, ..Op::bare(Opcode::INVALID) };
    let mut memory = false;
    match operands {
        Operands::Unknown => return None,
        Operands::Implied => {}
        Operands::InOpcode => op.a = register(opcode & 7 | (rex & REX_B) << 3, byte_rm, rex),
        _ => {
            let [modrm] = rest.take()?;
            let field = modrm >> 3 & 7;
            memory = modrm < 0xc0;
            let rm = if memory {
                memory_operand(&mut op, modrm, rex, &mut rest)?;
                None
            } else {
                Some(register(modrm & 7 | (rex & REX_B) << 3, byte_rm, rex))
            };
            let reg = || Some(register(field | (rex & REX_R) << 1, byte_reg, rex));
            let (first, second) = match operands {
                Operands::RmReg => (rm, reg()),
                Operands::RegMemory if !memory => return None,
                Operands::RegRm | Operands::RegMemory => (reg(), rm),
                _ if field >= selected => return None,
                Operands::RmCl => (rm, Some(CL)),
                _ => (rm, None),
            };
            op.a = first.or(second).unwrap_or(0);
            op.b = first.and(second).unwrap_or(0);
            if operands == Operands::Unary && field >= 2 {
                immediate = Immediate::None;
            }
            if operands == Operands::Indirect && field >= 2 {
                if field & 1 != 0 {
                    return None;
                }
                is_wide = true;
            }
            code += u16::from(step) * u16::from(field);
        }
    }
    op.code = Opcode((code + u16::from(wide && is_wide)) * 2 + u16::from(memory));
    let mut distance = None;
    match immediate {
        Immediate::None => {}
        Immediate::One => op.immediate = 1,
        Immediate::Byte => op.immediate = rest.take().map(u8::from_le_bytes)?.into(),
        Immediate::SignedByte => op.immediate = i64::from(rest.signed_byte()?) as u64,
        Immediate::Whole if is_wide => op.immediate = rest.take().map(u64::from_le_bytes)?,
        Immediate::Long if is_wide => op.immediate = i64::from(rest.long()?) as u64,
        Immediate::Long | Immediate::Whole => op.immediate = rest.take().map(u32::from_le_bytes)?.into(),
        Immediate::NearBranch => distance = Some(rest.signed_byte()?),
        Immediate::Branch => distance = Some(rest.long()?),
    }
    op.length = (bytes.len() - rest.0.len()) as u8;
    // The library counts addresses from the start of the block, too.
    let from_end = |op: &Op, distance: i32| op.end() as i64 + i64::from(distance);
    if let Some(distance) = distance {
        op.set_target(from_end(&op, distance) as u64);
    } else if op.base == slot::BLOCK {
        let delta = from_end(&op, op.displacement);
        set_relative_address(&mut op, delta);
    }
    Some(op)
}

/// A register as [`lower`](super::lower()) numbers it: without REX, 4 to 7 are AH to BH.
#[inline(always)]
fn register(number: u8, byte: bool, rex: u8) -> u8 {
    match number {
        _ if !byte => number,
        4..8 if rex == 0 => (number - 4) * 8 + 1,
        _ => number * 8,
    }
}

/// The memory that ModRM says (SDM Vol. 2, 2.1.5 and 2.2.1). The displacement of one relative to RIP is left as it stands there, with [`slot::BLOCK`] as base.
#[inline(always)]
fn memory_operand(op: &mut Op, modrm: u8, rex: u8, rest: &mut Rest<'_>) -> Option<()> {
    let mode = modrm >> 6;
    let mut base = modrm & 7;
    let has_sib = base == 4;
    if has_sib {
        let [sib] = rest.take()?;
        base = sib & 7;
        op.scale = sib >> 6;
        match sib >> 3 & 7 | (rex & REX_X) << 2 {
            4 => {}
            index => op.index = index,
        }
    }
    if mode == 0 && base == 5 {
        op.displacement = rest.long()?;
        if !has_sib {
            op.base = slot::BLOCK;
        }
        return Some(());
    }
    op.base = base | (rex & REX_B) << 3;
    if matches!(op.base, slot::RSP | slot::RBP) {
        op.segment = slot::SS;
    }
    op.displacement = match mode {
        0 => 0,
        1 => rest.signed_byte()?,
        _ => rest.long()?,
    };
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::CodeSize;
    use crate::decode::{OPTIONS, lower};
    use iced_x86::Decoder;

    /// What the library says, if the bytes begin with a whole instruction.
    fn by_library(bytes: &[u8], offset: u16, retired: u8) -> Option<Op> {
        let instruction = Decoder::with_ip(64, bytes, offset.into(), OPTIONS).decode();
        (!instruction.is_invalid()).then(|| lower(&instruction, CodeSize::Bits64, offset, retired))
    }

    /// Compares both answers to an encoding, also where it ends too early. Returns whether it is here.
    fn compare(encoding: &[u8]) -> bool {
        let found = frequent(encoding, 700, 9);
        if let Some(op) = found {
            assert_eq!(Some(op), by_library(encoding, 700, 9), "{encoding:02x?}");
            for length in 0..usize::from(op.length) {
                assert_eq!(frequent(&encoding[..length], 700, 9), None, "{encoding:02x?} up to {length}");
            }
        }
        found.is_some()
    }

    #[test]
    fn the_library_says_the_same_of_every_opcode_with_all_operands() {
        // Displacements and immediates, with either sign.
        const BEHIND: [[u8; 12]; 2] = [
            [0x7f, 0x01, 0x02, 0x43, 0xf5, 0x06, 0x07, 0x18, 0x09, 0x0a, 0x0b, 0x0c],
            [0x80, 0xff, 0xfe, 0xbd, 0x05, 0xfa, 0xf9, 0xe8, 0xf7, 0xf6, 0xf5, 0xf4],
        ];
        let rexes = std::iter::once(None).chain((0x40..=0x4f).map(Some));
        let opcodes = |escape: Option<u8>| (0..=0xff_u8).map(move |opcode| (escape, opcode));
        let mut here = 0;
        for (rex, (escape, opcode)) in rexes.flat_map(|rex| opcodes(None).chain(opcodes(Some(0x0f))).map(move |opcode| (rex, opcode))) {
            let start: Vec<u8> = rex.into_iter().chain(escape).chain([opcode]).collect();
            // All of SIB where its meaning is seen best.
            let sibs = if opcode == 0x8b { 1 } else { 37 };
            for modrm in 0..=0xff_u8 {
                let has_sib = modrm < 0xc0 && modrm & 7 == 4;
                for sib in (0..=0xff_u8).step_by(if has_sib { sibs } else { 256 }) {
                    for behind in BEHIND {
                        let operands = std::iter::once(modrm).chain(has_sib.then_some(sib)).chain(behind);
                        here += usize::from(compare(&start.iter().copied().chain(operands).collect::<Vec<u8>>()));
                    }
                }
            }
        }
        assert!(here > 1_000_000, "{here}");
    }

    #[test]
    fn what_compilers_emit_most_is_here() {
        const ENCODINGS: &[&[u8]] = &[
            &[0x48, 0x89, 0xc2],                   // mov rdx,rax
            &[0x4c, 0x8b, 0x64, 0x24, 0x18],       // mov r12,[rsp+24]
            &[0x8b, 0x05, 1, 2, 3, 4],             // mov eax,[rip+...]
            &[0x48, 0x8d, 0x7c, 0xcf, 0x10],       // lea rdi,[rdi+rcx*8+16]
            &[0x41, 0x57],                         // push r15
            &[0x5b],                               // pop rbx
            &[0x31, 0xc0],                         // xor eax,eax
            &[0x48, 0x83, 0xec, 0x28],             // sub rsp,40
            &[0x84, 0xc0],                         // test al,al
            &[0x80, 0x3f, 0],                      // cmp byte ptr [rdi],0
            &[0x0f, 0xb6, 0x0c, 0x17],             // movzx ecx,byte ptr [rdi+rdx]
            &[0x74, 0xf0],                         // je
            &[0x0f, 0x85, 1, 2, 3, 4],             // jne
            &[0xe8, 1, 2, 3, 4],                   // call
            &[0xff, 0x25, 1, 2, 3, 4],             // jmp [rip+...]
            &[0xc3],                               // ret
            &[0x49, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8], // mov r8,...
            &[0x48, 0xc7, 0x45, 0xf8, 1, 2, 3, 4], // mov qword ptr [rbp-8],...
            &[0xc1, 0xe8, 3],                      // shr eax,3
            &[0x0f, 0x44, 0xc1],                   // cmove eax,ecx
            &[0x0f, 0x94, 0xc0],                   // sete al
        ];
        for encoding in ENCODINGS {
            assert!(compare(encoding), "{encoding:02x?}");
            assert_eq!(frequent(encoding, 0, 0).map(|op| usize::from(op.length)), Some(encoding.len()), "{encoding:02x?}");
        }
    }
}
