//! Artifacts: a machine's `.wasm` or `.aot` with kernel, initramfs and root disk riding inside, as `ARTIFACT.md` specifies.
//!
//! A *code file* holds code alone: the module that [`link`] makes of the compiler's output, or WAMR's compilation of it, linked with itself. [`pack`] adds a
//! payload to a code file, in the time of a copy. [`Artifact`] finds the payload again and gives the code file back, bit for bit, so
//! that its digest says whether the code can be trusted.

mod aot;
pub mod code_cache;
mod error;
mod format;
mod link;
mod link_code;
mod pack;
mod reader;
pub mod relocated;
mod wasm;

pub use aot::{VERSION as AOT_VERSION, with_cpu};
pub use error::{ArtifactError, Result};
pub use link::{PAYLOAD_READ, link};
use link_code::link_code;
pub use pack::{Around, PartInput, pack};
pub use payload::{Error as PayloadError, MachineSize, Part, PartKind};
pub use payload::{MAX_CODE_LEN, MAX_FILE_LEN, MAX_MEMORY_PAGES, MEMORY_PAGE, PART_ALIGNMENT};
pub use reader::{Artifact, Kind, PartReader};
pub use wasm::VERSION as WASM_VERSION;

use std::path::Path;

/// Whether a path names a machine rather than a snapshot.
pub fn is_machine(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "aot" || extension == "wasm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_told_by_its_name() {
        assert!(is_machine(Path::new("a.aot")) && is_machine(Path::new("b/a.wasm")));
        assert!(!is_machine(Path::new("a.snap")) && !is_machine(Path::new("aot")));
    }
}
