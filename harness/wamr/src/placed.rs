//! Code that lies where a module had it that was loaded before: it is mapped of a file, and neither copied nor relocated.

use crate::ffi;
use crate::inspect;
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;

/// Where a module has its code, and the data that this refers to: each as relocated to both, and to nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Place {
    /// Address of the code, which begins with its literals and ends with its jumps to the runtime.
    pub code: usize,
    /// Address of the data.
    pub data: usize,
    /// Bytes.
    pub code_size: u32,
    /// Bytes.
    pub data_size: u32,
}

/// Code and data in a file, at offsets that are multiples of the host's pages. They were another module's of the same bytes, loaded by the same loader.
#[derive(Debug)]
pub struct PlacedCode<'a> {
    /// The file. Nobody must change it while the module is there: what it holds is run.
    pub file: &'a File,
    /// Offset of the code.
    pub code_at: u64,
    /// Offset of the data.
    pub data_at: u64,
    /// Where they belong.
    pub place: Place,
}

/// A number for this loader: code that was loaded by another is not placed by this one.
pub fn loader() -> u64 {
    // SAFETY: it computes a number of constants.
    unsafe { ffi::prebake_wamr_loader() }
}

/// Pages for the next module that this thread loads. What it has not taken is given back.
pub struct Placed(());

impl Placed {
    /// Maps them, if nothing lies there.
    pub fn map(code: &PlacedCode<'_>) -> Option<Self> {
        let PlacedCode { file, code_at, data_at, place } = code;
        // SAFETY: only addresses are mapped that are free.
        unsafe { ffi::prebake_wamr_place(file.as_raw_fd(), *code_at, *data_at, place) }.then_some(Self(()))
    }

    /// Ends the preparation. Whether the module has taken all of it.
    pub fn end(self) -> bool {
        // SAFETY: what is unmapped is nobody's.
        let taken = unsafe { ffi::prebake_wamr_unplace() };
        std::mem::forget(self);
        taken
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { ffi::prebake_wamr_unplace() };
    }
}

/// The relocations of an `.aot`, which is complete: a table of names, and groups of relocations.
pub struct Relocations<'a> {
    bytes: &'a [u8],
    section: Range<usize>,
    /// How many names there are.
    names: usize,
    /// Where the names begin.
    strings: usize,
    /// Where the number of groups stands.
    pub count_at: usize,
}

impl<'a> Relocations<'a> {
    const SECTION: u32 = 5;
    /// A relocation: offset and addend of 8 bytes, type and number of the name of 4.
    const LEN: usize = 24;
    /// Types that have an address: R_X86_64_64, _32, _32S; R_AARCH64_ABS64.
    const ABSOLUTE: &'static [u32] = if cfg!(target_arch = "x86_64") { &[1, 10, 11] } else { &[257] };

    /// Those of `bytes`; `None` if they are not as expected.
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        let section = inspect::section(bytes, Self::SECTION)?;
        let mut all = Self { bytes, names: 0, strings: section.start, count_at: 0, section };
        all.names = all.word(all.strings)?;
        all.strings = all.strings.checked_add(8)?.checked_add(all.names.checked_mul(4)?)?;
        all.count_at = all.strings.checked_add(all.word(all.strings - 4)?)?.next_multiple_of(4);
        all.word(all.count_at)?;
        Some(all)
    }

    fn word(&self, at: usize) -> Option<usize> {
        Some(u32::from_le_bytes(*self.bytes.get(..self.section.end)?.get(at..)?.first_chunk()?) as usize)
    }

    fn name(&self, number: usize) -> Option<&'a [u8]> {
        let offsets = self.section.start + 4;
        let at = self.strings.checked_add(self.word(offsets.checked_add(number.checked_mul(4)?)?)?)?;
        let length = u16::from_le_bytes(*self.bytes.get(at..)?.first_chunk()?);
        self.bytes.get(at + 2..)?.get(..length.into())
    }

    /// Whether all of them lead to the module's own code and data, or relate the code to its jumps to the runtime: no address of this process is in what is
    /// relocated but those of the two, and in those jumps, which are written each time.
    pub fn stay_within(&self) -> Option<bool> {
        let is_own = |name: &[u8]| name.starts_with(b".") || name.starts_with(b"aot_func#");
        let own = (0..self.names).map(|number| self.name(number).map(is_own)).collect::<Option<Vec<bool>>>()?;
        let (mut at, mut stay_within) = (self.count_at + 4, true);
        for _ in 0..self.word(self.count_at)? {
            let is_code = self.name(self.word(at)?)?.starts_with(b".rela.text");
            let end = (at + 8).checked_add(self.word(at + 4)?.checked_mul(Self::LEN)?)?;
            for relocation in self.bytes.get(..self.section.end)?.get(at + 8..end)?.chunks_exact(Self::LEN) {
                let [.., t0, t1, t2, t3, s0, s1, s2, s3] = *relocation else { return None };
                let (kind, name) = (u32::from_le_bytes([t0, t1, t2, t3]), u32::from_le_bytes([s0, s1, s2, s3]));
                stay_within &= *own.get(name as usize)? || is_code && !Self::ABSOLUTE.contains(&kind);
            }
            at = end;
        }
        (at == self.section.end && self.word(self.count_at)? > 0).then_some(stay_within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 5] = [".rela.text", ".rela.rodata", ".rodata", "aot_func#1", "memmove"];
    const RELATIVE: u32 = 4;

    /// A file with nothing but relocations: of each, its group, type and name.
    fn file(relocations: &[(u32, u32, u32)]) -> Vec<u8> {
        let (mut strings, mut section) = (Vec::new(), (NAMES.len() as u32).to_le_bytes().to_vec());
        for name in NAMES {
            section.extend((strings.len() as u32).to_le_bytes());
            strings.extend((name.len() as u16).to_le_bytes());
            strings.extend(name.bytes());
        }
        section.extend((strings.len() as u32).to_le_bytes());
        section.extend(strings);
        section.resize(section.len().next_multiple_of(4), 0);
        section.extend((relocations.len() as u32).to_le_bytes());
        for &(group, kind, name) in relocations {
            section.extend([group.to_le_bytes(), 1_u32.to_le_bytes(), [0; 4], [0; 4], [0; 4], [0; 4]].concat());
            section.extend([kind.to_le_bytes(), name.to_le_bytes()].concat());
        }
        let head = [5_u32.to_le_bytes(), (section.len() as u32).to_le_bytes()].concat();
        [b"\0aot\x06\0\0\0", &head[..], &section].concat()
    }

    #[test]
    fn an_address_of_the_runtime_in_code_or_data_is_of_one_process() {
        let absolute = Relocations::ABSOLUTE[0];
        let stay_within = |relocations: &[(u32, u32, u32)]| Relocations::of(&file(relocations))?.stay_within();
        let own = [(0, absolute, 2), (0, RELATIVE, 3), (0, RELATIVE, 4), (1, absolute, 3)];
        assert_eq!(stay_within(&own), Some(true));
        for other in [(0, absolute, 4), (1, absolute, 4), (1, RELATIVE, 4)] {
            assert_eq!(stay_within(&[own[0], other]), Some(false), "{other:?}");
        }
        // Without any, it is code that was placed.
        assert_eq!(stay_within(&[]), None);
        assert_eq!(stay_within(&[(0, absolute, 5)]), None);
    }

    #[test]
    fn a_file_that_is_cut_or_wrong_has_none_and_does_no_harm() {
        let good = file(&[(0, RELATIVE, 4), (1, Relocations::ABSOLUTE[0], 3)]);
        for length in 0..good.len() {
            assert!(Relocations::of(&good[..length]).is_none(), "{length}");
        }
        for at in 0..good.len() {
            let mut wrong = good.clone();
            wrong[at] ^= 0xff;
            let _ = Relocations::of(&wrong).and_then(|relocations| relocations.stay_within());
        }
    }
}
