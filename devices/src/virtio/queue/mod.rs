//! Split virtqueues (section 2.7), from the device's side.

mod chain;
mod state;

pub use chain::{DescriptorChain, MAX_CHAIN_BYTES, MAX_INDIRECT_DESCRIPTORS};
pub use state::QueueState;

use super::DriverFault;
use super::spec::queue::{AVAIL_ELEMENT_SIZE, DESCRIPTOR_SIZE, RING_HEADER_SIZE, USED_ELEMENT_SIZE, VIRTQ_AVAIL_F_NO_INTERRUPT};
use crate::platform::{GuestMemory, GuestPhysAddr, MemoryError};
use chain::DescriptorTable;

/// Largest size of a queue that a device may ask for (section 2.7: a power of two).
pub const MAX_QUEUE_SIZE: u16 = 1024;

/// Offset of `idx` in both rings.
const RING_INDEX: u64 = 2;

/// The address of element `index` of an array, if it is an address at all.
fn element(base: GuestPhysAddr, size: u64, index: u16) -> Result<GuestPhysAddr, MemoryError> {
    let offset = u64::from(index) * size;
    base.checked_add(offset).ok_or(MemoryError { address: base, length: offset })
}

fn read_u16(memory: &mut dyn GuestMemory, base: GuestPhysAddr, offset: u64) -> Result<u16, MemoryError> {
    let address = base.checked_add(offset).ok_or(MemoryError { address: base, length: offset })?;
    let mut bytes = [0; 2];
    memory.read(address, &mut bytes)?;
    Ok(u16::from_le_bytes(bytes))
}

/// Which of the three parts of a queue an address belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum QueueArea {
    Descriptor,
    Driver,
    Device,
}

/// Room in chains that lie ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Chains that were looked at: as many as it takes, if there are as many.
    pub chains: u16,
    /// The most chains that there can ever be for it.
    pub most: u16,
    /// Device-writable bytes in them.
    pub bytes: u64,
}

/// One split virtqueue.
#[derive(Debug)]
pub(crate) struct Queue {
    max_size: u16,
    size: u16,
    ready: bool,
    descriptor_area: GuestPhysAddr,
    driver_area: GuestPhysAddr,
    device_area: GuestPhysAddr,
    /// Free-running index of the next element in both rings: a chain is completed before the next one is looked at, so the two
    /// never differ.
    next: u16,
    /// Chains completed since [`Self::begin`].
    served: u16,
}

impl Queue {
    /// A queue that no driver has set up yet. `max_size` is a power of two, at most [`MAX_QUEUE_SIZE`].
    pub(crate) fn new(max_size: u16) -> Self {
        debug_assert!(max_size.is_power_of_two() && max_size <= MAX_QUEUE_SIZE);
        Self {
            max_size,
            size: max_size,
            ready: false,
            descriptor_area: GuestPhysAddr::default(),
            driver_area: GuestPhysAddr::default(),
            device_area: GuestPhysAddr::default(),
            next: 0,
            served: 0,
        }
    }

    pub(crate) fn max_size(&self) -> u16 {
        self.max_size
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.max_size);
    }

    fn size_is_valid(size: u32, max_size: u16) -> bool {
        size.is_power_of_two() && size <= u32::from(max_size)
    }

    /// Sets the size; `enable` judges it.
    pub(crate) fn set_size(&mut self, size: u32) {
        // A size that does not fit becomes one that `enable` refuses.
        self.size = u16::try_from(size).unwrap_or(0);
    }

    /// Replaces the low or the high half of an area's address.
    pub(crate) fn set_area(&mut self, area: QueueArea, high: bool, half: u32) {
        let address = match area {
            QueueArea::Descriptor => &mut self.descriptor_area,
            QueueArea::Driver => &mut self.driver_area,
            QueueArea::Device => &mut self.device_area,
        };
        let old = address.get();
        let half = u64::from(half);
        *address = GuestPhysAddr::new(if high { old & 0xffff_ffff | half << 32 } else { old & !0xffff_ffff | half });
    }

    /// Puts the queue into use, from its start, once its size, alignment (section 2.7) and place in RAM are right.
    pub(crate) fn enable(&mut self, memory: &dyn GuestMemory) -> Result<(), DriverFault> {
        if !Self::size_is_valid(u32::from(self.size), self.max_size) {
            return Err(DriverFault::BadQueueSize { size: self.size, max: self.max_size });
        }
        let size = u64::from(self.size);
        for (address, length, alignment) in [
            (self.descriptor_area, DESCRIPTOR_SIZE * size, 16),
            (self.driver_area, RING_HEADER_SIZE + AVAIL_ELEMENT_SIZE * size, 2),
            (self.device_area, RING_HEADER_SIZE + USED_ELEMENT_SIZE * size, 4),
        ] {
            let inside = address.checked_add(length).is_some_and(|end| end.get() <= memory.size());
            if !inside || address.get() % alignment != 0 {
                return Err(DriverFault::BadQueueAddress { address, length });
            }
        }
        (self.ready, self.next) = (true, 0);
        Ok(())
    }

    pub(crate) fn disable(&mut self) {
        self.ready = false;
    }

    /// Number of chains that the driver has made available.
    pub(crate) fn available(&self, memory: &mut dyn GuestMemory) -> Result<u16, DriverFault> {
        if !self.ready {
            return Ok(0);
        }
        let index = read_u16(memory, self.driver_area, RING_INDEX)?;
        let available = index.wrapping_sub(self.next);
        if available > self.size {
            return Err(DriverFault::AvailIndexTooFar { available, size: self.size });
        }
        Ok(available)
    }

    /// A call of the device begins.
    pub(crate) fn begin(&mut self) {
        self.served = 0;
    }

    /// The next available chain. It stays available until it is completed.
    pub(crate) fn next_chain(&self, memory: &mut dyn GuestMemory) -> Result<Option<DescriptorChain>, DriverFault> {
        if self.available(memory)? == 0 {
            return Ok(None);
        }
        // The driver stands still meanwhile. But a buffer may lie over the available ring, and then a device could feed itself for ever.
        if self.served >= self.size {
            return Err(DriverFault::ChainsWithoutEnd { size: self.size });
        }
        self.chain(memory, self.next).map(Some)
    }

    /// The chain that the driver made available as number `index`, modulo 2^16.
    fn chain(&self, memory: &mut dyn GuestMemory, index: u16) -> Result<DescriptorChain, DriverFault> {
        let slot = index % self.size;
        let head = read_u16(memory, self.driver_area, RING_HEADER_SIZE + AVAIL_ELEMENT_SIZE * u64::from(slot))?;
        let table = DescriptorTable { base: self.descriptor_area, len: self.size };
        DescriptorChain::walk(memory, table, head)
    }

    /// The room for `needed` bytes in the next chains, at most `limit` of them.
    pub(crate) fn room(&self, memory: &mut dyn GuestMemory, needed: u64, limit: u16) -> Result<Room, DriverFault> {
        let mut room = Room { chains: 0, most: limit.min(self.size), bytes: 0 };
        let there = self.available(memory)?;
        while room.bytes < needed && room.chains < there.min(limit) {
            room.bytes += self.chain(memory, self.next.wrapping_add(room.chains))?.writable();
            room.chains += 1;
        }
        Ok(room)
    }

    /// Brings in all that the device may touch in this call: the rings, and what the available chains lead to. What the driver got wrong is
    /// found when the chain's turn comes.
    pub(crate) fn bring_in(&self, memory: &mut dyn GuestMemory) -> Result<(), DriverFault> {
        if !self.ready {
            return Ok(());
        }
        let size = u64::from(self.size);
        memory.bring_in(self.driver_area, RING_HEADER_SIZE + AVAIL_ELEMENT_SIZE * size);
        memory.bring_in(self.device_area, RING_HEADER_SIZE + USED_ELEMENT_SIZE * size);
        for ahead in 0..self.available(memory)? {
            self.chain(memory, self.next.wrapping_add(ahead))?.bring_in(memory);
        }
        Ok(())
    }

    /// Hands the chain that [`Self::next_chain`] gave back to the driver.
    pub(crate) fn complete(&mut self, memory: &mut dyn GuestMemory, chain: DescriptorChain) -> Result<(), DriverFault> {
        let slot = self.next % self.size;
        let ring = element(self.device_area, RING_HEADER_SIZE, 1)?;
        // A chain holds at most MAX_CHAIN_BYTES, so its length fits.
        let written = u32::try_from(chain.written()).unwrap_or(u32::MAX);
        let used = u64::from(chain.head()) | u64::from(written) << 32;
        memory.write(element(ring, USED_ELEMENT_SIZE, slot)?, &used.to_le_bytes())?;
        self.next = self.next.wrapping_add(1);
        self.served += 1;
        memory.write(element(self.device_area, RING_INDEX, 1)?, &self.next.to_le_bytes())?;
        Ok(())
    }

    /// The driver asks for an interrupt when a buffer is used.
    pub(crate) fn wants_interrupt(&self, memory: &mut dyn GuestMemory) -> Result<bool, DriverFault> {
        let flags = read_u16(memory, self.driver_area, 0)?;
        Ok(flags & VIRTQ_AVAIL_F_NO_INTERRUPT == 0)
    }
}
