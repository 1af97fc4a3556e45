//! The verbs that look at files: `inspect`, `diff`.

use clap::Args;
use std::path::PathBuf;

/// `prebake inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A snapshot, a machine (a file that ends in .aot or .wasm), or an image that was pulled
    #[arg(value_name = "FILE|IMAGE")]
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
    /// The first snapshot
    #[arg(value_name = "A.snap")]
    pub first: PathBuf,
    /// The second snapshot
    #[arg(value_name = "B.snap")]
    pub second: PathBuf,
    /// List at most this many pages
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub pages: usize,
}
