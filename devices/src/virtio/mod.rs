//! Virtio 1.2: what is common to all its devices, and the MMIO transport.
//!
//! A device type implements [`VirtioDevice`]; [`MmioTransport`] puts it on the bus, owns its queues and lends them to it as
//! [`Virtqueues`].
//!
//! Of the reserved features the transport offers VIRTIO_F_VERSION_1 (and insists on it) and VIRTIO_F_INDIRECT_DESC. It does not
//! offer VIRTIO_F_EVENT_IDX: a device that has finished every request by the time the notification returns has nothing to
//! batch, and the plain flag already lets the driver switch interrupts off.

mod mmio_transport;
mod queue;
pub mod spec;
mod status;

pub use mmio_transport::{MmioTransport, TransportState};
pub use queue::{DescriptorChain, MAX_CHAIN_BYTES, MAX_INDIRECT_DESCRIPTORS, MAX_QUEUE_SIZE, QueueState, Room};
pub use status::DeviceStatus;

use crate::platform::{GuestMemory, GuestPhysAddr, MemoryError};
use queue::Queue;

/// The driver broke the protocol in a way that cannot be answered within it. The device stops until it is reset (section 2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DriverFault {
    /// A ring or a buffer is not in RAM.
    #[error(transparent)]
    OutsideRam(#[from] MemoryError),
    /// The driver chose an impossible queue size.
    #[error("queue size {size} is not a power of two up to {max}")]
    BadQueueSize {
        /// Size chosen.
        size: u16,
        /// Largest size offered.
        max: u16,
    },
    /// Part of a queue is unaligned or not in RAM.
    #[error("queue area {address:?}+{length:#x} is unaligned or not in RAM")]
    BadQueueAddress {
        /// Where the area starts.
        address: GuestPhysAddr,
        /// Its length in bytes.
        length: u64,
    },
    /// More chains are said to be available than the queue can hold.
    #[error("{available} chains available in a queue of {size}")]
    AvailIndexTooFar {
        /// Chains that the driver claims.
        available: u16,
        /// Size of the queue.
        size: u16,
    },
    /// Chains went on becoming available while the device worked: its own writes made them so.
    #[error("more than {size} chains became available in a queue of {size} during one call")]
    ChainsWithoutEnd {
        /// Size of the queue.
        size: u16,
    },
    /// A descriptor index beyond its table.
    #[error("descriptor {index} of a table of {len}")]
    DescriptorOutsideTable {
        /// Index found.
        index: u16,
        /// Descriptors in the table.
        len: u16,
    },
    /// A chain with a loop, or longer than its table.
    #[error("descriptor chain longer than its table of {limit}")]
    ChainTooLong {
        /// Descriptors in the table.
        limit: u16,
    },
    /// A chain with more bytes than [`MAX_CHAIN_BYTES`].
    #[error("descriptor chain of {bytes} bytes or more, at most {MAX_CHAIN_BYTES} are possible")]
    ChainTooLarge {
        /// Bytes up to the descriptor that was too much.
        bytes: u64,
    },
    /// A device-readable descriptor behind a device-writable one.
    #[error("device-readable descriptor behind a device-writable one")]
    ReadableAfterWritable,
    /// An indirect table that is nested, empty, ragged, too long or followed by more.
    #[error("bad indirect descriptor table of {bytes} bytes")]
    BadIndirectTable {
        /// Length that the descriptor gives.
        bytes: u32,
    },
    /// A request without room for what its type prescribes.
    #[error("request of {available} bytes where {needed} are needed")]
    RequestTooShort {
        /// Bytes that the type of request prescribes.
        needed: u64,
        /// Bytes that there are.
        available: u64,
    },
}

/// A device type behind the transport.
pub trait VirtioDevice {
    /// Device type, one of [`spec::device_id`].
    fn device_id(&self) -> u32;

    /// Features that this type offers, bits 0 to 23 and 50 up. The transport adds the reserved ones.
    fn features(&self) -> u64;

    /// Largest size of each queue: powers of two, at most [`MAX_QUEUE_SIZE`]. Never changes during the life of a device.
    fn queue_sizes(&self) -> &[u16];

    /// Fills `bytes` from `offset` of the configuration space; what lies beyond it stays as it is (zero).
    fn read_config(&self, offset: u64, bytes: &mut [u8]);

    /// Stores `bytes` at `offset` of the configuration space. Most types have nothing writable there.
    fn write_config(&mut self, _offset: u64, _bytes: &[u8]) {}

    /// The driver has put buffers into `queue`. The device completes what it can use now; the rest stays available.
    fn notify(&mut self, queue: u16, queues: &mut Virtqueues<'_>) -> Result<(), DriverFault>;

    /// Does what it could not do while memory was missing that has to be brought in: what the host gave it meanwhile has not reached the driver.
    fn catch_up(&mut self, _queues: &mut Virtqueues<'_>) -> Result<(), DriverFault> {
        Ok(())
    }

    /// Back to the state after power-on, as far as the driver can see it. Backends keep what they hold.
    fn reset(&mut self);
}

/// Copies `config[offset..]` to `bytes`, for [`VirtioDevice::read_config`].
pub(crate) fn copy_config(config: &[u8], offset: u64, bytes: &mut [u8]) {
    let tail = usize::try_from(offset).ok().and_then(|offset| config.get(offset..)).unwrap_or_default();
    for (to, from) in bytes.iter_mut().zip(tail) {
        *to = *from;
    }
}

/// The queues of a device, lent to it for one call. Unless the driver has finished its set-up, and all that they lead to is in guest RAM, they
/// look empty.
pub struct Virtqueues<'a> {
    /// Guest RAM, to read and write chains with.
    pub memory: &'a mut dyn GuestMemory,
    queues: &'a mut [Queue],
    live: bool,
    features: u64,
    /// Bit per queue: a buffer was used during this call.
    used: u64,
    completed: u64,
    rejected: u64,
    config_changed: bool,
}

impl Virtqueues<'_> {
    /// Features that both sides agreed on.
    pub fn features(&self) -> u64 {
        self.features
    }

    /// At least one chain is available in `queue`.
    pub fn has_available(&mut self, queue: u16) -> Result<bool, DriverFault> {
        match self.queues.get(usize::from(queue)) {
            Some(queue) if self.live => Ok(queue.available(self.memory)? > 0),
            _ => Ok(false),
        }
    }

    /// The next chain of `queue`. It stays available, and is the next one again, until it goes to [`Self::complete`].
    pub fn next(&mut self, queue: u16) -> Result<Option<DescriptorChain>, DriverFault> {
        match self.queues.get(usize::from(queue)) {
            Some(queue) if self.live => queue.next_chain(self.memory),
            _ => Ok(None),
        }
    }

    /// The room for `needed` device-writable bytes in the next chains of `queue`, at most `limit` of them.
    pub fn room(&mut self, queue: u16, needed: u64, limit: u16) -> Result<Room, DriverFault> {
        match self.queues.get(usize::from(queue)) {
            Some(queue) if self.live => queue.room(self.memory, needed, limit),
            _ => Ok(Room { chains: 0, most: limit, bytes: 0 }),
        }
    }

    /// Hands the chain that [`Self::next`] gave for `queue` back to the driver, with as many bytes used as were written to it.
    pub fn complete(&mut self, queue: u16, chain: DescriptorChain) -> Result<(), DriverFault> {
        if let Some(ring) = self.queues.get_mut(usize::from(queue)) {
            ring.complete(self.memory, chain)?;
            self.used |= 1 << queue;
            self.completed += 1;
        }
        Ok(())
    }

    /// Counts a request that made no sense and was answered with an error, or ignored where the protocol has no answer.
    pub fn count_rejected(&mut self) {
        self.rejected += 1;
    }

    /// The configuration space has changed: the driver is told.
    pub fn config_changed(&mut self) {
        self.config_changed = true;
    }
}
