//! What can go wrong.

use crate::options::Baseline;
use crate::value::Kind;
use std::io;
use std::path::PathBuf;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a module was not loaded, an instance not made, a call not finished or a module not compiled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This thread has a [`Runtime`](crate::Runtime).
    #[error("WAMR is already running on this thread; use the Runtime that is there, or another thread")]
    AlreadyStarted,
    /// WAMR cannot set itself up.
    #[error("WAMR did not start; check that the stack of the thread has at least 64 KiB and that a signal stack can be mapped")]
    Start,

    /// The bytes of a module cannot be brought into memory.
    #[error("cannot map the module: {0}")]
    Map(#[source] io::Error),
    /// Neither kind of module.
    #[error("not a WebAssembly module and not an .aot: it starts with {found:02x?}")]
    NotAModule {
        /// The first bytes, up to four.
        found: Vec<u8>,
    },
    /// A module that WAMR cannot take the size of.
    #[error("the module has {len} bytes; at most {max} can be loaded")]
    TooLarge {
        /// Its length.
        len: usize,
        /// The largest there can be.
        max: usize,
    },
    /// A WebAssembly module of another version, or a component.
    #[error("the WebAssembly module has version {found:#x}, expected 1; convert components to modules first")]
    WasmVersion {
        /// Its version.
        found: u32,
    },
    /// An .aot in another version of the format.
    #[error("the .aot has format version {found}, expected {wanted}; compile the module again with this version of prebake")]
    AotVersion {
        /// Its version.
        found: u32,
        /// The version that is understood.
        wanted: u32,
    },
    /// An .aot for another processor.
    #[error("the .aot is for {found}, but this host is {wanted}; compile the module for this host")]
    Architecture {
        /// What it was compiled for.
        found: String,
        /// What this host is.
        wanted: &'static str,
    },
    /// An .aot for a better processor or kernel than this host's.
    #[error("the .aot needs {needed}, which this host does not have; compile the module for a lower baseline")]
    HostLacks {
        /// What is missing.
        needed: String,
    },
    /// The end is missing.
    #[error("the file is truncated: the {what} at byte {offset} needs {needed} bytes, but only {left} are left; fetch it again")]
    Truncated {
        /// What is cut.
        what: &'static str,
        /// Where that starts.
        offset: usize,
        /// How many bytes it has to have, at least.
        needed: usize,
        /// How many there are.
        left: usize,
    },
    /// WAMR does not take it for a reason of its own.
    #[error("cannot load the module: {reason}")]
    Load {
        /// WAMR's words.
        reason: String,
    },
    /// The module imports what nobody provides.
    #[error("the module imports {module}.{name}, which is not available; only wasi_snapshot_preview1 is provided")]
    MissingImport {
        /// From which module.
        module: String,
        /// What.
        name: String,
    },

    /// Something of a module was to be read that its file does not have any more.
    #[error("another process shortened {} while it was in use; keep the file where nobody else writes, and start again", path.display())]
    FileShortened {
        /// The file.
        path: PathBuf,
    },
    /// A text with a NUL in it, or a guest path that WAMR would take for two.
    #[error("cannot pass {what} {text:?} to a guest: {why}")]
    WasiText {
        /// What it is.
        what: &'static str,
        /// The text.
        text: String,
        /// What is wrong.
        why: &'static str,
    },
    /// No instance could be made.
    #[error("cannot instantiate the module: {reason}")]
    Instantiate {
        /// WAMR's words.
        reason: String,
    },

    /// The module has no such function.
    #[error("the module does not export the function {name:?}")]
    NoFunction {
        /// Its name.
        name: String,
    },
    /// The module has no such type of function.
    #[error("{name} takes {takes:?} and gives {gives:?}, but was called as if it took {taken:?} and gave {given:?}")]
    Signature {
        /// The function.
        name: String,
        /// What it takes.
        takes: Vec<Kind>,
        /// What it gives.
        gives: Vec<Kind>,
        /// What the caller has.
        taken: Vec<Kind>,
        /// What the caller expects.
        given: Vec<Kind>,
    },
    /// The function passes values that have no place in Rust, like a reference.
    #[error("{name} passes a value of WAMR's kind {kind}; only i32, i64, f32 and f64 can be passed")]
    ForeignKind {
        /// The function.
        name: String,
        /// WAMR's number for the kind.
        kind: u8,
    },
    /// A function of one instance was called on another.
    #[error("this function was looked up in another instance")]
    OtherInstance,
    /// The guest did what is not allowed. The instance can be used further.
    #[error("the guest trapped: {message}")]
    Trap {
        /// What it did.
        kind: Trap,
        /// WAMR's words.
        message: String,
    },
    /// The guest's [`Watch`](crate::Watch) ended the call. The instance can be used further.
    #[error("the guest was stopped")]
    Stopped,
    /// The guest ended itself by `proc_exit`. The instance can be used further.
    #[error("the guest ended with exit code {code}")]
    Exit {
        /// Its code.
        code: u32,
    },

    /// The module has no memory.
    #[error("the module has no memory")]
    NoMemory,
    /// Addresses outside of the guest's memory.
    #[error("{len} bytes at guest address {address:#x} are not within its memory of {size} bytes")]
    OutOfBounds {
        /// Where they start.
        address: u32,
        /// How many they are.
        len: usize,
        /// How much memory there is.
        size: usize,
    },
    /// Only whole pages can be mapped.
    #[error(
        "{len} bytes of a file at {offset:#x} cannot be mapped at guest address {address:#x}: all three must be multiples of {page}, and not 0 bytes"
    )]
    Unaligned {
        /// Where in memory.
        address: u32,
        /// Where in the file.
        offset: u64,
        /// How many.
        len: usize,
        /// The host's page.
        page: usize,
    },
    /// The file has less than is to be mapped.
    #[error("{len} bytes at {offset:#x} are not within the file of {size} bytes")]
    ShortFile {
        /// Where in the file.
        offset: u64,
        /// How many.
        len: usize,
        /// How long it is.
        size: u64,
    },

    /// The compiler cannot be run.
    #[error("cannot run the compiler {}: {source}; it should be in the same folder as prebake", program.display())]
    NoCompiler {
        /// Where it should be.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The compiler ran and did not do it.
    #[error("cannot compile {} for {baseline}: {reason}", wasm.display())]
    Compile {
        /// The module.
        wasm: PathBuf,
        /// For what.
        baseline: Baseline,
        /// The compiler's words.
        reason: String,
    },
    /// The result cannot be put where it belongs.
    #[error("cannot write {}: {source}", aot.display())]
    WriteAot {
        /// Where that is.
        aot: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What a guest did that is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trap {
    /// Memory, or a table, outside of its bounds; or a mapped file that became shorter.
    OutOfBounds,
    /// Recursion too deep.
    StackOverflow,
    /// The instruction `unreachable`: a panic, in Rust.
    Unreachable,
    /// A division by zero, or one or a conversion whose result does not fit.
    Arithmetic,
    /// An indirect call of nothing, or of a function of another type.
    IndirectCall,
    /// Anything else.
    Other,
}

impl Trap {
    /// The kind behind WAMR's words.
    pub(crate) fn of(message: &str) -> Self {
        let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
        match () {
            () if says(&["stack overflow"]) => Self::StackOverflow,
            () if says(&["out of bounds"]) => Self::OutOfBounds,
            () if says(&["unreachable"]) => Self::Unreachable,
            () if says(&["divide by zero", "integer overflow", "invalid conversion"]) => Self::Arithmetic,
            () if says(&["uninitialized element", "undefined element", "indirect call", "unknown function"]) => Self::IndirectCall,
            () => Self::Other,
        }
    }
}
