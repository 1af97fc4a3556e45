//! The verbs that have to do with registries and the store: `push`, `pull`, `images`, `prune`, `unpack`.

use clap::Args;
use prebake::distribution::oci::Connection;
use std::path::PathBuf;

pub(super) const PUSH_EXAMPLES: &str = "\
Examples:
  prebake push registry.example/demo:1 demo.aot demo.snap
  prebake push registry.example/demo:1 demo.aot demo-arm.aot demo.wasm demo.snap
  prebake push registry.example/demo:1 demo.aot demo.snap --sign prebake.key

Credentials are those of docker and podman ($DOCKER_CONFIG or ~/.docker, with credential helpers), or
PREBAKE_REGISTRY_USER and PREBAKE_REGISTRY_PASSWORD.";

pub(super) const PULL_EXAMPLES: &str = "\
Examples:
  prebake pull registry.example/demo:1           prints where machine and snapshot are
  prebake pull --offline registry.example/demo:1
  prebake pull --verify-key prebake.pub registry.example/demo:1

What has broken off goes on where it was. If the registry is down, what was pulled before will do.";

/// How a registry is talked to.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registry")]
pub struct RegistryArgs {
    /// Without TLS. A registry on this host is never asked for it
    #[arg(long)]
    pub plain_http: bool,
}

impl RegistryArgs {
    /// The same for those who talk.
    pub fn connection(&self) -> Connection {
        Connection { plain_http: self.plain_http, ..Connection::default() }
    }
}

/// `prebake push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// What is to name them
    #[arg(value_name = "REF")]
    pub reference: String,
    /// Machines, one for each kind of host, and at most one snapshot
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The least processor of an .aot that was not compiled here: x86-64-v2 or x86-64-v3, generic for aarch64
    #[arg(long, value_name = "BASELINE")]
    pub host_cpu: Option<String>,
    /// Sign it with this private key: a file, or env://VARIABLE
    #[arg(long, value_name = "KEY")]
    pub sign: Option<String>,
    /// The registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// `prebake pull`.
#[derive(Debug, Args)]
pub struct PullArgs {
    /// What names them
    #[arg(value_name = "REF")]
    pub reference: String,
    /// Ask nobody: only what is in the store
    #[arg(long)]
    pub offline: bool,
    /// Take it only if it is signed by this public key: a file, or env://VARIABLE
    #[arg(long, value_name = "KEY")]
    pub verify_key: Option<String>,
    /// The registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// `prebake images`.
#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `prebake sessions`.
#[derive(Debug, Args)]
pub struct SessionsArgs {
    /// End this session, and forget what was done in it. May repeat
    #[arg(long, value_name = "NAME")]
    pub remove: Vec<String>,
    /// Print JSON
    #[arg(long, conflicts_with = "remove")]
    pub json: bool,
}

/// `prebake prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// References to forget first
    #[arg(value_name = "REF")]
    pub references: Vec<String>,
}

/// `prebake unpack`.
#[derive(Debug, Args)]
pub struct UnpackArgs {
    /// The snapshot in its travelling form
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where to save its stored form. A file of that name stays as it is until the new one is complete
    #[arg(short, long, value_name = "FILE.snap")]
    pub output: PathBuf,
}
