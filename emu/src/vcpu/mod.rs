//! The virtual CPU: architectural state with the MMU, the block cache and time, and all kinds of memory access the slow way.

mod access;
mod breakpoint;
mod debug;
mod exit;
mod time;

pub use debug::DebugState;
pub use exit::ExitReason;
pub use time::{Clock, HeldClock, HostClock, Time};

use crate::bus::{Board, Ram};
use crate::cache::Cache;
use crate::cpu::{
    CodeSize, Control, Cr0, Cr4, DescriptorTable, Efer, Exception, Fpu, LazyFlags, Msrs, Regs, Rflags, Segment, SegmentName, slot,
};
use crate::decode::AddressMode;
use crate::mmu::{AccessKind, Mmu, View, view_of};
use devices::platform::GuestMemory;

/// The virtual CPU.
///
/// `repr(C)`: what every op touches lies together.
#[repr(C)]
pub struct Vcpu {
    /// General registers, segment bases, constants.
    pub regs: Regs,
    /// Progress and time.
    pub time: Time,
    /// Arithmetic flags.
    pub flags: LazyFlags,
    /// RAM, and the translations of linear addresses to it.
    pub mmu: Mmu,
    /// Decoded blocks.
    pub(crate) cache: Cache,
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
    /// Halted until an interrupt.
    pub halted: bool,
    /// Interrupts are held off for one instruction: blocking by STI or by MOV SS (SDM Vol. 3, 25.4.2).
    pub interrupts_blocked: bool,

    /// Decoding mode; derived, see [`Vcpu::mode_changed`].
    pub(crate) code_size: CodeSize,
    /// Breakpoints and the single-step trap.
    pub(crate) debug: DebugState,
    /// A REP ended between two iterations.
    pub(crate) rep_interrupted: bool,
    /// Set by whatever the engine must look at before the next instruction: devices were touched, code was written.
    pub(crate) attention: bool,
    /// Why the dispatcher was left.
    pub(crate) exit: ExitReason,
    board: Box<dyn Board>,
}

impl Vcpu {
    /// A CPU after reset, except that it starts at no address: whoever loads the guest sets registers and calls [`Vcpu::mode_changed`].
    pub fn new(ram: Ram, board: Box<dyn Board>, cache: Cache, clock: Clock) -> Self {
        Self {
            regs: Regs::default(),
            time: Time::new(clock),
            flags: LazyFlags::default(),
            mmu: Mmu::new(ram),
            cache,
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
            halted: false,
            interrupts_blocked: false,
            code_size: CodeSize::Bits32,
            debug: DebugState::default(),
            rep_interrupted: false,
            attention: false,
            exit: ExitReason::Sync,
            board,
        }
    }

    /// Everything behind the CPU but RAM.
    pub fn board(&self) -> &(dyn Board + 'static) {
        &*self.board
    }

    /// Everything behind the CPU but RAM.
    pub fn board_mut(&mut self) -> &mut (dyn Board + 'static) {
        &mut *self.board
    }

    /// The board, with the memory that it works on and the TSC.
    pub fn board_and_memory(&mut self) -> (&mut (dyn Board + 'static), &mut dyn GuestMemory, u64) {
        let now = self.now();
        (&mut *self.board, self.mmu.memory(), now)
    }

    /// Instructions, REP iterations, exceptions and interrupts since power-on, exact to the current instruction: the machine's measure of
    /// progress.
    #[inline]
    pub fn count(&self) -> u64 {
        self.time.count()
    }

    /// Instructions retired since power-on.
    pub fn retired(&self) -> u64 {
        self.time.retired()
    }

    /// The TSC, exact to the current instruction.
    pub fn now(&mut self) -> u64 {
        self.time.now()
    }

    /// How often each instruction that is not implemented was met, by the number of its `Code`.
    pub fn unimplemented(&self) -> impl Iterator<Item = (u16, u64)> {
        self.cache.unimplemented()
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
        } | u64::from(self.cpl == 3) << 2
            | u64::from(self.is_segmented()) << 3;
        self.cache.set_mode(key);
    }

    /// Whether code runs in a segment that has a base or a limit.
    pub fn is_segmented(&self) -> bool {
        let cs = self.segment(SegmentName::Cs);
        self.code_size != CodeSize::Bits64 && (cs.base != 0 || cs.limit != u32::MAX)
    }

    /// Brings the TLB's view up to date: CPL, RFLAGS.AC, CR4.SMAP or a segment changed.
    #[inline]
    pub fn view_changed(&mut self) {
        let view = if self.checks_alignment() || self.code_size != CodeSize::Bits64 && !self.flat_segments() {
            View::Checked
        } else {
            view_of(&self.control, self.explicit_access(AccessKind::Read))
        };
        self.mmu.set_view(view);
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

    fn flat_segments(&self) -> bool {
        use SegmentName::{Cs, Ds, Es, Ss};
        [Cs, Ss, Ds, Es].iter().all(|&name| self.segment(name).is_flat() && (name == Cs || self.segment(name).is_writable()))
            && self.segment(Ss).is_big()
    }

    /// Forgets every translation and every way from a linear address to decoded code.
    pub fn flush_translations(&mut self) {
        self.mmu.flush();
        self.cache.forget_addresses();
    }
}
