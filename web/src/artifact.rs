//! A machine's file, of which a restored machine has no use for all: not for the kernel, nor for what that unpacks.

use crate::error::{self, Result, error};
use crate::file::{HostFile, Source};
use payload::{HEADER_LEN, Locator, Part, PartKind, Table, module};
use snapshot::{Digest, ReadAt};
use std::ops::Range;
use wasm_bindgen::prelude::*;

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

    /// Checks what is needed against the digests that the file has of it.
    fn verify(&self) -> Result<()> {
        let before = read(&self.file, 0..self.payload.start)?;
        let after = read(&self.file, self.payload.end..self.end)?;
        let code = module::unframe(&before, &after, self.table.code_pages);
        check("code", code.map(|code| Digest::of(&code)), self.table.code_digest)?;
        for (part, range) in self.parts() {
            check(part.kind.name(), Some(Digest::of(&read(&self.file, range)?)), part.digest)?;
        }
        Ok(())
    }
}

fn check(what: &'static str, found: Option<Digest>, wanted: Digest) -> Result<()> {
    match found {
        Some(found) if found == wanted => Ok(()),
        Some(found) => Err(error::payload(payload::Error::Corrupted { what, found, wanted })),
        None => Err(error("corrupted", format!("the machine's {what} is damaged: it has not the form of a module"))),
    }
}

fn read(file: &Source, range: Range<u64>) -> Result<Vec<u8>> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    file.read_exact_at(&mut bytes, range.start).map_err(|source| error("io", source))?;
    Ok(bytes)
}

/// Where in a machine's file is what a restored machine needs: pairs of a start and an end, in order. Throws while the bytes that tell have not come.
#[wasm_bindgen(js_name = neededOfMachine)]
pub fn needed_of_machine(file: HostFile) -> Result<Vec<f64>> {
    let needed = MachineFile::open(file)?.needed();
    Ok(needed.into_iter().flat_map(|range| [range.start as f64, range.end as f64]).collect())
}

/// Verifies that of a machine's file which a restored machine needs; the rest of the file may be zeroes.
#[wasm_bindgen(js_name = verifyMachine)]
pub fn verify_machine(file: HostFile) -> Result<()> {
    MachineFile::open(file)?.verify()
}
