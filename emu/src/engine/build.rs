//! The guest's code at an address to the slots of a block.

use crate::bus::{PAGE_SIZE, Ram};
use crate::cache::{BlockKey, Slot};
use crate::cpu::{CodeSize, Exception};
use crate::decode::{MAX_INSTRUCTION_BYTES, Mode, Op, Opcode, decode_block};
use crate::exec::{self, Slots};
use crate::vcpu::Vcpu;

/// What instructions are fetched from: RAM, or a bus that nothing drives. `length` is up to the end of the page at most.
fn code_bytes(ram: &Ram, address: u64, length: usize) -> &[u8] {
    const UNDRIVEN: [u8; PAGE_SIZE as usize] = [0xff; PAGE_SIZE as usize];
    if ram.contains(address, length as u64) { &ram.bytes()[address as usize..][..length] } else { &UNDRIVEN[..length] }
}

impl Vcpu {
    /// Linear address of the page after that of `linear`.
    pub(super) fn next_page(&self, linear: u64) -> u64 {
        let next = (linear | (PAGE_SIZE - 1)).wrapping_add(1);
        if self.code_size == CodeSize::Bits64 { next } else { next & u64::from(u32::MAX) }
    }

    /// What stands in front of a block's ops: what counts it, or runs its translated code, if there is some that was made of what stands on its page.
    pub(super) fn front(&mut self, key: BlockKey, linear: u64) -> Option<Slot> {
        if key.mode != Mode::TRANSLATED || self.cache.is_plain() {
            return None;
        }
        let (start, offset) = (key.address & !(PAGE_SIZE - 1), (key.address % PAGE_SIZE) as u16);
        let page: &[u8; PAGE_SIZE as usize] = code_bytes(self.mmu.ram(), start, PAGE_SIZE as usize).try_into().ok()?;
        if self.cache.profile.is_some() {
            let page = *page;
            let profile = self.cache.profile.as_mut()?;
            let index = profile.index((start / PAGE_SIZE) as u32, linear, offset, &page);
            return Some(Slot::new(Op { immediate: index.into(), ..Op::bare(Opcode::COUNTED) }));
        }
        let (handler, entry) = self.cache.translated().find(page, offset)?;
        Some(exec::translated::slot(handler, entry))
    }

    /// Begins a block of at most `limit` instructions from guest-physical `address`, which `linear` leads to, up to the end of the code segment, behind
    /// what stands in front of it. Returns the number of the second page, if it is one instruction that lies on two. An instruction that lies beyond
    /// the segment in part raises #GP(0).
    pub(super) fn build(&mut self, address: u64, linear: u64, limit: usize, front: Option<Slot>) -> Result<Option<u32>, Exception> {
        let mode = self.decode_mode();
        let room = usize::try_from(self.code_room()).unwrap_or(usize::MAX);
        let page_offset = address % PAGE_SIZE;
        let page_left = (PAGE_SIZE - page_offset) as usize;
        let bytes = code_bytes(self.mmu.ram(), address, page_left.min(room));
        if decode_block(bytes, mode, page_offset, limit, &mut Slots::begin(&mut self.cache, front)) {
            return Ok(None);
        }
        if room <= page_left {
            return Err(Exception::GP0);
        }
        let mut both = [0; MAX_INSTRUCTION_BYTES];
        both[..page_left].copy_from_slice(bytes);
        let (second, _) = self.translate_fetch(self.next_page(linear))?;
        both[page_left..].copy_from_slice(code_bytes(self.mmu.ram(), second, MAX_INSTRUCTION_BYTES - page_left));
        if !decode_block(&both[..room.min(MAX_INSTRUCTION_BYTES)], mode, page_offset, 1, &mut Slots::begin(&mut self.cache, front)) {
            return Err(Exception::GP0);
        }
        Ok(self.mmu.ram().contains(second, PAGE_SIZE).then_some((second / PAGE_SIZE) as u32))
    }
}
