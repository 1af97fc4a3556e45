//! Our CPU, in the same situation as the host's: user mode under 4-level paging, with the windows at their addresses and descriptors as Linux has them.
//!
//! Every exception is delivered through the IDT to a HLT of its own, so the case's registers lie in the CPU and on the stack frame when the machine stops.

use emu::bus::{Ram, VecBacking};
use emu::cache::Limits;
use emu::cpu::{Cr0, Cr4, DescriptorTable, Efer, Segment, SegmentName};
use emu::engine::{self, VcpuExit};
use emu::vcpu::{Clock, Vcpu};

use super::common::NoBoard;
use super::world::*;

/// How the CPU is driven: results are the same in all ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drive {
    /// Empty TLB and block cache: every access takes the slow path.
    Cold,
    /// As the run before left them: accesses hit the TLB, blocks are found.
    Warm,
    /// One instruction at a time.
    Stepped,
}

/// Counts (instructions and REP iterations) after which a case has hung.
const PATIENCE: u64 = 100_000;

/// Physical addresses. System structures are mapped at [`SYSTEM`], for the supervisor alone.
mod physical {
    pub const PML4: u64 = 0x1000;
    pub const PDPT: u64 = 0x2000;
    pub const DIRECTORY: u64 = 0x3000;
    pub const SYSTEM_PDPT: u64 = 0x4000;
    pub const SYSTEM_DIRECTORY: u64 = 0x5000;
    pub const GDT: u64 = 0x6000;
    pub const LDT: u64 = 0x6800;
    pub const TSS: u64 = 0x7000;
    pub const IDT: u64 = 0x8000;
    /// One HLT for each vector, [`super::HANDLER`] bytes apart.
    pub const HANDLERS: u64 = 0x9000;
    pub const KERNEL_STACK: u64 = 0xd000;
    /// Page tables of the windows, one each.
    pub const TABLES: u64 = 0x1_0000;
    pub const CODE: u64 = 0x2_0000;
    pub const DATA: u64 = 0x2_4000;
    pub const STACK: u64 = 0x2_8000;
    pub const READ_ONLY: u64 = 0x2_c000;
}

const RAM_SIZE: usize = 2 << 20;
const SYSTEM: u64 = 0xffff_8000_0000_0000;
const HANDLER: u64 = 16;

const KERNEL_CS: u16 = 0x10;
const TSS_SELECTOR: u16 = 0x40;
const LDT_SELECTOR: u16 = 0x50;

/// Linux's GDT (arch/x86/kernel/cpu/common.c), all descriptors accessed.
const GDT: [u64; 7] = [
    0,
    0x00cf_9b00_0000_ffff,
    0x00af_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00cf_fb00_0000_ffff,
    0x00cf_f300_0000_ffff,
    0x00af_fb00_0000_ffff,
];
const GDT_LIMIT: u16 = 127;
const LDT_LIMIT: u32 = 8 * LDT.len() as u32 - 1;
/// The LDT, with the AVL bit that Linux's modify_ldt sets: the descriptors behind [`DATA_LDT`], [`STACK_LDT`] and [`CODE_LDT`].
const LDT: [u64; 4] = [0x2050_f300_0000_1fff, 0, 0x3010_f300_0000_1fff, 0x00d1_fb00_0000_0000];

/// Our CPU and 2 MiB of RAM.
pub struct Ours(Vcpu);

impl Ours {
    /// Builds page and descriptor tables.
    pub fn new() -> Ours {
        let backing = VecBacking::new(RAM_SIZE).expect("2 MiB are there");
        let mut ram = Ram::new(Box::new(backing));
        build_memory(ram.bytes_mut());
        let mut cpu = Vcpu::new(ram, Box::new(NoBoard), engine::new_cache(Limits { cache: 4096, ..Limits::default() }), Clock::Virtual);
        cpu.control.cr0 = Cr0::PE | Cr0::MP | Cr0::ET | Cr0::NE | Cr0::WP | Cr0::AM | Cr0::PG;
        cpu.control.cr3 = physical::PML4;
        cpu.control.cr4 = Cr4::PAE | Cr4::PGE | Cr4::OSFXSR | Cr4::OSXMMEXCPT | Cr4::SMEP | Cr4::SMAP;
        cpu.control.efer = Efer::SCE | Efer::LME | Efer::LMA | Efer::NXE;
        // SYSCALL and SYSENTER go to the handler behind the last vector's.
        let handler = SYSTEM + physical::HANDLERS + HANDLER * u64::from(CaseExit::SYSTEM_CALL);
        cpu.msrs.star = u64::from(KERNEL_CS) << 32;
        cpu.msrs.lstar = handler;
        cpu.msrs.fmask = flag::DF | flag::IF;
        (cpu.msrs.sysenter_cs, cpu.msrs.sysenter_eip, cpu.msrs.sysenter_esp) = (KERNEL_CS.into(), handler, SYSTEM + physical::KERNEL_STACK);
        cpu.gdtr = DescriptorTable { base: SYSTEM + physical::GDT, limit: GDT_LIMIT };
        cpu.idtr = DescriptorTable { base: SYSTEM + physical::IDT, limit: 0xfff };
        cpu.ldtr = Segment { selector: LDT_SELECTOR, base: SYSTEM + physical::LDT, limit: LDT_LIMIT, attributes: 0x82 };
        cpu.tr = Segment { selector: TSS_SELECTOR, base: SYSTEM + physical::TSS, limit: 0x67, attributes: 0x8b };
        Ours(cpu)
    }

    /// Runs a world until an exception stops it and leaves the result in its place.
    pub fn run(&mut self, world: &mut World, drive: Drive) {
        self.load(world);
        if drive == Drive::Cold {
            self.forget_all();
        }
        let vector = self.run_to_handler(drive);
        self.save(world, vector);
    }

    fn forget_all(&mut self) {
        let code = self.bytes(physical::CODE, WINDOW).to_vec();
        self.0.mmu.store(physical::CODE, &code);
        self.0.flush_translations();
    }

    fn bytes(&self, at: u64, len: usize) -> &[u8] {
        &self.0.mmu.ram().bytes()[at as usize..][..len]
    }

    /// Stores what differs, through RAM's own interface, so that cached code is dropped where it must be.
    fn load(&mut self, world: &World) {
        for ((_, window), at) in world.memory.windows().into_iter().zip([physical::CODE, physical::DATA, physical::STACK]) {
            if self.bytes(at, WINDOW) != window {
                self.0.mmu.store(at, window);
            }
        }
        let (cpu, state) = (&mut self.0, &world.state);
        for (number, value) in state.gpr.iter().enumerate() {
            cpu.regs[number as u8] = *value;
        }
        cpu.rip = state.rip;
        cpu.set_rflags(state.rflags);
        for name in SegmentName::ALL {
            let selector = state.segments[name as usize];
            cpu.segments[name as usize] = Segment::from_descriptor(selector, descriptor(selector));
        }
        cpu.segments[SegmentName::Fs as usize].base = state.fs_base;
        cpu.segments[SegmentName::Gs as usize].base = state.gs_base;
        let (fpu, fx) = (&mut cpu.fpu, &state.fx);
        fpu.control = fx.fcw;
        fpu.set_status_word(fx.fsw);
        fpu.valid = fx.ftw;
        fpu.mxcsr = fx.mxcsr;
        fpu.xmm = fx.xmm;
        (fpu.opcode, fpu.instruction, fpu.data) = (fx.fop, fx.fip, fx.fdp);
        for (number, st) in fx.st.iter().enumerate() {
            let register = (number + usize::from(fpu.top)) % 8;
            let value = u128::from_le_bytes(*st);
            (fpu.mantissa[register], fpu.exponent[register]) = (value as u64, (value >> 64) as u16);
        }
        cpu.control.cr2 = 0;
        cpu.control.dr6 = 0xffff_0ff0;
        cpu.cpl = 3;
        cpu.halted = false;
        cpu.interrupts_blocked = false;
        cpu.mode_changed();
    }

    /// Runs until a handler has halted the CPU; says whose.
    fn run_to_handler(&mut self, drive: Drive) -> u32 {
        let cpu = &mut self.0;
        let end = cpu.count() + PATIENCE;
        loop {
            let until = if drive == Drive::Stepped { cpu.count() + 1 } else { end };
            match cpu.run(until) {
                VcpuExit::Due if until < end => {}
                VcpuExit::Due => return CaseExit::HUNG,
                VcpuExit::Halted => return ((cpu.rip - SYSTEM - physical::HANDLERS) / HANDLER) as u32,
                VcpuExit::Shutdown | VcpuExit::Board | VcpuExit::Breakpoint | VcpuExit::Unavailable => return CaseExit::DIED,
            }
        }
    }

    fn save(&self, world: &mut World, vector: u32) {
        let cpu = &self.0;
        let state = &mut world.state;
        for (number, value) in state.gpr.iter_mut().enumerate() {
            *value = cpu.regs[number as u8];
        }
        for name in SegmentName::ALL {
            state.segments[name as usize] = cpu.segments[name as usize].selector;
        }
        state.fs_base = cpu.segments[SegmentName::Fs as usize].base;
        state.gs_base = cpu.segments[SegmentName::Gs as usize].base;
        let (fpu, fx) = (&cpu.fpu, &mut state.fx);
        fx.fcw = fpu.control;
        fx.fsw = fpu.status_word();
        fx.ftw = fpu.valid;
        fx.mxcsr = fpu.mxcsr;
        fx.xmm = fpu.xmm;
        (fx.fop, fx.fip, fx.fdp) = (fpu.opcode, fpu.instruction, fpu.data);
        for (number, st) in fx.st.iter_mut().enumerate() {
            let register = (number + usize::from(fpu.top)) % 8;
            *st = (u128::from(fpu.mantissa[register]) | u128::from(fpu.exponent[register]) << 64).to_le_bytes();
        }
        for ((_, window), at) in world.memory.windows_mut().into_iter().zip([physical::CODE, physical::DATA, physical::STACK]) {
            window.copy_from_slice(self.bytes(at, WINDOW));
        }
        self.save_frame(world, vector);
    }

    /// What delivery has pushed (SDM vol. 3, 6.14.2). A system call and a case that did not end left no frame.
    fn save_frame(&self, world: &mut World, vector: u32) {
        let (cpu, state) = (&self.0, &mut world.state);
        world.stop = CaseExit { vector, ..CaseExit::default() };
        if vector >= CaseExit::SYSTEM_CALL {
            (state.rip, state.rflags) = (cpu.rip, cpu.rflags());
            return;
        }
        let word = |below: u64| cpu.mmu.ram().load(physical::KERNEL_STACK - 8 * below).map_or(0, u64::from_le_bytes);
        state.segments[seg::SS] = word(1) as u16;
        state.gpr[gpr::RSP] = word(2);
        state.rflags = word(3);
        state.segments[seg::CS] = word(4) as u16;
        state.rip = word(5);
        if matches!(vector, 8 | 10..=14 | 17) {
            world.stop.error = word(6) as u32;
        }
        if vector == 14 {
            world.stop.cr2 = cpu.control.cr2;
        }
    }
}

fn descriptor(selector: u16) -> u64 {
    match selector {
        _ if selector & 4 != 0 => LDT.get(usize::from(selector) / 8).copied().unwrap_or(0),
        _ => GDT.get(usize::from(selector) / 8).copied().unwrap_or(0),
    }
}

fn build_memory(ram: &mut [u8]) {
    let mut put = |at: u64, value: u64| ram[at as usize..][..8].copy_from_slice(&value.to_le_bytes());
    const PRESENT: u64 = 1;
    const WRITABLE: u64 = 2;
    const USER: u64 = 4;
    const LARGE: u64 = 1 << 7;
    const NO_EXECUTE: u64 = 1 << 63;
    const OPEN: u64 = PRESENT | WRITABLE | USER;
    put(physical::PML4, physical::PDPT | OPEN);
    put(physical::PDPT, physical::DIRECTORY | OPEN);
    let windows = [
        (CODE, physical::CODE, WINDOW, OPEN),
        (DATA, physical::DATA, WINDOW, OPEN),
        (STACK, physical::STACK, WINDOW, OPEN),
        (READ_ONLY, physical::READ_ONLY, PAGE, PRESENT | USER | NO_EXECUTE),
    ];
    for (number, (linear, address, length, rights)) in windows.into_iter().enumerate() {
        let table = physical::TABLES + (number * PAGE) as u64;
        put(physical::DIRECTORY + (linear >> 21) * 8, table | OPEN);
        for page in 0..(length / PAGE) as u64 {
            put(table + page * 8, (address + page * PAGE as u64) | rights);
        }
    }
    put(physical::PML4 + 256 * 8, physical::SYSTEM_PDPT | PRESENT | WRITABLE);
    put(physical::SYSTEM_PDPT, physical::SYSTEM_DIRECTORY | PRESENT | WRITABLE);
    put(physical::SYSTEM_DIRECTORY, PRESENT | WRITABLE | LARGE);
    for (number, descriptor) in GDT.iter().enumerate() {
        put(physical::GDT + 8 * number as u64, *descriptor);
    }
    put(physical::GDT + u64::from(TSS_SELECTOR), system_descriptor(physical::TSS, 0x67, 0x8b));
    put(physical::GDT + u64::from(TSS_SELECTOR) + 8, SYSTEM >> 32);
    put(physical::GDT + u64::from(LDT_SELECTOR), system_descriptor(physical::LDT, LDT_LIMIT.into(), 0x82));
    put(physical::GDT + u64::from(LDT_SELECTOR) + 8, SYSTEM >> 32);
    for (number, descriptor) in LDT.iter().enumerate() {
        put(physical::LDT + 8 * number as u64, *descriptor);
    }
    // RSP0; the I/O permission map lies beyond the limit.
    let stack = SYSTEM + physical::KERNEL_STACK;
    put(physical::TSS, stack << 32);
    put(physical::TSS + 8, stack >> 32);
    put(physical::TSS + 0x60, 0x68 << 48);
    put(physical::HANDLERS + HANDLER * u64::from(CaseExit::SYSTEM_CALL), STOP.into());
    for vector in 0..256 {
        let handler = SYSTEM + physical::HANDLERS + HANDLER * vector;
        // Breakpoint, overflow and Linux's system call may be called by user code.
        let attributes: u64 = if matches!(vector, 3 | 4 | 0x80) { 0xee00 } else { 0x8e00 };
        put(physical::IDT + 16 * vector, handler & 0xffff | u64::from(KERNEL_CS) << 16 | attributes << 32 | (handler >> 16 & 0xffff) << 48);
        put(physical::IDT + 16 * vector + 8, handler >> 32);
        put(physical::HANDLERS + HANDLER * vector, STOP.into());
    }
    ram[physical::READ_ONLY as usize..][..PAGE].copy_from_slice(&read_only_page());
}

/// The first half of a 16-byte system descriptor.
fn system_descriptor(address: u64, limit: u64, attributes: u64) -> u64 {
    let base = SYSTEM + address;
    limit | (base & 0xff_ffff) << 16 | attributes << 40 | (base >> 24 & 0xff) << 56
}
