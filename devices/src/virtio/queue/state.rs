//! The saved record of a virtqueue.

use super::Queue;
use crate::RestoreError;
use crate::platform::GuestPhysAddr;

snapshot::saved! {
    /// A virtqueue at rest. Untrusted.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct QueueState {
        /// Size that the driver chose; meaningful once `ready`.
        pub size: u16,
        /// In use.
        pub ready: bool,
        /// Guest-physical address of the descriptor table.
        pub descriptor_area: u64,
        /// Guest-physical address of the available ring.
        pub driver_area: u64,
        /// Guest-physical address of the used ring.
        pub device_area: u64,
        /// Free-running index of the next element in both rings.
        pub next: u16,
    }
}

impl Queue {
    /// The record of this queue.
    pub(crate) fn save(&self) -> QueueState {
        QueueState {
            size: self.size,
            ready: self.ready,
            descriptor_area: self.descriptor_area.get(),
            driver_area: self.driver_area.get(),
            device_area: self.device_area.get(),
            next: self.next,
        }
    }

    /// Rebuilds a queue of a device that asks for at most `max_size` descriptors. Addresses need no check here: every access to
    /// guest memory is checked.
    pub(crate) fn restore(max_size: u16, state: &QueueState) -> Result<Self, RestoreError> {
        let size_is_valid = !state.ready || Self::size_is_valid(u32::from(state.size), max_size);
        RestoreError::check(size_is_valid, "virtqueue", "size", state.size, "a power of two within the device's maximum")?;
        Ok(Self {
            max_size,
            size: state.size,
            ready: state.ready,
            descriptor_area: GuestPhysAddr::new(state.descriptor_area),
            driver_area: GuestPhysAddr::new(state.driver_area),
            device_area: GuestPhysAddr::new(state.device_area),
            next: state.next,
            served: 0,
        })
    }
}
