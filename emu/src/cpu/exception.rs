//! Exceptions (SDM Vol. 3, 6.15).

/// An exception's vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Vector {
    DivideError = 0,
    Debug = 1,
    Breakpoint = 3,
    Overflow = 4,
    BoundRange = 5,
    InvalidOpcode = 6,
    DeviceNotAvailable = 7,
    DoubleFault = 8,
    InvalidTss = 10,
    SegmentNotPresent = 11,
    StackFault = 12,
    GeneralProtection = 13,
    PageFault = 14,
    FloatingPoint = 16,
    AlignmentCheck = 17,
    SimdFloatingPoint = 19,
    /// None of the processor's: an x87 instruction waits for the interrupt that is made of another's exception under CR0.NE clear.
    Frozen = 0xfe,
    /// None of the processor's: memory that the access needs could not be brought in. Nobody delivers it: the machine stops before the
    /// instruction.
    Unavailable = 0xff,
}

/// An exception that an instruction raised before it changed anything that the guest can see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exception {
    /// Which one.
    pub vector: Vector,
    /// The error code, for vectors that push one.
    pub error_code: Option<u32>,
    /// For #PF the linear address, which goes into CR2.
    pub address: u64,
}

impl Exception {
    const fn plain(vector: Vector) -> Self {
        Self { vector, error_code: None, address: 0 }
    }
    const fn with_code(vector: Vector, code: u32) -> Self {
        Self { vector, error_code: Some(code), address: 0 }
    }
    /// #DE.
    pub const DIVIDE: Self = Self::plain(Vector::DivideError);
    /// #DB.
    pub const DEBUG: Self = Self::plain(Vector::Debug);
    /// #UD.
    pub const INVALID_OPCODE: Self = Self::plain(Vector::InvalidOpcode);
    /// #NM.
    pub const DEVICE_NOT_AVAILABLE: Self = Self::plain(Vector::DeviceNotAvailable);
    /// #MF.
    pub const FLOATING_POINT: Self = Self::plain(Vector::FloatingPoint);
    /// #XM.
    pub const SIMD: Self = Self::plain(Vector::SimdFloatingPoint);
    /// The CPU waits for an interrupt; see [`Vector::Frozen`].
    pub const FROZEN: Self = Self::plain(Vector::Frozen);
    /// #AC(0).
    pub const ALIGNMENT: Self = Self::with_code(Vector::AlignmentCheck, 0);
    /// Memory could not be brought in; see [`Vector::Unavailable`].
    pub const UNAVAILABLE: Self = Self::plain(Vector::Unavailable);
    /// #GP(0).
    pub const GP0: Self = Self::with_code(Vector::GeneralProtection, 0);
    /// #SS(0).
    pub const SS0: Self = Self::with_code(Vector::StackFault, 0);
    /// #GP with an error code: a selector, or what SDM Vol. 3, 6.13 says.
    pub const fn gp(code: u32) -> Self {
        Self::with_code(Vector::GeneralProtection, code)
    }
    /// #SS with an error code.
    pub const fn ss(code: u32) -> Self {
        Self::with_code(Vector::StackFault, code)
    }
    /// #NP with an error code.
    pub const fn np(code: u32) -> Self {
        Self::with_code(Vector::SegmentNotPresent, code)
    }
    /// #TS with an error code.
    pub const fn ts(code: u32) -> Self {
        Self::with_code(Vector::InvalidTss, code)
    }
    /// #PF at a linear address.
    pub const fn page_fault(address: u64, code: u32) -> Self {
        Self { vector: Vector::PageFault, error_code: Some(code), address }
    }
}
