//! A guest that asks for ever does not make the process grow for ever: after many requests, memory is within the bounds that there are.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use devices::blk::request::{VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK};
use devices::blk::{BLOCK_SIZE, Blk, CowBackend, MemoryStore, ZeroSource};
use devices::console::wire::{CONTROL_TRANSMITQ, ControlMessage};
use devices::console::{Console, ConsoleSink, INPUT_CAPACITY, Port, WindowSize};
use devices::p9::{Access, MemoryFs, P9};
use devices::platform::GuestMemory;
use driver::{Buffer, Guest};
use fuzz::meter::peak_of;
use net::{Action, Config, MAX_DATAGRAM_FLOWS, MAX_STREAMS, Stack};
use snapshot::Snapshot;

#[path = "../../devices/tests/driver/mod.rs"]
mod driver;

#[path = "../../snapshot/tests/common/mod.rs"]
mod common;

const MIB: usize = 1 << 20;

/// A 9P message: type, then fields.
fn message(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
    let body = fields.concat();
    [&(body.len() as u32 + 7).to_le_bytes()[..], &[kind, 0, 0], &body].concat()
}

fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u16).to_le_bytes()[..], text].concat()
}

fn share(capacity: u64) -> P9<MemoryFs> {
    let mut p9 = P9::new("share", MemoryFs::new(capacity), Access::ReadWrite).unwrap();
    ask(&mut p9, &message(100, &[&(1_u32 << 20).to_le_bytes(), &text(b"9P2000.L")])).unwrap();
    ask(&mut p9, &message(104, &[&[0; 4], &[0xff; 4], &text(b""), &text(b""), &[0; 4]])).unwrap();
    p9
}

/// The error's number, if it is one.
fn ask(p9: &mut P9<MemoryFs>, message: &[u8]) -> Result<(), u32> {
    let reply = p9.serve(message, 2 * MIB);
    if let [_, _, _, _, 7, _, _, a, b, c, d] = *reply {
        return Err(u32::from_le_bytes([a, b, c, d]));
    }
    assert_eq!(reply.get(4), Some(&(message[4] + 1)), "{reply:?}");
    Ok(())
}

/// Fids, open files, names, listings and attributes without end. All end in an error of their own.
#[test]
fn a_client_that_lets_nothing_go_is_refused() {
    let ((), peak) = peak_of(|| {
        let mut p9 = share(16 << 20);
        let mut refused = [false; 5];
        for number in 1..100_000_u32 {
            let fid = number.to_le_bytes();
            let name = text(format!("{number:0200}").as_bytes());
            let done = [
                // A new fid for the root, on which a file is made and stays open.
                ask(&mut p9, &message(110, &[&[0; 4], &fid, &[0, 0]])),
                ask(&mut p9, &message(14, &[&fid, &name, &2_u32.to_le_bytes(), &0o644_u32.to_le_bytes(), &[0; 4]])),
                ask(&mut p9, &message(118, &[&fid, &[0; 8], &64_u32.to_le_bytes(), &[1; 64]])),
                // A fid that is to set an attribute, and one that lists the root.
                ask(&mut p9, &message(110, &[&[0; 4], &(number | 1 << 30).to_le_bytes(), &[0, 0]])).and_then(|()| {
                    ask(&mut p9, &message(32, &[&(number | 1 << 30).to_le_bytes(), &text(b"user.a"), &1000_u64.to_le_bytes(), &[0; 4]]))
                }),
                ask(&mut p9, &message(110, &[&[0; 4], &(number | 1 << 31).to_le_bytes(), &[0, 0]]))
                    .and_then(|()| ask(&mut p9, &message(12, &[&(number | 1 << 31).to_le_bytes(), &[0; 4]])))
                    .and_then(|()| ask(&mut p9, &message(40, &[&(number | 1 << 31).to_le_bytes(), &[0; 8], &4096_u32.to_le_bytes()]))),
            ];
            refused.iter_mut().zip(done).for_each(|(refused, done)| *refused |= done.is_err());
        }
        assert_eq!(refused, [true; 5]);
        // It is the same server still.
        ask(&mut p9, &message(100, &[&8192_u32.to_le_bytes(), &text(b"9P2000.L")])).unwrap();
    });
    assert!(peak < 96 * MIB, "{} MiB", peak / MIB);
}

/// A disk of 64 GiB of which every block is written.
#[test]
fn a_disk_that_is_filled_is_full() {
    const ROOM: u32 = 512;
    let ((), peak) = peak_of(|| {
        let mut guest = Guest::new(Blk::new(CowBackend::new(ZeroSource::new(64 << 30), MemoryStore::new(ROOM)), "disk"));
        guest.start();
        let mut full = 0;
        for block in 0..20_000_u64 {
            let sector = block * 1009 % (16 << 20) * (BLOCK_SIZE as u64 / 512);
            let header = [&1_u32.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat();
            match guest.request(0, &[Buffer::Readable(&header), Buffer::Readable(&[7; 512]), Buffer::Writable(1)])[..] {
                [status] if u32::from(status) == u32::from(VIRTIO_BLK_S_OK) => assert!(block < u64::from(ROOM)),
                [status] if u32::from(status) == u32::from(VIRTIO_BLK_S_IOERR) => full += 1,
                ref other => panic!("{other:?}"),
            }
        }
        assert_eq!(full, 20_000 - ROOM);
    });
    assert!(peak < 8 * MIB, "{} KiB", peak / 1024);
}

/// Counts bytes.
#[derive(Debug, Default)]
struct Count(u64);

impl ConsoleSink for Count {
    fn write(&mut self, _: Port, bytes: &[u8]) {
        self.0 += bytes.len() as u64;
    }
}

/// Output without end, messages without end, input that the guest never takes, windows that change all the time.
#[test]
fn a_console_holds_its_input_and_no_more() {
    let ((), peak) = peak_of(|| {
        let mut guest = Guest::new(Console::new(Count::default()));
        guest.start();
        let opening = ControlMessage { id: 0, event: 3, value: 1 }.to_bytes();
        for round in 0..20_000_u16 {
            guest.submit(1, &[Buffer::Readable(&[b'y'; 8192])]);
            guest.notify(1);
            guest.submit(CONTROL_TRANSMITQ, &[Buffer::Readable(&opening)]);
            guest.notify(CONTROL_TRANSMITQ);
            guest.with_device(|console, queues| {
                console.resize(WindowSize { cols: round, rows: 1 }, queues)?;
                Port::ALL.into_iter().try_for_each(|port| console.push_input(port, &[0; 4096], queues).map(|_| ()))
            });
        }
        assert!(!guest.needs_reset());
        let console = guest.device.device_mut();
        assert_eq!(console.sink_mut().0, 20_000 * 8192);
        assert!(Port::ALL.iter().all(|&port| console.input_pending(port) == INPUT_CAPACITY));
    });
    assert!(peak < 4 * MIB, "{} KiB", peak / 1024);
}

/// Chains as large as they may be, of descriptors that all name the same memory.
#[test]
fn a_chain_is_no_larger_than_it_may_be() {
    let ((), peak) = peak_of(|| {
        let mut guest = Guest::new(P9::new("share", MemoryFs::new(1 << 20), Access::ReadWrite).unwrap());
        guest.start();
        let (table, size) = (guest.descriptor_area(0), guest.memory.size() as u32);
        for index in 0..128 {
            let flags = if index < 127 { driver::NEXT } else { 0 } | if index > 31 { driver::WRITE } else { 0 };
            guest.descriptor(table, index, 0, size / 8, flags, index + 1);
        }
        for _ in 0..100 {
            guest.make_available(0, 0);
            guest.notify(0);
        }
    });
    assert!(peak < 16 * MIB, "{} KiB", peak / 1024);
}

/// A packet of the guest: `ports` and what comes behind them.
fn packet(protocol: u8, to: u32, body: &[u8]) -> Vec<u8> {
    let config = Config::default();
    let mut frame = [&config.gateway_mac[..], &config.guest_mac, &[8, 0, 0x45, 0]].concat();
    frame.extend((20 + body.len() as u16).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    frame.extend(config.guest.octets());
    frame.extend(to.to_be_bytes());
    frame.extend(body);
    frame
}

/// Streams and datagrams to a hundred thousand places, with a host that connects all of them, and a guest that takes no frame.
#[test]
fn a_guest_that_opens_everything_has_no_more_than_it_may() {
    let (most, peak) = peak_of(|| {
        let config = Config::default();
        let buffers = 2 * config.buffer;
        let mut stack = Stack::new(config, std::time::Duration::ZERO);
        let (mut open, mut most) = (std::collections::BTreeSet::new(), 0);
        for number in 0..100_000_u32 {
            let [a, b, ..] = (number as u16).to_be_bytes();
            let syn = [a, b, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0];
            stack.receive(&packet(6, 0x0a00_0000 | number, &syn));
            stack.receive(&packet(17, 0x0a00_0000 | number, &[&[a, b, 0, 9, 0, 208, 0, 0][..], &[7; 200]].concat()));
            // A piece of a packet.
            let mut piece = packet(17, 0x0a00_0000, &[1; 64]);
            piece[18..21].copy_from_slice(&[a, b, 0x20]);
            stack.receive(&piece);
            while let Some(action) = stack.next_action() {
                match action {
                    Action::Open { flow, .. } => {
                        open.insert(flow);
                        stack.connected(flow);
                    }
                    Action::Close { flow, .. } => _ = open.remove(&flow),
                    _ => {}
                }
            }
            most = most.max(open.len());
        }
        assert_eq!(buffers, 256 << 10);
        most
    });
    assert!(most <= MAX_STREAMS + MAX_DATAGRAM_FLOWS, "{most} sockets of the host");
    assert!(peak < 160 * MIB, "{} MiB", peak / MIB);
}

/// Every count and length of the header as large as it gets, in a file of a few kilobytes whose digests fit.
#[test]
fn a_snapshot_s_counts_are_not_believed() {
    let good = common::small();
    for (offset, length) in (16..128).step_by(4).flat_map(|offset| [(offset, 4), (offset, 8)]) {
        for value in [u64::MAX, u64::MAX >> 1, 1 << 40, 0xffff_ffff, 1 << 31, 1 << 24, 1 << 20] {
            let mut file = good.clone();
            file[offset..offset + length].copy_from_slice(&value.to_le_bytes()[..length]);
            let (opened, peak) = peak_of(|| {
                // What it covers may be outside the file by now.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| common::reseal(&mut file)));
                Snapshot::open(file.as_slice()).map(|_| ())
            });
            assert!(peak < 4 * MIB + 4 * good.len(), "{value:#x} at {offset}: {} KiB, {opened:?}", peak / 1024);
        }
    }
}
