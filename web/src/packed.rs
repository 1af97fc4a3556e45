//! What registries have of a machine: its layers, and its snapshot in the travelling form.

use crate::error::{self, Result, error};
use crate::file::{HostFile, Source};
use crate::framed::{Content, Framed, framed, start_in};
use payload::{MAX_CODE_LEN, MAX_FILE_LEN, MachineSize, PartKind};
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
    code_digest: Digest,
    parts: Vec<Content>,
}

#[wasm_bindgen]
impl Assembly {
    /// Of the layer `code`, which holds `length` bytes with this digest.
    #[wasm_bindgen(constructor)]
    pub fn new(memory_pages: u32, ram_bytes: f64, code: &[u8], length: f64, digest: &str) -> Result<Assembly> {
        if length > MAX_CODE_LEN as f64 {
            return Err(error::payload(payload::Error::CodeTooLarge { found: length as u64 }));
        }
        have_room("code", length as u64)?;
        let (code, code_digest) = verified("code", unpack_frame(code, length as usize), digest)?;
        Ok(Self { size: MachineSize { pages: memory_pages, ram_size: ram_bytes as u64 }, code, code_digest, parts: Vec::new() })
    }

    /// Adds a part: what is in `layer`, `length` bytes with this digest. Returns these bytes. Parts come in the order of their kinds.
    pub fn add(&mut self, name: &str, layer: &[u8], length: f64, digest: &str) -> Result<Vec<u8>> {
        let kind = PartKind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.ok_or_else(|| error("malformed", format!("there is no part {} of a machine", name.escape_debug())))?;
        let room = self.parts.iter().fold(MAX_FILE_LEN, |room, part| room.saturating_sub(part.length));
        if length > room as f64 {
            return Err(error("malformed", "the machine's parts are larger than any machine can be"));
        }
        let length = length as u64;
        have_room(kind.name(), length)?;
        let content = if layer.starts_with(&snapshot::MAGIC) { disk(layer, length) } else { unpack_frame(layer, length as usize) };
        let (content, digest) = verified(kind.name(), content, digest)?;
        self.parts.push(Content { kind, length, digest });
        Ok(content)
    }

    /// What is around the parts.
    pub fn finish(self) -> Result<Framed> {
        let start = start_in(self.size, &self.code)?;
        framed(self.size, (&self.code, self.code_digest), start, &self.parts)
    }
}

/// Refuses what there is no memory for: an allocation that fails ends a module of WebAssembly.
fn have_room(what: &'static str, length: u64) -> Result<()> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    Vec::<u8>::new().try_reserve_exact(length).map_err(|_| {
        let problem = format!("the machine's {what} has {length} bytes, more memory than the browser gives this page");
        error("no-memory", format!("{problem}; close other tabs, or use a smaller image"))
    })
}

/// The first `length` bytes of a disk that travels alone.
fn disk(layer: &[u8], length: u64) -> std::result::Result<Vec<u8>, String> {
    let travelling = Travelling::open(layer).map_err(|error| error.to_string())?;
    let reader = travelling.reader(Space::Disk(0)).map_err(|error| error.to_string())?;
    let mut content = Vec::with_capacity(length as usize);
    reader.take(length).read_to_end(&mut content).map_err(|error| error.to_string())?;
    Ok(content)
}

/// What was in a layer, with its digest, if that is what the configuration says.
fn verified(what: &'static str, content: std::result::Result<Vec<u8>, String>, digest: &str) -> Result<(Vec<u8>, Digest)> {
    let content = content
        .map_err(|problem| error("malformed", format!("the layer with the machine's {what} is malformed: {problem}; push it again")))?;
    let found = Digest::of(&content);
    if found.to_string() != digest {
        let problem =
            format!("the machine's {what} has the digest {found}, its configuration says {}; push it again", digest.escape_debug());
        return Err(error("corrupted", problem));
    }
    Ok((content, found))
}
