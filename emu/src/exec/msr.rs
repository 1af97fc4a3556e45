//! What the CPU tells and is told by number: CPUID, time stamp and performance counters, model-specific registers.

use super::row::rows;
use super::segment::privileged;
use crate::cpu::cpuid::{FEATURES_7_EDX, cpuid};
use crate::cpu::{Cr0, Cr4, Efer, Exception, SegmentName, is_canonical, slot};
use crate::decode::Op;
use crate::vcpu::Vcpu;

/// Numbers of MSRs (SDM Vol. 4).
mod index {
    pub const TSC: u32 = 0x10;
    pub const APIC_BASE: u32 = 0x1b;
    pub const MICROCODE_REVISION: u32 = 0x8b;
    pub const ARCH_CAPABILITIES: u32 = 0x10a;
    pub const SYSENTER_CS: u32 = 0x174;
    pub const SYSENTER_ESP: u32 = 0x175;
    pub const SYSENTER_EIP: u32 = 0x176;
    pub const MISC_ENABLE: u32 = 0x1a0;
    pub const PAT: u32 = 0x277;
    pub const TSC_DEADLINE: u32 = 0x6e0;
    pub const X2APIC_FIRST: u32 = 0x800;
    pub const X2APIC_LAST: u32 = 0x8ff;
    pub const EFER: u32 = 0xc000_0080;
    pub const STAR: u32 = 0xc000_0081;
    pub const LSTAR: u32 = 0xc000_0082;
    pub const CSTAR: u32 = 0xc000_0083;
    pub const FMASK: u32 = 0xc000_0084;
    pub const FS_BASE: u32 = 0xc000_0100;
    pub const GS_BASE: u32 = 0xc000_0101;
    pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
    pub const TSC_AUX: u32 = 0xc000_0103;
}

/// IA32_ARCH_CAPABILITIES: nothing here speculates, so the faults that have a bit of their own do not exist.
const ARCH_CAPABILITIES: u64 = {
    const RDCL_NO: u64 = 1;
    const SKIP_L1DFL_VMENTRY: u64 = 1 << 3;
    const SSB_NO: u64 = 1 << 4;
    const MDS_NO: u64 = 1 << 5;
    const PSCHANGE_MC_NO: u64 = 1 << 6;
    const TAA_NO: u64 = 1 << 8;
    const SBDR_SSDP_NO: u64 = 1 << 13;
    const FBSDP_NO: u64 = 1 << 14;
    const PSDP_NO: u64 = 1 << 15;
    const BHI_NO: u64 = 1 << 20;
    const PBRSB_NO: u64 = 1 << 24;
    const GDS_NO: u64 = 1 << 26;
    const RFDS_NO: u64 = 1 << 27;
    let caches = RDCL_NO | SKIP_L1DFL_VMENTRY | MDS_NO | TAA_NO | GDS_NO | RFDS_NO;
    let buffers = SBDR_SSDP_NO | FBSDP_NO | PSDP_NO;
    caches | buffers | SSB_NO | PSCHANGE_MC_NO | BHI_NO | PBRSB_NO
};
const _: () = assert!(FEATURES_7_EDX & 1 << 29 != 0, "CPUID says that IA32_ARCH_CAPABILITIES exists");

/// IA32_MISC_ENABLE: fast string operations, the one bit that can be written.
const FAST_STRINGS: u64 = 1;

/// Bits of IA32_EFER that software may set.
const EFER_BITS: u64 = Efer::SCE | Efer::LME | Efer::NXE;

fn require(condition: bool) -> Result<(), Exception> {
    if condition { Ok(()) } else { Err(Exception::GP0) }
}

fn set_efer(cx: &mut Vcpu, value: u64) -> Result<(), Exception> {
    // LMA is read-only; a write of what it is, as after a read, passes.
    let old = cx.control.efer;
    require(value & !(EFER_BITS | Efer::LMA) == 0)?;
    require((value ^ old) & Efer::LME == 0 || cx.control.cr0 & Cr0::PG == 0)?;
    cx.control.efer = value & EFER_BITS | old & Efer::LMA;
    cx.flush_translations();
    Ok(())
}

/// Every byte of IA32_PAT must be a memory type (SDM Vol. 3, table 12-10).
fn is_pat(value: u64) -> bool {
    value.to_le_bytes().iter().all(|kind| matches!(kind, 0 | 1 | 4..=7))
}

fn read(cx: &mut Vcpu, number: u32) -> Result<u64, Exception> {
    Ok(match number {
        index::TSC => cx.now(),
        index::MICROCODE_REVISION => 0,
        index::ARCH_CAPABILITIES => ARCH_CAPABILITIES,
        index::SYSENTER_CS => cx.msrs.sysenter_cs,
        index::SYSENTER_ESP => cx.msrs.sysenter_esp,
        index::SYSENTER_EIP => cx.msrs.sysenter_eip,
        index::MISC_ENABLE => cx.msrs.misc_enable,
        index::PAT => cx.msrs.pat,
        index::EFER => cx.control.efer,
        index::STAR => cx.msrs.star,
        index::LSTAR => cx.msrs.lstar,
        index::CSTAR => cx.msrs.cstar,
        index::FMASK => cx.msrs.fmask,
        index::FS_BASE => cx.segment(SegmentName::Fs).base,
        index::GS_BASE => cx.segment(SegmentName::Gs).base,
        index::KERNEL_GS_BASE => cx.msrs.kernel_gs_base,
        index::TSC_AUX => cx.msrs.tsc_aux,
        index::APIC_BASE | index::TSC_DEADLINE | index::X2APIC_FIRST..=index::X2APIC_LAST => {
            let now = cx.now();
            cx.board_mut().read_msr(number, now).ok_or(Exception::GP0)?
        }
        _ => return Err(Exception::GP0),
    })
}

fn canonical(value: u64) -> Result<u64, Exception> {
    require(is_canonical(value)).map(|()| value)
}

fn write(cx: &mut Vcpu, number: u32, value: u64) -> Result<(), Exception> {
    match number {
        index::TSC => {
            cx.time.set_tsc(value);
            cx.attention = true;
        }
        // A loader of microcode writes 0 before it asks for the revision.
        index::MICROCODE_REVISION => {}
        index::SYSENTER_CS => cx.msrs.sysenter_cs = value,
        index::SYSENTER_ESP => cx.msrs.sysenter_esp = canonical(value)?,
        index::SYSENTER_EIP => cx.msrs.sysenter_eip = canonical(value)?,
        index::MISC_ENABLE => {
            require((value ^ cx.msrs.misc_enable) & !FAST_STRINGS == 0)?;
            cx.msrs.misc_enable = value;
        }
        index::PAT => {
            require(is_pat(value))?;
            cx.msrs.pat = value;
        }
        index::EFER => set_efer(cx, value)?,
        index::STAR => cx.msrs.star = value,
        index::LSTAR => cx.msrs.lstar = canonical(value)?,
        index::CSTAR => cx.msrs.cstar = canonical(value)?,
        index::FMASK => {
            require(value >> 32 == 0)?;
            cx.msrs.fmask = value;
        }
        index::FS_BASE => set_base(cx, SegmentName::Fs, canonical(value)?),
        index::GS_BASE => set_base(cx, SegmentName::Gs, canonical(value)?),
        index::KERNEL_GS_BASE => cx.msrs.kernel_gs_base = canonical(value)?,
        index::TSC_AUX => {
            require(value >> 32 == 0)?;
            cx.msrs.tsc_aux = value;
        }
        index::APIC_BASE | index::TSC_DEADLINE | index::X2APIC_FIRST..=index::X2APIC_LAST => {
            let now = cx.now();
            cx.board_mut().write_msr(number, value, now).ok_or(Exception::GP0)?;
            cx.attention = true;
        }
        _ => return Err(Exception::GP0),
    }
    Ok(())
}

fn set_base(cx: &mut Vcpu, name: SegmentName, base: u64) {
    cx.segments[name as usize].base = base;
    cx.mode_changed();
}

/// Sets EDX:EAX.
fn set_pair(cx: &mut Vcpu, value: u64) {
    cx.regs[slot::RAX] = value & 0xffff_ffff;
    cx.regs[slot::RDX] = value >> 32;
}

fn rdmsr(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    privileged(cx)?;
    let value = read(cx, cx.regs[slot::RCX] as u32)?;
    set_pair(cx, value);
    Ok(())
}

fn wrmsr(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    privileged(cx)?;
    let value = cx.regs[slot::RDX] << 32 | cx.regs[slot::RAX] & 0xffff_ffff;
    write(cx, cx.regs[slot::RCX] as u32, value)
}

/// The TSC as the instruction `op` of the running block sees it.
fn time_stamp(cx: &mut Vcpu, op: &Op) -> Result<u64, Exception> {
    require(cx.cpl == 0 || cx.control.cr4 & Cr4::TSD == 0)?;
    cx.time.enter_op(op.retired);
    let now = cx.now();
    cx.time.leave_op();
    Ok(now)
}

fn rdtsc(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let now = time_stamp(cx, op)?;
    set_pair(cx, now);
    Ok(())
}

fn rdtscp(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let now = time_stamp(cx, op)?;
    set_pair(cx, now);
    cx.regs[slot::RCX] = cx.msrs.tsc_aux & 0xffff_ffff;
    Ok(())
}

/// There are no performance counters, so no number names one.
fn rdpmc(_: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    Err(Exception::GP0)
}

fn cpuid_instruction(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    let [eax, ebx, ecx, edx] = cpuid(cx.regs[slot::RAX] as u32, cx.regs[slot::RCX] as u32);
    cx.regs[slot::RAX] = u64::from(eax);
    cx.regs[slot::RBX] = u64::from(ebx);
    cx.regs[slot::RCX] = u64::from(ecx);
    cx.regs[slot::RDX] = u64::from(edx);
    Ok(())
}

rows! {
    Cpuid => call cpuid_instruction;
    Rdtsc => register rdtsc;
    Rdtscp => register rdtscp;
    Rdpmc => register rdpmc;
    Rdmsr => system rdmsr;
    Wrmsr => system wrmsr;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    const RDMSR: &[u8] = &[0x0f, 0x32, 0xf4];
    const WRMSR: &[u8] = &[0x0f, 0x30, 0xf4];

    fn with_pair(number: u32, value: u64) -> Vcpu {
        let mut cx = long_mode();
        cx.regs[slot::RCX] = u64::from(number);
        set_pair(&mut cx, value);
        cx
    }

    fn pair(cx: &Vcpu) -> u64 {
        cx.regs[slot::RDX] << 32 | cx.regs[slot::RAX]
    }

    #[test]
    fn msrs_keep_what_is_written() {
        use index::*;
        let canonical = 0xffff_8000_1234_5678;
        let cases = [
            (SYSENTER_CS, 0x1234),
            (SYSENTER_ESP, canonical),
            (SYSENTER_EIP, canonical),
            (MISC_ENABLE, 0x1800),
            (PAT, 0x0001_0405_0607_0100),
            (STAR, u64::MAX),
            (LSTAR, canonical),
            (CSTAR, canonical),
            (FMASK, 0xffff_ffff),
            (FS_BASE, canonical),
            (GS_BASE, canonical),
            (KERNEL_GS_BASE, canonical),
            (TSC_AUX, 0xffff_ffff),
        ];
        for (number, value) in cases {
            let mut cx = with_pair(number, value);
            // WRMSR; XOR EAX, EAX; XOR EDX, EDX; RDMSR
            expect_halt(&mut cx, &[0x0f, 0x30, 0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x32, 0xf4]);
            assert_eq!(pair(&cx), value, "MSR {number:#x}");
        }
    }

    #[test]
    fn msrs_refuse_reserved_values() {
        use index::*;
        let cases = [
            (SYSENTER_EIP, 1 << 47),
            (MISC_ENABLE, 1 << 34 | 0x1801),
            (PAT, 0x02),
            (PAT, 0x08 << 56),
            (LSTAR, 1 << 47),
            (FMASK, 1 << 32),
            (FS_BASE, 1 << 47),
            (KERNEL_GS_BASE, 1 << 63),
            (TSC_AUX, 1 << 32),
            (ARCH_CAPABILITIES, 0),
            (EFER, 1 << 1),
            (0xfe, 0),
            (0x802, 0),
        ];
        for (number, value) in cases {
            let mut cx = with_pair(number, value);
            let before = cx.msrs;
            expect_vector(&mut cx, WRMSR, 13);
            assert_eq!(cx.msrs, before, "MSR {number:#x}");
        }
        let mut cx = with_pair(0xfe, 0);
        expect_vector(&mut cx, RDMSR, 13);
    }

    #[test]
    fn efer_keeps_lma_and_refuses_to_change_lme_under_paging() {
        let mut cx = with_pair(index::EFER, Efer::SCE | Efer::LME | Efer::NXE);
        expect_halt(&mut cx, WRMSR);
        assert_eq!(cx.control.efer, Efer::SCE | Efer::LME | Efer::LMA | Efer::NXE);
        let mut cx = with_pair(index::EFER, Efer::SCE);
        expect_vector(&mut cx, WRMSR, 13);
    }

    #[test]
    fn msrs_belong_to_the_supervisor() {
        for code in [RDMSR, WRMSR] {
            let mut cx = user_mode();
            cx.regs[slot::RCX] = u64::from(index::TSC);
            expect_vector(&mut cx, code, 13);
        }
    }

    #[test]
    fn apic_base_is_the_boards() {
        let mut cx = with_pair(index::APIC_BASE, 0);
        expect_halt(&mut cx, RDMSR);
        assert_eq!(pair(&cx), 0xfee0_0900);
    }

    #[test]
    fn time_stamp_counts_instructions_within_a_block() {
        let mut cx = long_mode();
        cx.time.set_tsc(1000);
        // NOP; NOP; RDTSC; MOV EBX, EAX; RDTSCP
        expect_halt(&mut cx, &[0x90, 0x90, 0x0f, 0x31, 0x89, 0xc3, 0x0f, 0x01, 0xf9, 0xf4]);
        assert_eq!([cx.regs[slot::RBX], cx.regs[slot::RAX]], [1002, 1004]);
    }

    #[test]
    fn write_to_the_time_stamp_counter_sets_it() {
        let mut cx = with_pair(index::TSC, 0x1_0000_0000);
        // WRMSR; RDTSC
        expect_halt(&mut cx, &[0x0f, 0x30, 0x0f, 0x31, 0xf4]);
        assert_eq!(pair(&cx), 0x1_0000_0001);
    }

    #[test]
    fn time_stamp_disable_is_for_user_mode() {
        let mut cx = user_mode();
        cx.control.cr4 |= Cr4::TSD;
        expect_vector(&mut cx, &[0x0f, 0x31], 13);
        let mut cx = long_mode();
        cx.control.cr4 |= Cr4::TSD;
        expect_halt(&mut cx, &[0x0f, 0x31, 0xf4]);
    }

    #[test]
    fn performance_counters_do_not_exist() {
        let mut cx = long_mode();
        expect_vector(&mut cx, &[0x0f, 0x33], 13);
    }
}
