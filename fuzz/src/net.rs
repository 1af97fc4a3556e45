//! The network of a guest, from its driver to the host's sockets: any frames of the guest, any doings of the host. All frames go through the network
//! device. A guest that follows the protocol reaches open streams, so that what is behind them is fed, too.

use crate::input::Input;
use crate::p9::driver::{Buffer, Guest, Submitted};
use devices::net::wire::{
    HEADER_SIZE, RECEIVEQ, TRANSMITQ, VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_HOST_TSO4,
    VIRTIO_NET_F_MRG_RXBUF,
};
use devices::net::{FrameQueue, Net, Pushed};
use devices::virtio::spec::feature::VIRTIO_F_VERSION_1;
use net::{Action, Config, Failure, FlowId, Frame, Protocol, QueryId, Stack};
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

/// Bytes of headers: Ethernet, IPv4, TCP.
const ETHERNET: usize = 14;
const IPV4: usize = 20;

/// Where a stream of the guest stands: what it sends next, and what it acknowledges.
type Numbers = BTreeMap<(u16, [u8; 4], u16), (u32, u32)>;

/// Receive buffers of the driver, and their size: the longest frame fits.
const BUFFERS: usize = 48;
const BUFFER: u32 = 1536;

struct World {
    config: Config,
    guest: Guest<Net<FrameQueue>>,
    posted: VecDeque<Submitted>,
    stack: Stack,
    now: Duration,
    numbers: Numbers,
    flows: BTreeMap<FlowId, Protocol>,
    queries: VecDeque<(QueryId, Vec<u8>)>,
    /// The most streams that were open at a time.
    open: usize,
}

/// A conversation. Returns the most streams that were open at a time.
pub fn talk(bytes: &[u8]) -> usize {
    let mut input = Input::new(bytes);
    let how = input.u8();
    let config = Config {
        mtu: [1500, 576, 9000, 65_520][usize::from(how & 3)],
        host_reachable: how & 4 != 0,
        buffer: 512 << (how >> 4 & 7),
        names: vec![("db".into(), Ipv4Addr::new(192, 168, 127, 77))],
        ..Config::default()
    };
    let mut features = VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MRG_RXBUF;
    if how & 8 != 0 {
        features |= VIRTIO_NET_F_CSUM | VIRTIO_NET_F_GUEST_CSUM;
        features |= if how & 0x80 != 0 { VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_HOST_TSO4 } else { 0 };
    }
    let mut guest = Guest::new(Net::new(FrameQueue::default(), config.guest_mac, config.mtu));
    guest.start_with(features);
    let offload = guest.with_device(|_, queues| Ok(Net::<FrameQueue>::offload(queues))).unwrap();
    let mut stack = Stack::new(config.clone(), Duration::from_secs(1));
    stack.set_offload(offload);
    let (posted, numbers, flows, queries) = Default::default();
    let mut world = World { config, guest, posted, stack, now: Duration::from_secs(1), numbers, flows, queries, open: 0 };
    while !input.is_empty() {
        world.step(&mut input);
        world.open = world.open.max(world.stack.connections().len());
        world.act();
    }
    world.open
}

/// The target.
pub fn run(bytes: &[u8]) {
    talk(bytes);
}

impl World {
    fn step(&mut self, input: &mut Input<'_>) {
        let step = input.u8();
        match step & 15 {
            0..=4 => self.segment(step, input),
            5 => {
                let message = self.datagram(input);
                self.send([0; HEADER_SIZE], &message);
            }
            6 => {
                let header = std::array::from_fn(|_| input.u8());
                self.send(header, input.bytes(usize::from(step) + 1));
            }
            7 | 8 => self.take_frames(usize::from(step >> 4) + 1),
            9 | 10 => self.host(step, input),
            11 => {
                // Not always forwards.
                let now = Duration::from_millis(u64::from(input.u16()));
                self.now = if step & 0x10 == 0 { self.now + now } else { self.now.saturating_sub(now) };
                self.stack.advance(self.now);
            }
            12 => {
                let port = u16::from(input.u8());
                let (flow, protocol) = match step & 0x10 {
                    0 => (self.stack.open_stream(port), Protocol::Tcp),
                    _ => (self.stack.open_datagrams(port), Protocol::Udp),
                };
                flow.map(|flow| self.flows.insert(flow, protocol));
            }
            13 => {
                if let Some((id, mut query)) = self.queries.pop_front() {
                    query[2] |= 0x80;
                    query.extend(vec![0; usize::from(input.u16() & 0x3fff)]);
                    let at = usize::from(input.u8());
                    if let Some(byte) = query.get_mut(at) {
                        *byte ^= input.u8();
                    }
                    self.stack.resolved(id, (step & 0x10 == 0).then_some(&query));
                }
            }
            14 => {
                let connections = self.stack.connections();
                self.stack.reset_connections(&connections);
            }
            _ => {
                if let Some(deadline) = self.stack.deadline() {
                    self.now = self.now.max(deadline);
                    self.stack.advance(self.now);
                }
            }
        }
    }

    /// Somewhere that a guest may want to go, or may not.
    fn address(&self, input: &mut Input<'_>) -> [u8; 4] {
        match input.u8() % 9 {
            0 => self.config.gateway.octets(),
            1 => self.config.host.octets(),
            2 => [127, 0, 0, 1],
            3 => [169, 254, 169, 254],
            4 => [0, 0, 0, 0],
            5 => [224, 0, 0, 251],
            _ => [93, 184, 216, 34],
        }
    }

    fn packet(&self, protocol: u8, to: [u8; 4], length: usize) -> Vec<u8> {
        let mut frame = vec![0; ETHERNET + IPV4];
        frame[..6].copy_from_slice(&self.config.gateway_mac);
        frame[6..12].copy_from_slice(&self.config.guest_mac);
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[14] = 0x45;
        frame[16..18].copy_from_slice(&((IPV4 + length) as u16).to_be_bytes());
        frame[22..24].copy_from_slice(&[64, protocol]);
        frame[26..30].copy_from_slice(&self.config.guest.octets());
        frame[30..34].copy_from_slice(&to);
        frame
    }

    /// A segment of a stream, mostly of one that there is.
    fn segment(&mut self, step: u8, input: &mut Input<'_>) {
        let which = usize::from(input.u8());
        let (key, (next, acknowledged)) = match self.numbers.iter().nth(which & 15) {
            Some((&key, &numbers)) if which & 0x80 == 0 => (key, numbers),
            _ => {
                let key = ((which & 31) as u16 + 1000, self.address(input), input.pick(&[80, 53, 1, 2, 7]));
                (key, (input.u32(), 0))
            }
        };
        let near = |number: u32, input: &mut Input<'_>| match input.u8() {
            0xf0 => number.wrapping_add(1),
            0xf1 => number.wrapping_sub(1),
            0xf2 => number.wrapping_add(input.u32() & 0xffff),
            0xf3 => number.wrapping_sub(input.u32() & 0xffff),
            0xf4 => input.u32(),
            _ => number,
        };
        let (sequence, acknowledged) = (near(next, input), near(acknowledged, input));
        let flags = match step & 15 {
            0 => 2,
            1 => 0x10,
            2 => 0x11,
            3 => input.pick(&[0x14, 4, 0x18, 0x12, 0]),
            _ => input.u8(),
        };
        let options: Vec<u8> = match input.u8() {
            0 => vec![2, 4, 5, 0xb4, 1, 3, 3, 7],
            1 => vec![2, 4, 0, 0, 1, 3, 3, 0xff],
            2 => input.bytes(8).iter().copied().chain([0; 8]).take(8).collect(),
            _ => Vec::new(),
        };
        let data = match step >> 4 {
            0 => 0,
            1 => usize::from(input.u8()),
            2 => 4000,
            _ => 1,
        };
        let mut frame = self.packet(6, key.1, 20 + options.len() + data);
        frame.extend(key.0.to_be_bytes());
        frame.extend(key.2.to_be_bytes());
        frame.extend(sequence.to_be_bytes());
        frame.extend(acknowledged.to_be_bytes());
        frame.extend([((20 + options.len()) as u8) << 2, flags]);
        frame.extend((if input.u8() == 0xff { 0_u16 } else { 0xffff }).to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(options);
        frame.extend(input.bytes(data).iter().copied().chain(std::iter::repeat(7)).take(data));
        if flags & 0x12 == 2 {
            self.numbers.insert(key, (sequence.wrapping_add(1), 0));
        }
        if input.u8() == 0xff {
            let at = usize::from(input.u16()) % frame.len();
            frame[at] ^= input.u8();
        }
        self.send([0; HEADER_SIZE], &frame);
    }

    /// The driver sends a frame.
    fn send(&mut self, header: [u8; HEADER_SIZE], frame: &[u8]) {
        self.guest.submit(TRANSMITQ, &[Buffer::Readable(&header), Buffer::Readable(frame)]);
        self.guest.notify(TRANSMITQ);
        assert!(self.guest.used(TRANSMITQ).is_some(), "the device takes every frame");
        for (_, frame) in self.guest.device.device_mut().sink_mut().take() {
            self.stack.receive(&frame);
        }
    }

    /// The driver is given a frame, which it finds in its buffers.
    fn deliver(&mut self, Frame { header, bytes }: &Frame) -> Vec<u8> {
        while self.posted.len() < BUFFERS {
            self.posted.push_back(self.guest.submit(RECEIVEQ, &[Buffer::Writable(BUFFER)]));
        }
        let pushed = self.guest.with_device(|device, queues| device.push_frame(*header, bytes, queues));
        assert_eq!(pushed, Some(Pushed::Delivered));
        let mut found = Vec::new();
        while let Some((head, length)) = self.guest.used(RECEIVEQ) {
            let buffer = self.posted.pop_front().expect("the buffer is the driver's");
            assert_eq!(buffer.head, head);
            found.extend(self.guest.written(&buffer, length));
        }
        found.split_off(HEADER_SIZE)
    }

    /// UDP, a ping, another protocol, or a piece of one of them.
    fn datagram(&self, input: &mut Input<'_>) -> Vec<u8> {
        let kind = input.u8();
        let to = if kind & 7 == 3 { [255; 4] } else { self.address(input) };
        let data = input.bytes(usize::from(input.clone().u8()) + 1);
        let (protocol, body) = match kind & 7 {
            0..=3 => {
                let port: u16 = [53, 9, 80, 67][usize::from(kind & 3)];
                let length = 8 + data.len() as u16;
                let header = [&5000_u16.to_be_bytes()[..], &port.to_be_bytes(), &length.to_be_bytes(), &[0; 2]].concat();
                (17, [header, data.to_vec()].concat())
            }
            4 => (1, [&[8, 0, 0, 0, 1, 2, 3, 4], data].concat()),
            5 => (1, data.to_vec()),
            other => (other, data.to_vec()),
        };
        let mut frame = self.packet(protocol, to, body.len());
        if kind & 0x10 != 0 {
            frame[20..22].copy_from_slice(&(u16::from(input.u8() & 3) | u16::from(kind >> 7) << 13).to_be_bytes());
        }
        if kind & 0x20 != 0 {
            frame[22] = 1;
        }
        if kind & 7 == 3 && kind & 0x40 != 0 {
            frame[26..30].fill(0);
        }
        frame.extend(body);
        frame
    }

    fn take_frames(&mut self, count: usize) {
        for _ in 0..count {
            let Some(frame) = self.stack.frame() else { break };
            self.check(&frame);
            let bytes = self.deliver(&frame);
            assert_eq!(bytes, frame.bytes);
            if bytes[12..14] != [8, 0] || bytes[23] != 6 {
                continue;
            }
            let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            let number = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            let data = bytes.len() - 34 - usize::from(bytes[46] >> 4) * 4;
            let length = data as u32 + u32::from(bytes[47] & 1 != 0) + u32::from(bytes[47] & 2 != 0);
            let from = [bytes[26], bytes[27], bytes[28], bytes[29]];
            let next = if bytes[47] & 0x10 != 0 { number(42) } else { 1 };
            self.numbers.insert((port(36), from, port(34)), (next, number(38).wrapping_add(length)));
        }
    }

    /// What is true of every frame.
    fn check(&self, frame: &Frame) {
        assert_eq!(frame.bytes[6..12], self.config.gateway_mac);
        if frame.bytes[12..14] == [8, 6] {
            return;
        }
        let length = frame.bytes.len() - ETHERNET;
        assert_eq!(u16::from_be_bytes([frame.bytes[16], frame.bytes[17]]), length as u16);
        assert_eq!(frame.header.segment.is_some(), length > usize::from(self.config.mtu), "{length} bytes");
        let header: u32 = frame.bytes[14..34].as_chunks::<2>().0.iter().map(|&pair| u32::from(u16::from_be_bytes(pair))).sum();
        assert_eq!((header & 0xffff) + (header >> 16), 0xffff, "checksum of the header");
    }

    /// Does what the stack asks for; nothing that it must not ask for.
    fn act(&mut self) {
        while let Some(action) = self.stack.next_action() {
            match action {
                Action::Open { flow, protocol, to } => {
                    let address = *to.ip();
                    let loopback = self.config.host_reachable && address == Ipv4Addr::LOCALHOST;
                    let outside = !address.is_loopback() && !address.is_link_local() && !address.is_multicast();
                    assert!(loopback || outside && !address.is_unspecified() && !address.is_broadcast(), "{address}");
                    assert!(self.flows.insert(flow, protocol).is_none());
                    match (protocol, to.port()) {
                        (Protocol::Tcp, 1) => self.fail(flow, Failure::Refused),
                        (Protocol::Tcp, 2) => self.fail(flow, Failure::Unreachable),
                        (Protocol::Tcp, 80) => self.stack.connected(flow),
                        _ => {}
                    }
                }
                Action::Datagram { flow, .. } => assert_ne!(self.flows[&flow], Protocol::Tcp),
                Action::Shutdown { flow } => assert_eq!(self.flows[&flow], Protocol::Tcp),
                Action::Close { flow, .. } => assert!(self.flows.remove(&flow).is_some()),
                Action::Resolve { query, message, .. } => self.queries.push_back((query, message)),
            }
        }
        assert!(self.queries.len() <= net::MAX_QUERIES * 64);
    }

    fn fail(&mut self, flow: FlowId, failure: Failure) {
        self.flows.remove(&flow);
        self.stack.failed(flow, failure);
    }

    fn host(&mut self, step: u8, input: &mut Input<'_>) {
        let which = usize::from(input.u8());
        let Some((&flow, &protocol)) = self.flows.iter().nth(which & 15) else { return };
        let interest = self.stack.interest(flow);
        match (step >> 4) & 7 {
            0 => self.stack.connected(flow),
            1 => {
                let count = usize::from(input.u16());
                self.stack.drain(flow, |bytes| bytes.len().min(count));
            }
            2 => {
                let count = usize::from(input.u16());
                let put = self.stack.fill(flow, |room| {
                    let count = count.min(room.len());
                    room[..count].fill(9);
                    count
                });
                assert!(put == 0 || interest.read);
            }
            3 => self.stack.ended(flow),
            4 => self.fail(flow, input.pick(&[Failure::Refused, Failure::Unreachable, Failure::Forbidden])),
            _ => {
                let mut bytes = input.bytes(usize::from(input.clone().u8())).to_vec();
                if protocol == Protocol::Echo {
                    bytes.splice(..0, [0; 8]);
                }
                self.stack.datagram(flow, &bytes);
            }
        }
    }
}
