//! The verbs that have to do with who made something: `key`, `trust`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

pub(super) const KEY_EXAMPLES: &str = "\
Examples:
  prebake key generate                           prebake.key, which signs, and prebake.pub, which verifies
  prebake key generate -o release
  prebake push registry.example/demo:1 demo.aot demo.snap --sign release.key

Keys are ECDSA on P-256 in PEM, as `openssl genpkey` and cosign know them. With PREBAKE_KEY_PASSWORD set, the private key is
encrypted with that, and decrypted when it is used.";

pub(super) const TRUST_EXAMPLES: &str = "\
Examples:
  prebake trust add --key release.pub                                what this key has signed, wherever it is
  prebake trust add --key release.pub registry.example/team/*        only there
  prebake trust add registry.example/team/demo                       whatever that repository has
  prebake trust remove --key release.pub

Native code (.aot) that was not compiled here is run only if it is trusted so. Otherwise the machine runs on prebake's own
emulator, slower and with a notice. Nothing else depends on it.";

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
        /// What to call the files: NAME.key and NAME.pub
        #[arg(short, long, value_name = "NAME", default_value = "prebake")]
        output: PathBuf,
    },
    /// Print the public key of a private one
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
    /// List who is trusted
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Trust them no more
    Remove(TrustedArgs),
}

/// A key, repositories, or a key for some repositories.
#[derive(Debug, Args)]
pub struct TrustedArgs {
    /// A public key: a file, or env://VARIABLE; to remove it, also its fingerprint as `list` shows it
    #[arg(long, value_name = "KEY", required_unless_present = "repositories")]
    pub key: Option<String>,
    /// A repository, or with /* at the end all below that name
    #[arg(value_name = "REPOSITORY")]
    pub repositories: Option<String>,
}
