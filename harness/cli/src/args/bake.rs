//! `prebake bake`.

use super::value::{BakeTargetArg, PointArg};
use super::{ColdArgs, EngineArg, NetworkArgs, ProgramArgs, RegistryArgs, ReportArgs, SettleArg};
use clap::{Args, ValueEnum};
use prebake::artifact::is_machine;
use prebake::machine::EngineKind;
use prebake::machine::boot::IMAGE_MEMORY;
use prebake::machine::record::Point;
use prebake::make::bake::{Bake, Source};
use prebake::make::translated::INSTRUCTIONS;
use prebake::run::train::Lesson;
use std::path::{Path, PathBuf};

pub(super) const BAKE_EXAMPLES: &str = "\
Examples:
  prebake bake --kernel vmlinux --initrd initramfs.cpio -o demo.snap
  prebake bake demo.aot -o demo.snap
  prebake bake --kernel vmlinux --initrd initramfs.cpio -o shell.snap --at idle --settle quiet=60s,work=100000
  prebake bake alpine:3.20 -o alpine.snap        also makes alpine.wasm
  prebake bake python.aot -o repl.snap --at idle -- python3 -q
  prebake bake alpine:3.20 -o alpine.snap --train 'seq 9999 | sort | gzip' --train-script work.sh
  prebake bake alpine:3.20 --push registry.example/alpine:3.20 --sign prebake.key

Baking is deterministic: the same files give the same snapshot, byte for byte, on any host. The guest has no network meanwhile, unless --net is given;
then what comes by the network is in the snapshot, too.";

/// `prebake bake`.
#[derive(Debug, Args)]
pub struct BakeArgs {
    /// A machine (a file that ends in .aot or .wasm), or a container image, which is first converted to a machine beside the snapshot
    #[arg(value_name = "FILE|IMAGE", required_unless_present = "kernel", conflicts_with_all = ["kernel", "initrd", "append"])]
    pub source: Option<String>,
    /// What runs the machine
    #[arg(long, value_name = "ENGINE", value_enum, default_value_t = EngineArg::Native)]
    pub engine: EngineArg,
    /// The kernel: an uncompressed 64-bit Linux (vmlinux)
    #[arg(long, value_name = "FILE", help_heading = "Machine")]
    pub kernel: Option<PathBuf>,
    /// The snapshot file. It is replaced only when the new one is complete
    #[arg(short, long, value_name = "FILE.snap", required_unless_present = "push")]
    pub output: Option<PathBuf>,
    /// Where to take the snapshot
    #[arg(long, value_name = "POINT", value_enum, default_value_t = PointArg::Barrier)]
    pub at: PointArg,
    /// When the guest counts as settled: quiet for how long, with how many instructions per wake-up, and when to give up
    #[arg(long, value_name = "quiet=TIME,work=N,within=TIME", default_value_t = SettleArg::default())]
    pub settle: SettleArg,
    /// Push the snapshot, and the machine compiled for each target, to a registry. Then -o is optional
    #[arg(long, value_name = "REF", help_heading = "Registry", conflicts_with_all = ["kernel", "disks", "shares"])]
    pub push: Option<String>,
    /// A kind of host to push for; may be repeated [default: all]
    #[arg(long, value_name = "TARGET", value_enum, help_heading = "Registry", requires = "push")]
    pub target: Vec<BakeTargetArg>,
    /// Sign with this private key: a file, or env://VARIABLE
    #[arg(long, value_name = "KEY", help_heading = "Registry", requires = "push")]
    pub sign: Option<String>,
    /// Translate what this shell command runs most in the guest, so that it runs faster in WAMR; may be repeated
    #[arg(long, value_name = "COMMAND", help_heading = "Training", conflicts_with = "kernel")]
    pub train: Vec<String>,
    /// The same for what the guest's shell runs when it reads this file; may be repeated
    #[arg(long, value_name = "FILE", help_heading = "Training", conflicts_with = "kernel")]
    pub train_script: Vec<PathBuf>,
    /// Translate at most this many guest instructions
    #[arg(long, value_name = "N", help_heading = "Training", default_value_t = INSTRUCTIONS)]
    pub train_instructions: usize,
    /// The registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// The machine to boot.
    #[command(flatten)]
    pub cold: ColdArgs,
    /// The network.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// What the program gets.
    #[command(flatten)]
    pub program: ProgramArgs,
    /// Arguments that override the image's command
    #[arg(last = true, value_name = "ARGS", help_heading = "Program")]
    pub arguments: Vec<String>,
    /// Limits and figures.
    #[command(flatten)]
    pub report: ReportArgs,
}

impl BakeArgs {
    /// The same for the library, with the snapshot at `output`.
    pub fn bake(&self, output: &Path) -> Bake {
        let source = match (&self.source, &self.kernel) {
            (Some(source), _) if is_machine(Path::new(source)) => Source::Machine(source.into()),
            (Some(source), _) => Source::Image { name: source.clone(), memory: self.cold.memory.map_or(IMAGE_MEMORY, |memory| memory.0) },
            // Without a source it is required.
            (None, kernel) => Source::Kernel(kernel.clone().unwrap_or_default(), self.cold.kernel()),
        };
        Bake {
            source,
            output: output.into(),
            point: match self.at {
                PointArg::Barrier => Point::Barrier,
                PointArg::Idle => Point::Idle,
            },
            settle: self.settle.into(),
            engine: if self.in_module() { EngineKind::Wamr } else { EngineKind::Native },
            devices: (&self.cold.devices).into(),
            network: self.network.options(),
            program: self.program.program(None, &self.arguments),
            limit_instructions: self.report.limit_instructions,
        }
    }

    /// What the machine is to be trained with.
    pub fn lessons(&self) -> Vec<Lesson> {
        let scripts = self.train_script.iter().cloned().map(Lesson::Script);
        self.train.iter().cloned().map(Lesson::Command).chain(scripts).collect()
    }

    /// Whether WAMR is to run it.
    pub fn in_module(&self) -> bool {
        self.engine == EngineArg::Wamr
    }

    /// The kinds of hosts to push for, each once, in one order.
    pub fn targets(&self) -> Vec<BakeTargetArg> {
        let all = BakeTargetArg::value_variants().iter().copied();
        all.filter(|target| self.target.is_empty() || self.target.contains(target)).collect()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match &self.source {
            Some(source) if is_machine(Path::new(source)) && self.cold.memory.is_some() => {
                return Err(format!("the memory of {source} is fixed; give --memory to prebake convert"));
            }
            Some(source) if source.ends_with(".aot") && !self.target.is_empty() => {
                return Err(format!(
                    "{source} is already compiled and is pushed unchanged; pass the .wasm it was made from, or omit --target"
                ));
            }
            Some(source) if source.ends_with(".aot") && !self.lessons().is_empty() => {
                return Err(format!("{source} is already compiled; train the .wasm it was made from"));
            }
            Some(source) if source.ends_with(".snap") => {
                return Err(format!("{source} is a snapshot; bake takes a machine (.aot or .wasm) or a container image"));
            }
            None if self.in_module() => return Err("--engine wamr needs a machine file: pass a .aot or .wasm".into()),
            _ => {}
        }
        if self.program.has_volumes() {
            return Err("a snapshot cannot hold directories of the host; pass --volume to `run`".into());
        }
        match self.program.given().or((!self.arguments.is_empty()).then_some("a command")) {
            Some(option) if self.at == PointArg::Barrier => Err(format!(
                "{option} has no effect at the barrier, where the program has not started; pass it to `run`, or bake --at idle"
            )),
            _ => self.network.check(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Command};
    use super::*;
    use clap::Parser;

    fn parse(words: &[&str]) -> Result<BakeArgs, String> {
        let words = ["prebake", "bake"].iter().chain(words);
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        let Command::Bake(args) = cli.command else { unreachable!() };
        args.check().map(|()| args.into_inner())
    }

    #[test]
    fn a_bake_needs_a_machine_an_image_or_a_kernel() {
        let parse_kept = |words: &[&str]| parse(&[&["-o", "a.snap"], words].concat());
        assert!(parse_kept(&["--kernel", "k", "--memory", "64"]).is_ok());
        assert!(!parse_kept(&["a.aot", "--disk", "d"]).unwrap().in_module());
        assert!(parse_kept(&["a.wasm", "--engine", "wamr"]).unwrap().in_module());
        assert_eq!(parse_kept(&["alpine:3.20"]).unwrap().source.as_deref(), Some("alpine:3.20"));
        assert!(parse_kept(&["a.aot", "--at", "idle", "-e", "A=b", "--", "sh"]).is_ok());
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
            assert!(parse_kept(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_pushed_need_not_be_kept() {
        use BakeTargetArg::{Aarch64, Wasm, X86_64};
        assert!(parse(&["alpine"]).is_err());
        let targets = |words: &[&str]| parse(&[&["--push", "r.example/x"], words].concat()).map(|args| args.targets());
        assert_eq!(targets(&["alpine"]), Ok(vec![X86_64, Aarch64, Wasm]));
        assert_eq!(targets(&["a.wasm", "--target", "wasm", "--target", "x86_64", "--target", "wasm"]), Ok(vec![X86_64, Wasm]));
        assert!(targets(&["a.aot"]).is_ok() && targets(&["a.aot", "--target", "x86_64"]).is_err());
        assert!(targets(&["--kernel", "k"]).is_err() && targets(&["a.wasm", "--disk", "d"]).is_err());
        assert!(parse(&["a.wasm", "-o", "a.snap", "--target", "wasm"]).is_err());
        assert!(parse(&["a.wasm", "-o", "a.snap", "--sign", "k"]).is_err());
    }

    #[test]
    fn what_is_trained_is_not_compiled_yet() {
        let lessons = |words: &[&str]| parse(&[&["-o", "a.snap"], words].concat()).map(|args| args.lessons());
        let both = lessons(&["alpine", "--train-script", "s", "--train", "ls"]).unwrap();
        assert_eq!(both, [Lesson::Command("ls".into()), Lesson::Script("s".into())]);
        assert!(lessons(&["a.wasm", "--train", "ls"]).is_ok());
        assert!(lessons(&["a.aot", "--train", "ls"]).unwrap_err().contains("train the .wasm"));
        assert!(lessons(&["--kernel", "k", "--train", "ls"]).is_err());
    }
}
