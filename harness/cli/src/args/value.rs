//! What options have for values.

use clap::ValueEnum;
use emu::machine::Thresholds;
use prebake::distribution::oci::PullPolicy;
use prebake::machine::EngineKind;
use prebake::machine::{ClockSource, DiskFile, SharedDirectory};
use prebake::make::bake::SettleOptions;
use prebake::run::RestoreMode;
use std::path::PathBuf;
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
    /// Any other host, and stock WASI runtimes: WebAssembly
    Wasm,
}

/// Where a bake stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PointArg {
    /// Before the guest's program starts
    Barrier,
    /// With the program running and waiting for input
    Idle,
}

pub(super) const MODEL: &str = "pc1-v2";

/// The one machine model that there is, without its revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineArg;

impl FromStr for MachineArg {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if name == MODEL { Ok(Self) } else { Err(format!("unknown model; the only one is {MODEL}")) }
    }
}

/// Where time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClockArg {
    /// The instruction count
    Virtual,
    /// The host's clock
    Host,
}

/// What runs a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineArg {
    /// WAMR, which runs the WebAssembly module in the machine file
    Wamr,
    /// The emulator in this program
    Native,
}

/// How memory comes out of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RestoreArg {
    /// Verify the whole file, then map it
    Map,
    /// Read and verify each page when the guest first touches it
    Read,
}

/// When a registry is asked what an image is now: podman's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PullArg {
    /// Always; if the registry is down, use what is in the store
    Newer,
    /// Always; if the registry is down, fail
    Always,
    /// Only if it is not in the store
    Missing,
    /// Never
    Never,
}

impl From<PullArg> for PullPolicy {
    fn from(policy: PullArg) -> Self {
        match policy {
            PullArg::Newer => Self::Newer,
            PullArg::Always => Self::Always,
            PullArg::Missing => Self::Missing,
            PullArg::Never => Self::Never,
        }
    }
}

/// Memory for a machine, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryArg(pub u32);

impl std::fmt::Display for MemoryArg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for MemoryArg {
    type Err = String;

    /// `512m`, `1g` as docker has it; a number alone is MiB, or bytes if that would be more than any machine has.
    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || format!("`{text}` is not a size such as 512m or 1g");
        let lower = text.to_ascii_lowercase();
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let number: u64 = digits.parse().map_err(|_| problem())?;
        let bytes = match &lower[digits.len()..] {
            "" if number < 1 << 20 => number.checked_mul(1 << 20),
            "" | "b" => Some(number),
            "k" | "kb" | "kib" => number.checked_mul(1 << 10),
            "m" | "mb" | "mib" => number.checked_mul(1 << 20),
            "g" | "gb" | "gib" => number.checked_mul(1 << 30),
            _ => return Err(problem()),
        };
        let mebibytes = bytes.ok_or_else(problem)?.div_ceil(1 << 20);
        u32::try_from(mebibytes).map(Self).map_err(|_| problem())
    }
}

/// `FILE[:ro]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskArg {
    /// The file.
    pub path: PathBuf,
    /// The guest cannot write it.
    pub read_only: bool,
}

impl FromStr for DiskArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, read_only) = split_read_only(text);
        if path.is_empty() {
            return Err("the file is missing".into());
        }
        Ok(Self { path: path.into(), read_only })
    }
}

/// `TAG=DIR[:ro]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareArg {
    /// The mount tag.
    pub tag: String,
    /// The directory.
    pub path: PathBuf,
    /// The guest cannot write it.
    pub read_only: bool,
}

impl FromStr for ShareArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (tag, rest) = text.split_once('=').ok_or("expected TAG=DIR")?;
        let (path, read_only) = split_read_only(rest);
        SharedDirectory::check_tag(tag).map_err(|error| error.to_string())?;
        if path.is_empty() {
            return Err("the directory is missing".into());
        }
        Ok(Self { tag: tag.into(), path: path.into(), read_only })
    }
}

fn split_read_only(text: &str) -> (&str, bool) {
    match text.strip_suffix(":ro") {
        Some(path) => (path, true),
        None => (text, false),
    }
}

/// `quiet=TIME,work=N,within=TIME`, each optional.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettleArg {
    /// For the detector.
    pub thresholds: Thresholds,
    /// Virtual time in nanoseconds after which it is given up.
    pub within: u64,
}

const NANOS_PER_MILLI: u64 = 1_000_000;

impl Default for SettleArg {
    fn default() -> Self {
        let SettleOptions { thresholds, within } = SettleOptions::default();
        Self { thresholds, within }
    }
}

impl std::fmt::Display for SettleArg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { thresholds: Thresholds { quiet, work }, within } = self;
        write!(f, "quiet={}ms,work={work},within={}ms", quiet / NANOS_PER_MILLI, within / NANOS_PER_MILLI)
    }
}

impl FromStr for SettleArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut settle = Self::default();
        for word in text.split(',') {
            let (key, value) = word.split_once('=').ok_or_else(|| format!("expected KEY=VALUE, not `{word}`"))?;
            match key {
                "quiet" => settle.thresholds.quiet = parse_time(value)?,
                "within" => settle.within = parse_time(value)?,
                "work" => settle.thresholds.work = value.parse().map_err(|_| format!("`{value}` is not a number of instructions"))?,
                _ => return Err(format!("unknown key `{key}`; use quiet, work or within")),
            }
        }
        Ok(settle)
    }
}

/// `250ms` or `30s`, in nanoseconds.
fn parse_time(text: &str) -> Result<u64, String> {
    let problem = || format!("`{text}` is not a time such as 250ms or 30s");
    let (number, millis) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').ok_or_else(problem)?, 1000),
    };
    let number: u64 = number.parse().map_err(|_| problem())?;
    number.checked_mul(millis * NANOS_PER_MILLI).ok_or_else(problem)
}

impl From<ClockArg> for ClockSource {
    fn from(clock: ClockArg) -> Self {
        match clock {
            ClockArg::Virtual => Self::Virtual,
            ClockArg::Host => Self::Host,
        }
    }
}

impl From<EngineArg> for EngineKind {
    fn from(engine: EngineArg) -> Self {
        match engine {
            EngineArg::Wamr => Self::Wamr,
            EngineArg::Native => Self::Native,
        }
    }
}

impl From<RestoreArg> for RestoreMode {
    fn from(restore: RestoreArg) -> Self {
        match restore {
            RestoreArg::Map => Self::Map,
            RestoreArg::Read => Self::Read,
        }
    }
}

impl From<&DiskArg> for DiskFile {
    fn from(disk: &DiskArg) -> Self {
        Self { path: disk.path.clone(), read_only: disk.read_only }
    }
}

impl From<&ShareArg> for SharedDirectory {
    fn from(share: &ShareArg) -> Self {
        Self { tag: share.tag.clone(), path: share.path.clone(), read_only: share.read_only }
    }
}

impl From<SettleArg> for SettleOptions {
    fn from(settle: SettleArg) -> Self {
        Self { thresholds: settle.thresholds, within: settle.within }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_and_shares_are_understood() {
        let disk = |path: &str, read_only| Ok(DiskArg { path: path.into(), read_only });
        assert_eq!("a.img".parse(), disk("a.img", false));
        assert_eq!("a:b.img:ro".parse(), disk("a:b.img", true));
        assert!(":ro".parse::<DiskArg>().is_err());

        let share = |tag: &str, path: &str, read_only| Ok(ShareArg { tag: tag.into(), path: path.into(), read_only });
        assert_eq!("wasi0=/a=b".parse(), share("wasi0", "/a=b", false));
        assert_eq!("src=.:ro".parse(), share("src", ".", true));
        for wrong in ["/a", "=/a", "a=", "a=:ro", "wasi1=/a", "a b=/c"] {
            assert!(wrong.parse::<ShareArg>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn memory_is_understood_as_docker_does() {
        for (text, mebibytes) in [
            ("128", 128),
            ("512m", 512),
            ("1g", 1024),
            ("1G", 1024),
            ("0.5g", 0),
            ("300M", 300),
            ("262144k", 256),
            ("268435456", 256),
            ("3mb", 3),
        ] {
            let parsed = text.parse::<MemoryArg>();
            if mebibytes == 0 { assert!(parsed.is_err()) } else { assert_eq!(parsed, Ok(MemoryArg(mebibytes)), "{text}") }
        }
        for wrong in ["", "m", "12x", "-1", "99999999999g", "1 g"] {
            assert!(wrong.parse::<MemoryArg>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn settle_options_are_understood_and_shown_as_they_are_given() {
        let SettleArg { thresholds, within } = "quiet=250ms,work=7,within=2s".parse().unwrap();
        assert_eq!((thresholds.quiet, thresholds.work, within), (250_000_000, 7, 2_000_000_000));
        let default = SettleArg::default();
        assert_eq!(default.to_string().parse(), Ok(default));
        for wrong in ["", "quiet", "quiet=5", "quiet=s", "quiet=-1s", "work=x", "loud=1s", "quiet=99999999999999s"] {
            assert!(wrong.parse::<SettleArg>().is_err(), "{wrong}");
        }
    }
}
