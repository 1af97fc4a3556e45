//! Constants and layouts of the block device (section 5.2).

/// `size_max` is the largest segment of a request.
pub const VIRTIO_BLK_F_SIZE_MAX: u64 = 1 << 1;
/// `seg_max` is the largest number of segments of a request.
pub const VIRTIO_BLK_F_SEG_MAX: u64 = 1 << 2;
/// The device is read-only.
pub const VIRTIO_BLK_F_RO: u64 = 1 << 5;
/// `blk_size` is the block size.
pub const VIRTIO_BLK_F_BLK_SIZE: u64 = 1 << 6;
/// There is a flush request.
pub const VIRTIO_BLK_F_FLUSH: u64 = 1 << 9;
/// There is a discard request.
pub const VIRTIO_BLK_F_DISCARD: u64 = 1 << 13;
/// There is a write-zeroes request.
pub const VIRTIO_BLK_F_WRITE_ZEROES: u64 = 1 << 14;

/// Read.
pub const VIRTIO_BLK_T_IN: u32 = 0;
/// Write.
pub const VIRTIO_BLK_T_OUT: u32 = 1;
/// Make earlier writes durable.
pub const VIRTIO_BLK_T_FLUSH: u32 = 4;
/// Read the device's identity.
pub const VIRTIO_BLK_T_GET_ID: u32 = 8;
/// Forget ranges.
pub const VIRTIO_BLK_T_DISCARD: u32 = 11;
/// Fill ranges with zeroes.
pub const VIRTIO_BLK_T_WRITE_ZEROES: u32 = 13;

/// Done.
pub const VIRTIO_BLK_S_OK: u8 = 0;
/// The device or the request is faulty.
pub const VIRTIO_BLK_S_IOERR: u8 = 1;
/// Not a request of this device.
pub const VIRTIO_BLK_S_UNSUPP: u8 = 2;

/// `flags` of `struct virtio_blk_discard_write_zeroes`: the range may be given back.
pub const VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP: u32 = 1;

/// Bytes of a sector: the unit of all positions.
pub const SECTOR_SIZE: u64 = 512;
/// Bytes of the identity.
pub const VIRTIO_BLK_ID_BYTES: usize = 20;

/// Offered as `size_max`. With [`SEG_MAX`] it keeps a request below what a descriptor chain may hold.
pub const SIZE_MAX: u32 = 64 << 10;
/// Offered as `seg_max`: a queue less the header and the status.
pub const SEG_MAX: u32 = super::QUEUE_SIZE as u32 - 2;
/// Offered as `max_discard_sectors` and `max_write_zeroes_sectors`: 64 MiB, which bounds the work of a request.
#[expect(clippy::cast_possible_truncation, reason = "512")]
pub const MAX_ZERO_SECTORS: u32 = (64 << 20) / SECTOR_SIZE as u32;
/// Offered as `max_discard_seg` and `max_write_zeroes_seg`.
pub const MAX_ZERO_SEGMENTS: u32 = 1;

/// The head of a request: `type: le32, reserved: le32, sector: le64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader {
    /// What to do, `VIRTIO_BLK_T_…`.
    pub request_type: u32,
    /// Where a read or write starts.
    pub sector: u64,
}

impl RequestHeader {
    /// Bytes of the head.
    pub const SIZE: usize = 16;

    /// The head that `bytes` hold.
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let [low, high] = halves(bytes);
        Self { request_type: (low & 0xffff_ffff) as u32, sector: high }
    }
}

/// A range to discard or to fill with zeroes: `sector: le64, num_sectors: le32, flags: le32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZeroRange {
    /// First sector.
    pub sector: u64,
    /// Number of sectors.
    pub sectors: u32,
    /// `VIRTIO_BLK_WRITE_ZEROES_FLAG_…`.
    pub flags: u32,
}

impl ZeroRange {
    /// Bytes of a range.
    pub const SIZE: usize = 16;

    /// The range that `bytes` hold.
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let [low, high] = halves(bytes);
        Self { sector: low, sectors: (high & 0xffff_ffff) as u32, flags: (high >> 32) as u32 }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "each is half of it")]
fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let all = u128::from_le_bytes(bytes);
    [(all & u128::from(u64::MAX)) as u64, (all >> 64) as u64]
}

/// The configuration space (section 5.2.4), up to and including `write_zeroes_may_unmap`.
#[expect(clippy::cast_possible_truncation, reason = "sizes of sectors and blocks")]
pub fn config_space(sectors: u64) -> [u8; 57] {
    let mut config = [0; 57];
    config[0..8].copy_from_slice(&sectors.to_le_bytes());
    let words: [(usize, u32); 8] = [
        (8, SIZE_MAX),
        (12, SEG_MAX),
        (20, SECTOR_SIZE as u32),
        (36, MAX_ZERO_SECTORS),
        (40, MAX_ZERO_SEGMENTS),
        (44, (super::BLOCK_SIZE as u64 / SECTOR_SIZE) as u32),
        (48, MAX_ZERO_SECTORS),
        (52, MAX_ZERO_SEGMENTS),
    ];
    for (offset, word) in words {
        config[offset..offset + 4].copy_from_slice(&word.to_le_bytes());
    }
    config[56] = 1;
    config
}
