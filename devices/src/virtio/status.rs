//! The device status field (section 2.1).

/// The device status: how far the driver has come, and whether the two still understand each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeviceStatus(u8);

impl DeviceStatus {
    /// The driver has noticed the device.
    pub const ACKNOWLEDGE: u8 = 1;
    /// The driver knows how to drive it.
    pub const DRIVER: u8 = 2;
    /// The driver is ready.
    pub const DRIVER_OK: u8 = 4;
    /// Both agree on the features.
    pub const FEATURES_OK: u8 = 8;
    /// The device cannot go on without a reset.
    pub const DEVICE_NEEDS_RESET: u8 = 64;
    /// The driver has given up.
    pub const FAILED: u8 = 128;

    const WRITTEN_BY_DRIVER: u8 = Self::ACKNOWLEDGE | Self::DRIVER | Self::DRIVER_OK | Self::FEATURES_OK | Self::FAILED;

    /// The bits as the driver reads them.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Rebuilds a status from a saved record; `None` if no sequence of writes leads to it.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        let unknown = bits & !(Self::WRITTEN_BY_DRIVER | Self::DEVICE_NEEDS_RESET) != 0;
        let skipped_features = bits & Self::DRIVER_OK != 0 && bits & Self::FEATURES_OK == 0;
        if unknown || skipped_features { None } else { Some(Self(bits)) }
    }

    /// The status after the driver wrote `written`, which is not 0 (that is a reset). Bits are only ever added: FEATURES_OK if
    /// `features_acceptable`, DRIVER_OK if FEATURES_OK is set.
    #[must_use]
    pub const fn written(self, written: u8, features_acceptable: bool) -> Self {
        let mut bits = self.0 | (written & Self::WRITTEN_BY_DRIVER);
        if self.0 & Self::FEATURES_OK == 0 && !features_acceptable {
            bits &= !Self::FEATURES_OK;
        }
        if bits & Self::FEATURES_OK == 0 {
            bits &= !Self::DRIVER_OK;
        }
        Self(bits)
    }

    /// The status once the device has found that it cannot go on.
    #[must_use]
    pub const fn broken(self) -> Self {
        Self(self.0 | Self::DEVICE_NEEDS_RESET)
    }

    /// The driver may no longer change the set of features.
    pub const fn features_are_fixed(self) -> bool {
        self.0 & Self::FEATURES_OK != 0
    }

    /// The driver has finished its set-up.
    pub const fn driver_ok(self) -> bool {
        self.0 & Self::DRIVER_OK != 0
    }

    /// The device may use buffers.
    pub const fn is_live(self) -> bool {
        self.driver_ok() && self.0 & (Self::DEVICE_NEEDS_RESET | Self::FAILED) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn driver_ok_needs_accepted_features() {
        let started = DeviceStatus::default().written(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER, true);
        let refused = started.written(DeviceStatus::FEATURES_OK | DeviceStatus::DRIVER_OK, false);
        assert_eq!(refused, started);
        let live = started.written(DeviceStatus::FEATURES_OK, true).written(DeviceStatus::DRIVER_OK, false);
        assert!(live.is_live());
        assert!(!live.broken().is_live());
        assert!(!live.written(DeviceStatus::FAILED, true).is_live());
    }

    #[test]
    fn driver_cannot_claim_needs_reset() {
        assert_eq!(DeviceStatus::default().written(DeviceStatus::DEVICE_NEEDS_RESET, true), DeviceStatus::default());
    }

    #[test]
    fn impossible_bits_are_refused() {
        assert!(DeviceStatus::from_bits(0x10).is_none());
        assert!(DeviceStatus::from_bits(DeviceStatus::DRIVER_OK).is_none());
        assert!(DeviceStatus::from_bits(0x4f).is_some());
    }
}
