//! The block device, and the disk over an unchanging base.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod driver;

use devices::blk::request::{
    MAX_ZERO_SECTORS, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_WRITE_ZEROES, VIRTIO_BLK_S_IOERR,
    VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
    VIRTIO_BLK_T_WRITE_ZEROES,
};
use devices::blk::{
    BLOCK_SIZE, Blk, BlkState, BlockBackend, BlockError, BlockSource, CowBackend, CowState, MemoryStore, ReadOnlyBackend, ZeroSource,
};
use devices::virtio::spec::mmio;
use devices::virtio::{DriverFault, MmioTransport};
use driver::{Buffer, Guest, reencode};
use proptest::prelude::*;

/// A base whose bytes tell where they are.
#[derive(Debug, Clone)]
struct Pattern(u64);

impl BlockSource for Pattern {
    fn size(&self) -> u64 {
        self.0
    }
    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), BlockError> {
        assert!(offset + bytes.len() as u64 <= self.0);
        for (byte, position) in bytes.iter_mut().zip(offset..) {
            *byte = pattern(position);
        }
        Ok(())
    }
}

fn pattern(position: u64) -> u8 {
    (position / 512 * 13 + position % 512 + 1) as u8
}

/// Sectors of the test disk: three blocks and a half.
const SECTORS: u64 = 28;
const SIZE: usize = SECTORS as usize * 512;

type Cow = CowBackend<Pattern, MemoryStore>;

fn cow(capacity: u32) -> Cow {
    CowBackend::new(Pattern(SIZE as u64), MemoryStore::new(capacity))
}

fn disk(capacity: u32) -> Guest<Blk<Cow>> {
    let mut guest = Guest::new(Blk::new(cow(capacity), "disk-0"));
    guest.start();
    guest
}

fn header(request_type: u32, sector: u64) -> Vec<u8> {
    let mut bytes = request_type.to_le_bytes().to_vec();
    bytes.extend([0; 4]);
    bytes.extend(sector.to_le_bytes());
    bytes
}

fn read<B: BlockBackend>(guest: &mut Guest<Blk<B>>, sector: u64, len: u32) -> (u8, Vec<u8>) {
    let mut bytes = guest.request(0, &[Buffer::Readable(&header(VIRTIO_BLK_T_IN, sector)), Buffer::Writable(len), Buffer::Writable(1)]);
    assert_eq!(bytes.len(), len as usize + 1);
    (bytes.pop().unwrap(), bytes)
}

fn write<B: BlockBackend>(guest: &mut Guest<Blk<B>>, sector: u64, bytes: &[u8]) -> u8 {
    guest.request(0, &[Buffer::Readable(&header(VIRTIO_BLK_T_OUT, sector)), Buffer::Readable(bytes), Buffer::Writable(1)])[0]
}

fn zero<B: BlockBackend>(guest: &mut Guest<Blk<B>>, request_type: u32, sector: u64, sectors: u32, flags: u32) -> u8 {
    let mut range = sector.to_le_bytes().to_vec();
    range.extend(sectors.to_le_bytes());
    range.extend(flags.to_le_bytes());
    guest.request(0, &[Buffer::Readable(&header(request_type, 0)), Buffer::Readable(&range), Buffer::Writable(1)])[0]
}

#[test]
fn announces_its_size_and_limits() {
    let mut guest = disk(8);
    assert_eq!(guest.read(mmio::CONFIG, 8), SECTORS);
    assert_eq!(guest.reg(mmio::CONFIG + 12), 254);
    assert_eq!(guest.reg(mmio::CONFIG + 20), 512);
    assert_eq!(guest.reg(mmio::CONFIG + 36), MAX_ZERO_SECTORS);
    assert_eq!(guest.reg(mmio::CONFIG + 44), 8);
    assert_eq!(guest.read(mmio::CONFIG + 56, 1), 1);
    let writable = VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES;
    assert_eq!(guest.offered_features() & (writable | VIRTIO_BLK_F_RO), writable);
}

#[test]
fn tells_its_identity() {
    let mut guest = disk(8);
    let id = guest.request(0, &[Buffer::Readable(&header(VIRTIO_BLK_T_GET_ID, 0)), Buffer::Writable(20), Buffer::Writable(1)]);
    assert_eq!(id, b"disk-0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
}

#[test]
fn reads_back_what_was_written() {
    let mut guest = disk(8);
    let data: Vec<u8> = (0..1536_u32).map(|index| (index % 255 + 1) as u8).collect();
    assert_eq!(write(&mut guest, 7, &data), VIRTIO_BLK_S_OK);
    let (status, bytes) = read(&mut guest, 0, SIZE as u32);
    assert_eq!(status, VIRTIO_BLK_S_OK);
    let mut expected: Vec<u8> = (0..SIZE as u64).map(pattern).collect();
    expected[7 * 512..10 * 512].copy_from_slice(&data);
    assert_eq!(bytes, expected);
    assert_eq!(guest.request(0, &[Buffer::Readable(&header(VIRTIO_BLK_T_FLUSH, 0)), Buffer::Writable(1)]), [VIRTIO_BLK_S_OK]);
}

#[test]
fn buffers_may_be_cut_anywhere() {
    let mut guest = disk(8);
    let head = header(VIRTIO_BLK_T_IN, 1);
    let answer =
        guest.request(0, &[Buffer::Readable(&head[..5]), Buffer::Readable(&head[5..]), Buffer::Writable(3), Buffer::Writable(510)]);
    assert_eq!(answer[..512], (512..1024).map(pattern).collect::<Vec<_>>());
    assert_eq!(answer[512], VIRTIO_BLK_S_OK);
}

#[test]
fn requests_outside_the_disk_or_of_odd_length_fail() {
    let mut guest = disk(8);
    for (sector, len) in [(SECTORS, 512), (SECTORS - 1, 1024), (u64::MAX, 512), (u64::MAX / 512, 512), (0, 511), (0, 513)] {
        assert_eq!(read(&mut guest, sector, len), (VIRTIO_BLK_S_IOERR, vec![0; len as usize]), "read {sector} {len}");
        assert_eq!(write(&mut guest, sector, &vec![1; len as usize]), VIRTIO_BLK_S_IOERR, "write {sector} {len}");
    }
    for (sector, sectors) in [(SECTORS, 1), (0, SECTORS as u32 + 1), (u64::MAX, 1), (0, u32::MAX)] {
        assert_eq!(zero(&mut guest, VIRTIO_BLK_T_WRITE_ZEROES, sector, sectors, 0), VIRTIO_BLK_S_IOERR);
    }
    assert_eq!(guest.request(0, &[Buffer::Readable(&[0; 15]), Buffer::Writable(1)]), [VIRTIO_BLK_S_IOERR]);
    assert_eq!(guest.device.rejected(), 17);
    assert_eq!(guest.device.device().backend().blocks_stored(), 0);
    assert!(!guest.needs_reset());
}

#[test]
fn unknown_requests_and_flags_are_unsupported() {
    let mut guest = disk(8);
    assert_eq!(guest.request(0, &[Buffer::Readable(&header(14, 0)), Buffer::Writable(1)]), [VIRTIO_BLK_S_UNSUPP]);
    assert_eq!(zero(&mut guest, VIRTIO_BLK_T_DISCARD, 0, 8, 1), VIRTIO_BLK_S_UNSUPP);
    assert_eq!(zero(&mut guest, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
    assert_eq!(zero(&mut guest, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 1), VIRTIO_BLK_S_OK);
}

#[test]
fn a_request_without_room_for_the_status_needs_a_reset() {
    let mut guest = disk(8);
    guest.submit(0, &[Buffer::Readable(&header(VIRTIO_BLK_T_FLUSH, 0))]);
    guest.notify(0);
    assert_eq!(guest.device.last_fault(), Some(DriverFault::RequestTooShort { needed: 1, available: 0 }));
}

#[test]
fn a_read_only_disk_is_not_written() {
    let mut guest = Guest::new(Blk::new(ReadOnlyBackend(Pattern(SIZE as u64)), "image"));
    guest.start();
    let writing = VIRTIO_BLK_F_RO | VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES;
    assert_eq!(guest.offered_features() & writing, VIRTIO_BLK_F_RO);
    assert_eq!(write(&mut guest, 0, &[1; 512]), VIRTIO_BLK_S_IOERR);
    assert_eq!(zero(&mut guest, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_IOERR);
    assert_eq!(read(&mut guest, 0, 512), (VIRTIO_BLK_S_OK, (0..512).map(pattern).collect()));
    assert_eq!(guest.device.device().errors(), 2);
}

#[test]
fn a_full_store_is_an_io_error_that_the_host_sees() {
    let mut guest = disk(1);
    assert_eq!(write(&mut guest, 0, &[1; 512]), VIRTIO_BLK_S_OK);
    assert!(!guest.device.device().backend().was_full());
    assert_eq!(write(&mut guest, 8, &[1; 512]), VIRTIO_BLK_S_IOERR);
    assert!(guest.device.device().backend().was_full());
    assert_eq!(write(&mut guest, 1, &[2; 512]), VIRTIO_BLK_S_OK, "a block that has its slot can still be written");
    assert_eq!(zero(&mut guest, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_OK);
    assert_eq!(write(&mut guest, 8, &[1; 512]), VIRTIO_BLK_S_OK, "discarding made room");
    assert_eq!(read(&mut guest, 0, 512).1, [0; 512]);
}

#[test]
fn zeroes_take_no_room() {
    let mut sparse = CowBackend::new(ZeroSource::new((1 << 40) + 100), MemoryStore::new(4));
    assert_eq!(sparse.size(), 1 << 40);
    sparse.write_at(5000, &[0; 20_000]).unwrap();
    sparse.write_zeroes_at(0, 64 << 20).unwrap();
    sparse.write_at(1 << 39, &[1; BLOCK_SIZE]).unwrap();
    assert_eq!(sparse.blocks_stored(), 1);
    sparse.write_at(1 << 39, &[0; BLOCK_SIZE]).unwrap();
    assert_eq!(sparse.blocks_stored(), 0);
    let state = sparse.save().unwrap();
    assert_eq!((state.zeroed.len(), state.written.len()), (0, 0));
}

#[test]
fn a_restored_disk_has_its_changes() {
    let mut guest = disk(8);
    write(&mut guest, 26, &[9; 1024]);
    zero(&mut guest, VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 0);
    let (_, before) = read(&mut guest, 0, SIZE as u32);
    let transport = reencode(&guest.device.save());
    let state: BlkState = reencode(&guest.device.device().save());
    let overlay: CowState = reencode(&guest.with_device(|disk, _| Ok(disk.backend_mut().save().unwrap())).unwrap());
    guest.replace_device(|_| {
        let backend = CowBackend::restore(Pattern(SIZE as u64), MemoryStore::new(8), &overlay).unwrap();
        MmioTransport::restore(Blk::restore(backend, &state).unwrap(), &transport).unwrap()
    });
    assert_eq!(read(&mut guest, 0, SIZE as u32), (VIRTIO_BLK_S_OK, before));
    let again = guest.with_device(|disk, _| Ok(disk.backend_mut().save().unwrap())).unwrap();
    assert_eq!(again, overlay);
}

#[test]
fn impossible_records_are_refused() {
    let restore = |state: &CowState, capacity| CowBackend::restore(Pattern(SIZE as u64), MemoryStore::new(capacity), state);
    let mut changed = cow(8);
    changed.write_at(0, &[1; 2 * BLOCK_SIZE]).unwrap();
    changed.write_zeroes_at(2 * BLOCK_SIZE as u64, BLOCK_SIZE as u64).unwrap();
    let good = changed.save().unwrap();
    assert!(restore(&good, 2).is_ok());
    assert!(restore(&good, 1).is_err(), "no room");
    let damages: [fn(&mut CowState); 5] = [
        |state| state.size += 512,
        |state| state.written.swap(0, 1),
        |state| state.written[1].number = 4,
        |state| state.zeroed[0] = u64::MAX,
        |state| state.zeroed[0] = 1,
    ];
    for damage in damages {
        let mut state = good.clone();
        damage(&mut state);
        assert!(restore(&state, 8).is_err());
    }
    let state = disk(8).device.device().save();
    assert!(Blk::restore(CowBackend::new(Pattern(512), MemoryStore::new(1)), &state).is_err());
    assert!(Blk::restore(ReadOnlyBackend(Pattern(SIZE as u64)), &state).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// The disk behaves as an array of bytes, also across a save and restore.
    #[test]
    fn a_disk_is_an_array_of_bytes(
        steps in prop::collection::vec((0..4_u8, 0..SECTORS, 1..SECTORS, any::<u8>()), 1..40),
        zero_base in any::<bool>(),
    ) {
        let base: Box<dyn BlockSource> = if zero_base { Box::new(ZeroSource::new(SIZE as u64)) } else { Box::new(Pattern(SIZE as u64)) };
        let mut model = vec![0; SIZE];
        let mut disk = CowBackend::new(base, MemoryStore::new(4));
        disk.read_at(0, &mut model).unwrap();
        for (step, sector, sectors, value) in steps {
            let (start, len) = (sector as usize * 512, sectors.min(SECTORS - sector) as usize * 512);
            let range = &mut model[start..start + len];
            match step {
                0 => { range.fill(value); disk.write_at(start as u64, &vec![value; len]).unwrap(); }
                1 => { range.fill(0); disk.write_zeroes_at(start as u64, len as u64).unwrap(); }
                2 => {
                    disk.discard_at(start as u64, len as u64).unwrap();
                    let (first, end) = (start.next_multiple_of(BLOCK_SIZE), (start + len) / BLOCK_SIZE * BLOCK_SIZE);
                    if first < end { model[first..end].fill(0); }
                }
                _ => {
                    let state = reencode(&disk.save().unwrap());
                    let base: Box<dyn BlockSource> = if zero_base { Box::new(ZeroSource::new(SIZE as u64)) } else { Box::new(Pattern(SIZE as u64)) };
                    disk = CowBackend::restore(base, MemoryStore::new(4), &state).unwrap();
                }
            }
            let mut bytes = vec![1; SIZE];
            disk.read_at(0, &mut bytes).unwrap();
            prop_assert_eq!(&bytes, &model);
            let (mut part, middle) = (vec![1; len], &model[start..start + len]);
            disk.read_at(start as u64, &mut part).unwrap();
            prop_assert_eq!(&part, middle);
            prop_assert!(disk.blocks_stored() <= 4);
        }
    }

    /// Any request is answered or needs a reset.
    #[test]
    fn any_request_is_survived(head in prop::collection::vec(any::<u8>(), 0..40), kind in 0..16_u32, sector in 0..40_u64, data in 0..3000_usize, room in 0..3000_u32) {
        let mut guest = disk(2);
        let mut bytes = header(kind, sector);
        bytes.extend(&head);
        bytes.resize(bytes.len() + data, 7);
        guest.submit(0, &[Buffer::Readable(&head), Buffer::Writable(room)]);
        guest.submit(0, &[Buffer::Readable(&bytes), Buffer::Writable(room)]);
        guest.notify(0);
        prop_assert!(guest.used(0).is_some() || guest.needs_reset());
    }
}
