//! The verbs that have to do with who made something: `key`, `trust`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

pub(super) const KEY_EXAMPLES: &str = "\
Examples:
  prebake key generate                           writes prebake.key, which signs, and prebake.pub, which verifies
  prebake key generate -o release
  prebake push registry.example/demo:1 demo.aot demo.snap --sign release.key

Keys are ECDSA P-256 in PEM, compatible with `openssl genpkey` and cosign. If PREBAKE_KEY_PASSWORD is set, it encrypts the
private key, and decrypts it when it is used.";

pub(super) const TRUST_EXAMPLES: &str = "\
Examples:
  prebake trust add --key release.pub                                everything that this key signed
  prebake trust add --key release.pub registry.example/team/*        only in these repositories
  prebake trust add registry.example/team/demo                       everything in this repository
  prebake trust remove --key release.pub

Native code (.aot) that was not compiled here runs only if it is trusted. Otherwise prebake prints a notice, and the machine runs
without it: on the native engine, or with --engine wamr with prebake's own code, both slower than code that was trained for it.
Nothing else depends on trust.";

/// `prebake key`.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a pair of keys
    Generate {
        /// The files: NAME.key and NAME.pub
        #[arg(short, long, value_name = "NAME", default_value = "prebake")]
        output: PathBuf,
    },
    /// Print the public key of a private key
    Public {
        /// The private key: a file, or env://VARIABLE
        #[arg(value_name = "KEY")]
        key: String,
    },
}

/// `prebake trust`.
#[derive(Debug, Args)]
pub struct TrustArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: TrustCommand,
}

/// What can be done with trust.
#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// Trust a key, or repositories
    Add(TrustedArgs),
    /// List what is trusted
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke trust; this takes effect at once, even offline
    Remove(TrustedArgs),
}

/// A key, repositories, or a key for some repositories.
#[derive(Debug, Args)]
pub struct TrustedArgs {
    /// A public key: a file, or env://VARIABLE; `remove` also takes the fingerprint that `list` shows
    #[arg(long, value_name = "KEY", required_unless_present = "repositories")]
    pub key: Option<String>,
    /// A repository; with /* at the end, everything below it
    #[arg(value_name = "REPOSITORY")]
    pub repositories: Option<String>,
}
