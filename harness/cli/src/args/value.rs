//! What options have for values.

use clap::ValueEnum;
use std::str::FromStr;

/// A kind of host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TargetArg {
    /// 64-bit x86
    #[value(name = "x86_64")]
    X86_64,
    /// 64-bit Arm
    #[value(name = "aarch64")]
    Aarch64,
}

/// A kind of host that something is published for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BakeTargetArg {
    /// 64-bit x86: native code
    #[value(name = "x86_64")]
    X86_64,
    /// 64-bit Arm: native code
    #[value(name = "aarch64")]
    Aarch64,
    /// All others, and what knows nothing of prebake: WebAssembly
    Wasm,
}

/// Where a bake stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PointArg {
    /// Ready to start the program
    Barrier,
    /// The shell waits at its prompt
    Idle,
}

pub(super) const MODEL: &str = "pc1-v2";

/// The one machine model that there is, without its revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineArg;

impl FromStr for MachineArg {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if name == MODEL { Ok(Self) } else { Err(format!("there is only the model {MODEL}")) }
    }
}
