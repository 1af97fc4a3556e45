//! A 16550A serial port at the usual eight I/O ports. There is no baud rate: output is gone as soon as it is written.

mod registers;
mod state;

pub use state::SerialState;

use crate::platform::{BusDevice, InterruptLine, Platform};
use registers::{
    FCR_CLEAR_RECEIVE, FCR_ENABLE, FCR_KEPT, IER_DLM, IER_LINE, IER_MASK, IER_MODEM, IER_RDA, IER_THRE, IIR_FCR, IIR_FIFO, IIR_LINE,
    IIR_MODEM, IIR_NONE, IIR_RDA, IIR_THRE, IIR_TIMEOUT, LCR, LCR_DLAB, LSR, LSR_DR, LSR_OE, LSR_TRANSMITTER_EMPTY, MCR, MCR_DTR, MCR_LOOP,
    MCR_MASK, MCR_OUT1, MCR_OUT2, MCR_RTS, MSR, MSR_CTS, MSR_DCD, MSR_DSR, MSR_RI, MSR_TERI, RBR_THR_DLL, SCR,
};
use std::collections::VecDeque;

/// Bytes of the receive FIFO.
pub const FIFO_SIZE: usize = 16;

/// Where the guest's output goes.
pub trait SerialSink {
    /// Takes one byte.
    fn write(&mut self, byte: u8);
}

impl<S: SerialSink + ?Sized> SerialSink for Box<S> {
    fn write(&mut self, byte: u8) {
        (**self).write(byte);
    }
}

/// The serial port.
#[derive(Debug)]
pub struct Serial<S> {
    sink: S,
    received: VecDeque<u8>,
    interrupt_enable: u8,
    fifo_control: u8,
    line_control: u8,
    modem_control: u8,
    /// Received data was lost, and the guest has not read so yet.
    overrun: bool,
    /// Changes of the modem lines that the guest has not read yet.
    modem_changes: u8,
    /// The transmitter has become empty, and the guest has not been told yet.
    transmitter_became_empty: bool,
    scratch: u8,
    divisor: [u8; 2],
}

impl<S: SerialSink> Serial<S> {
    /// A port as after power-on, whose output goes to `sink`.
    pub fn new(sink: S) -> Self {
        Self {
            sink,
            received: VecDeque::new(),
            interrupt_enable: 0,
            fifo_control: 0,
            line_control: 0,
            modem_control: 0,
            overrun: false,
            modem_changes: 0,
            transmitter_became_empty: false,
            scratch: 0,
            divisor: [0; 2],
        }
    }

    /// Where the output goes.
    pub fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    /// Gives the guest input. Returns how many bytes there was room for in the FIFO.
    pub fn push_input(&mut self, bytes: &[u8], line: &mut dyn InterruptLine) -> usize {
        let taken = bytes.len().min(self.room());
        self.received.extend(&bytes[..taken]);
        line.set_level(self.interrupt_level());
        taken
    }

    /// Bytes of input that there is room for.
    pub fn room(&self) -> usize {
        self.receive_capacity().saturating_sub(self.received.len())
    }

    /// Level that the interrupt line should have.
    pub fn interrupt_level(&self) -> bool {
        self.modem_control & MCR_OUT2 != 0 && self.interrupt_source().is_some()
    }

    fn fifo_is_on(&self) -> bool {
        self.fifo_control & FCR_ENABLE != 0
    }

    fn receive_capacity(&self) -> usize {
        if self.fifo_is_on() { FIFO_SIZE } else { 1 }
    }

    fn trigger_level(&self) -> usize {
        if self.fifo_is_on() { [1, 4, 8, 14][usize::from(self.fifo_control >> 6)] } else { 1 }
    }

    /// The pending interrupt of the highest priority, as IIR names it.
    fn interrupt_source(&self) -> Option<u8> {
        let enabled = |bit: u8| self.interrupt_enable & bit != 0;
        if enabled(IER_LINE) && self.overrun {
            Some(IIR_LINE)
        } else if enabled(IER_RDA) && self.received.len() >= self.trigger_level() {
            Some(IIR_RDA)
        } else if enabled(IER_RDA) && !self.received.is_empty() {
            // No character ever follows closely enough to wait for it.
            Some(IIR_TIMEOUT)
        } else if enabled(IER_THRE) && self.transmitter_became_empty {
            Some(IIR_THRE)
        } else if enabled(IER_MODEM) && self.modem_changes != 0 {
            Some(IIR_MODEM)
        } else {
            None
        }
    }

    /// State of the modem lines: those of a terminal that is switched on, or in loop-back our own outputs.
    fn modem_lines(&self) -> u8 {
        if self.modem_control & MCR_LOOP == 0 {
            return MSR_CTS | MSR_DSR | MSR_DCD;
        }
        [(MCR_DTR, MSR_DSR), (MCR_RTS, MSR_CTS), (MCR_OUT1, MSR_RI), (MCR_OUT2, MSR_DCD)]
            .into_iter()
            .filter(|(output, _)| self.modem_control & output != 0)
            .fold(0, |lines, (_, input)| lines | input)
    }

    fn write_modem_control(&mut self, value: u8) {
        let before = self.modem_lines();
        self.modem_control = value & MCR_MASK;
        let now = self.modem_lines();
        let ring_ended = before & !now & MSR_RI != 0;
        self.modem_changes |= (before ^ now) >> 4 & !MSR_TERI | if ring_ended { MSR_TERI } else { 0 };
    }

    fn write_fifo_control(&mut self, value: u8) {
        let switched = (value ^ self.fifo_control) & FCR_ENABLE != 0;
        if switched || value & FCR_CLEAR_RECEIVE != 0 {
            self.received.clear();
        }
        self.fifo_control = if value & FCR_ENABLE != 0 { value & FCR_KEPT } else { 0 };
    }

    fn transmit(&mut self, byte: u8) {
        self.transmitter_became_empty = true;
        if self.modem_control & MCR_LOOP == 0 {
            self.sink.write(byte);
        } else if self.room() > 0 {
            self.received.push_back(byte);
        } else {
            self.overrun = true;
        }
    }

    fn divisor_is_selected(&self) -> bool {
        self.line_control & LCR_DLAB != 0
    }

    fn read_register(&mut self, offset: u64) -> u8 {
        match offset {
            RBR_THR_DLL if self.divisor_is_selected() => self.divisor[0],
            RBR_THR_DLL => self.received.pop_front().unwrap_or(0),
            IER_DLM if self.divisor_is_selected() => self.divisor[1],
            IER_DLM => self.interrupt_enable,
            IIR_FCR => {
                let source = self.interrupt_source();
                if source == Some(IIR_THRE) {
                    self.transmitter_became_empty = false;
                }
                source.unwrap_or(IIR_NONE) | if self.fifo_is_on() { IIR_FIFO } else { 0 }
            }
            LCR => self.line_control,
            MCR => self.modem_control,
            LSR => {
                let ready = if self.received.is_empty() { 0 } else { LSR_DR };
                let lost = if std::mem::take(&mut self.overrun) { LSR_OE } else { 0 };
                LSR_TRANSMITTER_EMPTY | ready | lost
            }
            MSR => self.modem_lines() | std::mem::take(&mut self.modem_changes),
            SCR => self.scratch,
            _ => 0xff,
        }
    }

    fn write_register(&mut self, offset: u64, value: u8) {
        match offset {
            RBR_THR_DLL if self.divisor_is_selected() => self.divisor[0] = value,
            RBR_THR_DLL => self.transmit(value),
            IER_DLM if self.divisor_is_selected() => self.divisor[1] = value,
            IER_DLM => {
                // Enabling the interrupt while the transmitter is empty raises it: Linux starts to send that way.
                if value & !self.interrupt_enable & IER_THRE != 0 {
                    self.transmitter_became_empty = true;
                }
                self.interrupt_enable = value & IER_MASK;
            }
            IIR_FCR => self.write_fifo_control(value),
            LCR => self.line_control = value,
            MCR => self.write_modem_control(value),
            SCR => self.scratch = value,
            // LSR and MSR are read-only.
            _ => {}
        }
    }
}

/// The registers are bytes; a wider access reaches as many of them.
impl<S: SerialSink> BusDevice for Serial<S> {
    fn read(&mut self, offset: u64, size: u8, platform: &mut Platform<'_>) -> u64 {
        let value = (0..u64::from(size.min(8))).fold(0, |value, byte| value | u64::from(self.read_register(offset + byte)) << (8 * byte));
        platform.line.set_level(self.interrupt_level());
        value
    }

    fn write(&mut self, offset: u64, size: u8, value: u64, platform: &mut Platform<'_>) {
        for (byte, position) in value.to_le_bytes().into_iter().zip(0..u64::from(size)) {
            self.write_register(offset + position, byte);
        }
        platform.line.set_level(self.interrupt_level());
    }
}
