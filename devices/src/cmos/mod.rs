//! The CMOS clock (Motorola MC146818 and compatibles) behind I/O ports 0x70 and 0x71.
//!
//! It tells UTC: the time of day at power-on, which the host sets, plus the guest's own time. The host owns the clock, so what the
//! guest writes to the time is ignored; the other registers keep what is written. There are no interrupts.

mod calendar;
mod state;

pub use state::CmosState;

use crate::platform::{BusDevice, Platform, VirtualTime};
use calendar::DateTime;

/// Number of registers.
pub const REGISTERS: usize = 64;

const SECONDS: u8 = 0x00;
const MINUTES: u8 = 0x02;
const HOURS: u8 = 0x04;
const DAY_OF_WEEK: u8 = 0x06;
const DAY_OF_MONTH: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
const STATUS_C: u8 = 0x0c;
const STATUS_D: u8 = 0x0d;
const CENTURY: u8 = 0x32;

/// Status A: a 32,768 Hz time base and the usual 1,024 Hz rate. Bit 7, an update in progress, is never set.
const STATUS_A_VALUE: u8 = 0x26;
/// Status B: hours count to 24.
const STATUS_B_24_HOURS: u8 = 1 << 1;
/// Status B: values are binary, not BCD.
const STATUS_B_BINARY: u8 = 1 << 2;
/// Status B: bits that can be written; the rest is interrupts, and stopping the clock.
const STATUS_B_WRITABLE: u8 = STATUS_B_24_HOURS | STATUS_B_BINARY;
/// Status D: the battery is good.
const STATUS_D_VALID: u8 = 1 << 7;
/// In 12-hour mode: afternoon.
const HOURS_PM: u8 = 1 << 7;

const INDEX_PORT: u64 = 0;
const DATA_PORT: u64 = 1;

/// The CMOS clock.
#[derive(Debug)]
pub struct Cmos {
    index: u8,
    registers: [u8; REGISTERS],
    /// Time of day at power-on, in nanoseconds since 1970.
    epoch: u64,
}

impl Cmos {
    /// A clock that shows `epoch`, in nanoseconds since the start of 1970, at power-on of the guest.
    pub fn new(epoch: u64) -> Self {
        let mut registers = [0; REGISTERS];
        registers[usize::from(STATUS_B)] = STATUS_B_24_HOURS;
        Self { index: 0, registers, epoch }
    }

    /// Steps the clock: `epoch` is what it should have shown at power-on, in nanoseconds since the start of 1970.
    pub fn set_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    fn encode(&self, value: u8) -> u8 {
        if self.registers[usize::from(STATUS_B)] & STATUS_B_BINARY != 0 { value } else { value / 10 * 16 + value % 10 }
    }

    fn encode_hour(&self, hour: u8) -> u8 {
        if self.registers[usize::from(STATUS_B)] & STATUS_B_24_HOURS != 0 {
            return self.encode(hour);
        }
        self.encode((hour + 11) % 12 + 1) | if hour >= 12 { HOURS_PM } else { 0 }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a century of two digits, or what its BCD makes of more")]
    fn read_register(&self, now: VirtualTime) -> u8 {
        let time = DateTime::from_unix(self.epoch.saturating_add(now.as_nanos()) / 1_000_000_000);
        match self.index {
            SECONDS => self.encode(time.second),
            MINUTES => self.encode(time.minute),
            HOURS => self.encode_hour(time.hour),
            DAY_OF_WEEK => self.encode(time.weekday),
            DAY_OF_MONTH => self.encode(time.day),
            MONTH => self.encode(time.month),
            YEAR => self.encode((time.year % 100) as u8),
            CENTURY => self.encode((time.year / 100) as u8),
            STATUS_A => STATUS_A_VALUE,
            STATUS_C => 0,
            STATUS_D => STATUS_D_VALID,
            index => self.registers[usize::from(index)],
        }
    }

    fn write_register(&mut self, value: u8) {
        match self.index {
            SECONDS | MINUTES | HOURS | DAY_OF_WEEK..=YEAR | CENTURY | STATUS_A | STATUS_C | STATUS_D => {}
            STATUS_B => self.registers[usize::from(STATUS_B)] = value & STATUS_B_WRITABLE,
            index => self.registers[usize::from(index)] = value,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a power of two below 256")]
    fn write_port(&mut self, port: u64, value: u8) {
        match port {
            // Bit 7 masks the NMI, bit 6 would select a second bank.
            INDEX_PORT => self.index = value & (REGISTERS as u8 - 1),
            DATA_PORT => self.write_register(value),
            _ => {}
        }
    }
}

/// Two byte-wide ports: index and data. The index cannot be read back.
impl BusDevice for Cmos {
    fn read(&mut self, offset: u64, size: u8, platform: &mut Platform<'_>) -> u64 {
        let byte = |port| u64::from(if port == DATA_PORT { self.read_register(platform.now) } else { 0xff });
        (0..u64::from(size.min(8))).fold(0, |value, position| value | byte(offset + position) << (8 * position))
    }

    fn write(&mut self, offset: u64, size: u8, value: u64, _platform: &mut Platform<'_>) {
        for (byte, position) in value.to_le_bytes().into_iter().zip(0..u64::from(size)) {
            self.write_port(offset + position, byte);
        }
    }
}
