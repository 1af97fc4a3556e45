//! What options have for values.

use clap::{Args, ValueEnum};
use emu::machine::Thresholds;
use std::path::PathBuf;
use std::str::FromStr;

/// Where time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClockArg {
    /// The count of instructions
    Virtual,
    /// The host's clock
    Host,
}

/// What runs a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineArg {
    /// WAMR
    Wamr,
    /// This program
    Native,
}

/// How memory comes out of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RestoreArg {
    /// Mapped, once all of the file was verified
    Map,
    /// Read and verified when the guest first touches it
    Read,
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
            return Err("a file is missing".into());
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

/// The tag under which prebake itself talks to init.
pub const RESERVED_TAG: &str = "wasi1";

/// Linux mounts no longer one.
const MAX_TAG: usize = 255;

impl FromStr for ShareArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (tag, rest) = text.split_once('=').ok_or("it must look like TAG=DIR")?;
        let (path, read_only) = split_read_only(rest);
        if tag.is_empty() || tag.len() > MAX_TAG || !tag.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("a tag is 1 to {MAX_TAG} printable characters without spaces"));
        }
        if tag == RESERVED_TAG {
            return Err(format!("the tag {RESERVED_TAG} is taken: prebake talks to the guest's init through it"));
        }
        if path.is_empty() {
            return Err("a directory is missing".into());
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
        Self { thresholds: Thresholds::default(), within: 600_000 * NANOS_PER_MILLI }
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
            let (key, value) = word.split_once('=').ok_or_else(|| format!("`{word}` must look like KEY=VALUE"))?;
            match key {
                "quiet" => settle.thresholds.quiet = parse_time(value)?,
                "within" => settle.within = parse_time(value)?,
                "work" => settle.thresholds.work = value.parse().map_err(|_| format!("`{value}` is not a number of instructions"))?,
                _ => return Err(format!("`{key}` is none of quiet, work, within")),
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

/// What the machine is made of.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Machine")]
pub struct DeviceArgs {
    /// A disk: vda, vdb and so on, behind those of a machine's file. The file is never written: changes are kept apart, and with `:ro` the guest makes none
    #[arg(long = "disk", value_name = "FILE[:ro]")]
    pub disks: Vec<DiskArg>,
    /// A directory for the guest, under a 9P mount tag. Init mounts the tag `wasi0` on /mnt/wasi0
    #[arg(long = "share", value_name = "TAG=DIR[:ro]")]
    pub shares: Vec<ShareArg>,
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
