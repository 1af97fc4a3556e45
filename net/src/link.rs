//! smoltcp, one packet at a time: what it says to a packet of the guest, and what it has to say.

use crate::config::{Config, Mac};
use crate::wire::{ETHERNET, Frame, finish_tcp, put_ethernet};
use devices::net::Offload;
use devices::net::wire::Header;
use smoltcp::iface::{Config as InterfaceConfig, Context, Interface, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetProtocol, HardwareAddress, IpCidr};
use std::num::NonZeroUsize;
use std::time::Duration;

/// Smallest MTU that IPv4 allows.
const MIN_MTU: u16 = 576;

/// Bytes of the longest TCP packet that is left to a guest's driver to cut. Drivers do not always have buffers for 64 KiB, and post no new ones
/// before they have used some.
pub(crate) const MAX_SEGMENT: u16 = 32 << 10;

/// The stack's end of the cable.
pub(crate) struct Link {
    interface: Interface,
    pub offload: Offload,
    gateway_mac: Mac,
    pub guest_mac: Mac,
    mtu: usize,
}

impl Link {
    pub fn new(config: &Config, offload: Offload, guest_mac: Mac, now: Duration) -> Self {
        let mtu = usize::from(config.mtu.max(MIN_MTU));
        let mut port = Port { mtu, offload, input: None, output: None, room: false };
        let mut interface_config = InterfaceConfig::new(HardwareAddress::Ip);
        interface_config.random_seed = config.seed;
        let mut interface = Interface::new(interface_config, &mut port, instant(now));
        interface.update_ip_addrs(|addresses| {
            // There is room for two.
            let _ = addresses.push(IpCidr::new(config.gateway.into(), config.prefix.min(32)));
        });
        // Every address is its own; a socket has the one that the guest dialled.
        interface.set_any_ip(true);
        Self { interface, offload, gateway_mac: config.gateway_mac, guest_mac, mtu }
    }

    /// Gives a packet to `sockets`. What they say to it at once is for the guest.
    pub fn input(&mut self, now: Duration, sockets: &mut SocketSet<'static>, packet: &[u8]) -> Option<Frame> {
        let mut port = Port { mtu: self.mtu, offload: self.offload, input: Some(packet), output: None, room: false };
        let _ = self.interface.poll_ingress_single(instant(now), &mut port, sockets);
        port.output.map(|output| self.finish(output))
    }

    /// What `sockets` have to say, one packet of it.
    pub fn output(&mut self, now: Duration, sockets: &mut SocketSet<'static>) -> Option<Frame> {
        let mut port = Port { mtu: self.mtu, offload: self.offload, input: None, output: None, room: true };
        let _ = self.interface.poll_egress(instant(now), &mut port, sockets);
        port.output.map(|output| self.finish(output))
    }

    /// When `sockets` have something to say.
    pub fn poll_at(&mut self, now: Duration, sockets: &SocketSet<'static>) -> Option<Duration> {
        self.interface.poll_at(instant(now), sockets).map(|at| Duration::from_micros(u64::try_from(at.total_micros()).unwrap_or(0)))
    }

    pub fn context(&mut self) -> &mut Context {
        self.interface.context()
    }

    /// A frame of a packet that has room for an Ethernet header in front.
    pub fn wrap(&self, mut bytes: Vec<u8>) -> Frame {
        put_ethernet(&mut bytes, self.gateway_mac, self.guest_mac, EthernetProtocol::Ipv4);
        Frame::whole(bytes)
    }

    fn finish(&self, Output { bytes, segment }: Output) -> Frame {
        let mut frame = self.wrap(bytes);
        frame.header = Header { checksum: finish_tcp(&mut frame.bytes, self.offload.checksum), segment };
        frame
    }
}

fn instant(now: Duration) -> Instant {
    Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

struct Output {
    bytes: Vec<u8>,
    segment: Option<u16>,
}

/// A device with at most one packet in each direction.
struct Port<'a> {
    mtu: usize,
    offload: Offload,
    input: Option<&'a [u8]>,
    output: Option<Output>,
    room: bool,
}

struct Received<'a>(&'a [u8]);

struct Slot<'a> {
    output: &'a mut Option<Output>,
    meta: PacketMeta,
}

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

impl TxToken for Slot<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut bytes = vec![0; ETHERNET + length];
        let result = write(&mut bytes[ETHERNET..]);
        *self.output = Some(Output { bytes, segment: self.meta.segmentation_offload_size.map(u16::from) });
        result
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.meta = meta;
    }
}

impl Device for Port<'_> {
    type RxToken<'b>
        = Received<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = Slot<'b>
    where
        Self: 'b;

    fn receive(&mut self, _: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let input = self.input.take()?;
        Some((Received(input), Slot { output: &mut self.output, meta: PacketMeta::default() }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Self::TxToken<'_>> {
        std::mem::take(&mut self.room).then_some(Slot { output: &mut self.output, meta: PacketMeta::default() })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        // Between the guest's memory and ours nothing is damaged; what goes out is completed in `finish`.
        capabilities.checksum = ChecksumCapabilities::ignored();
        if self.offload.checksum && self.offload.segmentation {
            capabilities.segmentation.tcpv4 = NonZeroUsize::new(usize::from(MAX_SEGMENT));
        }
        capabilities
    }
}
