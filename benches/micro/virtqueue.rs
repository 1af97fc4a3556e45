//! Requests through a virtqueue: the transport, the rings and the device behind them. What the driver does is not measured.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use devices::blk::{Blk, CowBackend, MemoryStore, ReadOnlyBackend, ZeroSource};
use devices::console::{Console, ConsoleSink, Port};
use devices::rng::{DeterministicStream, EntropyDevice};
use devices::virtio::VirtioDevice;
use driver::{Buffer, Guest};
use std::time::{Duration, Instant};

#[path = "../../devices/tests/driver/mod.rs"]
pub mod driver;

/// Requests to each notification.
const BATCH: u16 = 8;
/// Transmit queue of the console's first port.
const CONSOLE_OUT: u16 = 1;
const DISK_SIZE: u64 = 64 << 20;

struct Nowhere;

impl ConsoleSink for Nowhere {
    fn write(&mut self, _: Port, _: &[u8]) {}
}

/// Runs the benchmarks of this subject.
pub fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("virtqueue");
    let read = [0; 16];
    let mut write = read;
    write[0] = 1;

    let disk = || Blk::new(ReadOnlyBackend(ZeroSource::new(DISK_SIZE)), "bench");
    requests(&mut group, "disk, read 512 bytes", disk(), 0, &[Buffer::Readable(&read), Buffer::Writable(512), Buffer::Writable(1)]);
    requests(&mut group, "disk, read 16 KiB", disk(), 0, &[Buffer::Readable(&read), Buffer::Writable(16 << 10), Buffer::Writable(1)]);
    let upper = Blk::new(CowBackend::new(ZeroSource::new(DISK_SIZE), MemoryStore::new(16)), "bench");
    let content = [7; 4096];
    let sectors = [Buffer::Readable(&write), Buffer::Readable(&content), Buffer::Writable(1)];
    requests(&mut group, "disk, write 4 KiB", upper, 0, &sectors);
    requests(&mut group, "console, write 64 bytes", Console::new(Nowhere), CONSOLE_OUT, &[Buffer::Readable(&[b'x'; 64])]);
    let stream = DeterministicStream::new([7; 32]);
    requests(&mut group, "entropy, 64 bytes", EntropyDevice::new(stream), 0, &[Buffer::Writable(64)]);
    group.finish();
}

/// Times notifications of [`BATCH`] requests each.
pub fn requests<D: VirtioDevice>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, device: D, queue: u16, buffers: &[Buffer<'_>]) {
    let mut guest = Guest::new(device);
    guest.start();
    measure_requests(group, name, &mut guest, queue, buffers);
}

/// The same for a device that is started.
pub fn measure_requests<D: VirtioDevice>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    guest: &mut Guest<D>,
    queue: u16,
    buffers: &[Buffer<'_>],
) {
    group.throughput(Throughput::Elements(BATCH.into()));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let mut time = Duration::ZERO;
            for _ in 0..iterations {
                (0..BATCH).for_each(|_| drop(guest.submit(queue, buffers)));
                let begun = Instant::now();
                guest.notify(queue);
                time += begun.elapsed();
                (0..BATCH).for_each(|_| assert!(guest.used(queue).is_some(), "{name}: a request was not served"));
            }
            time
        });
    });
}
