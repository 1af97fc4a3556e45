//! Control and debug registers, caches, translations, HLT.
//!
//! The CPU is always in protected mode, and it pages only as long mode does: a MOV to CR0 that would clear PE, or set PG without
//! EFER.LME, raises #GP(0).

use super::path::{EffectiveAddress, General, Path};
use super::row::rows;
use super::segment::privileged;
use crate::cpu::CodeSize;
use crate::cpu::breakpoint::{DETECTED, GENERAL_DETECT};
use crate::cpu::cpuid::PHYSICAL_BITS;
use crate::cpu::{Cr0, Cr4, Efer, Exception, SegmentName, Word};
use crate::decode::{AddressMode, Op};
use crate::delivery::descriptor::system_type;
use crate::vcpu::Vcpu;

/// Bits of CR0 that exist.
const CR0_BITS: u64 = Cr0::PE | Cr0::MP | Cr0::EM | Cr0::TS | Cr0::ET | Cr0::NE | Cr0::WP | Cr0::AM | Cr0::NW | Cr0::CD | Cr0::PG;

/// Bits of CR4 that belong to a feature that CPUID advertises.
const CR4_BITS: u64 =
    Cr4::TSD | Cr4::DE | Cr4::PSE | Cr4::PAE | Cr4::PGE | Cr4::PCE | Cr4::OSFXSR | Cr4::OSXMMEXCPT | Cr4::SMEP | Cr4::SMAP;

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
    cx.mmu.flush_local();
    cx.cache.forget_local_addresses();
    Ok(())
}

fn set_cr4(cx: &mut Vcpu, value: u64) -> Result<(), Exception> {
    require(value & !CR4_BITS == 0)?;
    require(!cx.long_mode() || value & Cr4::PAE != 0)?;
    cx.control.cr4 = value;
    cx.breakpoints_changed();
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
            cx.board_mut().set_task_priority(value as u8);
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
        8 => u64::from(cx.board().task_priority()),
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

/// The debug register that an operand names: 4 and 5 are old names of 6 and 7, unless CR4.DE says that there are none such.
fn debug_register(cx: &mut Vcpu, number: u8) -> Result<u8, Exception> {
    let number = match number {
        4 | 5 if cx.control.cr4 & Cr4::DE == 0 => number + 2,
        0..=3 | 6 | 7 => number,
        _ => return Err(Exception::INVALID_OPCODE),
    };
    privileged(cx)?;
    if cx.control.dr7 & GENERAL_DETECT != 0 {
        cx.control.dr6 |= DETECTED;
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
    cx.breakpoints_changed();
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
    let linear = General::linear(cx, op) & !AddressMode::CHECKED;
    // Of a large page, every part is to be forgotten (SDM Vol. 3, 4.10.4.1).
    if cx.mmu.may_be_large(linear) {
        cx.flush_translations();
    } else {
        cx.mmu.flush_page(linear);
        cx.cache.forget_page(linear);
    }
    Ok(())
}

/// INVD and WBINVD: there are no caches whose contents could be seen.
fn write_back(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    privileged(cx)
}

fn hlt(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    privileged(cx)?;
    cx.halted = true;
    cx.time.halt();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::slot;
    use crate::testing::*;

    /// MOV CRn, RAX.
    fn mov_to(number: u8) -> [u8; 3] {
        [0x0f, 0x22, 0xc0 | number << 3]
    }

    #[test]
    fn control_registers_refuse_reserved_bits_and_impossible_modes() {
        let cr0 = Cr0::PE | Cr0::PG | Cr0::NE | Cr0::WP | Cr0::MP | Cr0::ET;
        let cr4 = Cr4::PAE | Cr4::PGE | Cr4::OSFXSR;
        let cases = [
            (0, cr0 & !Cr0::PE),
            (0, cr0 & !Cr0::PG),
            (0, cr0 | Cr0::NW),
            (0, cr0 | 1 << 32),
            (3, 1 << 39),
            (3, 1 << 63),
            (4, cr4 & !Cr4::PAE),
            (4, cr4 | 1),
            (4, cr4 | 1 << 17),
            (4, cr4 | 1 << 18),
            (4, cr4 | 1 << 32),
        ];
        for (number, value) in cases {
            let mut cx = long_mode();
            let before = cx.control;
            cx.regs[slot::RAX] = value;
            expect_vector(&mut cx, &mov_to(number), 13);
            assert_eq!(cx.control, before, "CR{number} {value:#x}");
        }
    }

    #[test]
    fn control_registers_belong_to_the_supervisor() {
        for number in [0, 2, 3, 4, 8] {
            let (code, rex): ([u8; 3], &[u8]) = if number == 8 { (mov_to(0), &[0x44]) } else { (mov_to(number), &[]) };
            let mut cx = user_mode();
            expect_vector(&mut cx, &[rex, &code].concat(), 13);
        }
    }

    #[test]
    fn control_register_1_is_undefined() {
        let mut cx = long_mode();
        expect_vector(&mut cx, &mov_to(1), 6);
    }

    #[test]
    fn long_mode_is_entered_as_a_loader_does() {
        // The tables of a CPU that is in long mode already serve one that is not yet.
        let mut cx = long_mode();
        let cr3 = cx.control.cr3;
        cx.control.efer = 0;
        cx.control.cr0 = Cr0::PE | Cr0::ET;
        cx.control.cr4 = 0;
        cx.control.cr3 = 0;
        cx.segments[SegmentName::Cs as usize] = crate::cpu::Segment::from_descriptor(selector::CODE32, flat(0xc09b));
        cx.mode_changed();
        cx.flush_translations();
        let mut code = Vec::new();
        // MOV EAX, PAE; MOV CR4, EAX; MOV EAX, PML4; MOV CR3, EAX
        code.extend([0xb8, 0x20, 0, 0, 0, 0x0f, 0x22, 0xe0, 0xb8]);
        code.extend((cr3 as u32).to_le_bytes());
        code.extend([0x0f, 0x22, 0xd8]);
        // MOV ECX, IA32_EFER; RDMSR; BTS EAX, 8; WRMSR
        code.extend([0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x32, 0x0f, 0xba, 0xe8, 8, 0x0f, 0x30]);
        // MOV EAX, CR0; BTS EAX, 31; MOV CR0, EAX
        code.extend([0x0f, 0x20, 0xc0, 0x0f, 0xba, 0xe8, 31, 0x0f, 0x22, 0xc0]);
        // JMP FAR to 64-bit code, where MOV RAX, RSP; HLT waits.
        code.push(0xea);
        code.extend((CODE as u32 + 0x100).to_le_bytes());
        code.extend(selector::CODE64.to_le_bytes());
        cx.regs[slot::RSP] = 0xffff_8000_0000_0000;
        store(&mut cx, CODE + 0x100, &[0x48, 0x89, 0xe0, 0xf4]);
        assert_eq!(run(&mut cx, &code), crate::engine::VcpuExit::Halted);
        assert_eq!(cx.rip, CODE + 0x104);
        assert_eq!(cx.control.efer, Efer::LME | Efer::LMA);
        assert_eq!(cx.regs[slot::RAX], 0xffff_8000_0000_0000);
    }

    #[test]
    fn paging_without_long_mode_raises_gp() {
        let mut cx = protected_mode();
        cx.regs[slot::RAX] = Cr0::PE | Cr0::PG;
        expect_vector(&mut cx, &mov_to(0), 13);
    }

    #[test]
    fn cr3_load_forgets_translations_that_are_not_global() {
        let mut cx = long_mode();
        let page = DATA + 0x1000;
        cx.regs[slot::RBX] = page;
        cx.regs[slot::RAX] = cx.control.cr3;
        store64(&mut cx, page, 0x11);
        store64(&mut cx, DATA, 0x22);
        // MOV RCX, [RBX]; MOV [RDX], RSI (the page's entry: DATA instead); MOV RDI, [RBX]; MOV CR3, RAX; MOV RDI, [RBX]
        let entry = 0x4000 + page / 4096 * 8;
        cx.regs[slot::RDX] = entry;
        cx.regs[slot::RSI] = DATA | PRESENT | WRITE;
        expect_halt(&mut cx, &[0x48, 0x8b, 0x0b, 0x48, 0x89, 0x32, 0x0f, 0x22, 0xd8, 0x48, 0x8b, 0x3b, 0xf4]);
        assert_eq!([cx.regs[slot::RCX], cx.regs[slot::RDI]], [0x11, 0x22]);
    }

    #[test]
    fn invlpg_forgets_a_page_of_data_and_of_code() {
        let mut cx = long_mode();
        let page = DATA + 0x1000;
        // Two functions: MOV EAX, n; RET.
        store(&mut cx, page, &[0xb8, 1, 0, 0, 0, 0xc3]);
        store(&mut cx, DATA, &[0xb8, 2, 0, 0, 0, 0xc3]);
        cx.regs[slot::RBX] = page;
        cx.regs[slot::RDX] = 0x4000 + page / 4096 * 8;
        cx.regs[slot::RSI] = DATA | PRESENT | WRITE;
        // CALL RBX; MOV ECX, EAX; MOV [RDX], RSI; INVLPG [RBX]; CALL RBX
        expect_halt(&mut cx, &[0xff, 0xd3, 0x89, 0xc1, 0x48, 0x89, 0x32, 0x0f, 0x01, 0x3b, 0xff, 0xd3, 0xf4]);
        assert_eq!([cx.regs[slot::RCX], cx.regs[slot::RAX]], [1, 2]);
    }

    #[test]
    fn invlpg_forgets_all_of_a_large_page() {
        let mut cx = long_mode();
        let (page, directory, table) = (USER_DATA, 0x3008, 0x5000);
        // Two functions on the second page, and two numbers on the third: now in a large page, then in small ones that lead elsewhere.
        let (code, data) = (page + 0x1000, page + 0x2000);
        store(&mut cx, code, &[0xb8, 1, 0, 0, 0, 0xc3]);
        store(&mut cx, data, &[3]);
        store(&mut cx, DATA, &[0xb8, 2, 0, 0, 0, 0xc3]);
        store(&mut cx, DATA + 0x1000, &[4]);
        store64(&mut cx, table + (code / 4096 % 512) * 8, DATA | PRESENT | WRITE);
        store64(&mut cx, table + (data / 4096 % 512) * 8, (DATA + 0x1000) | PRESENT | WRITE);
        let small = load64(&cx, directory);
        store64(&mut cx, directory, 0x20_0000 | 0x80 | PRESENT | WRITE);
        cx.flush_translations();
        cx.regs[slot::RBX] = page;
        cx.regs[slot::RDX] = directory;
        cx.regs[slot::RSI] = small;
        cx.regs[slot::RDI] = code;
        // CALL RDI; MOV R8D, EAX; MOV R9B, [RBX+0x2000]; MOV [RDX], RSI; INVLPG [RBX]; CALL RDI; MOV R10B, [RBX+0x2000]
        let program = [
            &[0xff, 0xd7, 0x41, 0x89, 0xc0][..],
            &[0x44, 0x8a, 0x8b, 0, 0x20, 0, 0],
            &[0x48, 0x89, 0x32, 0x0f, 0x01, 0x3b, 0xff, 0xd7],
            &[0x44, 0x8a, 0x93, 0, 0x20, 0, 0, 0xf4],
        ];
        expect_halt(&mut cx, &program.concat());
        assert_eq!([8, 9, 10, slot::RAX].map(|number| cx.regs[number]), [1, 3, 4, 2]);
    }

    #[test]
    fn task_switched_flag_raises_nm_until_clts() {
        let mut cx = long_mode();
        cx.regs[slot::RAX] = cx.control.cr0 | Cr0::TS;
        // MOV CR0, RAX; CLTS; MOVAPS XMM0, XMM1
        expect_halt(&mut cx, &[0x0f, 0x22, 0xc0, 0x0f, 0x06, 0x0f, 0x28, 0xc1, 0xf4]);
        let mut cx = long_mode();
        cx.regs[slot::RAX] = cx.control.cr0 | Cr0::TS;
        // The same instruction before and after TS is set: the decoded block must not be taken twice.
        let function = [0x0f, 0x28, 0xc1, 0xc3];
        store(&mut cx, DATA, &function);
        cx.regs[slot::RBX] = DATA;
        expect_vector(&mut cx, &[0xff, 0xd3, 0x0f, 0x22, 0xc0, 0xff, 0xd3], 7);
    }

    #[test]
    fn debug_registers_keep_their_fixed_bits() {
        let mut cx = long_mode();
        // MOV DR6, RAX; MOV DR7, RAX; MOV RBX, DR6; MOV RCX, DR5
        expect_halt(&mut cx, &[0x0f, 0x23, 0xf0, 0x0f, 0x23, 0xf8, 0x0f, 0x21, 0xf3, 0x0f, 0x21, 0xe9, 0xf4]);
        assert_eq!([cx.regs[slot::RBX], cx.regs[slot::RCX]], [0xffff_0ff0, 0x400]);
        let mut cx = long_mode();
        cx.regs[slot::RAX] = 1 << 32;
        expect_vector(&mut cx, &[0x0f, 0x23, 0xf8], 13);
    }

    #[test]
    fn general_detect_traps_debug_register_accesses_once() {
        let mut cx = long_mode();
        cx.control.dr7 |= GENERAL_DETECT;
        expect_vector(&mut cx, &[0x0f, 0x21, 0xc0], 1);
        assert_eq!(cx.control.dr6 & GENERAL_DETECT, GENERAL_DETECT);
        assert_eq!(cx.control.dr7 & GENERAL_DETECT, 0);
        assert_eq!(frame::<1>(&cx), [CODE]);
    }

    #[test]
    fn lmsw_does_not_leave_protected_mode() {
        let mut cx = long_mode();
        // LMSW AX; SMSW ECX
        expect_halt(&mut cx, &[0x0f, 0x01, 0xf0, 0x0f, 0x01, 0xe1, 0xf4]);
        assert_eq!(cx.control.cr0 & (Cr0::PE | Cr0::MP), Cr0::PE);
        assert_eq!(cx.regs[slot::RCX], cx.control.cr0);
    }

    #[test]
    fn task_priority_is_the_boards() {
        let mut cx = long_mode();
        cx.regs[slot::RAX] = 5;
        // MOV CR8, RAX; MOV RBX, CR8
        expect_halt(&mut cx, &[0x44, 0x0f, 0x22, 0xc0, 0x44, 0x0f, 0x20, 0xc3, 0xf4]);
        assert_eq!([cx.regs[slot::RBX], u64::from(board(&mut cx).priority)], [5, 5]);
        let mut cx = long_mode();
        cx.regs[slot::RAX] = 16;
        expect_vector(&mut cx, &[0x44, 0x0f, 0x22, 0xc0], 13);
    }

    #[test]
    fn halt_and_cache_control_belong_to_the_supervisor() {
        for code in [&[0xf4][..], &[0x0f, 0x08], &[0x0f, 0x09], &[0x0f, 0x06], &[0x0f, 0x01, 0x3b]] {
            let mut cx = user_mode();
            expect_vector(&mut cx, code, 13);
        }
    }
}
