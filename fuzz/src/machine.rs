//! Whole machines: of records that someone has changed, and of kernels that are none.

use crate::input::Input;
use crate::p9::filesystem;
use crate::snapshots::common::reseal;
use devices::blk::{MemoryStore, ZeroSource};
use devices::console::{ConsoleSink, Port};
use devices::net::wire::Header;
use devices::p9::Access;
use devices::serial::SerialSink;
use emu::bus::{Ram, RamBacking};
use emu::cache::Limits;
use emu::machine::{Config, Disk, DiskContent, Entropy, Machine, Share, Stop, model};
use emu::vcpu::Clock;
use snapshot::{Digest, Pages, Snapshot, Writer};
use std::io::Cursor;
use std::ptr::NonNull;
use std::sync::OnceLock;

const RAM_BYTES: u64 = model::MIN_RAM;
/// Counts that a machine may run for.
const BUDGET: u64 = 3000;

struct Nowhere;

impl ConsoleSink for Nowhere {
    fn write(&mut self, _: Port, _: &[u8]) {}
}

impl SerialSink for Nowhere {
    fn write(&mut self, _: u8) {}
}

/// Memory that the system's allocator has not touched: most of it never is, and there is a lot of it. The first page of it is for alignment.
struct Untouched(Vec<u8>);

// SAFETY: the vector is never touched but through this pointer, and lives as long as `self`; a page more than is needed was allocated.
unsafe impl RamBacking for Untouched {
    fn pointer(&self) -> NonNull<u8> {
        let start = self.0.as_ptr().cast_mut();
        // SAFETY: fewer bytes than a page are skipped.
        NonNull::new(unsafe { start.add(start.align_offset(4096)) }).unwrap()
    }
    fn length(&self) -> usize {
        self.0.len() - 4096
    }
}

fn ram() -> Ram {
    Ram::new(Box::new(Untouched(vec![0; RAM_BYTES as usize + 4096])))
}

fn config() -> Config {
    let content = DiskContent::CopyOnWrite(Box::new(ZeroSource::new(64 << 10)), Box::new(MemoryStore::new(4)));
    Config {
        disks: vec![Disk { digest: Digest::of(b"fuzzed"), content }],
        shares: vec![Share { tag: "share".into(), filesystem: Box::new(filesystem()), access: Access::ReadWrite }],
        network: Some([2, 0, 0, 0, 0, 1]),
        entropy: Entropy::Published,
        console: Box::new(Nowhere),
        serial: Box::new(Nowhere),
        clock: Clock::Virtual,
        epoch: 0,
        limits: Limits { block: 64, cache: 4096 },
    }
}

/// An ELF file whose one segment, at 1 MiB, is `code`.
fn kernel(code: &[u8]) -> Vec<u8> {
    let size = code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    [0x10_0000, 64, 0].iter().for_each(|field: &u64| file.extend(field.to_le_bytes()));
    file.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\x40\0\0\0\0\0");
    file.extend(b"\x01\0\0\0\x07\0\0\0");
    [120, 0x10_0000, 0x10_0000, size, size, 4096].iter().for_each(|field: &u64| file.extend(field.to_le_bytes()));
    file.extend(code);
    file
}

/// Counts in a loop, writes to the serial port, sets the local APIC's timer, waits for it with interrupts off and on.
const PROGRAM: &[u8] = &[
    0xb9, 0x20, 0, 0, 0, // mov ecx, 32
    0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0x89, 0xc8, 0xee, // mov eax, ecx; out dx, al
    0x48, 0x01, 0xc3, 0x53, // add rbx, rax; push rbx
    0xff, 0xc9, 0x75, 0xf5, // dec ecx; jnz -11
    0xdf, 0x04, 0x24, 0xd9, 0xfa, // fild word [rsp]; fsqrt
    0xeb, 0xe5, // jmp to the start
];

/// A snapshot of a machine that has run a little, without its pages.
fn saved() -> &'static [u8] {
    static SAVED: OnceLock<Vec<u8>> = OnceLock::new();
    SAVED.get_or_init(|| {
        let mut machine = Machine::boot(config(), ram(), &kernel(PROGRAM), None, "").unwrap();
        machine.push_input(Port::Tty, b"waiting");
        machine.push_serial(b"waiting");
        assert_eq!(machine.run(1000).unwrap(), Stop::Due);
        records(&mut machine)
    })
}

/// The machine's records in a snapshot without pages.
fn records(machine: &mut Machine) -> Vec<u8> {
    let mut writer = Writer::new(machine.id());
    machine.save(&mut writer).expect("any machine can be saved");
    static ZERO: OnceLock<Vec<u8>> = OnceLock::new();
    let zero = ZERO.get_or_init(|| vec![0; RAM_BYTES as usize]);
    let mut file = Cursor::new(Vec::new());
    writer.write(Pages::with_hint(zero, &|_| false), &mut file).expect("any records can be written");
    file.into_inner()
}

/// Changes to the bodies of the sections, and what is in memory at the instruction that is next.
pub fn restore(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut file = saved().to_vec();
    let snapshot = Snapshot::open(saved()).unwrap();
    let lengths: Vec<usize> = snapshot.entries().iter().map(|entry| entry.len as usize).collect();
    let bodies = 256 + 48 * lengths.len();
    for _ in 0..input.u8() & 15 {
        let section = input.below(lengths.len());
        let start = bodies + lengths[..section].iter().sum::<usize>();
        let at = start + usize::from(input.u16()) % lengths[section].max(1);
        let value = match input.u8() & 3 {
            0 => vec![input.u8()],
            1 => input.number().to_le_bytes()[..4].to_vec(),
            2 => input.number().to_le_bytes().to_vec(),
            _ => input.u16().to_le_bytes().to_vec(),
        };
        let end = (at + value.len()).min(start + lengths[section]);
        file[at..end].copy_from_slice(&value[..end - at]);
    }
    reseal(&mut file);
    let snapshot = Snapshot::open(file.as_slice()).expect("only bodies were changed");
    let mut memory = ram();
    let code = input.rest();
    // The boot page tables, and a program.
    for (address, entry) in [(0x9000, 0xa003_u64), (0xa000, 0x83)] {
        memory.store(address, &entry.to_le_bytes());
    }
    memory.store(0x10_0000, PROGRAM);
    memory.store(0x20_0000, code);
    let Ok(mut machine) = Machine::restore(config(), memory, &mut snapshot.sections()) else { return };
    let first = records(&mut machine);
    let again = Machine::restore(config(), ram(), &mut Snapshot::open(first.as_slice()).unwrap().sections());
    let second = records(&mut again.expect("what was saved can be restored"));
    assert!(first == second, "record, machine, record");
    exercise(&mut machine);
}

/// Runs a machine for a little, with a host that says something.
fn exercise(machine: &mut Machine) {
    let start = machine.count();
    for round in 1..=6 {
        machine.push_input(Port::Tty, b"input");
        machine.push_serial(b"input");
        machine.push_frame(Header::default(), &[7; 60]);
        match machine.run(start.saturating_add(round * BUDGET / 6)) {
            Ok(Stop::Halted { deadline: Some(deadline) }) => machine.skip_to(deadline),
            Ok(Stop::Due) => {}
            Ok(_) => break,
            Err(error) => panic!("no page is missing: {error}"),
        }
    }
    machine.close_input(Port::Tty);
    records(machine);
    machine.stats();
}

/// A kernel: as it comes, or as the only segment of one.
pub fn boot(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let whole = input.bit();
    let with_initrd = input.bit();
    let file = input.rest();
    let file = if whole { file.to_vec() } else { kernel(file) };
    let initrd = with_initrd.then_some(&[1; 5000][..]);
    if let Ok(mut machine) = Machine::boot(config(), ram(), &file, initrd, "fuzzed") {
        exercise(&mut machine);
    }
}
