//! Registers and bits of the 16550, under the names of its data sheet (National Semiconductor PC16550D).

/// Receiver buffer (read), transmitter holding (write); divisor latch, low byte, if DLAB is set.
pub(super) const RBR_THR_DLL: u64 = 0;
/// Interrupt enable; divisor latch, high byte, if DLAB is set.
pub(super) const IER_DLM: u64 = 1;
/// Interrupt identification (read), FIFO control (write).
pub(super) const IIR_FCR: u64 = 2;
/// Line control.
pub(super) const LCR: u64 = 3;
/// Modem control.
pub(super) const MCR: u64 = 4;
/// Line status.
pub(super) const LSR: u64 = 5;
/// Modem status.
pub(super) const MSR: u64 = 6;
/// Scratch.
pub(super) const SCR: u64 = 7;

/// IER: received data available.
pub(super) const IER_RDA: u8 = 1 << 0;
/// IER: transmitter holding register empty.
pub(super) const IER_THRE: u8 = 1 << 1;
/// IER: line status.
pub(super) const IER_LINE: u8 = 1 << 2;
/// IER: modem status.
pub(super) const IER_MODEM: u8 = 1 << 3;
/// IER: bits that exist.
pub(super) const IER_MASK: u8 = 0x0f;

/// IIR: no interrupt is pending.
pub(super) const IIR_NONE: u8 = 0x01;
/// IIR: modem status.
pub(super) const IIR_MODEM: u8 = 0x00;
/// IIR: transmitter holding register empty.
pub(super) const IIR_THRE: u8 = 0x02;
/// IIR: received data has reached the trigger level.
pub(super) const IIR_RDA: u8 = 0x04;
/// IIR: line status.
pub(super) const IIR_LINE: u8 = 0x06;
/// IIR: there is received data, below the trigger level.
pub(super) const IIR_TIMEOUT: u8 = 0x0c;
/// IIR: the FIFOs are on.
pub(super) const IIR_FIFO: u8 = 0xc0;

/// FCR: FIFOs on.
pub(super) const FCR_ENABLE: u8 = 1 << 0;
/// FCR: empty the receive FIFO.
pub(super) const FCR_CLEAR_RECEIVE: u8 = 1 << 1;
/// FCR: bits that stay: the enable bit and the trigger level in 7:6.
pub(super) const FCR_KEPT: u8 = 0xc1;

/// LCR: offsets 0 and 1 are the divisor latch.
pub(super) const LCR_DLAB: u8 = 1 << 7;

/// MCR: data terminal ready.
pub(super) const MCR_DTR: u8 = 1 << 0;
/// MCR: request to send.
pub(super) const MCR_RTS: u8 = 1 << 1;
/// MCR: user output 1.
pub(super) const MCR_OUT1: u8 = 1 << 2;
/// MCR: user output 2, which connects the interrupt on a PC.
pub(super) const MCR_OUT2: u8 = 1 << 3;
/// MCR: loop-back.
pub(super) const MCR_LOOP: u8 = 1 << 4;
/// MCR: bits that exist.
pub(super) const MCR_MASK: u8 = 0x1f;

/// LSR: there is received data.
pub(super) const LSR_DR: u8 = 1 << 0;
/// LSR: received data was lost.
pub(super) const LSR_OE: u8 = 1 << 1;
/// LSR: the transmitter holding register and the transmitter are empty, as they always are here.
pub(super) const LSR_TRANSMITTER_EMPTY: u8 = 0x60;

/// MSR: a trailing edge of the ring indicator; the other changes have their line's bit, four lower.
pub(super) const MSR_TERI: u8 = 1 << 2;
/// MSR: clear to send.
pub(super) const MSR_CTS: u8 = 1 << 4;
/// MSR: data set ready.
pub(super) const MSR_DSR: u8 = 1 << 5;
/// MSR: ring indicator.
pub(super) const MSR_RI: u8 = 1 << 6;
/// MSR: carrier detect.
pub(super) const MSR_DCD: u8 = 1 << 7;
