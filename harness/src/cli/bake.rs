//! `prebake bake`.

use super::value::{EngineArg, PointArg, SettleArg};
use super::{ColdArgs, ReportArgs};
use crate::program::ProgramArgs;
use clap::Args;
use std::path::PathBuf;

pub(super) const BAKE_EXAMPLES: &str = "\
Examples:
  prebake bake --kernel vmlinux --initrd initramfs.cpio -o demo.snap
  prebake bake demo.aot -o demo.snap
  prebake bake --kernel vmlinux --initrd initramfs.cpio -o shell.snap --at idle --settle quiet=60s,work=100000
  prebake bake alpine:3.20 -o alpine.snap        makes alpine.wasm, too
  prebake bake python.aot -o repl.snap --at idle -- python3 -q

Baking is deterministic: the same files give the same snapshot, byte for byte, on any host.";

/// `prebake bake`.
#[derive(Debug, Args)]
pub struct BakeArgs {
    /// A machine: a file that ends in .aot or .wasm. It has what it boots, and its memory. Or a container image, as `convert` takes it: its
    /// machine is made first, beside the snapshot
    #[arg(value_name = "FILE|IMAGE", required_unless_present = "kernel", conflicts_with_all = ["kernel", "initrd", "append", "memory"])]
    pub source: Option<String>,
    /// What runs the machine: WAMR the module in a machine's file, or this program itself
    #[arg(long, value_name = "ENGINE", value_enum, default_value_t = EngineArg::Native)]
    pub engine: EngineArg,
    /// The kernel: an uncompressed 64-bit Linux (vmlinux)
    #[arg(long, value_name = "FILE", help_heading = "Machine")]
    pub kernel: Option<PathBuf>,
    /// Where to save the snapshot. A file of that name stays as it is until the new one is complete
    #[arg(short, long, value_name = "FILE.snap")]
    pub output: PathBuf,
    /// Where to stop: at the barrier, before the guest's program starts; or idle, with its shell already at the prompt
    #[arg(long, value_name = "POINT", value_enum, default_value_t = PointArg::Barrier)]
    pub at: PointArg,
    /// What counts as settled: quiet for how long, with how many instructions per wake-up, and when to give up
    #[arg(long, value_name = "quiet=TIME,work=N,within=TIME", default_value_t = SettleArg::default())]
    pub settle: SettleArg,
    /// The machine to boot.
    #[command(flatten)]
    pub cold: ColdArgs,
    /// What the program gets.
    #[command(flatten)]
    pub program: ProgramArgs,
    /// Limits and figures.
    #[command(flatten)]
    pub report: ReportArgs,
}

impl BakeArgs {
    /// Whether WAMR is to run it.
    pub fn in_module(&self) -> bool {
        self.engine == EngineArg::Wamr
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match &self.source {
            Some(source) if source.ends_with(".snap") => {
                return Err(format!("{source} is a snapshot; what is baked is a machine's file (.aot or .wasm) or a container image"));
            }
            None if self.in_module() => return Err("--engine wamr runs the module in a machine's file: give a .aot or .wasm".into()),
            _ => {}
        }
        if !self.program.volumes.is_empty() {
            return Err("a snapshot holds nothing of the host's: give --volume to `run`".into());
        }
        match self.program.given() {
            Some(option) if self.at == PointArg::Barrier => {
                Err(format!("at the barrier the program is still to be started: give {option} to `run`, or bake --at idle"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Command};
    use clap::Parser;

    #[test]
    fn a_bake_needs_a_machine_an_image_or_a_kernel() {
        let parse = |words: &[&str]| {
            let words = ["prebake", "bake", "-o", "a.snap"].iter().chain(words);
            let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
            let Command::Bake(args) = cli.command else { unreachable!() };
            args.check().map(|()| args)
        };
        assert!(parse(&["--kernel", "k", "--memory", "64"]).is_ok());
        assert!(!parse(&["a.aot", "--disk", "d"]).unwrap().in_module());
        assert!(parse(&["a.wasm", "--engine", "wamr"]).unwrap().in_module());
        assert_eq!(parse(&["alpine:3.20"]).unwrap().source.as_deref(), Some("alpine:3.20"));
        assert!(parse(&["a.aot", "--at", "idle", "-e", "A=b", "--", "sh"]).is_ok());
        for wrong in [
            &[][..],
            &["b.snap"],
            &["a.aot", "--kernel", "k"],
            &["a.aot", "--memory", "64"],
            &["--kernel", "k", "--engine", "wamr"],
            &["a.aot", "-e", "A=b"],
            &["a.aot", "--", "sh"],
            &["a.aot", "--at", "idle", "-v", "/tmp:/data"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
