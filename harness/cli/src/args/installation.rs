//! The verbs that make what an installation has besides the program: `completion`, `man`.

use clap::Args;
use clap_complete::Shell;
use std::path::PathBuf;

/// `prebake completion`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// `prebake man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder for the pages
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
}
