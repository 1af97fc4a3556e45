//! Frames and packets.

use crate::config::Mac;
use devices::net::wire::{Header, PartialChecksum};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, Ipv4Repr,
    TcpPacket, UdpPacket,
};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET: usize = 14;
/// Bytes of an IPv4 header without options, as all of ours are.
pub(crate) const IPV4: usize = 20;
/// Bytes of a UDP header.
pub(crate) const UDP: usize = 8;
/// Bytes in front of the data of an ICMP message.
pub(crate) const ICMP: usize = 8;

const HOP_LIMIT: u8 = 64;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What is still to be done to it; nothing that its receiver did not agree to.
    pub header: Header,
    /// From the Ethernet header on, without a check sequence.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// A frame that nothing is to be done to.
    pub fn whole(bytes: Vec<u8>) -> Self {
        Self { header: Header::default(), bytes }
    }
}

/// Writes an Ethernet header.
pub(crate) fn put_ethernet(frame: &mut [u8], from: Mac, to: Mac, protocol: EthernetProtocol) {
    let mut header = EthernetFrame::new_unchecked(frame);
    header.set_src_addr(EthernetAddress(from));
    header.set_dst_addr(EthernetAddress(to));
    header.set_ethertype(protocol);
}

/// A packet of `length` bytes behind its IP header, which `emit` writes; in front of it is room for an Ethernet header. Checksums of
/// protocols above IP are the caller's.
pub(crate) fn packet(from: Ipv4Addr, to: Ipv4Addr, protocol: IpProtocol, length: usize, emit: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET + IPV4 + length];
    let header = Ipv4Repr { src_addr: from, dst_addr: to, next_header: protocol, payload_len: length, hop_limit: HOP_LIMIT };
    header.emit(&mut Ipv4Packet::new_unchecked(&mut frame[ETHERNET..]), &ChecksumCapabilities::default());
    emit(&mut frame[ETHERNET + IPV4..]);
    frame
}

/// A UDP datagram, as [`packet`] makes it.
pub(crate) fn udp(from: SocketAddrV4, to: SocketAddrV4, data: &[u8]) -> Vec<u8> {
    packet(*from.ip(), *to.ip(), IpProtocol::Udp, UDP + data.len(), |bytes| {
        let length = bytes.len() as u16;
        let mut datagram = UdpPacket::new_unchecked(bytes);
        datagram.set_src_port(from.port());
        datagram.set_dst_port(to.port());
        datagram.set_len(length);
        datagram.payload_mut().copy_from_slice(data);
        datagram.fill_checksum(&(*from.ip()).into(), &(*to.ip()).into());
    })
}

/// An answer to a ping, as [`packet`] makes it; `request` is the message from its ICMP header on.
pub(crate) fn echo_reply(from: Ipv4Addr, to: Ipv4Addr, request: &Icmpv4Packet<&[u8]>) -> Vec<u8> {
    let reply = Icmpv4Repr::EchoReply { ident: request.echo_ident(), seq_no: request.echo_seq_no(), data: request.data() };
    icmp(from, to, &reply)
}

/// Says of `original`, a packet of the guest, or its first bytes, that it did not arrive. ICMP errors, broadcasts and later fragments are
/// never answered so (RFC 1122, 3.2.2).
pub(crate) fn unreachable(from: Ipv4Addr, to: Ipv4Addr, reason: Icmpv4DstUnreachable, original: &[u8]) -> Option<Vec<u8>> {
    about(original, |header, data| icmp(from, to, &Icmpv4Repr::DstUnreachable { reason, header, data }))
}

/// Says of `original`, a packet of the guest, that it may not go further.
pub(crate) fn time_exceeded(from: Ipv4Addr, to: Ipv4Addr, original: &[u8]) -> Option<Vec<u8>> {
    let reason = smoltcp::wire::Icmpv4TimeExceeded::TtlExpired;
    about(original, |header, data| icmp(from, to, &Icmpv4Repr::TimeExceeded { reason, header, data }))
}

fn about(original: &[u8], message: impl FnOnce(Ipv4Repr, &[u8]) -> Vec<u8>) -> Option<Vec<u8>> {
    let packet = Ipv4Packet::new_unchecked(original);
    let start = usize::from(packet.header_len());
    let data = original.get(start..(start + ICMP).min(original.len()))?;
    let header = Ipv4Repr {
        src_addr: packet.src_addr(),
        dst_addr: packet.dst_addr(),
        next_header: packet.next_header(),
        payload_len: usize::from(packet.total_len()).saturating_sub(start),
        hop_limit: packet.hop_limit(),
    };
    Some(message(header, data))
}

fn icmp(from: Ipv4Addr, to: Ipv4Addr, message: &Icmpv4Repr<'_>) -> Vec<u8> {
    packet(from, to, IpProtocol::Icmp, message.buffer_len(), |bytes| {
        message.emit(&mut Icmpv4Packet::new_unchecked(bytes), &ChecksumCapabilities::default());
    })
}

/// Cuts a frame whose packet is longer than `mtu` into fragments.
pub(crate) fn fragments(frame: Vec<u8>, mtu: u16, ident: u16) -> Vec<Vec<u8>> {
    let room = (usize::from(mtu) - IPV4) & !7;
    if frame.len() - ETHERNET <= usize::from(mtu) {
        return vec![frame];
    }
    let (headers, data) = frame.split_at(ETHERNET + IPV4);
    let count = data.len().div_ceil(room);
    let fragment = |(number, data): (usize, &[u8])| {
        let mut fragment = [headers, data].concat();
        let mut packet = Ipv4Packet::new_unchecked(&mut fragment[ETHERNET..]);
        packet.set_total_len((IPV4 + data.len()) as u16);
        packet.set_ident(ident);
        packet.set_dont_frag(false);
        packet.set_more_frags(number + 1 < count);
        packet.set_frag_offset((number * room) as u16);
        packet.fill_checksum();
        fragment
    };
    data.chunks(room).enumerate().map(fragment).collect()
}

/// Writes the checksums of a frame with a TCP segment; that of TCP covers only the pseudo-header if it is to be `partial`.
pub(crate) fn finish_tcp(bytes: &mut [u8], partial: bool) -> Option<PartialChecksum> {
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes[ETHERNET..]);
    packet.fill_checksum();
    let (from, to) = (packet.src_addr(), packet.dst_addr());
    let length = packet.payload_mut().len() as u32;
    let mut segment = TcpPacket::new_unchecked(packet.payload_mut());
    if !partial {
        segment.fill_checksum(&from.into(), &to.into());
        return None;
    }
    segment.set_checksum(pseudo_header(from, to, IpProtocol::Tcp, length));
    Some(PartialChecksum { start: (ETHERNET + IPV4) as u16, offset: 16 })
}

/// The sum over the pseudo-header, not inverted.
pub(crate) fn pseudo_header(from: Ipv4Addr, to: Ipv4Addr, protocol: IpProtocol, length: u32) -> u16 {
    let halves = |address: Ipv4Addr| (address.to_bits() >> 16) + (address.to_bits() & 0xffff);
    fold(halves(from) + halves(to) + u32::from(u8::from(protocol)) + (length >> 16) + (length & 0xffff))
}

const fn fold(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

/// The sum over `bytes`, not inverted.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    // 65,535 bytes make less than 2^31.
    let sum: u32 = pairs.iter().map(|&pair| u32::from(u16::from_be_bytes(pair))).sum();
    fold(sum + rest.first().map_or(0, |&last| u32::from(last) << 8))
}

/// The packet is a piece of one.
pub(crate) fn is_fragment(packet: &Ipv4Packet<&[u8]>) -> bool {
    packet.more_frags() || packet.frag_offset() != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, 127, last)
    }

    #[test]
    fn fragments_are_within_the_mtu_and_hold_everything() {
        let data: Vec<u8> = (0..5000_u32).map(|at| at as u8).collect();
        let frame = udp(SocketAddrV4::new(address(1), 1), SocketAddrV4::new(address(3), 2), &data);
        let whole = frame[ETHERNET + IPV4..].to_vec();
        let mut joined: Vec<u8> = Vec::new();
        let parts = fragments(frame, 1500, 7);
        for (number, part) in parts.iter().enumerate() {
            let packet = Ipv4Packet::new_checked(&part[ETHERNET..]).unwrap();
            assert!(packet.verify_checksum());
            assert!(usize::from(packet.total_len()) <= 1500);
            assert_eq!(usize::from(packet.frag_offset()), joined.len());
            assert_eq!(packet.more_frags(), number + 1 < parts.len());
            joined.extend(packet.payload());
        }
        assert_eq!(joined, whole);
    }

    #[test]
    fn a_partial_checksum_is_completed_by_the_sum_of_the_rest() {
        let mut frame = packet(address(1), address(3), IpProtocol::Tcp, 25, |bytes| {
            bytes.copy_from_slice(&[0, 80, 0, 99, 1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x10, 9, 9, 0, 0, 0, 0, 1, 2, 3, 4, 5]);
        });
        let mut complete = frame.clone();
        assert_eq!(finish_tcp(&mut complete, false), None);
        let partial = finish_tcp(&mut frame, true).unwrap();
        let start = usize::from(partial.start);
        let at = start + usize::from(partial.offset);
        let completed = !sum(&frame[start..]);
        frame[at..at + 2].copy_from_slice(&completed.to_be_bytes());
        assert_eq!(frame, complete);
        assert!(TcpPacket::new_checked(&complete[ETHERNET + IPV4..]).unwrap().verify_checksum(&address(1).into(), &address(3).into()));
    }
}
