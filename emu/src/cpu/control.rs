//! Control registers and model-specific registers.

/// Bits of CR0 (SDM Vol. 3, 2.5).
#[allow(missing_docs)]
pub struct Cr0;
#[allow(missing_docs)]
impl Cr0 {
    pub const PE: u64 = 1;
    pub const MP: u64 = 1 << 1;
    pub const EM: u64 = 1 << 2;
    pub const TS: u64 = 1 << 3;
    pub const ET: u64 = 1 << 4;
    pub const NE: u64 = 1 << 5;
    pub const WP: u64 = 1 << 16;
    pub const AM: u64 = 1 << 18;
    pub const NW: u64 = 1 << 29;
    pub const CD: u64 = 1 << 30;
    pub const PG: u64 = 1 << 31;
}

/// Bits of CR4 (SDM Vol. 3, 2.5).
#[allow(missing_docs)]
pub struct Cr4;
#[allow(missing_docs)]
impl Cr4 {
    pub const TSD: u64 = 1 << 2;
    pub const DE: u64 = 1 << 3;
    pub const PSE: u64 = 1 << 4;
    pub const PAE: u64 = 1 << 5;
    pub const PGE: u64 = 1 << 7;
    pub const PCE: u64 = 1 << 8;
    pub const OSFXSR: u64 = 1 << 9;
    pub const OSXMMEXCPT: u64 = 1 << 10;
    pub const SMEP: u64 = 1 << 20;
    pub const SMAP: u64 = 1 << 21;
}

/// Bits of IA32_EFER (SDM Vol. 3, 2.2.1).
#[allow(missing_docs)]
pub struct Efer;
#[allow(missing_docs)]
impl Efer {
    pub const SCE: u64 = 1;
    pub const LME: u64 = 1 << 8;
    pub const LMA: u64 = 1 << 10;
    pub const NXE: u64 = 1 << 11;
}

/// Control and debug registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Control {
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
    /// DR0 to DR3.
    pub dr: [u64; 4],
    pub dr6: u64,
    pub dr7: u64,
}

impl Default for Control {
    fn default() -> Self {
        Self { cr0: Cr0::ET | Cr0::NW | Cr0::CD, cr2: 0, cr3: 0, cr4: 0, efer: 0, dr: [0; 4], dr6: 0xffff_0ff0, dr7: 0x400 }
    }
}

/// Model-specific registers that are plain storage for the CPU's own instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Msrs {
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub fmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub pat: u64,
    pub tsc_aux: u64,
    pub misc_enable: u64,
}

impl Default for Msrs {
    fn default() -> Self {
        Self {
            star: 0,
            lstar: 0,
            cstar: 0,
            fmask: 0,
            kernel_gs_base: 0,
            sysenter_cs: 0,
            sysenter_esp: 0,
            sysenter_eip: 0,
            // PA0 to PA7: WB, WT, UC-, UC, twice (SDM Vol. 3, table 12-12).
            pat: 0x0007_0406_0007_0406,
            tsc_aux: 0,
            // Fast strings; branch trace and precise event sampling are unavailable.
            misc_enable: 1 | 1 << 11 | 1 << 12,
        }
    }
}
