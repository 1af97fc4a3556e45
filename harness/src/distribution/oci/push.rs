//! Files, sent to a registry as one artifact.

use super::blob::{Sent, Source};
use super::digest::Sha256;
use super::document::{
    CODE_TYPE, CONFIG_TYPE, Code, CodeFormat, Config, Descriptor, INDEX_TYPE, Index, LayerConfig, MANIFEST_TYPE, Manifest, Platform,
    SNAPSHOT_TYPE, SnapshotConfig, encode, part_type,
};
use super::error::OciError;
use super::host::architecture;
use super::layer::{Packed, pack_code, pack_part};
use super::meter::Meter;
use super::registry::Registry;
use crate::artifact::code_cache::CodeCache;
use crate::artifact::{AOT_VERSION, Artifact, Kind, MAX_FILE_LEN, Part, PartKind, WASM_VERSION};
use crate::context::Context;
use crate::distribution::trust::SigningKey;
use crate::error::{Error, Result};
use crate::host::file::{HostFile, atomic};
use crate::observer::{Notice, Task, Tracker};
use crate::text::hex;
use emu::machine::model::MODEL;
use futures_util::future::try_join_all;
use payload::Metadata;
use snapshot::{Digest, FORMAT_VERSION, HotPages, Snapshot, Travelling, pack};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use wamr::Baseline;

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Digest of the index.
    pub digest: Sha256,
    /// Bytes of all files, as they travel.
    pub bytes: u64,
    /// Of these, bytes that the registry did not have.
    pub sent: u64,
}

/// Where something can be pushed.
pub struct Destination {
    context: Context,
    registry: Registry,
}

impl Destination {
    /// Asks the registry, so that who may not push there is told before there is any work.
    pub fn of(context: &Context, reference: &str) -> Result<Self> {
        let reference = super::reference(reference)?;
        if reference.digest().is_some() {
            let problem = "it contains a digest; push to a tag instead".into();
            return Err(OciError::Reference { text: reference.whole(), problem }.into());
        }
        let registry = Registry::new(context, reference)?;
        registry.wait(registry.require_push())?;
        Ok(Self { context: context.clone(), registry })
    }

    /// Sends machines and at most one snapshot, and makes the reference name them.
    pub fn push(&self, files: &[PathBuf], cpu: Option<&str>, key: Option<&SigningKey>) -> Result<Pushed> {
        let context = &self.context;
        let pushed = FileSet::open(context, files, cpu).and_then(|set| self.registry.wait(set.send(context, &self.registry, key)));
        context.outcome(pushed)
    }
}

/// A layer, and the file that it is a part of.
struct Layer {
    path: PathBuf,
    file: File,
    descriptor: Descriptor,
}

impl Layer {
    fn new(path: &Path, file: File, media_type: &str, name: &str) -> Result<Self> {
        let error = |source| Error::Read { what: "file to be pushed", path: path.into(), source };
        let size = file.metadata().map_err(error)?.len();
        let digest = Sha256::of_file(&file).map_err(error)?;
        Ok(Self { path: path.into(), file, descriptor: Descriptor::new(media_type, digest, size).titled(name) })
    }

    /// The content digest of a snapshot or a disk that is in it, and the bytes up to the end of what is wanted first.
    fn content(&self) -> Result<(String, u64)> {
        let file = self.file.try_clone().and_then(HostFile::of);
        let file = file.map_err(|source| Error::Read { what: "file to be pushed", path: self.path.clone(), source })?;
        let travelling = Travelling::open(file).map_err(|source| Error::Snapshot { path: self.path.clone(), source })?;
        Ok((travelling.header().content_digest.to_string(), travelling.start()))
    }
}

/// A machine that is to be pushed.
struct Machine {
    path: PathBuf,
    artifact: Artifact<HostFile>,
    config: Config,
}

/// Files that belong together.
struct FileSet {
    /// Each with its code.
    machines: Vec<(Machine, Layer)>,
    /// The parts, which all machines have.
    parts: Vec<Layer>,
    snapshot: Option<Layer>,
}

impl FileSet {
    /// Opens and verifies the files.
    fn open(context: &Context, files: &[PathBuf], cpu: Option<&str>) -> Result<Self> {
        let mismatch = |problem: String| Err(OciError::Mismatch { problem }.into());
        let is_snapshot = |path: &&PathBuf| path.extension().is_some_and(|ending| ending == "snap");
        let (snapshots, machines): (Vec<_>, Vec<_>) = files.iter().partition(is_snapshot);
        let snapshot = match snapshots.as_slice() {
            [] => None,
            [path] => Some(open_snapshot(context, path)?),
            _ => {
                return mismatch("a reference can hold only one snapshot; pass the one that belongs to all the machines".into());
            }
        };
        let mut machines = machines.into_iter().map(|path| open_machine(context, path, cpu)).collect::<Result<Vec<_>>>()?;
        let Some(first) = machines.first().map(|machine| machine.config.clone()) else {
            return mismatch("no machine was given; pass a .aot for each kind of host, or a .wasm, with the snapshot".into());
        };
        for Machine { path, config, .. } in &mut machines {
            let name = path.display();
            if (config.ram_bytes, &config.payload) != (first.ram_bytes, &first.payload) {
                return mismatch(format!(
                    "{name} is not the same machine as the first: its memory or its payload differs; push it under another reference"
                ));
            }
            if let Some((snapshot, of, _)) = &snapshot {
                if of.ram_size != config.ram_bytes {
                    let (found, wanted) = (of.ram_size >> 20, config.ram_bytes >> 20);
                    return mismatch(format!(
                        "the snapshot has {found} MiB of memory, but {name} has {wanted}; bake the snapshot with that machine"
                    ));
                }
                config.snapshot = Some(snapshot.1.clone());
            }
        }
        let target = |machine: &Machine| {
            let code = &machine.config.code;
            (code.format.ending(), code.target.clone(), code.cpu.clone())
        };
        machines.sort_by_key(target);
        if let Some(pair) = machines.windows(2).find(|pair| target(&pair[0]) == target(&pair[1])) {
            return mismatch(format!(
                "{} and {} are for the same hosts; pass only one of them",
                pair[0].path.display(),
                pair[1].path.display()
            ));
        }
        let parts = match machines.first() {
            Some(machine) => machine.pack_parts(context, snapshot.as_ref().map_or(&[][..], |snapshot| snapshot.2.as_slice()))?,
            None => Vec::new(),
        };
        let root = parts.iter().find(|layer| layer.descriptor.media_type == part_type(PartKind::Root)).map(Layer::content).transpose()?;
        for layers in machines.iter_mut().filter_map(|machine| machine.config.layers.as_mut()) {
            (layers.root, layers.root_first_bytes) = root.clone().unzip();
        }
        let coded = |machine: Machine| machine.pack_code(context).map(|code| (machine, code));
        let machines = machines.into_iter().map(coded).collect::<Result<Vec<_>>>()?;
        Ok(Self { machines, parts, snapshot: snapshot.map(|(snapshot, ..)| snapshot.0) })
    }

    /// Sends what the registry has not, and then the documents that name it: the index last.
    /// Signatures go before it, so that who follows the reference finds them.
    async fn send(&self, context: &Context, registry: &Registry, key: Option<&SigningKey>) -> Result<Pushed> {
        let layers: Vec<&Layer> = self.machines.iter().map(|(_, code)| code).chain(&self.parts).chain(&self.snapshot).collect();
        let bytes = layers.iter().map(|layer| layer.descriptor.size).sum();
        let meter = Meter::new(context.observer(), Task::Push, layers.len(), bytes);
        let sends = layers.iter().enumerate().map(|(number, layer)| {
            let meter = &meter;
            async move {
                let (what, source) = (layer.path.display().to_string(), Source::File(&layer.file, &layer.path));
                let elsewhere = Known::of(context, registry).repository_of(layer.descriptor.digest);
                let sent = registry.send(&what, &layer.descriptor, &source, elsewhere.as_deref(), |done| meter.watch(number, done)).await?;
                meter.watch(number, layer.descriptor.size)?;
                Known::of(context, registry).note(layer.descriptor.digest);
                Ok::<_, Error>(if sent == Sent::Uploaded { layer.descriptor.size } else { 0 })
            }
        });
        let sent = try_join_all(sends).await?.into_iter().sum();

        let mut entries = Vec::new();
        for (Machine { path, config, .. }, code) in &self.machines {
            let bytes = encode(config);
            // Clients that fetch files by their names get it too: it says what they can be put together to.
            let described = Descriptor::of(CONFIG_TYPE, &bytes);
            let file = described.clone().titled(&format!("{}.json", name_of(path)));
            registry.send("the configuration", &described, &Source::Bytes(&bytes), None, |_| Ok(())).await?;
            let layers = std::iter::once(code).chain(&self.parts).chain(&self.snapshot).map(|layer| layer.descriptor.clone());
            let layers = layers.chain([file]).collect();
            let manifest = encode(&Manifest::new(described.with_content(&bytes), layers));
            let entry = Descriptor::of(MANIFEST_TYPE, &manifest);
            registry.send_document(MANIFEST_TYPE, &manifest, &entry.digest.to_string()).await?;
            let (platform, artifact_type) = (Some(platform(&config.code)), Some(super::ARTIFACT_TYPE.into()));
            entries.push(Descriptor { platform, artifact_type, ..entry.with_content(&manifest) });
        }
        let manifests: Vec<Sha256> = entries.iter().map(|entry| entry.digest).collect();
        let index = encode(&Index::new(entries));
        let digest = Sha256::of(&index);
        if let Some(key) = key {
            // Manifests too: there are clients that look at one of them alone.
            for signed in manifests.into_iter().chain([digest]) {
                registry.sign(signed, key).await?;
            }
        }
        registry.send_document(INDEX_TYPE, &index, registry.reference().tag().unwrap_or("latest")).await?;
        Ok(Pushed { digest, bytes, sent })
    }
}

/// What a manifest is for, in OCI's words.
fn platform(code: &Code) -> Platform {
    let (architecture, os) = match &code.target {
        Some(target) => (architecture(target).unwrap_or(target), "linux"),
        None => ("wasm", "wasip1"),
    };
    Platform { architecture: architecture.into(), os: os.into() }
}

/// The least processor that an artifact's code for `target` runs on: as it says itself, as it is known of what was compiled here, or as the user says.
fn least_processor(
    context: &Context,
    artifact: &Artifact<HostFile>,
    (path, target): (&Path, &str),
    digest: Digest,
    given: Option<&str>,
) -> Result<String> {
    let recorded = artifact.cpu().map_err(|source| Error::Artifact { path: path.into(), source })?;
    let known =
        || CodeCache::open(context).baseline(digest).filter(|baseline| baseline.arch() == target).map(|baseline| baseline.cpu().to_owned());
    // One that is said is for the machines of its target.
    let given = Baseline::ALL.into_iter().find(|baseline| baseline.arch() == target && Some(baseline.cpu()) == given).map(Baseline::cpu);
    match (recorded.or_else(known), given) {
        (Some(known), Some(given)) if known != given => {
            Err(OciError::OtherProcessor { path: path.into(), found: known, given: given.into() }.into())
        }
        (Some(known), _) => Ok(known),
        (None, Some(given)) => Ok(given.into()),
        (None, None) => {
            let names = Baseline::ALL.iter().filter(|baseline| baseline.arch() == target).map(|baseline| baseline.cpu());
            Err(OciError::UnknownProcessor { path: path.into(), known: names.collect::<Vec<_>>().join(", ") }.into())
        }
    }
}

fn open_machine(context: &Context, path: &Path, cpu: Option<&str>) -> Result<Machine> {
    let error = |source| Error::Artifact { path: path.into(), source };
    let artifact = Artifact::open(HostFile::open("machine", path)?).map_err(error)?;
    artifact.verify().map_err(error)?;
    let digest = artifact.code_digest().map_err(error)?;
    let code = match artifact.kind() {
        Kind::Wasm => Code { format: CodeFormat::Wasm, version: WASM_VERSION, target: None, cpu: None, digest: digest.to_string() },
        Kind::Aot { target } => {
            let cpu = least_processor(context, &artifact, (path, target), digest, cpu)?;
            let (target, cpu) = (Some(target.clone()), Some(cpu));
            Code { format: CodeFormat::Aot, version: AOT_VERSION, target, cpu, digest: digest.to_string() }
        }
    };
    let metadata = artifact.read_part(PartKind::Metadata).map_err(error)?;
    let metadata = Metadata::decode(&metadata).map_err(|source| Error::Metadata { path: path.into(), source })?;
    let named = |part: &Part| part.kind.name().to_owned();
    let layers = LayerConfig {
        memory_pages: artifact.size().pages,
        code: artifact.code_len(),
        parts: artifact.parts().iter().map(|part| (named(part), part.length)).collect(),
        root: None,
        root_first_bytes: None,
    };
    let config = Config {
        model: MODEL.to_string(),
        ram_bytes: artifact.size().ram_size,
        code,
        payload: artifact.parts().iter().map(|part| (named(part), part.digest.to_string())).collect(),
        layers: Some(layers),
        source: metadata.image.and_then(|image| image.manifest),
        snapshot: None,
    };
    Ok(Machine { path: path.into(), artifact, config })
}

impl Machine {
    /// The layer of its code.
    fn pack_code(&self, context: &Context) -> Result<Layer> {
        let code = self.artifact.code().map_err(|source| Error::Artifact { path: self.path.clone(), source })?;
        let name = self.name(&format!("code.{}.zst", self.config.code.format.ending()));
        let file = self.packed_once(context, Digest::of(&code), |file| pack_code(&code, file))?;
        Layer::new(&self.path, file, CODE_TYPE, &name)
    }

    /// The layers of its parts.
    fn pack_parts(&self, context: &Context, hot: &[u32]) -> Result<Vec<Layer>> {
        let pack = |part: &Part| {
            let pack = |file: &File| pack_part(&self.artifact, part, hot, file);
            let (file, name) = match part.kind {
                PartKind::Root => (self.packed(context, pack)?, part.kind.to_string()),
                kind => (self.packed_once(context, part.digest, pack)?, format!("{kind}.zst")),
            };
            Layer::new(&self.path, file, &part_type(part.kind), &self.name(&name))
        };
        self.artifact.parts().iter().map(pack).collect()
    }

    /// What `pack` makes of content with this digest, which many machines have: it is kept, since making it takes seconds.
    fn packed_once(&self, context: &Context, content: Digest, pack: impl FnOnce(&File) -> io::Result<()>) -> Result<File> {
        let place = context.cache("packed").map(|folder| folder.join(content_name(content)));
        if let Some(place) = &place
            && let Ok(layer) = Packed::open(place)
            && layer.digest(MAX_FILE_LEN) == Some(content)
            && let Ok(file) = File::open(place)
        {
            return Ok(file);
        }
        let file = self.packed(context, pack)?;
        if let Some(place) = place {
            // What is not kept is packed again.
            let mut bytes = Vec::new();
            let _ = (&file).seek(SeekFrom::Start(0)).and_then(|_| (&file).read_to_end(&mut bytes));
            let _ = atomic::write(&place, &bytes);
        }
        Ok(file)
    }

    /// Its own name with another ending.
    fn name(&self, ending: &str) -> String {
        format!("{}.{ending}", self.path.file_stem().unwrap_or_default().to_string_lossy())
    }

    fn packed(&self, context: &Context, pack: impl FnOnce(&File) -> io::Result<()>) -> Result<File> {
        let tracker = Tracker::new(context.observer(), Task::Pack { path: &self.path }, None);
        tracker.set(0);
        let folder = context.temporary()?;
        let file = tempfile::tempfile_in(folder).map_err(|source| Error::Write { path: folder.into(), source })?;
        pack(&file).map_err(|source| Error::Write { path: folder.into(), source })?;
        Ok(file)
    }
}

/// What content is called when it is packed as this version does.
fn content_name(content: Digest) -> String {
    format!("{}.zst", hex(content.as_bytes()))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A snapshot in its travelling form, the machine that it is of, and the pages of the root that are wanted first.
fn open_snapshot(context: &Context, path: &Path) -> Result<((Layer, SnapshotConfig), snapshot::MachineId, Vec<u32>)> {
    let error = |source| Error::Snapshot { path: path.into(), source };
    let snapshot = Snapshot::open(HostFile::open("snapshot", path)?).map_err(error)?;
    let machine = *snapshot.machine();
    machine.require(&snapshot::MachineId { model: MODEL, ..machine }).map_err(error)?;
    let tracker = Tracker::new(context.observer(), Task::Pack { path }, None);
    tracker.set(0);
    let folder = context.temporary()?;
    let mut file = tempfile::tempfile_in(folder).map_err(|source| Error::Write { path: folder.into(), source })?;
    // Every page is verified on the way.
    let packed = pack(&snapshot, &mut file).map_err(|source| match source {
        snapshot::Error::Io { source, .. } => Error::Write { path: folder.into(), source },
        source => error(source),
    })?;
    let stored_bytes = snapshot.header().file_length();
    drop(tracker);
    context.notice(Notice::Packed { path, bytes: packed.file_length, stored: stored_bytes });
    let hot = snapshot.sections().take_if_present::<HotPages>(0).map_err(error)?;
    let layer = Layer::new(path, file, SNAPSHOT_TYPE, &name_of(path))?;
    let (content, first) = layer.content()?;
    let config = SnapshotConfig { format: FORMAT_VERSION, content, stored_bytes, first_bytes: Some(first), devices: machine.devices };
    Ok(((layer, config), machine, hot.map(|hot| hot.root).unwrap_or_default()))
}

/// Which repository of a registry has been seen to have a layer. Another one can have it from there.
struct Known<'a> {
    registry: &'a Registry,
    folder: Option<PathBuf>,
}

impl<'a> Known<'a> {
    fn of(context: &Context, registry: &'a Registry) -> Self {
        Self { registry, folder: context.cache("pushed") }
    }

    fn path(&self, layer: Sha256) -> Option<PathBuf> {
        let place = format!("{} {layer}", self.registry.reference().resolve_registry());
        self.folder.as_ref().map(|folder| folder.join(Sha256::of(place.as_bytes()).digits()))
    }

    fn repository_of(&self, layer: Sha256) -> Option<String> {
        let known = std::fs::read_to_string(self.path(layer)?).ok()?;
        Some(known).filter(|repository| repository != self.registry.reference().repository())
    }

    fn note(&self, layer: Sha256) {
        // What is not remembered is sent again.
        let _ = self.path(layer).map(|path| atomic::write(&path, self.registry.reference().repository().as_bytes()));
    }
}
