//! Every device, from the driver's side: any accesses to its registers, any rings, any requests, with a host that does something now and
//! then. A device that is saved and restored on the way answers as one that is not.

use crate::input::Input;
use crate::p9::driver::{Buffer, Guest, RAM_SIZE, reencode};
use crate::p9::{filesystem, message};
use devices::blk::{BLOCK_SIZE, Blk, BlkState, CowBackend, CowState, MemoryStore, ZeroSource};
use devices::console::{Console, ConsoleSink, ConsoleState, Port, WindowSize};
use devices::net::wire::Header;
use devices::net::{FrameSink, Net, NetState, Pushed};
use devices::p9::{Access, MemoryFs, P9};
use devices::rng::{DeterministicStream, EntropyDevice};
use devices::virtio::{DriverFault, MmioTransport, VirtioDevice, Virtqueues};

/// A device, and what is special about it here.
trait Subject: VirtioDevice + Sized {
    /// As after power-on.
    fn made() -> Self;
    /// The same from its record.
    fn restored(&mut self) -> Self;
    /// The host does something.
    fn host(&mut self, input: &mut Input<'_>, queues: &mut Virtqueues<'_>) -> Result<(), DriverFault>;
    /// The start of a request that makes sense.
    fn request(input: &mut Input<'_>) -> Vec<u8>;
    /// What is kept of it, in full.
    fn record(&mut self) -> String;
}

const BLOCKS: u64 = 6;

impl Subject for Blk<CowBackend<ZeroSource, MemoryStore>> {
    fn made() -> Self {
        let (size, room) = (BLOCKS * BLOCK_SIZE as u64 - 512, BLOCKS as u32 - 2);
        Self::new(CowBackend::new(ZeroSource::new(size), MemoryStore::new(room)), "fuzzed")
    }
    fn restored(&mut self) -> Self {
        let (device, changes): (BlkState, CowState) = (reencode(&self.save()), reencode(&self.backend_mut().save().unwrap()));
        let base = ZeroSource::new(BLOCKS * BLOCK_SIZE as u64 - 512);
        let backend = CowBackend::restore(base, MemoryStore::new(BLOCKS as u32 - 2), &changes).expect("what was saved can be restored");
        Self::restore(backend, &device).expect("what was saved can be restored")
    }
    fn host(&mut self, _: &mut Input<'_>, _: &mut Virtqueues<'_>) -> Result<(), DriverFault> {
        Ok(())
    }
    fn request(input: &mut Input<'_>) -> Vec<u8> {
        let kind = input.pick(&[0_u32, 1, 1, 4, 8, 11, 13, 99]);
        let sector = input.number();
        let mut bytes = [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat();
        if kind >= 11 {
            for _ in 0..input.u8() & 3 {
                bytes.extend(input.number().to_le_bytes());
                bytes.extend((input.number() as u32).to_le_bytes());
                bytes.extend(u32::from(input.u8()).to_le_bytes());
            }
        }
        bytes
    }
    fn record(&mut self) -> String {
        format!("{:?} {:?}", self.save(), self.backend_mut().save())
    }
}

impl Subject for P9<MemoryFs> {
    fn made() -> Self {
        Self::new("fuzzed", filesystem(), Access::ReadWrite).unwrap()
    }
    fn restored(&mut self) -> Self {
        let fs = MemoryFs::restore(&reencode(&self.filesystem().save())).expect("what was saved can be restored");
        Self::restore(fs, Access::ReadWrite, &reencode(&self.save())).expect("what was saved can be restored")
    }
    fn host(&mut self, input: &mut Input<'_>, _: &mut Virtqueues<'_>) -> Result<(), DriverFault> {
        let _ = self.filesystem_mut().write_file("a", &vec![1; input.below(200)]);
        Ok(())
    }
    fn request(input: &mut Input<'_>) -> Vec<u8> {
        message(input)
    }
    fn record(&mut self) -> String {
        format!("{:?} {:?}", self.save(), self.filesystem().save())
    }
}

impl Subject for EntropyDevice<DeterministicStream> {
    fn made() -> Self {
        Self::new(DeterministicStream::new([7; 32]))
    }
    fn restored(&mut self) -> Self {
        Self::new(DeterministicStream::restore(&reencode(&self.source().save())))
    }
    fn host(&mut self, _: &mut Input<'_>, _: &mut Virtqueues<'_>) -> Result<(), DriverFault> {
        Ok(())
    }
    fn request(_: &mut Input<'_>) -> Vec<u8> {
        Vec::new()
    }
    fn record(&mut self) -> String {
        format!("{:?}", self.source().save())
    }
}

/// Counts and mixes what comes out.
#[derive(Debug, Default, Clone, Copy)]
struct Sink(u64);

impl ConsoleSink for Sink {
    fn write(&mut self, port: Port, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte) ^ (port as u64) << 8).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl Subject for Console<Sink> {
    fn made() -> Self {
        Self::new(Sink::default())
    }
    fn restored(&mut self) -> Self {
        let state: ConsoleState = reencode(&self.save());
        Self::restore(*self.sink_mut(), &state).expect("what was saved can be restored")
    }
    fn host(&mut self, input: &mut Input<'_>, queues: &mut Virtqueues<'_>) -> Result<(), DriverFault> {
        let port = input.pick(&Port::ALL);
        match input.u8() % 4 {
            0 => self.close_input(port, queues),
            1 => self.resize(WindowSize { cols: input.u16(), rows: input.u16() }, queues),
            2 => self.push_input(port, &[5; 70_000], queues).map(|_| ()),
            _ => self.push_input(port, input.bytes(9), queues).map(|_| ()),
        }
    }
    fn request(input: &mut Input<'_>) -> Vec<u8> {
        let id = match input.u8() {
            0xff => u32::MAX,
            id => u32::from(id & 7),
        };
        [&id.to_le_bytes()[..], &u16::from(input.u8() & 15).to_le_bytes(), &u16::from(input.u8() & 3).to_le_bytes()].concat()
    }
    fn record(&mut self) -> String {
        format!("{:?} {:?}", self.save(), self.sink_mut())
    }
}

impl FrameSink for Sink {
    fn send(&mut self, header: Header, frame: &[u8]) {
        let header = header.to_bytes(frame, 0);
        for byte in header.iter().chain(frame) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl Subject for Net<Sink> {
    fn made() -> Self {
        Self::new(Sink::default(), [2, 0, 0, 0, 0, 1], 1500)
    }
    fn restored(&mut self) -> Self {
        let state: NetState = reencode(&self.save());
        Self::restore(*self.sink_mut(), &state).expect("what was saved can be restored")
    }
    fn host(&mut self, input: &mut Input<'_>, queues: &mut Virtqueues<'_>) -> Result<(), DriverFault> {
        let header: [u8; 12] = std::array::from_fn(|_| input.u8() & 0x1f);
        let header = Header::parse(header, u64::MAX).unwrap_or_default();
        let frame = vec![6; (input.number() & 0xffff) as usize];
        let pushed = self.push_frame(header, &frame, queues)?;
        let offload = Self::offload(queues);
        if pushed == Pushed::Delivered {
            assert!(offload.segmentation || header.segment.is_none());
            assert!(offload.checksum || header.checksum.is_none());
        }
        Ok(())
    }
    fn request(input: &mut Input<'_>) -> Vec<u8> {
        let (kind, segment) = (input.pick(&[0_u8, 1, 0x81, 3, 5]), input.number() as u16);
        let [size0, size1] = segment.to_le_bytes();
        [input.u8() & 3, kind, 0, 0, size0, size1, input.u8(), 0, input.u8(), 0, 0, 0].to_vec()
    }
    fn record(&mut self) -> String {
        format!("{:?} {:?}", self.save(), self.sink_mut())
    }
}

/// The first byte chooses the device.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.u8() % 7 {
        0 => conversation::<Blk<CowBackend<ZeroSource, MemoryStore>>>(input),
        1 => conversation::<P9<MemoryFs>>(input),
        2 => conversation::<EntropyDevice<DeterministicStream>>(input),
        3 => conversation::<Console<Sink>>(input),
        6 => conversation::<Net<Sink>>(input),
        _ => crate::ports::run(&mut input),
    }
}

fn conversation<D: Subject>(mut input: Input<'_>) {
    let mut straight = Guest::new(D::made());
    let mut saved = Guest::new(D::made());
    while !input.is_empty() {
        let step = input.u8();
        if step & 15 == 15 {
            save_and_restore(&mut saved);
            continue;
        }
        let mut same = input.clone();
        let wanted = take(&mut straight, step, &mut input);
        assert_eq!(take(&mut saved, step, &mut same), wanted, "after a restore");
    }
    assert_eq!(saved.device.save(), straight.device.save());
    assert_eq!(saved.device.device_mut().record(), straight.device.device_mut().record());
    assert!(saved.memory.0 == straight.memory.0, "memory");
    assert_eq!(saved.line.high, straight.line.high);
    assert_eq!(straight.line.high, straight.device.interrupt_level());
    // Whatever came before: a reset leads back to a device that can be used.
    straight.start();
    assert!(!straight.needs_reset());
}

fn save_and_restore<D: Subject>(guest: &mut Guest<D>) {
    let transport = reencode(&guest.device.save());
    let device = guest.device.device_mut().restored();
    guest.device = MmioTransport::restore(device, &transport).expect("what was saved can be restored");
    guest.line.high = guest.device.interrupt_level();
}

/// Takes one step. What it returns is what the guest sees of it.
fn take<D: Subject>(guest: &mut Guest<D>, step: u8, input: &mut Input<'_>) -> u64 {
    let queue = u16::from(step >> 4);
    match step & 15 {
        0 => {
            guest.start();
            0
        }
        1 => guest.read(u64::from(input.u8()) * 4, 4),
        2 => guest.read(u64::from(input.u16() & 0x1ff), input.pick(&[1, 2, 4, 8])),
        3 => {
            guest.set_reg(u64::from(input.u8()) * 4, input.number() as u32);
            0
        }
        4 => {
            guest.write(u64::from(input.u16() & 0x1ff), input.pick(&[1, 2, 4, 8]), input.u64());
            0
        }
        5 => {
            let at = address(guest, input);
            let bytes = input.bytes(usize::from(step >> 4) + 1);
            if at < (RAM_SIZE - bytes.len()) as u64 {
                guest.poke(at, bytes);
            }
            0
        }
        6 => {
            let table = if input.bit() { guest.descriptor_area(queue) } else { 0x8_0000 };
            let (index, flags, next) = (u16::from(input.u8()) & 15, u16::from(input.u8()), u16::from(input.u8() & 31));
            let (at, length) = (address(guest, input), input.number() as u32);
            guest.descriptor(table, index, at, length, flags, next);
            0
        }
        7 if guest.has_queue(queue) => {
            guest.make_available(queue, u16::from(input.u8()));
            u64::from(guest.has_queue(queue))
        }
        8 => {
            guest.notify(queue);
            0
        }
        9 => {
            guest.with_device(|device, queues| device.host(input, queues));
            0
        }
        10 if guest.has_queue(queue) => u64::from(guest.used(queue).map_or(u32::MAX, |(head, length)| u32::from(head) ^ length)),
        _ if guest.has_queue(queue) => {
            let request = D::request(input);
            let shape = input.u8();
            let data = vec![shape; usize::from(input.u8()) << 3];
            let room = (input.number() & 0xffff) as u32;
            let mut buffers = vec![Buffer::Readable(&request)];
            if shape & 1 != 0 {
                buffers.push(Buffer::Readable(&data));
            }
            if shape & 2 != 0 {
                buffers.insert(0, Buffer::Readable(&[]));
            }
            if shape & 4 == 0 {
                buffers.push(Buffer::Writable(room));
            }
            if shape & 8 == 0 {
                buffers.push(Buffer::Writable(1));
            }
            guest.submit(queue, &buffers);
            if shape & 16 == 0 {
                guest.notify(queue);
            }
            0
        }
        _ => 0,
    }
}

/// An address where something is, or where nothing is.
fn address<D: VirtioDevice>(guest: &Guest<D>, input: &mut Input<'_>) -> u64 {
    let place = input.u8();
    let queue = u16::from(place >> 5);
    let base = match place & 7 {
        0 => guest.descriptor_area(queue),
        1 => guest.driver_area(queue),
        2 => guest.device_area(queue),
        3 => RAM_SIZE as u64 - 16,
        4 => u64::MAX - 16,
        _ => 0x8_0000,
    };
    base.wrapping_add(input.number() & 0xffff)
}
