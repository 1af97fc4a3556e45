//! How much of an image is taken.

/// Bounds. An image comes from anyone, and a small file can say that it has a lot in it.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes in all layers, decompressed, and in all files, with their holes.
    pub unpacked: u64,
    /// Bytes of files that are kept on the host until the machine is written. Runs of zeroes do not count.
    pub kept: u64,
    /// Entries in all layers, and inodes that they make.
    pub entries: u64,
    /// Bytes of memory that inodes, names and attributes take, about.
    pub memory: u64,
    /// Pieces that files with holes are made of.
    pub pieces: u64,
    /// Layers.
    pub layers: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { unpacked: 64 << 30, kept: 8 << 30, entries: 2 << 20, memory: 1 << 30, pieces: 4 << 20, layers: 1000 }
    }
}

/// Bytes of a path, as Linux has it.
pub const MAX_PATH: usize = 4095;
/// Bytes of a name.
pub const MAX_NAME: usize = 255;
/// Folders within each other.
pub const MAX_DEPTH: usize = 1024;
/// Bytes of what a header of an archive says besides: long names and attributes.
pub const MAX_EXTENSION: u64 = 1 << 20;
/// Bytes of a manifest or a configuration. Registries take no longer ones.
pub const MAX_DOCUMENT: u64 = 4 << 20;
