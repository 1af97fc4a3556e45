//! For which hosts code is compiled. The program `prebake-wamrc` has this file too.

use std::fmt;
use std::str::FromStr;

/// The custom section of an .aot that says what it needs of its host: the baseline, then [`SEGUE`] if so, with a space between. Other runtimes skip it.
///
/// WAMR itself notes the architecture alone. Code for a better processor than the host's would die of an illegal instruction, and code that
/// addresses memory through GS would, on a host where GS stays zero, write over whatever lies at low addresses.
pub const REQUIREMENTS: &str = "prebake.requires";
/// The word for [`Options::segue`].
pub const SEGUE: &str = "segue";

/// A processor to compile for, and the least of it that a host must have. Never simply the processor at hand: what is compiled is shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Baseline {
    /// `x86-64-v2`: SSE4.2 and POPCNT, any x86-64 since about 2009.
    X86_64V2,
    /// `x86-64-v3`: AVX2, BMI and FMA, most x86-64 since about 2013.
    X86_64V3,
    /// `generic` on aarch64: Armv8.0-A.
    Aarch64,
}

impl Baseline {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::X86_64V2, Self::X86_64V3, Self::Aarch64];

    /// The architecture, as in a target triple.
    pub fn arch(self) -> &'static str {
        match self {
            Self::X86_64V2 | Self::X86_64V3 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The processor, as LLVM calls it.
    pub fn cpu(self) -> &'static str {
        match self {
            Self::X86_64V2 => "x86-64-v2",
            Self::X86_64V3 => "x86-64-v3",
            Self::Aarch64 => "generic",
        }
    }

    /// The baseline that `arch` has where none is asked for.
    pub fn default_for(arch: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|baseline| baseline.arch() == arch)
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.arch(), self.cpu())
    }
}

impl FromStr for Baseline {
    type Err = String;

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(|baseline| baseline.to_string()).join(", ");
        Self::ALL
            .into_iter()
            .find(|baseline| baseline.to_string() == name)
            .ok_or_else(|| format!("unknown baseline {name:?}; known are {}", known()))
    }
}

/// How hard LLVM tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Opt {
    /// Hardly: for tests.
    None,
    /// As in a release.
    #[default]
    Full,
}

impl Opt {
    /// LLVM's number for it.
    pub fn level(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Full => 3,
        }
    }
}

/// What a module is compiled into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Options {
    /// The host.
    pub baseline: Baseline,
    /// How hard LLVM tries.
    pub opt: Opt,
    /// Address linear memory through GS: quicker, for x86-64 alone, and only where the host lets programs set the base of GS (Linux 5.9).
    pub segue: bool,
}

impl Options {
    /// What a release is compiled with.
    pub fn new(baseline: Baseline) -> Self {
        Self { baseline, opt: Opt::default(), segue: false }
    }
}
