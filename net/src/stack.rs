//! Frames in, frames out, and who they are for.

use crate::action::{Action, Interest};
use crate::alias::Aliases;
use crate::config::{Config, MAX_FRAMES, Route};
use crate::dhcp;
use crate::flow::{Body, FlowId, Flows, Key, Protocol};
use crate::fragment::Fragments;
use crate::link::Link;
use crate::names::{self, Queries};
use crate::stream::{Phase, is_opening};
use crate::wire::{self, ETHERNET, Frame, is_fragment};
use devices::net::{MAX_FRAME, Offload};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv4DstUnreachable, Icmpv4Message, Icmpv4Packet,
    IpProtocol, Ipv4Packet, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, UdpPacket,
};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

const DHCP_SERVER: u16 = 67;
const DHCP_CLIENT: u16 = 68;
/// Ports for what comes in from outside.
const EPHEMERAL: std::ops::RangeInclusive<u16> = 49152..=u16::MAX;
/// Actions at a time beyond which the guest opens nothing new.
const MAX_ACTIONS: usize = 4096;

/// An open connection of the guest's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    /// The guest's port.
    pub guest_port: u16,
    /// The other end, as the guest sees it.
    pub remote: SocketAddrV4,
}

/// The network of a guest. Time stands still between two calls of [`Stack::advance`].
pub struct Stack {
    pub(crate) config: Config,
    pub(crate) now: Duration,
    pub(crate) link: Link,
    pub(crate) flows: Flows,
    pub(crate) queries: Queries,
    pub(crate) aliases: Aliases,
    /// Streams that are to be dialled, in turn.
    pub(crate) waiting: VecDeque<FlowId>,
    /// Streams that were dialled, and that the guest has not yet taken part in.
    pub(crate) half_open: usize,
    /// Bytes of datagrams among the actions.
    pub(crate) outgoing: usize,
    actions: VecDeque<Action>,
    replies: VecDeque<Frame>,
    resets: VecDeque<Connection>,
    fragments: Fragments,
    next_port: u16,
    next_ident: u16,
}

impl Stack {
    /// A network at the time `now`, which counts from any moment.
    pub fn new(config: Config, now: Duration) -> Self {
        Self {
            link: Link::new(&config, Offload::default(), config.guest_mac, now),
            config,
            now,
            flows: Flows::default(),
            queries: Queries::default(),
            aliases: Aliases::default(),
            waiting: VecDeque::new(),
            half_open: 0,
            outgoing: 0,
            actions: VecDeque::new(),
            replies: VecDeque::new(),
            resets: VecDeque::new(),
            fragments: Fragments::default(),
            next_port: *EPHEMERAL.start(),
            next_ident: 1,
        }
    }

    /// What it is like.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// What an address that the guest connects to is called outside: a name, where one [stands for](Config::aliases) it, or its digits. None if it
    /// stands for a name that the stack does not know: that of another run, or one of too many.
    pub fn outside(&self, address: Ipv4Addr) -> Option<String> {
        if self.config.aliases { self.aliases.outside(address) } else { Some(address.to_string()) }
    }

    /// What the guest's driver takes, from now on.
    pub fn set_offload(&mut self, offload: Offload) {
        if self.link.offload != offload {
            self.link = Link::new(&self.config, offload, self.link.guest_mac, self.now);
        }
    }

    /// It is `now`. Time does not go back: an earlier one changes nothing.
    pub fn advance(&mut self, now: Duration) {
        self.now = self.now.max(now);
        self.expire_queries();
        while let Some(id) = self.flows.next_due(self.now) {
            match self.flows.get(id).map(|flow| &flow.body) {
                Some(Body::Stream(_)) => self.stream_due(id),
                Some(Body::Datagrams(_)) => self.expire_datagrams(id),
                None => {}
            }
        }
    }

    /// When [`Stack::advance`] has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        [self.flows.first_timer(), self.queries.first_timer()].into_iter().flatten().min()
    }

    /// The next thing for the host to do.
    pub fn next_action(&mut self) -> Option<Action> {
        self.dial();
        let action = self.actions.pop_front()?;
        if let Action::Datagram { bytes, .. } = &action {
            self.outgoing -= bytes.len();
        }
        Some(action)
    }

    /// What to watch a flow's socket for. It changes with every call of another function.
    pub fn interest(&self, flow: FlowId) -> Interest {
        match self.flows.get(flow).map(|flow| &flow.body) {
            Some(Body::Stream(stream)) => stream.interest(),
            Some(Body::Datagrams(_)) => Interest { read: self.has_room(), write: false },
            None => Interest::default(),
        }
    }

    /// There may be a frame for the guest.
    pub fn has_frame(&self) -> bool {
        !self.replies.is_empty() || !self.resets.is_empty() || self.flows.any_ready()
    }

    /// A frame for the guest, which must have a buffer for it: none is ever sent twice only because it was lost on the way. Streams take
    /// turns.
    pub fn frame(&mut self) -> Option<Frame> {
        if let Some(frame) = self.replies.pop_front() {
            return Some(frame);
        }
        if let Some(connection) = self.resets.pop_front() {
            return Some(self.provoke(connection));
        }
        while let Some(id) = self.flows.next_ready() {
            let Some(Phase::Live(live)) = self.flows.stream_mut(id).map(|stream| &mut stream.phase) else { continue };
            let frame = self.link.output(self.now, &mut live.sockets);
            self.settle(id, frame.is_none());
            if frame.is_some() {
                return frame;
            }
        }
        None
    }

    /// A guest was restored from a snapshot, and these were its connections. Whoever writes to one learns from the answer that it is gone,
    /// but whoever only reads would wait for ever: a segment that is out of every window makes the guest ask, and the answer is RST.
    pub fn reset_connections(&mut self, connections: &[Connection]) {
        self.resets = connections.iter().copied().take(crate::config::MAX_STREAMS).collect();
    }

    fn provoke(&self, Connection { guest_port, remote }: Connection) -> Frame {
        let segment = TcpRepr {
            src_port: remote.port(),
            dst_port: guest_port,
            control: TcpControl::None,
            seq_number: TcpSeqNumber(0),
            ack_number: Some(TcpSeqNumber(0)),
            window_len: 0,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &[],
        };
        let (from, to) = (*remote.ip(), self.config.guest);
        self.link.wrap(wire::packet(from, to, IpProtocol::Tcp, segment.buffer_len(), |bytes| {
            segment.emit(&mut TcpPacket::new_unchecked(bytes), &from.into(), &to.into(), &ChecksumCapabilities::default());
        }))
    }

    /// A frame of the guest: from the Ethernet header on, of up to [`MAX_FRAME`] bytes. Checksums above IP are not looked at, and a TCP
    /// segment may be longer than the MTU.
    pub fn receive(&mut self, frame: &[u8]) {
        let Ok(header) = EthernetFrame::new_checked(frame) else { return };
        let (from, to) = (header.src_addr(), header.dst_addr());
        if frame.len() > MAX_FRAME || !from.is_unicast() || to.0 != self.config.gateway_mac && !to.is_broadcast() {
            return;
        }
        match header.ethertype() {
            EthernetProtocol::Arp => self.arp(header.payload()),
            EthernetProtocol::Ipv4 => {
                if let Ok(packet) = Ipv4Packet::new_checked(header.payload())
                    && packet.version() == 4
                    && usize::from(packet.header_len()) >= wire::IPV4
                {
                    self.link.guest_mac = from.0;
                    self.ipv4(&packet);
                }
            }
            _ => {}
        }
    }

    /// Every address of the network is here but the guest's own. Who asks before it has an address wants to know whether one is free.
    fn arp(&mut self, packet: &[u8]) {
        let Ok(packet) = ArpPacket::new_checked(packet) else { return };
        let Ok(ArpRepr::EthernetIpv4 { operation, source_hardware_addr, source_protocol_addr, target_protocol_addr: wanted, .. }) =
            ArpRepr::parse(&packet)
        else {
            return;
        };
        let taken = wanted == self.config.gateway || wanted == self.config.host;
        let probe = source_protocol_addr.is_unspecified() || source_protocol_addr == wanted;
        if operation != ArpOperation::Request
            || !source_hardware_addr.is_unicast()
            || wanted == self.config.guest
            || !self.config.is_local(wanted)
            || probe && !taken
        {
            return;
        }
        self.link.guest_mac = source_hardware_addr.0;
        let reply = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: EthernetAddress(self.config.gateway_mac),
            source_protocol_addr: wanted,
            target_hardware_addr: source_hardware_addr,
            target_protocol_addr: source_protocol_addr,
        };
        let mut bytes = vec![0; ETHERNET + reply.buffer_len()];
        wire::put_ethernet(&mut bytes, self.config.gateway_mac, source_hardware_addr.0, EthernetProtocol::Arp);
        reply.emit(&mut ArpPacket::new_unchecked(&mut bytes[ETHERNET..]));
        self.reply(Frame::whole(bytes));
    }

    fn ipv4(&mut self, packet: &Ipv4Packet<&[u8]>) {
        if is_fragment(packet) {
            if packet.src_addr() == self.config.guest
                && let Some(whole) = self.fragments.add(packet, self.now)
                && let Ok(whole) = Ipv4Packet::new_checked(&whole[..])
            {
                self.ipv4(&whole);
            }
            return;
        }
        let to = packet.dst_addr();
        let may_ask = packet.src_addr().is_unspecified() || packet.src_addr() == self.config.guest;
        if packet.next_header() == IpProtocol::Udp
            && may_ask
            && (to.is_broadcast() || to == self.config.gateway)
            && let Ok(datagram) = UdpPacket::new_checked(packet.payload())
            && datagram.dst_port() == DHCP_SERVER
        {
            return self.lease(datagram.payload());
        }
        if packet.src_addr() != self.config.guest {
            return;
        }
        let bytes = &packet.as_ref()[..usize::from(packet.total_len())];
        let route = self.config.route(to);
        if matches!(route, Route::To(_)) && packet.hop_limit() <= 1 {
            let message = wire::time_exceeded(self.config.gateway, self.config.guest, bytes);
            return message.into_iter().for_each(|packet| self.send_packet(packet));
        }
        match packet.next_header() {
            IpProtocol::Tcp => self.tcp(route, bytes, packet),
            IpProtocol::Udp => self.udp(route, bytes, packet),
            IpProtocol::Icmp => self.icmp(route, bytes, packet),
            _ if route == Route::Many => {}
            _ => self.tell_unreachable(Icmpv4DstUnreachable::ProtoUnreachable, bytes),
        }
    }

    fn tcp(&mut self, route: Route, bytes: &[u8], packet: &Ipv4Packet<&[u8]>) {
        let Ok(segment) = TcpPacket::new_checked(packet.payload()) else { return };
        let remote = SocketAddrV4::new(packet.dst_addr(), segment.dst_port());
        let key = Key { protocol: Protocol::Tcp, guest_port: segment.src_port(), remote };
        if self.stream_in(key, bytes, &segment) || route == Route::Many || segment.src_port() == 0 || remote.port() == 0 {
            return;
        }
        match (route, is_opening(&segment)) {
            (Route::To(to), true) => self.stream_out(key, SocketAddrV4::new(to, remote.port()), bytes),
            (Route::Gateway, true) if remote.port() == names::PORT => self.stream_to_names(key, bytes),
            (Route::Denied, true) => self.tell_unreachable(Icmpv4DstUnreachable::CommProhibited, bytes),
            (Route::Nobody, true) => self.tell_unreachable(Icmpv4DstUnreachable::HostUnreachable, bytes),
            _ => self.refuse(bytes),
        }
    }

    fn udp(&mut self, route: Route, bytes: &[u8], packet: &Ipv4Packet<&[u8]>) {
        let Ok(datagram) = UdpPacket::new_checked(packet.payload()) else { return };
        let remote = SocketAddrV4::new(packet.dst_addr(), datagram.dst_port());
        let key = Key { protocol: Protocol::Udp, guest_port: datagram.src_port(), remote };
        let known = self.flows.find(&key).is_some();
        match route {
            _ if remote.port() == 0 => {}
            Route::To(to) => self.datagram_out(key, SocketAddrV4::new(to, remote.port()), bytes, datagram.payload()),
            Route::Gateway if known => self.datagram_out(key, remote, bytes, datagram.payload()),
            Route::Gateway if remote.port() == names::PORT => self.name_datagram(key.guest_port, datagram.payload()),
            Route::Gateway => self.tell_unreachable(Icmpv4DstUnreachable::PortUnreachable, bytes),
            Route::Denied => self.tell_unreachable(Icmpv4DstUnreachable::CommProhibited, bytes),
            Route::Nobody => self.tell_unreachable(Icmpv4DstUnreachable::HostUnreachable, bytes),
            Route::Many => {}
        }
    }

    fn icmp(&mut self, route: Route, bytes: &[u8], packet: &Ipv4Packet<&[u8]>) {
        let Ok(message) = Icmpv4Packet::new_checked(packet.payload()) else { return };
        if message.msg_type() != Icmpv4Message::EchoRequest {
            return;
        }
        match route {
            Route::Gateway => self.send_packet(wire::echo_reply(packet.dst_addr(), self.config.guest, &message)),
            Route::To(_) if packet.dst_addr() == self.config.host => {
                self.send_packet(wire::echo_reply(packet.dst_addr(), self.config.guest, &message));
            }
            Route::To(to) => self.echo_out(to, bytes, &message),
            Route::Denied => self.tell_unreachable(Icmpv4DstUnreachable::CommProhibited, bytes),
            Route::Nobody => self.tell_unreachable(Icmpv4DstUnreachable::HostUnreachable, bytes),
            Route::Many => {}
        }
    }

    fn lease(&mut self, message: &[u8]) {
        let Some(answer) = dhcp::respond(&self.config, message) else { return };
        let from = SocketAddrV4::new(self.config.gateway, DHCP_SERVER);
        // To everyone, since the guest may have no address yet.
        self.send_packet(wire::udp(from, SocketAddrV4::new(Ipv4Addr::BROADCAST, DHCP_CLIENT), &answer));
    }

    /// Sends a packet, in fragments if need be.
    pub(crate) fn send_packet(&mut self, packet: Vec<u8>) {
        let ident = self.next_ident;
        self.next_ident = self.next_ident.wrapping_add(1);
        for piece in wire::fragments(packet, self.config.mtu, ident) {
            let frame = self.link.wrap(piece);
            self.reply(frame);
        }
    }

    /// Queues a frame. A guest that makes the stack answer and takes no answers loses them.
    pub(crate) fn reply(&mut self, frame: Frame) {
        if self.replies.len() < 2 * MAX_FRAMES {
            self.replies.push_back(frame);
        }
    }

    /// There is room for what the host brings.
    pub(crate) fn has_room(&self) -> bool {
        self.replies.len() < MAX_FRAMES
    }

    pub(crate) fn act(&mut self, action: Action) {
        if let Action::Datagram { bytes, .. } = &action {
            self.outgoing += bytes.len();
        }
        self.actions.push_back(action);
    }

    /// The host keeps up with what it is asked.
    pub(crate) fn may_act(&self) -> bool {
        self.actions.len() < MAX_ACTIONS
    }

    /// A port of the gateway's that is free for something from outside.
    pub(crate) fn ephemeral(&mut self, protocol: Protocol, guest_port: u16) -> Option<SocketAddrV4> {
        for _ in EPHEMERAL {
            let remote = SocketAddrV4::new(self.config.gateway, self.next_port);
            self.next_port = if self.next_port == *EPHEMERAL.end() { *EPHEMERAL.start() } else { self.next_port + 1 };
            if guest_port != 0 && self.flows.find(&Key { protocol, guest_port, remote }).is_none() {
                return Some(remote);
            }
        }
        None
    }
}
