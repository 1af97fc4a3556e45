//! Bytes of guest code to the ops of a block.

use iced_x86::{Code, Decoder, DecoderError, DecoderOptions, Instruction, Register};

use super::{MAX_INSTRUCTION_BYTES, Op, Opcode, frequent, lower};
use crate::bus::PAGE_SIZE;
use crate::cpu::{CodeSize, Cr0, Cr4};

/// Options of the decoder: encodings whose meaning depends on what CPUID advertises: without BMI1 and LZCNT, TZCNT and LZCNT are BSF and BSR.
pub const OPTIONS: u32 = DecoderOptions::NO_MPFX_0FBC | DecoderOptions::NO_MPFX_0FBD | DecoderOptions::NO_WBNOINVD;

/// What besides the bytes decides how they are decoded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Mode(u8);

impl Mode {
    /// Bits above the code size: SSE or x87 and MMX are switched off.
    const NO_SSE: u8 = 1 << 2;
    const NO_MMX: u8 = 1 << 3;
    /// The code lies in a segment with a base or a limit: ways from one block to another depend on those, and are looked for each time.
    const SEGMENTED: u8 = 1 << 4;

    /// That of code which can be translated: 64 bits wide, with SSE and MMX.
    pub const TRANSLATED: Self = Self(0);

    /// For code of `size`, in a segment with a base or a limit or not, under these control registers.
    pub fn new(size: CodeSize, segmented: bool, cr0: u64, cr4: u64) -> Self {
        let size = match size {
            CodeSize::Bits64 => 0,
            CodeSize::Bits32 => 1,
            CodeSize::Bits16 => 2,
        };
        let mmx_off = cr0 & (Cr0::EM | Cr0::TS) != 0;
        let sse_off = mmx_off || cr4 & Cr4::OSFXSR == 0;
        let bit = |holds: bool, bit: u8| if holds { bit } else { 0 };
        Self(size | bit(sse_off, Self::NO_SSE) | bit(mmx_off, Self::NO_MMX) | bit(segmented, Self::SEGMENTED))
    }

    /// As a number.
    pub fn bits(self) -> u8 {
        self.0
    }

    fn size(self) -> CodeSize {
        match self.0 & 3 {
            0 => CodeSize::Bits64,
            1 => CodeSize::Bits32,
            _ => CodeSize::Bits16,
        }
    }
}

/// A form of an instruction that is implemented.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// The next instruction may follow it in its block.
    Inside,
    /// It ends its block.
    Last,
}

/// What is made of a block's ops.
pub trait Block {
    /// How a form of an instruction is implemented: `None` for those that are not, and for what is no instruction.
    fn form(code: Opcode) -> Option<Form>;

    /// Takes the next op.
    fn push(&mut self, op: Op);
}

/// Decodes at most `limit` instructions from the start of `bytes`, which lie `page_offset` bytes into their page and end with it at the latest.
/// The last op leaves the block. False, and no op, if the first instruction continues behind `bytes`.
pub fn decode_block<B: Block>(bytes: &[u8], mode: Mode, page_offset: u64, limit: usize, block: &mut B) -> bool {
    let size = mode.size();
    let mut offset = 0_u16;
    for retired in 0.. {
        let rest = &bytes[usize::from(offset)..];
        let end = || Op::end_of_block(offset, retired, size == CodeSize::Bits64, page_offset + u64::from(offset) >= PAGE_SIZE);
        if usize::from(retired) == limit || rest.is_empty() {
            block.push(end());
            break;
        }
        let frequent = if size == CodeSize::Bits64 { frequent(rest, offset, retired) } else { None };
        let found = match frequent {
            Some(op) => B::form(op.code).map(|form| (op, Some(form))),
            None => None,
        };
        let Some((mut op, form)) = found.or_else(|| any::<B>(rest, mode, offset, retired)) else {
            if retired == 0 {
                return false;
            }
            block.push(end());
            break;
        };
        if form == Some(Form::Last) && op.code.is_direct_branch() {
            place_branch(&mut op, size, page_offset);
        }
        offset = op.end() as u16;
        block.push(op);
        if form != Some(Form::Inside) {
            break;
        }
    }
    true
}

/// The instruction that `bytes` begin with, whatever it is, and how it is implemented. It lies `offset` bytes into its block, behind `retired` others.
/// `None` if it continues behind `bytes`.
#[inline(never)]
fn any<B: Block>(bytes: &[u8], mode: Mode, offset: u16, retired: u8) -> Option<(Op, Option<Form>)> {
    let size = mode.size();
    // Not moved, since it is large.
    let mut made = Decoder::try_with_ip(size as u32, bytes, offset.into(), OPTIONS);
    let decoder = made.as_mut().ok()?;
    let mut instruction = decoder.decode();
    if instruction.code() == Code::Pause {
        let encoding = &bytes[..instruction.len()];
        if let Some(exchange) = exchange_in_pauses_place(encoding, size, offset.into()) {
            instruction = exchange;
        }
    }
    let mut op = lower(&instruction, size, offset, retired);
    if instruction.code() == Code::INVALID {
        if decoder.last_error() == DecoderError::NoMoreBytes && bytes.len() < MAX_INSTRUCTION_BYTES {
            return None;
        }
        if is_too_long(bytes, size) {
            op.code = Opcode::TOO_LONG;
        }
        return Some((op, None));
    }
    let form = executable::<B>(&instruction, &mut op, mode);
    Some((op, form))
}

/// How an op is implemented. What cannot be executed is replaced: what is not implemented, or works on registers that are switched off.
#[inline(always)]
fn executable<B: Block>(instruction: &Instruction, op: &mut Op, mode: Mode) -> Option<Form> {
    let form = B::form(op.code);
    if form.is_none() {
        op.code = Opcode::UNIMPLEMENTED;
        op.immediate = instruction.code() as u64;
        return None;
    }
    if mode.0 & (Mode::NO_SSE | Mode::NO_MMX) != 0 {
        let has = |kind: fn(Register) -> bool| (0..instruction.op_count()).any(|operand| kind(instruction.op_register(operand)));
        let sse = mode.0 & Mode::NO_SSE != 0 && has(Register::is_xmm);
        if sse || mode.0 & Mode::NO_MMX != 0 && has(Register::is_mm) {
            op.code = Opcode::UNAVAILABLE;
            op.a = u8::from(sse);
            return None;
        }
    }
    form
}

/// Tells a direct branch which of its ways stay on the page.
fn place_branch(op: &mut Op, size: CodeSize, page_offset: u64) {
    let leaves = |delta: u64| page_offset.wrapping_add(delta) / PAGE_SIZE != 0;
    op.set_leaves_page(leaves(sign_extend(op.branch().target(), size)), leaves(op.end()));
}

/// F3 90 is PAUSE, but with REX.B it is XCHG of R8, of which the decoder knows nothing.
fn exchange_in_pauses_place(encoding: &[u8], size: CodeSize, ip: u64) -> Option<Instruction> {
    const CS_OVERRIDE: u8 = 0x2e;
    let [prefixes @ .., rex, _] = encoding else { return None };
    if size != CodeSize::Bits64 || rex & 0xf1 != 0x41 {
        return None;
    }
    let without_repeat = prefixes.iter().map(|&byte| if matches!(byte, 0xf2 | 0xf3) { CS_OVERRIDE } else { byte });
    let encoding: Vec<u8> = without_repeat.chain([*rex, 0x90]).collect();
    Some(Decoder::with_ip(size as u32, &encoding, ip, OPTIONS).decode())
}

/// Whether an invalid instruction is so because of its length alone. The decoder does not tell: so it is asked about the same without the prefixes that
/// do nothing, of which every instruction that is too long has some.
fn is_too_long(bytes: &[u8], size: CodeSize) -> bool {
    let Some(longest) = bytes.get(..MAX_INSTRUCTION_BYTES) else { return false };
    let is_rex = |byte: u8| size == CodeSize::Bits64 && matches!(byte, 0x40..=0x4f);
    let is_segment = |byte: u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65);
    let is_repeat = |byte: u8| matches!(byte, 0xf2 | 0xf3);
    let is_prefix = |byte: u8| is_segment(byte) || is_repeat(byte) || is_rex(byte) || matches!(byte, 0x66 | 0x67 | 0xf0);
    let count = longest.iter().take_while(|&&byte| is_prefix(byte)).count();
    let prefixes = &longest[..count];
    // What a processor would have to fetch to know the length is looked at if it is there.
    let rest = &bytes[count..bytes.len().min(count + MAX_INSTRUCTION_BYTES)];
    // The length counts also where a prefix makes an instruction invalid.
    let length = [(true, true), (false, true), (true, false), (false, false)].into_iter().find_map(|(with_repeat, with_size)| {
        let kept = prefixes.iter().enumerate().filter(|&(place, &byte)| match byte {
            0x66 => with_size && !prefixes[..place].contains(&byte),
            0x67 => !prefixes[..place].contains(&byte),
            _ if is_rex(byte) => place + 1 == count,
            _ if is_repeat(byte) => with_repeat && !prefixes[place + 1..].iter().any(|&byte| is_repeat(byte)),
            _ => false,
        });
        let mut shorter: Vec<u8> = kept.map(|(_, &byte)| byte).collect();
        let dropped = count - shorter.len();
        shorter.extend(rest);
        shorter.resize(MAX_INSTRUCTION_BYTES.max(shorter.len()), 0);
        let instruction = Decoder::with_ip(size as u32, &shorter, 0, OPTIONS).decode();
        (instruction.code() != Code::INVALID).then_some(dropped + instruction.len())
    });
    length.is_some_and(|length| length > MAX_INSTRUCTION_BYTES)
}

/// Branch distances of 32-bit code are 32 bits wide.
fn sign_extend(delta: u64, size: CodeSize) -> u64 {
    if size == CodeSize::Bits64 { delta } else { i64::from(delta as i32) as u64 }
}
