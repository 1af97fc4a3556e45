//! The header in front of every frame, and the configuration space (sections 5.1.4 and 5.1.6).

/// Feature: the device completes partial checksums.
pub const VIRTIO_NET_F_CSUM: u64 = 1 << 0;
/// Feature: the driver takes frames whose checksum is partial.
pub const VIRTIO_NET_F_GUEST_CSUM: u64 = 1 << 1;
/// Feature: the device says the largest MTU.
pub const VIRTIO_NET_F_MTU: u64 = 1 << 3;
/// Feature: the device has an address.
pub const VIRTIO_NET_F_MAC: u64 = 1 << 5;
/// Feature: the driver takes long TCP segments over IPv4.
pub const VIRTIO_NET_F_GUEST_TSO4: u64 = 1 << 7;
/// Feature: the device takes long TCP segments over IPv4.
pub const VIRTIO_NET_F_HOST_TSO4: u64 = 1 << 11;
/// Feature: a frame may lie in several receive buffers.
pub const VIRTIO_NET_F_MRG_RXBUF: u64 = 1 << 15;
/// Feature: the device says whether the link is up.
pub const VIRTIO_NET_F_STATUS: u64 = 1 << 16;

/// Status of the link: it is up.
pub const VIRTIO_NET_S_LINK_UP: u16 = 1;

/// Queue of buffers for frames to the driver.
pub const RECEIVEQ: u16 = 0;
/// Queue of frames from the driver.
pub const TRANSMITQ: u16 = 1;

/// Bytes of [`Header`] on the wire.
pub const HEADER_SIZE: usize = 12;

const NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
/// The segment carries a congestion mark, which segments get as they are cut.
const GSO_ECN: u8 = 0x80;

/// What is to be done to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Its checksum covers only the pseudo-header so far.
    pub checksum: Option<PartialChecksum>,
    /// It is a TCP segment over IPv4 that stands for segments with at most so many bytes of data.
    pub segment: Option<u16>,
}

/// A checksum that is to be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Where in the frame begins what it covers.
    pub start: u16,
    /// Where behind that it stands.
    pub offset: u16,
}

impl Header {
    /// The header of a frame from the driver, if it asks for nothing that was not agreed on.
    pub fn parse(bytes: [u8; HEADER_SIZE], features: u64) -> Option<Self> {
        let [flags, gso, _, _, size0, size1, start0, start1, offset0, offset1, _, _] = bytes;
        let checksum = PartialChecksum { start: u16::from_le_bytes([start0, start1]), offset: u16::from_le_bytes([offset0, offset1]) };
        let header = Self {
            checksum: (flags & NEEDS_CSUM != 0).then_some(checksum),
            segment: (gso != GSO_NONE).then_some(u16::from_le_bytes([size0, size1])),
        };
        let known = matches!(gso & !GSO_ECN, GSO_NONE | GSO_TCPV4);
        let agreed = (header.checksum.is_none() || features & VIRTIO_NET_F_CSUM != 0)
            && (header.segment.is_none() || features & VIRTIO_NET_F_HOST_TSO4 != 0 && header.checksum.is_some());
        (known && agreed && header.segment != Some(0)).then_some(header)
    }

    /// The header of `frame`, which is for the driver and lies in `buffers` buffers.
    pub fn to_bytes(self, frame: &[u8], buffers: u16) -> [u8; HEADER_SIZE] {
        let [headers0, headers1] = self.length_of_headers(frame).to_le_bytes();
        let [size0, size1] = self.segment.unwrap_or(0).to_le_bytes();
        let [start0, start1] = self.checksum.map_or(0, |checksum| checksum.start).to_le_bytes();
        let [offset0, offset1] = self.checksum.map_or(0, |checksum| checksum.offset).to_le_bytes();
        let [buffers0, buffers1] = buffers.to_le_bytes();
        let flags = if self.checksum.is_some() { NEEDS_CSUM } else { 0 };
        let gso = if self.segment.is_some() { GSO_TCPV4 } else { GSO_NONE };
        [flags, gso, headers0, headers1, size0, size1, start0, start1, offset0, offset1, buffers0, buffers1]
    }

    /// Bytes in front of the data of a long segment: a hint for drivers. The upper half of byte 12 of a TCP header is its length in words.
    fn length_of_headers(self, frame: &[u8]) -> u16 {
        match (self.segment, self.checksum) {
            (Some(_), Some(PartialChecksum { start, .. })) => {
                start.saturating_add(frame.get(usize::from(start) + 12).map_or(0, |byte| u16::from(byte >> 4) * 4))
            }
            _ => 0,
        }
    }
}
