//! Native code linked with itself, once, when it is kept: WAMR's loader would do so at each start, name by name, for some 20,000 calls.
//!
//! What is left to the loader refers to data, or to the runtime: of that one reference for each function, in a jump behind the code, which all calls
//! of the function go to.

use super::aot::{section_end, target, u32_at};
use std::collections::BTreeMap;
use std::ops::Range;

/// Section types.
const TEXT: u32 = 2;
const FUNCTIONS: u32 = 3;
const RELOCATIONS: u32 = 5;
/// Type and length of a section.
const HEADER_LEN: usize = 8;

/// The group of relocations that are for the code.
const TEXT_GROUP: &[u8] = b".rela.text";
/// What the name of one of the module's functions begins with; its number follows.
const FUNCTION: &[u8] = b"aot_func#";
/// Relocations whose value is symbol + addend - place, in 32 bits (System V ABI, AMD64 supplement, 4.4).
const R_X86_64_PC32: u32 = 2;
const R_X86_64_PLT32: u32 = 4;
/// The addend of one at the end of an instruction.
const AT_END: i64 = -4;
/// JMP rel32, and padding.
const JUMP: [u8; 8] = [0xe9, 0, 0, 0, 0, 0xcc, 0xcc, 0xcc];
const JUMP_OPERAND: u64 = 1;

/// The code file `code`, linked with itself. One that is not for x86-64, or not as expected, stays as it is.
pub fn link_code(code: Vec<u8>) -> Vec<u8> {
    match code.first_chunk().map(target) {
        Some(Ok(target)) if target == "x86_64" => linked(&code).unwrap_or(code),
        _ => code,
    }
}

fn linked(code: &[u8]) -> Option<Vec<u8>> {
    let sections = sections(code)?;
    let body = |kind| sections.iter().find(|(found, _)| *found == kind).and_then(|(_, range)| code.get(range.clone()));
    let (mut text, functions) = (Text::new(body(TEXT)?)?, body(FUNCTIONS)?);
    let relocations = Relocations::read(body(RELOCATIONS)?)?.linked(&mut text, functions)?;
    let mut file = code[..HEADER_LEN].to_vec();
    for (kind, range) in sections {
        let body: &[u8] = match kind {
            TEXT => &text.bytes,
            RELOCATIONS => &relocations,
            _ => code.get(range)?,
        };
        file.resize(file.len().next_multiple_of(4), 0);
        file.extend(kind.to_le_bytes());
        file.extend(u32::try_from(body.len()).ok()?.to_le_bytes());
        file.extend(body);
    }
    Some(file)
}

/// The type of each section, and where its content is.
fn sections(code: &[u8]) -> Option<Vec<(u32, Range<usize>)>> {
    let (mut sections, mut at) = (Vec::new(), HEADER_LEN);
    while at < code.len() {
        let end = usize::try_from(section_end(at as u64, &code[at..])?).ok().filter(|end| *end <= code.len())?;
        let start = at.next_multiple_of(4);
        sections.push((u32_at(code, start)?, start + HEADER_LEN..end));
        at = end;
    }
    Some(sections)
}

/// The section with the code. Offsets count from behind the literals at its start.
struct Text {
    bytes: Vec<u8>,
    start: usize,
}

impl Text {
    fn new(section: &[u8]) -> Option<Self> {
        let start = 4 + u32_at(section, 0)? as usize;
        (start <= section.len()).then(|| Self { bytes: section.to_vec(), start })
    }

    fn len(&self) -> u64 {
        (self.bytes.len() - self.start) as u64
    }

    /// Adds a jump to what a relocation will say. Returns its offset.
    fn add_jump(&mut self) -> u64 {
        let length = (self.bytes.len() - self.start).next_multiple_of(JUMP.len());
        self.bytes.resize(self.start + length, JUMP[JUMP.len() - 1]);
        self.bytes.extend(JUMP);
        length as u64
    }

    /// Applies a relocation at offset `place` to what is at offset `symbol`.
    fn apply(&mut self, place: u64, symbol: u64, addend: i64) -> Option<()> {
        let value = i64::try_from(symbol).ok()?.checked_add(addend)?.checked_sub(i64::try_from(place).ok()?)?;
        let at = self.start.checked_add(usize::try_from(place).ok()?)?;
        self.bytes.get_mut(at..at.checked_add(4)?)?.copy_from_slice(&i32::try_from(value).ok()?.to_le_bytes());
        Some(())
    }
}

#[derive(Clone, Copy)]
struct Relocation {
    offset: u64,
    addend: i64,
    kind: u32,
    symbol: u32,
}

impl Relocation {
    const LEN: usize = 24;

    fn read(bytes: &[u8]) -> Option<Self> {
        let long = |at: usize| bytes.get(at..)?.first_chunk().map(|field| u64::from_le_bytes(*field));
        Some(Self { offset: long(0)?, addend: long(8)? as i64, kind: u32_at(bytes, 16)?, symbol: u32_at(bytes, 20)? })
    }

    fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.offset.to_le_bytes());
        to.extend(self.addend.to_le_bytes());
        to.extend(self.kind.to_le_bytes());
        to.extend(self.symbol.to_le_bytes());
    }
}

/// The section with the relocations: a table of names, and groups of relocations, each for the section that a name stands for.
struct Relocations<'a> {
    /// The table, with its padding.
    table: &'a [u8],
    names: Vec<&'a [u8]>,
    groups: Vec<(u32, Vec<Relocation>)>,
}

impl<'a> Relocations<'a> {
    fn read(section: &'a [u8]) -> Option<Self> {
        let count = u32_at(section, 0)? as usize;
        let strings = 4 + count.checked_mul(4)? + 4;
        let end = strings.checked_add(u32_at(section, strings - 4)? as usize)?.next_multiple_of(4);
        let name = |index: usize| {
            let at = strings.checked_add(u32_at(section, 4 + 4 * index)? as usize)?;
            let length = u16::from_le_bytes(*section.get(at..)?.first_chunk()?);
            let name = section.get(at + 2..at + 2 + usize::from(length))?;
            Some(name.strip_suffix(b"\0").unwrap_or(name))
        };
        let names = (0..count.min(section.len() / 4)).map(name).collect::<Option<_>>()?;
        let (mut at, mut groups) = (end + 4, Vec::new());
        for _ in 0..u32_at(section, end)? {
            let length = (u32_at(section, at + 4)? as usize).checked_mul(Relocation::LEN)?;
            let relocations = section.get(at + 8..(at + 8).checked_add(length)?)?;
            groups.push((u32_at(section, at)?, relocations.chunks_exact(Relocation::LEN).map(Relocation::read).collect::<Option<_>>()?));
            at += 8 + length;
        }
        (at == section.len()).then(|| Self { table: &section[..end], names, groups })
    }

    /// Links `text`, and gives the section of what is left to be done. `functions` begins with the offset of each function.
    fn linked(self, text: &mut Text, functions: &[u8]) -> Option<Vec<u8>> {
        let Self { table, names, groups } = self;
        let name = |number: u32| names.get(number as usize).copied();
        let length = text.len();
        let mut section = table.to_vec();
        section.extend((groups.len() as u32).to_le_bytes());
        for (group, relocations) in groups {
            let left = if name(group)? == TEXT_GROUP { linked_group(&relocations, text, name, (functions, length))? } else { relocations };
            section.extend(group.to_le_bytes());
            section.extend((left.len() as u32).to_le_bytes());
            left.iter().for_each(|relocation| relocation.write(&mut section));
        }
        Some(section)
    }
}

/// Applies those of `relocations` that can be, and gives those that are left. The functions' offsets are below `length`.
fn linked_group<'a>(
    relocations: &[Relocation],
    text: &mut Text,
    name: impl Fn(u32) -> Option<&'a [u8]>,
    (functions, length): (&[u8], u64),
) -> Option<Vec<Relocation>> {
    let mut calls = BTreeMap::<u32, usize>::new();
    for relocation in relocations.iter().filter(|relocation| relocation.kind == R_X86_64_PLT32) {
        *calls.entry(relocation.symbol).or_default() += 1;
    }
    let (mut left, mut jumps) = (Vec::new(), BTreeMap::<u32, u64>::new());
    for relocation in relocations {
        let Relocation { offset, addend, kind, symbol } = *relocation;
        let known = match (kind, name(symbol)?.strip_prefix(FUNCTION)) {
            (R_X86_64_PLT32 | R_X86_64_PC32, Some(number)) => {
                let number: usize = std::str::from_utf8(number).ok()?.parse().ok()?;
                let at = functions.get(number.checked_mul(8)?..)?.first_chunk()?;
                Some(u64::from_le_bytes(*at)).filter(|at| *at < length)
            }
            // One call is a reference as good as a jump's.
            (R_X86_64_PLT32, None) if calls[&symbol] > 1 => Some(*jumps.entry(symbol).or_insert_with(|| {
                let jump = text.add_jump();
                left.push(Relocation { offset: jump + JUMP_OPERAND, addend: AT_END, kind, symbol });
                jump
            })),
            _ => None,
        };
        match known {
            Some(symbol) => text.apply(offset, symbol, addend)?,
            None => left.push(*relocation),
        }
    }
    Some(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::aot::{MAGIC, VERSION};

    const NAMES: [&str; 7] = [TEXT_GROUP_NAME, ".rela.rodata", "aot_func#0", "aot_func#1", "memmove", "memset", ".rodata"];
    const TEXT_GROUP_NAME: &str = ".rela.text";
    const OFFSETS: [u64; 2] = [0, 32];
    const TEXT_LEN: usize = 52;

    fn relocation(offset: u64, kind: u32, symbol: u32) -> Relocation {
        Relocation { offset, addend: AT_END, kind, symbol }
    }

    /// What is in the code: calls of both functions, two of one function of the runtime and one of another, and an address of data.
    fn relocations() -> Vec<Relocation> {
        [(1, R_X86_64_PLT32, 3), (33, R_X86_64_PLT32, 2), (6, R_X86_64_PLT32, 4), (38, R_X86_64_PLT32, 4), (11, R_X86_64_PLT32, 5)]
            .map(|(offset, kind, symbol)| relocation(offset, kind, symbol))
            .into_iter()
            .chain([relocation(16, 11, 6), relocation(20, R_X86_64_PC32, 3)])
            .collect()
    }

    fn file(arch: &str, groups: &[(u32, Vec<Relocation>)]) -> Vec<u8> {
        let mut target = vec![0; 48];
        target[32..32 + arch.len()].copy_from_slice(arch.as_bytes());
        let text: Vec<u8> = [0; 4].into_iter().chain([0x90; TEXT_LEN]).collect();
        let functions: Vec<u8> = OFFSETS.iter().flat_map(|offset| offset.to_le_bytes()).chain([0; 8]).collect();
        let mut strings = Vec::new();
        let mut section = (NAMES.len() as u32).to_le_bytes().to_vec();
        for name in NAMES {
            section.extend((strings.len() as u32).to_le_bytes());
            strings.extend((name.len() as u16 + 1).to_le_bytes());
            strings.extend(name.bytes().chain([0]));
            strings.resize(strings.len().next_multiple_of(2), 0);
        }
        section.extend((strings.len() as u32).to_le_bytes());
        section.extend(strings);
        section.resize(section.len().next_multiple_of(4), 0);
        section.extend((groups.len() as u32).to_le_bytes());
        for (name, relocations) in groups {
            section.extend(name.to_le_bytes());
            section.extend((relocations.len() as u32).to_le_bytes());
            relocations.iter().for_each(|relocation| relocation.write(&mut section));
        }
        let mut file = [MAGIC, &VERSION.to_le_bytes()[..]].concat();
        for (kind, body) in [(0, target), (1, vec![7; 5]), (TEXT, text), (FUNCTIONS, functions), (4, vec![1; 3]), (RELOCATIONS, section)] {
            file.resize(file.len().next_multiple_of(4), 0);
            file.extend(u32::to_le_bytes(kind));
            file.extend((body.len() as u32).to_le_bytes());
            file.extend(body);
        }
        file
    }

    #[test]
    fn calls_are_linked_and_each_function_of_the_runtime_is_left_once() {
        let data = vec![relocation(0, 1, 0)];
        let linked = link_code(file("x86_64", &[(0, relocations()), (1, data)]));
        let sections = sections(&linked).unwrap();
        let kinds: Vec<u32> = sections.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [0, 1, TEXT, FUNCTIONS, 4, RELOCATIONS]);
        let body = |index: usize| &linked[sections[index].1.clone()];
        let text = &body(2)[4..];
        let jump = TEXT_LEN.next_multiple_of(8);
        assert_eq!(text.len(), jump + JUMP.len());
        let goal = |place: usize| place as i64 + 4 + i64::from(i32::from_le_bytes(*text[place..].first_chunk().unwrap()));
        assert_eq!([1, 33, 20].map(goal), [32, 0, 32]);
        assert_eq!([6, 38].map(goal), [jump as i64; 2]);
        assert_eq!((text[jump], &text[11..15], &text[16..20]), (JUMP[0], &[0x90; 4][..], &[0x90; 4][..]));

        let left = Relocations::read(body(5)).unwrap();
        assert_eq!(left.names, NAMES.map(str::as_bytes));
        let places: Vec<Vec<(u64, u32)>> =
            left.groups.iter().map(|(_, group)| group.iter().map(|relocation| (relocation.offset, relocation.symbol)).collect()).collect();
        assert_eq!(places, [vec![(jump as u64 + 1, 4), (11, 5), (16, 6)], vec![(0, 0)]]);
        assert_eq!(link_code(linked.clone()), linked, "there is nothing left to be done");
    }

    #[test]
    fn what_is_not_as_expected_stays_as_it_is() {
        let good = file("x86_64", &[(0, relocations())]);
        assert_ne!(link_code(good.clone()), good);
        let other = file("aarch64v8", &[(0, relocations())]);
        assert_eq!(link_code(other.clone()), other);
        let beyond = |symbol, offset| file("x86_64", &[(0, vec![relocation(offset, R_X86_64_PLT32, symbol)])]);
        for wrong in [beyond(9, 0), beyond(3, TEXT_LEN as u64 - 3), beyond(3, u64::MAX), file("x86_64", &[(9, relocations())])] {
            assert_eq!(link_code(wrong.clone()), wrong);
        }
        for length in 0..good.len() {
            link_code(good[..length].to_vec());
        }
        for at in 0..good.len() {
            let mut flipped = good.clone();
            flipped[at] ^= 0xff;
            link_code(flipped);
        }
    }
}
