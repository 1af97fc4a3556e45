//! The stored form of a snapshot that travels, at any place of it: what nobody reads is not unpacked, and need not have come.

use crate::pages::GROUP_SIZE;
use crate::travel::{Travelling, TravellingPages};
use crate::{Error, ReadAt};
use std::io;
use std::rc::Rc;

/// See the module. What is read is verified.
pub struct Stored<S> {
    pages: TravellingPages<S>,
    /// All before the page area.
    head: Vec<u8>,
    length: u64,
    /// The slots that are no gaps, ascending, and which groups they are.
    slots: Vec<(u32, usize)>,
    /// The slot that was unpacked last.
    last: Option<u32>,
    bytes: Box<[u8; GROUP_SIZE]>,
}

impl<S: ReadAt> Stored<S> {
    /// Of a snapshot of which all that is before the frames of single groups has come.
    pub fn new(travelling: Travelling<S>) -> Result<Self, Error> {
        let (header, placed) = travelling.placed();
        let head = travelling.head(&header, &placed);
        let slots = placed.iter().enumerate().map(|(index, group)| (group.slot, index)).collect();
        let pages = TravellingPages::new(Rc::new(travelling))?;
        Ok(Self { pages, head, length: header.file_length(), slots, last: None, bytes: Box::new([0; GROUP_SIZE]) })
    }

    /// Bytes of the stored form.
    pub const fn byte_len(&self) -> u64 {
        self.length
    }

    /// Fills `buffer` with the bytes from `offset`.
    pub fn read(&mut self, buffer: &mut [u8], offset: u64) -> Result<(), Error> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.length);
        end.ok_or_else(|| Error::reading(io::ErrorKind::UnexpectedEof.into()))?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let of_head = self.head.get(start..).unwrap_or_default();
        let (part, mut rest) = buffer.split_at_mut(of_head.len().min(buffer.len()));
        part.copy_from_slice(&of_head[..part.len()]);
        let mut at = (offset + part.len() as u64).saturating_sub(self.head.len() as u64);
        while !rest.is_empty() {
            let slot = self.slot(at / GROUP_SIZE as u64)?;
            let source = &slot[usize::try_from(at % GROUP_SIZE as u64).unwrap_or_default()..];
            let (part, tail) = rest.split_at_mut(source.len().min(rest.len()));
            part.copy_from_slice(&source[..part.len()]);
            at += part.len() as u64;
            rest = tail;
        }
        Ok(())
    }

    /// The content of a slot. One without a group is a gap.
    fn slot(&mut self, slot: u64) -> Result<&[u8; GROUP_SIZE], Error> {
        let slot = u32::try_from(slot).map_err(|_| Error::reading(io::ErrorKind::UnexpectedEof.into()))?;
        if self.last != Some(slot) {
            self.last = None;
            self.bytes.fill(0);
            if let Ok(found) = self.slots.binary_search_by_key(&slot, |slot| slot.0) {
                self.pages.read_group(self.slots[found].1, &mut self.bytes)?;
            }
            self.last = Some(slot);
        }
        Ok(&self.bytes)
    }
}
