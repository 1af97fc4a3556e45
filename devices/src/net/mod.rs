//! virtio-net (section 5.1): one Ethernet port.
//!
//! Frames of the driver go to the [`FrameSink`] at once. Frames for the driver are pushed into its buffers; where there is none, the frame
//! stays with the host, so the device neither drops nor keeps any. Checksums and long TCP segments (TSO) are left to the host, which mostly
//! has no use for either.

mod queue;
mod state;
pub mod wire;

pub use queue::{FrameQueue, QUEUE_CAPACITY};
pub use state::NetState;

use crate::virtio::spec::device_id;
use crate::virtio::{DescriptorChain, DriverFault, VirtioDevice, Virtqueues, copy_config};
use wire::{
    HEADER_SIZE, Header, RECEIVEQ, TRANSMITQ, VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_HOST_TSO4,
    VIRTIO_NET_F_MAC, VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_MTU, VIRTIO_NET_F_STATUS, VIRTIO_NET_S_LINK_UP,
};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Bytes of the largest frame: an Ethernet header, and an IP packet as long as there may be.
pub const MAX_FRAME: usize = 14 + u16::MAX as usize;
/// Bytes of the largest frame that a driver surely makes room for which merges buffers of 1,536 bytes, and posts new ones only when it has used half
/// of them, as Linux does. A larger frame is refused unless there is room at once.
pub const MAX_AWAITED_FRAME: usize = RECEIVE_QUEUE_SIZE as usize / 2 * 1536 - HEADER_SIZE;
/// Bytes of the smallest frame: an Ethernet header.
pub const MIN_FRAME: usize = 14;
/// Least MTU of IPv4.
pub const MIN_MTU: u16 = 68;

/// Linux fills a receive queue with a buffer for each descriptor when the interface goes up, which takes time and memory. Half of these hold
/// [`MAX_AWAITED_FRAME`].
const RECEIVE_QUEUE_SIZE: u16 = 64;
const TRANSMIT_QUEUE_SIZE: u16 = 64;

const FEATURES: u64 = VIRTIO_NET_F_CSUM
    | VIRTIO_NET_F_GUEST_CSUM
    | VIRTIO_NET_F_MTU
    | VIRTIO_NET_F_MAC
    | VIRTIO_NET_F_GUEST_TSO4
    | VIRTIO_NET_F_HOST_TSO4
    | VIRTIO_NET_F_MRG_RXBUF
    | VIRTIO_NET_F_STATUS;

/// Where the guest's frames go.
pub trait FrameSink {
    /// Takes a frame, from its Ethernet header on.
    fn send(&mut self, header: Header, frame: &[u8]);
}

/// What the driver does itself, so that whoever makes frames for it need not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offload {
    /// It takes partial checksums.
    pub checksum: bool,
    /// It takes long TCP segments.
    pub segmentation: bool,
}

/// What became of a frame for the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The driver has it.
    Delivered,
    /// The driver has no buffers for it now.
    NoRoom,
    /// The driver may never have buffers for it, or did not agree to take such frames.
    Refused,
}

/// The network device.
#[derive(Debug)]
pub struct Net<S> {
    sink: S,
    mac: Mac,
    mtu: u16,
    frame: Vec<u8>,
}

impl<S: FrameSink> Net<S> {
    /// A device with the address `mac` that takes IP packets of up to `mtu` bytes, and sends its frames to `sink`.
    pub fn new(sink: S, mac: Mac, mtu: u16) -> Self {
        Self { sink, mac, mtu, frame: Vec::new() }
    }

    /// Where the frames go.
    pub fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    /// Its address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// What the driver takes.
    pub fn offload(queues: &Virtqueues<'_>) -> Offload {
        let has = |feature| queues.features() & feature != 0;
        let checksum = has(VIRTIO_NET_F_GUEST_CSUM);
        Offload { checksum, segmentation: checksum && has(VIRTIO_NET_F_GUEST_TSO4) && has(VIRTIO_NET_F_MRG_RXBUF) }
    }

    /// Gives the driver a frame, from its Ethernet header on.
    pub fn push_frame(&mut self, header: Header, frame: &[u8], queues: &mut Virtqueues<'_>) -> Result<Pushed, DriverFault> {
        let Offload { checksum, segmentation } = Self::offload(queues);
        let agreed = (checksum || header.checksum.is_none()) && (segmentation || header.segment.is_none());
        if !agreed || !(MIN_FRAME..=MAX_FRAME).contains(&frame.len()) {
            return Ok(Pushed::Refused);
        }
        let needed = (HEADER_SIZE + frame.len()) as u64;
        let several = queues.features() & VIRTIO_NET_F_MRG_RXBUF != 0;
        let room = queues.room(RECEIVEQ, needed, if several { u16::MAX } else { 1 })?;
        if room.bytes < needed {
            // Linux posts new buffers only when it has used half of them. To wait for more than half would be to wait for ever.
            let waits = 2 * u32::from(room.chains) < u32::from(room.most);
            return Ok(if waits { Pushed::NoRoom } else { Pushed::Refused });
        }
        let mut bytes = header.to_bytes(frame, room.chains).to_vec();
        bytes.extend(frame);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let Some(mut chain) = queues.next(RECEIVEQ)? else { break };
            let written = chain.write(queues.memory, rest)?;
            rest = &rest[written..];
            queues.complete(RECEIVEQ, chain)?;
        }
        Ok(Pushed::Delivered)
    }

    fn transmit(&mut self, mut chain: DescriptorChain, queues: &mut Virtqueues<'_>) -> Result<DescriptorChain, DriverFault> {
        let header: [u8; HEADER_SIZE] = chain.read_array(queues.memory)?;
        let header = Header::parse(header, queues.features());
        let length = usize::try_from(chain.readable()).unwrap_or(usize::MAX);
        match header {
            Some(header) if (MIN_FRAME..=MAX_FRAME).contains(&length) => {
                self.frame.resize(length, 0);
                chain.read(queues.memory, &mut self.frame)?;
                self.sink.send(header, &self.frame);
            }
            _ => queues.count_rejected(),
        }
        Ok(chain)
    }
}

impl<S: FrameSink> VirtioDevice for Net<S> {
    fn device_id(&self) -> u32 {
        device_id::NETWORK
    }

    fn features(&self) -> u64 {
        FEATURES
    }

    fn queue_sizes(&self) -> &[u16] {
        &[RECEIVE_QUEUE_SIZE, TRANSMIT_QUEUE_SIZE]
    }

    /// `mac: u8[6], status: le16, max_virtqueue_pairs: le16, mtu: le16`; the third only with a feature that is not offered.
    fn read_config(&self, offset: u64, bytes: &mut [u8]) {
        let mut config = [0; 12];
        config[..6].copy_from_slice(&self.mac);
        config[6..8].copy_from_slice(&VIRTIO_NET_S_LINK_UP.to_le_bytes());
        config[10..].copy_from_slice(&self.mtu.to_le_bytes());
        copy_config(&config, offset, bytes);
    }

    fn notify(&mut self, queue: u16, queues: &mut Virtqueues<'_>) -> Result<(), DriverFault> {
        if queue != TRANSMITQ {
            return Ok(());
        }
        while let Some(chain) = queues.next(TRANSMITQ)? {
            let chain = self.transmit(chain, queues)?;
            queues.complete(TRANSMITQ, chain)?;
        }
        Ok(())
    }

    fn reset(&mut self) {}
}
