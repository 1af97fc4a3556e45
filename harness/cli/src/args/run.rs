//! `prebake run`.

use super::docker::DockerArgs;
use super::value::{MODEL, MachineArg, MemoryArg, PullArg};
use super::{ConsoleArgs, DebugArgs, DeviceArgs, EngineArg, NetworkArgs, ProgramArgs, RegistryArgs, ReportArgs, RestoreArg};
use clap::Args;
use prebake::artifact::is_machine;
use prebake::distribution::oci::PullPolicy;
use prebake::host::file::HostFile;
use prebake::machine::program::Program;
use prebake::make::image::Name;
use protocol::FILES_TAG;
use snapshot::ReadAt as _;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

pub(super) const RUN_EXAMPLES: &str = "\
Examples:
  prebake run registry.example/demo:1            pull if needed; the session is saved, and the next run resumes it
  prebake run --fresh registry.example/demo:1    start afresh, without saving
  prebake run demo.snap                          a shell; Ctrl-A x leaves, Ctrl-A s saves, Ctrl-A Ctrl-A sends Ctrl-A
  prebake run demo.snap < script.sh > out 2> err
  prebake run demo.aot --snapshot demo.snap      the same, in WebAssembly
  prebake run demo.aot                           boot, without a snapshot
  prebake run demo.snap -e A=1 -v .:/work -w /work sh build.sh
  prebake run -it --rm alpine ls -l              options for the image's entry point go behind --: prebake run IMAGE -- -h
  prebake run --stats --json run.json demo.snap";

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOperand {
    /// An image: a reference, or one that lies on this host.
    Image(String),
    /// A machine or a snapshot.
    File(PathBuf),
}

impl RunOperand {
    /// What `text` names.
    pub fn of(text: &str) -> Self {
        let path = Path::new(text);
        let is_ours = path.extension().is_some_and(|ending| ["wasm", "aot", "snap"].iter().any(|own| ending == *own));
        let is_path = !matches!(path.components().next(), Some(Component::Normal(_)));
        // An image may be a folder or an archive. A snapshot may have any name, and what is not there was most likely meant as one.
        let is_image = || path.is_dir() || Name::parse(text).is_ok() && !is_snapshot(path);
        if is_ours || is_path && !is_image() { Self::File(path.into()) } else { Self::Image(text.into()) }
    }
}

/// `prebake run`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, override_usage = "prebake run [OPTIONS] IMAGE|FILE [--] [COMMAND [ARGS]...]")]
pub struct RunArgs {
    /// An image, or a file that ends in .wasm, .aot or .snap. An image is a reference, an OCI layout (a folder or an archive), an archive made by
    /// `docker save`, or a root folder. Interactive runs of an image are saved; the next run resumes them
    #[arg(value_name = "IMAGE|FILE", required_unless_present_any = ["snapshot", "session"])]
    pub operand: Option<String>,
    /// The command and its arguments, in place of the image's command; they go to its entry point if it has one
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    pub command: Vec<String>,
    /// The snapshot to restore; without one, the machine boots
    #[arg(long, value_name = "FILE.snap")]
    pub snapshot: Option<PathBuf>,
    /// What runs the machine [default: wamr for a machine file, native for a snapshot]
    #[arg(long, value_name = "ENGINE", value_enum)]
    pub engine: Option<EngineArg>,
    /// Save the run in this session, and resume it if it exists
    #[arg(long, value_name = "NAME", help_heading = "Session")]
    pub session: Option<String>,
    /// The same, in docker's words; with --rm nothing is saved under it
    #[arg(long, value_name = "NAME", conflicts_with = "session", help_heading = "Session")]
    pub name: Option<String>,
    /// Start afresh, and save nothing
    #[arg(long, conflicts_with = "session", help_heading = "Session")]
    pub fresh: bool,
    /// The same, in docker's words
    #[arg(long, conflicts_with = "session", help_heading = "Session")]
    pub rm: bool,
    /// Require a signature by this public key: a file, or env://VARIABLE
    #[arg(long, value_name = "KEY", help_heading = "Registry")]
    pub verify_key: Option<String>,
    /// When to ask the registry what the image is now. `never` fails if it is not in the store
    #[arg(long, value_name = "POLICY", value_enum, default_value = "newer", help_heading = "Registry")]
    pub pull: PullArg,
    /// Use only the store; contact no registry: `--pull never`
    #[arg(long, conflicts_with = "pull", help_heading = "Registry")]
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
    /// Memory, such as 512m or 1g; a number alone is MiB [default: what the machine was made with]
    #[arg(short, long, value_name = "SIZE", help_heading = "Machine")]
    pub memory: Option<MemoryArg>,
    /// The machine's name in the guest
    #[arg(short = 'h', long, value_name = "NAME", num_args = 0..=1, value_parser = hostname, help_heading = "Machine")]
    pub hostname: Option<Option<String>>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,
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
    /// What docker has besides.
    #[command(flatten)]
    pub docker: DockerArgs,
}

/// Whether a file begins as snapshots do.
fn is_snapshot(path: &Path) -> bool {
    let mut magic = [0; snapshot::MAGIC.len()];
    HostFile::open("snapshot", path).is_ok_and(|file| file.read_exact_at(&mut magic, 0).is_ok()) && magic == snapshot::MAGIC
}

/// A name that a machine may have.
fn hostname(name: &str) -> Result<String, String> {
    let fits =
        (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    if fits { Ok(name.into()) } else { Err("expected 1 to 64 letters, digits, dots, hyphens and underscores".into()) }
}

impl RunArgs {
    /// `-h` alone is a wish for help, though it is docker's short name of `--hostname`.
    pub(super) fn asks_for_help(&self) -> bool {
        self.hostname == Some(None)
    }

    /// Behind `--` there is never an operand if the snapshot or session says what to run.
    pub(super) fn take_back_command(&mut self, words: &[OsString]) {
        let position = words.len().checked_sub(self.command.len() + 1);
        let is_behind = position.is_some_and(|position| position > 0 && words[position - 1] == "--");
        let says_what = self.snapshot.is_some() || self.session.is_some() || self.name.is_some();
        if says_what && is_behind {
            self.command.splice(0..0, self.operand.take());
        }
    }

    /// What is to be run.
    pub fn operand(&self) -> Option<RunOperand> {
        self.operand.as_deref().map(RunOperand::of)
    }

    /// When the registry is asked.
    pub fn pull_policy(&self) -> PullPolicy {
        if self.offline { PullPolicy::Never } else { self.pull.into() }
    }

    /// The program, and what it gets.
    pub fn program(&self) -> Program {
        self.program.program(self.hostname.as_ref().and_then(Option::as_deref), &self.command)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let operand = self.operand();
        let file = match &operand {
            Some(RunOperand::File(file)) => Some(file),
            _ => None,
        };
        let is_snapshot = file.is_some_and(|file| !is_machine(file)) || self.operand.is_none() && self.snapshot.is_some();
        match (&operand, &self.snapshot) {
            (Some(RunOperand::Image(_)), Some(_)) => Err("an image has its own snapshot; omit --snapshot".into()),
            (Some(_), Some(_)) if is_snapshot => Err("two snapshots were given: FILE is a snapshot unless it ends in .aot or .wasm".into()),
            _ if is_snapshot && self.engine == Some(EngineArg::Wamr) => {
                Err("--engine wamr needs a machine file: pass a .aot or .wasm".into())
            }
            _ if self.program.has_volumes() && self.devices.shares.iter().any(|share| share.tag == FILES_TAG) => {
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
    use clap::error::ErrorKind;

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
        let operand = |text: &str| parse(&[text]).unwrap().operand().unwrap();
        for file in ["/a", "./a", "../a", "a.wasm", "b/a.aot", "a.snap"] {
            assert_eq!(operand(file), RunOperand::File(file.into()));
        }
        // Tests run in the package's folder.
        for reference in [
            "alpine",
            "alpine:3.20",
            "registry.example/a/b:1",
            "localhost:5000/a@sha256:0",
            "docker://alpine",
            "oci:src",
            "docker-archive:a.tar",
            "a.tar",
            "./src",
            "./Cargo.toml",
        ] {
            assert_eq!(operand(reference), RunOperand::Image(reference.into()));
        }
        assert!(parse(&["alpine", "--engine", "wamr", "--session", "work"]).is_ok());
        assert!(parse(&["--session", "work"]).is_ok());
        assert!(parse(&["alpine", "--fresh", "--session", "work"]).is_err());
        assert!(parse(&["alpine", "--snapshot", "a.snap"]).is_err());
    }

    #[test]
    fn a_registry_is_asked_as_podman_asks_it() {
        let policy = |words: &[&str]| {
            let cli = Cli::try_parse_from(["prebake", "run", "alpine"].iter().chain(words)).map_err(|error| error.kind())?;
            let Command::Run(args) = cli.command else { unreachable!() };
            Ok::<_, ErrorKind>(args.pull_policy())
        };
        assert_eq!(policy(&[]), Ok(PullPolicy::Newer));
        for (word, meant) in
            [("newer", PullPolicy::Newer), ("always", PullPolicy::Always), ("missing", PullPolicy::Missing), ("never", PullPolicy::Never)]
        {
            assert_eq!(policy(&["--pull", word]), Ok(meant));
        }
        assert_eq!(policy(&["--offline"]), Ok(PullPolicy::Never));
        assert_eq!(policy(&["--offline", "--pull", "never"]), Err(ErrorKind::ArgumentConflict));
        assert_eq!(policy(&["--pull", "sometimes"]), Err(ErrorKind::InvalidValue));
    }
}
