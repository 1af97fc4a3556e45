//! The documents of an image, as the OCI image specification and Docker before it have them.

use super::error::{ImageError, Result};
use crate::distribution::oci::Sha256;
use payload::ImageConfig;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// Beginnings of the media types of layers that are elsewhere than in the registry.
const FOREIGN: [&str; 2] = ["application/vnd.docker.image.rootfs.foreign.", "application/vnd.oci.image.layer.nondistributable."];
/// Where an index has the name of an image.
const NAME: &str = "org.opencontainers.image.ref.name";

/// What names a blob.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What kind of document it is.
    #[serde(default)]
    pub media_type: String,
    digest: String,
    /// Its bytes.
    pub size: u64,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    /// Its digest.
    pub fn digest(&self) -> Result<Sha256> {
        self.digest.parse().map_err(ImageError::UnknownDigest)
    }

    /// What it is called in a layout.
    pub fn name(&self) -> Option<&str> {
        self.annotations.as_ref()?.get(NAME).map(String::as_str)
    }

    /// Refuses what is not a layer that can be had.
    pub fn check_layer(&self) -> Result<()> {
        if FOREIGN.iter().any(|foreign| self.media_type.starts_with(foreign)) {
            let problem = format!("a layer has the type {}, which must not be distributed", self.media_type.escape_debug());
            return Err(ImageError::Document { what: "manifest", problem });
        }
        Ok(())
    }
}

/// What an image is for.
#[derive(Debug, Clone, Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

impl Platform {
    fn is_ours(&self) -> bool {
        // The machine is an x86-64-v2.
        self.os == "linux" && self.architecture == "amd64" && matches!(self.variant.as_deref(), None | Some("" | "v1" | "v2"))
    }

    fn name(&self) -> String {
        let parts = [Some(self.os.as_str()), Some(&self.architecture), self.variant.as_deref()];
        let parts: Vec<&str> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
        parts.join("/").escape_debug().to_string()
    }
}

/// A list of manifests.
#[derive(Debug, Deserialize)]
pub struct Index {
    /// In the order of preference.
    pub manifests: Vec<Descriptor>,
}

impl Index {
    /// The first manifest for the machine, or list that may have one.
    pub fn choose(&self) -> Result<&Descriptor> {
        let ours = self.manifests.iter().find(|entry| entry.platform.as_ref().is_some_and(Platform::is_ours));
        let unsaid = || self.manifests.iter().find(|entry| entry.platform.is_none());
        ours.or_else(unsaid).ok_or_else(|| {
            // Attestations are listed as if for an unknown platform.
            let platforms = self.manifests.iter().filter_map(|entry| entry.platform.as_ref()).filter(|platform| platform.os != "unknown");
            ImageError::Platform { found: platforms.map(Platform::name).collect() }
        })
    }
}

/// What an image is made of.
#[derive(Debug, Deserialize)]
pub struct Manifest {
    /// The configuration.
    pub config: Descriptor,
    /// From the lowest on.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
}

/// A configuration.
#[derive(Debug, Deserialize)]
pub struct Configuration {
    #[serde(flatten)]
    platform: Platform,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    config: Option<Execution>,
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

/// What is run, with the names that Docker's program had for its fields.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Execution {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    stop_signal: Option<String>,
    hostname: Option<String>,
    exposed_ports: Option<BTreeMap<String, serde::de::IgnoredAny>>,
    volumes: Option<BTreeMap<String, serde::de::IgnoredAny>>,
    labels: Option<BTreeMap<String, String>>,
}

impl Configuration {
    /// Refuses what is not for the machine.
    pub fn check_platform(&self) -> Result<()> {
        if self.platform.is_ours() { Ok(()) } else { Err(ImageError::Platform { found: vec![self.platform.name()] }) }
    }

    /// The digests of the layers as archives, from the lowest on.
    pub fn diff_ids(&self) -> Result<Vec<Sha256>> {
        self.rootfs.diff_ids.iter().flatten().map(|digest| digest.parse().map_err(ImageError::UnknownDigest)).collect()
    }

    /// What it says of the program.
    pub fn into_config(self) -> Result<ImageConfig> {
        let said = self.config.unwrap_or_default();
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let keys = |map: Option<BTreeMap<String, _>>| map.unwrap_or_default().into_keys().collect();
        let config = ImageConfig {
            created: filled(self.created),
            entrypoint: said.entrypoint.unwrap_or_default(),
            cmd: said.cmd.unwrap_or_default(),
            env: said.env.unwrap_or_default(),
            working_dir: filled(said.working_dir),
            user: filled(said.user),
            stop_signal: filled(said.stop_signal),
            hostname: filled(said.hostname),
            exposed_ports: keys(said.exposed_ports),
            volumes: keys(said.volumes),
            labels: said.labels.unwrap_or_default(),
        };
        let words = [&config.entrypoint, &config.cmd, &config.env].into_iter().flatten();
        let names = [&config.working_dir, &config.user, &config.stop_signal, &config.hostname].into_iter().flatten();
        if words.chain(names).any(|text| text.contains('\0')) {
            return Err(ImageError::Document { what: "configuration", problem: "it has a zero byte in an argument or a variable".into() });
        }
        Ok(config)
    }
}

/// Understands a document.
pub fn parse<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|source| ImageError::Json { what, source })
}
