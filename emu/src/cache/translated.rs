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
            let is_made_of = |(at, bytes): &(u16, Vec<u8>)| page.get(usize::from(*at)..).is_some_and(|rest| rest.starts_with(bytes));
            region.code.iter().all(is_made_of).then_some((region.handler, entry.number))
        })
        .next()
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
