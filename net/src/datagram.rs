//! Datagrams: UDP, and pings.

use crate::action::{Action, Failure};
use crate::config::{IDLE, MAX_DATAGRAM_FLOWS, MAX_OUTGOING};
use crate::flow::{Body, FlowId, Key, Protocol};
use crate::stack::Stack;
use crate::wire::{self, ETHERNET, ICMP, IPV4, UDP, unreachable};
use smoltcp::wire::{Icmpv4DstUnreachable, Icmpv4Message, Icmpv4Packet, IpProtocol, Ipv4Packet};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Bytes of a packet that an ICMP error quotes: the longest header, and eight more.
const QUOTED: usize = 60 + 8;

/// A flow of datagrams.
pub(crate) struct Datagrams {
    /// The beginning of the last one that the guest sent, for when it did not arrive.
    last: Vec<u8>,
}

impl Stack {
    /// A datagram of the guest for somebody outside.
    pub(crate) fn datagram_out(&mut self, key: Key, to: SocketAddrV4, packet: &[u8], data: &[u8]) {
        let last = packet[..packet.len().min(QUOTED)].to_vec();
        let id = match self.flows.find(&key) {
            Some(id) => id,
            None => {
                if !self.may_act() {
                    return;
                }
                let id = self.insert_datagrams(key);
                self.act(Action::Open { flow: id, protocol: key.protocol, to });
                id
            }
        };
        if let Some(Body::Datagrams(datagrams)) = self.flows.get_mut(id).map(|flow| &mut flow.body) {
            datagrams.last = last;
        }
        self.flows.set_timer(id, Some(self.now + IDLE));
        if self.outgoing + data.len() <= MAX_OUTGOING && self.may_act() {
            self.act(Action::Datagram { flow: id, bytes: data.to_vec() });
        }
    }

    fn insert_datagrams(&mut self, key: Key) -> FlowId {
        if self.flows.datagrams() >= MAX_DATAGRAM_FLOWS
            && let Some(oldest) = self.flows.least_recently_used()
        {
            self.expire_datagrams(oldest);
        }
        let id = self.flows.insert(key, Body::Datagrams(Datagrams { last: Vec::new() }));
        self.flows.set_timer(id, Some(self.now + IDLE));
        id
    }

    pub(crate) fn expire_datagrams(&mut self, id: FlowId) {
        self.flows.remove(id);
        self.act(Action::Close { flow: id, reset: false });
    }

    /// A host's port is forwarded to the guest's, and somebody has sent to it for the first time: the flow for what they send, and what
    /// the guest answers them.
    pub fn open_datagrams(&mut self, guest_port: u16) -> Option<FlowId> {
        let remote = self.ephemeral(Protocol::Udp, guest_port)?;
        Some(self.insert_datagrams(Key { protocol: Protocol::Udp, guest_port, remote }))
    }

    /// A datagram for the guest has arrived for a flow; a ping's answer is taken from its ICMP header on. Reading more than
    /// [`Stack::interest`] asks for loses it.
    pub fn datagram(&mut self, id: FlowId, bytes: &[u8]) {
        let Some(key) = self.flows.get(id).map(|flow| flow.key) else { return };
        let longest = usize::from(u16::MAX) - IPV4 - UDP;
        if bytes.len() > longest || !self.has_room() {
            return;
        }
        self.flows.set_timer(id, Some(self.now + IDLE));
        let guest = self.config.guest;
        let packet = match key.protocol {
            Protocol::Udp => wire::udp(key.remote, SocketAddrV4::new(guest, key.guest_port), bytes),
            Protocol::Echo => {
                let Ok(message) = Icmpv4Packet::new_checked(bytes) else { return };
                if message.msg_type() != Icmpv4Message::EchoReply {
                    return;
                }
                wire::packet(*key.remote.ip(), guest, IpProtocol::Icmp, bytes.len(), |buffer| {
                    buffer.copy_from_slice(bytes);
                    let mut message = Icmpv4Packet::new_unchecked(buffer);
                    // The host has its own identifier.
                    message.set_echo_ident(key.guest_port);
                    message.fill_checksum();
                })
            }
            Protocol::Tcp => return,
        };
        self.send_packet(packet);
    }

    pub(crate) fn datagrams_failed(&mut self, id: FlowId, failure: Failure) {
        let Some(flow) = self.flows.remove(id) else { return };
        let Body::Datagrams(Datagrams { last }) = flow.body else { return };
        let reason = match failure {
            Failure::Refused if flow.key.protocol == Protocol::Udp => Icmpv4DstUnreachable::PortUnreachable,
            failure => failure.reason(),
        };
        self.tell_unreachable(reason, &last);
    }

    /// A packet of the guest, or its beginning, cannot be delivered.
    pub(crate) fn tell_unreachable(&mut self, reason: Icmpv4DstUnreachable, packet: &[u8]) {
        let (gateway, guest) = (self.config.gateway, self.config.guest);
        let from = match reason {
            // It is the host that was found, and has no such port.
            Icmpv4DstUnreachable::PortUnreachable => match Ipv4Packet::new_checked(packet) {
                Ok(packet) => packet.dst_addr(),
                Err(_) => destination(packet).unwrap_or(gateway),
            },
            _ => gateway,
        };
        unreachable(from, guest, reason, packet).into_iter().for_each(|packet| self.send_packet(packet));
    }

    /// A ping of the guest's.
    pub(crate) fn echo_out(&mut self, to: Ipv4Addr, packet: &[u8], message: &Icmpv4Packet<&[u8]>) {
        let key = Key {
            protocol: Protocol::Echo,
            guest_port: message.echo_ident(),
            remote: SocketAddrV4::new(Ipv4Packet::new_unchecked(packet).dst_addr(), 0),
        };
        let data = &packet[usize::from(Ipv4Packet::new_unchecked(packet).header_len())..];
        if data.len() >= ICMP {
            self.datagram_out(key, SocketAddrV4::new(to, 0), packet, data);
        }
    }
}

/// Where the packet went of which `beginning` is left.
fn destination(beginning: &[u8]) -> Option<Ipv4Addr> {
    (beginning.len() >= IPV4).then(|| Ipv4Packet::new_unchecked(beginning).dst_addr())
}

const _: () = assert!(QUOTED < 576 - ETHERNET);
