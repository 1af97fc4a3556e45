//! Starts Linux: the ELF image into RAM, then the 64-bit boot protocol (Documentation/x86/boot.rst in the kernel's sources).

use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Endianness, Object};

use super::MachineError;
use crate::cpu::{Control, Cr0, Cr4, DescriptorTable, Efer, Rflags, Segment, SegmentName, slot};
use crate::mmu::Mmu;
use crate::vcpu::Vcpu;

const GDT: u64 = 0x500;
const BOOT_PARAMS: u64 = 0x7000;
const SETUP_DATA: u64 = 0x8000;
const PML4: u64 = 0x9000;
const PDPT: u64 = 0xa000;
const STACK: u64 = 0x8f00;
const COMMAND_LINE: u64 = 0x2_0000;
/// The extended BIOS data area, where a kernel looks for the MP table.
const EBDA: u64 = 0x9_fc00;
const BIOS: u64 = 0xf_0000;
const HIGH_MEMORY: u64 = 0x10_0000;

/// Longest command line that Linux takes, with its final NUL.
const COMMAND_LINE_SIZE: usize = 2048;

const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;

const SETUP_RNG_SEED: u32 = 9;
/// Bytes of random seed that the kernel is given at its start.
pub const SEED_LENGTH: usize = 32;

/// What goes into RAM besides the kernel.
pub struct Payload<'a> {
    /// Initial RAM file system.
    pub initrd: Option<&'a [u8]>,
    /// Command line, without a NUL.
    pub command_line: &'a str,
    /// Seed of the kernel's random generator.
    pub seed: [u8; SEED_LENGTH],
}

fn put(memory: &mut Mmu, address: u64, bytes: &[u8]) -> Result<(), MachineError> {
    if memory.store(address, bytes) {
        return Ok(());
    }
    Err(MachineError::DoesNotFit { what: "kernel", end: address.saturating_add(bytes.len() as u64), ram: memory.ram().size() })
}

/// Loads everything and sets the CPU to the kernel's entry.
pub fn load(cx: &mut Vcpu, kernel: &[u8], payload: &Payload<'_>) -> Result<(), MachineError> {
    let (entry, kernel_end) = load_kernel(&mut cx.mmu, kernel)?;
    let initrd = load_initrd(&mut cx.mmu, payload.initrd, kernel_end)?;
    let line = payload.command_line.as_bytes();
    if line.len() >= COMMAND_LINE_SIZE || line.contains(&0) {
        return Err(MachineError::CommandLine { length: line.len(), limit: COMMAND_LINE_SIZE - 1 });
    }
    put(&mut cx.mmu, COMMAND_LINE, line)?;
    put(&mut cx.mmu, COMMAND_LINE + line.len() as u64, &[0])?;

    let mut setup_data = Vec::new();
    setup_data.extend_from_slice(&0u64.to_le_bytes());
    setup_data.extend_from_slice(&SETUP_RNG_SEED.to_le_bytes());
    setup_data.extend_from_slice(&(SEED_LENGTH as u32).to_le_bytes());
    setup_data.extend_from_slice(&payload.seed);
    put(&mut cx.mmu, SETUP_DATA, &setup_data)?;

    let params = boot_params(cx.mmu.ram().size(), initrd, line.len() as u32);
    put(&mut cx.mmu, BOOT_PARAMS, &params)?;
    put(&mut cx.mmu, EBDA, &mp_table())?;
    start(cx, entry)
}

/// Copies the loadable segments. Returns the entry point and the first byte behind all of them.
fn load_kernel(memory: &mut Mmu, kernel: &[u8]) -> Result<(u64, u64), MachineError> {
    let not_a_kernel = |problem: String| MachineError::NotAKernel { problem };
    let elf = ElfFile64::<Endianness>::parse(kernel).map_err(|error| not_a_kernel(format!("it does not read as 64-bit ELF: {error}")))?;
    if elf.architecture() != object::Architecture::X86_64 {
        return Err(not_a_kernel(format!("it is for {:?}", elf.architecture())));
    }
    let endian = elf.endian();
    let mut end = 0;
    for segment in elf.elf_program_headers() {
        if segment.p_type(endian) != object::elf::PT_LOAD {
            continue;
        }
        let (address, size) = (segment.p_paddr(endian), segment.p_memsz(endian));
        let bytes = segment.data(endian, kernel).map_err(|()| not_a_kernel("a segment lies outside the file".into()))?;
        let last = address.checked_add(size.max(bytes.len() as u64));
        let Some(last) = last.filter(|&last| last <= memory.ram().size() && address >= HIGH_MEMORY) else {
            return Err(MachineError::DoesNotFit { what: "kernel", end: address.saturating_add(size), ram: memory.ram().size() });
        };
        put(memory, address, bytes)?;
        end = end.max(last);
    }
    if end == 0 {
        return Err(not_a_kernel("it has nothing to load".into()));
    }
    Ok((elf.entry(), end))
}

/// Copies the initial RAM file system to the end of RAM. Returns its address and size.
fn load_initrd(memory: &mut Mmu, initrd: Option<&[u8]>, kernel_end: u64) -> Result<(u32, u32), MachineError> {
    let Some(initrd) = initrd else { return Ok((0, 0)) };
    let size = initrd.len() as u64;
    let address = memory.ram().size().checked_sub(size).map(|address| address & !0xfff).filter(|&address| address >= kernel_end);
    let too_large =
        MachineError::DoesNotFit { what: "initial RAM file system", end: kernel_end.saturating_add(size), ram: memory.ram().size() };
    let Some(address) = address else { return Err(too_large) };
    put(memory, address, initrd)?;
    // RAM ends below 4 GiB, so both fit.
    Ok((address as u32, size as u32))
}

/// `struct boot_params`, the "zero page".
fn boot_params(ram: u64, (initrd, initrd_size): (u32, u32), command_line_size: u32) -> [u8; 4096] {
    let mut page = [0; 4096];
    let mut set = |offset: usize, bytes: &[u8]| page[offset..offset + bytes.len()].copy_from_slice(bytes);
    let map = [
        (0, EBDA, E820_RAM),
        (EBDA, 0xa_0000 - EBDA, E820_RESERVED),
        (BIOS, HIGH_MEMORY - BIOS, E820_RESERVED),
        (HIGH_MEMORY, ram - HIGH_MEMORY, E820_RAM),
    ];
    set(0x1e8, &[map.len() as u8]);
    for (i, (start, size, kind)) in map.into_iter().enumerate() {
        let entry = 0x2d0 + 20 * i;
        set(entry, &start.to_le_bytes());
        set(entry + 8, &size.to_le_bytes());
        set(entry + 16, &kind.to_le_bytes());
    }
    set(0x1fe, &0xaa55u16.to_le_bytes());
    set(0x202, b"HdrS");
    set(0x206, &0x20fu16.to_le_bytes());
    set(0x210, &[0xff]); // type_of_loader: undefined
    set(0x211, &[1]); // loadflags: LOADED_HIGH
    set(0x218, &initrd.to_le_bytes());
    set(0x21c, &initrd_size.to_le_bytes());
    set(0x228, &(COMMAND_LINE as u32).to_le_bytes());
    set(0x22c, &u32::MAX.to_le_bytes()); // initrd_addr_max
    set(0x238, &command_line_size.to_le_bytes());
    set(0x250, &SETUP_DATA.to_le_bytes());
    page
}

/// The MultiProcessor Specification's tables: one CPU, no I/O APIC, the 8259s at LINT0. They tell a kernel that there is a local APIC.
fn mp_table() -> Vec<u8> {
    let table_address = EBDA as u32 + 16;
    let mut floating = Vec::from(*b"_MP_");
    floating.extend_from_slice(&table_address.to_le_bytes());
    floating.extend_from_slice(&[1, 4, 0, 0, 0, 0, 0, 0]);
    floating[10] = checksum(&floating);

    let processor: [u8; 20] = {
        let mut entry = [0; 20];
        entry[..4].copy_from_slice(&[0, 0, 0x14, 3]); // local APIC 0, version, enabled bootstrap processor
        entry
    };
    let bus = [1, 0, b'I', b'S', b'A', b' ', b' ', b' '];
    // Linux takes a table without any I/O interrupt for a BIOS's mistake and says so: the timer's, to an I/O APIC that is not there.
    let timer = [3, 0, 0, 0, 0, 0, 1, 0];
    let external = [4, 3, 0, 0, 0, 0, 0xff, 0];
    let nmi = [4, 1, 0, 0, 0, 0, 0xff, 1];
    let mut table = Vec::from(*b"PCMP");
    table.extend_from_slice(&[0, 0, 4, 0]); // length, revision, checksum
    table.extend_from_slice(b"PREBAKE PC1         ");
    table.extend_from_slice(&[0; 6]); // no OEM table
    table.extend_from_slice(&5u16.to_le_bytes());
    table.extend_from_slice(&(crate::intc::LAPIC_ADDRESS as u32).to_le_bytes());
    table.extend_from_slice(&[0; 4]);
    for entry in [&processor[..], &bus, &timer, &external, &nmi] {
        table.extend_from_slice(entry);
    }
    let length = table.len() as u16;
    table[4..6].copy_from_slice(&length.to_le_bytes());
    table[7] = checksum(&table);
    floating.extend_from_slice(&table);
    floating
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, &byte| sum.wrapping_sub(byte))
}

/// 64-bit mode, the first 4 GiB mapped one to one, flat segments.
fn start(cx: &mut Vcpu, entry: u64) -> Result<(), MachineError> {
    const PRESENT_WRITE: u64 = 3;
    const LARGE: u64 = 1 << 7;
    put(&mut cx.mmu, PML4, &(PDPT | PRESENT_WRITE).to_le_bytes())?;
    for gigabyte in 0..4u64 {
        put(&mut cx.mmu, PDPT + 8 * gigabyte, &(gigabyte << 30 | PRESENT_WRITE | LARGE).to_le_bytes())?;
    }
    let code = 0x00af_9b00_0000_ffff_u64;
    let data = 0x00cf_9300_0000_ffff_u64;
    for (i, descriptor) in [0, 0, code, data].into_iter().enumerate() {
        put(&mut cx.mmu, GDT + 8 * i as u64, &descriptor.to_le_bytes())?;
    }
    cx.gdtr = DescriptorTable { base: GDT, limit: 0x1f };
    cx.idtr = DescriptorTable::default();
    for name in SegmentName::ALL {
        cx.segments[name as usize] = Segment::from_descriptor(0x18, data);
    }
    cx.segments[SegmentName::Cs as usize] = Segment::from_descriptor(0x10, code);
    cx.control =
        Control { cr0: Cr0::PE | Cr0::ET | Cr0::NE | Cr0::PG, cr3: PML4, cr4: Cr4::PAE, efer: Efer::LME | Efer::LMA, ..Control::default() };
    cx.regs.set_general([0; 16]);
    cx.regs[slot::RSI] = BOOT_PARAMS;
    cx.regs[slot::RSP] = STACK;
    cx.rip = entry;
    cx.set_rflags(Rflags::FIXED);
    cx.mode_changed();
    Ok(())
}
