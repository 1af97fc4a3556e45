//! The MMIO transport and its queues, with a device that echoes what it reads.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod driver;

use devices::virtio::spec::{feature, interrupt, mmio};
use devices::virtio::{DriverFault, MmioTransport, VirtioDevice, Virtqueues};
use driver::{Buffer, Guest, INDIRECT, NEXT, RAM_SIZE, WRITE};
use proptest::prelude::*;

#[derive(Debug, Default)]
struct Echo {
    config: [u8; 6],
}

impl VirtioDevice for Echo {
    fn device_id(&self) -> u32 {
        42
    }
    fn features(&self) -> u64 {
        1 << 3
    }
    fn queue_sizes(&self) -> &[u16] {
        &[8, 256]
    }
    fn read_config(&self, offset: u64, bytes: &mut [u8]) {
        for (to, from) in bytes.iter_mut().zip(self.config.iter().skip(offset as usize)) {
            *to = *from;
        }
    }
    fn write_config(&mut self, offset: u64, bytes: &[u8]) {
        for (to, from) in self.config.iter_mut().skip(offset as usize).zip(bytes) {
            *to = *from;
        }
    }
    fn notify(&mut self, queue: u16, queues: &mut Virtqueues<'_>) -> Result<(), DriverFault> {
        while let Some(mut chain) = queues.next(queue)? {
            let mut bytes = vec![0; chain.readable() as usize];
            chain.read(queues.memory, &mut bytes)?;
            chain.write(queues.memory, &bytes)?;
            queues.complete(queue, chain)?;
        }
        Ok(())
    }
    fn reset(&mut self) {
        self.config = [0; 6];
    }
}

fn started() -> Guest<Echo> {
    let mut guest = Guest::new(Echo::default());
    guest.start();
    guest
}

#[test]
fn identifies_itself() {
    let mut guest = Guest::new(Echo::default());
    assert_eq!(guest.reg(mmio::MAGIC_VALUE), u32::from_le_bytes(*b"virt"));
    assert_eq!(guest.reg(mmio::VERSION), 2);
    assert_eq!(guest.reg(mmio::DEVICE_ID), 42);
    assert_eq!(guest.reg(mmio::SHM_LEN_LOW), u32::MAX);
    assert_eq!(guest.offered_features(), 1 << 3 | feature::VIRTIO_F_INDIRECT_DESC | feature::VIRTIO_F_VERSION_1);
    guest.set_reg(mmio::DEVICE_FEATURES_SEL, 2);
    assert_eq!(guest.reg(mmio::DEVICE_FEATURES), 0);
    assert_eq!(guest.read(mmio::MAGIC_VALUE, 1), 0);
    assert_eq!(guest.read(mmio::MAGIC_VALUE, 8), 0);
}

#[test]
fn features_not_offered_or_without_version_1_are_refused() {
    for features in [1 << 4 | feature::VIRTIO_F_VERSION_1, 1 << 3] {
        let mut guest = Guest::new(Echo::default());
        for half in 0..2 {
            guest.set_reg(mmio::DRIVER_FEATURES_SEL, half);
            guest.set_reg(mmio::DRIVER_FEATURES, (features >> (32 * half)) as u32);
        }
        guest.set_reg(mmio::STATUS, 0xb);
        assert_eq!(guest.reg(mmio::STATUS), 3);
    }
}

#[test]
fn completes_direct_and_indirect_chains() {
    let mut guest = started();
    assert_eq!(guest.request(0, &[Buffer::Readable(b"ab"), Buffer::Readable(b"cde"), Buffer::Writable(1), Buffer::Writable(9)]), b"abcde");
    assert!(guest.line.high);
    assert_eq!(guest.take_interrupt(), interrupt::USED_BUFFER);

    let table = guest.allocate(64);
    let out = guest.allocate(8);
    guest.poke(out, b"indirect");
    guest.descriptor(table, 0, out, 8, NEXT, 1);
    guest.descriptor(table, 1, out + 64, 16, WRITE, 0);
    let queue_table = guest.descriptor_area(1);
    guest.descriptor(queue_table, 5, out, 4, NEXT, 6);
    guest.descriptor(queue_table, 6, table, 32, INDIRECT | WRITE, 0);
    guest.make_available(1, 5);
    guest.notify(1);
    assert_eq!(guest.used(1), Some((5, 12)));
    assert_eq!(&guest.peek::<12>(out + 64), b"indiindirect");
    assert_eq!(guest.device.work_done(), 2);
}

#[test]
fn rings_wrap() {
    let mut guest = started();
    for round in 0..200_000_u32 {
        assert_eq!(guest.request(0, &[Buffer::Readable(&round.to_le_bytes()), Buffer::Writable(4)]), round.to_le_bytes());
    }
}

#[test]
fn interrupts_can_be_suppressed() {
    let mut guest = started();
    let flags = guest.driver_area(0);
    guest.poke(flags, &[1, 0]);
    guest.request(0, &[Buffer::Readable(b"x")]);
    assert!(!guest.line.high);
    guest.poke(flags, &[0, 0]);
    guest.request(0, &[Buffer::Readable(b"x")]);
    assert_eq!(guest.line.edges, 1);
}

#[test]
fn nothing_happens_before_driver_ok() {
    let mut guest = started();
    let features = guest.offered_features();
    guest.set_reg(mmio::STATUS, 0);
    for half in 0..2 {
        guest.set_reg(mmio::DRIVER_FEATURES_SEL, half);
        guest.set_reg(mmio::DRIVER_FEATURES, (features >> (32 * half)) as u32);
    }
    guest.set_reg(mmio::STATUS, 0xb);
    guest.submit(0, &[Buffer::Readable(b"early")]);
    guest.notify(0);
    assert_eq!(guest.used(0), None);
    assert!(!guest.needs_reset());
}

#[test]
fn reset_forgets_the_driver() {
    let mut guest = started();
    guest.request(0, &[Buffer::Readable(b"x")]);
    guest.write(mmio::CONFIG, 2, 0x1234);
    assert!(guest.line.high);
    guest.set_reg(mmio::STATUS, 0);
    assert!(!guest.line.high);
    for register in [mmio::STATUS, mmio::INTERRUPT_STATUS, mmio::QUEUE_READY, mmio::CONFIG] {
        assert_eq!(guest.reg(register), 0);
    }
    guest.start();
    assert_eq!(guest.request(0, &[Buffer::Readable(b"again"), Buffer::Writable(5)]), b"again");
}

#[test]
fn configuration_takes_any_width() {
    let mut guest = started();
    guest.write(mmio::CONFIG, 4, 0x4433_2211);
    guest.write(mmio::CONFIG + 5, 1, 0x66);
    guest.write(mmio::CONFIG + 4, 1, 0x55);
    assert_eq!(guest.read(mmio::CONFIG, 8), 0x6655_4433_2211);
    assert_eq!(guest.read(mmio::CONFIG + 1, 2), 0x3322);
    assert_eq!(guest.read(mmio::CONFIG + 0xeff, 8), 0);
}

#[test]
fn configuration_change_is_announced() {
    let mut guest = started();
    let before = guest.reg(mmio::CONFIG_GENERATION);
    guest.with_device(|_, queues| {
        queues.config_changed();
        Ok(())
    });
    assert_ne!(guest.reg(mmio::CONFIG_GENERATION), before);
    assert_eq!(guest.take_interrupt(), interrupt::CONFIGURATION_CHANGE);
}

#[test]
fn a_ready_queue_cannot_be_moved() {
    let mut guest = started();
    guest.set_reg(mmio::QUEUE_SEL, 0);
    guest.set_reg(mmio::QUEUE_NUM, 3);
    guest.set_reg(mmio::QUEUE_DESC_LOW, 0xfff0_0000);
    assert_eq!(guest.request(0, &[Buffer::Readable(b"same"), Buffer::Writable(4)]), b"same");
}

#[test]
fn impossible_queues_are_refused() {
    for (register, value) in [
        (mmio::QUEUE_NUM, 0),
        (mmio::QUEUE_NUM, 3),
        (mmio::QUEUE_NUM, 16),
        (mmio::QUEUE_NUM, 0x1_0008),
        (mmio::QUEUE_DESC_LOW, 8),
        (mmio::QUEUE_DRIVER_LOW, 1),
        (mmio::QUEUE_DEVICE_LOW, 2),
        (mmio::QUEUE_DESC_LOW, RAM_SIZE as u32),
        (mmio::QUEUE_DEVICE_HIGH, 0xffff_ffff),
    ] {
        let mut guest = Guest::new(Echo::default());
        guest.set_reg(mmio::QUEUE_SEL, 0);
        guest.set_reg(register, value);
        guest.set_reg(mmio::QUEUE_READY, 1);
        assert_eq!(guest.reg(mmio::QUEUE_READY), 0, "{register:#x} = {value:#x}");
        assert!(guest.needs_reset());
        guest.start();
        assert!(!guest.needs_reset());
    }
}

/// Makes a chain available that the closure laid out at descriptor 0, and expects the device to give up over it.
fn fault_of(lay_out: impl FnOnce(&mut Guest<Echo>, u64)) -> DriverFault {
    let mut guest = started();
    let table = guest.descriptor_area(0);
    lay_out(&mut guest, table);
    guest.make_available(0, 0);
    guest.notify(0);
    assert!(guest.needs_reset());
    assert_eq!(guest.device.faults(), 1);
    assert_eq!(guest.take_interrupt(), interrupt::CONFIGURATION_CHANGE);
    assert_eq!(guest.used(0), None);
    guest.notify(0);
    assert_eq!(guest.device.faults(), 1, "a broken device looks at nothing");
    let fault = guest.device.last_fault().unwrap();
    guest.start();
    assert_eq!(guest.request(0, &[Buffer::Readable(b"ok"), Buffer::Writable(2)]), b"ok");
    fault
}

#[test]
fn broken_chains_need_a_reset() {
    assert_eq!(fault_of(|guest, table| guest.descriptor(table, 0, 0, 1, NEXT, 0)), DriverFault::ChainTooLong { limit: 8 });
    assert_eq!(
        fault_of(|guest, table| guest.descriptor(table, 0, 0, 1, NEXT, 8)),
        DriverFault::DescriptorOutsideTable { index: 8, len: 8 }
    );
    let outside =
        |address, len| matches!(fault_of(|guest, table| guest.descriptor(table, 0, address, len, 0, 0)), DriverFault::OutsideRam(_));
    assert!(outside(RAM_SIZE as u64, 1));
    assert!(outside(RAM_SIZE as u64 - 1, 2));
    assert!(outside(u64::MAX, 2));
    assert!(outside(0, u32::MAX));
    let backwards = fault_of(|guest, table| {
        guest.descriptor(table, 0, 0, 1, WRITE | NEXT, 1);
        guest.descriptor(table, 1, 0, 1, 0, 0);
    });
    assert_eq!(backwards, DriverFault::ReadableAfterWritable);
}

#[test]
fn broken_indirect_tables_need_a_reset() {
    for (len, flags) in [(0, INDIRECT), (8, INDIRECT), (24, INDIRECT), (16, INDIRECT | NEXT), (16 * 1025, INDIRECT), (0x10_0010, INDIRECT)]
    {
        let fault = fault_of(|guest, table| guest.descriptor(table, 0, 0x80000, len, flags, 1));
        assert_eq!(fault, DriverFault::BadIndirectTable { bytes: len });
    }
    let nested = fault_of(|guest, table| {
        guest.descriptor(table, 0, 0x80000, 16, INDIRECT, 0);
        guest.descriptor(0x80000, 0, 0x80000, 16, INDIRECT, 0);
    });
    assert_eq!(nested, DriverFault::BadIndirectTable { bytes: 16 });
    let looping = fault_of(|guest, table| {
        guest.descriptor(table, 0, 0x80000, 1024 * 16, INDIRECT, 0);
        guest.descriptor(0x80000, 0, 0, 1, NEXT, 0);
    });
    assert_eq!(looping, DriverFault::ChainTooLong { limit: 1024 });
    let too_large = fault_of(|guest, table| {
        guest.descriptor(table, 0, 0x80000, 64 * 16, INDIRECT, 0);
        for index in 0..64 {
            guest.descriptor(0x80000, index, 0, RAM_SIZE as u32, NEXT, index + 1);
        }
    });
    assert!(matches!(too_large, DriverFault::ChainTooLarge { .. }));
}

#[test]
fn an_available_index_beyond_the_queue_needs_a_reset() {
    let mut guest = started();
    let index = guest.driver_area(0) + 2;
    guest.poke(index, &9_u16.to_le_bytes());
    guest.notify(0);
    assert_eq!(guest.device.last_fault(), Some(DriverFault::AvailIndexTooFar { available: 9, size: 8 }));
}

/// Each chain copies two numbers out of a table: the available index for one chain more, and where in the table the next chain begins.
#[test]
fn a_device_that_feeds_itself_stops() {
    let mut guest = started();
    let (table, avail, numbers) = (guest.descriptor_area(0), guest.driver_area(0), 0x9_0000);
    for round in 0..1000_u16 {
        let at = numbers + 10 * u64::from(round);
        guest.poke(at, &(round + 2).to_le_bytes());
        guest.poke(at + 2, &(at + 10).to_le_bytes());
    }
    guest.descriptor(table, 0, numbers, 10, NEXT, 1);
    guest.descriptor(table, 1, avail + 2, 2, NEXT | WRITE, 2);
    guest.descriptor(table, 2, table, 8, WRITE, 0);
    guest.make_available(0, 0);
    guest.notify(0);
    assert_eq!(guest.device.last_fault(), Some(DriverFault::ChainsWithoutEnd { size: 8 }));
    assert!(guest.needs_reset());
    let used = guest.device_area(0) + 2;
    assert_eq!(u16::from_le_bytes(guest.peek(used)), 8);
}

#[test]
fn a_restored_device_goes_on() {
    let mut guest = started();
    assert_eq!(guest.request(0, &[Buffer::Readable(b"before"), Buffer::Writable(6)]), b"before");
    guest.submit(0, &[Buffer::Readable(b"waiting"), Buffer::Writable(7)]);
    let state = guest.device.save();
    guest.replace_device(|_| MmioTransport::restore(Echo::default(), &state).unwrap());
    assert_eq!(guest.device.save(), state);
    assert!(guest.device.interrupt_level());
    guest.notify(0);
    assert!(guest.used(0).is_some());
    assert_eq!(guest.request(0, &[Buffer::Readable(b"after"), Buffer::Writable(5)]), b"after");
}

#[test]
fn impossible_records_are_refused() {
    let good = started().device.save();
    assert!(MmioTransport::restore(Echo::default(), &good).is_ok());
    type Damage = fn(&mut devices::virtio::TransportState);
    let damages: [Damage; 7] = [
        |state| state.status = 0x10,
        |state| state.status = 4,
        |state| state.interrupt_status = 4,
        |state| state.driver_features |= 1 << 9,
        |state| state.queues.truncate(1),
        |state| state.queues[0].size = 0,
        |state| state.queues[1].size = 512,
    ];
    for (number, damage) in damages.iter().enumerate() {
        let mut state = good.clone();
        damage(&mut state);
        assert!(MmioTransport::restore(Echo::default(), &state).is_err(), "damage {number}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever the table and the ring hold, a notification ends, and the device can be started again.
    #[test]
    fn descriptor_soup_terminates(
        descriptors in prop::collection::vec((0..RAM_SIZE as u64 + 4096, 0..5000_u32, 0..8_u16, 0..10_u16), 8),
        heads in prop::collection::vec(0..10_u16, 1..12),
        nested in prop::collection::vec((0..RAM_SIZE as u64, 0..64_u32, 0..8_u16, 0..10_u16), 16),
    ) {
        let mut guest = started();
        let table = guest.descriptor_area(0);
        for (index, &(address, len, flags, next)) in (0..).zip(&descriptors) {
            let (address, len) = if flags & INDIRECT != 0 { (0x80000, len / 64 * 16) } else { (address, len) };
            guest.descriptor(table, index, address, len, flags, next);
        }
        for (index, &(address, len, flags, next)) in (0..).zip(&nested) {
            guest.descriptor(0x80000, index, address, len, flags, next);
        }
        for &head in &heads {
            guest.make_available(0, head);
        }
        guest.notify(0);
        guest.start();
        prop_assert_eq!(guest.request(0, &[Buffer::Readable(b"alive"), Buffer::Writable(5)]), b"alive");
    }

    /// No sequence of register accesses panics, and a reset always leads back to a working device.
    #[test]
    fn register_soup_is_survived(
        accesses in prop::collection::vec((any::<bool>(), 0..0x120_u64, prop::sample::select(vec![1_u8, 2, 4, 4, 4, 8]), any::<u64>(), any::<bool>()), 0..200),
    ) {
        let mut guest = started();
        for (is_write, offset, size, value, small) in accesses {
            let value = if small { value & 0xff } else { value };
            let offset = if size == 4 { offset & !3 } else { offset };
            if is_write { guest.write(offset, size, value) } else { guest.read(offset, size); }
        }
        guest.start();
        prop_assert_eq!(guest.request(1, &[Buffer::Readable(b"alive"), Buffer::Writable(5)]), b"alive");
    }
}
