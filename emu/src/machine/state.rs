//! Saved records of the CPU, the interrupt controllers, the clock and the disks' identities.

use snapshot::{Record, SectionId};

use crate::cpu::{Control, DescriptorTable, Fpu, Msrs, Segment};
use crate::intc::{LapicState, PicState};
use crate::vcpu::Vcpu;

snapshot::saved! {
    /// The CPU. Untrusted.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct CpuState {
        /// RAX to R15.
        pub general: [u64; 16],
        /// RIP.
        pub rip: u64,
        /// RFLAGS.
        pub rflags: u64,
        /// ES, CS, SS, DS, FS, GS, LDTR, TR.
        pub segments: [SegmentState; 8],
        /// GDTR and IDTR: base and limit.
        pub tables: [TableState; 2],
        /// CR0, CR2, CR3, CR4.
        pub control: [u64; 4],
        /// IA32_EFER.
        pub efer: u64,
        /// DR0 to DR3, DR6, DR7.
        pub debug: [u64; 6],
        /// STAR, LSTAR, CSTAR, FMASK, KERNEL_GS_BASE, SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP, PAT, TSC_AUX, MISC_ENABLE.
        pub msrs: [u64; 11],
        /// Current privilege level.
        pub cpl: u8,
        /// Halted.
        pub halted: bool,
        /// Interrupts are held off for one instruction.
        pub interrupts_blocked: bool,
        /// x87 and SSE.
        pub fpu: FpuState,
    }

    /// A segment register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SegmentState {
        /// Selector.
        pub selector: u16,
        /// Base.
        pub base: u64,
        /// Limit in bytes.
        pub limit: u32,
        /// Attributes.
        pub attributes: u16,
    }

    /// A descriptor-table register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TableState {
        /// Base.
        pub base: u64,
        /// Limit in bytes.
        pub limit: u16,
    }

    /// x87 and SSE registers.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct FpuState {
        /// Significands of the physical x87 registers.
        pub mantissa: [u64; 8],
        /// Signs and exponents of the physical x87 registers.
        pub exponent: [u16; 8],
        /// Control word.
        pub control: u16,
        /// Status word with TOP.
        pub status: u16,
        /// Abridged tag word.
        pub valid: u8,
        /// Last opcode.
        pub opcode: u16,
        /// Last instruction pointer.
        pub instruction: u64,
        /// Last data pointer.
        pub data: u64,
        /// XMM0 to XMM15.
        pub xmm: [u128; 16],
        /// MXCSR.
        pub mxcsr: u32,
    }

    /// Interrupt controllers.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct InterruptState {
        /// The pair of 8259s.
        pub pic: PicState,
        /// The local APIC.
        pub lapic: LapicState,
    }

    /// Progress and time.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ClockState {
        /// Instructions, REP iterations, exceptions and interrupts since power-on.
        pub count: u64,
        /// All but the instructions among them.
        pub not_retired: u64,
        /// HLT instructions since power-on.
        pub halts: u64,
        /// The TSC.
        pub tsc: u64,
    }

    /// Which disk a slot held.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct DiskIdentity {
        /// Digest of the unchanged contents.
        pub digest: [u8; 32],
    }
}

impl Record for CpuState {
    const ID: SectionId = SectionId::new(*b"CPU ");
    const VERSION: u16 = 1;
}

impl Record for InterruptState {
    const ID: SectionId = SectionId::new(*b"INTC");
    const VERSION: u16 = 1;
}

impl Record for ClockState {
    const ID: SectionId = SectionId::new(*b"CLOC");
    const VERSION: u16 = 1;
}

impl Record for DiskIdentity {
    const ID: SectionId = SectionId::new(*b"IMAG");
    const VERSION: u16 = 1;
}

impl From<Segment> for SegmentState {
    fn from(segment: Segment) -> Self {
        Self { selector: segment.selector, base: segment.base, limit: segment.limit, attributes: segment.attributes }
    }
}

impl From<SegmentState> for Segment {
    fn from(state: SegmentState) -> Self {
        Self { selector: state.selector, base: state.base, limit: state.limit, attributes: state.attributes & 0xf0ff }
    }
}

impl From<DescriptorTable> for TableState {
    fn from(table: DescriptorTable) -> Self {
        Self { base: table.base, limit: table.limit }
    }
}

impl From<TableState> for DescriptorTable {
    fn from(state: TableState) -> Self {
        Self { base: state.base, limit: state.limit }
    }
}

impl From<&Fpu> for FpuState {
    fn from(fpu: &Fpu) -> Self {
        Self {
            mantissa: fpu.mantissa,
            exponent: fpu.exponent,
            control: fpu.control,
            status: fpu.status_word(),
            valid: fpu.valid,
            opcode: fpu.opcode,
            instruction: fpu.instruction,
            data: fpu.data,
            xmm: fpu.xmm,
            mxcsr: fpu.mxcsr,
        }
    }
}

impl From<&FpuState> for Fpu {
    fn from(state: &FpuState) -> Self {
        let mut fpu = Self {
            mantissa: state.mantissa,
            exponent: state.exponent,
            control: state.control,
            valid: state.valid,
            opcode: state.opcode & 0x7ff,
            instruction: state.instruction,
            data: state.data,
            xmm: state.xmm,
            mxcsr: state.mxcsr & 0xffff,
            ..Self::default()
        };
        fpu.set_status_word(state.status);
        fpu
    }
}

impl CpuState {
    /// The CPU's state, at an instruction boundary.
    pub fn of(cx: &Vcpu) -> Self {
        let Control { cr0, cr2, cr3, cr4, efer, dr: [dr0, dr1, dr2, dr3], dr6, dr7 } = cx.control;
        let m = &cx.msrs;
        let [es, cs, ss, ds, fs, gs] = cx.segments.map(SegmentState::from);
        Self {
            general: cx.regs.general(),
            rip: cx.rip,
            rflags: cx.rflags(),
            segments: [es, cs, ss, ds, fs, gs, cx.ldtr.into(), cx.tr.into()],
            tables: [cx.gdtr.into(), cx.idtr.into()],
            control: [cr0, cr2, cr3, cr4],
            efer,
            debug: [dr0, dr1, dr2, dr3, dr6, dr7],
            msrs: [
                m.star,
                m.lstar,
                m.cstar,
                m.fmask,
                m.kernel_gs_base,
                m.sysenter_cs,
                m.sysenter_esp,
                m.sysenter_eip,
                m.pat,
                m.tsc_aux,
                m.misc_enable,
            ],
            cpl: cx.cpl,
            halted: cx.halted,
            interrupts_blocked: cx.interrupts_blocked,
            fpu: FpuState::from(&cx.fpu),
        }
    }

    /// Puts the state into a CPU. Values that no guest could have made give a guest that misbehaves, nothing worse.
    pub fn apply(&self, cx: &mut Vcpu) {
        cx.regs.set_general(self.general);
        cx.rip = self.rip;
        cx.set_rflags(self.rflags);
        let [es, cs, ss, ds, fs, gs, ldtr, tr] = self.segments.map(Segment::from);
        cx.segments = [es, cs, ss, ds, fs, gs];
        (cx.ldtr, cx.tr) = (ldtr, tr);
        let [gdtr, idtr] = self.tables.map(DescriptorTable::from);
        (cx.gdtr, cx.idtr) = (gdtr, idtr);
        let [cr0, cr2, cr3, cr4] = self.control;
        let [dr0, dr1, dr2, dr3, dr6, dr7] = self.debug;
        cx.control = Control { cr0, cr2, cr3, cr4, efer: self.efer, dr: [dr0, dr1, dr2, dr3], dr6, dr7 };
        let [star, lstar, cstar, fmask, kernel_gs_base, sysenter_cs, sysenter_esp, sysenter_eip, pat, tsc_aux, misc_enable] = self.msrs;
        cx.msrs = Msrs { star, lstar, cstar, fmask, kernel_gs_base, sysenter_cs, sysenter_esp, sysenter_eip, pat, tsc_aux, misc_enable };
        cx.cpl = self.cpl & 3;
        cx.halted = self.halted;
        cx.interrupts_blocked = self.interrupts_blocked;
        cx.fpu = Fpu::from(&self.fpu);
        cx.breakpoints_changed();
        cx.flush_translations();
        cx.mode_changed();
    }
}
