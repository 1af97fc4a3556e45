//! The saved record of a virtio device's transport.

use super::MmioTransport;
use crate::RestoreError;
use crate::virtio::queue::Queue;
use crate::virtio::spec::interrupt;
use crate::virtio::{DeviceStatus, QueueState, VirtioDevice};
use snapshot::{Record, SectionId};

const DEVICE: &str = "virtio transport";

snapshot::saved! {
    /// The registers and queues of a virtio device. Its section's instance is the device's place on the bus. Untrusted.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct TransportState {
        /// Device status bits.
        pub status: u8,
        /// DeviceFeaturesSel.
        pub device_features_sel: u32,
        /// DriverFeaturesSel.
        pub driver_features_sel: u32,
        /// Features that the driver accepted.
        pub driver_features: u64,
        /// QueueSel.
        pub queue_sel: u32,
        /// InterruptStatus.
        pub interrupt_status: u32,
        /// ConfigGeneration.
        pub config_generation: u32,
        /// One record per queue.
        pub queues: Vec<QueueState>,
    }
}

impl Record for TransportState {
    const ID: SectionId = SectionId::new(*b"VIRT");
    const VERSION: u16 = 1;
}

impl<D: VirtioDevice> MmioTransport<D> {
    /// The record of the transport; the device type behind it has its own.
    pub fn save(&self) -> TransportState {
        TransportState {
            status: self.status.bits(),
            device_features_sel: self.device_features_sel,
            driver_features_sel: self.driver_features_sel,
            driver_features: self.driver_features,
            queue_sel: self.queue_sel,
            interrupt_status: self.interrupt_status,
            config_generation: self.config_generation,
            queues: self.queues.iter().map(Queue::save).collect(),
        }
    }

    /// Puts `device` behind the registers and queues of `state`.
    pub fn restore(device: D, state: &TransportState) -> Result<Self, RestoreError> {
        let mut transport = Self::new(device);
        let status = DeviceStatus::from_bits(state.status);
        let status = status.ok_or(RestoreError::OutOfRange {
            device: DEVICE,
            field: "status",
            found: u64::from(state.status),
            wanted: "a status that a driver can reach",
        })?;
        let reasons = interrupt::USED_BUFFER | interrupt::CONFIGURATION_CHANGE;
        RestoreError::check(state.interrupt_status & !reasons == 0, DEVICE, "interrupt status", state.interrupt_status, "two bits")?;
        let acceptable = !status.features_are_fixed() || transport.features_are_acceptable(state.driver_features);
        RestoreError::check(acceptable, DEVICE, "driver features", state.driver_features, "features that this device offers")?;
        RestoreError::check_equal(DEVICE, "number of queues", state.queues.len() as u64, transport.queues.len() as u64)?;
        for (queue, saved) in transport.queues.iter_mut().zip(&state.queues) {
            *queue = Queue::restore(queue.max_size(), saved)?;
        }
        transport.status = status;
        transport.device_features_sel = state.device_features_sel;
        transport.driver_features_sel = state.driver_features_sel;
        transport.driver_features = state.driver_features;
        transport.queue_sel = state.queue_sel;
        transport.interrupt_status = state.interrupt_status;
        transport.config_generation = state.config_generation;
        Ok(transport)
    }
}
