//! What a driver leaves to its device, done here, where the other end of the cable is no stack of ours and takes whole frames only.

use crate::wire::{ETHERNET, Frame, IPV4, sum};
use devices::net::wire::{Header, PartialChecksum};
use smoltcp::wire::{EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, TcpPacket};

impl Frame {
    /// The frame as frames are sent on a wire: with its checksums, none of them longer than the segments that it stands for. Nothing, if what
    /// the driver says of it makes no sense.
    pub fn into_plain(self) -> Vec<Vec<u8>> {
        let Self { header: Header { checksum, segment }, mut bytes } = self;
        if let Some(size) = segment {
            return segments(&bytes, size).unwrap_or_default();
        }
        match checksum {
            Some(partial) => complete(&mut bytes, partial).map(|()| vec![bytes]).unwrap_or_default(),
            None => vec![bytes],
        }
    }
}

fn complete(frame: &mut [u8], PartialChecksum { start, offset }: PartialChecksum) -> Option<()> {
    let covered = frame.get_mut(usize::from(start)..)?;
    let checksum = !sum(covered);
    // A sum of zero means that there is none, in UDP; its complement is as good everywhere else (RFC 768).
    let checksum = if checksum == 0 { u16::MAX } else { checksum };
    covered.get_mut(usize::from(offset)..)?.first_chunk_mut().map(|field| *field = checksum.to_be_bytes())
}

/// Cuts a TCP segment over IPv4 into segments of `size` bytes of data.
fn segments(frame: &[u8], size: u16) -> Option<Vec<Vec<u8>>> {
    let header = EthernetFrame::new_checked(frame).ok()?;
    let packet = Ipv4Packet::new_checked(header.payload()).ok()?;
    let start = usize::from(packet.header_len());
    if header.ethertype() != EthernetProtocol::Ipv4 || packet.next_header() != IpProtocol::Tcp || start < IPV4 || size == 0 {
        return None;
    }
    let segment = TcpPacket::new_checked(packet.payload()).ok()?;
    let (from, to) = (packet.src_addr(), packet.dst_addr());
    let headers = ETHERNET + start + usize::from(segment.header_len());
    let data = segment.payload();
    let count = data.len().div_ceil(usize::from(size)).max(1);
    let cut = |number: usize| {
        let at = number * usize::from(size);
        let data = &data[at..(at + usize::from(size)).min(data.len())];
        let mut bytes = [&frame[..headers], data].concat();
        let length = (bytes.len() - ETHERNET) as u16;
        let mut packet = Ipv4Packet::new_unchecked(&mut bytes[ETHERNET..]);
        packet.set_total_len(length);
        packet.set_ident(packet.ident().wrapping_add(number as u16));
        packet.fill_checksum();
        let mut piece = TcpPacket::new_unchecked(packet.payload_mut());
        piece.set_seq_number(segment.seq_number() + at);
        // What ends something is said by the last, and what was just received by the first.
        let last = number + 1 == count;
        piece.set_fin(segment.fin() && last);
        piece.set_psh(segment.psh() && last);
        piece.set_cwr(segment.cwr() && number == 0);
        piece.fill_checksum(&from.into(), &to.into());
        bytes
    };
    Some((0..count).map(cut).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{packet, put_ethernet};
    use std::net::Ipv4Addr;

    const FROM: Ipv4Addr = Ipv4Addr::new(192, 168, 127, 3);
    const TO: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn long(data: usize, flags: u8) -> Frame {
        let mut bytes = packet(FROM, TO, IpProtocol::Tcp, 20 + data, |bytes| {
            bytes[..20].copy_from_slice(&[0, 80, 0, 99, 0xff, 0xff, 0xff, 0xf0, 5, 6, 7, 8, 0x50, flags, 9, 9, 0, 0, 0, 0]);
            bytes[20..].iter_mut().enumerate().for_each(|(at, byte)| *byte = at as u8);
        });
        put_ethernet(&mut bytes, [2; 6], [4; 6], EthernetProtocol::Ipv4);
        let checksum = Some(PartialChecksum { start: 34, offset: 16 });
        Frame { header: Header { checksum, segment: Some(1000) }, bytes }
    }

    #[test]
    fn a_long_segment_becomes_short_ones() {
        let mut joined: Vec<u8> = Vec::new();
        let pieces = long(2500, 0x99).into_plain();
        assert_eq!(pieces.len(), 3);
        for (number, piece) in pieces.iter().enumerate() {
            let packet = Ipv4Packet::new_checked(&piece[ETHERNET..]).unwrap();
            assert!(packet.verify_checksum());
            let segment = TcpPacket::new_checked(packet.payload()).unwrap();
            assert!(segment.verify_checksum(&FROM.into(), &TO.into()));
            assert_eq!(segment.seq_number().0, (-16_i32).wrapping_add(joined.len() as i32));
            assert_eq!((segment.cwr(), segment.fin(), segment.psh(), segment.ack()), (number == 0, number == 2, number == 2, true));
            joined.extend(segment.payload());
        }
        assert!(joined.iter().enumerate().all(|(at, &byte)| byte == at as u8));
        assert_eq!(joined.len(), 2500);
    }

    #[test]
    fn what_makes_no_sense_is_dropped() {
        let good = long(100, 0x10);
        for (at, byte) in [(12, 0x86), (ETHERNET, 0x40), (ETHERNET + 9, 17), (ETHERNET + IPV4 + 12, 0x10), (ETHERNET + 2, 0xff)] {
            let mut bad = good.clone();
            bad.bytes[at] = byte;
            assert!(bad.into_plain().is_empty(), "byte {at}");
        }
        for checksum in [PartialChecksum { start: 5000, offset: 0 }, PartialChecksum { start: 34, offset: 5000 }] {
            assert!(Frame { header: Header { checksum: Some(checksum), segment: None }, ..good.clone() }.into_plain().is_empty());
        }
        assert!(Frame { header: Header { segment: Some(0), ..good.header }, ..good }.into_plain().is_empty());
    }
}
