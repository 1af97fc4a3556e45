//! The virtio slots and the devices in them.
//!
//! A kind of device is [`Pluggable`], has a [`SlotRange`] in the model, and stands once in [`VirtioSlots::new`]. Booting, restoring, saving,
//! dispatch and the count of work follow from that.

use std::any::Any;

use devices::console::ConsoleSink;
use devices::net::Mac;
use devices::rng::EntropyDevice;
use devices::virtio::{MmioTransport, TransportState};
use snapshot::{Sections, Writer};

use super::console::ConsoleDevice;
use super::disk::{Disk, DiskDevice};
use super::entropy::EntropyPort;
use super::error::MachineError;
use super::model::{self, SlotRange};
use super::network::NetworkDevice;
use super::plug::{Pluggable, Plugged};
use super::share::{Share, ShareDevice};

/// What the devices of a machine are made of.
pub struct Backends {
    pub console: Box<dyn ConsoleSink>,
    pub entropy: EntropyPort,
    pub shares: Vec<Share>,
    pub disks: Vec<Disk>,
    pub network: Option<Mac>,
}

/// Where devices come from.
pub enum Origin<'a, 's> {
    /// They are as at power-on.
    PowerOn,
    /// They are restored.
    Snapshot(&'a mut Sections<'s>),
}

/// The slots with their devices.
pub struct VirtioSlots([Option<Box<dyn Plugged>>; model::VIRTIO_IRQS.len()]);

impl VirtioSlots {
    /// Puts all devices into their slots: a line for each kind.
    pub fn new(parts: Backends, origin: &mut Origin<'_, '_>) -> Result<Self, MachineError> {
        let mut slots = Self(std::array::from_fn(|_| None));
        slots.plug::<ConsoleDevice>([parts.console], origin)?;
        slots.plug::<EntropyDevice<EntropyPort>>([parts.entropy], origin)?;
        slots.plug::<ShareDevice>(parts.shares, origin)?;
        slots.plug::<DiskDevice>(parts.disks, origin)?;
        slots.plug::<NetworkDevice>(parts.network, origin)?;
        Ok(slots)
    }

    fn plug<D: Pluggable>(
        &mut self,
        parts: impl IntoIterator<Item = D::Part, IntoIter: ExactSizeIterator>,
        origin: &mut Origin<'_, '_>,
    ) -> Result<(), MachineError> {
        let SlotRange { what, first, count: limit } = D::SLOTS;
        let parts = parts.into_iter();
        if parts.len() > limit {
            return Err(MachineError::TooMany { what, count: parts.len(), limit });
        }
        for (number, part) in (0..).zip(parts) {
            let slot = first + usize::from(number);
            let device = match origin {
                Origin::PowerOn => MmioTransport::new(D::boot(part, number)?),
                Origin::Snapshot(sections) => {
                    let device = D::restore(part, number, sections)?;
                    MmioTransport::restore(device, &sections.take::<TransportState>(slot as u16)?)?
                }
            };
            self.0[slot] = Some(Box::new(device));
        }
        Ok(())
    }

    /// The device whose registers lie at a memory address, its slot, and the offset into them.
    pub fn at(&mut self, address: u64) -> Option<(usize, &mut dyn Plugged, u64)> {
        let offset = address.checked_sub(model::VIRTIO_BASE)?;
        let (slot, offset) = ((offset / model::VIRTIO_STRIDE) as usize, offset % model::VIRTIO_STRIDE);
        let device = self.0.get_mut(slot)?.as_deref_mut()?;
        (offset < model::VIRTIO_SIZE).then_some((slot, device, offset))
    }

    /// Device `number` of a kind.
    pub fn get<D: Pluggable>(&self, number: usize) -> Option<&MmioTransport<D>> {
        let device: &dyn Any = self.0[D::SLOTS.first..][..D::SLOTS.count].get(number)?.as_deref()?;
        device.downcast_ref()
    }

    /// Device `number` of a kind.
    pub fn get_mut<D: Pluggable>(&mut self, number: usize) -> Option<&mut MmioTransport<D>> {
        let device: &mut dyn Any = self.0[D::SLOTS.first..][..D::SLOTS.count].get_mut(number)?.as_deref_mut()?;
        device.downcast_mut()
    }

    /// All devices of a kind.
    pub fn all_mut<D: Pluggable>(&mut self) -> impl Iterator<Item = &mut MmioTransport<D>> {
        self.0[D::SLOTS.first..][..D::SLOTS.count].iter_mut().flatten().filter_map(|device| {
            let device: &mut dyn Any = &mut **device;
            device.downcast_mut()
        })
    }

    /// The devices with their slots.
    pub fn occupied_mut(&mut self) -> impl Iterator<Item = (usize, &mut (dyn Plugged + 'static))> {
        self.0.iter_mut().enumerate().filter_map(|(slot, device)| Some((slot, device.as_deref_mut()?)))
    }

    /// The slots that are occupied.
    pub fn occupied(&self) -> impl Iterator<Item = usize> {
        (0..).zip(&self.0).filter(|(_, device)| device.is_some()).map(|(slot, _)| slot)
    }

    /// The same, as bits.
    pub fn occupied_bits(&self) -> u32 {
        self.occupied().fold(0, |bits, slot| bits | 1 << slot)
    }

    /// Adds the records of all devices to a snapshot.
    pub fn save(&mut self, writer: &mut Writer) -> Result<(), MachineError> {
        self.occupied_mut().try_for_each(|(slot, device)| device.save(slot, writer))
    }

    /// Requests of the guest that its devices have completed since the machine was made.
    pub fn work_done(&self) -> u64 {
        self.0.iter().flatten().map(|device| device.work_done()).sum()
    }
}
