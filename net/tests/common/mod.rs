//! A guest with smoltcp's stack, and a host whose sockets are queues.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test takes what it needs")]

use net::{Action, Config, Failure, FlowId, Frame, Protocol, QueryId, Stack};
use smoltcp::iface::{Config as InterfaceConfig, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr};
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// Ports of servers anywhere.
pub const REFUSED: u16 = 1;
pub const UNREACHABLE: u16 = 2;
pub const FORBIDDEN: u16 = 3;
pub const SILENT: u16 = 4;
pub const ECHO: u16 = 7;
/// Takes bytes and says how many at the end.
pub const SINK: u16 = 9;
/// Sends [`SOURCE_LENGTH`] bytes.
pub const SOURCE: u16 = 19;
pub const SOURCE_LENGTH: usize = 1 << 20;

pub const ANYWHERE: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);

/// The byte at a place in a stream.
pub fn pattern(at: usize) -> u8 {
    (at as u32).wrapping_mul(0x9e37_79b9).to_be_bytes()[0]
}

pub struct Cable {
    pub mtu: usize,
    pub received: VecDeque<Vec<u8>>,
    pub sent: VecDeque<Vec<u8>>,
}

pub struct Received(Vec<u8>);
pub struct Room<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut bytes = vec![0; length];
        let result = write(&mut bytes);
        self.0.push_back(bytes);
        result
    }
}

impl Device for Cable {
    type RxToken<'a> = Received;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Room<'_>)> {
        self.received.pop_front().map(|frame| (Received(frame), Room(&mut self.sent)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        Some(Room(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + 14;
        capabilities.checksum = ChecksumCapabilities::default();
        capabilities
    }
}

/// A guest: it verifies every checksum.
pub struct Guest {
    pub interface: Interface,
    pub sockets: SocketSet<'static>,
    pub cable: Cable,
}

impl Guest {
    pub fn new(config: &Config, now: Duration) -> Self {
        let mut cable = Cable { mtu: usize::from(config.mtu), received: VecDeque::new(), sent: VecDeque::new() };
        let mut interface = Interface::new(InterfaceConfig::new(EthernetAddress(config.guest_mac).into()), &mut cable, instant(now));
        interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(config.guest.into(), config.prefix)).unwrap());
        interface.routes_mut().add_default_ipv4_route(config.gateway).unwrap();
        Self { interface, sockets: SocketSet::new(Vec::new()), cable }
    }

    pub fn add_stream(&mut self, buffer: usize) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; buffer]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        self.sockets.add(socket)
    }

    pub fn connect(&mut self, to: Ipv4Addr, port: u16, from: u16) -> SocketHandle {
        let handle = self.add_stream(1 << 16);
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
        socket.connect(self.interface.context(), (to, port), from).unwrap();
        handle
    }

    pub fn stream(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub fn poll(&mut self, now: Duration) {
        self.interface.poll(instant(now), &mut self.cable, &mut self.sockets);
    }
}

pub fn instant(now: Duration) -> Instant {
    Instant::from_micros(now.as_micros() as i64)
}

/// A socket of the host.
pub struct HostSocket {
    pub to: SocketAddrV4,
    pub protocol: Protocol,
    /// Bytes from the guest.
    pub received: Vec<u8>,
    /// Bytes for the guest, and how many it has.
    pub sending: Vec<u8>,
    pub sent: usize,
    /// Nothing comes after `sending`.
    pub ends: bool,
    pub ended: bool,
    pub guest_ended: bool,
    /// Bytes that may be written to it still.
    pub room: usize,
}

#[derive(Default)]
pub struct Host {
    pub sockets: BTreeMap<FlowId, HostSocket>,
    pub opened: Vec<(Protocol, SocketAddrV4)>,
    pub closed: Vec<(FlowId, bool)>,
    pub queries: Vec<(QueryId, Vec<u8>, bool)>,
    /// Bytes that a new socket takes.
    pub room: Option<usize>,
    /// Connections are left open until told.
    pub dials_wait: bool,
}

pub struct Bench {
    pub stack: Stack,
    pub guest: Guest,
    pub host: Host,
    pub now: Duration,
    /// Frames for the guest, as they came.
    pub frames: Vec<Frame>,
    /// Frames that the guest takes in a round.
    pub buffers: usize,
}

impl Bench {
    pub fn new(config: Config) -> Self {
        let now = Duration::from_secs(1000);
        let guest = Guest::new(&config, now);
        Self { stack: Stack::new(config, now), guest, host: Host::default(), now, frames: Vec::new(), buffers: usize::MAX }
    }

    /// A round: the guest runs, the host does what it was asked, and a millisecond passes.
    pub fn round(&mut self) {
        self.now += Duration::from_millis(1);
        self.stack.advance(self.now);
        self.guest.poll(self.now);
        while let Some(frame) = self.guest.cable.sent.pop_front() {
            self.stack.receive(&frame);
        }
        self.run_host();
        self.take_frames();
    }

    pub fn take_frames(&mut self) {
        for _ in 0..self.buffers {
            let Some(frame) = self.stack.frame() else { break };
            self.frames.push(frame.clone());
            for bytes in frame.into_plain() {
                self.guest.cable.received.push_back(bytes);
            }
        }
    }

    pub fn rounds(&mut self, count: usize) {
        (0..count).for_each(|_| self.round());
    }

    /// Rounds until it is so.
    pub fn until(&mut self, what: &str, mut so: impl FnMut(&mut Self) -> bool) {
        for _ in 0..20_000 {
            self.round();
            if so(self) {
                return;
            }
        }
        panic!("not in 20 seconds: {what}");
    }

    pub fn run_host(&mut self) {
        while let Some(action) = self.stack.next_action() {
            match action {
                Action::Open { flow, protocol, to } => self.open(flow, protocol, to),
                Action::Datagram { flow, bytes } => {
                    let socket = self.host.sockets.get_mut(&flow).unwrap();
                    socket.received.extend(&bytes);
                    match (socket.protocol, socket.to.port()) {
                        (Protocol::Udp, ECHO) => self.stack.datagram(flow, &bytes),
                        (Protocol::Udp, REFUSED) => {
                            self.host.sockets.remove(&flow);
                            self.stack.failed(flow, Failure::Refused);
                        }
                        (Protocol::Echo, _) => {
                            let mut reply = bytes;
                            reply[0] = 0;
                            // The host's own identifier, and no checksum.
                            reply[2..6].fill(0x55);
                            self.stack.datagram(flow, &reply);
                        }
                        _ => {}
                    }
                }
                Action::Shutdown { flow } => {
                    let socket = self.host.sockets.get_mut(&flow).unwrap();
                    assert!(!std::mem::replace(&mut socket.guest_ended, true));
                    if socket.to.port() == SINK {
                        socket.sending = socket.received.len().to_le_bytes().into();
                        socket.ends = true;
                    }
                    if socket.to.port() == ECHO {
                        socket.ends = true;
                    }
                }
                Action::Close { flow, reset } => {
                    self.host.sockets.remove(&flow).expect("a flow that is open");
                    self.host.closed.push((flow, reset));
                }
                Action::Resolve { query, message, long } => self.host.queries.push((query, message, long)),
            }
        }
        let flows: Vec<FlowId> = self.host.sockets.keys().copied().collect();
        for flow in flows {
            self.move_bytes(flow);
        }
    }

    fn open(&mut self, flow: FlowId, protocol: Protocol, to: SocketAddrV4) {
        self.host.opened.push((protocol, to));
        let failure = match to.port() {
            REFUSED => Some(Failure::Refused),
            UNREACHABLE => Some(Failure::Unreachable),
            FORBIDDEN => Some(Failure::Forbidden),
            _ => None,
        };
        if let Some(failure) = failure.filter(|_| protocol == Protocol::Tcp) {
            return self.stack.failed(flow, failure);
        }
        self.host.sockets.insert(flow, socket(protocol, to, self.host.room));
        if protocol == Protocol::Tcp && to.port() != SILENT && !self.host.dials_wait {
            self.stack.connected(flow);
        }
    }

    fn move_bytes(&mut self, flow: FlowId) {
        let socket = self.host.sockets.get_mut(&flow).unwrap();
        while self.stack.interest(flow).write && socket.room > 0 {
            let taken = self.stack.drain(flow, |bytes| {
                let taken = &bytes[..bytes.len().min(socket.room)];
                socket.room -= taken.len();
                socket.received.extend(taken);
                if socket.to.port() == ECHO {
                    socket.sending.extend(taken);
                }
                taken.len()
            });
            assert!(taken > 0);
        }
        while socket.protocol == Protocol::Tcp && self.stack.interest(flow).read && socket.sent < socket.sending.len() {
            let put = self.stack.fill(flow, |room| {
                let bytes = &socket.sending[socket.sent..];
                let length = bytes.len().min(room.len());
                room[..length].copy_from_slice(&bytes[..length]);
                length
            });
            assert!(put > 0);
            socket.sent += put;
        }
        if socket.ends && !socket.ended && socket.sent == socket.sending.len() && self.stack.interest(flow).read {
            socket.ended = true;
            self.stack.ended(flow);
        }
    }

    /// Bytes that the guest has for itself.
    pub fn read(&mut self, handle: SocketHandle) -> Vec<u8> {
        let mut bytes = Vec::new();
        let socket = self.guest.stream(handle);
        while socket.can_recv() {
            socket
                .recv(|some| {
                    bytes.extend_from_slice(some);
                    (some.len(), ())
                })
                .unwrap();
        }
        bytes
    }
}

pub fn socket(protocol: Protocol, to: SocketAddrV4, room: Option<usize>) -> HostSocket {
    let source = to.port() == SOURCE && protocol == Protocol::Tcp;
    HostSocket {
        to,
        protocol,
        received: Vec::new(),
        sending: if source { (0..SOURCE_LENGTH).map(pattern).collect() } else { Vec::new() },
        sent: 0,
        ends: source,
        ended: false,
        guest_ended: false,
        room: room.unwrap_or(usize::MAX),
    }
}
