//! The CMOS clock.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use devices::cmos::{Cmos, CmosState};
use devices::platform::{BusDevice, InterruptLine, Platform, VecMemory, VirtualTime};

const SECOND: u64 = 1_000_000_000;
/// 2024-02-29 23:59:58 UTC, a Thursday.
const LEAP_DAY: u64 = 1_709_251_198;

struct NoLine;

impl InterruptLine for NoLine {
    fn set_level(&mut self, _high: bool) {}
}

struct Clock {
    cmos: Cmos,
    now: u64,
}

impl Clock {
    fn new() -> Self {
        Self { cmos: Cmos::new(LEAP_DAY * SECOND + SECOND / 2), now: 0 }
    }

    fn out(&mut self, port: u64, value: u8) {
        let mut memory = VecMemory::default();
        let mut platform = Platform { memory: &mut memory, line: &mut NoLine, now: VirtualTime::from_nanos(self.now) };
        self.cmos.write(port, 1, u64::from(value), &mut platform);
    }

    fn input(&mut self, port: u64) -> u8 {
        let mut memory = VecMemory::default();
        let mut platform = Platform { memory: &mut memory, line: &mut NoLine, now: VirtualTime::from_nanos(self.now) };
        self.cmos.read(port, 1, &mut platform) as u8
    }

    fn get(&mut self, register: u8) -> u8 {
        self.out(0, register);
        self.input(1)
    }

    fn set(&mut self, register: u8, value: u8) {
        self.out(0, register);
        self.out(1, value);
    }

    /// Century, year, month, day, hour, minute, second, day of the week.
    fn time(&mut self) -> [u8; 8] {
        [0x32, 9, 8, 7, 4, 2, 0, 6].map(|register| self.get(register))
    }
}

#[test]
fn tells_the_hosts_time_plus_the_guests() {
    let mut clock = Clock::new();
    assert_eq!(clock.time(), [0x20, 0x24, 0x02, 0x29, 0x23, 0x59, 0x58, 0x05]);
    clock.now = 3 * SECOND / 2;
    assert_eq!(clock.time(), [0x20, 0x24, 0x03, 0x01, 0x00, 0x00, 0x00, 0x06]);
    clock.cmos.set_epoch(0);
    assert_eq!(clock.time(), [0x19, 0x70, 0x01, 0x01, 0x00, 0x00, 0x01, 0x05]);
}

#[test]
fn counts_in_binary_and_to_twelve_when_told_to() {
    let mut clock = Clock::new();
    clock.set(0x0b, 0x06);
    assert_eq!(clock.time(), [20, 24, 2, 29, 23, 59, 58, 5]);
    clock.set(0x0b, 0x00);
    assert_eq!(clock.get(4), 0x91);
    clock.set(0x0b, 0x04);
    assert_eq!(clock.get(4), 0x8b);
    clock.now = 2 * SECOND;
    assert_eq!(clock.get(4), 12, "midnight");
    clock.now += 12 * 3600 * SECOND;
    assert_eq!(clock.get(4), 0x8c, "noon");
}

#[test]
fn is_never_updating_and_always_valid() {
    let mut clock = Clock::new();
    assert_eq!(clock.get(0x0a), 0x26);
    assert_eq!(clock.get(0x0b), 0x02);
    assert_eq!(clock.get(0x0c), 0);
    assert_eq!(clock.get(0x0d), 0x80);
    assert_eq!(clock.get(0x8a), 0x26, "the NMI bit does not matter");
    assert_eq!(clock.input(0), 0xff);
}

#[test]
fn keeps_memory_but_not_the_time() {
    let mut clock = Clock::new();
    let before = clock.time();
    for register in 0..64 {
        clock.set(register, 0xfb);
    }
    assert_eq!(clock.get(0x0b), 0x02, "no interrupts, no stopping");
    assert_eq!(clock.time(), before);
    assert_eq!(clock.get(0x0a), 0x26);
    assert_eq!(clock.get(0x10), 0xfb);
    assert_eq!(clock.get(1), 0xfb);
}

#[test]
fn goes_on_after_a_restore() {
    let mut clock = Clock::new();
    clock.set(0x20, 0x77);
    let state: CmosState = snapshot::decode_record(&snapshot::encode_record(&clock.cmos.save()).unwrap()).unwrap();
    let mut restored = Clock { cmos: Cmos::restore(&state).unwrap(), now: clock.now };
    assert_eq!(restored.input(1), 0x77);
    assert_eq!(restored.time(), clock.time());
    assert!(Cmos::restore(&CmosState { index: 64, ..state.clone() }).is_err());
    let mut status_b = state;
    status_b.registers[0x0b] = 0x80;
    assert!(Cmos::restore(&status_b).is_err());
}
