//! What the store knows of a reference.

use crate::distribution::oci::{CodeFormat, Sha256};
use crate::distribution::trust::Signature;
use serde::{Deserialize, Serialize};

/// What a reference named when it was last asked for, and which files that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The reference in full.
    pub reference: String,
    /// Digest of the document that it named.
    pub digest: Sha256,
    /// The machine.
    pub machine: StoredFile,
    /// What kind of machine.
    pub format: CodeFormat,
    /// The processor that its code is for, if it is for one.
    pub target: Option<String>,
    /// Digest of its code, as the configuration has it.
    #[serde(default)]
    pub code: Option<String>,
    /// The machine has neither kernel nor initramfs: they were not fetched, since there is a snapshot to restore.
    #[serde(default)]
    pub restores_only: bool,
    /// The snapshot, if there is one.
    pub snapshot: Option<StoredFile>,
    /// The signatures that the registry had of the document. They are verified when it matters who signed.
    #[serde(default)]
    pub signatures: Vec<Signature>,
    /// When it was pulled: seconds since 1970.
    pub pulled: u64,
    /// The same machine with other amounts of memory, made here.
    #[serde(default)]
    pub resized: Vec<ResizedMachine>,
}

/// A machine with another amount of memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResizedMachine {
    /// The memory in MiB.
    pub memory: u32,
    /// Its file.
    pub file: StoredFile,
}

/// A file in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// What names the file: of a snapshot the digest of the layer that it came as, unpacked since; of a machine that of its own bytes.
    pub layer: Sha256,
    /// Bytes of the file.
    pub bytes: u64,
}

impl Entry {
    /// The names of its files, of which that of a snapshot made here may not be there.
    pub fn files(&self) -> Vec<String> {
        let own = [file_name(self.machine.layer, self.format.ending()), file_name(self.snapshot_layer(), SNAPSHOT_ENDING)];
        let resized = self.resized.iter().map(|machine| machine.file.layer);
        own.into_iter()
            .chain(resized.flat_map(|layer| [file_name(layer, self.format.ending()), file_name(layer, SNAPSHOT_ENDING)]))
            .collect()
    }

    /// What names the file of its snapshot: one that was made here has the name of its machine.
    pub fn snapshot_layer(&self) -> Sha256 {
        self.snapshot.as_ref().map_or(self.machine.layer, |snapshot| snapshot.layer)
    }

    /// Bytes of its files.
    pub fn bytes(&self) -> u64 {
        self.machine.bytes + self.snapshot.as_ref().map_or(0, |snapshot| snapshot.bytes)
    }
}

/// How names of snapshots end.
pub const SNAPSHOT_ENDING: &str = "snap";

/// The name of the file that a layer came as.
pub fn file_name(layer: Sha256, ending: &str) -> String {
    format!("{}.{ending}", layer.digits())
}
