//! A small machine, and an independent reading of FORMAT.md.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a test may")]

pub mod text;

use snapshot::{Digest, MachineId, Memory, Model, Pages, Record, SectionId, Writer};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::Range;

pub const RAM_SIZE: usize = 2 << 20;

snapshot::saved! {
    /// One of every shape that a record may have.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Shapes {
        pub byte: u8,
        pub signed: i16,
        pub word: u32,
        pub long: u64,
        pub wide: u128,
        pub yes: bool,
        pub none: Option<u32>,
        pub some: Option<u32>,
        pub list: Vec<u16>,
        pub blob: Vec<u8>,
        pub name: String,
        pub array: [u8; 3],
        pub map: BTreeMap<u8, Inner>,
        pub mode: Mode,
    }

    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Inner(pub u8, pub u16);

    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Mode {
        Real = 7,
        Long = 5,
    }

    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Counter {
        pub count: u32,
    }

    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Hint {
        pub text: String,
    }
}

impl Record for Shapes {
    const ID: SectionId = SectionId::new(*b"SHAP");
    const VERSION: u16 = 3;
}

impl Record for Counter {
    const ID: SectionId = SectionId::new(*b"CNTR");
    const VERSION: u16 = 1;
}

impl Record for Hint {
    const ID: SectionId = SectionId::new(*b"HINT");
    const VERSION: u16 = 1;
    const CRITICAL: bool = false;
}

pub fn shapes() -> Shapes {
    Shapes {
        byte: 0x11,
        signed: -2,
        word: 0x2233_4455,
        long: 0x6677_8899_aabb_ccdd,
        wide: 1 << 120,
        yes: true,
        none: None,
        some: Some(9),
        list: vec![1, 0x0203],
        blob: b"blob".to_vec(),
        name: "né".to_string(),
        array: [4, 5, 6],
        map: BTreeMap::from([(2, Inner(3, 4)), (1, Inner(5, 6))]),
        mode: Mode::Long,
    }
}

pub fn machine(ram_size: usize) -> MachineId {
    MachineId { model: Model::new("pc1-v2/1").unwrap(), ram_size: ram_size as u64, devices: 0b101 }
}

/// A machine with four sections.
pub fn writer(ram_size: usize) -> Writer {
    let mut writer = Writer::new(machine(ram_size));
    writer.add(0, &shapes()).unwrap();
    writer.add(0, &Counter { count: 1 }).unwrap();
    writer.add(1, &Counter { count: 2 }).unwrap();
    writer.add(0, &Hint { text: "of no weight".to_string() }).unwrap();
    writer
}

/// Memory with three pages in two groups.
pub fn ram() -> Vec<u8> {
    let mut ram = vec![0; RAM_SIZE];
    ram[0x1_0000] = 0xaa;
    ram[0x1_2fff] = 0xbb;
    ram[0x1f_0800] = 0xcc;
    ram
}

pub fn write<'a>(writer: &Writer, memory: impl Into<Memory<'a>>) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let written = writer.write(memory, &mut file).unwrap();
    assert_eq!(file.get_ref().len() as u64, written.file_length);
    file.into_inner()
}

/// Bytes of the second disk.
pub const DISK_SIZE: usize = 4 << 20;

/// The second disk, with two pages in two groups, the last of which is its end.
pub fn disk() -> Vec<u8> {
    let mut disk = vec![0; DISK_SIZE];
    disk[0x2_0fff] = 0xdd;
    disk[DISK_SIZE - 1] = 0xee;
    disk
}

/// A snapshot with pages of RAM and of a disk.
pub fn with_disk() -> Vec<u8> {
    write(&writer(RAM_SIZE), Memory::of_ram(Pages::new(&ram())).with_disk(1, Pages::new(&disk())))
}

/// The snapshot that most tests damage.
pub fn small() -> Vec<u8> {
    write(&writer(RAM_SIZE), Pages::new(&ram()))
}

fn u32_at(bytes: &[u8], offset: usize) -> usize {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap()) as usize
}

fn u64_at(bytes: &[u8], offset: usize) -> usize {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap()) as usize
}

pub fn table(bytes: &[u8]) -> Range<usize> {
    256..256 + 48 * u32_at(bytes, 80)
}

pub fn index(bytes: &[u8]) -> Range<usize> {
    let start = u64_at(bytes, 56);
    start..start.saturating_add(48 * u32_at(bytes, 84))
}

pub fn pages(bytes: &[u8]) -> Range<usize> {
    u64_at(bytes, 64)..bytes.len()
}

fn put(bytes: &mut [u8], offset: usize, digest: Digest) {
    bytes[offset..offset + 32].copy_from_slice(digest.as_bytes());
}

/// Makes the digests of header, table, index, content and bodies fit what they cover, as far as it is in the file: what
/// someone would do who wants a reader to believe the rest.
pub fn reseal(bytes: &mut [u8]) {
    let mut body = table(bytes).end;
    let len = bytes.len();
    for entry in table(bytes).step_by(48).take_while(|entry| entry + 48 <= len) {
        let end = body.saturating_add(u32_at(bytes, entry + 12));
        if let Some(digest) = bytes.get(body..end).map(Digest::of) {
            put(bytes, entry + 16, digest);
        }
        body = end;
    }
    let sealed_table = bytes.get(table(bytes)).unwrap_or_default().to_vec();
    let index_bytes = bytes.get(index(bytes)).unwrap_or_default().to_vec();
    put(bytes, 128, Digest::of(&sealed_table));
    put(bytes, 160, Digest::of(&index_bytes));

    let mut content = b"prebake snapshot content 1\n".to_vec();
    content.extend(&bytes[16..56]); // model, ram_size
    content.extend(&bytes[92..128]); // devices, base_digest
    content.extend(&bytes[80..84]);
    content.extend(&sealed_table);
    content.extend(&bytes[84..88]);
    for entry in index_bytes.chunks(48) {
        content.extend(&entry[..12]);
        content.extend([0; 4]);
        content.extend(&entry[16..]);
    }
    put(bytes, 192, Digest::of(&content));
    put(bytes, 224, Digest::of(&bytes[..224]));
}
