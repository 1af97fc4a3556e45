//! A machine's file: a `.wasm` or `.aot` with what it boots.

use super::module::{FIRST_FOLDER, Loaded, RAM_START};
use crate::artefact::{Artefact, Kind, MEMORY_PAGE, PartKind};
use crate::backend::clock::since_1970;
use crate::backend::ram::MappedRam;
use crate::cli::{ClockArg, ShareArg};
use crate::code::CodeCache;
use crate::error::{Error, Result};
use crate::file::HostFile;
use crate::file::ledger::{Ledger, Stamp};
use crate::progress::say;
use crate::vm::parts::{BAKE_EPOCH, Randomness, Seed};
use emu::bus::Ram;
use emu::machine::{Config, Machine, check_ram_size};
use payload::Metadata;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// An open machine's file.
pub struct MachineFile {
    path: PathBuf,
    artefact: Artefact<HostFile>,
    metadata: Metadata,
}

impl MachineFile {
    /// Opens it.
    pub fn open(path: &Path) -> Result<Self> {
        let error = |source| Error::Artefact { path: path.into(), source };
        let artefact = Artefact::open(HostFile::open("machine", path)?).map_err(error)?;
        check_ram_size(artefact.size().ram_size)?;
        let metadata = artefact.read_part(PartKind::Metadata).map_err(error)?;
        let metadata = Metadata::decode(&metadata).map_err(|source| Error::Metadata { path: path.into(), source })?;
        Ok(Self { path: path.into(), artefact, metadata })
    }

    /// Whether its code may be run: WebAssembly may come from anyone, native code must have been compiled here. If not, the user is told.
    pub fn is_trusted(&self) -> Result<bool> {
        let trusted = *self.artefact.kind() == Kind::Wasm || CodeCache::of_user()?.trusts(self.code_digest()?);
        if !trusted {
            say(format_args!(
                "prebake: the code in {} was not compiled by this prebake, so it is not run: the machine runs natively instead",
                self.path.display()
            ));
        }
        Ok(trusted)
    }

    /// The digest of the code, computed again only if the file has changed.
    fn code_digest(&self) -> Result<snapshot::Digest> {
        let (ledger, file) = (Ledger::of_code(), self.artefact.file().file());
        if let Some(digest) = ledger.recall(file) {
            return Ok(digest);
        }
        let before = Stamp::of(file);
        let digest = self.artefact.code_digest().map_err(|source| Error::Artefact { path: self.path.clone(), source })?;
        ledger.remember(file, before, digest);
        Ok(digest)
    }

    /// What runs it, for the report.
    pub fn engine(&self) -> &'static str {
        match self.artefact.kind() {
            Kind::Wasm => "wamr-interpreter",
            Kind::Aot { .. } => "wamr-aot",
        }
    }

    /// Refuses a machine with another amount of memory, in MiB.
    pub fn require_memory(&self, mebibytes: u32) -> Result<()> {
        let found = self.ram_size() >> 20;
        if found == u64::from(mebibytes) { Ok(()) } else { Err(Error::MachineMemory { path: self.path.clone(), found, wanted: mebibytes }) }
    }

    /// Bytes of guest RAM.
    pub fn ram_size(&self) -> u64 {
        self.artefact.size().ram_size
    }

    /// The module's configuration.
    pub fn config(&self, clock: ClockArg, randomness: Randomness, seed: Seed, shares: &[ShareArg]) -> String {
        let (clock, epoch) = match clock {
            ClockArg::Virtual => ("virtual", BAKE_EPOCH),
            ClockArg::Host => ("host", since_1970()),
        };
        let entropy = match randomness {
            Randomness::Host => "host",
            Randomness::Published => "published",
        };
        let seed = seed.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut text = format!("clock={clock}\nepoch={epoch}\nentropy={entropy}\nseed={seed}\nram={}\n", self.ram_size());
        for part in self.artefact.parts() {
            if matches!(part.kind, PartKind::Kernel | PartKind::Initramfs) {
                let _ = writeln!(text, "{}={},{}", part.kind, part.offset, part.length);
            }
        }
        for (number, share) in shares.iter().enumerate() {
            let access = if share.read_only { ",ro" } else { "" };
            let _ = writeln!(text, "share={},{}{access}", share.tag, FIRST_FOLDER + number);
        }
        let _ = writeln!(text, "append={}", self.metadata.append.replace(['\r', '\n'], " "));
        text
    }

    /// Loads it into WAMR, with the folders of these shares.
    pub fn load(&self, shares: &[ShareArg]) -> Result<Loaded> {
        let folders: Vec<PathBuf> = shares.iter().map(|share| share.path.clone()).collect();
        let loaded = Loaded::load(&self.path, self.artefact.file().file(), self.ram_size() as usize, &folders)?;
        let size = self.artefact.size();
        let behind = (u64::from(size.pages) * MEMORY_PAGE).checked_sub(RAM_START);
        if behind.is_none_or(|behind| behind < size.ram_size) {
            return Err(Error::ModuleMemory { path: self.path.clone(), ram_size: size.ram_size, pages: size.pages });
        }
        Ok(loaded)
    }

    /// Boots what it carries without its code.
    pub fn boot_natively(&self, config: Config) -> Result<Machine> {
        let read = |kind| self.artefact.read_part(kind).map_err(|source| Error::Artefact { path: self.path.clone(), source });
        let kernel = read(PartKind::Kernel)?;
        let has_initramfs = self.artefact.parts().iter().any(|part| part.kind == PartKind::Initramfs);
        let initramfs = has_initramfs.then(|| read(PartKind::Initramfs)).transpose()?;
        let ram = Ram::new(Box::new(MappedRam::zeroed(self.ram_size())?));
        Ok(Machine::boot(config, ram, &kernel, initramfs.as_deref(), &self.metadata.append)?)
    }
}
