//! The code around the payload of a WebAssembly module.

use crate::Locator;
use std::ops::Range;

/// Name of the section that ends a machine's file.
pub const LOCATOR_SECTION: &str = "prebake.payload";
/// Section ids.
const CUSTOM: u8 = 0;
const MEMORY: u8 = 5;
const DATA: u8 = 11;
/// Bytes of a length that is padded to its full width.
const LENGTH_LEN: usize = 5;
/// A passive segment without content, as it is encoded: its kind, its length.
pub const EMPTY_SEGMENT: [u8; 2] = [1, 0];

/// Where a section is in its module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What it is.
    pub id: u8,
    /// Its first byte, the id.
    pub start: usize,
    /// What is behind its length.
    pub body: Range<usize>,
}

/// The section at `start`. It may be longer than what there is of the module.
pub fn section_at(module: &[u8], start: usize) -> Option<Section> {
    let (&id, rest) = module.get(start..)?.split_first()?;
    let (length, length_len) = decode(rest)?;
    let body = start + 1 + length_len;
    Some(Section { id, start, body: body..body.checked_add(length as usize)? })
}

/// The section that declares the memory: one, of exactly `pages` pages.
pub fn memory_section(pages: u32) -> Vec<u8> {
    // One memory, which has a maximum: its minimum.
    let body = [&[1, 1][..], &encode(pages), &encode(pages)].concat();
    [&[MEMORY][..], &encode(body.len() as u32), &body].concat()
}

/// Pages of the memory that a module declares with [`memory_section`].
pub fn memory_pages(module: &[u8]) -> Option<u32> {
    let mut at = 8;
    loop {
        let section = section_at(module, at)?;
        if section.id == MEMORY {
            // Count and flags are a byte each.
            let (pages, _) = decode(module.get(section.body.clone())?.get(2..)?)?;
            return (module[section.start..section.body.end] == memory_section(pages)).then_some(pages);
        }
        at = section.body.end;
    }
}

/// The code file that a packed module was made from, of what is `before` and `after` its payload; the section with the locator, the last, is in neither.
/// `None` if these are not around a payload.
pub fn unframe(before: &[u8], after: &[u8], code_pages: u32) -> Option<Vec<u8>> {
    let mut code = before.get(..8)?.to_vec();
    let mut at = code.len();
    loop {
        let section = section_at(before, at)?;
        match section.id {
            MEMORY => code.extend(memory_section(code_pages)),
            DATA => {
                let body = before.get(section.body.start..before.len().checked_sub(1 + LENGTH_LEN)?)?;
                let length = u32::try_from(body.len() + EMPTY_SEGMENT.len()).ok()?;
                code.push(DATA);
                code.extend(encode(length));
                code.extend(body);
                code.extend(EMPTY_SEGMENT);
                code.extend(after);
                return Some(code);
            }
            _ => code.extend(before.get(section.start..section.body.end)?),
        }
        at = section.body.end;
    }
}

/// What is `before` and `after` a payload of `payload_length` bytes, in a module of the code file `code` with a memory of `pages` pages: what [`unframe`] takes
/// apart. What is before is as long for any payload. `None` if `code` is no code file, or the module would be too long.
pub fn frame(code: &[u8], pages: u32, payload_length: u32) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut before = code.get(..8)?.to_vec();
    let mut at = before.len();
    loop {
        let section = section_at(code, at)?;
        let body = code.get(section.body.clone())?;
        match section.id {
            MEMORY => before.extend(memory_section(pages)),
            DATA => {
                // Both lengths of the code file are of the shortest form, and the segment's is 0.
                let segments = body.strip_suffix(&EMPTY_SEGMENT)?;
                let length = u32::try_from(body.len() + LENGTH_LEN - 1).ok()?.checked_add(payload_length)?;
                before.push(DATA);
                before.extend(padded(length));
                before.extend(segments);
                before.push(EMPTY_SEGMENT[0]);
                before.extend(padded(payload_length));
                return Some((before, code[section.body.end..].to_vec()));
            }
            _ => before.extend(&code[section.start..section.body.end]),
        }
        at = section.body.end;
    }
}

/// The last section: it says where the payload is.
pub fn locator_section(locator: Locator) -> Vec<u8> {
    let name = [&[LOCATOR_SECTION.len() as u8][..], LOCATOR_SECTION.as_bytes()].concat();
    let body = [&name[..], &locator.encode()].concat();
    [&[CUSTOM][..], &encode(body.len() as u32), &body].concat()
}

/// `length` as LEB128 in its full width, so that what it says has no influence on where things are.
fn padded(length: u32) -> [u8; LENGTH_LEN] {
    let group = |n: u32| (length >> (7 * n)) as u8 & 0x7f;
    [group(0) | 0x80, group(1) | 0x80, group(2) | 0x80, group(3) | 0x80, group(4)]
}

/// `number` as LEB128, as short as possible.
fn encode(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LENGTH_LEN);
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A number in LEB128, and how many bytes it has.
fn decode(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut number = 0;
    for (at, &byte) in bytes.iter().take(LENGTH_LEN).enumerate() {
        // Of the last byte, four bits are the number's.
        if at == LENGTH_LEN - 1 && byte > 0x0f {
            return None;
        }
        number |= u32::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return Some((number, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written_and_padded_ones_too() {
        for number in [0, 1, 127, 128, 300, 16_383, 16_384, u32::MAX - 1, u32::MAX] {
            let bytes = encode(number);
            assert_eq!(decode(&bytes), Some((number, bytes.len())));
        }
        assert_eq!(decode(&[0x81, 0x80, 0x80, 0x80, 0]), Some((1, 5)));
        for wrong in [&[][..], &[0x80], &[0xff, 0xff, 0xff, 0xff, 0x10], &[0x80, 0x80, 0x80, 0x80, 0x80, 0]] {
            assert_eq!(decode(wrong), None, "{wrong:?}");
        }
    }

    /// A module with a memory of `pages` pages, a section before it and one behind its data.
    fn code(pages: u32) -> Vec<u8> {
        let data = [DATA, 9, 2, 0, 0x41, 0, 0x0b, 1, b'x', 1, 0];
        [&b"\0asm\x01\0\0\0"[..], &[1, 1, 0], &memory_section(pages), &data, &[CUSTOM, 2, 1, b'n']].concat()
    }

    #[test]
    fn what_is_around_a_payload_gives_the_code_again() {
        for pages in [1, 1536, 65_535] {
            let code = code(pages);
            assert_eq!(memory_pages(&code), Some(pages));
            let (before, after) = frame(&code, 65_535, 1 << 20).unwrap();
            assert_eq!(frame(&code, 1, 0).unwrap().0.len() - memory_section(1).len(), before.len() - memory_section(65_535).len());
            assert!(before.ends_with(&[1, 0x80, 0x80, 0xc0, 0x80, 0]), "{before:?}");
            assert_eq!(unframe(&before, &after, pages), Some(code));
        }
        assert_eq!(frame(&code(1), 1, u32::MAX), None);
    }

    #[test]
    fn what_is_no_module_has_no_code() {
        for wrong in [&b"\0asm"[..], b"\0asm\x01\0\0\0", b"\0asm\x01\0\0\0\x0a\x05\0", b"\0asm\x01\0\0\0\x0b\x00"] {
            assert_eq!(unframe(wrong, &[], 1), None, "{wrong:?}");
            assert_eq!((frame(wrong, 1, 0), memory_pages(wrong)), (None, None), "{wrong:?}");
        }
    }
}
