//! The guest's code at an address to the slots of a block.

use crate::bus::PAGE_SIZE;
use crate::cache::{BlockKey, Slot};
use crate::cpu::{CodeSize, Exception};
use crate::decode::{MAX_INSTRUCTION_BYTES, Mode, Op, Opcode, decode_block};
use crate::exec::{self, Slots};
use crate::vcpu::Vcpu;

/// A block before it is cached.
pub struct Built {
    pub slots: Vec<Slot>,
    /// Page number of the second page, when the block is one instruction that lies on two.
    pub second_page: Option<u32>,
}

impl Vcpu {
    /// Linear address of the page after that of `linear`.
    pub(super) fn next_page(&self, linear: u64) -> u64 {
        let next = (linear | (PAGE_SIZE - 1)).wrapping_add(1);
        if self.code_size == CodeSize::Bits64 { next } else { next & u64::from(u32::MAX) }
    }

    /// What instructions are fetched from: RAM, or a bus that nothing drives. `length` is up to the end of the page at most.
    fn code_bytes(&self, address: u64, length: usize) -> &[u8] {
        const UNDRIVEN: [u8; PAGE_SIZE as usize] = [0xff; PAGE_SIZE as usize];
        let ram = self.mmu.ram();
        if ram.contains(address, length as u64) { &ram.bytes()[address as usize..][..length] } else { &UNDRIVEN[..length] }
    }

    /// What stands in front of a block's ops: what counts it, or runs its translated code, if there is some that was made of what stands on its page.
    pub(super) fn front(&mut self, key: BlockKey, linear: u64) -> Option<Slot> {
        if key.mode != Mode::TRANSLATED || self.cache.is_plain() {
            return None;
        }
        let (start, offset) = (key.address & !(PAGE_SIZE - 1), (key.address % PAGE_SIZE) as u16);
        let page: &[u8; PAGE_SIZE as usize] = self.code_bytes(start, PAGE_SIZE as usize).try_into().ok()?;
        if self.cache.profile.is_some() {
            let page = *page;
            let profile = self.cache.profile.as_mut()?;
            let index = profile.index((start / PAGE_SIZE) as u32, linear, offset, &page);
            return Some(Slot::new(Op { immediate: index.into(), ..Op::bare(Opcode::COUNTED) }));
        }
        let (handler, entry) = self.cache.translated().find(page, offset)?;
        Some(exec::translated::slot(handler, entry))
    }

    /// Decodes at most `limit` instructions from guest-physical `address`, which `linear` leads to, up to the end of the code segment. An instruction
    /// that lies beyond that in part raises #GP(0).
    pub(super) fn build(&mut self, address: u64, linear: u64, limit: usize) -> Result<Built, Exception> {
        let mode = self.decode_mode();
        let room = usize::try_from(self.code_room()).unwrap_or(usize::MAX);
        let page_offset = address % PAGE_SIZE;
        let page_left = (PAGE_SIZE - page_offset) as usize;
        let mut slots = Slots::for_instructions(limit, self.cache.take_scratch());
        let bytes = self.code_bytes(address, page_left.min(room));
        if decode_block(bytes, mode, page_offset, limit, &mut slots) {
            return Ok(Built { slots: slots.into_vec(), second_page: None });
        }
        if room <= page_left {
            return Err(Exception::GP0);
        }
        let mut both = [0; MAX_INSTRUCTION_BYTES];
        both[..page_left].copy_from_slice(bytes);
        let (second, _) = self.translate_fetch(self.next_page(linear))?;
        both[page_left..].copy_from_slice(self.code_bytes(second, MAX_INSTRUCTION_BYTES - page_left));
        if !decode_block(&both[..room.min(MAX_INSTRUCTION_BYTES)], mode, page_offset, 1, &mut slots) {
            return Err(Exception::GP0);
        }
        let second_page = self.mmu.ram().contains(second, PAGE_SIZE).then_some((second / PAGE_SIZE) as u32);
        Ok(Built { slots: slots.into_vec(), second_page })
    }
}
