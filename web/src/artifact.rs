//! A machine's file, of which a restored machine has no use for all: not for the kernel, nor for what that unpacks.

use crate::error::{self, Result, error};
use crate::file::{HostFile, Source, places};
use crate::framed::{Content, Framed, framed};
use payload::{HEADER_LEN, Locator, Part, PartKind, Table, module};
use snapshot::{Digest, Digester, ReadAt};
use std::ops::Range;
use wasm_bindgen::prelude::*;

/// Bytes that are digested at a time.
const PIECE: u64 = 1 << 20;

/// What a machine's file says of itself.
struct MachineFile {
    file: Source,
    payload: Range<u64>,
    /// Where the section with the locator begins.
    end: u64,
    table: Table,
}

impl MachineFile {
    fn open(file: HostFile) -> Result<Self> {
        let file = Source(file);
        let length = file.byte_len();
        let no_machine =
            || error("not-an-artifact", "the file is no machine, or is damaged or cut off: pass a file that `prebake convert` made");
        let start = length.checked_sub(Locator::LEN as u64).ok_or_else(no_machine)?;
        let locator = read(&file, start..length)?;
        let locator = locator.first_chunk().map_or(Ok(None), Locator::decode).map_err(error::payload)?.ok_or_else(no_machine)?;
        let Locator { payload_offset, payload_length } = locator;
        let payload = payload_offset..payload_offset.checked_add(payload_length).filter(|end| *end <= start).ok_or_else(no_machine)?;
        let header = read(&file, payload.start..payload.start.saturating_add(HEADER_LEN as u64).min(payload.end))?;
        let count = Table::part_count(header.first_chunk().ok_or_else(no_machine)?).map_err(error::payload)?;
        let table = read(&file, payload.start..payload.start + (Table::encoded_len(count) as u64).min(payload_length))?;
        let table = Table::decode(&table).map_err(error::payload)?;
        table.check_layout(payload_offset, payload_length).map_err(error::payload)?;
        // Behind the payload is what is left of the code, and then the locator's section: an id, its length, and a name of 15 bytes with its own.
        let end = start.checked_sub(18).filter(|end| *end >= payload.end).ok_or_else(no_machine)?;
        Ok(Self { file, payload, end, table })
    }

    /// The parts that a restored machine reads.
    fn parts(&self) -> impl Iterator<Item = (&Part, Range<u64>)> {
        let is_read = |part: &&Part| matches!(part.kind, PartKind::Root | PartKind::Metadata);
        self.table.parts.iter().filter(is_read).map(|part| {
            let start = self.payload.start + part.offset;
            (part, start..start + part.length)
        })
    }

    /// Where in the file is what is needed, in order.
    fn needed(&self) -> Vec<Range<u64>> {
        let head = 0..self.payload.start + Table::encoded_len(self.table.parts.len()) as u64;
        let tail = self.payload.end..self.file.byte_len();
        [head].into_iter().chain(self.parts().map(|(_, range)| range)).chain([tail]).collect()
    }

    fn code(&self) -> Result<Vec<u8>> {
        let before = read(&self.file, 0..self.payload.start)?;
        let after = read(&self.file, self.payload.end..self.end)?;
        module::unframe(&before, &after, self.table.code_pages)
            .ok_or_else(|| error("corrupted", "the machine's code is damaged: it has not the form of a module"))
    }

    /// The digest of a part of the file.
    fn digest(&self, range: Range<u64>) -> Result<Digest> {
        let mut digester = Digester::new();
        for start in range.clone().step_by(PIECE as usize) {
            digester.update(&read(&self.file, start..(start + PIECE).min(range.end))?);
        }
        Ok(digester.finish())
    }
}

fn check(what: &'static str, found: Digest, wanted: Digest) -> Result<()> {
    if found == wanted { Ok(()) } else { Err(error::payload(payload::Error::Corrupted { what, found, wanted })) }
}

fn read(file: &Source, range: Range<u64>) -> Result<Vec<u8>> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    file.read_exact_at(&mut bytes, range.start).map_err(|source| error("io", source))?;
    Ok(bytes)
}

/// Where in a machine's file is what a restored machine needs: pairs of a start and an end, in order. Throws while the bytes that tell have not come.
#[wasm_bindgen(js_name = neededOfMachine)]
pub fn needed_of_machine(file: HostFile) -> Result<Vec<f64>> {
    Ok(places(MachineFile::open(file)?.needed()))
}

/// A machine's file with nothing but what a restored machine needs.
#[wasm_bindgen]
pub struct Restorable {
    machine: MachineFile,
    code: Vec<u8>,
}

#[wasm_bindgen]
impl Restorable {
    /// Of a machine's file, where the rest may be zeroes.
    pub fn of(file: HostFile) -> Result<Restorable> {
        let machine = MachineFile::open(file)?;
        let code = machine.code()?;
        Ok(Self { machine, code })
    }

    /// Where in that file the parts are that go between: pairs of a start and an end.
    pub fn parts(&self) -> Vec<f64> {
        places(self.machine.parts().map(|(_, range)| range))
    }

    /// What is around them.
    pub fn framed(&self) -> Result<Framed> {
        let of_part = |(part, _): (&Part, _)| Content { kind: part.kind, length: part.length, digest: part.digest };
        let contents: Vec<Content> = self.machine.parts().map(of_part).collect();
        framed(self.machine.table.size, (&self.code, self.machine.table.code_digest), self.machine.payload.start, &contents)
    }

    /// Verifies code and parts by their digests.
    pub fn verify(&self) -> Result<()> {
        check("code", Digest::of(&self.code), self.machine.table.code_digest)?;
        self.machine.parts().try_for_each(|(part, range)| check(part.kind.name(), self.machine.digest(range)?, part.digest))
    }
}
