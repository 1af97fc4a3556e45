//! A small machine for unit tests: 4 MiB of RAM, mapped one to one, with descriptor tables, stacks and a handler for every vector.
//!
//! Each handler is a HLT at [`handler`], so a run ends where an exception or interrupt was delivered. The upper half of RAM belongs to
//! user mode, the lower to supervisor mode.

use std::any::Any;

use crate::bus::{AddressSpace, Board, Ram, VecBacking};
use crate::cache::Limits;
use crate::cpu::{Control, Cr0, Cr4, DescriptorTable, Efer, Segment, SegmentName, slot};
use crate::engine::{VcpuExit, new_cache};
use crate::vcpu::{Clock, Vcpu};
use devices::platform::GuestMemory;

const RAM_BYTES: usize = 4 << 20;
const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const DIRECTORY: u64 = 0x3000;
/// Two page tables: one entry of eight bytes for each page of RAM.
pub const TABLES: u64 = 0x4000;
pub const GDT: u64 = 0x6000;
pub const IDT: u64 = 0x7000;
pub const TSS: u64 = 0x8000;
const HANDLERS: u64 = 0x10000;
/// Tops of stacks.
pub const STACK: u64 = 0x20000;
pub const LEVEL0_STACK: u64 = 0x22000;
pub const IST_STACK: u64 = 0x24000;
/// Where supervisor code and data go.
pub const CODE: u64 = 0x30000;
pub const DATA: u64 = 0x40000;
/// Where user code, data and stack go.
pub const USER_CODE: u64 = 0x20_0000;
pub const USER_DATA: u64 = 0x21_0000;
pub const USER_STACK: u64 = 0x22_0000;

pub mod selector {
    pub const CODE64: u16 = 0x08;
    pub const DATA: u16 = 0x10;
    pub const USER_CODE32: u16 = 0x18 | 3;
    pub const USER_DATA: u16 = 0x20 | 3;
    pub const USER_CODE64: u16 = 0x28 | 3;
    pub const TSS: u16 = 0x30;
    pub const CODE32: u16 = 0x40;
    /// Free for tests: two entries.
    pub const FREE: u16 = 0x48;
}

pub const PRESENT: u64 = 1;
pub const WRITE: u64 = 2;
pub const USER: u64 = 4;

/// A board with a log of what was written to ports, and interrupts that a test raises.
#[derive(Default)]
pub struct TestBoard {
    pub writes: Vec<(u64, u8, u64)>,
    pub pending: Vec<u8>,
    pub priority: u8,
    /// How often FERR# was asserted, and what IGNNE# answers.
    pub float_errors: u32,
    pub ignores_float_errors: bool,
    pub timer: Option<Timer>,
}

/// Raises [`Timer::VECTOR`] every `period` ticks, counted from when it was raised last.
pub struct Timer {
    pub period: u64,
    pub deadline: u64,
}

impl Timer {
    pub const VECTOR: u8 = 0x20;
}

impl Board for TestBoard {
    fn read(&mut self, space: AddressSpace, address: u64, _: u8, _: &mut dyn GuestMemory, _: u64) -> u64 {
        if space == AddressSpace::Port { address } else { u64::MAX }
    }
    fn write(&mut self, _: AddressSpace, address: u64, size: u8, value: u64, _: &mut dyn GuestMemory, _: u64) {
        self.writes.push((address, size, value));
    }
    fn read_msr(&mut self, index: u32, _: u64) -> Option<u64> {
        (index == 0x1b).then_some(0xfee0_0900)
    }
    fn write_msr(&mut self, index: u32, _: u64, _: u64) -> Option<()> {
        (index == 0x6e0).then_some(())
    }
    fn task_priority(&self) -> u8 {
        self.priority
    }
    fn set_task_priority(&mut self, priority: u8) {
        self.priority = priority;
    }
    fn interrupt_pending(&self) -> bool {
        !self.pending.is_empty()
    }
    fn next_interrupt(&self) -> u8 {
        self.pending[0]
    }
    fn acknowledge_interrupt(&mut self) -> u8 {
        self.pending.remove(0)
    }
    fn float_error(&mut self) -> bool {
        self.float_errors += 1;
        self.ignores_float_errors
    }
    fn deadline(&self) -> Option<u64> {
        self.timer.as_ref().map(|timer| timer.deadline)
    }
    fn advance(&mut self, now: u64) {
        if let Some(timer) = self.timer.as_mut().filter(|timer| timer.deadline <= now) {
            timer.deadline = now + timer.period;
            if self.pending.is_empty() {
                self.pending.push(Timer::VECTOR);
            }
        }
    }
    fn wants_stop(&self) -> bool {
        false
    }
}

/// The test's board behind a CPU.
pub fn board(cx: &mut Vcpu) -> &mut TestBoard {
    let board: &mut dyn Any = cx.board_mut();
    board.downcast_mut().unwrap()
}

/// Address of the handler of `vector`.
pub fn handler(vector: u8) -> u64 {
    HANDLERS + u64::from(vector) * 16
}

pub fn store(cx: &mut Vcpu, address: u64, bytes: &[u8]) {
    assert!(cx.mmu.store(address, bytes));
}

pub fn store64(cx: &mut Vcpu, address: u64, value: u64) {
    store(cx, address, &value.to_le_bytes());
}

pub fn load64(cx: &Vcpu, address: u64) -> u64 {
    u64::from_le_bytes(cx.mmu.ram().load(address).unwrap())
}

pub fn load32(cx: &Vcpu, address: u64) -> u32 {
    u32::from_le_bytes(cx.mmu.ram().load(address).unwrap())
}

/// Sets the flags of a page's entry: [`PRESENT`], [`WRITE`], [`USER`] and others as they stand there.
pub fn map(cx: &mut Vcpu, page: u64, flags: u64) {
    store64(cx, TABLES + page / 4096 * 8, page | flags);
    cx.flush_translations();
}

/// Writes an entry of the GDT.
pub fn set_descriptor(cx: &mut Vcpu, selector: u16, raw: u64) {
    store64(cx, GDT + u64::from(selector & !7), raw);
}

/// A flat segment descriptor: `attributes` are bits 40 to 55 of it.
pub fn flat(attributes: u64) -> u64 {
    0x000f_0000_0000_ffff | attributes << 40
}

/// A gate of long mode.
pub fn set_gate(cx: &mut Vcpu, vector: u8, target: u64, selector: u16, kind: u64, dpl: u64, stack_table: u64) {
    let low =
        target & 0xffff | u64::from(selector) << 16 | stack_table << 32 | (0x80 | dpl << 5 | kind) << 40 | (target >> 16 & 0xffff) << 48;
    store64(cx, IDT + u64::from(vector) * 16, low);
    store64(cx, IDT + u64::from(vector) * 16 + 8, target >> 32);
}

fn bare() -> Vcpu {
    let ram = Ram::new(Box::new(VecBacking::new(RAM_BYTES).unwrap()));
    let mut cx = Vcpu::new(ram, Box::<TestBoard>::default(), new_cache(Limits { block: 64, cache: 4096 }), Clock::Virtual);
    for (number, raw) in [
        (selector::CODE64, flat(0xa09b)),
        (selector::DATA, flat(0xc093)),
        (selector::USER_CODE32, flat(0xc0fb)),
        (selector::USER_DATA, flat(0xc0f3)),
        (selector::USER_CODE64, flat(0xa0fb)),
        (selector::CODE32, flat(0xc09b)),
    ] {
        set_descriptor(&mut cx, number, raw);
    }
    cx.gdtr = DescriptorTable { base: GDT, limit: 0x5f };
    for vector in 0..=255 {
        store(&mut cx, handler(vector), &[0xf4]);
    }
    cx.regs[slot::RSP] = STACK;
    cx.rip = CODE;
    cx
}

fn set_segment(cx: &mut Vcpu, name: SegmentName, number: u16) {
    let raw = load64(cx, GDT + u64::from(number & !7));
    cx.segments[name as usize] = Segment::from_descriptor(number, raw);
}

fn set_segments(cx: &mut Vcpu, code: u16, data: u16) {
    for name in SegmentName::ALL {
        set_segment(cx, name, if name == SegmentName::Cs { code } else { data });
    }
    cx.cpl = (code & 3) as u8;
    cx.mode_changed();
}

/// 64-bit mode at privilege level 0, about to run what stands at [`CODE`].
pub fn long_mode() -> Vcpu {
    let mut cx = bare();
    store64(&mut cx, PML4, PDPT | PRESENT | WRITE | USER);
    store64(&mut cx, PDPT, DIRECTORY | PRESENT | WRITE | USER);
    store64(&mut cx, DIRECTORY, TABLES | PRESENT | WRITE | USER);
    store64(&mut cx, DIRECTORY + 8, (TABLES + 0x1000) | PRESENT | WRITE | USER);
    for page in (0..RAM_BYTES as u64).step_by(4096) {
        let user = if page >= USER_CODE { USER } else { 0 };
        map(&mut cx, page, PRESENT | WRITE | user);
    }
    for vector in 0..=255 {
        set_gate(&mut cx, vector, handler(vector), selector::CODE64, 14, 0, 0);
    }
    cx.idtr = DescriptorTable { base: IDT, limit: 0xfff };
    store64(&mut cx, TSS + 4, LEVEL0_STACK);
    store64(&mut cx, TSS + 36, IST_STACK);
    cx.tr = Segment { selector: selector::TSS, base: TSS, limit: 103, attributes: 0x8b };
    cx.control = Control {
        cr0: Cr0::PE | Cr0::MP | Cr0::ET | Cr0::NE | Cr0::WP | Cr0::PG,
        cr3: PML4,
        cr4: Cr4::PAE | Cr4::PGE | Cr4::OSFXSR | Cr4::OSXMMEXCPT,
        efer: Efer::SCE | Efer::LME | Efer::LMA | Efer::NXE,
        ..Control::default()
    };
    cx.msrs.star = u64::from(selector::USER_CODE32) << 48 | u64::from(selector::CODE64) << 32;
    set_segments(&mut cx, selector::CODE64, selector::DATA);
    cx
}

/// 64-bit mode at privilege level 3, about to run what stands at [`USER_CODE`].
pub fn user_mode() -> Vcpu {
    let mut cx = long_mode();
    set_segments(&mut cx, selector::USER_CODE64, selector::USER_DATA);
    cx.regs[slot::RSP] = USER_STACK;
    cx.rip = USER_CODE;
    cx
}

/// Compatibility mode at privilege level 3, about to run what stands at [`USER_CODE`].
pub fn compatibility_mode() -> Vcpu {
    let mut cx = user_mode();
    set_segments(&mut cx, selector::USER_CODE32, selector::USER_DATA);
    cx
}

/// 32-bit protected mode without paging at privilege level 0, about to run what stands at [`CODE`].
pub fn protected_mode() -> Vcpu {
    let mut cx = bare();
    for vector in 0..=255 {
        set_legacy_gate(&mut cx, vector, 14, 0);
    }
    cx.idtr = DescriptorTable { base: IDT, limit: 0x7ff };
    store64(&mut cx, TSS + 4, LEVEL0_STACK | u64::from(selector::DATA) << 32);
    cx.tr = Segment { selector: selector::TSS, base: TSS, limit: 103, attributes: 0x8b };
    cx.control.cr0 = Cr0::PE | Cr0::ET;
    cx.control.cr4 = Cr4::OSFXSR;
    set_segments(&mut cx, selector::CODE32, selector::DATA);
    cx
}

/// As [`protected_mode`] at privilege level 3, about to run what stands at [`USER_CODE`].
pub fn protected_user_mode() -> Vcpu {
    let mut cx = protected_mode();
    set_segments(&mut cx, selector::USER_CODE32, selector::USER_DATA);
    cx.regs[slot::RSP] = USER_STACK;
    cx.rip = USER_CODE;
    cx
}

/// A gate of protected mode to the vector's handler.
pub fn set_legacy_gate(cx: &mut Vcpu, vector: u8, kind: u64, dpl: u64) {
    let target = handler(vector);
    let gate = target & 0xffff | u64::from(selector::CODE32) << 16 | (0x80 | dpl << 5 | kind) << 40 | (target >> 16) << 48;
    store64(cx, IDT + u64::from(vector) * 8, gate);
}

/// Runs `bytes` from where the CPU stands until something halts it.
pub fn run(cx: &mut Vcpu, bytes: &[u8]) -> VcpuExit {
    let address = cx.rip;
    store(cx, address, bytes);
    let until = cx.count() + 1000;
    cx.run(until)
}

/// Runs `bytes`, which must end in the handler of `vector`.
pub fn expect_vector(cx: &mut Vcpu, bytes: &[u8], vector: u8) {
    assert_eq!(run(cx, bytes), VcpuExit::Halted);
    assert!((HANDLERS..HANDLERS + 0x1000).contains(&cx.rip), "no handler was entered: rip {:#x}", cx.rip);
    assert_eq!((cx.rip - HANDLERS) / 16, u64::from(vector), "vector");
}

/// Runs `bytes`, which must end in a HLT of their own.
pub fn expect_halt(cx: &mut Vcpu, bytes: &[u8]) {
    let end = cx.rip + bytes.len() as u64;
    assert_eq!(run(cx, bytes), VcpuExit::Halted);
    assert_eq!(cx.rip, end, "stopped elsewhere");
}

/// The quadwords of the frame that the last delivery pushed, lowest first.
pub fn frame<const N: usize>(cx: &Vcpu) -> [u64; N] {
    std::array::from_fn(|i| load64(cx, cx.regs[slot::RSP] + i as u64 * 8))
}
