//! Artefacts: a machine's `.wasm` or `.aot` with kernel, initramfs and root disk riding inside, as `ARTEFACT.md` specifies.
//!
//! A *code file* holds code alone: the module that [`link`] makes of the compiler's output, or WAMR's compilation of it. [`pack`] adds a
//! payload to a code file, in the time of a copy. [`Artefact`] finds the payload again and gives the code file back, bit for bit, so
//! that its digest says whether the code can be trusted.

mod aot;
mod error;
mod format;
mod link;
mod pack;
mod reader;
mod table;
mod wasm;

pub use error::{ArtefactError, Result};
pub use link::{PAYLOAD_READ, link};
pub use pack::{PartInput, pack};
pub use reader::{Artefact, Kind, PartReader};
pub use table::{MachineSize, Part, PartKind};

/// Bytes in a page of a module's memory.
pub const MEMORY_PAGE: u64 = 1 << 16;
/// Pages that a module's memory may have: WAMR holds its bytes in 32 bits.
pub const MAX_MEMORY_PAGES: u32 = (1 << 16) - 1;
/// Parts of the payload begin in the file at multiples of this many bytes.
pub const PART_ALIGNMENT: u64 = 4096;
/// Bytes that an artefact may have: WebAssembly and WAMR hold them in 32 bits.
pub const MAX_FILE_LEN: u64 = u32::MAX as u64;
/// Bytes of code that a reader takes into memory.
pub const MAX_CODE_LEN: u64 = 256 << 20;
