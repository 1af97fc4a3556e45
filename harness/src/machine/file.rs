//! A machine's file: a `.wasm` or `.aot` with what it boots.

use super::coming::{ComingDisk, ComingMachine, RootContent};
use super::module::{DiskRoom, FIRST_FOLDER, Given, Loaded, Room};
use crate::artifact::code_cache::CodeCache;
use crate::artifact::relocated::RelocatedCode;
use crate::artifact::{Around, Artifact, ArtifactError, Kind, MEMORY_PAGE, MachineSize, Part, PartKind};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::host::backend::disk::FileSource;
use crate::host::backend::ram::MappedRam;
use crate::host::file::HostFile;
use crate::host::file::ledger::Stamp;
use crate::host::processor::has_baseline;
use crate::machine::config::{Randomness, Seed};
use crate::machine::program::Program;
use crate::machine::record::{DiskKind, DiskRecord};
use crate::machine::saved::Saved;
use crate::machine::{ClockSource, SharedDirectory};
use crate::text::hex;
use devices::blk::BlockSource;
use devices::p9::{Access, FileIdentity};
use emu::bus::Ram;
use emu::machine::{Config, Disk, DiskContent, Machine, MemoryDisk, check_ram_size};
use payload::{Metadata, RAM_START, UPPER_UNIT};
use protocol::network::{GUEST_MAC, NetworkInfo};
use snapshot::{Digest, ReadAt, Space};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tracing::debug;
use wamr::{Grants, Module, ModuleBytes, Preopen, Runtime};

/// That someone whom the user trusts stands for a machine's code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voucher {
    /// Digest of the code, as the documents have it that are signed, or that a trusted repository has.
    pub code: String,
    /// Who stands for it, for a person.
    pub by: String,
}

/// A file as WAMR has it.
fn host_file(FileIdentity { device, inode }: FileIdentity) -> wamr::HostFile {
    wamr::HostFile { device, inode }
}

/// A module that may be run, with the parts of a machine's file. Its code is in memory, unless the file is in the store: what was judged is what runs,
/// whatever becomes of a file that others can write.
pub struct Runnable {
    bytes: ModuleBytes,
    /// The parts, and where they are in this module.
    parts: Vec<Part>,
    /// Digest of its code, if that is the file's own and native.
    code: Option<Digest>,
}

/// Why the code in a machine's file is not run.
#[derive(Debug)]
pub enum Unfit {
    /// It needs more than this processor has: what it was compiled for.
    OtherProcessor(String),
    /// It was not compiled here, and nobody who is trusted stands for it.
    NotTrusted,
}

/// An open machine's file.
pub struct MachineFile {
    path: PathBuf,
    body: Body,
    metadata: Metadata,
    voucher: Option<Voucher>,
    context: Context,
}

fn part(artifact: &Artifact<HostFile>, kind: PartKind) -> Option<&Part> {
    artifact.parts().iter().find(|part| part.kind == kind)
}

/// Where a machine's file is.
enum Body {
    /// Here.
    File(Artifact<HostFile>),
    /// On its way.
    Coming(Box<ComingMachine>),
}

impl MachineFile {
    /// Opens it.
    pub fn open(context: &Context, path: &Path) -> Result<Self> {
        let error = |source| Error::Artifact { path: path.into(), source };
        let artifact = Artifact::open(HostFile::open("machine", path)?).map_err(error)?;
        let metadata = artifact.read_part(PartKind::Metadata).map_err(error)?;
        Self::of(context, path, (artifact.size(), &metadata), Body::File(artifact))
    }

    /// One that is on its way. `path` is for errors. Whatever needs its code or what boots it waits until all of it has come.
    pub fn coming(context: &Context, path: &Path, mut machine: ComingMachine) -> Result<Self> {
        let metadata = std::mem::take(&mut machine.metadata);
        Self::of(context, path, (machine.size, &metadata), Body::Coming(Box::new(machine)))
    }

    fn of(context: &Context, path: &Path, (size, metadata): (MachineSize, &[u8]), body: Body) -> Result<Self> {
        check_ram_size(size.ram_size)?;
        let metadata = Metadata::decode(metadata).map_err(|source| Error::Metadata { path: path.into(), source })?;
        let upper = metadata.upper;
        let wanted = RAM_START.saturating_add(size.ram_size).saturating_add(upper);
        if !upper.is_multiple_of(UPPER_UNIT) || wanted > u64::from(size.pages) * MEMORY_PAGE {
            return Err(Error::ModuleMemory { path: path.into(), ram_size: size.ram_size, upper, pages: size.pages });
        }
        Ok(Self { path: path.into(), body, metadata, voucher: None, context: context.clone() })
    }

    /// The file, for which is waited if it is on its way.
    fn artifact(&self) -> Result<&Artifact<HostFile>> {
        match &self.body {
            Body::File(artifact) => Ok(artifact),
            Body::Coming(machine) => machine.whole(),
        }
    }

    /// The same, and who stands for its code, as a pull has found out.
    pub fn vouched_for(self, voucher: Option<Voucher>) -> Self {
        Self { voucher, ..self }
    }

    /// Checks every byte of it.
    pub fn verify(&self) -> Result<()> {
        self.artifact()?.verify().map_err(|source| Error::Artifact { path: self.path.clone(), source })
    }

    /// Its own disks, vda first: the root, read-only, and the upper one, which is memory.
    pub fn disks(&self) -> Vec<DiskRecord> {
        let root = match &self.body {
            Body::File(artifact) => part(artifact, PartKind::Root).map(|part| (part.length, part.digest)),
            Body::Coming(machine) => machine.root.as_ref().map(|root| (root.size, root.digest)),
        };
        DiskRecord::of_machine(root, self.metadata.upper)
    }

    /// Its own disks, to be built into a machine of this program: as they are at power-on, or with what was `saved` of them, whose bytes
    /// have been verified.
    pub fn open_disks(&self, saved: Option<&Saved>) -> Result<Vec<Disk>> {
        let open = |(number, record): (usize, DiskRecord)| {
            let content = match (record.kind, saved) {
                (DiskKind::Root, _) => DiskContent::ReadOnly(self.open_root(record.size)?),
                (_, None) => DiskContent::Memory(MemoryDisk::zeroed(Ram::new(Box::new(MappedRam::zeroed(record.size)?)))),
                (_, Some(saved)) => {
                    let memory = saved.memory(Space::Disk(number as u16), record.size)?;
                    DiskContent::Memory(MemoryDisk::restored(Ram::new(Box::new(memory))))
                }
            };
            Ok(Disk { digest: record.digest(), content })
        };
        self.disks().into_iter().enumerate().map(open).collect()
    }

    /// Its root disk, of `size` bytes.
    fn open_root(&self, size: u64) -> Result<Box<dyn BlockSource>> {
        let (file, start) = match &self.body {
            Body::File(artifact) => (artifact.file(), part(artifact, PartKind::Root).map_or(0, |part| artifact.file_offset(part))),
            Body::Coming(machine) => match machine.root.as_ref().map(|root| &root.content) {
                Some(RootContent::Coming(pages, failed)) => return Ok(Box::new(ComingDisk::new(pages.clone(), size, failed.clone()))),
                Some(RootContent::Here(file, start)) => (file, *start),
                None => (self.artifact()?.file(), 0),
            },
        };
        // The file that was looked at, whatever has its name now.
        let file = file.try_clone().map_err(|source| Error::Read { what: "machine", path: self.path.clone(), source })?;
        Ok(Box::new(FileSource::part(file, &self.path, start, size)?))
    }

    /// Its module, if its code may be run: WebAssembly may come from anyone; native code must have been compiled here, or someone who is trusted must
    /// stand for it, and this processor must have what it was compiled for. `verify` checks every byte of what is to run.
    pub fn runnable(&self, verify: bool) -> Result<std::result::Result<Runnable, Unfit>> {
        let error = |source| Error::Artifact { path: self.path.clone(), source };
        let artifact = self.artifact()?;
        let file = artifact.file();
        let (is_kept, before) = (self.context.keeps(file.file()), Stamp::of(file.file()));
        // What may be read later, from the file: all of one in the store. Of an .aot the parts, which are the guest's: the digest of its code is that of all
        // that is outside of them, so they are where the file says; but what is verified must not change.
        let later = match () {
            () if is_kept => 0..u64::MAX,
            () if self.is_compiled() && !verify => artifact.parts_range(),
            () => 0..0,
        };
        let bytes = ModuleBytes::of_file((file.file(), &self.path), file.byte_len(), later);
        let bytes = bytes.map_err(|source| Error::Module { path: self.path.clone(), source: Box::new(source) })?;
        let held = Artifact::open(bytes.as_ref()).map_err(error)?;
        if !held.is_like(artifact) {
            return Err(error(ArtifactError::Changed));
        }
        if verify {
            held.verify().map_err(error)?;
        }
        let code = match held.kind() {
            Kind::Wasm => None,
            Kind::Aot { .. } => match self.trusted_code(&held, before.filter(|_| is_kept))? {
                Ok(digest) => Some(digest),
                Err(unfit) => return Ok(Err(unfit)),
            },
        };
        let parts = held.parts().to_vec();
        Ok(Ok(Runnable { bytes, parts, code }))
    }

    /// Its parts in the module of `code`, a code file that may be run: nothing of its own code is in it. `verify` checks every byte of the parts.
    pub fn with_code(&self, code: &[u8], verify: bool) -> Result<Runnable> {
        let error = |source| Error::Artifact { path: self.path.clone(), source };
        let artifact = self.artifact()?;
        let Around { before, parts, after } = Around::of(code, artifact.size(), artifact.parts()).map_err(error)?;
        let file = (artifact.file().file(), self.path.as_path());
        let bytes = ModuleBytes::around((&before, &after), file, artifact.parts_range(), !verify);
        let bytes = bytes.map_err(|source| Error::Module { path: self.path.clone(), source: Box::new(source) })?;
        if verify {
            Artifact::open(bytes.as_ref()).and_then(|whole| whole.verify()).map_err(error)?;
        }
        Ok(Runnable { bytes, parts, code: None })
    }

    /// The digest of the native code that is held, if it may be run. `before` tells a file that stays as it is, from before it was read.
    fn trusted_code(&self, held: &Artifact<&[u8]>, before: Option<Stamp>) -> Result<std::result::Result<Digest, Unfit>> {
        let cpu = held.cpu().map_err(|source| Error::Artifact { path: self.path.clone(), source })?;
        if let Some(cpu) = cpu.filter(|cpu| has_baseline(cpu) != Some(true)) {
            // WAMR's names of architectures begin as Rust's.
            let other = match held.kind() {
                Kind::Aot { target } if !target.starts_with(std::env::consts::ARCH) => target.clone(),
                _ => cpu,
            };
            return Ok(Err(Unfit::OtherProcessor(other)));
        }
        let digest = self.code_digest(held, before)?;
        let by = self.voucher.as_ref().filter(|voucher| voucher.code == digest.to_string()).map(|voucher| &voucher.by);
        let is_vouched_for = by.is_some();
        let trusted = is_vouched_for || CodeCache::open(&self.context).trusts(digest);
        debug!(target: "prebake::engine", file = %self.path.display(), trusted, ?by, "is its native code trusted?");
        Ok(if trusted { Ok(digest) } else { Err(Unfit::NotTrusted) })
    }

    /// The digest of the code that is held. That of a file which stays as it is, is computed once.
    fn code_digest(&self, held: &Artifact<&[u8]>, before: Option<Stamp>) -> Result<Digest> {
        let file = self.artifact()?.file().file();
        if before.is_some()
            && let Some(digest) = self.context.code_ledger().recall(file)
        {
            debug!(target: "prebake::verify", file = %self.path.display(), %digest, "code unchanged since its digest was computed");
            return Ok(digest);
        }
        let digest = held.code_digest().map_err(|source| Error::Artifact { path: self.path.clone(), source })?;
        debug!(target: "prebake::verify", file = %self.path.display(), %digest, "computed the digest of the code");
        if before.is_some() {
            self.context.code_ledger().remember(file, before, digest);
        }
        Ok(digest)
    }

    fn kind(&self) -> Option<&Kind> {
        match &self.body {
            Body::File(artifact) => Some(artifact.kind()),
            Body::Coming(machine) => machine.whole.get().map(Artifact::kind),
        }
    }

    /// Whether it has code that was compiled, rather than to be interpreted.
    pub fn is_compiled(&self) -> bool {
        self.kind().is_some_and(|kind| *kind != Kind::Wasm)
    }

    /// What runs it, for the report.
    pub fn engine(&self) -> &'static str {
        match self.kind() {
            Some(Kind::Wasm) => "wamr-interpreter",
            Some(Kind::Aot { .. }) => "wamr-aot",
            None => "native",
        }
    }

    /// Refuses a machine with another amount of memory, in MiB.
    pub fn require_memory(&self, mebibytes: u32) -> Result<()> {
        let found = self.ram_size() >> 20;
        if found == u64::from(mebibytes) { Ok(()) } else { Err(Error::MachineMemory { path: self.path.clone(), found, wanted: mebibytes }) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// It has a network device.
    pub const fn has_network(&self) -> bool {
        self.metadata.network
    }

    /// The ports that its image exposes, as `80/tcp`.
    pub fn exposed_ports(&self) -> &[String] {
        self.metadata.image.as_ref().map_or(&[], |image| &image.config.exposed_ports)
    }

    /// Bytes of guest RAM.
    pub fn ram_size(&self) -> u64 {
        match &self.body {
            Body::File(artifact) => artifact.size().ram_size,
            Body::Coming(machine) => machine.size.ram_size,
        }
    }

    /// The configuration of `module`, in which its parts are.
    pub fn config(
        &self,
        module: &Runnable,
        clock: ClockSource,
        randomness: Randomness,
        seed: Option<Seed>,
        shares: &[SharedDirectory],
        (program, network): (&Program, Option<&NetworkInfo>),
    ) -> Result<String> {
        let epoch = clock.epoch();
        let clock = match clock {
            ClockSource::Virtual => "virtual",
            ClockSource::Host => "host",
        };
        let entropy = match randomness {
            Randomness::Host => "host",
            Randomness::Published => "published",
        };
        let mut text = format!("clock={clock}\nepoch={epoch}\nentropy={entropy}\n");
        text += &self.metadata.configuration(self.ram_size(), &module.parts, &hex(&GUEST_MAC));
        if let Some(seed) = seed {
            let _ = writeln!(text, "seed={}", hex(&seed));
        }
        for (number, share) in shares.iter().enumerate() {
            let access = if share.read_only { ",ro" } else { "" };
            let _ = writeln!(text, "share={},{}{access}", share.tag, FIRST_FOLDER + number);
        }
        text += &program.config(FIRST_FOLDER + shares.len(), network)?;
        Ok(text)
    }

    /// Loads a module of it into WAMR, with the folders of these shares and of the program, and a snapshot if it is to read one.
    pub fn load(
        &self,
        Runnable { bytes, code, .. }: Runnable,
        shares: &[SharedDirectory],
        program: &Program,
        snapshot: Option<&HostFile>,
    ) -> Result<Loaded> {
        // It knows them by their descriptors alone.
        let folder = |(number, (host, access))| Preopen { guest: format!("{number}"), host, read_only: access == Access::ReadOnly };
        let shares_folders = shares.iter().map(|share| (share.path.clone(), share.access()));
        let folders = shares_folders.chain(program.folders()?).enumerate().map(folder).collect();
        let [writable, read_only, kept] =
            program.grants(shares, self.context.folders())?.lists().map(|files| files.into_iter().map(host_file).collect());
        let upper = self.disks().into_iter().enumerate().find(|(_, disk)| disk.kind == DiskKind::Upper);
        let disk = upper.map(|(number, disk)| DiskRoom { number: number as u16, size: disk.size as usize });
        let room = Room { ram: self.ram_size() as usize, disk };
        let given = Given {
            folders,
            grants: Grants { writable, read_only, kept },
            snapshot: snapshot.map(HostFile::file),
            patience: Rc::default(),
        };
        let load = |runtime: &Runtime| match code {
            Some(code) => RelocatedCode::open(&self.context).load(code, runtime, bytes),
            None => Module::load(runtime, bytes),
        };
        Loaded::load(&self.path, load, room, given)
    }

    /// Boots what it carries without its code.
    pub fn boot_natively(&self, config: Config) -> Result<Machine> {
        let artifact = self.artifact()?;
        let read = |kind| artifact.read_part(kind).map_err(|source| Error::Artifact { path: self.path.clone(), source });
        let kernel = read(PartKind::Kernel)?;
        let initramfs = part(artifact, PartKind::Initramfs).map(|part| read(part.kind)).transpose()?;
        let ram = Ram::new(Box::new(MappedRam::zeroed(self.ram_size())?));
        Ok(Machine::boot(config, ram, &kernel, initramfs.as_deref(), &self.metadata.append)?)
    }
}
