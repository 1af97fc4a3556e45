//! The board: which device answers at which address, and how their interrupts reach the CPU.

use devices::cmos::Cmos;
use devices::platform::{BusDevice, GuestMemory, Platform, VirtualTime};
use devices::serial::{Serial, SerialSink};
use devices::virtio::{DriverFault, Virtqueues};

use super::model;
use super::plug::Pluggable;
use super::slots::VirtioSlots;
use crate::bus::{AddressSpace, Board};
use crate::intc::{Lapic, Pic, PicLine};

/// Everything on the machine's buses but CPU and RAM.
pub struct PcBoard {
    pub(super) pic: Pic,
    pub(super) lapic: Lapic,
    pub(super) serial: Serial<Box<dyn SerialSink>>,
    pub(super) cmos: Cmos,
    pub(super) slots: VirtioSlots,
    /// The exit status that the guest powered off with.
    pub(super) power_off: Option<u32>,
    /// The guest pulled the reset line.
    pub(super) reset: bool,
}

const PORT_KEYBOARD: u64 = 0x64;
const KEYBOARD_RESET: u64 = 0xfe;
const PORT_POWER_OFF: u64 = 0x600;
const PORT_FLOAT_ERROR: u64 = 0xf0;

impl PcBoard {
    /// Lets the host work on device `number` of a kind between instructions. `None` if there is no such device, or the driver turned out to have
    /// broken the protocol.
    pub(super) fn with_device<D: Pluggable, R>(
        &mut self,
        number: usize,
        memory: &mut dyn GuestMemory,
        now: u64,
        work: impl FnOnce(&mut D, &mut Virtqueues<'_>) -> Result<R, DriverFault>,
    ) -> Option<R> {
        let mut line = PicLine { pic: &mut self.pic, irq: model::VIRTIO_IRQS[D::SLOTS.first + number] };
        let mut platform = Platform { memory, line: &mut line, now: time(now) };
        self.slots.get_mut::<D>(number)?.with_device(&mut platform, work)
    }

    /// Lets devices do what they could not do while memory was missing.
    pub(super) fn catch_up(&mut self, memory: &mut dyn GuestMemory, now: u64) {
        for (slot, device) in self.slots.occupied_mut() {
            let mut line = PicLine { pic: &mut self.pic, irq: model::VIRTIO_IRQS[slot] };
            device.catch_up(&mut Platform { memory: &mut *memory, line: &mut line, now: time(now) });
        }
    }

    /// Gives the serial port input. Returns how many bytes were taken.
    pub(super) fn push_serial(&mut self, bytes: &[u8]) -> usize {
        self.serial.push_input(bytes, &mut PicLine { pic: &mut self.pic, irq: model::SERIAL_IRQ })
    }

    fn read_memory(&mut self, address: u64, size: u8, memory: &mut dyn GuestMemory, now: u64) -> u64 {
        if self.lapic.claims(address) {
            let register = u64::from(self.lapic.read(address & 0xfff, now));
            return truncate(register >> (8 * (address & 3)), size);
        }
        match self.slots.at(address) {
            Some((slot, device, offset)) => {
                let mut line = PicLine { pic: &mut self.pic, irq: model::VIRTIO_IRQS[slot] };
                device.read(offset, size, &mut Platform { memory, line: &mut line, now: time(now) })
            }
            None => truncate(u64::MAX, size),
        }
    }

    fn write_memory(&mut self, address: u64, size: u8, value: u64, memory: &mut dyn GuestMemory, now: u64) {
        if self.lapic.claims(address) {
            if size == 4 && address.is_multiple_of(16) {
                self.lapic.write(address & 0xfff, value as u32, now);
            }
        } else if let Some((slot, device, offset)) = self.slots.at(address) {
            let mut line = PicLine { pic: &mut self.pic, irq: model::VIRTIO_IRQS[slot] };
            device.write(offset, size, value, &mut Platform { memory, line: &mut line, now: time(now) });
        }
    }

    /// The device behind a port, its interrupt line if it has one, and the offset into its registers.
    fn port_device(&mut self, port: u64) -> Option<(&mut dyn BusDevice, PicLine<'_>, u64)> {
        match port {
            0x70 | 0x71 => Some((&mut self.cmos, PicLine { pic: &mut self.pic, irq: 8 }, port - 0x70)),
            0x3f8..=0x3ff => Some((&mut self.serial, PicLine { pic: &mut self.pic, irq: model::SERIAL_IRQ }, port - 0x3f8)),
            _ => None,
        }
    }

    fn read_port(&mut self, port: u64, size: u8, memory: &mut dyn GuestMemory, now: u64) -> u64 {
        match port {
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => u64::from(self.pic.read(port)),
            // The keyboard controller's input buffer is always empty, so that its reset command can be sent.
            PORT_KEYBOARD => 0,
            _ => match self.port_device(port) {
                Some((device, mut line, offset)) => device.read(offset, size, &mut Platform { memory, line: &mut line, now: time(now) }),
                None => truncate(u64::MAX, size),
            },
        }
    }

    fn write_port(&mut self, port: u64, size: u8, value: u64, memory: &mut dyn GuestMemory, now: u64) {
        match port {
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => self.pic.write(port, value as u8),
            PORT_FLOAT_ERROR => self.pic.clear_float_error(),
            PORT_KEYBOARD if value == KEYBOARD_RESET => self.reset = true,
            PORT_POWER_OFF if size == 4 => self.power_off = Some(value as u32),
            _ => {
                if let Some((device, mut line, offset)) = self.port_device(port) {
                    device.write(offset, size, value, &mut Platform { memory, line: &mut line, now: time(now) });
                }
            }
        }
    }
}

/// Ticks are nanoseconds on this model.
fn time(ticks: u64) -> VirtualTime {
    const { assert!(model::TSC_HZ == 1_000_000_000) };
    VirtualTime::from_nanos(ticks)
}

fn truncate(value: u64, size: u8) -> u64 {
    if size >= 8 { value } else { value & ((1 << (8 * size)) - 1) }
}

impl Board for PcBoard {
    fn read(&mut self, space: AddressSpace, address: u64, size: u8, memory: &mut dyn GuestMemory, now: u64) -> u64 {
        match space {
            AddressSpace::Memory => self.read_memory(address, size, memory, now),
            AddressSpace::Port => self.read_port(address, size, memory, now),
        }
    }

    fn write(&mut self, space: AddressSpace, address: u64, size: u8, value: u64, memory: &mut dyn GuestMemory, now: u64) {
        match space {
            AddressSpace::Memory => self.write_memory(address, size, value, memory, now),
            AddressSpace::Port => self.write_port(address, size, value, memory, now),
        }
    }

    fn read_msr(&mut self, index: u32, _now: u64) -> Option<u64> {
        self.lapic.read_msr(index)
    }

    fn write_msr(&mut self, index: u32, value: u64, _now: u64) -> Option<()> {
        self.lapic.write_msr(index, value)
    }

    fn task_priority(&self) -> u8 {
        self.lapic.task_priority_class()
    }

    fn set_task_priority(&mut self, priority: u8) {
        self.lapic.set_task_priority_class(priority);
    }

    fn interrupt_pending(&self) -> bool {
        self.lapic.pending().is_some() || self.lapic.passes_external() && self.pic.output()
    }

    fn next_interrupt(&self) -> u8 {
        self.lapic.pending().unwrap_or_else(|| self.pic.clone().acknowledge())
    }

    fn acknowledge_interrupt(&mut self) -> u8 {
        self.lapic.acknowledge().unwrap_or_else(|| self.pic.acknowledge())
    }

    fn float_error(&mut self) -> bool {
        self.pic.float_error()
    }

    fn deadline(&self) -> Option<u64> {
        self.lapic.deadline()
    }

    fn advance(&mut self, now: u64) {
        self.lapic.advance(now);
    }

    fn wants_stop(&self) -> bool {
        self.power_off.is_some() || self.reset
    }
}
