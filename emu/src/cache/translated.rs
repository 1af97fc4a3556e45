//! Code that was translated ahead of time: where it can be entered, and the guest's code that it was made of.
//!
//! What it was made of decides whether it is entered: the bytes of a page are compared when a block is built there. From then on its blocks are like
//! all others, and go with their page.

use std::borrow::Cow;
use std::ops::Range;

use super::{Handler, Slot};
use crate::bus::PAGE_SIZE;
use crate::decode::{Op, Opcode};

/// A piece of code that was translated as one.
struct Region {
    handler: Handler,
    /// Where its pieces are in the list.
    pieces: Range<usize>,
    /// Where what they consist of begins.
    bytes: usize,
}

/// A place where a region can be entered.
#[derive(Clone, Copy)]
struct Entry {
    region: u32,
    /// Its number, from 1 on.
    number: u16,
    /// Offset in the page.
    offset: u16,
    /// What stands there, as far as it belongs to the region, and which bits of it do: nearly every page has something else there, which need not be looked up.
    start: u32,
    mask: u32,
}

/// Translated code, none by default.
#[derive(Default)]
pub struct Translated {
    /// What the linker has written.
    list: Cow<'static, [u8]>,
    /// Ops that it leaves to their handlers.
    ops: Vec<Slot>,
    regions: Vec<Region>,
    /// By their offsets.
    entries: Vec<Entry>,
    /// The number of the first entry at each offset or behind it; nothing if there are none.
    first: Vec<u32>,
}

/// The first bytes at `offset` of a page as a number, with zeroes for what lies behind it.
fn word(page: &[u8], offset: usize) -> u32 {
    let bytes = page.get(offset..).unwrap_or_default();
    let bytes = bytes.first_chunk().copied().unwrap_or_else(|| {
        let mut rest = [0; size_of::<u32>()];
        rest[..bytes.len()].copy_from_slice(bytes);
        rest
    });
    u32::from_le_bytes(bytes)
}

impl Translated {
    /// Reads what the linker has written, with what makes handlers of the numbers of functions, and slots of ops. First the number of ops, of 4 bytes, and the ops of 24
    /// bytes each, in the order of [`Op`]'s fields. Then for each region, up to one with the number 0,
    ///
    /// | bytes | what |
    /// |---|---|
    /// | 4 | number of its function |
    /// | 2, 2 | how many entries; how many pieces of code |
    /// | 2 each | offsets of the entries in the page |
    /// | 2, 2 each | offsets of the pieces in the page, and their lengths |
    /// | as many | the pieces |
    ///
    /// All numbers are little-endian. What is behind bytes that are none of this is left out.
    pub fn read(list: Cow<'static, [u8]>, handler: impl Fn(u32) -> Handler, slot: impl Fn(Op) -> Slot) -> Self {
        let mut all = Self { list, ..Self::default() };
        let mut reader = Reader { list: &all.list, at: 0 };
        let ops = reader.take().map_or(0, u32::from_le_bytes);
        all.ops.extend((0..ops).map_while(|_| reader.op()).map(slot));
        let (mut entries, mut whole) = (Vec::new(), 0);
        while let Some(region) = reader.region(all.regions.len() as u32, &mut entries, &handler) {
            all.regions.push(region);
            whole = entries.len();
        }
        all.sort(&entries[..whole]);
        all
    }

    /// Puts the entries in the order of their offsets, in which those of one offset stay as they are.
    fn sort(&mut self, entries: &[Entry]) {
        let Some(&any) = entries.first() else { return };
        let mut next = vec![0; PAGE_SIZE as usize + 1];
        entries.iter().for_each(|entry| next[usize::from(entry.offset) + 1] += 1);
        (1..next.len()).for_each(|offset| next[offset] += next[offset - 1]);
        self.first.clone_from(&next);
        self.entries = vec![any; entries.len()];
        for entry in entries {
            let place = &mut next[usize::from(entry.offset)];
            self.entries[*place as usize] = *entry;
            *place += 1;
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// An op by its number.
    #[inline(always)]
    pub fn op(&self, number: u32) -> Option<&Slot> {
        self.ops.get(number as usize)
    }

    /// The handler of translated code that can be entered at `offset` of a page, with the number of that entry.
    pub fn find(&self, page: &[u8], offset: u16) -> Option<(Handler, u16)> {
        let [first, end] = *self.first.get(usize::from(offset)..)?.first_chunk()?;
        let start = word(page, offset.into());
        let here = self.entries[first as usize..end as usize].iter().filter(|entry| (start ^ entry.start) & entry.mask == 0);
        here.filter_map(|entry| {
            let region = self.regions.get(entry.region as usize)?;
            self.is_made_of(region, page).then_some((region.handler, entry.number))
        })
        .next()
    }

    /// Whether what stands at `offset` of a page is a part of translated code.
    pub fn covers(&self, page: &[u8], offset: u16) -> bool {
        let has = |region: &Region| self.pieces(region).any(|(at, bytes)| (at..at + bytes.len()).contains(&offset.into()));
        self.regions.iter().any(|region| has(region) && self.is_made_of(region, page))
    }

    /// The pieces of a region: their offsets, and what must stand there.
    fn pieces(&self, region: &Region) -> impl Iterator<Item = (usize, &[u8])> {
        let mut reader = Reader { list: &self.list[..region.pieces.end], at: region.pieces.start };
        let mut bytes = Reader { list: &self.list, at: region.bytes };
        std::iter::from_fn(move || Some((usize::from(reader.short()?), bytes.bytes(reader.short()?)?)))
    }

    fn is_made_of(&self, region: &Region, page: &[u8]) -> bool {
        self.pieces(region).all(|(at, bytes)| page.get(at..).is_some_and(|rest| rest.starts_with(bytes)))
    }
}

/// Reads the list from a place on.
struct Reader<'a> {
    list: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: u16) -> Option<&'a [u8]> {
        let bytes = self.list.get(self.at..)?.get(..length.into())?;
        self.at += bytes.len();
        Some(bytes)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = *self.list.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(bytes)
    }

    /// The next region, which gets a number, and its entries.
    fn region(&mut self, number: u32, all: &mut Vec<Entry>, handler: &impl Fn(u32) -> Handler) -> Option<Region> {
        let function = u32::from_le_bytes(self.take()?);
        if function == 0 {
            return None;
        }
        let (entries, pieces) = (self.short()?, self.short()?);
        let known = all.len();
        for entry in 1..=entries {
            let offset = self.short().filter(|offset| u64::from(*offset) < PAGE_SIZE)?;
            all.push(Entry { region: number, number: entry, offset, start: 0, mask: 0 });
        }
        let start = self.at;
        self.at = start + usize::from(pieces) * 4;
        let region = Region { handler: handler(function), pieces: start..self.at, bytes: self.at };
        let mut places = Reader { list: self.list.get(..self.at)?, at: start };
        while let (Some(at), Some(length)) = (places.short(), places.short()) {
            let bytes = self.bytes(length)?;
            for entry in &mut all[known..] {
                if let Some(rest) = entry.offset.checked_sub(at).and_then(|within| bytes.get(within.into()..)) {
                    (entry.start, entry.mask) = (word(rest, 0), word(&[0xff; 4][..rest.len().min(4)], 0));
                }
            }
        }
        Some(region)
    }

    fn op(&mut self) -> Option<Op> {
        let [c0, c1, a, b, base, index, scale, segment, d0, d1, d2, d3, o0, o1, retired, length] = self.take()?;
        Some(Op {
            code: Opcode(u16::from_le_bytes([c0, c1])),
            a,
            b,
            base,
            index,
            scale,
            segment,
            displacement: i32::from_le_bytes([d0, d1, d2, d3]),
            offset: u16::from_le_bytes([o0, o1]),
            retired,
            length,
            immediate: u64::from_le_bytes(self.take()?),
        })
    }

    fn short(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Different ones, also for a linker that merges what is equal.
    fn first() {
        std::hint::black_box(1);
    }
    fn second() {
        std::hint::black_box(2);
    }
    /// By their numbers, from 7 on. A function may have more than one address; these have one each.
    static HANDLERS: [Handler; 2] = [first, second];

    /// Two regions: bytes 1, 2 at 0x10 and 3 at 0xfff, with two entries; and 9 at 0x10, with one.
    fn list() -> Vec<u8> {
        let op = [1, 0, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9, 0, 10, 11, 12, 0, 0, 0, 0, 0, 0, 0];
        let one = [7, 0, 0, 0, 2, 0, 2, 0, 0x10, 0, 0xff, 0xf, 0x10, 0, 2, 0, 0xff, 0xf, 1, 0, 1, 2, 3];
        let other = [8, 0, 0, 0, 1, 0, 1, 0, 0x10, 0, 0x10, 0, 1, 0, 9];
        [&[1, 0, 0, 0][..], &op, &one, &other, &[0; 8]].concat()
    }

    fn read(list: &[u8]) -> Translated {
        Translated::read(list.to_vec().into(), |number| HANDLERS[number as usize - 7], Slot::new)
    }

    fn page(at_16: [u8; 2], last: u8) -> [u8; 4096] {
        let mut page = [0; 4096];
        page[16..18].copy_from_slice(&at_16);
        page[4095] = last;
        page
    }

    fn number(found: Option<(Handler, u16)>) -> Option<(u32, u16)> {
        found.map(|(handler, entry)| (7 + u32::from(std::ptr::fn_addr_eq(handler, HANDLERS[1])), entry))
    }

    #[test]
    fn code_is_entered_only_where_all_of_what_it_was_made_of_stands() {
        let all = read(&list());
        assert_eq!(number(all.find(&page([1, 2], 3), 0x10)), Some((7, 1)));
        assert_eq!(number(all.find(&page([1, 2], 3), 0xfff)), Some((7, 2)));
        assert_eq!(number(all.find(&page([9, 2], 3), 0x10)), Some((8, 1)));
        for (at_16, last) in [([0, 2], 3), ([1, 0], 3), ([1, 2], 0)] {
            assert_eq!(number(all.find(&page(at_16, last), 0x10)), None, "{at_16:?} {last}");
        }
        assert_eq!(number(all.find(&page([1, 2], 3), 0x11)), None);
        // What stands behind a piece is nobody's, and there is nothing behind the page.
        let mut other = page([1, 2], 3);
        other[0x12..0x14].fill(0xee);
        assert_eq!(number(all.find(&other, 0x10)), Some((7, 1)));
        assert_eq!([0x1000, 0xffff].map(|offset| number(all.find(&other, offset))), [None; 2]);
        let op = all.op(0).unwrap().op;
        assert_eq!((op.code, op.displacement, op.offset, op.retired, op.length, op.immediate), (Opcode(1), 8, 9, 10, 11, 12));
        assert!(all.op(1).is_none());
    }

    /// The list is the linker's, but nothing that stands there does harm.
    #[test]
    fn a_list_that_ends_too_soon_has_what_is_whole() {
        let list = list();
        for cut in 0..list.len() {
            let all = read(&list[..cut]);
            let wanted = (cut >= 28 + 23, cut >= 28 + 23 + 15);
            let found = (all.find(&page([1, 2], 3), 0x10).is_some(), all.find(&page([9, 2], 3), 0x10).is_some());
            assert_eq!(found, wanted, "cut at {cut}");
        }
        assert!(read(&[]).is_empty() && read(&[0xff; 64]).is_empty());
    }
}
