//! The machine model `pc1-v2/1`: what the guest sees and what never changes with the emulator's version.
//!
//! | address | what |
//! |---|---|
//! | memory 0 | RAM |
//! | memory 0xfeb00000 + 4096 × slot | virtio-mmio: slot 0 console, 1 entropy, 2 to 5 shares, 6 to 9 disks, 10 network |
//! | memory 0xfee00000 | local APIC |
//! | ports 0x20, 0xa0, 0x4d0 | pair of 8259s |
//! | port 0x70 | CMOS clock |
//! | port 0x3f8 | 16550, IRQ 4 |
//! | port 0xf0 | takes back IRQ 13, the x87's exceptions under CR0.NE clear |
//! | port 0x64 | keyboard controller's reset line |
//! | port 0x600 | power-off: a doubleword write ends the machine with that exit status |

use snapshot::Model;

/// Name and revision.
pub const NAME: &str = "pc1-v2/1";

/// The model as a snapshot's header names it.
pub const MODEL: Model = match Model::new(NAME) {
    Some(model) => model,
    None => unreachable!(),
};

/// TSC ticks per second; under the virtual clock an instruction takes one tick.
pub use crate::cpu::cpuid::TSC_HZ;

/// First virtio-mmio register page.
pub const VIRTIO_BASE: u64 = 0xfeb0_0000;
/// Bytes between two virtio-mmio devices.
pub const VIRTIO_STRIDE: u64 = 0x1000;
/// Bytes of a virtio-mmio device's registers.
pub const VIRTIO_SIZE: u64 = 0x200;
/// Interrupt lines of the virtio slots.
pub const VIRTIO_IRQS: [u8; 11] = [5, 6, 9, 10, 11, 12, 14, 15, 3, 7, 1];
/// The virtio slots of one kind of device.
#[derive(Clone, Copy, Debug)]
pub struct SlotRange {
    /// The kind, in the plural.
    pub what: &'static str,
    /// Number of the first.
    pub first: usize,
    /// How many there are.
    pub count: usize,
}

/// Slot of the console.
pub const CONSOLE: SlotRange = SlotRange { what: "consoles", first: 0, count: 1 };
/// Slot of the entropy device.
pub const ENTROPY: SlotRange = SlotRange { what: "entropy devices", first: 1, count: 1 };
/// Slots of shares (9P mounts).
pub const SHARES: SlotRange = SlotRange { what: "shares", first: 2, count: 4 };
/// Slots of disks.
pub const DISKS: SlotRange = SlotRange { what: "disks", first: 6, count: 4 };
/// Slot of the network device.
pub const NETWORK: SlotRange = SlotRange { what: "network devices", first: 10, count: 1 };
/// Whether there is a network device among the devices of a snapshot.
pub const fn has_network(devices: u32) -> bool {
    devices >> NETWORK.first & 1 != 0
}
/// The devices of a snapshot, with a network device or without.
pub const fn with_network(devices: u32, network: bool) -> u32 {
    devices & !(1 << NETWORK.first) | (network as u32) << NETWORK.first
}
/// Largest MTU of the network device.
pub const MAX_MTU: u16 = 65_520;

/// Interrupt line of the serial port.
pub const SERIAL_IRQ: u8 = 4;

/// Least RAM in bytes.
pub const MIN_RAM: u64 = 32 << 20;
/// Most RAM in bytes: it ends below the devices.
pub const MAX_RAM: u64 = 3 << 30;
/// RAM is a multiple of this many bytes.
pub const RAM_UNIT: u64 = snapshot::RAM_SIZE_UNIT;

/// Words that every guest's command line starts with: no timer to calibrate against, no IOAPIC.
pub const COMMAND_LINE: &str = "noapic tsc=reliable";

/// The words of a command line that announce the virtio devices in `slots`.
pub fn virtio_words(slots: impl Iterator<Item = usize>) -> String {
    slots.fold(String::new(), |words, slot| {
        let address = VIRTIO_BASE + slot as u64 * VIRTIO_STRIDE;
        format!("{words} virtio_mmio.device={VIRTIO_SIZE}@{address:#x}:{}", VIRTIO_IRQS[slot])
    })
}
