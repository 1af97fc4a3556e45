//! Frames are input like any other: every host gives the guest the same ones at the same counts, gets the same from it, and comes to the same bytes.

use crate::host::{assert_same, in_turn};
use crate::log::{Call, Listener};
use crate::machine::{Host, save};
use crate::{RecordedRun, file};
use devices::console::Port;
use devices::net::Pushed;
use devices::net::wire::Header;
use emu::machine::Stop;
use std::path::Path;

const GUEST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const GUEST: [u8; 4] = [192, 168, 127, 3];
const US: [u8; 4] = [192, 168, 127, 9];
const ARP: [u8; 2] = [8, 6];
const IPV4: [u8; 2] = [8, 0];

/// A question for the guest's Ethernet address.
fn arp_request() -> Vec<u8> {
    [&[0xff; 6][..], &OUR_MAC, &ARP, &[0, 1, 8, 0, 6, 4, 0, 1], &OUR_MAC, &US, &[0; 6], &GUEST].concat()
}

/// A ping with `length` bytes of data.
fn ping(length: usize) -> Vec<u8> {
    let data: Vec<u8> = (0..length).map(|n| n as u8).collect();
    let total = (28 + length) as u16;
    let mut ip = [&[0x45, 0][..], &total.to_be_bytes(), &[0, 1, 0, 0, 64, 1, 0, 0], &US, &GUEST].concat();
    let mut echo = [&[8, 0, 0, 0, 0, 7, 0, 1][..], &data].concat();
    for (bytes, at) in [(&mut ip, 10), (&mut echo, 2)] {
        let sum = checksum(bytes).to_be_bytes();
        bytes[at..at + 2].copy_from_slice(&sum);
    }
    [&GUEST_MAC[..], &OUR_MAC, &IPV4, &ip, &echo].concat()
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// What came of it: the guest's frames with the counts at which they were taken, and the machine.
fn exchange(host: Host, settled: &Path, way: &RecordedRun) -> (Vec<(u64, Vec<u8>)>, Vec<u8>) {
    let listener = Listener::default();
    let mut engine = host.restore(settled, &listener);
    let is_last = |call: &Call| matches!(call, Call::Push(Port::Stdin, bytes) if bytes == b"exit 0\n");
    let last = way.log.iter().position(is_last).unwrap();
    way.log[..last].iter().for_each(|call| way.replay(&mut *engine, call, &listener));
    let mut frames: Vec<_> = engine.take_frames().into_iter().map(|(_, frame)| (0, frame)).collect();
    for frame in [arp_request(), ping(56), ping(1472)] {
        assert_eq!(engine.push_frame(Header::default(), &frame), Pushed::Delivered, "{host:?}");
        while !matches!(engine.run(u64::MAX).unwrap(), Stop::Halted { .. }) {}
        let count = engine.count();
        frames.extend(engine.take_frames().into_iter().map(|(_, frame)| (count, frame)));
    }
    (frames, save(&mut *engine))
}

#[test]
fn frames_are_input_like_any_other() {
    in_turn(|| {
        let settled = file("before-frames.snap", &RecordedRun::boot().end);
        let lines = ["ip link set eth0 up; ip address add 192.168.127.3/24 dev eth0\n", "exit 0\n"];
        let way = RecordedRun::through(&settled, &lines);
        let (frames, end) = exchange(Host::Native, &settled, &way);
        let answers =
            |kind: [u8; 2]| frames.iter().filter(move |(count, frame)| *count > 0 && frame[..6] == OUR_MAC && frame[12..14] == kind);
        assert_eq!((answers(ARP).count(), answers(IPV4).map(|(_, frame)| frame.len()).collect::<Vec<_>>()), (1, vec![98, 1514]));
        for host in [Host::Aot, Host::Interpreter] {
            let (others, other) = exchange(host, &settled, &way);
            assert_eq!(frames, others, "{host:?}");
            assert_same(&other, &end, &format!("after frames by {host:?} (first) and natively"));
        }
    });
}
