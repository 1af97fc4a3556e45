//! The command line: what verbs have in common is here, the rest beside the verb.

mod bake;
mod boot;
mod convert;
mod copy;
mod debug;
mod docker;
mod exec;
mod inspect;
mod installation;
mod later;
mod mount;
mod network;
mod program;
mod registry;
mod run;
mod serve;
mod translate;
mod trust;
mod value;

pub use bake::BakeArgs;
pub use boot::BootArgs;
pub use convert::{AotArgs, ConvertArgs};
pub use copy::{CopyArgs, Place};
pub use debug::DebugArgs;
pub use exec::ExecArgs;
pub use inspect::{DiffArgs, InspectArgs};
pub use installation::{CompletionArgs, ManArgs};
pub use network::NetworkArgs;
pub use program::ProgramArgs;
pub use registry::{ImagesArgs, PruneArgs, PullArgs, PushArgs, RegistryArgs, SessionsArgs, UnpackArgs};
pub use run::{RunArgs, RunOperand};
pub use serve::ServeArgs;
pub use translate::{ProfileArgs, TranslateArgs};
pub use trust::{KeyArgs, KeyCommand, TrustArgs, TrustCommand, TrustedArgs};

use crate::shell::write_line;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use later::Later;
use prebake::machine::Devices;
use prebake::machine::boot::{DEFAULT_APPEND, DEFAULT_MEMORY, KernelOptions};
use std::ffi::OsString;
use std::path::PathBuf;
use value::MODEL;
pub use value::{BakeTargetArg, ClockArg, DiskArg, EngineArg, MachineArg, MemoryArg, RestoreArg, SettleArg, ShareArg};

const EXAMPLES: &str = "\
Examples:
  Boot a kernel, save the machine as soon as it is ready:
    prebake bake --kernel vmlinux --initrd initramfs.cpio -o demo.snap
  Start a shell from it, instantly:
    prebake run demo.snap
  The same in a script, with byte-exact streams and the exit status of the guest's shell:
    printf 'uname -m; exit 3\\n' | prebake run demo.snap
  Show what a snapshot contains, and verify it:
    prebake inspect --verify demo.snap

Exit codes of `run` and `boot`: the status of the guest's program (128+n if signal n ended it);
125 if prebake failed; 124 if a limit was reached; 2 for wrong usage.

Environment:
  PREBAKE_LOG          Print diagnostics: debug, trace, or for example prebake::registry=debug
  PREBAKE_HOME         The store of pulled images and saved sessions
  PREBAKE_CACHE        Compiled code, and what is known of verified files
  PREBAKE_CONFIG       What is trusted
  PREBAKE_MACHINE      The folder with machine.wasm, vmlinux and initramfs.cpio
  PREBAKE_REGISTRY_USER, PREBAKE_REGISTRY_PASSWORD   Credentials for one registry
  PREBAKE_REGISTRY     Which: HOST[:PORT]; by default, that of --push or of the image
  PREBAKE_KEY_PASSWORD The password of an encrypted key";

/// Ends the process as wrong usage does.
pub fn refuse(problem: &str) -> ! {
    Cli::command().error(ErrorKind::InvalidValue, problem).exit()
}

/// Boot a Linux machine once, then restore it instantly, anywhere.
#[derive(Debug, Parser)]
#[command(name = "prebake", version, after_help = EXAMPLES, max_term_width = 100)]
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
    Boot(Later<BootArgs>),
    /// Boot a kernel, machine or image, wait until the guest has settled, and save a snapshot
    #[command(after_help = bake::BAKE_EXAMPLES)]
    Bake(Later<BakeArgs>),
    /// Run an image, snapshot or machine, and attach to its console
    #[command(after_help = run::RUN_EXAMPLES)]
    Run(Later<RunArgs>),
    /// Run a second program in a session that runs
    #[command(after_help = exec::EXEC_EXAMPLES)]
    Exec(Later<ExecArgs>),
    /// Copy files out of a session, or into it
    #[command(name = "cp", after_help = copy::COPY_EXAMPLES)]
    Copy(Later<CopyArgs>),
    /// Convert a container image, or a kernel and an initramfs, to a machine (a WebAssembly module)
    #[command(after_help = convert::CONVERT_EXAMPLES)]
    Convert(Later<ConvertArgs>),
    /// Compile a machine ahead of time for a host
    #[command(after_help = convert::AOT_EXAMPLES)]
    Aot(Later<AotArgs>),
    /// Translate a machine's hot guest code, so that it runs faster wherever the machine is compiled ahead of time
    #[command(after_help = translate::TRANSLATE_EXAMPLES)]
    Translate(Later<TranslateArgs>),
    /// Show which functions a profile's guest spent its instructions in
    #[command(after_help = translate::PROFILE_EXAMPLES)]
    Profile(Later<ProfileArgs>),
    /// Push a machine and its snapshot to a registry
    #[command(after_help = registry::PUSH_EXAMPLES)]
    Push(Later<PushArgs>),
    /// Pull an image from a registry, as a machine
    #[command(after_help = registry::PULL_EXAMPLES)]
    Pull(Later<PullArgs>),
    /// List pulled images
    Images(Later<ImagesArgs>),
    /// List sessions and which of them run, or remove them
    Sessions(Later<SessionsArgs>),
    /// Remove unreferenced files from the store
    Prune(Later<PruneArgs>),
    /// Run machines for another program, which speaks on standard input and output
    #[command(after_help = serve::EXAMPLES)]
    Serve(Later<ServeArgs>),
    /// Unpack a machine or a snapshot that an ordinary OCI client has pulled, so that it can be run
    Unpack(Later<UnpackArgs>),
    /// Make keys for signing
    #[command(after_help = trust::KEY_EXAMPLES)]
    Key(KeyArgs),
    /// Manage whose native code may run
    #[command(after_help = trust::TRUST_EXAMPLES)]
    Trust(TrustArgs),
    /// Show what a snapshot, a machine or a pulled image contains
    Inspect(Later<InspectArgs>),
    /// Compare two snapshots: exit code 0 if they are equal, 1 if they differ
    Diff(Later<DiffArgs>),
    /// Print a completion script for a shell
    Completion(Later<CompletionArgs>),
    /// Write manual pages
    #[command(hide = true)]
    Man(Later<ManArgs>),
}

impl Command {
    /// The reference whose registry a login is for, if nothing else was said: what is pushed to, or else what is pulled.
    pub fn reference(&self) -> Option<&str> {
        match self {
            Self::Bake(args) => args.push.as_deref().or(args.source.as_deref()),
            Self::Run(args) => args.operand.as_deref(),
            Self::Convert(args) => args.image.as_deref(),
            Self::Push(args) => Some(&args.reference),
            Self::Pull(args) => Some(&args.reference),
            _ => None,
        }
    }

    /// What is said of registries, by a verb that may talk to one.
    pub fn registry(&self) -> Option<&RegistryArgs> {
        match self {
            Self::Bake(args) => Some(&args.registry),
            Self::Run(args) => Some(&args.registry),
            Self::Convert(args) => Some(&args.registry),
            Self::Push(args) => Some(&args.registry),
            Self::Pull(args) => Some(&args.registry),
            Self::Serve(args) => Some(&args.registry),
            Self::Boot(_)
            | Self::Exec(_)
            | Self::Copy(_)
            | Self::Aot(_)
            | Self::Translate(_)
            | Self::Profile(_)
            | Self::Images(_)
            | Self::Sessions(_)
            | Self::Prune(_)
            | Self::Unpack(_)
            | Self::Key(_)
            | Self::Trust(_)
            | Self::Inspect(_)
            | Self::Diff(_)
            | Self::Completion(_)
            | Self::Man(_) => None,
        }
    }

    /// The verb.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Boot(_) => "boot",
            Self::Bake(_) => "bake",
            Self::Run(_) => "run",
            Self::Exec(_) => "exec",
            Self::Copy(_) => "cp",
            Self::Convert(_) => "convert",
            Self::Aot(_) => "aot",
            Self::Translate(_) => "translate",
            Self::Profile(_) => "profile",
            Self::Push(_) => "push",
            Self::Pull(_) => "pull",
            Self::Images(_) => "images",
            Self::Sessions(_) => "sessions",
            Self::Prune(_) => "prune",
            Self::Serve(_) => "serve",
            Self::Unpack(_) => "unpack",
            Self::Key(_) => "key",
            Self::Trust(_) => "trust",
            Self::Inspect(_) => "inspect",
            Self::Diff(_) => "diff",
            Self::Completion(_) => "completion",
            Self::Man(_) => "man",
        }
    }
}

/// Disks and shares.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Machine")]
pub struct DeviceArgs {
    /// Attach a disk image as vda, vdb and so on, after the disks of the machine. The file is never written: changes are kept separately. `:ro` makes
    /// the disk read-only for the guest
    #[arg(long = "disk", value_name = "FILE[:ro]")]
    pub disks: Vec<DiskArg>,
    /// Share a directory with the guest under a 9P mount tag. Init mounts the tag `wasi0` on /mnt/wasi0
    #[arg(long = "share", value_name = "TAG=DIR[:ro]")]
    pub shares: Vec<ShareArg>,
}

impl From<&DeviceArgs> for Devices {
    fn from(args: &DeviceArgs) -> Self {
        Self { disks: args.disks.iter().map(Into::into).collect(), shares: args.shares.iter().map(Into::into).collect(), network: false }
    }
}

/// A cold start.
#[derive(Debug, Args)]
#[command(next_help_heading = "Machine")]
pub struct ColdArgs {
    /// The initramfs: a cpio archive, preferably uncompressed
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// The kernel command line; the machine adds its own parameters
    #[arg(long, value_name = "STRING", default_value = DEFAULT_APPEND)]
    pub append: String,
    /// Memory, such as 512m or 1g; a number alone is MiB [default: 512 for an image, else 128]
    #[arg(short, long, value_name = "SIZE")]
    pub memory: Option<MemoryArg>,
    /// The machine model, which defines the hardware that the guest sees
    #[arg(long, value_name = "MODEL", default_value = MODEL)]
    pub machine: MachineArg,
    /// Disks and shares.
    #[command(flatten)]
    pub devices: DeviceArgs,
}

impl ColdArgs {
    /// The same for the library.
    pub fn kernel(&self) -> KernelOptions {
        KernelOptions {
            initrd: self.initrd.clone(),
            append: self.append.clone(),
            memory: self.memory.map_or(DEFAULT_MEMORY, |memory| memory.0),
        }
    }
}

/// How long, and what is told about it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Run")]
pub struct ReportArgs {
    /// Stop after this many guest instructions, with exit code 124
    #[arg(long, value_name = "N")]
    pub limit_instructions: Option<u64>,
    /// Write statistics to a JSON file, with the error and its kind if the run failed; - is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// How the guest's console is attached.
#[derive(Debug, Args)]
#[command(next_help_heading = "Console")]
pub struct ConsoleArgs {
    /// Allocate a terminal for the guest's program, even if standard input is not one
    #[arg(short = 't', long = "tty", overrides_with = "no_tty")]
    pub tty: bool,
    /// Connect the program to byte-exact streams, even if standard input is a terminal
    #[arg(short = 'T', long = "no-tty", overrides_with = "tty")]
    pub no_tty: bool,
    /// The source of guest time: the host's clock, or the instruction count (for tests: waiting takes no time)
    #[arg(long, value_name = "CLOCK", value_enum, default_value_t = ClockArg::Host)]
    pub clock: ClockArg,
    /// Print statistics at the end
    #[arg(long)]
    pub stats: bool,
}

/// Understands the command line, or ends the process with a message.
pub fn parse() -> Cli {
    let words: Vec<OsString> = std::env::args_os().collect();
    parse_from(&words).unwrap_or_else(|error| {
        // It repeats what it does not understand, which may be the name of somebody's file.
        if words.iter().any(|word| word.to_string_lossy().contains(char::is_control)) && error.use_stderr() {
            write_line(format_args!("{}", error.render().to_string().trim_end()));
            std::process::exit(error.exit_code());
        }
        error.exit()
    })
}

/// Verbs of docker's that prebake does not have, and what to use instead.
const DOCKERS: [(&str, &str); 6] = [
    ("ps", "`prebake sessions` lists sessions, and which of them run"),
    ("logs", "prebake keeps no output; redirect that of `prebake run`"),
    ("attach", "a run has the terminal that it was started on; `prebake exec -it SESSION sh` starts a second shell in it"),
    ("start", "`prebake run --session NAME` resumes a session"),
    ("rm", "`prebake sessions --remove NAME` removes a session"),
    ("rmi", "`prebake prune REF` removes an image"),
];

fn instead(words: &[OsString]) -> Option<clap::Error> {
    let verb = words.get(1)?.to_str()?;
    let (_, advice) = DOCKERS.iter().find(|(name, _)| *name == verb)?;
    Some(Cli::command().error(ErrorKind::InvalidSubcommand, format!("prebake has no verb `{verb}`: {advice}")))
}

/// Understands these words, the first of which is the program's name.
fn parse_from(words: &[OsString]) -> Result<Cli, clap::Error> {
    let help = || Cli::try_parse_from(["prebake", "run", "--help"]);
    let mut cli = match Cli::try_parse_from(words) {
        Err(error) if error.kind() == ErrorKind::InvalidSubcommand => return Err(instead(words).unwrap_or(error)),
        // Without an image, `-h` is no name's.
        Err(_) if words.len() == 3 && words[1] == "run" && words[2] == "-h" => return help(),
        parsed => parsed?,
    };
    let checked = match &mut cli.command {
        Command::Run(args) => {
            if args.asks_for_help() {
                return help();
            }
            args.take_back_command(words);
            args.check()
        }
        Command::Copy(args) => args.check(),
        Command::Boot(args) => args.network.check(),
        Command::Bake(args) => args.check(),
        Command::Convert(args) => args.check(),
        _ => Ok(()),
    };
    checked.map(|()| cli).map_err(|problem| {
        let mut command = Cli::command();
        command.build();
        // The usage is that of the verb.
        let verb = words.get(1).and_then(|word| word.to_str()).and_then(|word| command.find_subcommand_mut(word).cloned());
        verb.unwrap_or(command).error(ErrorKind::ArgumentConflict, problem)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_verb_says_of_itself_what_the_list_of_verbs_says() {
        let listed = Cli::command();
        let mut defined = Cli::command();
        defined.build();
        for verb in listed.get_subcommands() {
            let itself = defined.find_subcommand(verb.get_name()).unwrap();
            let words = |command: &clap::Command| [command.get_about(), command.get_after_help()].map(|text| text.map(ToString::to_string));
            assert_eq!(words(itself), words(verb), "{}", verb.get_name());
            // One of those is `--help`.
            assert!(itself.get_arguments().count() > 1 || itself.has_subcommands(), "{}", verb.get_name());
        }
    }

    fn parse(words: &[&str]) -> Result<Command, clap::Error> {
        let words: Vec<OsString> = ["prebake"].iter().chain(words).map(Into::into).collect();
        parse_from(&words).map(|cli| cli.command)
    }

    fn run(words: &[&str]) -> (Option<String>, Vec<String>) {
        match parse(&[&["run"], words].concat()) {
            Ok(Command::Run(args)) => (args.operand.clone(), args.command.clone()),
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn a_command_follows_the_image() {
        let is = |image: Option<&str>, command: &[&str]| (image.map(str::to_owned), command.iter().map(|&word| word.to_owned()).collect());
        assert_eq!(run(&["alpine", "ls", "-l"]), is(Some("alpine"), &["ls", "-l"]));
        assert_eq!(
            run(&["-e", "A=1", "alpine", "-w", "/w", "sh", "-c", "echo -e -- x"]),
            is(Some("alpine"), &["sh", "-c", "echo -e -- x"])
        );
        assert_eq!(run(&["-it", "--rm", "--name", "w", "alpine"]), is(Some("alpine"), &[]));
        assert_eq!(run(&["alpine", "git", "checkout", "--", "f"]), is(Some("alpine"), &["git", "checkout", "--", "f"]));
        assert_eq!(run(&["curl", "--", "--version"]), is(Some("curl"), &["--version"]));
        assert_eq!(run(&["--session", "w", "alpine", "--", "ls"]), is(Some("alpine"), &["ls"]));
        // Where something else says what to run, all that is behind `--` is the command.
        assert_eq!(run(&["--snapshot", "a.snap", "--", "sh", "-c", "x"]), is(None, &["sh", "-c", "x"]));
        assert_eq!(run(&["--session", "w", "--", "ls"]), is(None, &["ls"]));
        assert!(parse(&["run", "--session", "w", "--rm", "alpine"]).is_err());
    }

    #[test]
    fn a_command_to_execute_follows_the_session() {
        let exec = |words: &[&str]| match parse(&[&["exec"], words].concat()) {
            Ok(Command::Exec(args)) => (args.session.clone(), prebake::exec::ExecRequest::from(&*args)),
            other => panic!("{words:?}: {other:?}"),
        };
        let (session, request) = exec(&["-it", "-e", "A=1", "-w", "/w", "-u", "app", "work", "sh", "-c", "ls -i", "-t"]);
        assert_eq!((session.as_str(), request.program.as_str(), request.arguments.join(" ")), ("work", "sh", "-c ls -i -t".to_owned()));
        assert!(request.interactive && request.on_terminal);
        assert_eq!(request.environment, [("A".to_owned(), "1".to_owned())]);
        let (_, request) = exec(&["localhost:5000/a:1", "ls", "--", "-l"]);
        assert_eq!((request.program, request.arguments), ("ls".into(), vec!["--".into(), "-l".into()]));
        assert!(!request.interactive && !request.on_terminal);
        assert!(parse(&["exec", "work"]).is_err());
    }

    #[test]
    fn what_is_refused_says_what_to_do() {
        let refused = |words: &[&str]| parse(words).unwrap_err().to_string();
        assert!(refused(&["convert", "alpine", "-o", "x.aot"]).contains("run prebake aot x.wasm -o x.aot"));
        assert!(refused(&["convert", "alpine", "-o", "x.snap"]).contains("prebake bake"));
        assert!(refused(&["bake", "x.wasm", "-m", "1g", "-o", "x.snap"]).contains("prebake convert"));
        assert!(refused(&["ps"]).contains("`prebake sessions` lists") && !refused(&["ps"]).contains("tip:"));
        assert!(refused(&["psx"]).contains("unrecognized subcommand"));
        assert!(refused(&["run", "alpine", "-sS"]).contains("-- -s"));
        assert_eq!(parse(&["run", "-h"]).unwrap_err().kind(), ErrorKind::DisplayHelp);
        assert!(
            matches!(parse(&["run", "-h", "box", "alpine"]), Ok(Command::Run(args)) if args.program().hostname.as_deref() == Some("box"))
        );
        assert!(refused(&["run", "-h", "a b", "alpine"]).contains("letters"));
    }
}
