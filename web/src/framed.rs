//! What is around the parts of a machine in its file.

use crate::error::{self, Result, error};
use js_sys::Uint8Array;
use payload::{Locator, MachineSize, Part, PartKind, Table, module};
use snapshot::Digest;
use wasm_bindgen::prelude::*;

/// What a part of a machine holds.
pub struct Content {
    /// Which part it is.
    pub kind: PartKind,
    /// Bytes of it.
    pub length: u64,
    /// Digest of these.
    pub digest: Digest,
}

/// A machine's file without its parts. Between one and the next are zeroes.
#[wasm_bindgen]
pub struct Framed {
    head: Vec<u8>,
    table: Vec<u8>,
    tail: Vec<u8>,
    starts: Vec<u64>,
    length: u64,
}

#[wasm_bindgen]
impl Framed {
    /// Writes what is before the parts and behind them into `file`, which has `length` bytes.
    pub fn write(&self, file: &Uint8Array) {
        let put = |start: u32, bytes: &[u8]| file.subarray(start, start + bytes.len() as u32).copy_from(bytes);
        put(0, &self.head);
        put(self.head.len() as u32, &self.table);
        put(file.length() - self.tail.len() as u32, &self.tail);
    }

    /// Where each part begins.
    #[wasm_bindgen(getter)]
    pub fn starts(&self) -> Vec<f64> {
        self.starts.iter().map(|&start| start as f64).collect()
    }

    /// Bytes of the whole file.
    #[wasm_bindgen(getter)]
    pub fn length(&self) -> f64 {
        self.length as f64
    }
}

/// Where a payload starts in a machine of this `size` with this `code`.
pub fn start_in(size: MachineSize, code: &[u8]) -> Result<u64> {
    let (before, _) = module::frame(code, size.pages, 0).ok_or_else(no_module)?;
    Ok(before.len() as u64)
}

fn no_module() -> JsValue {
    error("malformed", "the machine's code is no module that prebake has linked, or its parts are too large; push it again")
}

/// The file of a machine of this `size` with this `code`, which has this digest, for `parts` in the order of their kinds. The payload starts at `start`, whatever is
/// in it.
pub fn framed(size: MachineSize, (code, code_digest): (&[u8], Digest), start: u64, parts: &[Content]) -> Result<Framed> {
    let code_pages = module::memory_pages(code).ok_or_else(no_module)?;
    size.check(code_pages).map_err(error::payload)?;
    let lengths: Vec<u64> = parts.iter().map(|part| part.length).collect();
    let (offsets, payload_length) = Table::layout(start, &lengths).ok_or_else(no_module)?;
    let framed = u32::try_from(payload_length).ok().and_then(|length| module::frame(code, size.pages, length));
    let (head, mut tail) = framed.filter(|(head, _)| head.len() as u64 == start).ok_or_else(no_module)?;
    let of_part = |(part, offset): (&Content, &u64)| Part { kind: part.kind, offset: *offset, length: part.length, digest: part.digest };
    let table = Table {
        size,
        code_pages,
        code_length: code.len() as u64,
        code_digest,
        payload_length,
        parts: parts.iter().zip(&offsets).map(of_part).collect(),
    };
    tail.extend(module::locator_section(Locator { payload_offset: start, payload_length }));
    let length = start + payload_length + tail.len() as u64;
    Ok(Framed { head, table: table.encode(), tail, starts: offsets.iter().map(|offset| start + offset).collect(), length })
}
