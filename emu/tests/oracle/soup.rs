//! Bytes drawn by lot: encodings that no table of instructions would give, with prefixes of all kinds in any order, at the end of a page or of the code segment.

use emu::exec;
use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind};

use super::case::{self, Case};
use super::field::Field;
use super::generate;
use super::ins::Given;
use super::rng::Rng;
use super::world::*;

/// The longest instruction, and one byte more.
const BYTES: usize = 16;
const PREFIXES: [u8; 11] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3];

/// A case of `bits`-bit code; `None` if the draw is none for the host.
pub fn draw(bits: u32, rng: &mut Rng) -> Option<Case> {
    let mut bytes = [0; BYTES];
    bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&rng.next().to_le_bytes()));
    let prefixes = match rng.below(8) {
        0..4 => 0,
        4..7 => rng.below(3),
        _ => rng.below(15),
    } as usize;
    for byte in &mut bytes[..prefixes] {
        *byte = if bits == 64 && rng.one_in(3) { 0x40 | rng.below(16) as u8 } else { rng.pick(&PREFIXES) };
    }
    if rng.one_in(3) {
        bytes[prefixes] = 0x0f;
    }
    let instruction = *case::decode(bits, &bytes, ENTRY).first()?;
    let length = if instruction.is_invalid() { BYTES } else { instruction.len() };
    if !suits(&instruction, &bytes, prefixes, bits) {
        return None;
    }
    // Where code may end: with its page, with the code segment in the middle of the window, with the window.
    // How many bytes a processor fetches of what is no instruction is its own affair.
    let place = match rng.below(16) {
        _ if instruction.is_invalid() => ENTRY,
        0 => CODE + PAGE as u64 - 1 - rng.below(length as u64),
        1 => CODE + WINDOW as u64 - 1 - rng.below(length as u64),
        _ => ENTRY,
    };
    let mut given = vec![Given::Field(Field::Rip, vec![place.into()])];
    if bits == 32 && rng.one_in(8) {
        given.push(Given::Field(Field::Segment(seg::CS), vec![CODE_LDT.into()]));
    }
    let limited = given.len() > 1;
    // What the limit leaves of a segment is where a case starts.
    if limited && place >= CODE + PAGE as u64 {
        return None;
    }
    // Now and then the host refuses a branch that ends with its segment, depending on what it has fetched ahead.
    if limited && place != ENTRY && instruction.flow_control() != FlowControl::Next {
        return None;
    }
    Some(Case::new("soup".to_string(), bits, &bytes[..length], &given, true, rng))
}

/// Whether an instruction is one that host and ours both know, or both do not know.
fn suits(instruction: &Instruction, bytes: &[u8], prefixes: usize, bits: u32) -> bool {
    if instruction.is_invalid() {
        // With many prefixes it may be that its length alone makes it invalid. Of what is no instruction anyway, each processor counts another length.
        const FEW: usize = 4;
        return if prefixes <= FEW { is_unknown(bytes, bits) } else { is_known(&without_prefixes(bytes, bits), bits) };
    }
    is_known(bytes, bits)
}

/// Nobody's instruction: to others than ours some are.
fn is_unknown(bytes: &[u8], bits: u32) -> bool {
    const OTHERS: [u32; 3] = [DecoderOptions::AMD, DecoderOptions::MPX | DecoderOptions::UMOV | DecoderOptions::XBTS, DecoderOptions::KNC];
    let vector = bytes.iter().any(|byte| matches!(byte, 0x62 | 0xc4 | 0xc5 | 0x8f | 0xd5));
    // AMD looks at the operand of LOCK VERR before it refuses the prefix.
    let reserved = |pair: &[u8]| {
        matches!(
            pair,
            [
                0x0f,
                0x00
                | 0x01
                | 0x0d..=0x0f
                | 0x18..=0x1f
                | 0x24..=0x27
                | 0x36..=0x3a
                | 0x78
                | 0x79
                | 0xa6
                | 0xa7
                | 0xae
                | 0xb8
                | 0xb9
                | 0xc7
                | 0xff,
            ]
        )
    };
    !vector && !bytes.windows(2).any(reserved) && OTHERS.iter().all(|options| Decoder::new(bits, bytes, *options).decode().is_invalid())
}

/// What does not change an instruction's length is left out.
fn without_prefixes(bytes: &[u8], bits: u32) -> Vec<u8> {
    let is_prefix = |byte: &&u8| PREFIXES.contains(byte) || bits == 64 && matches!(byte, 0x40..=0x4f);
    let count = bytes.iter().take_while(is_prefix).count();
    let (prefixes, rest) = bytes.split_at(count);
    prefixes.iter().filter(|byte| matches!(byte, 0x66 | 0x67 | 0x40..=0x4f)).chain(rest).copied().collect()
}

fn is_known(bytes: &[u8], bits: u32) -> bool {
    let Some(instruction) = case::decode(bits, bytes, ENTRY).first().copied() else { return false };
    let code = instruction.code();
    if code == Code::INVALID || generate::excluded(code).is_some() || !generate::is_legacy(code) {
        return false;
    }
    let repeated = bytes.iter().any(|byte| matches!(byte, 0xf2 | 0xf3));
    let enters_the_kernel = matches!(instruction.mnemonic(), Mnemonic::Syscall | Mnemonic::Sysenter | Mnemonic::Int | Mnemonic::Int1);
    // AMD takes 66h for the operand size of branches in 64-bit code, Intel ignores it; it lets F2h and F3h change the condition of LOOPcc; it reads what LOCK VERR names; its UD0 and UD1
    // have no ModRM byte, its LOCK MOV CR0 is that of CR8, and its RET looks at the outer stack first.
    let branches = instruction.flow_control() != FlowControl::Next;
    let amds = branches && (bits == 64 && bytes.contains(&0x66) || repeated && (instruction.is_loop() || instruction.is_loopcc()))
        || matches!(instruction.mnemonic(), Mnemonic::Ud0 | Mnemonic::Ud1 | Mnemonic::Verr | Mnemonic::Verw)
        || instruction.mnemonic() == Mnemonic::Retf && instruction.op_count() == 1
        || instruction.op0_register().is_cr()
        || instruction.op1_register().is_cr();
    // To the host these may be LZCNT and TZCNT.
    let counts = matches!(instruction.mnemonic(), Mnemonic::Bsf | Mnemonic::Bsr) && repeated;
    let direct =
        branches && instruction.op_kinds().any(|kind| matches!(kind, OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64));
    let hangs = direct && instruction.near_branch_target().wrapping_sub(ENTRY) < BYTES as u64;
    !enters_the_kernel && !amds && !counts && !hangs && exec::implements(code, generate::has_memory_operand(&instruction))
}
