//! Memory access the slow way: every check, every kind of page.

use super::Vcpu;
use crate::bus::{AddressSpace, PAGE_SIZE};
use crate::cpu::{CodeSize, Cr0, Datum, Exception, Rflags, is_canonical, slot};
use crate::decode::AddressMode;
use crate::mmu::{AccessKind, LinearAccess};
use devices::platform::{GuestMemory, Presence};

impl Vcpu {
    /// Whether misaligned accesses raise #AC (SDM Vol. 3, 6.15).
    pub(super) fn checks_alignment(&self) -> bool {
        self.cpl == 3 && self.system_flags & Rflags::AC != 0 && self.control.cr0 & Cr0::AM != 0
    }

    /// Raises #AC for an access to data that is not aligned, if the program has asked for that.
    pub fn check_alignment<T: Datum>(&self, linear: u64) -> Result<(), Exception> {
        if self.checks_alignment() && !linear.is_multiple_of(T::ALIGNMENT) { Err(Exception::ALIGNMENT) } else { Ok(()) }
    }

    /// Checks canonicality (64-bit mode) or segment rights and limit, as SDM Vol. 3, 5.3 and Vol. 1, 3.3.7.1 say. Offsets arrive with
    /// the segment's base already added; the linear address that is left is a page's.
    fn check_segment(&self, segment: u8, linear: u64, length: u64, write: bool) -> Result<u64, Exception> {
        let stack = segment == slot::SS;
        let fault = if stack { Exception::SS0 } else { Exception::GP0 };
        if self.code_size == CodeSize::Bits64 {
            let last = linear.wrapping_add(length - 1);
            return if is_canonical(linear) && is_canonical(last) { Ok(linear) } else { Err(fault) };
        }
        let linear = linear & !AddressMode::CHECKED;
        if segment < slot::SEGMENT {
            return Ok(linear);
        }
        let register = &self.segments[(segment - slot::SEGMENT) as usize];
        if register.attributes == 0 {
            return Err(Exception::GP0);
        }
        if write && !register.is_writable() || !write && !register.is_readable() {
            return Err(fault);
        }
        let offset = u64::from((linear as u32).wrapping_sub(register.base as u32));
        if register.covers(offset, length) { Ok(linear) } else { Err(fault) }
    }

    /// An access that an instruction asks for.
    #[inline]
    pub(super) fn explicit_access(&self, kind: AccessKind) -> LinearAccess {
        LinearAccess { kind, user: self.cpl == 3, may_touch_user: self.system_flags & Rflags::AC != 0 }
    }

    /// Translates an address, with the rights of `access`.
    fn translate(&mut self, linear: u64, access: LinearAccess) -> Result<u64, Exception> {
        let address = self.mmu.translate(&self.control, &self.debug.breakpoints, linear, access)?;
        if self.mmu.has_code_writes() {
            self.attention = true;
        }
        Ok(address)
    }

    /// Physical address of an instruction byte, and whether a CR3 load keeps the translation.
    pub fn translate_fetch(&mut self, linear: u64) -> Result<(u64, bool), Exception> {
        self.mmu.translate_fetch(&self.control, linear, self.cpl == 3)
    }

    /// A byte of an instruction that has just been fetched, if it came from RAM.
    pub fn fetched_byte(&mut self, linear: u64) -> Option<u8> {
        let (address, _) = self.translate_fetch(linear).ok()?;
        self.mmu.ram().bytes().get(address as usize).copied()
    }

    /// Reads from RAM or from devices.
    fn read_physical(&mut self, address: u64, bytes: &mut [u8]) {
        if self.mmu.read(address, bytes) {
            return;
        }
        self.attention = true;
        let mut done = 0;
        while done < bytes.len() {
            let size = access_size(address + done as u64, bytes.len() - done);
            let value = self.read_board(AddressSpace::Memory, address + done as u64, size as u8);
            bytes[done..done + size].copy_from_slice(&value.to_le_bytes()[..size]);
            done += size;
        }
    }

    /// Writes to RAM that is there, or to devices. A device that cannot have the memory that it needs has done nothing.
    fn write_physical(&mut self, address: u64, bytes: &[u8]) -> Result<(), Exception> {
        if self.mmu.store(address, bytes) {
            if self.mmu.has_code_writes() {
                self.attention = true;
            }
            return Ok(());
        }
        self.attention = true;
        let mut done = 0;
        while done < bytes.len() {
            let size = access_size(address + done as u64, bytes.len() - done);
            let mut value = [0; 8];
            value[..size].copy_from_slice(&bytes[done..done + size]);
            self.write_board(AddressSpace::Memory, address + done as u64, size as u8, u64::from_le_bytes(value));
            done += size;
        }
        if self.mmu.ram().presence() == Presence::Stalled { Err(Exception::UNAVAILABLE) } else { Ok(()) }
    }

    /// Reads `size` bytes (1, 2, 4 or 8) from the board.
    pub fn read_board(&mut self, space: AddressSpace, address: u64, size: u8) -> u64 {
        let (board, memory, now) = self.board_and_memory();
        board.read(space, address, size, memory, now)
    }

    /// Writes the low `size` bytes of `value` to the board.
    pub fn write_board(&mut self, space: AddressSpace, address: u64, size: u8, value: u64) {
        let (board, memory, now) = self.board_and_memory();
        board.write(space, address, size, value, memory, now);
    }

    /// Reads with every check. `segment` is the register-file slot of the segment, `linear` has its base added.
    pub fn load_slow<T: Datum>(&mut self, segment: u8, linear: u64) -> Result<T, Exception> {
        let linear = self.check_segment(segment, linear, T::BYTES, false)?;
        self.check_alignment::<T>(linear)?;
        let access = self.explicit_access(AccessKind::Read);
        let value = self.load_as(linear, access)?;
        self.watch(linear, T::BYTES, false);
        Ok(value)
    }

    /// Writes with every check; see [`Vcpu::load_slow`].
    pub fn store_slow<T: Datum>(&mut self, segment: u8, linear: u64, value: T) -> Result<(), Exception> {
        let linear = self.check_segment(segment, linear, T::BYTES, true)?;
        self.check_alignment::<T>(linear)?;
        let access = self.explicit_access(AccessKind::Write);
        self.store_as(linear, value, access)?;
        self.watch(linear, T::BYTES, true);
        Ok(())
    }

    /// Reads, modifies and writes with every check; what the modification returns is passed on.
    pub fn modify_slow<T: Datum, R>(&mut self, segment: u8, linear: u64, change: impl FnOnce(T) -> (T, R)) -> Result<R, Exception> {
        let linear = self.check_segment(segment, linear, T::BYTES, true)?;
        self.check_alignment::<T>(linear)?;
        let access = self.explicit_access(AccessKind::Write);
        let (first, second) = self.translate_span(linear, T::BYTES, access)?;
        let (value, result) = change(self.load_span(linear, first, second));
        self.store_span(linear, value, first, second)?;
        self.watch(linear, T::BYTES, true);
        Ok(result)
    }

    /// Reads as the CPU itself does from descriptor tables and the TSS: a supervisor access at any CPL.
    pub fn load_system<T: Datum>(&mut self, linear: u64) -> Result<T, Exception> {
        if !is_canonical(linear) {
            return Err(Exception::GP0);
        }
        self.load_as(linear, LinearAccess { kind: AccessKind::Read, user: false, may_touch_user: false })
    }

    /// Writes as the CPU itself does to descriptor tables and the TSS.
    pub fn store_system<T: Datum>(&mut self, linear: u64, value: T) -> Result<(), Exception> {
        if !is_canonical(linear) {
            return Err(Exception::GP0);
        }
        self.store_as(linear, value, LinearAccess { kind: AccessKind::Write, user: false, may_touch_user: false })
    }

    /// Writes to a stack with the rights of privilege level `cpl`, which need not be the current one (interrupt delivery).
    pub fn store_stack<T: Datum>(&mut self, linear: u64, value: T, cpl: u8) -> Result<(), Exception> {
        if !is_canonical(linear) || !is_canonical(linear.wrapping_add(T::BYTES - 1)) {
            return Err(Exception::SS0);
        }
        self.store_as(linear, value, LinearAccess { kind: AccessKind::Write, user: cpl == 3, may_touch_user: false })
    }

    fn load_as<T: Datum>(&mut self, linear: u64, access: LinearAccess) -> Result<T, Exception> {
        if let Some(pointer) = self.mmu.readable_as(&self.control, access, linear, T::BYTES) {
            // SAFETY: a TLB hit points at `BYTES` readable bytes of guest RAM.
            return Ok(unsafe { T::load(pointer) });
        }
        let (first, second) = self.translate_span(linear, T::BYTES, access)?;
        Ok(self.load_span(linear, first, second))
    }

    fn store_as<T: Datum>(&mut self, linear: u64, value: T, access: LinearAccess) -> Result<(), Exception> {
        if let Some(pointer) = self.mmu.writable_as(&self.control, access, linear, T::BYTES) {
            // SAFETY: a TLB hit points at `BYTES` writable bytes of guest RAM.
            unsafe { value.store(pointer) };
            return Ok(());
        }
        let (first, second) = self.translate_span(linear, T::BYTES, access)?;
        self.store_span(linear, value, first, second)
    }

    /// Physical addresses of an access's first byte and of the first byte on the next page, if it reaches that.
    fn translate_span(&mut self, linear: u64, length: u64, access: LinearAccess) -> Result<(u64, Option<u64>), Exception> {
        let first = self.translate(linear, access)?;
        let mut next = (linear | (PAGE_SIZE - 1)).wrapping_add(1);
        if self.code_size != CodeSize::Bits64 {
            next &= u64::from(u32::MAX);
        }
        let crosses = linear & (PAGE_SIZE - 1) > PAGE_SIZE - length;
        let second = if crosses { Some(self.translate(next, access)?) } else { None };
        Ok((first, second))
    }

    fn load_span<T: Datum>(&mut self, linear: u64, first: u64, second: Option<u64>) -> T {
        let mut bytes = [0; 16];
        let length = T::BYTES as usize;
        match second {
            None => self.read_physical(first, &mut bytes[..length]),
            Some(second) => {
                let split = (PAGE_SIZE - (linear & (PAGE_SIZE - 1))) as usize;
                let (low, high) = bytes[..length].split_at_mut(split);
                self.read_physical(first, low);
                self.read_physical(second, high);
            }
        }
        T::from_u128(u128::from_le_bytes(bytes))
    }

    fn store_span<T: Datum>(&mut self, linear: u64, value: T, first: u64, second: Option<u64>) -> Result<(), Exception> {
        let bytes = value.to_u128().to_le_bytes();
        let length = T::BYTES as usize;
        match second {
            None => self.write_physical(first, &bytes[..length]),
            Some(second) => {
                let split = (PAGE_SIZE - (linear & (PAGE_SIZE - 1))) as usize;
                self.write_physical(first, &bytes[..split])?;
                self.write_physical(second, &bytes[split..length])
            }
        }
    }
}

/// The largest naturally aligned access at `address` that takes no more than `left` bytes.
fn access_size(address: u64, left: usize) -> usize {
    [8, 4, 2].into_iter().find(|&size| size <= left && address.is_multiple_of(size as u64)).unwrap_or(1)
}
