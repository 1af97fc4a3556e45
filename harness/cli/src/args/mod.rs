//! The command line: what verbs have in common is here, the rest beside the verb.

mod bake;
mod boot;
mod convert;
mod debug;
mod look;
mod program;
mod registry;
mod run;
mod trust;
mod value;

pub use bake::BakeArgs;
pub use boot::BootArgs;
pub use convert::{AotArgs, ConvertArgs};
pub use debug::DebugArgs;
pub use look::{DiffArgs, InspectArgs};
pub use program::ProgramArgs;
pub use registry::{ImagesArgs, PruneArgs, PullArgs, PushArgs, RegistryArgs, SessionsArgs, UnpackArgs};
pub use run::{RunArgs, RunOperand};
pub use trust::{KeyArgs, KeyCommand, TrustArgs, TrustCommand, TrustedArgs};

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use prebake::machine::Devices;
use prebake::machine::boot::{Cold, DEFAULT_APPEND, DEFAULT_MEMORY};
use std::path::PathBuf;
use value::MODEL;
pub use value::{BakeTargetArg, ClockArg, DiskArg, EngineArg, MachineArg, RestoreArg, SettleArg, ShareArg};

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
    #[command(after_help = boot::BOOT_EXAMPLES)]
    Boot(BootArgs),
    /// Boot a kernel or a machine, wait until the guest has settled, and save a snapshot
    #[command(after_help = bake::BAKE_EXAMPLES)]
    Bake(BakeArgs),
    /// Run what a reference names, restore a snapshot, or boot a machine, and attach to its console
    #[command(after_help = run::RUN_EXAMPLES)]
    Run(RunArgs),
    /// Make a machine of a container image, or of a kernel and an initramfs: a WebAssembly module
    #[command(after_help = convert::CONVERT_EXAMPLES)]
    Convert(ConvertArgs),
    /// Compile a machine's module for a host
    #[command(after_help = convert::AOT_EXAMPLES)]
    Aot(AotArgs),
    /// Send a machine and its snapshot to a registry
    #[command(after_help = registry::PUSH_EXAMPLES)]
    Push(PushArgs),
    /// Fetch what a reference names into the store
    #[command(after_help = registry::PULL_EXAMPLES)]
    Pull(PullArgs),
    /// List what has been pulled
    Images(ImagesArgs),
    /// List what has been done in machines and was kept
    Sessions(SessionsArgs),
    /// Remove from the store what no reference names and nobody uses
    Prune(PruneArgs),
    /// Turn a snapshot in its travelling form, as ordinary OCI clients pull it, into one that can be run
    Unpack(UnpackArgs),
    /// Make keys that sign what is pushed
    #[command(after_help = trust::KEY_EXAMPLES)]
    Key(KeyArgs),
    /// Say whose native code is run
    #[command(after_help = trust::TRUST_EXAMPLES)]
    Trust(TrustArgs),
    /// Show what is in a snapshot or in a machine's file
    Inspect(InspectArgs),
    /// Compare two snapshots: exit code 0 if they hold the same, 1 if not
    Diff(DiffArgs),
}

impl Command {
    /// The verb.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Boot(_) => "boot",
            Self::Bake(_) => "bake",
            Self::Run(_) => "run",
            Self::Convert(_) => "convert",
            Self::Aot(_) => "aot",
            Self::Push(_) => "push",
            Self::Pull(_) => "pull",
            Self::Images(_) => "images",
            Self::Sessions(_) => "sessions",
            Self::Prune(_) => "prune",
            Self::Unpack(_) => "unpack",
            Self::Key(_) => "key",
            Self::Trust(_) => "trust",
            Self::Inspect(_) => "inspect",
            Self::Diff(_) => "diff",
        }
    }
}

/// Disks and shares.
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

impl From<&DeviceArgs> for Devices {
    fn from(args: &DeviceArgs) -> Self {
        Self { disks: args.disks.iter().map(Into::into).collect(), shares: args.shares.iter().map(Into::into).collect() }
    }
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

impl ColdArgs {
    /// The same for the library.
    pub fn cold(&self) -> Cold {
        Cold { initrd: self.initrd.clone(), append: self.append.clone(), memory: self.memory }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
