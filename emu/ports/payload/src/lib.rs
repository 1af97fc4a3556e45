//! What rides in a machine's module: the formats of the payload's table, locator and metadata, as `harness/ARTIFACT.md` specifies them, for
//! the machine inside and for tools outside.

mod error;
mod fields;
mod image;
mod locator;
mod metadata;
pub mod module;
mod table;

pub use error::{Error, Result};
pub use image::{ImageConfig, ImageOrigin};
pub use locator::Locator;
pub use metadata::{Metadata, UPPER_UNIT};
pub use table::{HEADER_LEN, MachineSize, Part, PartKind, Table};

/// Version of the payload's format.
const VERSION: u32 = 1;

/// Bytes in a page of a module's memory.
pub const MEMORY_PAGE: u64 = 1 << 16;
/// Address of guest RAM in a module's memory: the size of the memory that the module is linked with. Packing the module enlarges it by guest RAM
/// and the upper disk.
pub const RAM_START: u64 = 96 << 20;
/// Bytes that a module has for the list of its translated guest code.
pub const TRANSLATED_SPACE: usize = 1 << 20;
/// Pages that a module's memory may have: WAMR holds its bytes in 32 bits.
pub const MAX_MEMORY_PAGES: u32 = (1 << 16) - 1;
/// Parts of the payload begin in the file at multiples of this many bytes.
pub const PART_ALIGNMENT: u64 = 4096;
/// Bytes that an artifact may have: WebAssembly and WAMR hold them in 32 bits.
pub const MAX_FILE_LEN: u64 = u32::MAX as u64;
/// Bytes of code that a reader takes into memory.
pub const MAX_CODE_LEN: u64 = 256 << 20;

fn check_version(version: u32) -> Result<()> {
    if version != VERSION {
        return Err(Error::OtherVersion { found: version, supported: VERSION });
    }
    Ok(())
}
