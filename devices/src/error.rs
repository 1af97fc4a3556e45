//! What can be wrong with a saved record.

/// A saved record that no device of this kind could have written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A number is outside the values that the field can have.
    #[error(
        "saved {device}: {field} has the invalid value {found:#x} (expected {wanted}); the snapshot is damaged or was made by another program"
    )]
    OutOfRange {
        /// Kind of device.
        device: &'static str,
        /// Field of its record.
        field: &'static str,
        /// Value found.
        found: u64,
        /// What would have been right.
        wanted: &'static str,
    },
    /// A backend could not take what the record holds.
    #[error("saved {device}: {problem}; make room for it or give the machine a larger store")]
    Backend {
        /// Kind of device.
        device: &'static str,
        /// What the backend said.
        problem: crate::blk::BlockError,
    },
    /// The record is for another shape of device.
    #[error("saved {device}: {field} is {found}, but this machine has {wanted}; restore it on the machine that it was taken from")]
    Mismatch {
        /// Kind of device.
        device: &'static str,
        /// Property that differs.
        field: &'static str,
        /// Value in the record.
        found: u64,
        /// Value that this machine has.
        wanted: u64,
    },
}

impl RestoreError {
    /// Fails with [`RestoreError::OutOfRange`] unless `valid`.
    pub(crate) fn check(
        valid: bool,
        device: &'static str,
        field: &'static str,
        found: impl Into<u64>,
        wanted: &'static str,
    ) -> Result<(), Self> {
        if valid { Ok(()) } else { Err(Self::OutOfRange { device, field, found: found.into(), wanted }) }
    }

    /// Fails with [`RestoreError::Mismatch`] unless the two are equal.
    pub(crate) fn check_equal(device: &'static str, field: &'static str, found: u64, wanted: u64) -> Result<(), Self> {
        if found == wanted { Ok(()) } else { Err(Self::Mismatch { device, field, found, wanted }) }
    }
}
