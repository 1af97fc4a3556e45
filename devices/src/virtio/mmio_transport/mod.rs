//! Virtio over MMIO (section 4.2), version 2.

mod state;

pub use state::TransportState;

use super::queue::{Queue, QueueArea};
use super::spec::feature::{VIRTIO_F_INDIRECT_DESC, VIRTIO_F_VERSION_1};
use super::spec::{interrupt, mmio};
use super::{DeviceStatus, DriverFault, VirtioDevice, Virtqueues};
use crate::platform::{BusDevice, GuestMemory, Platform, Presence};

/// Most queues of one device: one bit each in a word.
const MAX_QUEUES: u16 = 64;

/// A virtio device on the bus: its registers, its queues and the device type behind them.
#[derive(Debug)]
pub struct MmioTransport<D> {
    device: D,
    queues: Vec<Queue>,
    status: DeviceStatus,
    device_features_sel: u32,
    driver_features_sel: u32,
    driver_features: u64,
    queue_sel: u32,
    interrupt_status: u32,
    config_generation: u32,
    work_done: u64,
    rejected: u64,
    faults: u64,
    last_fault: Option<DriverFault>,
}

impl<D: VirtioDevice> MmioTransport<D> {
    /// Puts `device` on the bus, as after power-on.
    pub fn new(device: D) -> Self {
        let queues: Vec<Queue> = device.queue_sizes().iter().map(|&size| Queue::new(size)).collect();
        debug_assert!(queues.len() <= usize::from(MAX_QUEUES));
        Self {
            device,
            queues,
            status: DeviceStatus::default(),
            device_features_sel: 0,
            driver_features_sel: 0,
            driver_features: 0,
            queue_sel: 0,
            interrupt_status: 0,
            config_generation: 0,
            work_done: 0,
            rejected: 0,
            faults: 0,
            last_fault: None,
        }
    }

    /// The device type behind the registers.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The device type behind the registers, for work that needs no queues: see [`Self::with_device`] for the rest.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// Requests completed since this object was made. Not part of the saved record.
    pub fn work_done(&self) -> u64 {
        self.work_done
    }

    /// Requests answered with an error, or ignored, because they made no sense; since this object was made.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Times that the driver broke the protocol since this object was made. Not part of the saved record.
    pub fn faults(&self) -> u64 {
        self.faults
    }

    /// How the driver broke the protocol last.
    pub fn last_fault(&self) -> Option<DriverFault> {
        self.last_fault
    }

    /// Level that the interrupt line should have.
    pub fn interrupt_level(&self) -> bool {
        self.interrupt_status != 0
    }

    /// Device status, as the driver reads it.
    pub fn status(&self) -> DeviceStatus {
        self.status
    }

    /// Lets the device work on its queues: for the driver's notifications and for events of the host. `None` if the driver turned
    /// out to have broken the protocol, which the device then reports as DEVICE_NEEDS_RESET.
    pub fn with_device<R>(
        &mut self,
        platform: &mut Platform<'_>,
        work: impl FnOnce(&mut D, &mut Virtqueues<'_>) -> Result<R, DriverFault>,
    ) -> Option<R> {
        let live = self.status.is_live() && self.bring_in(platform.memory);
        self.queues.iter_mut().for_each(Queue::begin);
        let mut queues = Virtqueues {
            memory: platform.memory,
            queues: &mut self.queues,
            live,
            features: self.driver_features,
            used: 0,
            completed: 0,
            rejected: 0,
            config_changed: false,
        };
        let result = work(&mut self.device, &mut queues);
        let Virtqueues { used, completed, rejected, config_changed, .. } = queues;
        self.work_done += completed;
        self.rejected += rejected;
        if config_changed {
            self.config_generation = self.config_generation.wrapping_add(1);
            if self.status.driver_ok() {
                self.interrupt_status |= interrupt::CONFIGURATION_CHANGE;
            }
        }
        let outcome = result.and_then(|value| {
            for (index, queue) in self.queues.iter().enumerate() {
                if used & 1 << index != 0 && queue.wants_interrupt(platform.memory)? {
                    self.interrupt_status |= interrupt::USED_BUFFER;
                }
            }
            Ok(value)
        });
        let outcome = match outcome {
            Ok(value) => Some(value),
            Err(fault) => {
                self.fail(fault);
                None
            }
        };
        platform.line.set_level(self.interrupt_level());
        outcome
    }

    /// Brings in whatever the device may touch in one call, so that it never stops in the midst of a request. Whether all of it is there.
    fn bring_in(&self, memory: &mut dyn GuestMemory) -> bool {
        if memory.presence() == Presence::Partial {
            for queue in &self.queues {
                // A driver's mistake is found when the device comes to it.
                let _ = queue.bring_in(memory);
            }
        }
        memory.presence() != Presence::Stalled
    }

    /// Section 2.1.2: the device stops, and says so.
    fn fail(&mut self, fault: DriverFault) {
        self.faults += 1;
        self.last_fault = Some(fault);
        self.status = self.status.broken();
        if self.status.driver_ok() {
            self.interrupt_status |= interrupt::CONFIGURATION_CHANGE;
        }
    }

    fn reset(&mut self) {
        self.device.reset();
        for queue in &mut self.queues {
            queue.reset();
        }
        self.status = DeviceStatus::default();
        self.device_features_sel = 0;
        self.driver_features_sel = 0;
        self.driver_features = 0;
        self.queue_sel = 0;
        self.interrupt_status = 0;
    }

    fn offered_features(&self) -> u64 {
        self.device.features() | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC
    }

    /// Section 6.2: a subset of what is offered, and not the drafts' device.
    fn features_are_acceptable(&self, features: u64) -> bool {
        features & !self.offered_features() == 0 && features & VIRTIO_F_VERSION_1 != 0
    }

    fn selected_queue(&self) -> Option<&Queue> {
        self.queues.get(usize::try_from(self.queue_sel).ok()?)
    }

    fn write_status(&mut self, value: u32) {
        let written = (value & 0xff) as u8;
        if written == 0 {
            self.reset();
        } else {
            let acceptable = self.features_are_acceptable(self.driver_features);
            self.status = self.status.written(written, acceptable);
        }
    }

    fn write_driver_features(&mut self, value: u32) {
        if self.status.features_are_fixed() {
            return;
        }
        let half = u64::from(value);
        match self.driver_features_sel {
            0 => self.driver_features = self.driver_features & !0xffff_ffff | half,
            1 => self.driver_features = self.driver_features & 0xffff_ffff | half << 32,
            _ => {}
        }
    }

    /// Registers of the selected queue. While it is ready they cannot be changed, except to stop it (section 4.2.2.2).
    fn write_queue_register(&mut self, offset: u64, value: u32, platform: &Platform<'_>) {
        let Some(queue) = usize::try_from(self.queue_sel).ok().and_then(|index| self.queues.get_mut(index)) else { return };
        if queue.is_ready() {
            if offset == mmio::QUEUE_READY && value == 0 {
                queue.disable();
            }
            return;
        }
        match offset {
            mmio::QUEUE_NUM => queue.set_size(value),
            mmio::QUEUE_READY if value == 1 => {
                if let Err(fault) = queue.enable(platform.memory) {
                    self.fail(fault);
                }
            }
            mmio::QUEUE_DESC_LOW => queue.set_area(QueueArea::Descriptor, false, value),
            mmio::QUEUE_DESC_HIGH => queue.set_area(QueueArea::Descriptor, true, value),
            mmio::QUEUE_DRIVER_LOW => queue.set_area(QueueArea::Driver, false, value),
            mmio::QUEUE_DRIVER_HIGH => queue.set_area(QueueArea::Driver, true, value),
            mmio::QUEUE_DEVICE_LOW => queue.set_area(QueueArea::Device, false, value),
            mmio::QUEUE_DEVICE_HIGH => queue.set_area(QueueArea::Device, true, value),
            _ => {}
        }
    }

    fn read_register(&self, offset: u64) -> u32 {
        match offset {
            mmio::MAGIC_VALUE => mmio::MAGIC,
            mmio::VERSION => mmio::VERSION_2,
            mmio::DEVICE_ID => self.device.device_id(),
            mmio::VENDOR_ID => mmio::VENDOR,
            mmio::DEVICE_FEATURES => match self.device_features_sel {
                0 => (self.offered_features() & 0xffff_ffff) as u32,
                1 => (self.offered_features() >> 32) as u32,
                _ => 0,
            },
            mmio::QUEUE_NUM_MAX => self.selected_queue().map_or(0, |queue| u32::from(queue.max_size())),
            mmio::QUEUE_READY => self.selected_queue().map_or(0, |queue| u32::from(queue.is_ready())),
            mmio::INTERRUPT_STATUS => self.interrupt_status,
            mmio::STATUS => u32::from(self.status.bits()),
            mmio::SHM_LEN_LOW | mmio::SHM_LEN_HIGH | mmio::SHM_BASE_LOW | mmio::SHM_BASE_HIGH => u32::MAX,
            mmio::CONFIG_GENERATION => self.config_generation,
            _ => 0,
        }
    }

    fn write_register(&mut self, offset: u64, value: u32, platform: &mut Platform<'_>) {
        match offset {
            mmio::DEVICE_FEATURES_SEL => self.device_features_sel = value,
            mmio::DRIVER_FEATURES_SEL => self.driver_features_sel = value,
            mmio::DRIVER_FEATURES => self.write_driver_features(value),
            mmio::QUEUE_SEL => self.queue_sel = value,
            mmio::QUEUE_NOTIFY => {
                if let Ok(queue @ 0..MAX_QUEUES) = u16::try_from(value) {
                    self.with_device(platform, |device, queues| device.notify(queue, queues));
                }
            }
            mmio::INTERRUPT_ACK => self.interrupt_status &= !value,
            mmio::STATUS => self.write_status(value),
            _ => self.write_queue_register(offset, value, platform),
        }
        platform.line.set_level(self.interrupt_level());
    }
}

/// Section 4.2.2.2: registers are 32 bits wide and aligned; the configuration space takes any width. Anything else reads as zero
/// and is not written.
impl<D: VirtioDevice> BusDevice for MmioTransport<D> {
    fn read(&mut self, offset: u64, size: u8, _platform: &mut Platform<'_>) -> u64 {
        if let Some(offset) = offset.checked_sub(mmio::CONFIG) {
            let mut bytes = [0; 8];
            self.device.read_config(offset, &mut bytes[..usize::from(size.min(8))]);
            u64::from_le_bytes(bytes)
        } else if size == 4 {
            u64::from(self.read_register(offset))
        } else {
            0
        }
    }

    fn write(&mut self, offset: u64, size: u8, value: u64, platform: &mut Platform<'_>) {
        if let Some(offset) = offset.checked_sub(mmio::CONFIG) {
            self.device.write_config(offset, &value.to_le_bytes()[..usize::from(size.min(8))]);
        } else if size == 4 {
            self.write_register(offset, (value & 0xffff_ffff) as u32, platform);
        }
    }
}
