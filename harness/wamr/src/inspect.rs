//! What a file is, before WAMR sees it: so that its loader meets no cut file, and so that a refusal says what was found.
//!
//! It is no proof that a module is good. A `.wasm` is validated by WAMR; an `.aot` is native code and as trusted as an executable.

use crate::error::{Error, Result};
use crate::ffi;

const WASM_MAGIC: &[u8] = b"\0asm";
const WASM_VERSION: u32 = 1;
const AOT_MAGIC: &[u8] = b"\0aot";
const HEADER_LEN: usize = 8;

/// The sections of an .aot that must be there, in this order: target, data, code, functions, exports, relocations.
const AOT_SECTIONS: u32 = 6;
/// Type and size.
const AOT_SECTION_HEADER_LEN: usize = 8;
const TARGET_SECTION_LEN: usize = 48;
/// A text that ends in a NUL: the last field of the target section.
const TARGET_ARCH: std::ops::Range<usize> = 32..TARGET_SECTION_LEN;

/// The two kinds of modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// WebAssembly, to be interpreted.
    Wasm,
    /// Native code.
    Aot,
}

/// Which kind of module `bytes` are, if they are complete and for this host's architecture.
pub fn inspect(bytes: &[u8]) -> Result<Format> {
    let magic = bytes.get(..WASM_MAGIC.len()).unwrap_or(bytes);
    // A file that was cut within its first bytes is no module, and cannot be told from other short files.
    let format = match magic {
        WASM_MAGIC => Format::Wasm,
        AOT_MAGIC => Format::Aot,
        _ => return Err(Error::NotAModule { found: magic.to_vec() }),
    };
    let version = u32_at(bytes, WASM_MAGIC.len(), "version")?;
    match format {
        Format::Wasm if version != WASM_VERSION => Err(Error::WasmVersion { found: version }),
        Format::Wasm => wasm_sections(bytes),
        Format::Aot => aot_sections(bytes, version),
    }?;
    Ok(format)
}

fn wasm_sections(bytes: &[u8]) -> Result<()> {
    let mut offset = HEADER_LEN;
    while offset < bytes.len() {
        let (len, size_len) = leb128(bytes, offset + 1)?;
        let body = offset + 1 + size_len;
        take(bytes, body, len, "section")?;
        offset = body + len;
    }
    Ok(())
}

/// An unsigned number of at most 32 bits in LEB128, and how many bytes it takes.
fn leb128(bytes: &[u8], offset: usize) -> Result<(usize, usize)> {
    const MAX_LEN: usize = 5;
    let mut value = 0_usize;
    for (index, at) in (offset..offset + MAX_LEN).enumerate() {
        let [byte] = *take(bytes, at, 1, "size of a section")? else { break };
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((value, index + 1));
        }
    }
    Err(Error::Load { reason: format!("the size of a section at byte {offset} is not a number of 32 bits") })
}

fn aot_sections(bytes: &[u8], version: u32) -> Result<()> {
    // SAFETY: it returns a constant.
    let wanted = unsafe { ffi::prebake_wamr_aot_version() };
    if version != wanted {
        return Err(Error::AotVersion { found: version, wanted });
    }
    let mut offset = HEADER_LEN;
    let mut next = 0;
    while offset < bytes.len() {
        let (kind, len) = (u32_at(bytes, offset, "head of a section")?, u32_at(bytes, offset + 4, "head of a section")? as usize);
        let body = take(bytes, offset + AOT_SECTION_HEADER_LEN, len, "section")?;
        if kind == 0 {
            architecture(body)?;
        }
        next += u32::from(kind == next);
        offset = (offset + AOT_SECTION_HEADER_LEN + len).next_multiple_of(4);
    }
    if next < AOT_SECTIONS {
        return Err(Error::Truncated { what: "next section", offset: bytes.len(), needed: AOT_SECTION_HEADER_LEN, left: 0 });
    }
    Ok(())
}

fn architecture(target: &[u8]) -> Result<()> {
    let name = take(target, 0, TARGET_SECTION_LEN, "target")?.get(TARGET_ARCH).unwrap_or_default();
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    let wanted = std::env::consts::ARCH;
    // Arm's names end in a version: aarch64v8.
    let ours = name.starts_with(wanted.as_bytes()) || (wanted == "aarch64" && name == b"arm64");
    if !ours {
        return Err(Error::Architecture { found: String::from_utf8_lossy(name).into_owned(), wanted });
    }
    Ok(())
}

/// Whether this host has what an .aot `requires` in its section of that name.
pub fn check_host(requires: &[u8]) -> Result<()> {
    let words = String::from_utf8_lossy(requires);
    for word in words.split_whitespace() {
        if !host_has(word) {
            return Err(Error::HostLacks { needed: word.to_owned() });
        }
    }
    Ok(())
}

#[cfg(target_arch = "x86_64")]
fn host_has(word: &str) -> bool {
    use std::arch::is_x86_feature_detected as has;
    match word {
        "x86_64:x86-64-v2" => has!("sse3") && has!("ssse3") && has!("sse4.1") && has!("sse4.2") && has!("popcnt") && has!("cmpxchg16b"),
        "x86_64:x86-64-v3" => {
            let vectors = has!("avx") && has!("avx2") && has!("fma") && has!("f16c");
            host_has("x86_64:x86-64-v2") && vectors && has!("bmi1") && has!("bmi2") && has!("lzcnt") && has!("movbe")
        }
        // SAFETY: it returns a flag that was set when the runtime was started.
        crate::options::SEGUE => unsafe { ffi::prebake_wamr_can_segue() },
        _ => false,
    }
}

#[cfg(target_arch = "aarch64")]
fn host_has(word: &str) -> bool {
    word == "aarch64:generic"
}

fn u32_at(bytes: &[u8], offset: usize, what: &'static str) -> Result<u32> {
    let bytes = take(bytes, offset, size_of::<u32>(), what)?;
    Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte)))
}

fn take<'b>(bytes: &'b [u8], offset: usize, len: usize, what: &'static str) -> Result<&'b [u8]> {
    let left = bytes.len().saturating_sub(offset);
    let found = offset.checked_add(len).and_then(|end| bytes.get(offset..end));
    found.ok_or(Error::Truncated { what, offset, needed: len, left })
}

/// Where the content of the section of a type is in an `.aot` that is complete.
pub fn section(bytes: &[u8], wanted: u32) -> Option<std::ops::Range<usize>> {
    let mut offset = HEADER_LEN;
    while offset < bytes.len() {
        let (kind, len) = (u32_at(bytes, offset, "type of a section").ok()?, u32_at(bytes, offset + 4, "size of a section").ok()? as usize);
        let start = offset + AOT_SECTION_HEADER_LEN;
        let end = start.checked_add(len).filter(|end| *end <= bytes.len())?;
        if kind == wanted {
            return Some(start..end);
        }
        offset = end.next_multiple_of(4);
    }
    None
}
