//! A small machine: 256 KiB of RAM, mapped one to one and at the top of the address space, with pages of every other kind behind it,
//! descriptor tables, stacks, and handlers that let a program go on after an exception.

use super::board::FuzzBoard;
use crate::input::Input;
use emu::bus::{Ram, VecBacking};
use emu::cache::Limits;
use emu::cpu::{Control, Cr0, Cr4, DescriptorTable, Efer, Segment, SegmentName, slot};
use emu::engine::new_cache;
use emu::vcpu::{Clock, Vcpu};

const RAM_BYTES: u64 = 256 << 10;
const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const DIRECTORY: u64 = 0x3000;
const TABLE: u64 = 0x4000;
const GDT: u64 = 0x5000;
const IDT: u64 = 0x6000;
const TSS: u64 = 0x7000;
const HANDLERS: u64 = 0x8000;
const LEVEL0_STACK: u64 = 0xa800;
const IST_STACK: u64 = 0xaf00;
const STACK: u64 = 0x2_0800;
const CODE: u64 = 0x1_0000;
const DATA: u64 = 0x2_1000;

/// Pages behind RAM: devices, nothing, read-only, not executable, supervisor's, and a large address.
const DEVICE_PAGE: u64 = 0x40_000;
const ABSENT_PAGE: u64 = 0x41_000;
const READ_ONLY_PAGE: u64 = 0x42_000;
const NO_EXECUTE_PAGE: u64 = 0x43_000;
const SUPERVISOR_PAGE: u64 = 0x44_000;
const ALIAS_OF_CODE: u64 = 0x45_000;

const PRESENT_WRITE_USER: u64 = 7;

/// What registers are filled with.
const VALUES: [u64; 24] = [
    0,
    1,
    2,
    u64::MAX,
    DATA,
    DATA + 0xff0,
    DATA + 0xff9,
    STACK,
    CODE,
    CODE + 0x40,
    DEVICE_PAGE,
    ABSENT_PAGE - 4,
    READ_ONLY_PAGE,
    NO_EXECUTE_PAGE,
    SUPERVISOR_PAGE,
    ALIAS_OF_CODE + 0x20,
    0xffff_ffff_8000_0000 + DATA,
    0x8000_0000_0000,
    0x8000_0000,
    0x7fff_ffff_ffff_ffff,
    0x3ff0_0000_0000_0000,
    0x10,
    0x2b,
    0xff,
];

/// In which mode the program runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Long,
    LongUser,
    Compatibility,
    Compatibility16,
    Protected,
    ProtectedUser,
    Protected16,
}

const MODES: [Mode; 7] =
    [Mode::Long, Mode::LongUser, Mode::Compatibility, Mode::Compatibility16, Mode::Protected, Mode::ProtectedUser, Mode::Protected16];

/// Code segments, then data segments; the last of the selectors are free for programs to load.
const DESCRIPTORS: [u64; 14] = [
    0,
    0x00af_9b00_0000_ffff, // 0x08: 64-bit code
    0x00cf_9300_0000_ffff, // 0x10: data
    0x00cf_fb00_0000_ffff, // 0x18: user 32-bit code
    0x00cf_f300_0000_ffff, // 0x20: user data
    0x00af_fb00_0000_ffff, // 0x28: user 64-bit code
    0x0000_8b00_7000_0067, // 0x30: busy TSS, and the rest of it
    0,
    0x00cf_9b00_0000_ffff,               // 0x40: 32-bit code
    0x008f_9b00_0000_ffff,               // 0x48: 16-bit code
    0x008f_fb00_0000_ffff,               // 0x50: user 16-bit code
    0x0000_f300_1000_0fff,               // 0x58: small user data
    0x0040_f702_1000_0fff,               // 0x60: expanding down
    0x0000_ec01_0000_0000 | 0x0008_0000, // 0x68: a call gate
];

/// A program and all that it starts with.
pub struct World {
    mode: Mode,
    flags: u64,
    registers: [u64; 16],
    vectors: [u128; 4],
    mxcsr: u32,
    fpu_control: u16,
    cr0: u64,
    offset: u64,
    program: Vec<u8>,
    board: FuzzBoard,
}

impl World {
    /// Mode, flags, timers, registers, then code.
    pub fn new(input: &mut Input<'_>) -> Self {
        let mode = input.pick(&MODES);
        let bits = input.u8();
        let flag = |number: u8, bit: u64| if bits >> number & 1 != 0 { bit } else { 0 };
        let floats = input.u8();
        let mut registers: [u64; 16] = std::array::from_fn(|_| match input.u8() {
            chosen @ 0..=0xbf => VALUES[usize::from(chosen) % VALUES.len()],
            small => u64::from(small),
        });
        registers[usize::from(slot::RSP)] = STACK;
        let vectors = std::array::from_fn(|_| u128::from(input.pick(&VALUES)) << 64 | u128::from(input.pick(&VALUES)));
        // Near a page's end as often as not.
        let offset = if input.bit() { 0xff0 } else { 0 };
        let board = FuzzBoard::new(input);
        Self {
            mode,
            flags: 2 | flag(0, 1 << 8) | flag(1, 1 << 9) | flag(2, 1 << 10) | flag(3, 1 << 18) | flag(4, 3 << 12) | flag(5, 0x8d5),
            registers,
            vectors,
            mxcsr: 0x1f80 & !(u32::from(floats & 0x3f) << 7) | u32::from(floats >> 6) << 13 | u32::from(floats & 0x40),
            fpu_control: 0x037f ^ u16::from(floats & 0x3f) ^ u16::from(floats >> 6) << 10,
            cr0: flag(6, Cr0::AM) | flag(7, Cr0::TS),
            offset,
            program: input.bytes(256).to_vec(),
            board,
        }
    }

    /// The machine before its first instruction.
    pub fn cpu(&self, limits: Limits) -> Vcpu {
        let ram = Ram::new(Box::new(VecBacking::new(RAM_BYTES as usize).unwrap()));
        let mut cx = Vcpu::new(ram, Box::new(self.board.clone()), new_cache(limits), Clock::Virtual);
        self.lay_out(&mut cx);
        self.set_registers(&mut cx);
        cx
    }

    fn is_long(&self) -> bool {
        !matches!(self.mode, Mode::Protected | Mode::ProtectedUser | Mode::Protected16)
    }

    fn lay_out(&self, cx: &mut Vcpu) {
        let put = |cx: &mut Vcpu, address: u64, value: u64| assert!(cx.mmu.store(address, &value.to_le_bytes()));
        for index in [0, 511] {
            put(cx, PML4 + 8 * index, PDPT | PRESENT_WRITE_USER);
            put(cx, DIRECTORY + 8 * index, TABLE | PRESENT_WRITE_USER);
        }
        for index in [0, 510, 511] {
            put(cx, PDPT + 8 * index, DIRECTORY | PRESENT_WRITE_USER);
        }
        for page in 0..RAM_BYTES >> 12 {
            put(cx, TABLE + 8 * page, page << 12 | PRESENT_WRITE_USER);
        }
        // Programs do not reach the page tables. Until it is invalidated, a CPU may use what it found there before it was changed (SDM Vol. 3,
        // 4.10.2.3), so when it is noticed would say nothing.
        for page in PML4 >> 12..=TABLE >> 12 {
            put(cx, TABLE + 8 * page, DATA | PRESENT_WRITE_USER);
        }
        for (page, entry) in [
            (DEVICE_PAGE, 0xfeb0_0000 | PRESENT_WRITE_USER),
            (READ_ONLY_PAGE, DATA | 5),
            (NO_EXECUTE_PAGE, CODE | 1 << 63 | PRESENT_WRITE_USER),
            (SUPERVISOR_PAGE, DATA | 3),
            (ALIAS_OF_CODE, CODE | 0x100 | PRESENT_WRITE_USER),
        ] {
            put(cx, TABLE + (page >> 12) * 8, entry);
        }
        for (at, descriptor) in (0..).zip(DESCRIPTORS) {
            put(cx, GDT + 8 * at, descriptor);
        }
        let (stack, code) = if self.is_long() { (LEVEL0_STACK, 0x08) } else { (LEVEL0_STACK | 0x10 << 32, 0x40) };
        put(cx, TSS + 4, stack);
        put(cx, TSS + 36, IST_STACK);
        for vector in 0..256 {
            let target = HANDLERS + 16 * vector;
            // A double fault gets a stack of its own; user programs may use INT3 and the last vectors.
            let (stack_table, dpl) = (u64::from(vector == 8), if vector == 3 || vector > 0xf0 { 3 } else { 0 });
            let gate = target | code << 16 | stack_table << 32 | (0x8e | dpl << 5) << 40;
            if self.is_long() {
                put(cx, IDT + 16 * vector, gate)
            } else {
                put(cx, IDT + 8 * vector, gate & !(7 << 32))
            }
            // Forget the error code, skip a byte of the program that faulted, go on.
            let has_error_code = matches!(vector, 8 | 10..=14 | 17);
            let handler: &[u8] = match (self.is_long(), has_error_code, vector < 32) {
                (true, true, _) => &[0x48, 0x83, 0xc4, 8, 0x48, 0xff, 0x04, 0x24, 0x48, 0xcf],
                (true, false, true) => &[0x48, 0xff, 0x04, 0x24, 0x48, 0xcf],
                (false, true, _) => &[0x83, 0xc4, 4, 0xff, 0x04, 0x24, 0xcf],
                (false, false, true) => &[0xff, 0x04, 0x24, 0xcf],
                (true, false, false) => &[0x48, 0xcf],
                (false, false, false) => &[0xcf],
            };
            assert!(cx.mmu.store(target, handler));
        }
        assert!(cx.mmu.store(CODE + self.offset, &self.program));
        let data: Vec<u8> = (0..=255).collect();
        assert!(cx.mmu.store(DATA, &data));
    }

    fn set_registers(&self, cx: &mut Vcpu) {
        let (code, data, cpl) = match self.mode {
            Mode::Long => (0x08, 0x10, 0),
            Mode::LongUser => (0x2b, 0x23, 3),
            Mode::Compatibility | Mode::ProtectedUser => (0x1b, 0x23, 3),
            Mode::Compatibility16 => (0x53, 0x23, 3),
            Mode::Protected => (0x40, 0x10, 0),
            Mode::Protected16 => (0x48, 0x10, 0),
        };
        let segment = |selector: u16| Segment::from_descriptor(selector, DESCRIPTORS[usize::from(selector >> 3)]);
        for name in SegmentName::ALL {
            cx.segments[name as usize] = segment(if name == SegmentName::Cs { code } else { data });
        }
        cx.tr = Segment { selector: 0x30, base: TSS, limit: 0x67, attributes: 0x8b };
        cx.gdtr = DescriptorTable { base: GDT, limit: (DESCRIPTORS.len() * 8 - 1) as u16 };
        cx.idtr = DescriptorTable { base: IDT, limit: if self.is_long() { 0xfff } else { 0x7ff } };
        let base = Control { cr0: Cr0::PE | Cr0::MP | Cr0::ET | Cr0::NE | Cr0::WP | self.cr0, ..Control::default() };
        cx.control = if self.is_long() {
            Control {
                cr0: base.cr0 | Cr0::PG,
                cr3: PML4,
                cr4: Cr4::PAE | Cr4::PGE | Cr4::OSFXSR | Cr4::OSXMMEXCPT,
                efer: Efer::SCE | Efer::LME | Efer::LMA | Efer::NXE,
                ..base
            }
        } else {
            Control { cr4: Cr4::OSFXSR | Cr4::OSXMMEXCPT, ..base }
        };
        cx.msrs.star = 0x1b << 48 | 0x08 << 32;
        cx.msrs.lstar = CODE + 0x10;
        cx.msrs.sysenter_cs = 0x08;
        cx.msrs.sysenter_eip = CODE + 0x18;
        cx.msrs.sysenter_esp = LEVEL0_STACK;
        cx.cpl = cpl;
        cx.regs.set_general(self.registers);
        cx.fpu.xmm[..4].copy_from_slice(&self.vectors);
        cx.fpu.mxcsr = self.mxcsr;
        cx.fpu.control = self.fpu_control;
        cx.rip = CODE + self.offset;
        cx.set_rflags(self.flags);
        cx.mode_changed();
    }
}
