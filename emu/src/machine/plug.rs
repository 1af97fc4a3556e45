//! What the machine asks of a virtio device, whatever its kind.

use std::any::Any;

use devices::platform::{BusDevice, Platform};
use devices::virtio::{MmioTransport, VirtioDevice};
use snapshot::{Sections, Writer};

use super::error::MachineError;
use super::model::SlotRange;

/// A kind of virtio device that goes into slots of the machine. Devices of a kind are numbered from 0.
pub trait Pluggable: VirtioDevice + Sized + 'static {
    /// Its slots.
    const SLOTS: SlotRange;
    /// Whether requests to it are the guest's work: a machine that has settled does none.
    const IS_WORK: bool = true;
    /// Whether the host has input for it, which waits while memory is missing.
    const TAKES_INPUT: bool = false;
    /// What one device is made of.
    type Part;
    /// Device `number` at power-on.
    fn boot(part: Self::Part, number: u16) -> Result<Self, MachineError>;
    /// Device `number` of a snapshot.
    fn restore(part: Self::Part, number: u16, sections: &mut Sections<'_>) -> Result<Self, MachineError>;
    /// Adds the records of the device, which is `number` of its kind, to a snapshot; the transport has its own.
    fn save(&mut self, number: u16, writer: &mut Writer) -> Result<(), MachineError>;
}

/// A device in a slot.
pub trait Plugged: BusDevice + Any {
    /// Adds all of its records to a snapshot.
    fn save(&mut self, slot: usize, writer: &mut Writer) -> Result<(), MachineError>;
    /// Requests that it has completed since the machine was made, if they are the guest's work.
    fn work_done(&self) -> u64;
    /// Does what it could not do while memory was missing.
    fn catch_up(&mut self, platform: &mut Platform<'_>);
}

impl<D: Pluggable> Plugged for MmioTransport<D> {
    fn save(&mut self, slot: usize, writer: &mut Writer) -> Result<(), MachineError> {
        writer.add(slot as u16, &MmioTransport::save(self))?;
        self.device_mut().save((slot - D::SLOTS.first) as u16, writer)
    }

    fn work_done(&self) -> u64 {
        if D::IS_WORK { MmioTransport::work_done(self) } else { 0 }
    }

    fn catch_up(&mut self, platform: &mut Platform<'_>) {
        if D::TAKES_INPUT {
            self.with_device(platform, |device, queues| device.catch_up(queues));
        }
    }
}
