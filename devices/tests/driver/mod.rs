//! A small virtio driver, to test devices with: it lays queues and buffers out in RAM and moves the registers as Linux does.
#![allow(dead_code, reason = "each test binary uses its own part of the driver")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use devices::platform::{BusDevice, GuestMemory, GuestPhysAddr, InterruptLine, Platform, VecMemory, VirtualTime};
use devices::virtio::spec::mmio;
use devices::virtio::{DeviceStatus, DriverFault, MmioTransport, VirtioDevice, Virtqueues};

pub const RAM_SIZE: usize = 1 << 20;
const QUEUE_BYTES: u64 = 0x4000;
const BUFFERS: u64 = 0x80000;

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

#[derive(Debug, Default)]
pub struct Line {
    pub high: bool,
    pub edges: u32,
}

impl InterruptLine for Line {
    fn set_level(&mut self, high: bool) {
        self.edges += u32::from(high && !self.high);
        self.high = high;
    }
}

#[derive(Debug, Default, Clone)]
struct Ring {
    size: u16,
    avail: u16,
    used: u16,
    next_descriptor: u16,
}

/// A device, its RAM and its driver.
pub struct Guest<D> {
    pub device: MmioTransport<D>,
    pub memory: VecMemory,
    pub line: Line,
    rings: Vec<Ring>,
    next_buffer: u64,
}

/// A buffer of a chain that the driver wants to submit.
pub enum Buffer<'a> {
    Readable(&'a [u8]),
    Writable(u32),
}

/// A submitted chain: where its device-writable buffers are.
pub struct Submitted {
    pub head: u16,
    writable: Vec<(u64, u32)>,
}

impl<D: VirtioDevice> Guest<D> {
    pub fn new(device: D) -> Self {
        Self::with_transport(MmioTransport::new(device))
    }

    pub fn with_transport(device: MmioTransport<D>) -> Self {
        Self { device, memory: VecMemory(vec![0; RAM_SIZE]), line: Line::default(), rings: Vec::new(), next_buffer: BUFFERS }
    }

    /// The same guest after its device was replaced by a restored one.
    pub fn replace_device(&mut self, restore: impl FnOnce(&MmioTransport<D>) -> MmioTransport<D>) {
        self.device = restore(&self.device);
    }

    pub fn read(&mut self, offset: u64, size: u8) -> u64 {
        let mut platform = Platform { memory: &mut self.memory, line: &mut self.line, now: VirtualTime::default() };
        self.device.read(offset, size, &mut platform)
    }

    pub fn write(&mut self, offset: u64, size: u8, value: u64) {
        let mut platform = Platform { memory: &mut self.memory, line: &mut self.line, now: VirtualTime::default() };
        self.device.write(offset, size, value, &mut platform);
    }

    pub fn reg(&mut self, offset: u64) -> u32 {
        self.read(offset, 4) as u32
    }

    pub fn set_reg(&mut self, offset: u64, value: u32) {
        self.write(offset, 4, u64::from(value));
    }

    pub fn with_device<R>(&mut self, work: impl FnOnce(&mut D, &mut Virtqueues<'_>) -> Result<R, DriverFault>) -> Option<R> {
        let mut platform = Platform { memory: &mut self.memory, line: &mut self.line, now: VirtualTime::default() };
        self.device.with_device(&mut platform, work)
    }

    pub fn needs_reset(&mut self) -> bool {
        self.reg(mmio::STATUS) & u32::from(DeviceStatus::DEVICE_NEEDS_RESET) != 0
    }

    pub fn offered_features(&mut self) -> u64 {
        let mut features = 0;
        for half in 0..2 {
            self.set_reg(mmio::DEVICE_FEATURES_SEL, half);
            features |= u64::from(self.reg(mmio::DEVICE_FEATURES)) << (32 * half);
        }
        features
    }

    /// Initialises the device as section 3.1.1 says, with every feature that it offers.
    pub fn start(&mut self) {
        let features = self.offered_features();
        self.start_with(features);
    }

    pub fn start_with(&mut self, features: u64) {
        self.set_reg(mmio::STATUS, 0);
        self.set_reg(mmio::STATUS, 1);
        self.set_reg(mmio::STATUS, 3);
        for half in 0..2 {
            self.set_reg(mmio::DRIVER_FEATURES_SEL, half);
            self.set_reg(mmio::DRIVER_FEATURES, (features >> (32 * half)) as u32);
        }
        self.set_reg(mmio::STATUS, 0xb);
        assert_eq!(self.reg(mmio::STATUS), 0xb, "features accepted");
        self.rings.clear();
        self.next_buffer = BUFFERS;
        for queue in 0.. {
            self.set_reg(mmio::QUEUE_SEL, queue);
            let max = self.reg(mmio::QUEUE_NUM_MAX);
            if max == 0 {
                break;
            }
            self.set_up_queue(queue as u16, max as u16);
        }
        self.set_reg(mmio::STATUS, 0xf);
    }

    /// The driver has set this queue up.
    pub fn has_queue(&self, queue: u16) -> bool {
        usize::from(queue) < self.rings.len()
    }

    pub fn descriptor_area(&self, queue: u16) -> u64 {
        0x1000 + u64::from(queue) * QUEUE_BYTES
    }

    pub fn driver_area(&self, queue: u16) -> u64 {
        self.descriptor_area(queue) + 0x1000
    }

    pub fn device_area(&self, queue: u16) -> u64 {
        self.descriptor_area(queue) + 0x2000
    }

    /// Sets the selected queue up with at most 256 descriptors.
    fn set_up_queue(&mut self, queue: u16, max: u16) {
        let size = max.min(256);
        self.rings.push(Ring { size, ..Ring::default() });
        self.fill(self.descriptor_area(queue), QUEUE_BYTES);
        self.set_reg(mmio::QUEUE_NUM, u32::from(size));
        for (register, address) in [
            (mmio::QUEUE_DESC_LOW, self.descriptor_area(queue)),
            (mmio::QUEUE_DRIVER_LOW, self.driver_area(queue)),
            (mmio::QUEUE_DEVICE_LOW, self.device_area(queue)),
        ] {
            self.set_reg(register, address as u32);
            self.set_reg(register + 4, (address >> 32) as u32);
        }
        self.set_reg(mmio::QUEUE_READY, 1);
        assert_eq!(self.reg(mmio::QUEUE_READY), 1);
    }

    fn fill(&mut self, address: u64, length: u64) {
        self.poke(address, &vec![0; length as usize]);
    }

    pub fn poke(&mut self, address: u64, bytes: &[u8]) {
        self.memory.write(GuestPhysAddr::new(address), bytes).unwrap();
    }

    pub fn peek<const N: usize>(&mut self, address: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.memory.read(GuestPhysAddr::new(address), &mut bytes).unwrap();
        bytes
    }

    pub fn peek_vec(&mut self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read(GuestPhysAddr::new(address), &mut bytes).unwrap();
        bytes
    }

    /// Stores one descriptor of a table.
    pub fn descriptor(&mut self, table: u64, index: u16, address: u64, len: u32, flags: u16, next: u16) {
        let mut bytes = address.to_le_bytes().to_vec();
        bytes.extend(len.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        self.poke(table + 16 * u64::from(index), &bytes);
    }

    pub fn allocate(&mut self, len: u64) -> u64 {
        if self.next_buffer + len > RAM_SIZE as u64 {
            self.next_buffer = BUFFERS;
        }
        let address = self.next_buffer;
        self.next_buffer += len.next_multiple_of(16).max(16);
        address
    }

    /// Makes `head` available without notifying.
    pub fn make_available(&mut self, queue: u16, head: u16) {
        let area = self.driver_area(queue);
        let ring = &mut self.rings[usize::from(queue)];
        let slot = area + 4 + 2 * u64::from(ring.avail % ring.size);
        ring.avail = ring.avail.wrapping_add(1);
        let index = ring.avail;
        self.poke(slot, &head.to_le_bytes());
        self.poke(area + 2, &index.to_le_bytes());
    }

    /// Lays a chain out and makes it available, without notifying. Descriptors are used round robin.
    pub fn submit(&mut self, queue: u16, buffers: &[Buffer<'_>]) -> Submitted {
        let size = self.rings[usize::from(queue)].size;
        let first = self.rings[usize::from(queue)].next_descriptor;
        let mut writable = Vec::new();
        for (position, buffer) in buffers.iter().enumerate() {
            let index = (first + position as u16) % size;
            let more = if position + 1 < buffers.len() { NEXT } else { 0 };
            let (address, len, flags) = match buffer {
                Buffer::Readable(bytes) => {
                    let address = self.allocate(bytes.len() as u64);
                    self.poke(address, bytes);
                    (address, bytes.len() as u32, more)
                }
                Buffer::Writable(len) => {
                    let address = self.allocate(u64::from(*len));
                    writable.push((address, *len));
                    (address, *len, more | WRITE)
                }
            };
            let table = self.descriptor_area(queue);
            self.descriptor(table, index, address, len, flags, (index + 1) % size);
        }
        self.rings[usize::from(queue)].next_descriptor = (first + buffers.len() as u16) % size;
        self.make_available(queue, first);
        Submitted { head: first, writable }
    }

    pub fn notify(&mut self, queue: u16) {
        self.set_reg(mmio::QUEUE_NOTIFY, u32::from(queue));
    }

    /// The next used element: (head, bytes written).
    pub fn used(&mut self, queue: u16) -> Option<(u16, u32)> {
        let area = self.device_area(queue);
        let index = u16::from_le_bytes(self.peek(area + 2));
        let ring = &mut self.rings[usize::from(queue)];
        if index == ring.used {
            return None;
        }
        let slot = area + 4 + 8 * u64::from(ring.used % ring.size);
        ring.used = ring.used.wrapping_add(1);
        let [h0, h1, _, _, l0, l1, l2, l3] = self.peek(slot);
        Some((u16::from_le_bytes([h0, h1]), u32::from_le_bytes([l0, l1, l2, l3])))
    }

    /// What the device wrote to a chain, `len` bytes of it.
    pub fn written(&mut self, chain: &Submitted, len: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &(address, size) in &chain.writable {
            bytes.extend(self.peek_vec(address, size as usize));
        }
        bytes.truncate(len as usize);
        bytes
    }

    /// Submits, notifies, and returns what the device answered; fails if it did not complete exactly this request.
    pub fn request(&mut self, queue: u16, buffers: &[Buffer<'_>]) -> Vec<u8> {
        let chain = self.submit(queue, buffers);
        self.notify(queue);
        let (head, len) = self.used(queue).expect("the request is completed");
        assert_eq!(head, chain.head);
        assert_eq!(self.used(queue), None);
        self.written(&chain, len)
    }

    /// Handles the interrupt as Linux does: reads the reasons and acknowledges them.
    pub fn take_interrupt(&mut self) -> u32 {
        let reasons = self.reg(mmio::INTERRUPT_STATUS);
        self.set_reg(mmio::INTERRUPT_ACK, reasons);
        assert!(!self.line.high);
        reasons
    }
}

snapshot::saved! {
    struct Section<T> {
        record: T,
    }
}

impl<T: snapshot::Encode + snapshot::Decode<()>> snapshot::Record for Section<T> {
    const ID: snapshot::SectionId = snapshot::SectionId::new(*b"TEST");
    const VERSION: u16 = 1;
}

/// A record after a trip through the bytes of a snapshot.
pub fn reencode<T: Clone + snapshot::Encode + snapshot::Decode<()>>(record: &T) -> T {
    let body = snapshot::encode_record(&Section { record: record.clone() }).unwrap();
    snapshot::decode_record::<Section<T>>(&body).unwrap().record
}
