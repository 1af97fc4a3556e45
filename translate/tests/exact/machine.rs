//! The interpreter, natively, on a few pages that are mapped one to one.

use devices::platform::GuestMemory;
use emu::bus::{AddressSpace, Board, Ram, VecBacking};
use emu::cache::Limits;
use emu::cpu::{Cr0, Cr4, Efer, LazyFlags, Segment, SegmentName};
use emu::engine::{self, VcpuExit};
use emu::vcpu::{Clock, Vcpu};

/// The page with code.
pub const CODE: u64 = 0x10_0000;
/// Another linear address of it, apart from the first by one bit.
pub const ALIAS: u64 = CODE | 0x4000;
/// Two pages of data; what surrounds them is not in the translated code's TLB.
pub const DATA: u64 = 0x11_1000;
/// A page of data that may be read alone.
pub const READ_ONLY: u64 = 0x11_5000;
/// Two pages of stack.
pub const STACK: u64 = 0x12_1000;
/// Every page that programs reach.
pub const WINDOWS: [(u64, usize); 4] = [(CODE, 0x1000), (DATA, 0x2000), (READ_ONLY, 0x1000), (STACK, 0x2000)];
/// Bytes of RAM.
pub const RAM: usize = 2 << 20;

const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const DIRECTORY: u64 = 0x3000;
const TABLE: u64 = 0x4000;

struct Nothing;

impl Board for Nothing {
    fn read(&mut self, _: AddressSpace, _: u64, _: u8, _: &mut dyn GuestMemory, _: u64) -> u64 {
        u64::MAX
    }
    fn write(&mut self, _: AddressSpace, _: u64, _: u8, _: u64, _: &mut dyn GuestMemory, _: u64) {}
    fn read_msr(&mut self, _: u32, _: u64) -> Option<u64> {
        None
    }
    fn write_msr(&mut self, _: u32, _: u64, _: u64) -> Option<()> {
        None
    }
    fn task_priority(&self) -> u8 {
        0
    }
    fn set_task_priority(&mut self, _: u8) {}
    fn interrupt_pending(&self) -> bool {
        false
    }
    fn next_interrupt(&self) -> u8 {
        0
    }
    fn acknowledge_interrupt(&mut self) -> u8 {
        0
    }
    fn deadline(&self) -> Option<u64> {
        None
    }
    fn advance(&mut self, _: u64) {}
    fn wants_stop(&self) -> bool {
        false
    }
}

/// What a program sees and changes.
#[derive(Clone, PartialEq, Eq)]
pub struct State {
    pub registers: [u64; 16],
    /// Arithmetic flags in their places in RFLAGS.
    pub flags: u64,
    pub rip: u64,
    pub xmm: [u128; 16],
    /// The windows, one after the other.
    pub memory: Vec<u8>,
}

/// Our CPU at privilege level 0.
pub struct Machine(pub Vcpu);

impl Machine {
    pub fn new() -> Self {
        let mut ram = Ram::new(Box::new(VecBacking::new(RAM).expect("4 MiB are there")));
        let bytes = ram.bytes_mut();
        let mut put = |at: u64, value: u64| bytes[at as usize..][..8].copy_from_slice(&value.to_le_bytes());
        put(PML4, PDPT | 3);
        put(PDPT, DIRECTORY | 3);
        put(DIRECTORY, TABLE | 3);
        for page in WINDOWS.into_iter().flat_map(|(start, length)| (start..start + length as u64).step_by(0x1000)) {
            let may_write = if page == READ_ONLY { 0 } else { 2 };
            put(TABLE + page / 0x1000 * 8, page | 1 | may_write);
        }
        put(TABLE + ALIAS / 0x1000 * 8, CODE | 3);
        let limits = Limits { cache: 4096, ..Limits::default() };
        let mut cpu = Vcpu::new(ram, Box::new(Nothing), engine::new_cache(limits), Clock::Virtual);
        cpu.control.cr0 = Cr0::PE | Cr0::MP | Cr0::ET | Cr0::NE | Cr0::WP | Cr0::PG;
        cpu.control.cr3 = PML4;
        cpu.control.cr4 = Cr4::PAE | Cr4::OSFXSR | Cr4::OSXMMEXCPT;
        cpu.control.efer = Efer::LME | Efer::LMA;
        for name in SegmentName::ALL {
            let descriptor = if name == SegmentName::Cs { 0x00af_9b00_0000_ffff } else { 0x00cf_9300_0000_ffff };
            cpu.segments[name as usize] = Segment::from_descriptor(8, descriptor);
        }
        cpu.segments[SegmentName::Fs as usize].base = DATA + 0x800;
        cpu.mode_changed();
        Self(cpu)
    }

    pub fn load(&mut self, state: &State) {
        let cpu = &mut self.0;
        cpu.regs.set_general(state.registers);
        cpu.flags = LazyFlags::from_flags(state.flags);
        cpu.rip = state.rip;
        cpu.fpu.xmm = state.xmm;
        cpu.halted = false;
        let mut at = 0;
        for (address, length) in WINDOWS {
            let bytes = &state.memory[at..][..length];
            if cpu.mmu.ram().bytes()[address as usize..][..length] != *bytes {
                assert!(cpu.mmu.store(address, bytes));
            }
            at += length;
        }
    }

    pub fn save(&self) -> State {
        let cpu = &self.0;
        let ram = cpu.mmu.ram().bytes();
        State {
            registers: cpu.regs.general(),
            flags: cpu.flags.evaluate(),
            rip: cpu.rip,
            xmm: cpu.fpu.xmm,
            memory: WINDOWS.iter().flat_map(|&(address, length)| &ram[address as usize..][..length]).copied().collect(),
        }
    }

    /// Runs some instructions.
    pub fn run(&mut self, count: u64) -> VcpuExit {
        let until = self.0.count() + count;
        self.0.run(until)
    }
}
