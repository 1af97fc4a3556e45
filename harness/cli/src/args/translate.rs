//! The verbs for hot code: `translate`, `profile`.

use clap::Args;
use prebake::make::translated::{INSTRUCTIONS, Translation};
use std::path::PathBuf;

pub(super) const TRANSLATE_EXAMPLES: &str = "\
Examples:
  prebake run alpine.wasm --snapshot alpine.snap --profile shell.profile -- sh -c 'seq 1 100000 | sort | tail'
  prebake translate alpine.wasm --profile shell.profile -o fast.wasm
  prebake aot fast.wasm -o fast.aot

The new machine behaves the same, byte for byte, and its snapshots are interchangeable with the old one's.";

pub(super) const PROFILE_EXAMPLES: &str = "\
Examples:
  prebake profile shell.profile
  prebake profile shell.profile --symbols System.map --top 40
  prebake profile shell.profile --machine fast.wasm --top 0
  prebake profile shell.profile --symbols System.map --folded | flamegraph.pl >shell.svg";

/// `prebake translate`.
#[derive(Debug, Args)]
pub struct TranslateArgs {
    /// The machine
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
    /// What its guest has run, recorded by `prebake run --profile`; may be repeated
    #[arg(long = "profile", value_name = "FILE", required = true)]
    pub profiles: Vec<PathBuf>,
    /// The machine with translated code
    #[arg(short, long, value_name = "FILE.wasm")]
    pub output: PathBuf,
    /// Translate at most this many guest instructions. Each adds some hundred bytes to the compiled machine
    #[arg(long, value_name = "N", default_value_t = INSTRUCTIONS)]
    pub instructions: usize,
}

impl TranslateArgs {
    /// What is wanted.
    pub fn translation(&self) -> Translation {
        Translation {
            machine: self.file.clone(),
            profiles: self.profiles.clone(),
            instructions: self.instructions,
            output: self.output.clone(),
        }
    }
}

/// `prebake profile`.
#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// Profiles, recorded by `prebake run --profile`; their counts are added
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Name the kernel's functions by this System.map
    #[arg(long, value_name = "FILE")]
    pub symbols: Option<PathBuf>,
    /// Name the functions of this program or library, as it is in the image; may be repeated
    #[arg(long, value_name = "FILE")]
    pub elf: Vec<PathBuf>,
    /// Show how much of it this machine has translated, and how often that is left
    #[arg(long, value_name = "FILE.wasm", conflicts_with = "folded")]
    pub machine: Option<PathBuf>,
    /// How many functions to show
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
    /// Print all functions as folded stacks, for flame graphs
    #[arg(long, conflicts_with = "top")]
    pub folded: bool,
}
