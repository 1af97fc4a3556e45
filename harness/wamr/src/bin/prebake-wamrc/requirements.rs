//! What compiled code needs of its host, written into the .aot.

use crate::options::{Options, REQUIREMENTS, SEGUE};

/// A custom section, in the table of sections.
const CUSTOM: u32 = 100;
/// A custom section that WAMR only keeps.
const RAW: u32 = 0;

/// Appends the section [`REQUIREMENTS`] to an .aot.
pub fn append(aot: &mut Vec<u8>, options: &Options) {
    let mut words = options.baseline.to_string();
    if options.segue {
        words.extend([" ", SEGUE]);
    }
    // The loader aligns whatever it reads to its size, and wants the name with a NUL at its end.
    let name_len = REQUIREMENTS.len() + 1;
    let size = size_of::<u32>() + size_of::<u16>() + name_len + words.len();
    aot.resize(aot.len().next_multiple_of(4), 0);
    for word in [CUSTOM, size as u32, RAW] {
        aot.extend(word.to_le_bytes());
    }
    aot.extend((name_len as u16).to_le_bytes());
    aot.extend(REQUIREMENTS.as_bytes());
    aot.push(0);
    aot.extend(words.as_bytes());
}
