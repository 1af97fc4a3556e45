//! `prebake serve`.

use super::RegistryArgs;
use clap::Args;

pub(super) const EXAMPLES: &str = "\
The program that starts `prebake serve` speaks its protocol on standard input and output: docs/serve.md. When standard input ends, sessions are saved
and machines end.";

/// `prebake serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Have names of hosts looked up by the program at standard input, not by this host
    #[arg(long)]
    pub resolve: bool,
    /// The registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
}
