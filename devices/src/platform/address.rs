//! Newtypes for quantities that must not be mixed up.

use std::fmt;

/// A guest-physical address, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GuestPhysAddr(u64);

impl GuestPhysAddr {
    /// Wraps a byte address.
    pub const fn new(address: u64) -> Self {
        Self(address)
    }
    /// The byte address.
    pub const fn get(self) -> u64 {
        self.0
    }
    /// The address `bytes` further on, or `None` past the end of the address space.
    pub fn checked_add(self, bytes: u64) -> Option<Self> {
        self.0.checked_add(bytes).map(Self)
    }
}

impl fmt::Debug for GuestPhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Guest time since power-on, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct VirtualTime(u64);

impl VirtualTime {
    /// Wraps a count of nanoseconds since power-on.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }
    /// Nanoseconds since power-on.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }
}
