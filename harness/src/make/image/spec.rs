//! The documents of an image, as the OCI image specification and Docker before it have them.

use super::error::{ImageError, Result};
use crate::distribution::oci::{self, Sha256};
use payload::ImageConfig;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// Beginnings of the media types of layers that are elsewhere than in the registry.
const FOREIGN: [&str; 2] = ["application/vnd.docker.image.rootfs.foreign.", "application/vnd.oci.image.layer.nondistributable."];
/// Where an index has the name of an image: in full, as Docker and containerd write it …
const FULL_NAME: &str = "io.containerd.image.name";
/// … and as the specification has it, which may be a tag alone.
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
        self.names().next()
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let annotations = self.annotations.as_ref();
        [FULL_NAME, NAME].into_iter().filter_map(move |key| annotations?.get(key).map(String::as_str))
    }

    /// Whether a user who says `wanted` means it: one of its names, or its digest.
    pub fn is_called(&self, wanted: &str) -> bool {
        self.names().any(|name| same_name(name, wanted)) || is_digest(&self.digest, wanted)
    }

    /// The error of a layer that could not be opened: one that images refer to without carrying it is not expected to be there.
    pub fn unopened(&self, error: ImageError) -> ImageError {
        let is_foreign = FOREIGN.iter().any(|foreign| self.media_type.starts_with(foreign));
        if !is_foreign || !matches!(error.kind(), "image-missing" | "not-in-registry") {
            return error;
        }
        let problem = format!("a layer of the type {} is not part of it, but must come from elsewhere", self.media_type.escape_debug());
        ImageError::Document { what: "manifest", problem }
    }
}

/// Whether two names are of one image: `alpine` and `docker.io/library/alpine:latest` are.
pub fn same_name(one: &str, other: &str) -> bool {
    let whole = |name: &str| oci::reference(name).map(|reference| reference.whole());
    one == other || matches!((whole(one), whole(other)), (Ok(one), Ok(other)) if one == other)
}

/// Whether `wanted` is this digest, with or without `sha256:`, or so much of its beginning as Docker shows.
pub fn is_digest(digest: &str, wanted: &str) -> bool {
    const SHOWN: usize = 12;
    let digits = |text: &'_ str| text.strip_prefix("sha256:").unwrap_or(text).to_owned();
    let wanted = digits(wanted);
    wanted.len() >= SHOWN && wanted.bytes().all(|digit| digit.is_ascii_hexdigit()) && digits(digest).starts_with(&wanted)
}

/// What an image is for. What is not said may be anything.
#[derive(Debug, Clone, Deserialize)]
struct Platform {
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    variant: Option<String>,
}

impl Platform {
    fn is_ours(&self) -> bool {
        let is_one_of = |said: &Option<String>, words: &[&str]| {
            said.as_deref().is_none_or(|said| said.is_empty() || words.iter().any(|word| said.eq_ignore_ascii_case(word)))
        };
        // The machine is an x86-64-v2. The names are those that containerd takes.
        is_one_of(&self.os, &["linux"])
            && is_one_of(&self.architecture, &["amd64", "x86_64", "x86-64"])
            && is_one_of(&self.variant, &["v1", "v2"])
    }

    fn is_unsaid(&self) -> bool {
        [&self.os, &self.architecture].into_iter().all(|said| said.as_deref().unwrap_or_default().is_empty())
    }

    fn name(&self) -> String {
        let parts = [&self.os, &self.architecture, &self.variant].into_iter().map(Option::as_deref);
        let parts: Vec<&str> = parts.flatten().filter(|part| !part.is_empty()).collect();
        parts.join("/").escape_debug().to_string()
    }
}

/// A list of manifests.
#[derive(Debug, Deserialize)]
pub struct Index {
    /// In the order of preference.
    #[serde(deserialize_with = "or_nothing")]
    pub manifests: Vec<Descriptor>,
}

/// A list for which some programs write `null` if it is empty.
fn or_nothing<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> std::result::Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Index {
    /// The first manifest for the machine, or list that may have one.
    pub fn choose(&self) -> Result<&Descriptor> {
        let said = |entry: &&Descriptor| entry.platform.as_ref().is_some_and(|platform| !platform.is_unsaid() && platform.is_ours());
        let ours = self.manifests.iter().find(said);
        let unsaid = || self.manifests.iter().find(|entry| entry.platform.as_ref().is_none_or(Platform::is_unsaid));
        ours.or_else(unsaid).ok_or_else(|| {
            // Attestations are listed as if for an unknown platform.
            let platforms = self
                .manifests
                .iter()
                .filter_map(|entry| entry.platform.as_ref())
                .filter(|platform| platform.os.as_deref() != Some("unknown"));
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
    #[serde(default, deserialize_with = "or_nothing")]
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

/// An image in an archive of Docker's.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Saved {
    /// The path of its configuration, which is named by its digest.
    pub config: String,
    /// Its names.
    #[serde(default, deserialize_with = "or_nothing")]
    pub repo_tags: Vec<String>,
    /// The paths of its layers, from the lowest on.
    #[serde(default, deserialize_with = "or_nothing")]
    pub layers: Vec<String>,
}

impl Saved {
    /// The digits of its configuration's digest, if it is named by that.
    pub fn digits(&self) -> &str {
        self.config.rsplit('/').next().unwrap_or_default().trim_end_matches(".json")
    }

    /// What it is called, or else its digest.
    pub fn names(&self) -> Vec<String> {
        if self.repo_tags.is_empty() { vec![self.digits().to_owned()] } else { self.repo_tags.clone() }
    }

    /// Whether a user who says `wanted` means it: one of its names, or its digest.
    pub fn is_called(&self, wanted: &str) -> bool {
        self.repo_tags.iter().any(|tag| same_name(tag, wanted)) || is_digest(self.digits(), wanted)
    }
}

/// Understands a document.
pub fn parse<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|source| ImageError::Json { what, source })
}
