//! The command line.

use crate::code::is_machine;
use crate::error::Error;
use crate::oci::Connection;
use crate::program::{FILES_TAG, ProgramArgs};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use emu::machine::Thresholds;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use wamr::{Baseline, Options};

const DEFAULT_APPEND: &str = "console=ttyS0 quiet panic=-1";
const DEFAULT_MEMORY: u32 = 128;
const DEFAULT_UPPER: u32 = 1024;

const EXAMPLES: &str = "\
Examples:
  Boot a kernel, save the machine as soon as it is ready:
    prebake bake --kernel vmlinux --initrd initramfs.cpio -o demo.snap
  A shell out of it, at once:
    prebake run demo.snap
  The same in a script: three byte-exact streams, and the exit status of the guest's shell:
    printf 'uname -m; exit 3\\n' | prebake run demo.snap
  What is in a snapshot, and is it intact?
    prebake inspect --verify demo.snap

Exit codes of `run` and `boot`: that of the guest's program (128+n if signal n ended it);
125 if prebake itself failed; 124 if a limit that was asked for was reached; 2 for wrong usage.";

/// Linux machines that are there at once: boot once, restore ever after.
#[derive(Debug, Parser)]
#[command(name = "prebake", version, after_help = EXAMPLES, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Boot a kernel and attach to its console
    #[command(after_help = BOOT_EXAMPLES)]
    Boot(BootArgs),
    /// Boot a kernel or a machine, wait until the guest has settled, and save a snapshot
    #[command(after_help = BAKE_EXAMPLES)]
    Bake(BakeArgs),
    /// Restore a snapshot, or boot a machine, and attach to its console
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Make a machine of a container image, or of a kernel and an initramfs: a WebAssembly module
    #[command(after_help = CONVERT_EXAMPLES)]
    Convert(ConvertArgs),
    /// Compile a machine's module for a host
    #[command(after_help = AOT_EXAMPLES)]
    Aot(AotArgs),
    /// Send a machine and its snapshot to a registry
    #[command(after_help = PUSH_EXAMPLES)]
    Push(PushArgs),
    /// Fetch what a reference names into the store
    #[command(after_help = PULL_EXAMPLES)]
    Pull(PullArgs),
    /// List what has been pulled
    Images(ImagesArgs),
    /// Remove from the store what no reference names and nobody uses
    Prune(PruneArgs),
    /// Turn a snapshot in its travelling form, as ordinary OCI clients pull it, into one that can be run
    Unpack(UnpackArgs),
    /// Show what is in a snapshot or in a machine's file
    Inspect(InspectArgs),
    /// Compare two snapshots: exit code 0 if they hold the same, 1 if not
    Diff(DiffArgs),
}

const BOOT_EXAMPLES: &str = "\
Examples:
  prebake boot --kernel vmlinux --initrd initramfs.cpio
  prebake boot --kernel vmlinux --disk root.img:ro --append 'root=/dev/vda ro init=/bin/sh' -t
  echo 'ls /mnt/wasi0' | prebake boot --kernel vmlinux --initrd initramfs.cpio --share wasi0=.";

const BAKE_EXAMPLES: &str = "\
Examples:
  prebake bake --kernel vmlinux --initrd initramfs.cpio -o demo.snap
  prebake bake demo.aot -o demo.snap
  prebake bake --kernel vmlinux --initrd initramfs.cpio -o shell.snap --at idle --settle quiet=60s,work=100000
  prebake bake alpine:3.20 -o alpine.snap        makes alpine.wasm, too
  prebake bake python.aot -o repl.snap --at idle -- python3 -q

Baking is deterministic: the same files give the same snapshot, byte for byte, on any host.";

const RUN_EXAMPLES: &str = "\
Examples:
  prebake run demo.snap                          a shell; Ctrl-A x leaves it, Ctrl-A Ctrl-A sends one Ctrl-A
  prebake run demo.snap < script.sh > out 2> err
  prebake run demo.aot --snapshot demo.snap      the same, in WebAssembly
  prebake run demo.aot                           no snapshot: it boots
  prebake run demo.snap -e A=1 -v .:/work -w /work -- sh build.sh
  prebake run --stats --json run.json demo.snap";

const CONVERT_EXAMPLES: &str = "\
Examples:
  prebake convert alpine:3.20 -o alpine.wasm              from a registry
  prebake convert ./layout -o alpine.wasm                 an OCI layout, or a folder that is the root
  prebake convert oci:images.tar:3.20 -o alpine.wasm      one of several in an archive
  prebake convert docker-archive:saved.tar -o alpine.wasm
  prebake convert --kernel vmlinux --initrd initramfs.cpio -o demo.wasm
  prebake convert --kernel vmlinux --initrd initramfs.cpio --root root.img --upper 1024 -o image.wasm

A name that begins with / or ./, or is that of a .tar file, is a path; any other is a reference. The same image gives the same
machine, byte for byte.";

const AOT_EXAMPLES: &str = "\
Examples:
  prebake aot demo.wasm -o demo.aot
  prebake aot demo.wasm -o demo-arm.aot --target aarch64

The code of all machines is the same: it is compiled once for each kind of host, and kept in the cache.";

const PUSH_EXAMPLES: &str = "\
Examples:
  prebake push registry.example/demo:1 demo.aot demo.snap
  prebake push registry.example/demo:1 demo.aot demo-arm.aot demo.wasm demo.snap

Credentials are those of docker and podman ($DOCKER_CONFIG or ~/.docker, with credential helpers), or
PREBAKE_REGISTRY_USER and PREBAKE_REGISTRY_PASSWORD.";

const PULL_EXAMPLES: &str = "\
Examples:
  prebake pull registry.example/demo:1           prints where machine and snapshot are
  prebake pull --offline registry.example/demo:1

What has broken off goes on where it was. If the registry is down, what was pulled before will do.";

/// What the machine is made of.
#[derive(Debug, Args)]
#[command(next_help_heading = "Machine")]
pub struct DeviceArgs {
    /// A disk: vda, vdb and so on, behind those of a machine's file. The file is never written: changes are kept apart, and with `:ro` the guest makes none
    #[arg(long = "disk", value_name = "FILE[:ro]")]
    pub disks: Vec<DiskArg>,
    /// A directory for the guest, under a 9P mount tag. Init mounts the tag `wasi0` on /mnt/wasi0
    #[arg(long = "share", value_name = "TAG=DIR[:ro]")]
    pub shares: Vec<ShareArg>,
}

/// A cold start.
#[derive(Debug, Args)]
#[command(next_help_heading = "Machine")]
pub struct ColdArgs {
    /// The initial file system: a cpio archive, best uncompressed
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// The kernel's command line, besides what the machine itself adds
    #[arg(long, value_name = "STRING", default_value = DEFAULT_APPEND)]
    pub append: String,
    /// Memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = DEFAULT_MEMORY)]
    pub memory: u32,
    /// The machine model, which fixes all that the guest sees of its hardware
    #[arg(long, value_name = "MODEL", default_value = MODEL)]
    pub machine: MachineArg,
    /// Disks and shares.
    #[command(flatten)]
    pub devices: DeviceArgs,
}

/// How long, and what is told about it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Run")]
pub struct ReportArgs {
    /// Give up after this many guest instructions: exit code 124
    #[arg(long, value_name = "N")]
    pub limit_instructions: Option<u64>,
    /// Write figures of the run to a file, and the error with its kind if there was one
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// How the guest's console is attached.
#[derive(Debug, Args)]
#[command(next_help_heading = "Console")]
pub struct ConsoleArgs {
    /// Give the guest's program a terminal, even if standard input is none
    #[arg(short = 't', long = "tty", overrides_with = "no_tty")]
    pub tty: bool,
    /// Give it three byte-exact streams, even if standard input is a terminal
    #[arg(short = 'T', long = "no-tty", overrides_with = "tty")]
    pub no_tty: bool,
    /// Where the guest's time comes from: the host's clock, or the count of instructions (for tests: waiting takes no time)
    #[arg(long, value_name = "CLOCK", value_enum, default_value_t = ClockArg::Host)]
    pub clock: ClockArg,
    /// Print figures of the run at its end
    #[arg(long)]
    pub stats: bool,
}

/// `prebake boot`.
#[derive(Debug, Args)]
pub struct BootArgs {
    /// The kernel: an uncompressed 64-bit Linux (vmlinux)
    #[arg(long, value_name = "FILE", help_heading = "Machine")]
    pub kernel: PathBuf,
    /// The machine to boot.
    #[command(flatten)]
    pub cold: ColdArgs,
    /// The console.
    #[command(flatten)]
    pub console: ConsoleArgs,
    /// Limits and figures.
    #[command(flatten)]
    pub report: ReportArgs,
}

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

    fn check(&self) -> Result<(), String> {
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

    fn check(&self) -> Result<(), String> {
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

/// How a registry is talked to.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registry")]
pub struct RegistryArgs {
    /// Without TLS. A registry on this host is never asked for it
    #[arg(long)]
    pub plain_http: bool,
}

impl RegistryArgs {
    /// The same for those who talk.
    pub fn connection(&self) -> Connection {
        Connection { plain_http: self.plain_http, ..Connection::default() }
    }
}

/// `prebake push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// What is to name them
    #[arg(value_name = "REF")]
    pub reference: String,
    /// Machines, one for each kind of host, and at most one snapshot
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The least processor of an .aot that was not compiled here: x86-64-v2 or x86-64-v3, generic for aarch64
    #[arg(long, value_name = "BASELINE")]
    pub host_cpu: Option<String>,
    /// The registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// `prebake pull`.
#[derive(Debug, Args)]
pub struct PullArgs {
    /// What names them
    #[arg(value_name = "REF")]
    pub reference: String,
    /// Ask nobody: only what is in the store
    #[arg(long)]
    pub offline: bool,
    /// The registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// `prebake images`.
#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `prebake prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// References to forget first
    #[arg(value_name = "REF")]
    pub references: Vec<String>,
}

/// `prebake unpack`.
#[derive(Debug, Args)]
pub struct UnpackArgs {
    /// The snapshot in its travelling form
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where to save its stored form. A file of that name stays as it is until the new one is complete
    #[arg(short, long, value_name = "FILE.snap")]
    pub output: PathBuf,
}

/// `prebake inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A snapshot, or a machine: a file that ends in .aot or .wasm
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Verify every byte
    #[arg(long)]
    pub verify: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `prebake diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// One snapshot
    #[arg(value_name = "A.snap")]
    pub first: PathBuf,
    /// The other
    #[arg(value_name = "B.snap")]
    pub second: PathBuf,
    /// List at most this many pages
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub pages: usize,
}

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

/// `prebake convert`.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// A container image: a reference, an OCI layout, an archive of one or one of `docker save`, or a root folder
    #[arg(value_name = "IMAGE", required_unless_present = "kernel")]
    pub image: Option<String>,
    /// Where to save the machine. A file of that name stays as it is until the new one is complete
    #[arg(short, long, value_name = "FILE.wasm")]
    pub output: PathBuf,
    /// The kernel: an uncompressed 64-bit Linux (vmlinux) [default for an image: prebake's own]
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// The initial file system: a cpio archive, best uncompressed [default for an image: prebake's init]
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// The kernel's command line, besides what the machine itself adds
    #[arg(long, value_name = "STRING", default_value = DEFAULT_APPEND)]
    pub append: String,
    /// A read-only disk for the guest, vda: an image of a file system
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    pub root: Option<PathBuf>,
    /// Size in MiB of a writable disk, vdb, that is empty at first; a snapshot holds what was written to it [default for an image: 1024]
    #[arg(long, value_name = "MIB")]
    pub upper: Option<u32>,
    /// Memory in MiB, which is fixed in the machine
    #[arg(long, value_name = "MIB", default_value_t = DEFAULT_MEMORY)]
    pub memory: u32,
}

impl ConvertArgs {
    /// For an image, with no options.
    pub fn of_image(name: &str, output: &Path) -> Self {
        Self {
            image: Some(name.into()),
            output: output.into(),
            kernel: None,
            initrd: None,
            append: DEFAULT_APPEND.into(),
            root: None,
            upper: None,
            memory: DEFAULT_MEMORY,
        }
    }

    /// MiB of the upper disk.
    pub fn upper(&self) -> u32 {
        self.upper.unwrap_or(if self.image.is_some() { DEFAULT_UPPER } else { 0 })
    }

    fn check(&self) -> Result<(), String> {
        if self.upper() > 0 && self.image.is_none() && self.root.is_none() {
            return Err("--upper is for a machine with a root: give an image, or --root".into());
        }
        Ok(())
    }
}

/// `prebake aot`.
#[derive(Debug, Args)]
pub struct AotArgs {
    /// The machine's module
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
    /// Where to save the compiled machine
    #[arg(short, long, value_name = "FILE.aot")]
    pub output: PathBuf,
    /// The kind of host
    #[arg(long, value_enum, default_value_t = TargetArg::X86_64)]
    pub target: TargetArg,
    /// The least processor: x86-64-v2 or x86-64-v3, generic for aarch64 [default: the first of them]
    #[arg(long, value_name = "BASELINE")]
    pub host_cpu: Option<String>,
    /// Address memory through the GS segment: faster, on x86-64 with Linux 5.9 and later
    #[arg(long)]
    pub segue: bool,
}

impl AotArgs {
    /// The compiler's options.
    pub fn options(&self) -> Result<Options, Error> {
        let arch = match self.target {
            TargetArg::X86_64 => "x86_64",
            TargetArg::Aarch64 => "aarch64",
        };
        let known = Baseline::ALL.into_iter().filter(|baseline| baseline.arch() == arch);
        let mut fitting = known.clone().filter(|baseline| self.host_cpu.as_deref().is_none_or(|name| name == baseline.cpu()));
        let Some(baseline) = fitting.next() else {
            return Err(Error::Baseline {
                name: self.host_cpu.clone().unwrap_or_default(),
                target: arch.into(),
                known: known.map(Baseline::cpu).collect::<Vec<_>>().join(", "),
            });
        };
        Ok(Options { segue: self.segue && self.target == TargetArg::X86_64, ..Options::new(baseline) })
    }
}

/// Understands the command line, or ends the process with a message.
pub fn parse() -> Cli {
    let cli = Cli::parse();
    let checked = match &cli.command {
        Command::Run(args) => args.check(),
        Command::Bake(args) => args.check(),
        Command::Convert(args) => args.check(),
        _ => Ok(()),
    };
    if let Err(problem) = checked {
        Cli::command().error(ErrorKind::ArgumentConflict, problem).exit();
    }
    cli
}

/// Where a bake stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PointArg {
    /// Ready to start the program
    Barrier,
    /// The shell waits at its prompt
    Idle,
}

const MODEL: &str = "pc1-v2";

/// The one machine model that there is, without its revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineArg;

impl FromStr for MachineArg {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if name == MODEL { Ok(Self) } else { Err(format!("there is only the model {MODEL}")) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

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
