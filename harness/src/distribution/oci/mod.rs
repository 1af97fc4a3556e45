//! Registries: machines and snapshots as OCI artifacts, laid out as `docs/registry.md` says.
//!
//! [`Destination::push`] sends files, [`ensure`] makes sure that what a reference names is in the store. `registry` is the connection and `blob` what goes
//! through it; `route`, `tls`, `credentials` and `token` are what it takes to be let in, `obstacle` what may be in the way; `document` is what the blobs say, `host` what of it can be used here, `layer` how a machine is taken apart and
//! put together, `fetch` what a pull does, `stream` and `arrival` how a machine starts while it is on its way, `signatures` who stands for it.

mod arrival;
mod blob;
mod credentials;
mod digest;
mod document;
mod error;
mod fetch;
mod host;
mod join;
mod layer;
mod lookups;
mod meter;
mod obstacle;
mod others;
mod pull;
mod push;
mod reference;
mod registry;
mod route;
mod signatures;
mod stream;
mod tls;
mod token;

pub(crate) use arrival::{Coming, Found};
pub use blob::Sent;
pub use digest::{NotADigest, Sha256};
pub use document::{
    ARTIFACT_TYPE, Code, CodeFormat, Config, Descriptor, INDEXES, Index, LayerConfig, Layers, Machine, Manifest, Platform, SnapshotConfig,
};
pub use error::OciError;
pub use host::Host;
pub use join::join;
pub use obstacle::{Obstacle, Remedy};
pub use pull::{PullOptions, PullPolicy, VmArtifacts, ensure};
pub(crate) use pull::{Standpoint, ask, begin_in, digest_of, ensure_in, files_of, intact, voucher};
pub use push::{Destination, Pushed};
pub(crate) use reference::TRANSPORT;
pub use reference::reference;
pub use registry::Registry;
