//! Bytes at an address to the slots of a block.

use iced_x86::{Code, Decoder, DecoderError, DecoderOptions, Instruction};

use crate::bus::PAGE_SIZE;
use crate::cache::Slot;
use crate::cpu::{Cr0, Cr4, Exception};
use crate::decode::{AddressMode, Op, Opcode, lower};
use crate::exec::{implements, is_terminal};
use crate::vcpu::{CodeSize, Vcpu};

/// Encodings whose meaning depends on what CPUID advertises: without BMI1 and LZCNT, TZCNT and LZCNT are BSF and BSR.
const OPTIONS: u32 = DecoderOptions::NO_MPFX_0FBC | DecoderOptions::NO_MPFX_0FBD | DecoderOptions::NO_WBNOINVD;

const MAX_INSTRUCTION: usize = 15;

/// Bits of the decode mode above the code size: SSE or x87 and MMX are switched off.
const NO_SSE: u8 = 1 << 2;
const NO_MMX: u8 = 1 << 3;

/// A block before it is cached.
pub struct Built {
    pub slots: Vec<Slot>,
    /// Page number of the second page, when the block is one instruction that lies on two.
    pub second_page: Option<u32>,
}

/// Linear address of the page after that of `linear`.
pub fn next_page(linear: u64) -> u64 {
    (linear | (PAGE_SIZE - 1)).wrapping_add(1)
}

impl Vcpu {
    /// What besides the bytes decides how they are decoded.
    pub(super) fn decode_mode(&self) -> u8 {
        let size = match self.code_size {
            CodeSize::Bits64 => 0,
            CodeSize::Bits32 => 1,
            CodeSize::Bits16 => 2,
        };
        let mmx_off = self.control.cr0 & (Cr0::EM | Cr0::TS) != 0;
        let sse_off = mmx_off || self.control.cr4 & Cr4::OSFXSR == 0;
        size | if sse_off { NO_SSE } else { 0 } | if mmx_off { NO_MMX } else { 0 }
    }

    /// What instructions are fetched from: RAM, or a bus that nothing drives. `length` is up to the end of the page at most.
    fn code_bytes(&self, address: u64, length: usize) -> &[u8] {
        const UNDRIVEN: [u8; PAGE_SIZE as usize] = [0xff; PAGE_SIZE as usize];
        if self.ram.contains(address, length as u64) { &self.ram.bytes()[address as usize..][..length] } else { &UNDRIVEN[..length] }
    }

    /// Decodes at most `limit` instructions from guest-physical `address`, which `linear` leads to.
    pub(super) fn build(&mut self, address: u64, linear: u64, limit: usize) -> Result<Built, Exception> {
        let page_left = (PAGE_SIZE - address % PAGE_SIZE) as usize;
        let bytes = self.code_bytes(address, page_left);
        let mut builder = Builder {
            mode: self.decode_mode(),
            size: self.code_size,
            page_offset: address % PAGE_SIZE,
            slots: Vec::with_capacity(limit + 1),
        };
        if builder.decode(bytes, limit) == Decoded::NeedsNextPage {
            let mut both = [0; MAX_INSTRUCTION];
            both[..page_left].copy_from_slice(bytes);
            let (second, _) = self.translate_fetch(next_page(linear))?;
            both[page_left..].copy_from_slice(self.code_bytes(second, MAX_INSTRUCTION - page_left));
            builder.decode(&both, 1);
            let second_page = self.ram.contains(second, PAGE_SIZE).then_some((second / PAGE_SIZE) as u32);
            return Ok(Built { slots: builder.slots, second_page });
        }
        Ok(Built { slots: builder.slots, second_page: None })
    }
}

#[derive(PartialEq, Eq)]
enum Decoded {
    Block,
    /// The first instruction goes on behind the bytes given.
    NeedsNextPage,
}

struct Builder {
    mode: u8,
    size: CodeSize,
    page_offset: u64,
    slots: Vec<Slot>,
}

impl Builder {
    fn decode(&mut self, bytes: &[u8], limit: usize) -> Decoded {
        let mut decoder = Decoder::with_ip(self.size as u32, bytes, 0, OPTIONS);
        let mut instruction = Instruction::default();
        loop {
            let retired = self.slots.len() as u8;
            let offset = decoder.ip() as u16;
            if self.slots.len() == limit || !decoder.can_decode() {
                return self.end(offset, retired);
            }
            decoder.decode_out(&mut instruction);
            let mut op = lower(&instruction, self.size, offset, retired);
            if instruction.code() == Code::INVALID {
                let available = bytes.len() - usize::from(offset);
                if decoder.last_error() == DecoderError::NoMoreBytes && available < MAX_INSTRUCTION {
                    if self.slots.is_empty() {
                        return Decoded::NeedsNextPage;
                    }
                    return self.end(offset, retired);
                }
                if is_too_long(&bytes[usize::from(offset)..]) {
                    op.code = Opcode::TOO_LONG;
                }
            } else {
                self.restrict(&instruction, &mut op);
            }
            let terminal = is_terminal(&op);
            if terminal {
                self.place_branch(&mut op);
            }
            if let Some(first) = self.slots.last_mut() {
                first.fuse(&op);
            }
            self.slots.push(Slot::new(op));
            if terminal {
                return Decoded::Block;
            }
        }
    }

    /// Replaces what cannot be executed: not implemented, or on registers that are switched off.
    fn restrict(&self, instruction: &Instruction, op: &mut Op) {
        let registers = (0..instruction.op_count()).map(|operand| instruction.op_register(operand));
        let (mut sse, mut mmx) = (false, false);
        for register in registers {
            sse |= register.is_xmm();
            mmx |= register.is_mm();
        }
        if !implements(instruction.code(), op.code.0 & 1 != 0) {
            op.code = Opcode::UNIMPLEMENTED;
            op.immediate = instruction.code() as u64;
        } else if sse && self.mode & NO_SSE != 0 {
            op.code = Opcode::UNAVAILABLE;
            op.a = 1;
        } else if mmx && self.mode & NO_MMX != 0 {
            op.code = Opcode::UNAVAILABLE;
            op.a = 0;
        }
    }

    /// Tells a direct branch which of its ways stay on the page.
    fn place_branch(&self, op: &mut Op) {
        let code = op.code;
        if crate::exec::is_direct_branch(code) {
            let away = |delta: u64| u8::from(self.page_offset.wrapping_add(delta) >> 12 != 0);
            op.a = away(sign_extend(op.immediate, self.size));
            op.b = away(op.end());
        }
    }

    /// Ends a block whose last instruction is no branch.
    fn end(&mut self, offset: u16, retired: u8) -> Decoded {
        let legacy = if self.size == CodeSize::Bits64 { 0 } else { AddressMode::LEGACY };
        let op = Op {
            code: Opcode::FALL_THROUGH,
            a: legacy,
            b: u8::from(self.page_offset + u64::from(offset) >= PAGE_SIZE),
            base: 0,
            index: 0,
            scale: 0,
            segment: 0,
            displacement: 0,
            offset,
            retired,
            length: 0,
            immediate: 0,
        };
        self.slots.push(Slot::new(op));
        Decoded::Block
    }
}

/// Branch distances of 32-bit code are 32 bits wide.
fn sign_extend(delta: u64, size: CodeSize) -> u64 {
    if size == CodeSize::Bits64 { delta } else { i64::from(delta as i32) as u64 }
}

/// Whether an invalid instruction is so because of its length alone: nothing but prefixes in all of its 15 bytes.
fn is_too_long(bytes: &[u8]) -> bool {
    let prefix = |byte: &u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3 | 0x40..=0x4f);
    bytes.len() >= MAX_INSTRUCTION - 1 && bytes[..MAX_INSTRUCTION - 1].iter().all(prefix)
}
