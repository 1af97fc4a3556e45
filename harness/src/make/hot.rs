//! What is hot in a profile: by symbol of the kernel, and by file and function of programs.

use crate::error::{Error, Result};
use crate::host::file;
use object::{Object, ObjectSection, ObjectSymbol, Section, SymbolKind};
use std::collections::BTreeMap;
use std::path::Path;
use translate::{PAGE, Profile};

/// Linear addresses from here on are the kernel's.
const KERNEL: u64 = 1 << 63;

/// Symbols and files that code is named by.
#[derive(Debug, Default)]
pub struct Names {
    kernel: BTreeMap<u64, String>,
    files: Vec<Elf>,
    /// Where a page with these bytes is: the file, and the offset in it.
    pages: BTreeMap<[u8; PAGE], (usize, u64)>,
}

/// A program, a library or a kernel module.
#[derive(Debug)]
struct Elf {
    name: String,
    /// By offset in the file: how long, and the name.
    functions: BTreeMap<u64, (u64, String)>,
}

/// Instructions of one function, or of what has no name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hot {
    /// `kernel`, the file's name, or `user`.
    pub place: String,
    /// The function's name, or an address or offset.
    pub function: String,
    /// Instructions that ran.
    pub instructions: u64,
}

impl Names {
    /// Names the kernel's code by its `System.map`.
    pub fn add_kernel(&mut self, path: &Path) -> Result<()> {
        let text = file::read("table of symbols", path)?;
        for line in String::from_utf8_lossy(&text).lines() {
            let mut words = line.split_ascii_whitespace();
            if let (Some(address), Some("t" | "T" | "w" | "W"), Some(name)) = (words.next(), words.next(), words.next())
                && let Ok(address) = u64::from_str_radix(address, 16)
            {
                self.kernel.insert(address, name.into());
            }
        }
        Ok(())
    }

    /// Names the code of an ELF file by its symbols.
    pub fn add_file(&mut self, path: &Path) -> Result<()> {
        let bytes = file::read("program", path)?;
        let elf =
            object::File::parse(bytes.as_slice()).map_err(|source| Error::NotElf { path: path.into(), problem: source.to_string() })?;
        let offset = |address: u64| {
            let within = |section: &Section<'_, '_>| address.checked_sub(section.address()).filter(|within| *within < section.size());
            elf.sections().find_map(|section| section.file_range()?.0.checked_add(within(&section)?))
        };
        let mut functions = BTreeMap::new();
        for symbol in
            elf.symbols().chain(elf.dynamic_symbols()).filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
        {
            if let (Some(offset), Ok(name)) = (offset(symbol.address()), symbol.name()) {
                functions.entry(offset).or_insert((symbol.size(), name.to_owned()));
            }
        }
        let number = self.files.len();
        for (page, content) in bytes.chunks_exact(PAGE).enumerate() {
            if let Ok(content) = content.try_into() {
                self.pages.entry(content).or_insert((number, (page * PAGE) as u64));
            }
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        self.files.push(Elf { name, functions });
        Ok(())
    }

    /// The place and the function of the code at `offset` of a page.
    fn name(&self, linear: u64, content: &[u8; PAGE], offset: u16) -> (String, String) {
        if let Some(&(number, start)) = self.pages.get(content) {
            let (elf, at) = (&self.files[number], start + u64::from(offset));
            let function = elf.functions.range(..=at).next_back().filter(|&(&start, &(size, _))| at - start < size.max(1));
            return (elf.name.clone(), function.map_or_else(|| format!("+{:#x}", at & !0xfff), |(_, (_, name))| name.clone()));
        }
        let place = if linear >= KERNEL { "kernel" } else { "user" };
        let symbol = self.kernel.range(..=linear.saturating_add(offset.into())).next_back().filter(|_| linear >= KERNEL);
        (place.into(), symbol.map_or_else(|| format!("{linear:#x}"), |(_, name)| name.clone()))
    }
}

/// The functions of a profile, the one that ran most instructions first.
pub fn hot(profile: &Profile, names: &Names) -> Vec<Hot> {
    let mut sums: BTreeMap<(String, String), u64> = BTreeMap::new();
    for block in profile.weights() {
        let sum = sums.entry(names.name(block.linear, block.page, block.offset)).or_default();
        *sum = sum.saturating_add(block.instructions);
    }
    let mut all: Vec<Hot> = sums.into_iter().map(|((place, function), instructions)| Hot { place, function, instructions }).collect();
    all.sort_by_key(|hot| std::cmp::Reverse(hot.instructions));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use emu::cache::{Counts, PageProfile};

    #[test]
    fn whatever_a_program_or_a_profile_says_its_code_has_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("program");
        let program = std::env::current_exe().unwrap();
        let mut bytes = std::fs::read(&program).unwrap();
        // What the headers of sections say: types, addresses, offsets and sizes.
        let number = |bytes: &[u8], at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize;
        let (table, count) = (number(&bytes, 0x28), number(&bytes, 0x3c) & 0xffff);
        for section in 0..count {
            let at = table + section * 64;
            let is_symbols = matches!(bytes[at + 4], 2 | 11);
            if is_symbols {
                let (start, length) = (number(&bytes, at + 24), number(&bytes, at + 32));
                bytes[start..start + length].chunks_exact_mut(24).for_each(|symbol| symbol[16..].fill(0xff));
            } else if section > 0 && bytes[at + 4] == 1 {
                bytes[at + 16..at + 24].fill(0xff);
                bytes[at + 32..at + 40].fill(0xff);
            }
        }
        std::fs::write(&copy, &bytes).unwrap();
        let mut names = Names::default();
        names.add_file(&copy).unwrap();
        names.files[0].functions.insert(u64::MAX, (u64::MAX, "last".into()));
        names.kernel.insert(u64::MAX, "last".into());
        let page = |linear, byte, offset| PageProfile { linear, bytes: Box::new([byte; PAGE]), blocks: vec![(offset, u64::MAX)] };
        let pages = vec![page(u64::MAX, 0xc3, 4095), page(u64::MAX - 1, 0x90, 0), page(0, 0, 1)];
        let profile = Profile::new(Counts { pages, edges: Vec::new() });
        assert!(hot(&profile, &names).iter().any(|hot| hot.function == "last"));
        assert_eq!(profile.hottest(usize::MAX, |_, _| false).1.covered, u64::MAX);
    }

    #[test]
    fn code_is_named_by_the_kernels_symbols_and_by_the_file_that_holds_its_page() {
        let folder = tempfile::tempdir().unwrap();
        let map = folder.path().join("System.map");
        std::fs::write(&map, "ffffffff81000000 T _stext\nffffffff81000010 t spin\nffffffff81000800 D data\n").unwrap();
        let program = std::env::current_exe().unwrap();
        let mut names = Names::default();
        names.add_kernel(&map).unwrap();
        names.add_file(&program).unwrap();
        // A page of this program's code that has a function's start.
        let bytes = std::fs::read(&program).unwrap();
        let (&start, (_, function)) =
            names.files[0].functions.iter().find(|(start, (size, _))| *start % 4096 < 4000 && *size > 16).unwrap();
        let page = &bytes[start as usize / PAGE * PAGE..][..PAGE];
        let own = PageProfile { linear: 0x40_0000, bytes: Box::new(page.try_into().unwrap()), blocks: vec![((start % 4096) as u16, 2)] };
        let kernel =
            PageProfile { linear: 0xffff_ffff_8100_0000, bytes: Box::new([0xc3; PAGE]), blocks: vec![(0, 5), (0x10, 700), (0x14, 1)] };
        let unknown = PageProfile { linear: 0x7000, bytes: Box::new([0xcc; PAGE]), blocks: vec![(1, 0)] };
        let found = hot(&Profile::new(Counts { pages: vec![own, kernel, unknown], edges: Vec::new() }), &names);
        let named =
            |place: &str, name: &str| found.iter().find(|hot| hot.place == place && hot.function == name).map(|hot| hot.instructions);
        assert_eq!(named("kernel", "spin"), Some(701));
        assert_eq!(named("kernel", "_stext"), Some(5));
        assert!(named(&program.file_name().unwrap().to_string_lossy(), function).is_some_and(|count| count >= 2), "{found:?}");
        assert!(found.is_sorted_by(|one, next| one.instructions >= next.instructions));
    }
}
