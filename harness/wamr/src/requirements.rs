//! What compiled code needs of its host, written into the .aot by `prebake-wamrc`, which has this file too, and read before it is run.
//!
//! WAMR itself notes the architecture alone. Code for a better processor than the host's would die of an illegal instruction, and code that
//! addresses memory through GS would, on a host where GS stays zero, write over whatever lies at low addresses.

use crate::options::Options;

/// The name of the custom section. Other runtimes skip it.
pub const SECTION: &str = "prebake.requires";
/// A custom section, in the table of sections.
pub const CUSTOM: u32 = 100;
/// A custom section of whoever compiled it, that WAMR only keeps.
const RAW: u32 = 0;
/// The word for [`Options::segue`].
pub const SEGUE: &str = "segue";

/// The words in the section: the baseline, then what else is needed.
pub fn words(options: &Options) -> String {
    let segue = if options.segue { " segue" } else { "" };
    format!("{}{segue}", options.baseline)
}

/// Appends the section to an .aot.
pub fn append(aot: &mut Vec<u8>, options: &Options) {
    let words = words(options);
    // The loader aligns whatever it reads to its size, and wants the name with a NUL at its end.
    let name_len = SECTION.len() + 1;
    let size = 4 + 2 + name_len + words.len();
    aot.resize(aot.len().next_multiple_of(4), 0);
    for word in [CUSTOM, size as u32, RAW] {
        aot.extend(word.to_le_bytes());
    }
    aot.extend((name_len as u16).to_le_bytes());
    aot.extend(SECTION.as_bytes());
    aot.push(0);
    aot.extend(words.as_bytes());
}
