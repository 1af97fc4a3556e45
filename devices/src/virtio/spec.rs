//! Constants of "Virtual I/O Device (VIRTIO) Version 1.2", under the names that the specification gives them. What belongs to one
//! device type is beside that device.

/// Device types (section 5).
pub mod device_id {
    /// Network device (5.1).
    pub const NETWORK: u32 = 1;
    /// Block device (5.2).
    pub const BLOCK: u32 = 2;
    /// Console device (5.3).
    pub const CONSOLE: u32 = 3;
    /// Entropy device (5.4).
    pub const ENTROPY: u32 = 4;
    /// 9P transport (5, table "Device ID").
    pub const P9: u32 = 9;
}

/// Reserved feature bits (section 6), as masks.
pub mod feature {
    /// A descriptor may refer to a table of descriptors.
    pub const VIRTIO_F_INDIRECT_DESC: u64 = 1 << 28;
    /// The device follows the standard, not the drafts before it.
    pub const VIRTIO_F_VERSION_1: u64 = 1 << 32;
}

/// Registers of the MMIO transport (section 4.2.2), as byte offsets.
pub mod mmio {
    /// R: [`MAGIC`].
    pub const MAGIC_VALUE: u64 = 0x000;
    /// R: [`VERSION_2`].
    pub const VERSION: u64 = 0x004;
    /// R: device type.
    pub const DEVICE_ID: u64 = 0x008;
    /// R: [`VENDOR`].
    pub const VENDOR_ID: u64 = 0x00c;
    /// R: 32 of the features that the device offers.
    pub const DEVICE_FEATURES: u64 = 0x010;
    /// W: which 32.
    pub const DEVICE_FEATURES_SEL: u64 = 0x014;
    /// W: 32 of the features that the driver accepts.
    pub const DRIVER_FEATURES: u64 = 0x020;
    /// W: which 32.
    pub const DRIVER_FEATURES_SEL: u64 = 0x024;
    /// W: the queue that the next six registers are about.
    pub const QUEUE_SEL: u64 = 0x030;
    /// R: largest size of the queue, 0 if there is no such queue.
    pub const QUEUE_NUM_MAX: u64 = 0x034;
    /// W: size that the driver chose.
    pub const QUEUE_NUM: u64 = 0x038;
    /// RW: the queue is in use.
    pub const QUEUE_READY: u64 = 0x044;
    /// W: number of a queue with new buffers.
    pub const QUEUE_NOTIFY: u64 = 0x050;
    /// R: why the interrupt is raised, [`super::interrupt`].
    pub const INTERRUPT_STATUS: u64 = 0x060;
    /// W: reasons that were handled.
    pub const INTERRUPT_ACK: u64 = 0x064;
    /// RW: device status; writing 0 resets.
    pub const STATUS: u64 = 0x070;
    /// W: descriptor area, low half.
    pub const QUEUE_DESC_LOW: u64 = 0x080;
    /// W: descriptor area, high half.
    pub const QUEUE_DESC_HIGH: u64 = 0x084;
    /// W: driver area (available ring), low half.
    pub const QUEUE_DRIVER_LOW: u64 = 0x090;
    /// W: driver area, high half.
    pub const QUEUE_DRIVER_HIGH: u64 = 0x094;
    /// W: device area (used ring), low half.
    pub const QUEUE_DEVICE_LOW: u64 = 0x0a0;
    /// W: device area, high half.
    pub const QUEUE_DEVICE_HIGH: u64 = 0x0a4;
    /// R: length of the selected shared memory region, low half; all ones, for there is none.
    pub const SHM_LEN_LOW: u64 = 0x0b0;
    /// R: length of the shared memory region, high half.
    pub const SHM_LEN_HIGH: u64 = 0x0b4;
    /// R: address of the shared memory region, low half.
    pub const SHM_BASE_LOW: u64 = 0x0b8;
    /// R: address of the shared memory region, high half.
    pub const SHM_BASE_HIGH: u64 = 0x0bc;
    /// R: changes whenever the configuration space does.
    pub const CONFIG_GENERATION: u64 = 0x0fc;
    /// Start of the device's own configuration space.
    pub const CONFIG: u64 = 0x100;

    /// "virt", little-endian.
    pub const MAGIC: u32 = 0x7472_6976;
    /// The transport of the standard; 1 was the draft's.
    pub const VERSION_2: u32 = 2;
    /// "pbke", little-endian: a subsystem vendor of our own.
    pub const VENDOR: u32 = u32::from_le_bytes(*b"pbke");
    /// Bytes that one device takes up on the bus.
    pub const REGION_SIZE: u64 = 0x1000;
}

/// Bits of InterruptStatus and InterruptACK (section 4.2.2).
pub mod interrupt {
    /// A buffer was used.
    pub const USED_BUFFER: u32 = 1 << 0;
    /// The configuration or the status changed.
    pub const CONFIGURATION_CHANGE: u32 = 1 << 1;
}

/// Split virtqueues (section 2.7).
pub mod queue {
    /// Bytes of a descriptor: `addr: le64, len: le32, flags: le16, next: le16`.
    pub const DESCRIPTOR_SIZE: u64 = 16;
    /// The chain goes on at `next`.
    pub const VIRTQ_DESC_F_NEXT: u16 = 1;
    /// The buffer is device-writable.
    pub const VIRTQ_DESC_F_WRITE: u16 = 2;
    /// The buffer holds a table of descriptors.
    pub const VIRTQ_DESC_F_INDIRECT: u16 = 4;
    /// In the available ring's `flags`: no interrupt is wanted for used buffers.
    pub const VIRTQ_AVAIL_F_NO_INTERRUPT: u16 = 1;
    /// Bytes of `flags` and `idx`, which both rings begin with.
    pub const RING_HEADER_SIZE: u64 = 4;
    /// Bytes of an element of the available ring: `id: le16`.
    pub const AVAIL_ELEMENT_SIZE: u64 = 2;
    /// Bytes of an element of the used ring: `id: le32, len: le32`.
    pub const USED_ELEMENT_SIZE: u64 = 8;
}
