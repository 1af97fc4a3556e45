//! The documents of an artifact: index, manifests and configurations, as `docs/registry.md` lays them out.

use super::digest::Sha256;
use super::error::OciError;
use crate::artifact::{MAX_CODE_LEN, MAX_FILE_LEN, PartKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What manifests and index call themselves.
pub const ARTIFACT_TYPE: &str = "application/vnd.prebake.artifact.v1";
/// Media types of what they name …
pub const CONFIG_TYPE: &str = "application/vnd.prebake.config.v1+json";
/// … a machine in native code …
pub const AOT_TYPE: &str = "application/vnd.prebake.aot.v1";
/// … in WebAssembly …
pub const WASM_TYPE: &str = "application/wasm";
/// … its code alone …
pub const CODE_TYPE: &str = "application/vnd.prebake.code.v1+zstd";
/// … a snapshot.
pub const SNAPSHOT_TYPE: &str = "application/vnd.prebake.snapshot.v1+zstd";
/// Media types of the documents themselves.
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// See [`INDEX_TYPE`].
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media types of manifests of any kind …
pub const MANIFESTS: [&str; 2] = [MANIFEST_TYPE, "application/vnd.docker.distribution.manifest.v2+json"];
/// … and of lists of them for several platforms.
pub const INDEXES: [&str; 2] = [INDEX_TYPE, "application/vnd.docker.distribution.manifest.list.v2+json"];
/// The annotation with the name of a layer's file.
pub const TITLE: &str = "org.opencontainers.image.title";

/// The media type of the layer that is this part of a machine.
pub fn part_type(part: PartKind) -> String {
    format!("application/vnd.prebake.{part}.v1+zstd")
}

/// Bytes of a document. Registries take no longer ones.
pub const MAX_DOCUMENT: u64 = 4 << 20;
/// Entries of an index that are looked at.
pub const MAX_ENTRIES: usize = 64;
/// What is wrong with files that are longer than such files can be.
pub const TOO_LARGE: &str = "its files are larger than any machine can be";

/// What names a blob or a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What kind of content it is.
    pub media_type: String,
    /// Its digest.
    pub digest: Sha256,
    /// Its bytes.
    pub size: u64,
    /// In an index: what the manifest is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// In an index: what the manifest calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// The content itself in base64, if it is small and needed by whoever reads this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

impl Descriptor {
    /// Of these bytes.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Sha256::of(bytes), bytes.len() as u64)
    }

    /// Of `size` bytes with this digest.
    pub fn new(media_type: &str, digest: Sha256, size: u64) -> Self {
        Self { media_type: media_type.into(), digest, size, platform: None, artifact_type: None, annotations: None, data: None }
    }

    /// The same, and the name of its file.
    pub fn titled(self, name: &str) -> Self {
        Self { annotations: Some(BTreeMap::from([(TITLE.into(), name.into())])), ..self }
    }

    /// The same, and the content itself, so that nobody has to ask for it.
    pub fn with_content(self, bytes: &[u8]) -> Self {
        Self { data: Some(STANDARD.encode(bytes)), ..self }
    }

    /// The content, if it is here. What is not what it should be does not count.
    pub fn content(&self) -> Option<Vec<u8>> {
        let bytes = STANDARD.decode(self.data.as_ref()?).ok()?;
        Some(bytes).filter(|bytes| Sha256::of(bytes) == self.digest)
    }
}

/// What a manifest is for, in OCI's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The processor.
    pub architecture: String,
    /// The operating system.
    pub os: String,
}

/// A list of manifests, one for each target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    schema_version: u32,
    media_type: String,
    artifact_type: Option<String>,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
}

impl Index {
    /// Of these manifests.
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self { schema_version: 2, media_type: INDEX_TYPE.into(), artifact_type: Some(ARTIFACT_TYPE.into()), manifests }
    }
}

/// The files for one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    schema_version: u32,
    media_type: String,
    artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The machine, as a file or in its layers, and the snapshot if there is one.
    pub layers: Vec<Descriptor>,
}

impl Manifest {
    /// Of this configuration and these files.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self { schema_version: 2, media_type: MANIFEST_TYPE.into(), artifact_type: Some(ARTIFACT_TYPE.into()), config, layers }
    }

    /// The machine, and the snapshot.
    pub fn files(&self) -> Result<(Machine, Option<Descriptor>), OciError> {
        let of_kind = |kinds: &[&str]| {
            let mut layers = self.layers.iter().filter(|layer| kinds.contains(&layer.media_type.as_str()));
            match (layers.next(), layers.next()) {
                (layer, None) => Ok(layer.cloned()),
                _ => Err(OciError::document("manifest", format!("it has several layers of the type {}", kinds.join(" or ")))),
            }
        };
        let snapshot = of_kind(&[SNAPSHOT_TYPE])?;
        match (of_kind(&[AOT_TYPE, WASM_TYPE])?, of_kind(&[CODE_TYPE])?) {
            (Some(file), None) => Ok((Machine::File(file), snapshot)),
            (None, Some(code)) => {
                let mut parts = BTreeMap::new();
                for kind in PartKind::ALL {
                    parts.extend(of_kind(&[&part_type(kind)])?.map(|layer| (kind, layer)));
                }
                Ok((Machine::Layers(Layers { code, parts }), snapshot))
            }
            (Some(_), Some(_)) => Err(OciError::document("manifest", "it has two machines")),
            (None, None) => Err(OciError::document("manifest", "it has no machine")),
        }
    }
}

/// What a manifest has of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Machine {
    /// Its file, as older versions pushed it.
    File(Descriptor),
    /// What its file is put together of.
    Layers(Layers),
}

/// See [`Machine::Layers`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    /// The code.
    pub code: Descriptor,
    /// The parts of the payload.
    pub parts: BTreeMap<PartKind, Descriptor>,
}

impl Layers {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.code).chain(self.parts.values())
    }

    /// Checks that `config` describes them.
    pub fn check(&self, config: &Config) -> Result<(), OciError> {
        let contradiction = |problem| Err(OciError::document("manifest", problem));
        let names: BTreeSet<&str> = self.parts.keys().map(|kind| kind.name()).collect();
        let has_these = |keys: &BTreeSet<&str>| *keys == names;
        let described = config.layers.as_ref().filter(|sizes| {
            has_these(&sizes.parts.keys().map(String::as_str).collect()) && has_these(&config.payload.keys().map(String::as_str).collect())
        });
        let Some(sizes) = described else {
            return contradiction("it and its configuration do not agree on the parts of the machine");
        };
        sizes.check()?;
        if self.all().any(|layer| layer.size > MAX_FILE_LEN) {
            return contradiction(TOO_LARGE);
        }
        Ok(())
    }
}

/// What must be known of the files before they are fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The machine model.
    pub model: String,
    /// Bytes of guest RAM.
    pub ram_bytes: u64,
    /// The machine's code.
    pub code: Code,
    /// Digests of what the machine carries, by the names of the parts: kernel, initramfs, root, metadata.
    #[serde(default)]
    pub payload: BTreeMap<String, String>,
    /// What else it takes to put the machine's file together, if it comes in layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<LayerConfig>,
    /// The container image that the root is of: the digest of its manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The snapshot, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotConfig>,
}

/// See [`Config::layers`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerConfig {
    /// Pages of the module's memory.
    pub memory_pages: u32,
    /// Bytes of the code file.
    pub code: u64,
    /// Bytes of the parts, by their names.
    pub parts: BTreeMap<String, u64>,
    /// Content digest of the root's layer, so that each of its blocks can be verified when it has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Bytes of the root's layer up to the end of its first frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_first_bytes: Option<u64>,
}

impl LayerConfig {
    /// Checks that a machine can have these sizes.
    pub fn check(&self) -> Result<(), OciError> {
        let bytes = self.parts.values().fold(self.code, |sum, bytes| sum.saturating_add(*bytes));
        if self.code > MAX_CODE_LEN || bytes > MAX_FILE_LEN {
            return Err(OciError::document("configuration", TOO_LARGE));
        }
        Ok(())
    }
}

/// See [`Config::code`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// What it is.
    pub format: CodeFormat,
    /// Version of that format: of WAMR's AOT, or of WebAssembly.
    pub version: u32,
    /// What native code is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The least processor that native code runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Digest of the code file.
    pub digest: String,
}

/// See [`Code::format`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodeFormat {
    /// WAMR's native code.
    Aot,
    /// WebAssembly.
    Wasm,
}

impl CodeFormat {
    /// How names of such files end.
    pub const fn ending(self) -> &'static str {
        match self {
            Self::Aot => "aot",
            Self::Wasm => "wasm",
        }
    }

    /// The media type of such a file.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Aot => AOT_TYPE,
            Self::Wasm => WASM_TYPE,
        }
    }
}

/// See [`Config::snapshot`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotConfig {
    /// Version of the snapshot format.
    pub format: u32,
    /// The snapshot's name: its content digest.
    pub content: String,
    /// Bytes of its stored form.
    pub stored_bytes: u64,
    /// Bytes of its layer up to the end of its first frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_bytes: Option<u64>,
    /// The optional devices that the machine has.
    pub devices: u32,
}

/// A document's bytes. Equal documents have equal bytes.
pub fn encode(document: &impl Serialize) -> Vec<u8> {
    // Structs of text and numbers have a form in JSON, whatever they hold.
    serde_json::to_vec(document).unwrap_or_default()
}

/// The document `what` in `bytes`, which anyone may have written.
pub fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, OciError> {
    serde_json::from_slice(bytes).map_err(|error| OciError::document(what, error.to_string().escape_debug().to_string()))
}
