//! The 9P mount as a virtio device.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod driver;

use devices::p9::{Access, MemoryFs, P9};
use devices::virtio::MmioTransport;
use devices::virtio::spec::mmio;
use driver::{Buffer, Guest, reencode};

fn message(kind: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let mut bytes = (7 + body.len() as u32).to_le_bytes().to_vec();
    bytes.extend([kind, 1, 0]);
    bytes.extend(body);
    bytes
}

fn version() -> Vec<u8> {
    message(100, &[&8192u32.to_le_bytes(), b"\x08\x009P2000.L"])
}

fn attach() -> Vec<u8> {
    message(104, &[&0u32.to_le_bytes(), &u32::MAX.to_le_bytes(), &[0; 2], &[0; 2], &0u32.to_le_bytes()])
}

fn walk(newfid: u32, name: &str) -> Vec<u8> {
    message(110, &[&0u32.to_le_bytes(), &newfid.to_le_bytes(), &1u16.to_le_bytes(), &(name.len() as u16).to_le_bytes(), name.as_bytes()])
}

fn open(fid: u32) -> Vec<u8> {
    message(12, &[&fid.to_le_bytes(), &0u32.to_le_bytes()])
}

fn read(fid: u32, count: u32) -> Vec<u8> {
    message(116, &[&fid.to_le_bytes(), &0u64.to_le_bytes(), &count.to_le_bytes()])
}

fn guest() -> Guest<P9<MemoryFs>> {
    let mut fs = MemoryFs::new(1 << 20);
    fs.write_file("info", b"c: sh\n").unwrap();
    let mut guest = Guest::new(P9::new("wasi1", fs, Access::ReadWrite).unwrap());
    guest.start();
    guest
}

fn ask(guest: &mut Guest<P9<MemoryFs>>, message: &[u8]) -> Vec<u8> {
    guest.request(0, &[Buffer::Readable(message), Buffer::Writable(4096)])
}

#[test]
fn the_tag_is_in_the_configuration_space() {
    let mut guest = guest();
    assert_eq!(guest.reg(mmio::DEVICE_ID), 9);
    assert_eq!(guest.offered_features() & 0xff_ffff, 1);
    assert_eq!(guest.read(mmio::CONFIG, 2), 5);
    let tag: Vec<u8> = (0..6).map(|index| guest.read(mmio::CONFIG + 2 + index, 1) as u8).collect();
    assert_eq!(tag, b"wasi1\0");
}

#[test]
fn a_tag_is_a_short_text() {
    for length in [0, 256] {
        let refused = P9::new(&"x".repeat(length), MemoryFs::new(1 << 20), Access::ReadWrite);
        assert_eq!(refused.unwrap_err().length, length);
    }
}

#[test]
fn requests_in_pieces_are_answered_in_pieces() {
    let mut guest = guest();
    ask(&mut guest, &version());
    ask(&mut guest, &attach());
    let walk = walk(1, "info");
    let (head, tail) = walk.split_at(7);
    let reply = guest.request(0, &[Buffer::Readable(head), Buffer::Readable(tail), Buffer::Writable(4), Buffer::Writable(100)]);
    assert_eq!((reply.len(), reply[4]), (22, 111));
    ask(&mut guest, &open(1));
    // As Linux asks for data: eleven bytes of header, then the pages of the reader.
    let reply = guest.request(0, &[Buffer::Readable(&read(1, 6)), Buffer::Writable(11), Buffer::Writable(6)]);
    assert_eq!(&reply[7..], b"\x06\0\0\0c: sh\n");
    assert_eq!(guest.device.device().protocol_errors(), 0);
}

#[test]
fn broken_messages_leave_the_device_working() {
    let mut guest = guest();
    assert_eq!(guest.request(0, &[Buffer::Writable(64)])[4], 7);
    assert!(guest.request(0, &[Buffer::Readable(&version())]).is_empty(), "no room for a reply");
    assert!(guest.request(0, &[Buffer::Readable(b"xyz"), Buffer::Writable(10)]).is_empty());
    let long = [version(), vec![0; 100_000]].concat();
    assert_eq!(ask(&mut guest, &long)[4], 7);
    assert_eq!(ask(&mut guest, &version())[4], 101);
    assert!(!guest.needs_reset());
    assert_eq!(guest.device.device().protocol_errors(), 3);
}

#[test]
fn a_session_goes_on_after_a_restore() {
    let mut guest = guest();
    for message in [version(), attach(), walk(1, "info"), open(1)] {
        ask(&mut guest, &message);
    }
    guest.replace_device(|transport| {
        let device = transport.device();
        let fs = MemoryFs::restore(&reencode(&device.filesystem().save())).unwrap();
        let device = P9::restore(fs, Access::ReadWrite, &reencode(&device.save())).unwrap();
        MmioTransport::restore(device, &reencode(&transport.save())).unwrap()
    });
    assert_eq!(&ask(&mut guest, &read(1, 100))[11..], b"c: sh\n");
    let written = guest.with_device(|device, _| Ok(device.filesystem_mut().write_file("entropy", b"new")));
    assert_eq!(written, Some(Ok(())));
    assert_eq!(guest.device.device().tag(), "wasi1");
    assert_eq!(ask(&mut guest, &walk(2, "entropy"))[4], 111);
}

#[test]
fn a_reset_ends_the_session() {
    let mut guest = guest();
    ask(&mut guest, &version());
    ask(&mut guest, &attach());
    guest.start();
    assert_eq!(ask(&mut guest, &walk(1, "info"))[4], 7);
}
