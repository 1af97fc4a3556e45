//! Control and debug registers, caches, translations, HLT.
//!
//! The CPU is always in protected mode, and it pages only as long mode does: a MOV to CR0 that would clear PE, or set PG without
//! EFER.LME, raises #GP(0). The debug registers keep what is written, but no breakpoint of theirs ever matches.

use super::segment::privileged;
use super::table::rows;
use super::{EffectiveAddress, General, Path};
use crate::cpu::cpuid::PHYSICAL_BITS;
use crate::cpu::{Cr0, Cr4, Efer, Exception, SegmentName, Word};
use crate::decode::Op;
use crate::delivery::descriptor::system_type;
use crate::vcpu::{CodeSize, Vcpu};

/// Bits of CR0 that exist.
const CR0_BITS: u64 = Cr0::PE | Cr0::MP | Cr0::EM | Cr0::TS | Cr0::ET | Cr0::NE | Cr0::WP | Cr0::AM | Cr0::NW | Cr0::CD | Cr0::PG;

/// Bits of CR4 that belong to a feature that CPUID advertises.
const CR4_BITS: u64 = Cr4::TSD | Cr4::PSE | Cr4::PAE | Cr4::PGE | Cr4::PCE | Cr4::OSFXSR | Cr4::OSXMMEXCPT | Cr4::SMEP | Cr4::SMAP;

fn require(condition: bool) -> Result<(), Exception> {
    if condition { Ok(()) } else { Err(Exception::GP0) }
}

fn set_cr0(cx: &mut Vcpu, value: u64) -> Result<(), Exception> {
    let old = cx.control.cr0;
    require(value >> 32 == 0 && value & Cr0::PE != 0)?;
    require(value & Cr0::NW == 0 || value & Cr0::CD != 0)?;
    let paging = value & Cr0::PG != 0;
    if paging && old & Cr0::PG == 0 {
        let long = cx.control.efer & Efer::LME != 0 && cx.control.cr4 & Cr4::PAE != 0;
        let tss16 = matches!(cx.tr.kind(), system_type::TSS16 | system_type::TSS16_BUSY) && cx.tr.attributes != 0;
        require(long && !cx.segment(SegmentName::Cs).is_long() && !tss16)?;
        cx.control.efer |= Efer::LMA;
    } else if !paging && old & Cr0::PG != 0 {
        require(cx.code_size != CodeSize::Bits64)?;
        cx.control.efer &= !Efer::LMA;
    }
    cx.control.cr0 = value & CR0_BITS | Cr0::ET;
    cx.flush_translations();
    cx.mode_changed();
    Ok(())
}

fn set_cr3(cx: &mut Vcpu, value: u64) -> Result<(), Exception> {
    require(value >> PHYSICAL_BITS == 0)?;
    cx.control.cr3 = value;
    cx.tlb.flush_local();
    cx.cache.forget_local_addresses();
    Ok(())
}

fn set_cr4(cx: &mut Vcpu, value: u64) -> Result<(), Exception> {
    require(value & !CR4_BITS == 0)?;
    require(!cx.long_mode() || value & Cr4::PAE != 0)?;
    cx.control.cr4 = value;
    cx.flush_translations();
    cx.mode_changed();
    Ok(())
}

fn mov_to_cr<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    privileged(cx)?;
    let value = W::read(&cx.regs, op.b).zero_extend();
    match op.a {
        0 => set_cr0(cx, value),
        2 => {
            cx.control.cr2 = value;
            Ok(())
        }
        3 => set_cr3(cx, value),
        4 => set_cr4(cx, value),
        8 => {
            require(value < 16)?;
            cx.board.set_task_priority(value as u8);
            Ok(())
        }
        _ => Err(Exception::INVALID_OPCODE),
    }
}

fn mov_from_cr<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    privileged(cx)?;
    let value = match op.b {
        0 => cx.control.cr0,
        2 => cx.control.cr2,
        3 => cx.control.cr3,
        4 => cx.control.cr4,
        8 => u64::from(cx.board.task_priority()),
        _ => return Err(Exception::INVALID_OPCODE),
    };
    W::truncate(value).write(&mut cx.regs, op.a);
    Ok(())
}

/// DR6 and DR7: bits that can be written, and bits that are always set.
const DR6_BITS: u64 = 0xe00f;
const DR6_FIXED: u64 = 0xffff_0ff0;
const DR7_BITS: u64 = 0xffff_23ff;
const DR7_FIXED: u64 = 0x400;
/// DR7.GD and, in DR6, what it raises.
const GENERAL_DETECT: u64 = 1 << 13;

/// The debug register that an operand names: 4 and 5 are old names of 6 and 7.
fn debug_register(cx: &mut Vcpu, number: u8) -> Result<u8, Exception> {
    let number = match number {
        4 | 5 => number + 2,
        0..=7 => number,
        _ => return Err(Exception::INVALID_OPCODE),
    };
    privileged(cx)?;
    if cx.control.dr7 & GENERAL_DETECT != 0 {
        cx.control.dr6 |= GENERAL_DETECT;
        return Err(Exception::DEBUG);
    }
    Ok(number)
}

fn mov_to_dr<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let number = debug_register(cx, op.a)?;
    let value = W::read(&cx.regs, op.b).zero_extend();
    match number {
        6 | 7 if value >> 32 != 0 => return Err(Exception::GP0),
        6 => cx.control.dr6 = value & DR6_BITS | DR6_FIXED,
        7 => cx.control.dr7 = value & DR7_BITS | DR7_FIXED,
        _ => cx.control.dr[usize::from(number)] = value,
    }
    Ok(())
}

fn mov_from_dr<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let value = match debug_register(cx, op.b)? {
        6 => cx.control.dr6,
        7 => cx.control.dr7,
        number => cx.control.dr[usize::from(number)],
    };
    W::truncate(value).write(&mut cx.regs, op.a);
    Ok(())
}

fn clts(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    privileged(cx)?;
    if cx.control.cr0 & Cr0::TS != 0 {
        cx.control.cr0 &= !Cr0::TS;
        // Code is decoded differently with TS set.
        cx.cache.forget_addresses();
    }
    Ok(())
}

fn smsw<W: Word>(cx: &mut Vcpu, op: &Op) {
    W::truncate(cx.control.cr0).write(&mut cx.regs, op.a);
}

fn smsw_memory<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    P::store(cx, op.segment, E::linear(cx, op), cx.control.cr0 as u16)
}

/// LMSW sets PE, MP, EM and TS, except that it does not clear PE.
fn load_machine_status(cx: &mut Vcpu, value: u16) -> Result<(), Exception> {
    let bits = Cr0::PE | Cr0::MP | Cr0::EM | Cr0::TS;
    let value = cx.control.cr0 & !bits | u64::from(value) & bits | cx.control.cr0 & Cr0::PE;
    set_cr0(cx, value)
}

fn lmsw(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    privileged(cx)?;
    load_machine_status(cx, u16::read(&cx.regs, op.a))
}

fn lmsw_memory(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    privileged(cx)?;
    let value = cx.load_slow(op.segment, General::linear(cx, op))?;
    load_machine_status(cx, value)
}

fn invlpg(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    privileged(cx)?;
    let linear = General::linear(cx, op);
    cx.tlb.flush_page(linear);
    cx.cache.forget_page(linear);
    Ok(())
}

/// INVD and WBINVD: there are no caches whose contents could be seen.
fn write_back(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    privileged(cx)
}

fn hlt(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    privileged(cx)?;
    cx.halted = true;
    cx.halts += 1;
    Ok(())
}

rows! {
    Mov_cr_r32 => system mov_to_cr[u32];
    Mov_cr_r64 => system mov_to_cr[u64];
    Mov_r32_cr => register mov_from_cr[u32];
    Mov_r64_cr => register mov_from_cr[u64];
    Mov_dr_r32 => system mov_to_dr[u32];
    Mov_dr_r64 => system mov_to_dr[u64];
    Mov_r32_dr => register mov_from_dr[u32];
    Mov_r64_dr => register mov_from_dr[u64];
    Clts => system clts;
    Smsw_rm16 => register smsw[u16], memory smsw_memory;
    Smsw_r32m16 => register smsw[u32], memory smsw_memory;
    Smsw_r64m16 => register smsw[u64], memory smsw_memory;
    Lmsw_rm16 => system lmsw, system_memory lmsw_memory;
    Lmsw_r32m16 => system lmsw, system_memory lmsw_memory;
    Lmsw_r64m16 => system lmsw, system_memory lmsw_memory;
    Invlpg_m => system_memory invlpg;
    Invd => system write_back;
    Wbinvd => system write_back;
    Hlt => system hlt;
}
