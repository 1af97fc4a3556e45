//! What registries have of a machine: its layers, and its snapshot in the travelling form.

use crate::error::{self, Result, error};
use crate::file::{HostFile, Source};
use payload::{Locator, MAX_CODE_LEN, MAX_FILE_LEN, MachineSize, Part, PartKind, Table, module};
use snapshot::{Digest, Space, Stored, Travelling, unpack_frame};
use std::io::Read;
use wasm_bindgen::prelude::*;

/// A snapshot that travels, read as if it were in its stored form.
#[wasm_bindgen]
pub struct Unpacked(Stored<Source>);

#[wasm_bindgen]
impl Unpacked {
    /// Of the snapshot with this content, of which all that is before the frames of single groups has come. Throws until then.
    pub fn open(file: HostFile, content: &str) -> Result<Unpacked> {
        let travelling = Travelling::open(Source(file)).map_err(error::snapshot)?;
        let found = travelling.header().content_digest;
        if found.to_string() != content {
            return Err(error(
                "corrupted",
                format!("the snapshot has the content {found}, its configuration says {content}; push it again"),
            ));
        }
        Stored::new(travelling).map(Self).map_err(error::snapshot)
    }

    /// Bytes of the stored form.
    #[wasm_bindgen(getter)]
    pub fn size(&self) -> f64 {
        self.0.byte_len() as f64
    }

    /// The `length` bytes from `offset`. Throws if what they are made of cannot be read now.
    pub fn read(&mut self, offset: f64, length: u32) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length as usize];
        self.0.read(&mut bytes, offset as u64).map_err(error::snapshot)?;
        Ok(bytes)
    }
}

/// A machine's file that is put together of its layers.
#[wasm_bindgen]
pub struct Assembly {
    size: MachineSize,
    code: Vec<u8>,
    parts: Vec<(PartKind, Vec<u8>)>,
}

#[wasm_bindgen]
impl Assembly {
    /// Of the layer `code`, which holds `length` bytes with this digest.
    #[wasm_bindgen(constructor)]
    pub fn new(memory_pages: u32, ram_bytes: f64, code: &[u8], length: f64, digest: &str) -> Result<Assembly> {
        if length > MAX_CODE_LEN as f64 {
            return Err(error::payload(payload::Error::CodeTooLarge { found: length as u64 }));
        }
        let code = verified("code", unpack_frame(code, length as usize), digest)?;
        Ok(Self { size: MachineSize { pages: memory_pages, ram_size: ram_bytes as u64 }, code, parts: Vec::new() })
    }

    /// Adds a part: what is in `layer`, `length` bytes with this digest.
    pub fn add(&mut self, name: &str, layer: &[u8], length: f64, digest: &str) -> Result<()> {
        let kind = PartKind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.ok_or_else(|| error("malformed", format!("there is no part {} of a machine", name.escape_debug())))?;
        let room = self.parts.iter().fold(MAX_FILE_LEN, |room, (_, bytes)| room.saturating_sub(bytes.len() as u64));
        if length > room as f64 {
            return Err(error("malformed", "the machine's parts are larger than any machine can be"));
        }
        let content = if layer.starts_with(&snapshot::MAGIC) { disk(layer, length as u64) } else { unpack_frame(layer, length as usize) };
        self.parts.push((kind, verified(kind.name(), content, digest)?));
        Ok(())
    }

    /// The file.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        let no_module =
            || error("malformed", "the machine's code is no module that prebake has linked, or its parts are too large; push it again");
        let Self { size, code, parts } = &mut self;
        parts.sort_by_key(|(kind, _)| *kind);
        let code_pages = module::memory_pages(code).ok_or_else(no_module)?;
        size.check(code_pages).map_err(error::payload)?;
        let (before, _) = module::frame(code, size.pages, 0).ok_or_else(no_module)?;
        let start = before.len() as u64;
        let lengths: Vec<u64> = parts.iter().map(|(_, bytes)| bytes.len() as u64).collect();
        let (offsets, payload_length) = Table::layout(start, &lengths).ok_or_else(no_module)?;
        let framed = u32::try_from(payload_length).ok().and_then(|length| module::frame(code, size.pages, length));
        let (mut file, after) = framed.ok_or_else(no_module)?;

        let of_part = |((kind, bytes), offset): (&(PartKind, Vec<u8>), &u64)| Part {
            kind: *kind,
            offset: *offset,
            length: bytes.len() as u64,
            digest: Digest::of(bytes),
        };
        let table = Table {
            size: *size,
            code_pages,
            code_length: code.len() as u64,
            code_digest: Digest::of(code),
            payload_length,
            parts: parts.iter().zip(&offsets).map(of_part).collect(),
        };
        file.reserve_exact(payload_length as usize + after.len() + 64);
        file.extend(table.encode());
        for ((_, bytes), offset) in parts.iter().zip(&offsets) {
            file.resize((start + offset) as usize, 0);
            file.extend(bytes);
        }
        file.resize((start + payload_length) as usize, 0);
        file.extend(after);
        file.extend(module::locator_section(Locator { payload_offset: start, payload_length }));
        Ok(file)
    }
}

/// The first `length` bytes of a disk that travels alone.
fn disk(layer: &[u8], length: u64) -> std::result::Result<Vec<u8>, String> {
    let travelling = Travelling::open(layer).map_err(|error| error.to_string())?;
    let reader = travelling.reader(Space::Disk(0)).map_err(|error| error.to_string())?;
    let mut content = Vec::with_capacity(length as usize);
    reader.take(length).read_to_end(&mut content).map_err(|error| error.to_string())?;
    Ok(content)
}

/// What was in a layer, if that is what the configuration says.
fn verified(what: &'static str, content: std::result::Result<Vec<u8>, String>, digest: &str) -> Result<Vec<u8>> {
    let content = content
        .map_err(|problem| error("malformed", format!("the layer with the machine's {what} is malformed: {problem}; push it again")))?;
    let found = Digest::of(&content);
    if found.to_string() != digest {
        let problem =
            format!("the machine's {what} has the digest {found}, its configuration says {}; push it again", digest.escape_debug());
        return Err(error("corrupted", problem));
    }
    Ok(content)
}
