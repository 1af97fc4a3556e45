//! `prebake run`.

use super::value::{EngineArg, MODEL, MachineArg, RestoreArg};
use super::{ConsoleArgs, DeviceArgs, ReportArgs};
use crate::code::is_machine;
use crate::program::{FILES_TAG, ProgramArgs};
use clap::Args;
use std::path::{Path, PathBuf};

pub(super) const RUN_EXAMPLES: &str = "\
Examples:
  prebake run demo.snap                          a shell; Ctrl-A x leaves it, Ctrl-A Ctrl-A sends one Ctrl-A
  prebake run demo.snap < script.sh > out 2> err
  prebake run demo.aot --snapshot demo.snap      the same, in WebAssembly
  prebake run demo.aot                           no snapshot: it boots
  prebake run demo.snap -e A=1 -v .:/work -w /work -- sh build.sh
  prebake run --stats --json run.json demo.snap";

/// `prebake run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// A snapshot, or a machine: a file that ends in .aot or .wasm
    #[arg(value_name = "FILE", required_unless_present = "snapshot")]
    pub file: Option<PathBuf>,
    /// The snapshot; without one, a machine boots
    #[arg(long, value_name = "FILE.snap")]
    pub snapshot: Option<PathBuf>,
    /// What runs the machine: WAMR the module in a machine's file, or this program itself [default: wamr for a machine's file]
    #[arg(long, value_name = "ENGINE", value_enum)]
    pub engine: Option<EngineArg>,
    /// Verify every byte of the machine's file, the snapshot and the disks, even if they are unchanged since they last were
    #[arg(long)]
    pub verify: bool,
    /// How memory comes out of the snapshot
    #[arg(long, value_name = "HOW", value_enum, default_value = "map")]
    pub restore: RestoreArg,
    /// Insist on this much memory, in MiB
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
    /// The console.
    #[command(flatten)]
    pub console: ConsoleArgs,
    /// Limits and figures.
    #[command(flatten)]
    pub report: ReportArgs,
}

impl RunArgs {
    /// The machine's file.
    pub fn machine(&self) -> Option<&Path> {
        self.file.as_deref().filter(|file| is_machine(file))
    }

    /// The snapshot, however it was named.
    pub fn snapshot(&self) -> Option<&Path> {
        self.file.as_deref().filter(|file| !is_machine(file)).or(self.snapshot.as_deref())
    }

    /// Whether WAMR is to run it.
    pub fn in_module(&self) -> bool {
        self.machine().is_some() && self.engine != Some(EngineArg::Native)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match (self.machine(), &self.snapshot) {
            (None, Some(_)) if self.file.is_some() => Err("two snapshots were given: FILE is one unless it ends in .aot or .wasm".into()),
            (None, _) if self.engine == Some(EngineArg::Wamr) => {
                Err("--engine wamr runs the module in a machine's file: give a .aot or .wasm".into())
            }
            _ if !self.program.volumes.is_empty() && self.devices.shares.iter().any(|share| share.tag == FILES_TAG) => {
                Err(format!("-v puts directories into the share {FILES_TAG}, and so does --share; give them all with -v"))
            }
            _ => self.program.check(),
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
        assert!(!parse(&["a.snap"]).unwrap().in_module());
        assert!(parse(&["a.snap", "--engine", "wamr"]).is_err());
        let both = parse(&["a.aot", "--snapshot", "b.snap"]).unwrap();
        assert_eq!((both.machine(), both.snapshot()), (Some(Path::new("a.aot")), Some(Path::new("b.snap"))));
        assert!(both.in_module());
        assert!(!parse(&["a.wasm", "--engine", "native"]).unwrap().in_module());
    }
}
