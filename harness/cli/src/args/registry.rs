//! The verbs that have to do with registries and the store: `push`, `pull`, `images`, `prune`, `unpack`.

use clap::Args;
use std::path::PathBuf;

pub(super) const PUSH_EXAMPLES: &str = "\
Examples:
  prebake push registry.example/demo:1 demo.aot demo.snap
  prebake push registry.example/demo:1 demo.aot demo-arm.aot demo.wasm demo.snap
  prebake push registry.example/demo:1 demo.aot demo.snap --sign prebake.key

Credentials come from the files and helpers of docker and podman, or from PREBAKE_REGISTRY_USER and
PREBAKE_REGISTRY_PASSWORD, for REF's registry or the one in PREBAKE_REGISTRY. HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY are followed.";

pub(super) const PULL_EXAMPLES: &str = "\
Examples:
  prebake pull registry.example/demo:1           prints the paths of the machine and the snapshot
  prebake pull --offline registry.example/demo:1
  prebake pull --verify-key prebake.pub registry.example/demo:1

Interrupted downloads resume. If the registry is down, pull uses what was pulled before.";

/// How registries are reached.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registry")]
pub struct RegistryArgs {
    /// Use plain HTTP. Registries on this host need no option for it
    #[arg(long)]
    pub plain_http: bool,
    /// Trust the certificates in this file (PEM) besides this host's; may be repeated. So are those in /etc/docker/certs.d and /etc/containers/certs.d
    #[arg(long, value_name = "FILE")]
    pub ca_file: Vec<PathBuf>,
}

/// `prebake push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// The reference to push to
    #[arg(value_name = "REF")]
    pub reference: String,
    /// Machines, one for each kind of host, and at most one snapshot
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The minimum processor of an .aot that does not say it, since an older version compiled it: x86-64-v2 or x86-64-v3; generic for aarch64
    #[arg(long, value_name = "BASELINE")]
    pub host_cpu: Option<String>,
    /// Sign with this private key: a file, or env://VARIABLE
    #[arg(long, value_name = "KEY")]
    pub sign: Option<String>,
    /// The registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// `prebake pull`.
#[derive(Debug, Args)]
pub struct PullArgs {
    /// The image to pull. If it is an ordinary container image, a machine is made of it
    #[arg(value_name = "IMAGE")]
    pub reference: String,
    /// Use only the store; contact no registry
    #[arg(long)]
    pub offline: bool,
    /// Fetch also what only a boot needs: kernel and initramfs
    #[arg(long)]
    pub boot: bool,
    /// Require a signature by this public key: a file, or env://VARIABLE
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
    /// Remove this session and everything in it; may be repeated
    #[arg(long, value_name = "NAME")]
    pub remove: Vec<String>,
    /// Print JSON
    #[arg(long, conflicts_with = "remove")]
    pub json: bool,
}

/// `prebake prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Remove these references first
    #[arg(value_name = "REF")]
    pub references: Vec<String>,
}

/// `prebake unpack`.
#[derive(Debug, Args)]
pub struct UnpackArgs {
    /// The packed snapshot, or all files of a machine, as pulled
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The unpacked snapshot or machine. It is replaced only when the new one is complete
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}
