//! The serial port, driven as Linux's 8250 driver does.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use devices::platform::{BusDevice, InterruptLine, Platform, VecMemory, VirtualTime};
use devices::serial::{FIFO_SIZE, Serial, SerialSink, SerialState};
use proptest::prelude::*;

const DATA: u64 = 0;
const IER: u64 = 1;
const IIR: u64 = 2;
const FCR: u64 = 2;
const LCR: u64 = 3;
const MCR: u64 = 4;
const LSR: u64 = 5;
const MSR: u64 = 6;
const SCR: u64 = 7;

#[derive(Debug, Default, Clone)]
struct Output(Vec<u8>);

impl SerialSink for Output {
    fn write(&mut self, byte: u8) {
        self.0.push(byte);
    }
}

#[derive(Default)]
struct Line(bool);

impl InterruptLine for Line {
    fn set_level(&mut self, high: bool) {
        self.0 = high;
    }
}

struct Port {
    serial: Serial<Output>,
    line: Line,
}

impl Port {
    fn new() -> Self {
        Self { serial: Serial::new(Output::default()), line: Line::default() }
    }

    /// As Linux leaves it: FIFOs on with trigger level 8, interrupts connected and receiving.
    fn open() -> Self {
        let mut port = Self::new();
        port.out(FCR, 0x81);
        port.out(LCR, 3);
        port.out(MCR, 0x0b);
        port.out(IER, 5);
        port
    }

    fn input(&mut self, offset: u64) -> u8 {
        self.wide_input(offset, 1) as u8
    }

    fn wide_input(&mut self, offset: u64, size: u8) -> u64 {
        let mut memory = VecMemory::default();
        let mut platform = Platform { memory: &mut memory, line: &mut self.line, now: VirtualTime::default() };
        self.serial.read(offset, size, &mut platform)
    }

    fn out(&mut self, offset: u64, value: u8) {
        self.wide_out(offset, 1, u64::from(value));
    }

    fn wide_out(&mut self, offset: u64, size: u8, value: u64) {
        let mut memory = VecMemory::default();
        let mut platform = Platform { memory: &mut memory, line: &mut self.line, now: VirtualTime::default() };
        self.serial.write(offset, size, value, &mut platform);
    }

    fn push(&mut self, bytes: &[u8]) -> usize {
        self.serial.push_input(bytes, &mut self.line)
    }

    fn output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.serial.sink_mut().0)
    }
}

/// The probe of Linux's `autoconfig`: it must find a 16550A, and none of its successors.
#[test]
fn linux_takes_it_for_a_16550a() {
    let mut port = Port::new();
    port.out(IER, 0);
    assert_eq!(port.input(IER), 0);
    port.out(IER, 0x0f);
    assert_eq!(port.input(IER), 0x0f);
    port.out(IER, 0);
    port.out(MCR, 0x1a);
    assert_eq!(port.input(MSR) & 0xf0, 0x90, "loop-back");
    port.out(MCR, 0);
    port.out(LCR, 0xbf);
    port.out(FCR, 0);
    port.out(LCR, 0);
    port.out(FCR, 1);
    assert_eq!(port.input(IIR) >> 6, 3, "16550A");
    port.out(LCR, 0x80);
    assert_ne!(port.input(IIR), 0, "no extended features");
    port.out(LCR, 0);
    port.out(FCR, 0x21);
    assert_eq!(port.input(IIR) >> 5, 6, "not a 16750");
    port.out(LCR, 0x80);
    port.out(FCR, 0x21);
    assert_eq!(port.input(IIR) >> 5, 6, "not a 16750");
    port.out(LCR, 0);
    port.out(IER, 0x40);
    assert_eq!(port.input(IER) & 0x40, 0, "not an XScale");
    port.out(SCR, 0x5a);
    assert_eq!(port.input(SCR), 0x5a);
}

/// The tests of Linux's `serial8250_do_startup` for UARTs that do not raise the transmitter's interrupt again.
#[test]
fn the_transmitter_interrupt_is_raised_each_time_it_is_enabled() {
    let mut port = Port::open();
    for _ in 0..2 {
        port.out(IER, 2);
        assert!(port.line.0);
        assert_eq!(port.input(IIR), 0xc2);
        assert!(!port.line.0, "reading IIR acknowledges it");
        assert_eq!(port.input(IIR), 0xc1);
        port.out(IER, 0);
    }
    port.out(IER, 2);
    port.input(IIR);
    port.out(DATA, b'x');
    assert!(port.line.0, "the byte is gone at once");
    assert_eq!(port.output(), b"x");
    assert_eq!(port.input(LSR), 0x60);
}

#[test]
fn input_interrupts_until_it_is_read() {
    let mut port = Port::open();
    assert_eq!(port.push(b"0123456789abcdefXYZ"), FIFO_SIZE);
    assert_eq!(port.serial.room(), 0);
    assert!(port.line.0);
    let mut received = Vec::new();
    while port.input(LSR) & 1 != 0 {
        assert_eq!(port.input(IIR), if received.len() <= 8 { 0xc4 } else { 0xcc });
        received.push(port.input(DATA));
    }
    assert_eq!(received, b"0123456789abcdef");
    assert!(!port.line.0);
    assert_eq!(port.input(DATA), 0);
}

#[test]
fn without_fifos_there_is_room_for_one_byte() {
    let mut port = Port::new();
    assert_eq!(port.push(b"ab"), 1);
    assert_eq!(port.input(DATA), b'a');
    port.push(b"b");
    port.out(FCR, 1);
    assert_eq!(port.input(LSR) & 1, 0, "switching the FIFOs empties them");
}

#[test]
fn interrupts_are_connected_by_out2() {
    let mut port = Port::open();
    port.out(MCR, 3);
    port.push(b"x");
    assert!(!port.line.0);
    assert_eq!(port.input(IIR), 0xcc);
    port.out(MCR, 0x0b);
    assert!(port.line.0);
}

#[test]
fn loop_back_returns_output_and_reports_what_it_loses() {
    let mut port = Port::open();
    port.out(MCR, 0x1b);
    for byte in 0..=FIFO_SIZE as u8 {
        port.out(DATA, byte);
    }
    assert_eq!(port.output(), b"");
    assert_eq!(port.input(IIR), 0xc6);
    assert_eq!(port.input(LSR), 0x63);
    assert_eq!(port.input(LSR), 0x61);
    assert_eq!(port.input(DATA), 0);
    port.out(FCR, 0x83);
    assert_eq!(port.input(LSR), 0x60);
}

#[test]
fn modem_lines_report_their_changes_once() {
    let mut port = Port::open();
    assert_eq!(port.input(MSR), 0xb0);
    port.out(IER, 8);
    port.out(MCR, 0x1c);
    assert!(port.line.0);
    assert_eq!(port.input(IIR), 0xc0);
    assert_eq!(port.input(MSR), 0xc3, "clear to send and data set ready went, the ring began");
    assert_eq!(port.input(MSR), 0xc0);
    port.out(MCR, 0x18);
    assert_eq!(port.input(MSR), 0x84, "the ring ended");
}

#[test]
fn the_divisor_hides_data_and_interrupt_enable() {
    let mut port = Port::open();
    port.out(LCR, 0x83);
    port.wide_out(DATA, 2, 0x1234);
    assert_eq!(port.wide_input(DATA, 2), 0x1234);
    port.out(LCR, 3);
    assert_eq!(port.input(IER), 5);
    assert_eq!(port.output(), b"");
}

#[test]
fn impossible_records_are_refused() {
    let good = Port::open().serial.save();
    let damages: [fn(&mut SerialState); 5] = [
        |state| state.received = vec![0; FIFO_SIZE + 1],
        |state| state.interrupt_enable = 0x10,
        |state| state.fifo_control = 2,
        |state| state.modem_control = 0x20,
        |state| state.modem_changes = 0x10,
    ];
    assert!(Serial::restore(Output::default(), &good).is_ok());
    for damage in damages {
        let mut state = good.clone();
        damage(&mut state);
        assert!(Serial::restore(Output::default(), &state).is_err());
    }
}

proptest! {
    /// No access panics, and a port that was saved and restored in the middle behaves as one that was not.
    #[test]
    fn any_access_is_survived(
        accesses in prop::collection::vec((0..3_u8, 0..9_u64, prop::sample::select(vec![1_u8, 1, 1, 2, 4, 8]), any::<u64>()), 0..80),
        cut in 0..80_usize,
    ) {
        let (mut port, mut twin) = (Port::new(), Port::new());
        for (number, (kind, offset, size, value)) in accesses.into_iter().enumerate() {
            if number == cut {
                let state = twin.serial.save();
                let state: SerialState = snapshot::decode_record(&snapshot::encode_record(&state).unwrap()).unwrap();
                twin.serial = Serial::restore(twin.serial.sink_mut().clone(), &state).unwrap();
                prop_assert_eq!(twin.serial.save(), state);
            }
            for port in [&mut port, &mut twin] {
                match kind {
                    0 => { port.push(&value.to_le_bytes()); }
                    1 => port.wide_out(offset, size, value),
                    _ => {}
                }
            }
            if kind == 2 {
                prop_assert_eq!(port.wide_input(offset, size), twin.wide_input(offset, size));
            }
            prop_assert_eq!(port.line.0, twin.line.0);
        }
        prop_assert_eq!(port.output(), twin.output());
    }
}
