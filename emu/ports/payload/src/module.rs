//! The code around the payload of a WebAssembly module.

use std::ops::Range;

/// Section ids.
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

    #[test]
    fn what_is_no_module_has_no_code() {
        for wrong in [&b"\0asm"[..], b"\0asm\x01\0\0\0", b"\0asm\x01\0\0\0\x0a\x05\0", b"\0asm\x01\0\0\0\x0b\x00"] {
            assert_eq!(unframe(wrong, &[], 1), None, "{wrong:?}");
        }
    }
}
