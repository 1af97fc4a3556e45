//! The machines that the store has. One that is to be put together has what they have from them.

use super::digest::Sha256;
use super::document::{CodeFormat, Config};
use super::pull::intact;
use crate::artifact::{Artifact, Kind, Part, PartKind};
use crate::distribution::store::{Lock, Store, StoredFile};
use crate::host::file::HostFile;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// See above.
pub struct Others(Vec<Other>);

/// One of them.
pub struct Other {
    /// What the store calls it.
    pub file: StoredFile,
    /// It, open.
    pub artifact: Artifact<HostFile>,
    _pin: Lock,
}

impl Others {
    /// Those of `store`, as long as this lives.
    pub fn of(store: &Store) -> Self {
        let mut others: BTreeMap<Sha256, Other> = BTreeMap::new();
        // One that cannot be used is none: what it has is fetched.
        for entry in store.entries().unwrap_or_default() {
            let resized = entry.resized.iter().map(|machine| &machine.file);
            for file in std::iter::once(&entry.machine).chain(resized) {
                let place = store.file(file.layer, entry.format.ending());
                if !others.contains_key(&file.layer)
                    && let Ok(Some(pin)) = intact(store, &place, file.layer)
                    && let Ok(opened) = HostFile::open("machine", &place)
                    && let Ok(artifact) = Artifact::open(opened)
                {
                    others.insert(file.layer, Other { file: file.clone(), artifact, _pin: pin });
                }
            }
        }
        Self(others.into_values().collect())
    }

    /// One with this code.
    pub fn code(&self, digest: &str) -> Option<&Artifact<HostFile>> {
        self.0.iter().map(|other| &other.artifact).find(|artifact| artifact.said_code_digest().to_string() == digest)
    }

    /// One with the same part as the machine that `config` describes.
    pub fn part(&self, kind: PartKind, config: &Config) -> Option<&Artifact<HostFile>> {
        let digest = config.payload.get(kind.name())?;
        self.0.iter().map(|other| &other.artifact).find(|artifact| artifact.part(kind).is_ok_and(|part| part.digest.to_string() == *digest))
    }

    /// Where the file of one with the same part is.
    pub fn place(&self, kind: PartKind, config: &Config, store: &Store) -> Option<PathBuf> {
        let digest = config.payload.get(kind.name())?;
        let has_it = |other: &&Other| other.artifact.part(kind).is_ok_and(|part| part.digest.to_string() == *digest);
        let other = self.0.iter().find(has_it)?;
        let ending = match other.artifact.kind() {
            Kind::Wasm => CodeFormat::Wasm,
            Kind::Aot { .. } => CodeFormat::Aot,
        };
        Some(store.file(other.file.layer, ending.ending()))
    }

    /// Those that are the machine that `config` describes, with these parts of it.
    pub fn like<'a>(&'a self, config: &'a Config, wanted: &'a [PartKind]) -> impl Iterator<Item = &'a Other> {
        self.0.iter().filter(move |Other { artifact, .. }| {
            let size = artifact.size();
            let pages = config.layers.as_ref().map(|layers| layers.memory_pages);
            let is_of_it = |part: &Part| config.payload.get(part.kind.name()) == Some(&part.digest.to_string());
            artifact.said_code_digest().to_string() == config.code.digest
                && (Some(size.pages), size.ram_size) == (pages, config.ram_bytes)
                && artifact.parts().iter().all(is_of_it)
                && wanted.iter().all(|kind| artifact.part(*kind).is_ok())
        })
    }
}
