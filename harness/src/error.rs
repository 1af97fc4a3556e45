//! What can go wrong, and what it is called in scripts.

use crate::artifact::ArtifactError;
use crate::distribution::oci::OciError;
use crate::distribution::trust::TrustError;
use crate::make::image::ImageError;
use emu::machine::MachineError;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Something that was asked for besides what is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// Variables of the program's environment.
    Environment,
    /// Volumes.
    Volumes,
    /// The folder that the program starts in.
    WorkingDirectory,
    /// The user that the program runs as.
    User,
    /// Another program than the image's.
    Entrypoint,
    /// Arguments for the program.
    Arguments,
    /// A terminal for the program.
    Terminal,
    /// Three streams for the program.
    Streams,
    /// Disks.
    Disks,
    /// Shares.
    Shares,
    /// A snapshot is read when its memory is first touched.
    ReadOnTouch,
    /// A trace of all instructions.
    Trace,
    /// A debugger.
    Debugger,
    /// A profile of what runs.
    Profile,
    /// The machine's name.
    Hostname,
    /// File systems in memory.
    Tmpfs,
    /// Limits on the program's resources.
    Limits,
    /// A root that cannot be written.
    ReadOnlyRoot,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Environment => "the environment",
            Self::Volumes => "the list of volumes",
            Self::WorkingDirectory => "the working directory",
            Self::User => "the user",
            Self::Entrypoint => "the entry point",
            Self::Arguments => "the list of arguments",
            Self::Terminal => "a terminal",
            Self::Streams => "the choice of three streams",
            Self::Disks => "a disk",
            Self::Shares => "a share",
            Self::ReadOnTouch => "reading on first touch",
            Self::Trace => "a trace",
            Self::Debugger => "a debugger",
            Self::Profile => "a profile",
            Self::Hostname => "the host name",
            Self::Tmpfs => "a file system in memory",
            Self::Limits => "a resource limit",
            Self::ReadOnlyRoot => "a read-only root",
        })
    }
}

/// Why prebake itself failed. Each message says what was found, what was wanted and what to do. The program's option for that is the front end's to
/// name.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The work was given up, because that was asked for.
    #[error("cancelled")]
    Cancelled,
    /// A file that was named cannot be read.
    #[error("cannot read the {what} {}: {source}", path.display())]
    Read {
        /// What the file is for.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}{}", path.display(), advice(source))]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The place for a new file is taken by something that is not a file.
    #[error("{} exists and is not a regular file, so it is not replaced; choose another name", path.display())]
    NotAFile {
        /// Which place.
        path: PathBuf,
    },
    /// A snapshot cannot be opened or restored.
    #[error("{}: {source}", path.display())]
    Snapshot {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: snapshot::Error,
    },
    /// A snapshot cannot be restored because of what the machine is to be.
    #[error("{}: {source}", path.display())]
    Restore {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: MachineError,
    },
    /// A machine cannot be made or saved.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// A machine's file cannot be made or read.
    #[error("{}: {source}", path.display())]
    Artifact {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: ArtifactError,
    },
    /// A container image cannot be read.
    #[error(transparent)]
    Image(Box<ImageError>),
    /// Something cannot be pushed or pulled.
    #[error(transparent)]
    Oci(Box<OciError>),
    /// A key, or what the user trusts, cannot be used.
    #[error(transparent)]
    Trust(Box<TrustError>),
    /// There is nowhere to keep what is pulled.
    #[error("no store: it needs a folder that only you can write to")]
    NoStore,
    /// A machine's metadata are not what prebake writes.
    #[error("{}: cannot read its metadata: {source}; convert it again with this version of prebake", path.display())]
    Metadata {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// What is to be compiled is not WebAssembly.
    #[error("{} is already compiled; pass the .wasm it was made from", path.display())]
    NotWasm {
        /// Its file.
        path: PathBuf,
    },
    /// The machine's code cannot be compiled.
    #[error(transparent)]
    Compile(Box<wamr::Error>),
    /// A file is no profile.
    #[error("{}: {source}", path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: translate::ProfileError,
    },
    /// A file is no program.
    #[error("{} is not an ELF file: {problem}", path.display())]
    NotElf {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// What is hot cannot be linked into the machine.
    #[error(transparent)]
    Translate(Box<translate::Error>),
    /// A command that a machine was to be trained with failed.
    #[error("`{lesson}` ended with status {status} in the guest, so its profile means nothing; see what it says when it is run")]
    Training {
        /// The command, or the script's path.
        lesson: String,
        /// What it ended with.
        status: u8,
    },
    /// The code of a machine is not what this prebake gives machines, so it cannot be made anew.
    #[error("{} has other code than the machines of this prebake; convert the image again", path.display())]
    OtherCode {
        /// Its file.
        path: PathBuf,
    },
    /// There is no such host to compile for.
    #[error("unknown baseline {name} for {target}; choose one of: {known}")]
    Baseline {
        /// What was asked for.
        name: String,
        /// For which target.
        target: String,
        /// What there is.
        known: String,
    },
    /// A machine's module cannot do what it was asked for.
    #[error("{setting} is not available in WAMR; use the native engine")]
    NotInModule {
        /// What was asked for.
        setting: Setting,
    },
    /// A machine's module cannot be loaded.
    #[error("{}: {source}", path.display())]
    Module {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: Box<wamr::Error>,
    },
    /// A machine's module speaks another ABI.
    #[error("{}: the machine has ABI version {found}, expected {wanted}; convert it again with this version of prebake", path.display())]
    ModuleAbi {
        /// Its file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version that is understood.
        wanted: u32,
    },
    /// A machine has not the memory that was insisted on.
    #[error("{}: the machine has {found} MiB of memory, not {wanted}; convert the image again for another size", path.display())]
    MachineMemory {
        /// Its file.
        path: PathBuf,
        /// MiB that it has.
        found: u64,
        /// MiB that were asked for.
        wanted: u32,
    },
    /// A machine's module has no room for its guest's RAM and the upper disk.
    #[error(
        "{}: {ram_size} bytes of guest RAM and an upper disk of {upper} bytes (a multiple of 64 KiB) do not fit into the module's memory of {pages} pages; \
         convert it again with this version of prebake",
        path.display()
    )]
    ModuleMemory {
        /// Its file.
        path: PathBuf,
        /// Bytes of guest RAM.
        ram_size: u64,
        /// Bytes of the upper disk.
        upper: u64,
        /// Pages of its memory.
        pages: u32,
    },
    /// The module has failed.
    #[error("the machine's module failed: {0}")]
    Engine(#[source] Box<wamr::Error>),
    /// The module has not returned from a call.
    #[error("the machine's module does not return from a call; it is damaged, or made to do so; get it from where you trust it")]
    Unresponsive,
    /// The module refused something, in its own words.
    #[error("{message}")]
    Refused {
        /// A stable name.
        kind: String,
        /// What was found, what was wanted and what to do.
        message: String,
    },
    /// The host has no memory for the guest.
    #[error("cannot allocate {} MiB of memory for the guest: {source}; give the machine less memory, or free some", bytes >> 20)]
    Memory {
        /// Bytes of guest RAM.
        bytes: u64,
        /// Why not.
        source: io::Error,
    },
    /// A disk has a size that no disk has.
    #[error("the disk {} has {size} bytes; the size of a disk must be a positive multiple of 512 bytes", path.display())]
    DiskSize {
        /// Its file.
        path: PathBuf,
        /// Its size.
        size: u64,
    },
    /// The snapshot's disks are those of a machine, which was not given.
    #[error("the snapshot needs the machine that it was baked from, which has its own disks")]
    NeedsMachine,
    /// A disk is not the one that the snapshot had.
    #[error("{problem}; pass the same disk, or bake again")]
    OtherDisk {
        /// What was found and what was wanted.
        problem: String,
    },
    /// A disk can be written to, and was not to be when the snapshot was taken, or the other way round.
    #[error("the disk {disk} was {} when the snapshot was taken; pass it so again", if *read_only { "read-only" } else { "writable" })]
    DiskAccess {
        /// Its device and its file.
        disk: String,
        /// How it was.
        read_only: bool,
    },
    /// The snapshot's disks are not those that were given.
    #[error("{problem}")]
    WrongDisk {
        /// What was found, what was wanted and what to do.
        problem: String,
    },
    /// A share cannot be made.
    #[error("{problem}")]
    WrongShare {
        /// What was found, what was wanted and what to do.
        problem: String,
    },
    /// The snapshot's shares are not those that were given.
    #[error("the shares given are {given}, but the snapshot was taken with {wanted}; pass the same tags in the same order")]
    OtherShares {
        /// What was found.
        given: String,
        /// What was wanted.
        wanted: String,
    },
    /// The snapshot has a share where volumes would be.
    #[error(
        "the snapshot was taken with a share {tag}, so there is no place for volumes; pass that share again instead, or bake without it"
    )]
    NoPlaceForVolumes {
        /// Its mount tag.
        tag: &'static str,
    },
    /// A port of the host cannot lead to the guest.
    #[error("cannot publish {address}: {source}{}", match source.kind() {
        io::ErrorKind::AddrInUse => "; stop what uses it, or publish another port",
        io::ErrorKind::PermissionDenied => "; ports below net.ipv4.ip_unprivileged_port_start need privileges: publish another port",
        _ => "",
    })]
    Publish {
        /// The host's address.
        address: std::net::SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// There is no process to send frames to.
    #[error("cannot connect the guest's network to {place}: {source}")]
    Relay {
        /// Where it was to be.
        place: String,
        /// Why not.
        source: io::Error,
    },
    /// A network is asked for that the machine has no device for.
    #[error("{} has no network device; convert and bake the image again, or use no network", path.display())]
    NoNetworkDevice {
        /// The machine or snapshot.
        path: PathBuf,
    },
    /// A network is asked for under the virtual clock.
    #[error("a network needs the host's clock, not the virtual one")]
    NetworkInVirtualTime,
    /// The guest's program runs already.
    #[error("the program in {} is already running, so {setting} has no effect; omit it, or bake to the barrier", path.display())]
    AlreadyStarted {
        /// The snapshot.
        path: PathBuf,
        /// What was asked for.
        setting: Setting,
    },
    /// The guest's init is not prebake's, and knows less.
    #[error("the guest in {} has an init with container2wasm's protocol, in which {setting} has no place; omit it", path.display())]
    NoInit {
        /// The snapshot.
        path: PathBuf,
        /// What was asked for.
        setting: Setting,
    },
    /// A volume cannot be at its place.
    #[error("cannot mount a volume at /{path} in the guest; choose another path")]
    Volume {
        /// The path in the guest.
        path: String,
    },
    /// The snapshot's shell is on a terminal.
    #[error("the shell in {} already uses a terminal, so it cannot have three streams; bake to the barrier", path.display())]
    OnATerminal {
        /// The snapshot.
        path: PathBuf,
    },
    /// The operating system gives no random bytes, or no signals.
    #[error("cannot {what}: {source}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The guest's output cannot be passed on.
    #[error("cannot write the guest's output to {stream}: {source}{}", advice(source))]
    Output {
        /// Standard output or standard error.
        stream: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The guest cannot be attended any further.
    #[error(transparent)]
    Guest(#[from] attend::Failure),
    /// Something was asked for that cannot be.
    #[error("{what}: {problem}")]
    Invalid {
        /// What.
        what: &'static str,
        /// What was found, and what was wanted.
        problem: String,
    },
    /// Nothing was named.
    #[error("nothing to run: pass a reference, a machine, a snapshot or a session")]
    NothingToRun,
    /// There is no such session.
    #[error("no session {name}")]
    NoSession {
        /// Its name.
        name: String,
    },
    /// A session is held by another process.
    #[error("session {name} is in use by another prebake; stop that one, or choose another name")]
    SessionInUse {
        /// Its name.
        name: String,
    },
    /// A session has no process that could start a program in it.
    #[error("session {name} is not running, so no program can be started in it; run it first, in another terminal")]
    SessionRests {
        /// Its name.
        name: String,
    },
    /// A reference has several sessions.
    #[error("{of} has several sessions; name one of them: {names}")]
    SeveralSessions {
        /// The reference.
        of: String,
        /// Their names.
        names: String,
    },
    /// A command for a machine that runs is too long.
    #[error(
        "the command and its environment have {found} bytes, and at most {most} can be passed to a running machine; put them into a file"
    )]
    ExecTooLong {
        /// Bytes that there are.
        found: usize,
        /// Bytes that are possible.
        most: usize,
    },
    /// A program in a machine that runs cannot be run, or not any longer.
    #[error("cannot run a program in the machine: {reason}")]
    ExecFailed {
        /// Why not.
        reason: String,
    },
    /// Files cannot be copied, as the guest says.
    #[error("{}", complaint_of(*status, complaint))]
    Copy {
        /// What the program in the guest ended with.
        status: u8,
        /// What it said.
        complaint: String,
    },
    /// Files cannot be copied on this host, or not as an archive says.
    #[error(transparent)]
    Transfer(#[from] transfer::Error),
    /// Files were copied into a session that could not be saved then.
    #[error("session {session} could not be saved after its files were copied, so it is as it was before; copy again")]
    NotCopied {
        /// The session.
        session: String,
    },
    /// The process that runs the machine has gone.
    #[error("the machine's process has ended")]
    ExecLost,
    /// That cannot be the name of a session.
    #[error(
        "invalid session name `{name}`: use up to 128 letters, digits, dots, dashes and underscores, starting with a letter or a digit"
    )]
    SessionName {
        /// What was given.
        name: String,
    },
    /// A session is of something else.
    #[error("session {name} belongs to {found}, not to {wanted}; choose another name")]
    OtherSession {
        /// Its name.
        name: String,
        /// What it is of.
        found: String,
        /// What was to be run.
        wanted: String,
    },
    /// The program of a session runs already.
    #[error("the program of session {name} is already running, so {setting} has no effect; omit it, or choose another session")]
    SessionOption {
        /// The session.
        name: String,
        /// What was asked for.
        setting: Setting,
    },
    /// A session cannot have that.
    #[error("{setting} is not available in session {name}; omit one of them")]
    NotInSession {
        /// The session.
        name: String,
        /// What was asked for.
        setting: Setting,
    },
    /// A session has nothing to begin with.
    #[error("session {name} needs a snapshot to start from")]
    SessionBase {
        /// The session.
        name: String,
    },
    /// What a session needs is gone.
    #[error("session {name} needs {}, which no longer exists", path.display())]
    SessionFile {
        /// The session.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// What is done in this run is not kept.
    #[error("this run is not saved; interactive runs of a reference are, and runs of a named session")]
    NoSessionToSave,
    /// The guest's program is not there yet.
    #[error("nothing to save yet: the guest is still starting")]
    NothingToSave,
    /// A machine was spoken to that is no more.
    #[error("the machine has ended")]
    MachineEnded,
    /// The guest came to no place where it can be saved.
    #[error(
        "the guest cannot be saved now: for {instructions} instructions it was neither idle nor in user mode with interrupts enabled; \
         the session is unchanged; try again"
    )]
    NoSafePoint {
        /// As many as were waited for.
        instructions: u64,
    },
    /// A signal ended the work.
    #[error("interrupted by signal {signal}")]
    Interrupted {
        /// Its number.
        signal: i32,
    },
}

impl From<ImageError> for Error {
    fn from(error: ImageError) -> Self {
        Self::Image(Box::new(error))
    }
}

impl From<OciError> for Error {
    fn from(error: OciError) -> Self {
        Self::Oci(Box::new(error))
    }
}

impl From<TrustError> for Error {
    fn from(error: TrustError) -> Self {
        Self::Trust(Box::new(error))
    }
}

fn complaint_of(status: u8, complaint: &str) -> String {
    if complaint.is_empty() { format!("the guest stopped copying, with status {status}") } else { format!("in the session: {complaint}") }
}

/// What to do about an error in writing.
fn advice(error: &io::Error) -> &'static str {
    if is_full(error) { "; free some space, or write elsewhere" } else { "" }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// The result of everything that prebake does.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A stable name of the kind of error, for scripts.
    pub fn kind(&self) -> &str {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => "missing",
            Self::Read { .. } => "unreadable",
            Self::Write { source, .. } if is_full(source) => "disk-full",
            Self::Write { .. } => "unwritable",
            Self::NotAFile { .. } => "not-a-file",
            Self::Snapshot { source, .. } => source.kind(),
            Self::Restore { source, .. } | Self::Machine(source) => source.kind(),
            Self::Artifact { source, .. } => source.kind(),
            Self::Image(error) => error.kind(),
            Self::Oci(error) => error.kind(),
            Self::Trust(error) => error.kind(),
            Self::NoStore => "no-store",
            Self::Metadata { .. } => "metadata",
            Self::NotWasm { .. } => "not-wasm",
            Self::Compile(_) => "compile",
            Self::Profile { .. } => "profile",
            Self::NotElf { .. } => "not-elf",
            Self::Translate(_) => "translate",
            Self::OtherCode { .. } => "other-code",
            Self::Training { .. } => "training",
            Self::Baseline { .. } => "baseline",
            Self::NotInModule { .. } => "not-in-module",
            Self::Module { .. } => "module",
            Self::ModuleAbi { .. } => "module-abi",
            Self::MachineMemory { .. } => "ram-size",
            Self::ModuleMemory { .. } => "module-memory",
            Self::Engine(_) => "engine",
            Self::Unresponsive => "unresponsive",
            Self::Refused { kind, .. } => kind,
            Self::Cancelled => "cancelled",
            Self::Memory { .. } => "no-memory",
            Self::DiskSize { .. } => "disk-size",
            Self::NeedsMachine | Self::OtherDisk { .. } | Self::DiskAccess { .. } | Self::WrongDisk { .. } => "wrong-disk",
            Self::WrongShare { .. } | Self::OtherShares { .. } | Self::NoPlaceForVolumes { .. } => "wrong-share",
            Self::Publish { .. } => "publish",
            Self::Relay { .. } => "relay",
            Self::NoNetworkDevice { .. } => "no-network-device",
            Self::NetworkInVirtualTime => "network-in-virtual-time",
            Self::AlreadyStarted { .. } => "already-started",
            Self::NoInit { .. } => "no-init",
            Self::Volume { .. } => "volume",
            Self::OnATerminal { .. } => "on-a-terminal",
            Self::Host { .. } => "host",
            Self::Output { .. } => "output",
            Self::Guest(failure) => failure.kind(),
            Self::Invalid { .. } => "invalid",
            Self::NothingToRun => "nothing-to-run",
            Self::NoSession { .. } => "no-session",
            Self::SessionInUse { .. } => "session-in-use",
            Self::SessionRests { .. } => "session-rests",
            Self::SeveralSessions { .. } => "several-sessions",
            Self::ExecTooLong { .. } => "exec-too-long",
            Self::ExecFailed { .. } => "exec-failed",
            Self::ExecLost => "exec-lost",
            Self::Copy { .. } | Self::Transfer(_) => "copy",
            Self::NotCopied { .. } => "not-copied",
            Self::SessionName { .. } => "session-name",
            Self::OtherSession { .. } => "other-session",
            Self::SessionOption { .. } => "session-option",
            Self::NotInSession { .. } => "not-in-session",
            Self::SessionBase { .. } => "session-base",
            Self::SessionFile { .. } => "session-file",
            Self::NoSessionToSave => "keeps-nothing",
            Self::NothingToSave => "nothing-to-keep",
            Self::MachineEnded => "machine-ended",
            Self::NoSafePoint { .. } => "no-safe-point",
            Self::Interrupted { .. } => "interrupted",
        }
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Guest(attend::Failure::Limit { .. }) => exit::LIMIT,
            Self::Interrupted { signal } => exit::of_signal(*signal),
            _ => exit::FAILED,
        }
    }
}

/// Exit codes.
pub mod exit {
    /// prebake itself failed.
    pub const FAILED: u8 = 125;
    /// A limit that was asked for was reached.
    pub const LIMIT: u8 = 124;
    /// Two snapshots differ.
    pub const DIFFERENT: u8 = 1;

    /// What a shell reports of a program that a signal ended.
    pub fn of_signal(signal: i32) -> u8 {
        u8::try_from(signal).ok().and_then(|signal| signal.checked_add(128)).unwrap_or(FAILED)
    }
}
