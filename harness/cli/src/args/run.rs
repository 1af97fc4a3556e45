//! `prebake run`.

use super::value::{MODEL, MachineArg};
use super::{ConsoleArgs, DebugArgs, DeviceArgs, EngineArg, NetworkArgs, ProgramArgs, RegistryArgs, ReportArgs, RestoreArg};
use clap::Args;
use prebake::artifact::is_machine;
use protocol::FILES_TAG;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

pub(super) const RUN_EXAMPLES: &str = "\
Examples:
  prebake run registry.example/demo:1            pull if needed; the session is saved, and the next run resumes it
  prebake run --fresh registry.example/demo:1    start afresh, without saving
  prebake run demo.snap                          a shell; Ctrl-A x leaves, Ctrl-A s saves, Ctrl-A Ctrl-A sends Ctrl-A
  prebake run demo.snap < script.sh > out 2> err
  prebake run demo.aot --snapshot demo.snap      the same, in WebAssembly
  prebake run demo.aot                           boot, without a snapshot
  prebake run demo.snap -e A=1 -v .:/work -w /work -- sh build.sh
  prebake run --stats --json run.json demo.snap";

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOperand {
    /// What a reference names.
    Reference(String),
    /// A machine or a snapshot.
    File(PathBuf),
}

impl FromStr for RunOperand {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = Path::new(text);
        let is_ours = path.extension().is_some_and(|ending| ["wasm", "aot", "snap"].iter().any(|own| ending == *own));
        let is_path = !matches!(path.components().next(), Some(Component::Normal(_)));
        Ok(if is_ours || is_path { Self::File(path.into()) } else { Self::Reference(text.into()) })
    }
}

/// `prebake run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// A reference, or a file: a name that begins with / or ./, or ends in .wasm, .aot or .snap. Interactive runs of a reference are saved; the next
    /// run resumes them
    #[arg(value_name = "REF|FILE", required_unless_present_any = ["snapshot", "session"])]
    pub operand: Option<RunOperand>,
    /// The snapshot to restore; without one, the machine boots
    #[arg(long, value_name = "FILE.snap")]
    pub snapshot: Option<PathBuf>,
    /// What runs the machine [default: wamr for a machine file, native for a snapshot]
    #[arg(long, value_name = "ENGINE", value_enum)]
    pub engine: Option<EngineArg>,
    /// Save the run in this session, and resume it if it exists
    #[arg(long, value_name = "NAME", help_heading = "Session")]
    pub session: Option<String>,
    /// Start afresh, and save nothing
    #[arg(long, conflicts_with = "session", help_heading = "Session")]
    pub fresh: bool,
    /// Require a signature by this public key: a file, or env://VARIABLE
    #[arg(long, value_name = "KEY", help_heading = "Registry")]
    pub verify_key: Option<String>,
    /// Use only the store; contact no registry
    #[arg(long, help_heading = "Registry")]
    pub offline: bool,
    /// The registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Verify every byte of the machine, the snapshot and the disks, even if they have not changed since the last verification
    #[arg(long)]
    pub verify: bool,
    /// How to load memory from the snapshot
    #[arg(long, value_name = "HOW", value_enum, default_value = "map")]
    pub restore: RestoreArg,
    /// Require this much memory, in MiB
    #[arg(long, value_name = "MIB", help_heading = "Machine")]
    pub memory: Option<u32>,
    /// The machine model
    #[arg(long, value_name = "MODEL", default_value = MODEL, help_heading = "Machine")]
    pub machine: MachineArg,
    /// The program.
    #[command(flatten)]
    pub program: ProgramArgs,
    /// Disks and shares.
    #[command(flatten)]
    pub devices: DeviceArgs,
    /// The network.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// The console.
    #[command(flatten)]
    pub console: ConsoleArgs,
    /// Limits and figures.
    #[command(flatten)]
    pub report: ReportArgs,
    /// Debugging.
    #[command(flatten)]
    pub debug: DebugArgs,
}

impl RunArgs {
    pub(super) fn check(&self) -> Result<(), String> {
        let file = match &self.operand {
            Some(RunOperand::File(file)) => Some(file),
            _ => None,
        };
        let is_snapshot = file.is_some_and(|file| !is_machine(file)) || self.operand.is_none() && self.snapshot.is_some();
        match (&self.operand, &self.snapshot) {
            (Some(RunOperand::Reference(_)), Some(_)) => Err("a reference has its own snapshot; omit --snapshot".into()),
            (Some(_), Some(_)) if is_snapshot => Err("two snapshots were given: FILE is a snapshot unless it ends in .aot or .wasm".into()),
            _ if is_snapshot && self.engine == Some(EngineArg::Wamr) => {
                Err("--engine wamr needs a machine file: pass a .aot or .wasm".into())
            }
            _ if !self.program.volumes.is_empty() && self.devices.shares.iter().any(|share| share.tag == FILES_TAG) => {
                Err(format!("-v and --share both use the share {FILES_TAG}; pass everything with -v"))
            }
            _ => self.program.check().and_then(|()| self.network.check()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Command};
    use super::*;
    use clap::Parser;

    #[test]
    fn a_run_needs_one_snapshot() {
        let parse = |words: &[&str]| {
            let cli = Cli::try_parse_from(["prebake", "run"].iter().chain(words)).map_err(|error| error.to_string())?;
            let Command::Run(args) = cli.command else { unreachable!() };
            args.check().map(|()| args)
        };
        assert!(parse(&["a.snap"]).is_ok());
        assert!(parse(&["--snapshot", "a.snap"]).is_ok());
        assert!(parse(&[]).is_err());
        assert!(parse(&["a.snap", "--snapshot", "b.snap"]).is_err());
        assert!(parse(&["a.snap", "--machine", "pc9"]).is_err());
        assert!(parse(&["a.snap", "--engine", "wamr"]).is_err());
        assert!(parse(&["a.aot", "--snapshot", "b.snap", "--engine", "wamr"]).is_ok());
        let operand = |text: &str| parse(&[text]).unwrap().operand.unwrap();
        for file in ["/a", "./a", "../a", "a.wasm", "b/a.aot", "a.snap"] {
            assert_eq!(operand(file), RunOperand::File(file.into()));
        }
        for reference in ["alpine", "alpine:3.20", "registry.example/a/b:1", "localhost:5000/a@sha256:0"] {
            assert_eq!(operand(reference), RunOperand::Reference(reference.into()));
        }
        assert!(parse(&["alpine", "--engine", "wamr", "--session", "work"]).is_ok());
        assert!(parse(&["--session", "work"]).is_ok());
        assert!(parse(&["alpine", "--fresh", "--session", "work"]).is_err());
        assert!(parse(&["alpine", "--snapshot", "a.snap"]).is_err());
    }
}
