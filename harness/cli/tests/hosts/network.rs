//! Frames are input like any other: every host gives the guest the same ones at the same counts, gets the same from it, and comes to the same bytes.

use crate::host::{Place, in_turn};
use crate::log::Call;
use crate::machine::Host;
use crate::{RecordedRun, file};
use std::path::{Path, PathBuf};

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

/// A booted machine, at the barrier. Its link is up already, and nothing has moved on it.
fn settled(name: &str) -> PathBuf {
    let boot = RecordedRun::boot();
    assert!(!boot.log.iter().any(|call| matches!(call, Call::Sent(_))), "the guest has sent frames before the barrier");
    file(name, &boot.end)
}

/// A guest that is told its address, and is asked things by frames. What it answered, as the natively run machine did, is looked at.
fn way(settled: &Path) -> RecordedRun {
    let lines = ["ip link set eth0 up; ip address add 192.168.127.3/24 dev eth0\n", "exit 0\n"];
    let way = RecordedRun::through_with(settled, &lines, &[arp_request(), ping(56), ping(1472)]);
    let asked = way.log.iter().position(|call| matches!(call, Call::Frame(_))).unwrap();
    let answers = way.log[asked..].iter().filter_map(|call| match call {
        Call::Sent(bytes) if bytes[..6] == OUR_MAC => Some((bytes[12..14].to_vec(), bytes.len())),
        _ => None,
    });
    assert_eq!(answers.collect::<Vec<_>>(), [(ARP.to_vec(), 42), (IPV4.to_vec(), 98), (IPV4.to_vec(), 1514)]);
    way
}

#[test]
fn frames_are_input_like_any_other() {
    in_turn(|| {
        let settled = settled("before-frames.snap");
        let way = way(&settled);
        Place::HERE.into_iter().for_each(|place| _ = place.follow(&way, Some(&settled), "after frames"));
    });
}

#[test]
#[ignore = "wants wasmtime and a build for aarch64: make hosts"]
fn frames_are_input_like_any_other_on_more_hosts() {
    in_turn(|| {
        let settled = settled("before-frames-elsewhere.snap");
        let way = way(&settled);
        for place in [Place::Wasmtime, Place::Aarch64(Host::Native), Place::Aarch64(Host::Aot)] {
            place.follow(&way, Some(&settled), "after frames");
        }
    });
}
