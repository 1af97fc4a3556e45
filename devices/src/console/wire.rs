//! Constants and messages of the console device (section 5.3).

/// The configuration space has the size of port 0.
pub const VIRTIO_CONSOLE_F_SIZE: u64 = 1 << 0;
/// There are control queues and more than one port.
pub const VIRTIO_CONSOLE_F_MULTIPORT: u64 = 1 << 1;

/// Queue for input of port 0.
pub const RECEIVEQ_PORT0: u16 = 0;
/// Queue for output of port 0.
pub const TRANSMITQ_PORT0: u16 = 1;
/// Queue for control messages to the driver.
pub const CONTROL_RECEIVEQ: u16 = 2;
/// Queue for control messages from the driver.
pub const CONTROL_TRANSMITQ: u16 = 3;

/// Driver: it is ready for control messages (`value` 1) or failed (0).
pub const VIRTIO_CONSOLE_DEVICE_READY: u16 = 0;
/// Device: there is a port.
pub const VIRTIO_CONSOLE_DEVICE_ADD: u16 = 1;
/// Driver: the port is set up (`value` 1) or failed (0).
pub const VIRTIO_CONSOLE_PORT_READY: u16 = 3;
/// Device: the port is for a console.
pub const VIRTIO_CONSOLE_CONSOLE_PORT: u16 = 4;
/// Device: the size of a console port, as `cols: le16, rows: le16` behind the message.
pub const VIRTIO_CONSOLE_RESIZE: u16 = 5;
/// Both: this side of the port is open (`value` 1) or closed (0).
pub const VIRTIO_CONSOLE_PORT_OPEN: u16 = 6;
/// Device: the port's name, behind the message.
pub const VIRTIO_CONSOLE_PORT_NAME: u16 = 7;

/// `struct virtio_console_control` (section 5.3.6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlMessage {
    /// Port number.
    pub id: u32,
    /// What it is about, `VIRTIO_CONSOLE_…`.
    pub event: u16,
    /// Depends on the event.
    pub value: u16,
}

impl ControlMessage {
    /// Bytes of a message without what may be behind it.
    pub const SIZE: usize = 8;

    /// The message in bytes.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        (u64::from(self.id) | u64::from(self.event) << 32 | u64::from(self.value) << 48).to_le_bytes()
    }

    /// The message that `bytes` hold.
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let [i0, i1, i2, i3, e0, e1, v0, v1] = bytes;
        Self { id: u32::from_le_bytes([i0, i1, i2, i3]), event: u16::from_le_bytes([e0, e1]), value: u16::from_le_bytes([v0, v1]) }
    }
}
