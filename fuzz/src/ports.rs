//! The devices that are not virtio: serial port, CMOS clock, the 8259s, the local APIC.

use crate::input::Input;
use crate::p9::driver::{Line, reencode};
use devices::cmos::Cmos;
use devices::platform::{BusDevice, Platform, VecMemory, VirtualTime};
use devices::serial::{Serial, SerialSink};
use emu::intc::{Lapic, Pic};

/// Counts what comes out.
#[derive(Debug, Default, Clone, Copy)]
struct Sink(u64);

impl SerialSink for Sink {
    fn write(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
}

/// What answers at ports.
struct Ports {
    serial: Serial<Sink>,
    cmos: Cmos,
    pic: Pic,
    lapic: Lapic,
    line: Line,
}

impl Ports {
    fn restored(&mut self) -> Self {
        let sink = *self.serial.sink_mut();
        Self {
            serial: Serial::restore(sink, &reencode(&self.serial.save())).expect("what was saved can be restored"),
            cmos: Cmos::restore(&reencode(&self.cmos.save())).expect("what was saved can be restored"),
            pic: Pic::restore(&reencode(&self.pic.save())),
            lapic: Lapic::restore(&reencode(&self.lapic.save())),
            line: Line { high: self.line.high, edges: 0 },
        }
    }

    fn bus(&mut self, serial: bool, now: u64, work: impl FnOnce(&mut dyn BusDevice, &mut Platform<'_>) -> u64) -> u64 {
        let mut memory = VecMemory::default();
        let mut platform = Platform { memory: &mut memory, line: &mut self.line, now: VirtualTime::from_nanos(now) };
        if serial { work(&mut self.serial, &mut platform) } else { work(&mut self.cmos, &mut platform) }
    }

    /// Takes one step. What it returns is what the guest sees of it.
    fn take(&mut self, step: u8, now: u64, input: &mut Input<'_>) -> u64 {
        const PIC_PORTS: [u64; 6] = [0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1];
        match step % 14 {
            0 | 1 => {
                let (offset, size) = (u64::from(input.u8() & 7), input.pick(&[1, 1, 2, 4]));
                self.bus(step.is_multiple_of(14), now, |device, platform| device.read(offset, size, platform))
            }
            2 | 3 => {
                let (offset, size, value) = (u64::from(input.u8() & 7), input.pick(&[1, 1, 2, 4]), input.number());
                self.bus(step % 14 == 2, now, |device, platform| {
                    device.write(offset, size, value, platform);
                    0
                })
            }
            4 => self.serial.push_input(input.bytes(usize::from(step >> 4)), &mut self.line) as u64,
            5 => u64::from(self.pic.read(input.pick(&PIC_PORTS))),
            6 => {
                self.pic.write(input.pick(&PIC_PORTS), input.u8());
                0
            }
            7 => {
                self.pic.set_line(step >> 4, input.bit());
                0
            }
            8 if self.pic.output() => u64::from(self.pic.acknowledge()),
            9 => u64::from(self.lapic.read(u64::from(input.u8()) << 4, now)),
            10 => {
                self.lapic.write(u64::from(input.u8()) << 4, input.number() as u32, now);
                0
            }
            11 => {
                let index = input.pick(&[0x1b, 0x6e0, 0x10]);
                self.lapic.write_msr(index, input.number());
                self.lapic.read_msr(index).unwrap_or(u64::MAX)
            }
            12 => self.lapic.acknowledge().map_or(u64::MAX, u64::from),
            _ => {
                self.lapic.set_task_priority_class(step >> 4);
                self.lapic.advance(now);
                self.lapic.deadline().unwrap_or(0)
            }
        }
    }
}

/// Steps at which time goes on.
pub fn run(input: &mut Input<'_>) {
    let made = || Ports {
        serial: Serial::new(Sink::default()),
        cmos: Cmos::new(1_700_000_000_000_000_000),
        pic: Pic::default(),
        lapic: Lapic::default(),
        line: Line::default(),
    };
    let (mut straight, mut saved) = (made(), made());
    let mut now = 0_u64;
    while !input.is_empty() {
        let step = input.u8();
        if step == 0xff {
            saved = saved.restored();
            now = now.saturating_add(input.number());
            continue;
        }
        now = now.saturating_add(1);
        let mut same = input.clone();
        let wanted = straight.take(step, now, input);
        assert_eq!(saved.take(step, now, &mut same), wanted, "after a restore, step {step}");
        assert_eq!((saved.pic.output(), saved.lapic.pending()), (straight.pic.output(), straight.lapic.pending()));
        assert_eq!(saved.line.high, straight.line.high);
    }
    assert_eq!(saved.serial.save(), straight.serial.save());
    assert_eq!(saved.cmos.save(), straight.cmos.save());
    assert_eq!(saved.pic.save(), straight.pic.save());
    assert_eq!(saved.lapic.save(), straight.lapic.save());
    assert_eq!(saved.serial.sink_mut().0, straight.serial.sink_mut().0);
}
