//! Packets that the guest has cut, put together again.

use crate::wire::IPV4;
use smoltcp::wire::Ipv4Packet;
use std::collections::BTreeMap;
use std::time::Duration;

/// Packets at a time of which something is missing.
const MAX_PACKETS: usize = 8;
/// Pieces of one packet.
const MAX_PIECES: usize = 256;
/// How long the rest of a packet may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Fragments with these in common are of one packet.
type Key = ([u8; 4], [u8; 4], u8, u16);

struct Pieces {
    key: Key,
    until: Duration,
    /// Bytes behind the header, by where they belong.
    pieces: BTreeMap<usize, Vec<u8>>,
    /// Bytes behind the header in all, once the last piece is there.
    length: Option<usize>,
    header: Vec<u8>,
}

#[derive(Default)]
pub(crate) struct Fragments {
    packets: Vec<Pieces>,
}

impl Fragments {
    /// Takes a fragment. The packet, if it is whole now.
    pub fn add(&mut self, packet: &Ipv4Packet<&[u8]>, now: Duration) -> Option<Vec<u8>> {
        self.packets.retain(|pieces| pieces.until > now);
        let key = (packet.src_addr().octets(), packet.dst_addr().octets(), packet.next_header().into(), packet.ident());
        let (offset, data) = (usize::from(packet.frag_offset()), packet.payload());
        let end = offset + data.len();
        let at = self.packets.iter().position(|pieces| pieces.key == key).unwrap_or_else(|| {
            if self.packets.len() == MAX_PACKETS {
                self.packets.remove(0);
            }
            self.packets.push(Pieces { key, until: now + PATIENCE, pieces: BTreeMap::new(), length: None, header: Vec::new() });
            self.packets.len() - 1
        });
        let pieces = &mut self.packets[at];
        let last = !packet.more_frags();
        // Pieces that overlap are somebody's trick (RFC 5722 forbids them for IPv6); one that comes twice is not.
        let twice = pieces.pieces.get(&offset).is_some_and(|other| other[..] == *data);
        let overlaps = pieces.pieces.range(..end).next_back().is_some_and(|(&other, bytes)| other + bytes.len() > offset);
        let misfit = (!last && (data.is_empty() || data.len() % 8 != 0))
            || end > usize::from(u16::MAX) - IPV4
            || pieces.length.is_some_and(|length| end > length || last && end != length)
            || last && pieces.pieces.last_key_value().is_some_and(|(&other, bytes)| other + bytes.len() > end)
            || pieces.pieces.len() == MAX_PIECES;
        if twice {
            return None;
        }
        if overlaps || misfit {
            self.packets.remove(at);
            return None;
        }
        pieces.pieces.insert(offset, data.to_vec());
        if last {
            pieces.length = Some(end);
        }
        if offset == 0 {
            pieces.header = packet.as_ref()[..usize::from(packet.header_len())].to_vec();
        }
        let there: usize = pieces.pieces.values().map(Vec::len).sum();
        if pieces.length != Some(there) || pieces.header.is_empty() {
            return None;
        }
        let pieces = self.packets.remove(at);
        let mut whole = pieces.header;
        pieces.pieces.values().for_each(|bytes| whole.extend(bytes));
        let length = u16::try_from(whole.len()).ok()?;
        let mut packet = Ipv4Packet::new_unchecked(&mut whole[..]);
        packet.set_total_len(length);
        packet.set_more_frags(false);
        packet.set_frag_offset(0);
        Some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ETHERNET, fragments, udp};
    use proptest::prelude::*;
    use std::net::SocketAddrV4;

    const NOW: Duration = Duration::from_secs(1);

    fn cut(length: usize, ident: u16) -> (Vec<u8>, Vec<Vec<u8>>) {
        let end = |last| SocketAddrV4::new([192, 168, 127, last].into(), 9);
        let data: Vec<u8> = (0..length).map(|at| (at * 7) as u8).collect();
        let frame = udp(end(3), end(1), &data);
        let pieces = fragments(frame.clone(), 576, ident).into_iter().map(|piece| piece[ETHERNET..].to_vec()).collect();
        (frame[ETHERNET + IPV4..].to_vec(), pieces)
    }

    fn add(fragments: &mut Fragments, piece: &[u8], now: Duration) -> Option<Vec<u8>> {
        fragments.add(&Ipv4Packet::new_checked(piece).unwrap(), now)
    }

    proptest! {
        #[test]
        fn pieces_in_any_order_make_the_packet(length in 600..4000_usize, order in prop::collection::vec(0..100_usize, 0..20)) {
            let (whole, mut pieces) = cut(length, 1);
            for (at, other) in order.iter().enumerate() {
                let count = pieces.len();
                pieces.swap(at % count, other % count);
            }
            let mut fragments = Fragments::default();
            let (last, others) = pieces.split_last().unwrap();
            for piece in others {
                prop_assert_eq!(add(&mut fragments, piece, NOW), None);
                prop_assert_eq!(add(&mut fragments, piece, NOW), None);
            }
            let packet = add(&mut fragments, last, NOW).unwrap();
            prop_assert_eq!(&packet[IPV4..], &whole[..]);
            prop_assert!(fragments.packets.is_empty());
        }
    }

    #[test]
    fn pieces_that_overlap_are_thrown_away() {
        let (_, pieces) = cut(2000, 1);
        let mut fragments = Fragments::default();
        add(&mut fragments, &pieces[1], NOW);
        let mut shifted = pieces[1].clone();
        Ipv4Packet::new_unchecked(&mut shifted[..]).set_frag_offset(8);
        add(&mut fragments, &shifted, NOW);
        assert!(fragments.packets.is_empty());
    }

    #[test]
    fn packets_that_stay_in_pieces_are_forgotten() {
        let mut fragments = Fragments::default();
        for ident in 0..1000 {
            let (_, pieces) = cut(2000, ident);
            add(&mut fragments, &pieces[0], NOW);
            assert!(fragments.packets.len() <= MAX_PACKETS);
        }
        let (_, pieces) = cut(2000, 7);
        add(&mut fragments, &pieces[0], NOW + PATIENCE);
        assert_eq!(fragments.packets.len(), 1);
    }
}
