//! Snapshots in memory: no file system is between, so these are the costs of looking at, digesting and copying pages.

use crate::guest;
use criterion::{Criterion, Throughput};
use emu::machine::Machine;
use snapshot::{Delta, GROUP_SIZE, MachineId, Model, PAGE_SIZE, Pages, Snapshot, Space, Travelling, Writer, pack};
use std::hint::black_box;
use std::io::Cursor;

/// Bytes of RAM.
const RAM: usize = 64 << 20;
/// Pages from address 0 on that are in use, and pages of which one in four is.
const DENSE: usize = 16 << 20;
const SPARSE: usize = 16 << 20;
/// Every how many bytes a page is new in the delta.
const NEW: usize = 32 << 10;
/// RAM of what is packed for travelling, which takes long.
const SMALL: usize = 2 << 20;

/// Runs the benchmarks of this subject.
pub fn measure(criterion: &mut Criterion) {
    let mut ram = filled(RAM);
    let base = saved(&ram);
    let pages = Snapshot::open(base.as_slice()).unwrap().page_count(Space::Ram);
    let in_use = Throughput::Bytes(pages * PAGE_SIZE as u64);

    let mut group = criterion.benchmark_group("snapshot");
    group.throughput(in_use.clone());
    group.bench_function("save", |bencher| bencher.iter(|| saved(&ram)));
    group.bench_function("verify", |bencher| bencher.iter(|| Snapshot::open(base.as_slice()).unwrap().verify_all().unwrap()));
    group.bench_function("restore by reading", |bencher| {
        let snapshot = Snapshot::open(base.as_slice()).unwrap();
        let mut group = Box::new([0; GROUP_SIZE]);
        bencher.iter(|| {
            snapshot.group_numbers(Space::Ram).for_each(|number| assert!(snapshot.read_group(Space::Ram, number, &mut group).unwrap()))
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("open", |bencher| bencher.iter(|| Snapshot::open(black_box(base.as_slice())).unwrap()));

    let mut machine = guest::running(|a| a.hlt());
    let records = records(&mut machine);
    group.bench_function("restore the records", |bencher| {
        bencher.iter(|| guest::restored(&Snapshot::open(black_box(records.as_slice())).unwrap()));
    });

    let is_new = |page: u64| (page as usize * PAGE_SIZE).is_multiple_of(NEW);
    for page in ram.chunks_exact_mut(PAGE_SIZE).step_by(NEW / PAGE_SIZE) {
        page[0] ^= 0x5a;
    }
    let whole = Snapshot::open(base.as_slice()).unwrap();
    let changed = || {
        let mut file = Cursor::new(Vec::new());
        Writer::new(id(RAM)).write_delta(Pages::with_hint(&ram, &is_new), &whole, &mut file).unwrap();
        file.into_inner()
    };
    let delta = changed();
    group.throughput(Throughput::Elements((RAM / NEW) as u64));
    group.bench_function("save a delta", |bencher| bencher.iter(changed));
    group.bench_function("restore a delta", |bencher| {
        bencher.iter(|| {
            let delta = Delta::open(black_box(delta.as_slice())).unwrap();
            delta.require_base(&whole).unwrap();
            let mut put = 0;
            let count = |_, bytes: &[u8]| {
                put += bytes.len();
                Ok::<_, snapshot::Error>(())
            };
            delta.patch(Space::Ram, count).unwrap();
            assert_eq!(put, RAM / NEW * PAGE_SIZE);
        });
    });

    let small = saved(&filled(SMALL));
    let small = Snapshot::open(small.as_slice()).unwrap();
    let travelling = || {
        let mut file = Cursor::new(Vec::new());
        pack(&small, &mut file).unwrap();
        file.into_inner()
    };
    let packed = travelling();
    group.throughput(Throughput::Bytes(small.page_count(Space::Ram) * PAGE_SIZE as u64)).sample_size(10);
    group.bench_function("pack", |bencher| bencher.iter(travelling));
    group.bench_function("unpack", |bencher| {
        bencher.iter(|| {
            let mut file = Cursor::new(Vec::new());
            Travelling::open(black_box(packed.as_slice())).unwrap().unpack(&mut file, |_| ()).unwrap();
            file.into_inner()
        });
    });
    group.finish();
}

fn id(ram: usize) -> MachineId {
    MachineId { model: Model::new("bench/1").unwrap(), ram_size: ram as u64, devices: 0 }
}

/// Memory whose used pages have 64 KiB of random bytes and then 64 KiB of one word after the other, as code and tables do.
fn filled(ram: usize) -> Vec<u8> {
    let mut bytes = vec![0; ram];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for (number, page) in bytes.chunks_exact_mut(PAGE_SIZE).enumerate() {
        let at = number * PAGE_SIZE;
        if at >= DENSE && (at >= DENSE + SPARSE || !number.is_multiple_of(4)) {
            continue;
        }
        let regular = at / GROUP_SIZE % 2 == 1;
        for (word, place) in page.chunks_exact_mut(8).enumerate() {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let value = if regular { 0xffff_8880_0000_0000 + ((number * 512 + word) as u64 & 0xfff) * 64 } else { random };
            place.copy_from_slice(&value.to_le_bytes());
        }
    }
    bytes
}

/// The machine's records in a snapshot without pages.
fn records(machine: &mut Machine) -> Vec<u8> {
    let mut writer = Writer::new(machine.id());
    machine.save(&mut writer).unwrap();
    writer.records().unwrap()
}

fn saved(ram: &[u8]) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    Writer::new(id(ram.len())).write(Pages::new(ram), &mut file).unwrap();
    file.into_inner()
}
