//! The network device.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod driver;

use devices::net::wire::{
    HEADER_SIZE, Header, PartialChecksum, RECEIVEQ, TRANSMITQ, VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4,
    VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_MRG_RXBUF,
};
use devices::net::{FrameSink, MAX_AWAITED_FRAME, MAX_FRAME, MIN_FRAME, Net, NetState, Offload, Pushed};
use devices::virtio::MmioTransport;
use devices::virtio::spec::feature::VIRTIO_F_VERSION_1;
use devices::virtio::spec::mmio;
use driver::{Buffer, Guest, Submitted, reencode};
use proptest::prelude::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const NOTHING: Header = Header { checksum: None, segment: None };
const LONG: Header = Header { checksum: Some(PartialChecksum { start: 34, offset: 16 }), segment: Some(1460) };

#[derive(Debug, Default)]
struct Sink(Vec<(Header, Vec<u8>)>);

impl FrameSink for Sink {
    fn send(&mut self, header: Header, frame: &[u8]) {
        self.0.push((header, frame.to_vec()));
    }
}

fn guest() -> Guest<Net<Sink>> {
    let mut guest = Guest::new(Net::new(Sink::default(), MAC, 1500));
    guest.start();
    guest
}

/// A guest whose driver takes only these features.
fn guest_with(features: u64) -> Guest<Net<Sink>> {
    let mut guest = Guest::new(Net::new(Sink::default(), MAC, 1500));
    guest.start_with(features | VIRTIO_F_VERSION_1);
    guest
}

fn push(guest: &mut Guest<Net<Sink>>, header: Header, frame: &[u8]) -> Pushed {
    guest.with_device(|device, queues| device.push_frame(header, frame, queues)).unwrap()
}

fn post(guest: &mut Guest<Net<Sink>>, count: usize, size: u32) -> Vec<Submitted> {
    (0..count).map(|_| guest.submit(RECEIVEQ, &[Buffer::Writable(size)])).collect()
}

/// What the driver finds in its buffers: the header, and the frame.
fn received(guest: &mut Guest<Net<Sink>>, buffers: &[Submitted]) -> (Vec<u8>, Vec<u8>) {
    let mut bytes = Vec::new();
    for buffer in buffers {
        let Some((head, length)) = guest.used(RECEIVEQ) else { break };
        assert_eq!(head, buffer.head);
        bytes.extend(guest.written(buffer, length));
    }
    let frame = bytes.split_off(HEADER_SIZE);
    (bytes, frame)
}

fn frame(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7) as u8).collect()
}

#[test]
fn the_driver_is_told_address_link_and_mtu() {
    let mut guest = guest();
    let config: Vec<u8> = (0..12).map(|at| guest.read(mmio::CONFIG + at, 1) as u8).collect();
    assert_eq!(config, [2, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0xdc, 5]);
    assert_eq!(guest.reg(mmio::DEVICE_ID), 1);
}

#[test]
fn frames_go_to_the_host_whatever_they_lie_in() {
    let mut guest = guest();
    let sent = frame(1000);
    guest.request(TRANSMITQ, &[Buffer::Readable(&[0; HEADER_SIZE]), Buffer::Readable(&sent)]);
    let whole = [&[0; HEADER_SIZE][..], &sent].concat();
    guest.request(TRANSMITQ, &[Buffer::Readable(&whole[..5]), Buffer::Readable(&whole[5..600]), Buffer::Readable(&whole[600..])]);
    let frames = std::mem::take(&mut guest.device.device_mut().sink_mut().0);
    assert_eq!(frames, [(NOTHING, sent.clone()), (NOTHING, sent)]);
}

#[test]
fn the_host_hears_what_is_left_to_it() {
    let mut guest = guest();
    let header = [1, 1, 66, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0];
    // With a congestion mark, too.
    for gso in [1, 0x81] {
        let mut header = header;
        header[1] = gso;
        guest.request(TRANSMITQ, &[Buffer::Readable(&header), Buffer::Readable(&frame(MAX_FRAME))]);
        assert_eq!(guest.device.device_mut().sink_mut().0.pop(), Some((LONG, frame(MAX_FRAME))));
    }
    assert_eq!(guest.device.rejected(), 0);
}

#[test]
fn frames_that_make_no_sense_are_counted_and_go_nowhere() {
    let sent = frame(100);
    let plain = [0; HEADER_SIZE];
    let udp = [1, 3, 42, 0, 0xb4, 5, 34, 0, 6, 0, 0, 0];
    let without_checksum = [0, 1, 66, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0];
    let of_nothing = [1, 1, 66, 0, 0, 0, 34, 0, 16, 0, 0, 0];
    for (header, frame) in
        [(udp, &sent), (without_checksum, &sent), (of_nothing, &sent), (plain, &frame(13)), (plain, &frame(MAX_FRAME + 1))]
    {
        let mut guest = guest();
        guest.request(TRANSMITQ, &[Buffer::Readable(&header), Buffer::Readable(frame)]);
        assert!(guest.device.device_mut().sink_mut().0.is_empty());
        assert_eq!(guest.device.rejected(), 1);
    }
    // What was not agreed on.
    for (features, header) in [(VIRTIO_NET_F_HOST_TSO4, LONG), (VIRTIO_NET_F_CSUM, LONG), (0, Header { segment: None, ..LONG })] {
        let mut guest = guest_with(features);
        guest.request(TRANSMITQ, &[Buffer::Readable(&header.to_bytes(&sent, 0)), Buffer::Readable(&sent)]);
        assert!(guest.device.device_mut().sink_mut().0.is_empty());
    }
    // Not even a header.
    let mut guest = guest();
    guest.submit(TRANSMITQ, &[Buffer::Readable(&[0; 5])]);
    guest.notify(TRANSMITQ);
    assert!(guest.needs_reset());
}

#[test]
fn frames_for_the_driver_wait_for_its_buffers() {
    let mut guest = guest();
    let sent = frame(1000);
    assert_eq!(push(&mut guest, NOTHING, &sent), Pushed::NoRoom);
    let buffers = post(&mut guest, 1, 1526);
    assert_eq!(push(&mut guest, NOTHING, &sent), Pushed::Delivered);
    assert!(guest.line.high);
    let (header, frame) = received(&mut guest, &buffers);
    assert_eq!((header, frame), ([[0; 10].as_slice(), &[1, 0]].concat(), sent.clone()));
    assert_eq!(push(&mut guest, NOTHING, &sent), Pushed::NoRoom);
}

#[test]
fn a_long_frame_lies_in_several_buffers() {
    let mut guest = guest();
    let sent = {
        let mut sent = frame(5000);
        // A TCP header of 32 bytes.
        sent[46] = 0x80;
        sent
    };
    let buffers = post(&mut guest, 3, 1526);
    assert_eq!(push(&mut guest, LONG, &sent), Pushed::NoRoom);
    assert_eq!(guest.used(RECEIVEQ), None);
    let buffers: Vec<Submitted> = buffers.into_iter().chain(post(&mut guest, 2, 1526)).collect();
    assert_eq!(push(&mut guest, LONG, &sent), Pushed::Delivered);
    let (header, frame) = received(&mut guest, &buffers);
    assert_eq!(header, [1, 1, 66, 0, 0xb4, 5, 34, 0, 16, 0, 4, 0]);
    assert_eq!(frame, sent);
    // The fifth is still there.
    assert_eq!(push(&mut guest, NOTHING, &[1; 60]), Pushed::Delivered);
}

#[test]
fn frames_that_the_driver_cannot_take_are_refused() {
    // Without merging, a frame lies in one buffer; one that is too short will not grow.
    let mut guest = guest_with(VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4);
    assert_eq!(push(&mut guest, NOTHING, &frame(1000)), Pushed::NoRoom);
    post(&mut guest, 2, 600);
    assert_eq!(push(&mut guest, NOTHING, &frame(1000)), Pushed::Refused);
    assert_eq!(push(&mut guest, LONG, &frame(500)), Pushed::Refused);
    assert_eq!(push(&mut guest, NOTHING, &frame(588)), Pushed::Delivered);
    assert_eq!(guest.device.device_mut().sink_mut().0.len(), 0);
    // With it, in all that there can be.
    let mut guest = guest_with(VIRTIO_NET_F_MRG_RXBUF);
    post(&mut guest, 64, 32);
    assert_eq!(push(&mut guest, NOTHING, &frame(4000)), Pushed::Refused);
    assert_eq!(push(&mut guest, NOTHING, &frame(64 * 32 - HEADER_SIZE)), Pushed::Delivered);
    for header in [LONG, Header { segment: None, ..LONG }] {
        assert_eq!(push(&mut guest, header, &frame(100)), Pushed::Refused);
    }
    for length in [0, 13, MAX_FRAME + 1] {
        assert_eq!(push(&mut guest, NOTHING, &frame(length)), Pushed::Refused);
    }
}

/// As Linux has them: buffers of 1,536 bytes, filled up again when fewer than half are left.
#[test]
fn a_driver_that_posts_buffers_when_half_are_used_is_not_waited_for() {
    let mut guest = guest();
    let mut posted = 0;
    for length in (MIN_FRAME..=MAX_AWAITED_FRAME).step_by(997).chain([MAX_AWAITED_FRAME; 9]) {
        if posted < 32 {
            posted += post(&mut guest, 64 - posted, 1536).len();
        }
        assert_eq!(push(&mut guest, NOTHING, &frame(length)), Pushed::Delivered, "{length} bytes with {posted} buffers");
        while guest.used(RECEIVEQ).is_some() {
            posted -= 1;
        }
    }
}

/// Where half of them are there, the driver has no reason to post more.
#[test]
fn a_frame_that_does_not_fit_into_half_of_the_buffers_is_not_waited_for() {
    let mut guest = guest();
    for (more, pushed) in [(31, Pushed::NoRoom), (2, Pushed::Refused), (31, Pushed::Delivered)] {
        post(&mut guest, more, 1536);
        assert_eq!(push(&mut guest, NOTHING, &frame(MAX_FRAME)), pushed, "after {more} more");
    }
}

#[test]
fn what_the_driver_takes_is_what_it_agreed_on() {
    let offload = |features| {
        let mut guest = guest_with(features);
        guest.with_device(|_, queues| Ok(Net::<Sink>::offload(queues))).unwrap()
    };
    let both = VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4;
    assert_eq!(offload(0), Offload::default());
    assert_eq!(offload(VIRTIO_NET_F_GUEST_CSUM), Offload { checksum: true, segmentation: false });
    assert_eq!(offload(both), Offload { checksum: true, segmentation: false });
    assert_eq!(offload(both | VIRTIO_NET_F_MRG_RXBUF), Offload { checksum: true, segmentation: true });
    assert_eq!(offload(VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_MRG_RXBUF), Offload::default());
}

#[test]
fn a_device_that_is_not_set_up_has_no_room() {
    let mut guest = Guest::new(Net::new(Sink::default(), MAC, 1500));
    assert_eq!(push(&mut guest, NOTHING, &frame(100)), Pushed::NoRoom);
}

#[test]
fn a_restored_device_goes_on() {
    let mut guest = guest();
    let buffers = post(&mut guest, 1, 1526);
    let transport = reencode(&guest.device.save());
    let state: NetState = reencode(&guest.device.device().save());
    guest.replace_device(|_| MmioTransport::restore(Net::restore(Sink::default(), &state).unwrap(), &transport).unwrap());
    assert_eq!(push(&mut guest, NOTHING, &frame(100)), Pushed::Delivered);
    assert_eq!(received(&mut guest, &buffers).1, frame(100));
    for bad in [NetState { mac: [1, 0, 0, 0, 0, 0], ..state.clone() }, NetState { mtu: 67, ..state }] {
        assert!(Net::restore(Sink::default(), &bad).is_err());
    }
}

proptest! {
    /// Whatever buffers there are, a frame is there in full or not at all.
    #[test]
    fn no_frame_is_cut(sizes in prop::collection::vec(0..3000_u32, 0..20), length in 14..9000_usize) {
        let mut guest = guest();
        let buffers: Vec<Submitted> = sizes.iter().map(|&size| guest.submit(RECEIVEQ, &[Buffer::Writable(size)])).collect();
        let sent = frame(length);
        let room: usize = sizes.iter().map(|&size| size as usize).sum();
        let pushed = push(&mut guest, NOTHING, &sent);
        prop_assert_eq!(pushed, if room >= length + HEADER_SIZE { Pushed::Delivered } else { Pushed::NoRoom });
        if pushed == Pushed::Delivered {
            let (header, frame) = received(&mut guest, &buffers);
            prop_assert_eq!(frame, sent);
            let used = u16::from_le_bytes([header[10], header[11]]);
            prop_assert!(sizes[..usize::from(used) - 1].iter().sum::<u32>() < (length + HEADER_SIZE) as u32);
        } else {
            prop_assert_eq!(guest.used(RECEIVEQ), None);
        }
    }

    /// Headers come out as they went in.
    #[test]
    fn headers_are_read_as_they_are_written(start: u16, offset: u16, size in 1..u16::MAX, long: bool, partial: bool) {
        let header = Header {
            checksum: (partial || long).then_some(PartialChecksum { start, offset }),
            segment: long.then_some(size),
        };
        prop_assert_eq!(Header::parse(header.to_bytes(&[], 1), u64::MAX), Some(header));
    }
}
