//! The layers of a machine: its code and each part of its payload in one of its own, so that machines that have something in common share it, and what is not
//! needed is not fetched. A machine's file is taken apart for them, and put together of them again.

use super::document::{Config, LayerConfig};
use super::error::OciError;
use crate::artifact::{Artifact, ArtifactError, MAX_CODE_LEN, MachineSize, Part, PartInput, PartKind, pack};
use crate::error::{Error, Result};
use crate::host::file::HostFile;
use emu::machine::model::MODEL;
use payload::PartKind::Root;
use snapshot::{Digest, Digester, ReadAt, Space, SpaceReader, Travelling, pack_disk};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use zstd::stream::{read::Decoder, write::Encoder};

/// How hard the compressor tries: layers are packed once and fetched often.
const LEVEL: i32 = 19;
/// How far back it looks, as a power of two: what whoever unpacks a layer must hold in memory.
const WINDOW_LOG: u32 = 23;

/// Parts that only a boot reads.
pub const BOOT_PARTS: [PartKind; 2] = [PartKind::Kernel, PartKind::Initramfs];

/// Packs the code file `code` into `file`, which is empty.
pub fn pack_code(code: &[u8], file: &File) -> io::Result<()> {
    pack_stream(code, code.len() as u64, file)
}

/// Packs a part of `artifact` into `file`, which is empty: the root disk as the travelling form of its blocks, any of which can be fetched and verified on its
/// own, all else as one frame of zstd.
/// What of the root is wanted first is in `hot`, by pages.
pub fn pack_part(artifact: &Artifact<HostFile>, part: &Part, hot: &[u32], mut file: &File) -> io::Result<()> {
    match part.kind {
        Root => {
            let disk = PartOf { file: artifact.file(), offset: artifact.file_offset(part), length: part.length };
            pack_disk(MODEL, &disk, hot, &mut file).map(drop).map_err(io::Error::other)
        }
        _ => pack_stream(artifact.reader(part), part.length, file),
    }
}

fn pack_stream(mut content: impl Read, length: u64, file: &File) -> io::Result<()> {
    let mut encoder = Encoder::new(file, LEVEL)?;
    encoder.window_log(WINDOW_LOG)?;
    encoder.set_pledged_src_size(Some(length))?;
    io::copy(&mut content, &mut encoder)?;
    encoder.finish()?.flush()
}

/// What is in the bytes of a layer that is one frame, at most `limit` bytes; nothing of it is believed.
pub fn unpack_stream(packed: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    let mut decoder = Decoder::new(packed)?.single_frame();
    decoder.window_log_max(WINDOW_LOG)?;
    let mut content = Vec::new();
    decoder.take(limit).read_to_end(&mut content)?;
    Ok(content)
}

/// A part of a file.
struct PartOf<'a> {
    file: &'a HostFile,
    offset: u64,
    length: u64,
}

impl ReadAt for PartOf<'_> {
    fn byte_len(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, self.offset + offset)
    }
}

/// A layer that has come whole.
pub enum Packed {
    /// One frame of zstd.
    Stream(File),
    /// The blocks of a disk.
    Disk(Box<Travelling<HostFile>>),
}

impl Packed {
    /// The layer in the file at `path`. Whether it is a disk, it says itself.
    pub fn open(path: &Path) -> Result<Self> {
        let file = HostFile::open("layer", path)?;
        let mut magic = [0; snapshot::MAGIC.len()];
        let is_disk = file.read_exact_at(&mut magic, 0).is_ok() && magic == snapshot::MAGIC;
        if is_disk {
            let disk = Travelling::open(file).map_err(|source| Error::Snapshot { path: path.into(), source })?;
            return Ok(Self::Disk(Box::new(disk)));
        }
        let file = file.file().try_clone().map_err(|source| Error::Read { what: "layer", path: path.into(), source })?;
        Ok(Self::Stream(file))
    }

    /// What is in it; nothing of it is believed.
    pub fn reader(&self) -> io::Result<Content<'_>> {
        match self {
            Self::Stream(file) => {
                let mut file = file;
                file.seek(SeekFrom::Start(0))?;
                let mut decoder = Decoder::new(file)?.single_frame();
                decoder.window_log_max(WINDOW_LOG)?;
                Ok(Content::Stream(decoder))
            }
            Self::Disk(disk) => disk.reader(Space::Disk(0)).map(Content::Disk).map_err(io::Error::other),
        }
    }

    /// The digest of the first `limit` bytes of what is in it, if they can be unpacked.
    pub fn digest(&self, limit: u64) -> Option<Digest> {
        let mut digester = Digester::new();
        let mut buffer = vec![0; 1 << 16];
        let mut content = self.reader().ok()?.take(limit);
        loop {
            match content.read(&mut buffer).ok()? {
                0 => return Some(digester.finish()),
                count => digester.update(&buffer[..count]),
            }
        }
    }
}

/// See [`Packed::reader`].
pub enum Content<'a> {
    /// Of a frame.
    Stream(Decoder<'static, io::BufReader<&'a File>>),
    /// Of a disk: zeroes follow it without end.
    Disk(SpaceReader<'a, HostFile>),
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stream(decoder) => decoder.read(buffer),
            Self::Disk(reader) => reader.read(buffer),
        }
    }
}

/// Where something of a machine is taken from.
pub enum Origin<'a> {
    /// Its layer.
    Layer(&'a Packed),
    /// Another machine that has the same.
    Machine(&'a Artifact<HostFile>),
}

/// A machine's file, put together of what its configuration says.
pub struct Assembly<'a> {
    config: &'a Config,
    layers: &'a LayerConfig,
    code: Origin<'a>,
    parts: BTreeMap<PartKind, Origin<'a>>,
}

impl<'a> Assembly<'a> {
    /// Of the machine that `config` describes: of its code and of `parts`.
    pub fn new(config: &'a Config, layers: &'a LayerConfig, code: Origin<'a>, parts: BTreeMap<PartKind, Origin<'a>>) -> Self {
        Self { config, layers, code, parts }
    }

    /// Writes it to `file`, which is empty and to be at `path`. Everything is checked against the digests in the configuration.
    pub fn write(&self, file: &mut File, path: &Path) -> Result<()> {
        let error = |source| Error::Artifact { path: path.into(), source };
        let reading = |source| error(ArtifactError::Io { doing: "read a layer of the machine", source });
        let code = match self.code {
            Origin::Layer(layer) => {
                let limit = self.layers.code.min(MAX_CODE_LEN);
                let mut code = Vec::new();
                layer.reader().and_then(|content| content.take(limit + 1).read_to_end(&mut code)).map_err(reading)?;
                code
            }
            Origin::Machine(machine) => machine.code().map_err(error)?,
        };
        if Digest::of(&code).to_string() != self.config.code.digest {
            return Err(OciError::document("configuration", "it does not describe the machine's code").into());
        }
        let mut inputs = Vec::new();
        for (kind, origin) in &self.parts {
            let length = self.layers.parts.get(kind.name()).copied().unwrap_or_default();
            inputs.push(match origin {
                Origin::Layer(layer @ Packed::Disk(_)) => PartInput::new(*kind, length, layer.reader().map_err(reading)?.take(length)),
                Origin::Layer(layer) => PartInput::new(*kind, length, layer.reader().map_err(reading)?),
                Origin::Machine(machine) => PartInput::new(*kind, length, machine.reader(machine.part(*kind).map_err(error)?)),
            });
        }
        let size = MachineSize { pages: self.layers.memory_pages, ram_size: self.config.ram_bytes };
        pack(&code, size, inputs, file).map_err(|problem| match problem {
            ArtifactError::Io { doing: "write the machine", source } => Error::Write { path: path.into(), source },
            problem => error(problem),
        })?;
        let written = file.try_clone().and_then(HostFile::of).map_err(reading)?;
        let written = Artifact::open(written).map_err(error)?;
        let differs = |part: &&Part| self.config.payload.get(part.kind.name()) != Some(&part.digest.to_string());
        match written.parts().iter().find(differs) {
            Some(part) => Err(OciError::document("configuration", format!("it does not describe the machine's {}", part.kind)).into()),
            None => Ok(()),
        }
    }
}
