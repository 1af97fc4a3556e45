//! Code that was translated ahead of time: where it can be entered, and the guest's code that it was made of.
//!
//! What it was made of decides whether it is entered: the bytes of a page are compared when a block is built there. From then on its blocks are like
//! all others, and go with their page.

use super::{Handler, Slot};
use crate::decode::{Op, Opcode};

/// A piece of code that was translated as one.
struct Region {
    handler: Handler,
    /// Offset in the page, and what must stand there.
    code: Vec<(u16, Vec<u8>)>,
}

impl Region {
    fn is_made_of(&self, page: &[u8]) -> bool {
        self.code.iter().all(|(at, bytes)| page.get(usize::from(*at)..).is_some_and(|rest| rest.starts_with(bytes)))
    }
}

/// A place where a region can be entered.
struct Entry {
    /// Offset in the page.
    offset: u16,
    region: u32,
    /// Its number, from 1 on.
    number: u16,
}

/// Translated code, none by default.
#[derive(Default)]
pub struct Translated {
    /// Ops that it leaves to their handlers.
    ops: Vec<Slot>,
    regions: Vec<Region>,
    /// By their offsets.
    entries: Vec<Entry>,
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
    pub fn read(bytes: &[u8], handler: impl Fn(u32) -> Handler, slot: impl Fn(Op) -> Slot) -> Self {
        let mut all = Self::default();
        let mut reader = Reader(bytes);
        let ops = reader.take().map_or(0, u32::from_le_bytes);
        all.ops.extend((0..ops).map_while(|_| reader.op()).map(slot));
        while all.read_region(&mut reader, &handler).is_some() {}
        all.entries.sort_by_key(|entry| entry.offset);
        all
    }

    fn read_region(&mut self, reader: &mut Reader<'_>, handler: &impl Fn(u32) -> Handler) -> Option<()> {
        let number = u32::from_le_bytes(reader.take()?);
        if number == 0 {
            return None;
        }
        let (entries, pieces) = (reader.short()?, reader.short()?);
        let region = self.regions.len() as u32;
        for number in 1..=entries {
            let offset = reader.short()?;
            self.entries.push(Entry { offset, region, number });
        }
        let places = (0..pieces).map(|_| Some((reader.short()?, reader.short()?))).collect::<Option<Vec<_>>>()?;
        let code = places.into_iter().map(|(offset, length)| Some((offset, reader.bytes(length)?.to_vec()))).collect::<Option<_>>()?;
        self.regions.push(Region { handler: handler(number), code });
        Some(())
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
        let first = self.entries.partition_point(|entry| entry.offset < offset);
        let here = self.entries[first..].iter().take_while(|entry| entry.offset == offset);
        here.filter_map(|entry| {
            let region = self.regions.get(entry.region as usize)?;
            region.is_made_of(page).then_some((region.handler, entry.number))
        })
        .next()
    }

    /// Whether what stands at `offset` of a page is a part of translated code.
    pub fn covers(&self, page: &[u8], offset: u16) -> bool {
        let has = |(at, bytes): &(u16, Vec<u8>)| (*at..*at + bytes.len() as u16).contains(&offset);
        self.regions.iter().any(|region| region.code.iter().any(has) && region.is_made_of(page))
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: u16) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        Some(bytes)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (&bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(bytes)
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
        Translated::read(list, |number| HANDLERS[number as usize - 7], Slot::new)
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
