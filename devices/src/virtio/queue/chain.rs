//! Descriptor chains: walked once, checked whole, then read and written through cursors.

use crate::platform::{GuestMemory, GuestPhysAddr, MemoryError};
use crate::virtio::DriverFault;
use crate::virtio::spec::queue::{DESCRIPTOR_SIZE, VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE};

/// Most descriptors in an indirect table. Linux fills such tables beyond the size of the queue, so that size is not the limit here.
pub const MAX_INDIRECT_DESCRIPTORS: u16 = 1024;

/// Most bytes in a chain. It bounds the work of one request; no device here has a use for more.
pub const MAX_CHAIN_BYTES: u64 = 32 << 20;

/// A table of descriptors: the queue's own or an indirect one.
#[derive(Clone, Copy)]
pub(super) struct DescriptorTable {
    pub(super) base: GuestPhysAddr,
    pub(super) len: u16,
}

struct Descriptor {
    address: GuestPhysAddr,
    len: u32,
    flags: u16,
    next: u16,
}

impl DescriptorTable {
    #[expect(clippy::cast_possible_truncation, reason = "16")]
    fn get(self, memory: &mut dyn GuestMemory, index: u16) -> Result<Descriptor, DriverFault> {
        if index >= self.len {
            return Err(DriverFault::DescriptorOutsideTable { index, len: self.len });
        }
        let address = super::element(self.base, DESCRIPTOR_SIZE, index)?;
        let mut bytes = [0; DESCRIPTOR_SIZE as usize];
        memory.read(address, &mut bytes)?;
        let [a0, a1, a2, a3, a4, a5, a6, a7, l0, l1, l2, l3, f0, f1, n0, n1] = bytes;
        Ok(Descriptor {
            address: GuestPhysAddr::new(u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7])),
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            flags: u16::from_le_bytes([f0, f1]),
            next: u16::from_le_bytes([n0, n1]),
        })
    }

    fn indirect(descriptor: &Descriptor) -> Result<Self, DriverFault> {
        let entries = u64::from(descriptor.len) / DESCRIPTOR_SIZE;
        let whole = u64::from(descriptor.len) % DESCRIPTOR_SIZE == 0;
        match u16::try_from(entries) {
            Ok(len @ 1..=MAX_INDIRECT_DESCRIPTORS) if whole && descriptor.flags & VIRTQ_DESC_F_NEXT == 0 => {
                Ok(Self { base: descriptor.address, len })
            }
            _ => Err(DriverFault::BadIndirectTable { bytes: descriptor.len }),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    address: GuestPhysAddr,
    len: u32,
}

/// One direction of a chain: a cursor over pieces of guest memory.
#[derive(Debug, Default)]
struct Segments {
    list: Vec<Segment>,
    /// The segment that the cursor is in.
    current: usize,
    /// Bytes from the cursor to the end.
    remaining: u64,
    /// Bytes before the cursor.
    passed: u64,
}

impl Segments {
    fn add(&mut self, segment: Segment) {
        self.list.push(segment);
        self.remaining += u64::from(segment.len);
    }

    fn total(&self) -> u64 {
        self.passed + self.remaining
    }

    /// Takes the next contiguous piece, of at most `limit` bytes.
    fn next_piece(&mut self, limit: usize) -> Option<(GuestPhysAddr, usize)> {
        while let Some(segment) = self.list.get_mut(self.current) {
            if segment.len == 0 {
                self.current += 1;
                continue;
            }
            let len = segment.len.min(u32::try_from(limit).unwrap_or(u32::MAX));
            if len == 0 {
                return None;
            }
            let start = segment.address;
            // The walk has checked that the whole segment lies in RAM, so its end is an address.
            segment.address = start.checked_add(u64::from(len)).unwrap_or(start);
            segment.len -= len;
            self.remaining -= u64::from(len);
            self.passed += u64::from(len);
            return Some((start, len as usize));
        }
        None
    }
}

/// A request of the driver: device-readable bytes, then device-writable bytes. Every byte lies in guest RAM.
#[derive(Debug)]
pub struct DescriptorChain {
    head: u16,
    readable: Segments,
    writable: Segments,
}

impl DescriptorChain {
    /// Follows the chain that starts at `head`. The walk looks at no more descriptors than `table` and one indirect table hold.
    pub(super) fn walk(memory: &mut dyn GuestMemory, table: DescriptorTable, head: u16) -> Result<Self, DriverFault> {
        let mut chain = Self { head, readable: Segments::default(), writable: Segments::default() };
        let (mut table, mut index, mut budget, mut in_indirect) = (table, head, table.len, false);
        loop {
            let descriptor = table.get(memory, index)?;
            budget = budget.checked_sub(1).ok_or(DriverFault::ChainTooLong { limit: table.len })?;
            if descriptor.flags & VIRTQ_DESC_F_INDIRECT != 0 {
                if in_indirect {
                    return Err(DriverFault::BadIndirectTable { bytes: descriptor.len });
                }
                table = DescriptorTable::indirect(&descriptor)?;
                (index, budget, in_indirect) = (0, table.len, true);
                continue;
            }
            chain.add(memory, &descriptor)?;
            if descriptor.flags & VIRTQ_DESC_F_NEXT == 0 {
                return Ok(chain);
            }
            index = descriptor.next;
        }
    }

    fn add(&mut self, memory: &dyn GuestMemory, descriptor: &Descriptor) -> Result<(), DriverFault> {
        let len = u64::from(descriptor.len);
        let inside = descriptor.address.checked_add(len).is_some_and(|end| end.get() <= memory.size());
        if !inside {
            return Err(MemoryError { address: descriptor.address, length: len }.into());
        }
        let segment = Segment { address: descriptor.address, len: descriptor.len };
        if descriptor.flags & VIRTQ_DESC_F_WRITE != 0 {
            self.writable.add(segment);
        } else if self.writable.list.is_empty() {
            self.readable.add(segment);
        } else {
            return Err(DriverFault::ReadableAfterWritable);
        }
        let bytes = self.readable.total() + self.writable.total();
        if bytes > MAX_CHAIN_BYTES { Err(DriverFault::ChainTooLarge { bytes }) } else { Ok(()) }
    }

    /// Brings in the buffers.
    pub(super) fn bring_in(&self, memory: &mut dyn GuestMemory) {
        for segment in self.readable.list.iter().chain(&self.writable.list) {
            memory.bring_in(segment.address, u64::from(segment.len));
        }
    }

    /// Index of the first descriptor: the name of the request in both rings.
    pub(super) fn head(&self) -> u16 {
        self.head
    }

    /// Device-readable bytes that were not read yet.
    pub fn readable(&self) -> u64 {
        self.readable.remaining
    }

    /// Room for device-writable bytes that were not written yet.
    pub fn writable(&self) -> u64 {
        self.writable.remaining
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.writable.passed
    }

    /// Reads on, into `bytes`. Returns how many bytes there were; fewer than asked for means the end.
    pub fn read(&mut self, memory: &mut dyn GuestMemory, bytes: &mut [u8]) -> Result<usize, DriverFault> {
        let mut done = 0;
        while let Some((address, len)) = self.readable.next_piece(bytes.len() - done) {
            memory.read(address, &mut bytes[done..done + len])?;
            done += len;
        }
        Ok(done)
    }

    /// Reads exactly `N` bytes, or reports that the request is too short.
    pub fn read_array<const N: usize>(&mut self, memory: &mut dyn GuestMemory) -> Result<[u8; N], DriverFault> {
        let mut bytes = [0; N];
        let available = self.readable();
        if self.read(memory, &mut bytes)? < N { Err(DriverFault::RequestTooShort { needed: N as u64, available }) } else { Ok(bytes) }
    }

    /// Writes on, from `bytes`. Returns how many bytes there was room for.
    pub fn write(&mut self, memory: &mut dyn GuestMemory, bytes: &[u8]) -> Result<usize, DriverFault> {
        let mut done = 0;
        while let Some((address, len)) = self.writable.next_piece(bytes.len() - done) {
            memory.write(address, &bytes[done..done + len])?;
            done += len;
        }
        Ok(done)
    }
}
