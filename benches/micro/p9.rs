//! 9P: a message to the server and its answer, and the same through a virtqueue.

use crate::virtqueue::driver::{Buffer, Guest};
use crate::virtqueue::measure_requests;
use criterion::{Criterion, Throughput};
use devices::p9::{Access, MemoryFs, P9};
use std::hint::black_box;

/// Room for an answer.
const ROOM: u32 = 64 << 10;
/// Files in the folder.
const FILES: usize = 100;
const READ: u32 = 4096;
/// Type of an answer that is an error.
const RLERROR: u8 = 7;

/// Runs the benchmarks of this subject.
pub fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("9p");
    group.throughput(Throughput::Elements(1));
    let mut mount = mount();
    let [version, attach] = session();
    serve(&mut mount, &version);
    serve(&mut mount, &attach);
    let opening = [walk(1, "file50"), open(1), read(1), clunk(1)];
    group.bench_function("walk, open, read 4 KiB, clunk", |bencher| {
        bencher.iter(|| opening.iter().for_each(|message| serve(&mut mount, message)))
    });
    // A walk without names copies the root.
    for message in [walk_nowhere(2), open(2), walk(3, "file50"), open(3)] {
        serve(&mut mount, &message);
    }
    for (name, message) in [("getattr", getattr(3)), ("read 4 KiB", read(3)), ("list 100 files", list(2))] {
        group.bench_function(name, |bencher| bencher.iter(|| serve(&mut mount, black_box(&message))));
    }

    let mut guest = Guest::new(self::mount());
    guest.start();
    for message in [version, attach, walk(3, "file50"), open(3)] {
        let answer = guest.request(0, &[Buffer::Readable(&message), Buffer::Writable(8192)]);
        assert_ne!(answer[4], RLERROR);
    }
    let buffers = [Buffer::Readable(&read(3)), Buffer::Writable(8192)];
    measure_requests(&mut group, "read 4 KiB through a virtqueue", &mut guest, 0, &buffers);
    group.finish();
}

fn mount() -> P9<MemoryFs> {
    let mut files = MemoryFs::new(1 << 20);
    (0..FILES).for_each(|number| files.write_file(&format!("file{number}"), &[7; READ as usize]).unwrap());
    P9::new("bench", files, Access::ReadWrite).unwrap()
}

fn serve(mount: &mut P9<MemoryFs>, message: &[u8]) {
    let answer = mount.serve(message, ROOM as usize);
    assert_eq!(answer[4], message[4] + 1, "message of type {}", message[4]);
}

/// A message as 9P2000.L frames it: length, type, tag.
fn message(kind: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let mut bytes = (7 + body.len() as u32).to_le_bytes().to_vec();
    bytes.extend([kind, 1, 0]);
    bytes.extend(body);
    bytes
}

/// Agrees on a version and attaches fid 0 to the root.
fn session() -> [Vec<u8>; 2] {
    [
        message(100, &[&ROOM.to_le_bytes(), b"\x08\x009P2000.L"]),
        message(104, &[&[0; 4], &u32::MAX.to_le_bytes(), &[0; 2], &[0; 2], &[0; 4]]),
    ]
}

fn walk(fid: u32, name: &str) -> Vec<u8> {
    message(110, &[&[0; 4], &fid.to_le_bytes(), &1u16.to_le_bytes(), &(name.len() as u16).to_le_bytes(), name.as_bytes()])
}

fn walk_nowhere(fid: u32) -> Vec<u8> {
    message(110, &[&[0; 4], &fid.to_le_bytes(), &[0; 2]])
}

fn open(fid: u32) -> Vec<u8> {
    message(12, &[&fid.to_le_bytes(), &[0; 4]])
}

fn read(fid: u32) -> Vec<u8> {
    message(116, &[&fid.to_le_bytes(), &[0; 8], &READ.to_le_bytes()])
}

fn list(fid: u32) -> Vec<u8> {
    message(40, &[&fid.to_le_bytes(), &[0; 8], &(ROOM / 2).to_le_bytes()])
}

fn getattr(fid: u32) -> Vec<u8> {
    message(24, &[&fid.to_le_bytes(), &0x7ffu64.to_le_bytes()])
}

fn clunk(fid: u32) -> Vec<u8> {
    message(120, &[&fid.to_le_bytes()])
}
