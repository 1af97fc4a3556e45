//! A machine that runs a program of a few instructions instead of a kernel.

use devices::console::{ConsoleSink, Port};
use devices::serial::SerialSink;
use emu::bus::{Ram, VecBacking};
use emu::cache::Limits;
use emu::machine::{Config, Entropy, Machine, Stop};
use emu::vcpu::Clock;
use iced_x86::IcedError;
use iced_x86::code_asm::CodeAssembler;
use snapshot::Snapshot;

/// Bytes of RAM.
pub const RAM: u64 = 64 << 20;
/// Where the program starts. It runs in 64-bit mode with interrupts off, the first 4 GiB mapped one to one by pages of 1 GiB.
pub const CODE: u64 = 1 << 20;
/// Where page tables go.
pub const TABLES: u64 = 2 << 20;
/// Where data goes, up to the end of RAM.
pub const DATA: u64 = 16 << 20;

struct Nowhere;

impl ConsoleSink for Nowhere {
    fn write(&mut self, _: Port, _: &[u8]) {}
}

impl SerialSink for Nowhere {
    fn write(&mut self, _: u8) {}
}

fn config() -> Config {
    Config {
        disks: Vec::new(),
        shares: Vec::new(),
        network: None,
        entropy: Entropy::Published,
        console: Box::new(Nowhere),
        serial: Box::new(Nowhere),
        clock: Clock::Virtual,
        epoch: 0,
        limits: Limits::default(),
    }
}

/// The bytes of a program at [`CODE`].
pub fn assemble(write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Vec<u8> {
    let mut assembler = CodeAssembler::new(64).unwrap();
    write(&mut assembler).unwrap();
    assembler.assemble(CODE).unwrap()
}

/// A machine before the first instruction of what lies at [`CODE`].
pub fn machine(program: &[u8]) -> Machine {
    Machine::boot(config(), ram(), &kernel(program), None, "").unwrap()
}

/// The machine of a program that is written as it is assembled.
pub fn running(write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Machine {
    machine(&assemble(write))
}

/// The machine of a snapshot's records, without its pages.
pub fn restored(snapshot: &Snapshot<&[u8]>) -> Machine {
    Machine::restore(config(), ram(), &mut snapshot.sections()).unwrap()
}

fn ram() -> Ram {
    Ram::new(Box::new(VecBacking::new(RAM as usize).unwrap()))
}

/// Runs `count` instructions; the program must not halt before.
pub fn advance(machine: &mut Machine, count: u64) {
    let until = machine.count() + count;
    assert_eq!(machine.run(until).unwrap(), Stop::Due);
}

/// An ELF file whose one segment, at [`CODE`], is `program`.
fn kernel(program: &[u8]) -> Vec<u8> {
    let length = program.len() as u64;
    // Class, byte order and version; executable, x86-64; entry, place of the one program header.
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    [CODE, 64, 0].iter().for_each(|field| file.extend(field.to_le_bytes()));
    file.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\x40\0\0\0\0\0");
    file.extend(b"\x01\0\0\0\x07\0\0\0");
    [120, CODE, CODE, length, length, 4096].iter().for_each(|field| file.extend(field.to_le_bytes()));
    file.extend(program);
    file
}
