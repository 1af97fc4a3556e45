//! The virtual CPU: architectural state, memory access, time, and the caches that the engine keeps for it.

use crate::bus::{Board, PAGE_SIZE, Ram, Space};
use crate::cache::Cache;
use crate::cpu::{
    Breakpoints, Control, Cr0, Cr4, Datum, DescriptorTable, Efer, Exception, Fpu, LazyFlags, Msrs, Regs, Rflags, Segment, SegmentName, slot,
};
use crate::decode::AddressMode;
use crate::exec::ExitReason;
use crate::mmu::{Access, AccessKind, PhysicalPage, Tlb, View, walk};
use devices::platform::{GuestMemory, Presence};

/// How code is decoded and addresses are formed: the L and D bits of CS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum CodeSize {
    /// 16-bit code.
    Bits16 = 16,
    /// 32-bit code: compatibility or protected mode.
    Bits32 = 32,
    /// 64-bit code.
    Bits64 = 64,
}

/// Where TSC ticks come from.
pub enum Clock {
    /// One tick per count, plus jumps while the CPU is halted.
    Virtual,
    /// A clock of the host, in ticks.
    Host(Box<dyn HostClock>),
}

/// A monotonic clock of the host.
pub trait HostClock {
    /// Ticks of the model's TSC since some fixed point.
    fn ticks(&mut self) -> u64;
}

/// The virtual CPU.
///
/// `repr(C)`: what every op touches comes first, within reach of short displacements.
#[repr(C)]
pub struct Vcpu {
    /// General registers, segment bases, constants.
    pub regs: Regs,
    /// Counts left until the next due event. Instructions of the running block are taken off when it is left.
    pub left: i64,
    /// Arithmetic flags.
    pub flags: LazyFlags,
    /// The TLB.
    pub tlb: Tlb,
    /// Decoded blocks.
    pub cache: Cache,
    /// Instructions of the running block before the current one: retired, but not yet taken off `left`.
    pub partial: i64,
    /// RIP. Exact outside of blocks and in system instructions.
    pub rip: u64,
    /// RFLAGS without the arithmetic flags: DF, IF, IOPL, AC and so on.
    pub system_flags: u64,
    /// x87, MMX, SSE.
    pub fpu: Fpu,

    /// Segment registers, by [`SegmentName`].
    pub segments: [Segment; 6],
    /// LDTR.
    pub ldtr: Segment,
    /// TR.
    pub tr: Segment,
    /// GDTR.
    pub gdtr: DescriptorTable,
    /// IDTR.
    pub idtr: DescriptorTable,
    /// Control and debug registers, EFER.
    pub control: Control,
    /// MSRs.
    pub msrs: Msrs,
    /// Current privilege level.
    pub cpl: u8,
    /// Decoding mode.
    pub code_size: CodeSize,
    /// Halted until an interrupt.
    pub halted: bool,
    /// Interrupts are held off for one instruction (after STI, MOV SS, POP SS).
    pub shadow: bool,

    /// The single-step trap behind the current instruction has not been taken back, as by an instruction that enters a handler.
    pub trap: bool,
    /// Data and port breakpoints that the current instruction has met, as bits of DR6.
    pub met: u8,
    /// The current instruction loads SS: no trap before the next is done.
    pub held: bool,
    /// A REP was cut off between two iterations.
    pub cut_off: bool,
    /// What the debug registers and a debugger wait for; see [`Vcpu::breakpoints_changed`].
    pub breakpoints: Breakpoints,
    /// Count at which the debugger's breakpoint that the CPU stands at is to be passed.
    pub passed: Option<u64>,

    /// Count at which `left` reaches 0.
    pub due: u64,
    /// Counts that were not instructions: iterations of REP, exceptions and interrupts delivered.
    pub repeated: u64,
    /// Ticks of the TSC minus the count (virtual clock) or minus the host's ticks.
    pub skew: u64,
    /// Source of time.
    pub clock: Clock,
    /// HLT instructions executed.
    pub halts: u64,

    /// Set by whatever the engine must look at before the next instruction: devices were touched, code was written.
    pub attention: bool,
    /// Why the dispatcher was left.
    pub exit: ExitReason,
    /// Guest RAM.
    pub ram: Ram,
    /// Everything else.
    pub board: Box<dyn Board>,
}

impl Vcpu {
    /// A CPU after reset, except that it starts at no address: whoever loads the guest sets registers and calls [`Vcpu::mode_changed`].
    pub fn new(ram: Ram, board: Box<dyn Board>, cache: Cache, clock: Clock) -> Self {
        Self {
            regs: Regs::default(),
            left: 0,
            flags: LazyFlags::default(),
            tlb: Tlb::default(),
            cache,
            partial: 0,
            rip: 0,
            system_flags: 0,
            fpu: Fpu::default(),
            segments: [Segment::default(); 6],
            ldtr: Segment::default(),
            tr: Segment::default(),
            gdtr: DescriptorTable::default(),
            idtr: DescriptorTable::default(),
            control: Control::default(),
            msrs: Msrs::default(),
            cpl: 0,
            code_size: CodeSize::Bits32,
            halted: false,
            shadow: false,
            trap: false,
            met: 0,
            held: false,
            cut_off: false,
            breakpoints: Breakpoints::default(),
            passed: None,
            due: 0,
            repeated: 0,
            skew: 0,
            clock,
            halts: 0,
            attention: false,
            exit: ExitReason::Sync,
            ram,
            board,
        }
    }

    /// Instructions, REP iterations, exceptions and interrupts since power-on, exact to the current instruction: the machine's measure of
    /// progress.
    #[inline]
    pub fn count(&self) -> u64 {
        self.due.wrapping_sub(self.left as u64).wrapping_add(self.partial as u64)
    }

    /// Instructions retired since power-on.
    pub fn retired(&self) -> u64 {
        self.count() - self.repeated
    }

    /// The TSC, exact to the current instruction.
    pub fn now(&mut self) -> u64 {
        let base = match &mut self.clock {
            Clock::Virtual => self.count(),
            Clock::Host(clock) => clock.ticks(),
        };
        base.wrapping_add(self.skew)
    }

    /// Takes over the progress of a saved machine.
    pub fn resume_count(&mut self, count: u64, repeated: u64, halts: u64) {
        self.due = count;
        self.left = 0;
        self.partial = 0;
        self.repeated = repeated.min(count);
        self.halts = halts;
    }

    /// Makes the TSC go on from `tsc`, whatever the clock shows.
    pub fn restart_clock(&mut self, tsc: u64) {
        self.skew = 0;
        self.skew = tsc.wrapping_sub(self.now());
    }

    /// Under the virtual clock: lets time pass up to `tick`.
    pub fn skip_to(&mut self, tick: u64) {
        let now = self.now();
        self.skew = self.skew.wrapping_add(tick.saturating_sub(now));
    }

    /// RFLAGS in full.
    pub fn rflags(&self) -> u64 {
        self.system_flags & !Rflags::ARITHMETIC | self.flags.evaluate() | Rflags::FIXED
    }

    /// Sets RFLAGS in full. Whoever may change IF, TF or AC ends the block and calls [`Vcpu::mode_changed`].
    pub fn set_rflags(&mut self, value: u64) {
        self.flags = LazyFlags::from_flags(value);
        self.system_flags = value & 0x003f_7f00 & !Rflags::ARITHMETIC;
    }

    /// A segment register.
    pub fn segment(&self, name: SegmentName) -> &Segment {
        &self.segments[name as usize]
    }

    /// Whether 64-bit mode or compatibility mode is active.
    pub fn long_mode(&self) -> bool {
        self.control.efer & Efer::LMA != 0
    }

    /// Brings everything that is derived from CPL, CS, the segments, RFLAGS.AC and the control registers up to date: how code is decoded,
    /// the segment bases that ops add, the TLB's view, the key of fetched code.
    pub fn mode_changed(&mut self) {
        let cs = self.segments[SegmentName::Cs as usize];
        self.code_size = match (self.long_mode() && cs.is_long(), cs.is_big()) {
            (true, _) => CodeSize::Bits64,
            (false, true) => CodeSize::Bits32,
            (false, false) => CodeSize::Bits16,
        };
        let wide = self.code_size == CodeSize::Bits64;
        for name in SegmentName::ALL {
            let segment = self.segment(name);
            self.regs[slot::SEGMENT + name as u8] = match wide {
                true if matches!(name, SegmentName::Fs | SegmentName::Gs) => segment.base,
                true => 0,
                false if segment.is_unlimited() && segment.is_writable() => segment.base,
                false => AddressMode::CHECKED | segment.base,
            };
        }
        self.view_changed();
        let key = match self.code_size {
            CodeSize::Bits64 => 0,
            CodeSize::Bits32 => 1,
            CodeSize::Bits16 => 2,
        } | u64::from(self.cpl == 3) << 2;
        self.cache.set_mode(key);
    }

    /// Brings the TLB's view up to date: CPL, RFLAGS.AC, CR4.SMAP or a segment changed.
    #[inline]
    pub fn view_changed(&mut self) {
        let view = if self.checks_alignment() || self.code_size != CodeSize::Bits64 && !self.flat_segments() {
            View::Checked
        } else if self.cpl == 3 {
            View::User
        } else if self.control.cr4 & Cr4::SMAP != 0 && self.system_flags & Rflags::AC == 0 {
            View::SupervisorOnly
        } else {
            View::Supervisor
        };
        self.tlb.set_view(view);
    }

    /// Mask of the stack pointer: SS.B outside of 64-bit mode.
    #[inline(always)]
    pub fn stack_mask(&self) -> u64 {
        match (self.code_size, self.segment(SegmentName::Ss).is_big()) {
            (CodeSize::Bits64, _) => u64::MAX,
            (_, true) => 0xffff_ffff,
            (_, false) => 0xffff,
        }
    }

    /// Sets as much of RSP as the stack's size covers.
    #[inline(always)]
    pub fn set_stack_pointer(&mut self, value: u64) {
        let mask = self.stack_mask();
        let kept = if mask == 0xffff { self.regs[slot::RSP] & !mask } else { 0 };
        self.regs[slot::RSP] = kept | value & mask;
    }

    /// Raises #UD or #NM if MMX instructions are not to be executed now.
    pub fn check_mmx(&self) -> Result<(), Exception> {
        if self.control.cr0 & Cr0::EM != 0 {
            Err(Exception::INVALID_OPCODE)
        } else if self.control.cr0 & Cr0::TS != 0 {
            Err(Exception::DEVICE_NOT_AVAILABLE)
        } else {
            Ok(())
        }
    }

    /// Whether misaligned accesses raise #AC (SDM Vol. 3, 6.15).
    fn checks_alignment(&self) -> bool {
        self.cpl == 3 && self.system_flags & Rflags::AC != 0 && self.control.cr0 & Cr0::AM != 0
    }

    /// Raises #AC for an access to data that is not aligned, if the program has asked for that.
    pub fn check_alignment<T: Datum>(&self, linear: u64) -> Result<(), Exception> {
        if self.checks_alignment() && !linear.is_multiple_of(T::ALIGNMENT) { Err(Exception::ALIGNMENT) } else { Ok(()) }
    }

    fn flat_segments(&self) -> bool {
        use SegmentName::{Cs, Ds, Es, Ss};
        [Cs, Ss, Ds, Es].iter().all(|&name| self.segment(name).is_flat() && (name == Cs || self.segment(name).is_writable()))
            && self.segment(Ss).is_big()
    }

    /// Brings what is derived from the debug registers and CR4.DE up to date. Pages with breakpoints are never reached without notice: those with
    /// data breakpoints have no TLB entry, those with code breakpoints no entry in the jump table.
    pub fn breakpoints_changed(&mut self) {
        if self.breakpoints.follow(&self.control) {
            self.flush_translations();
        }
    }

    /// Linear addresses before which [`Vcpu::run`] stops.
    pub fn set_debugger_breakpoints(&mut self, addresses: Vec<u64>) {
        if self.breakpoints.set_debugger(addresses) {
            self.flush_translations();
        }
    }

    /// Whether a debugger wants to stop before the next instruction, and has not asked to pass it.
    pub fn at_debugger_breakpoint(&self) -> bool {
        self.breakpoints.stop_at(self.linear_rip()) && self.passed != Some(self.count())
    }

    /// Linear address of the next instruction.
    pub fn linear_rip(&self) -> u64 {
        match self.code_size {
            CodeSize::Bits64 => self.rip,
            _ => self.segment(SegmentName::Cs).base.wrapping_add(self.rip) & 0xffff_ffff,
        }
    }

    /// Notes breakpoints that the current instruction has met: a trap behind it.
    fn note_met(&mut self, met: u8) {
        if met != 0 {
            self.met |= met;
            self.attention = true;
        }
    }

    /// Notes the breakpoints that an access to data meets.
    #[inline(always)]
    fn watch(&mut self, linear: u64, length: u64, write: bool) {
        if self.breakpoints.are_on_data() {
            self.note_met(self.breakpoints.met_by_access(linear, length, write));
        }
    }

    /// Notes the breakpoints that an access to ports meets.
    pub fn watch_port(&mut self, port: u16, length: u64) {
        if self.breakpoints.are_set() {
            self.note_met(self.breakpoints.met_by_port(port, length));
        }
    }

    /// Forgets every translation and every way from a linear address to decoded code.
    pub fn flush_translations(&mut self) {
        self.tlb.flush();
        self.cache.forget_addresses();
    }

    // ---- memory, the slow way: every check, every kind of page ----

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

    fn explicit_access(&self, kind: AccessKind) -> Access {
        Access { kind, user: self.cpl == 3, may_touch_user: self.system_flags & Rflags::AC != 0 }
    }

    /// Translates an address, with the rights of `access`, and remembers it if it is RAM and an ordinary access.
    fn translate(&mut self, linear: u64, access: Access) -> Result<u64, Exception> {
        let page = walk(&mut self.ram, &self.control, linear, access)?;
        self.tlb.note(linear, &page);
        if self.ram.has_code_writes() {
            self.attention = true;
        }
        self.remember(linear, &page);
        Ok(page.address | linear & (PAGE_SIZE - 1))
    }

    fn remember(&mut self, linear: u64, page: &PhysicalPage) {
        if !self.ram.contains(page.address, PAGE_SIZE) || self.breakpoints.watch_page(linear) {
            return;
        }
        let number = page.address / PAGE_SIZE;
        let notice = self.ram.is_code(number);
        let may_write = page.writable && page.dirty && !notice;
        if may_write {
            self.ram.mark_written(number);
        }
        self.tlb.fill(linear, page, self.ram.host_page(page.address), may_write);
    }

    /// Physical address of an instruction byte, and whether a CR3 load keeps the translation.
    pub fn translate_fetch(&mut self, linear: u64) -> Result<(u64, bool), Exception> {
        let access = Access { kind: AccessKind::Fetch, user: self.cpl == 3, may_touch_user: false };
        let page = walk(&mut self.ram, &self.control, linear, access)?;
        self.tlb.note(linear, &page);
        Ok((page.address | linear & (PAGE_SIZE - 1), page.global))
    }

    fn read_physical(&mut self, address: u64, bytes: &mut [u8]) {
        let length = bytes.len() as u64;
        if self.ram.contains(address, length) {
            let start = address as usize;
            bytes.copy_from_slice(&self.ram.bytes()[start..start + bytes.len()]);
            return;
        }
        let now = self.now();
        self.attention = true;
        let mut done = 0;
        while done < bytes.len() {
            let size = access_size(address + done as u64, bytes.len() - done);
            let value = self.board.read(Space::Memory, address + done as u64, size as u8, &mut self.ram, now);
            bytes[done..done + size].copy_from_slice(&value.to_le_bytes()[..size]);
            done += size;
        }
    }

    /// Writes to RAM that is there, or to devices. A device that cannot have the memory that it needs has done nothing.
    fn write_physical(&mut self, address: u64, bytes: &[u8]) -> Result<(), Exception> {
        if self.ram.store(address, bytes) {
            if self.ram.has_code_writes() {
                self.attention = true;
            }
            return Ok(());
        }
        let now = self.now();
        self.attention = true;
        let mut done = 0;
        while done < bytes.len() {
            let size = access_size(address + done as u64, bytes.len() - done);
            let mut value = [0; 8];
            value[..size].copy_from_slice(&bytes[done..done + size]);
            self.board.write(Space::Memory, address + done as u64, size as u8, u64::from_le_bytes(value), &mut self.ram, now);
            done += size;
        }
        if self.ram.presence() == Presence::Stalled { Err(Exception::UNAVAILABLE) } else { Ok(()) }
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
        self.load_as(linear, Access { kind: AccessKind::Read, user: false, may_touch_user: false })
    }

    /// Writes as the CPU itself does to descriptor tables and the TSS.
    pub fn store_system<T: Datum>(&mut self, linear: u64, value: T) -> Result<(), Exception> {
        if !is_canonical(linear) {
            return Err(Exception::GP0);
        }
        self.store_as(linear, value, Access { kind: AccessKind::Write, user: false, may_touch_user: false })
    }

    /// Writes to a stack with the rights of privilege level `cpl`, which need not be the current one (interrupt delivery).
    pub fn store_stack<T: Datum>(&mut self, linear: u64, value: T, cpl: u8) -> Result<(), Exception> {
        if !is_canonical(linear) || !is_canonical(linear.wrapping_add(T::BYTES - 1)) {
            return Err(Exception::SS0);
        }
        self.store_as(linear, value, Access { kind: AccessKind::Write, user: cpl == 3, may_touch_user: false })
    }

    fn load_as<T: Datum>(&mut self, linear: u64, access: Access) -> Result<T, Exception> {
        let (first, second) = self.translate_span(linear, T::BYTES, access)?;
        Ok(self.load_span(linear, first, second))
    }

    fn store_as<T: Datum>(&mut self, linear: u64, value: T, access: Access) -> Result<(), Exception> {
        let (first, second) = self.translate_span(linear, T::BYTES, access)?;
        self.store_span(linear, value, first, second)
    }

    /// Physical addresses of an access's first byte and of the first byte on the next page, if it reaches that.
    fn translate_span(&mut self, linear: u64, length: u64, access: Access) -> Result<(u64, Option<u64>), Exception> {
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

    /// Raises #NM or #UD if x87 instructions are not to be executed now (SDM Vol. 3, 2.5 table).
    pub fn check_x87(&self) -> Result<(), Exception> {
        if self.control.cr0 & (Cr0::EM | Cr0::TS) != 0 { Err(Exception::DEVICE_NOT_AVAILABLE) } else { Ok(()) }
    }

    /// Raises #UD or #NM if SSE instructions are not to be executed now.
    #[inline(always)]
    pub fn check_sse(&self) -> Result<(), Exception> {
        if self.control.cr0 & (Cr0::EM | Cr0::TS) == 0 && self.control.cr4 & Cr4::OSFXSR != 0 {
            return Ok(());
        }
        if self.control.cr0 & Cr0::EM != 0 || self.control.cr4 & Cr4::OSFXSR == 0 {
            Err(Exception::INVALID_OPCODE)
        } else {
            Err(Exception::DEVICE_NOT_AVAILABLE)
        }
    }
}

/// Whether bits 47 to 63 are all equal.
#[inline(always)]
pub fn is_canonical(linear: u64) -> bool {
    ((linear << 16) as i64 >> 16) as u64 == linear
}

/// The largest naturally aligned access at `address` that takes no more than `left` bytes.
fn access_size(address: u64, left: usize) -> usize {
    [8, 4, 2].into_iter().find(|&size| size <= left && address.is_multiple_of(size as u64)).unwrap_or(1)
}
