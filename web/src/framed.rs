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
    tail: Vec<u8>,
    starts: Vec<u64>,
    length: u64,
}

#[wasm_bindgen]
impl Framed {
    /// Writes what is before the parts and behind them into `file`, which has `length` bytes.
    pub fn write(&self, file: &Uint8Array) {
        let end = file.length();
        file.subarray(0, self.head.len() as u32).copy_from(&self.head);
        file.subarray(end - self.tail.len() as u32, end).copy_from(&self.tail);
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

/// The file of a machine of this `size` with this `code`, which has this digest, for `parts` in the order of their kinds.
pub fn framed(size: MachineSize, (code, code_digest): (&[u8], Digest), parts: &[Content]) -> Result<Framed> {
    let no_module =
        || error("malformed", "the machine's code is no module that prebake has linked, or its parts are too large; push it again");
    let code_pages = module::memory_pages(code).ok_or_else(no_module)?;
    size.check(code_pages).map_err(error::payload)?;
    let (before, _) = module::frame(code, size.pages, 0).ok_or_else(no_module)?;
    let start = before.len() as u64;
    let lengths: Vec<u64> = parts.iter().map(|part| part.length).collect();
    let (offsets, payload_length) = Table::layout(start, &lengths).ok_or_else(no_module)?;
    let framed = u32::try_from(payload_length).ok().and_then(|length| module::frame(code, size.pages, length));
    let (mut head, mut tail) = framed.ok_or_else(no_module)?;
    let of_part = |(part, offset): (&Content, &u64)| Part { kind: part.kind, offset: *offset, length: part.length, digest: part.digest };
    let table = Table {
        size,
        code_pages,
        code_length: code.len() as u64,
        code_digest,
        payload_length,
        parts: parts.iter().zip(&offsets).map(of_part).collect(),
    };
    head.extend(table.encode());
    tail.extend(module::locator_section(Locator { payload_offset: start, payload_length }));
    let length = start + payload_length + tail.len() as u64;
    Ok(Framed { head, tail, starts: offsets.iter().map(|offset| start + offset).collect(), length })
}
