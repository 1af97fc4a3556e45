//! What a pull fetches, and what the store makes of it.

use super::arrival::{Beginning, Discard, Early, Piece, check_snapshot};
use super::digest::Sha256;
use super::document::{
    CONFIG_TYPE, CodeFormat, Config, Descriptor, Index, Layers, MAX_DOCUMENT, MAX_ENTRIES, Machine, Manifest, TOO_LARGE, decode,
};
use super::error::OciError;
use super::host::{Host, Reason};
use super::layer::{Assembly, BOOT_PARTS, Origin, Packed};
use super::meter::Meter;
use super::others::Others;
use super::pull::{Standing, VmArtifacts, intact, verify};
use super::registry::Registry;
use super::stream::{ComingLayer, Stream};
use crate::artifact::{Artifact, Kind, MAX_FILE_LEN, PartKind};
use crate::context::Context;
use crate::distribution::store::{Entry, Lock, ResizedMachine, SNAPSHOT_ENDING, Store, StoredFile};
use crate::distribution::trust::Signature;
use crate::error::{Error, Result};
use crate::host::backend::clock::seconds_since_1970;
use crate::host::coming::ComingFile;
use crate::host::file::HostFile;
use crate::observer::{Notice, Task, Tracker};
use futures_util::future::{Either, MaybeDone, maybe_done, ready, select, try_join, try_join_all};
use serde::Deserialize;
use serde::de::IgnoredAny;
use snapshot::Travelling;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::time::Duration;

/// A pull that is under way.
pub struct Pull<'a> {
    pub context: &'a Context,
    pub store: &'a Store,
    pub registry: &'a Registry,
    pub host: Host,
    /// Also what only a boot needs.
    pub to_boot: bool,
    pub stand: &'a Standing,
    /// Who wants to begin before all of it has come.
    pub early: Option<&'a Early<'a>>,
}

/// What was chosen.
struct Choice {
    config: Config,
    machine: Machine,
    snapshot: Option<Descriptor>,
}

/// A machine in the store.
struct Kept {
    file: StoredFile,
    place: PathBuf,
    pin: Lock,
    /// It has no kernel.
    restores_only: bool,
}

/// The question for the signatures of a document, or the answer.
type Signing<'a> = Pin<Box<MaybeDone<Pin<Box<dyn Future<Output = Result<Vec<Signature>>> + 'a>>>>>;

/// Waits for the answer.
async fn signed(signatures: &mut Signing<'_>) -> Result<Vec<Signature>> {
    signatures.as_mut().await;
    signatures.as_mut().take_output().unwrap_or_else(|| Ok(Vec::new()))
}

/// Does `work`, while `aside` goes on as far as it comes.
async fn beside<T>(work: impl Future<Output = T>, aside: impl Future<Output = ()> + Unpin) -> T {
    match select(pin!(work), aside).await {
        Either::Left((done, _)) => done,
        Either::Right(((), work)) => work.await,
    }
}

impl<'a> Pull<'a> {
    /// Brings what the document `digest` names into the store. It may have come already.
    pub fn fetch(&self, digest: Sha256, document: Option<&[u8]>) -> Result<(VmArtifacts, Entry)> {
        // Who has signed it is asked beside all else.
        let mut signatures: Signing<'_> = Box::pin(maybe_done(Box::pin(self.signatures(digest))));
        let choice = self.registry.wait(async { Ok(beside(self.choose(digest, document), signatures.as_mut()).await) })?;
        if self.stand.wants_signature() {
            // Without them, nothing is fetched.
            let known = self.registry.wait(signed(&mut signatures))?;
            self.stand.require(&self.registry.name(), digest, &known)?;
            signatures = Box::pin(maybe_done(Box::pin(ready(Ok(known)))));
        }
        let choice = choice?;
        let wanted = self.wanted(&choice);
        // Whoever wants several claims them in one order, so that nobody waits for someone who waits.
        let layers: BTreeSet<Sha256> = wanted.layers(&choice).map(|layer| layer.digest).collect();
        let _claims = layers.iter().map(|layer| self.store.claim(*layer)).collect::<Result<Vec<_>>>()?;

        let snapshot_place = choice.snapshot.as_ref().map(|layer| (layer, self.store.file(layer.digest, SNAPSHOT_ENDING)));
        let snapshot_pin = match &snapshot_place {
            Some((layer, place)) => intact(self.store, place, layer.digest)?,
            None => None,
        };
        let others = Others::of(self.store);
        let kept = self.kept(&choice, &wanted, &others)?;
        let mut missing: Vec<&Descriptor> = Vec::new();
        if kept.is_none() {
            missing.extend(wanted.missing(&choice, &others));
        }
        missing.extend(choice.snapshot.as_ref().filter(|_| snapshot_pin.is_none()));
        let discard = |early: &Early<'a>| Discard(early.watcher, missing.iter().map(|layer| self.store.partial(layer.digest)).collect());
        let _discard = self.early.map(discard);
        let signatures = match self.early {
            Some(early) => self.stream(early, &choice, (digest, signatures), &missing, &others)?,
            None => self.registry.wait(signed(&mut signatures))?,
        };
        self.download(&missing)?;
        let machine = match kept {
            Some(kept) => kept,
            None => self.admit_machine(&choice, &wanted, &others)?,
        };
        let mut pins = vec![machine.pin];
        let snapshot = match (&snapshot_place, snapshot_pin) {
            (Some((layer, place)), pin) => {
                if pin.is_none() {
                    self.admit_snapshot(&choice.config, layer, place)?;
                }
                pins.push(pin.map_or_else(|| self.pin(place), Ok)?);
                Some(self.stored(layer.digest, place)?)
            }
            (None, _) => None,
        };
        let entry = Entry {
            reference: self.registry.name(),
            digest,
            machine: machine.file,
            format: choice.config.code.format,
            target: choice.config.code.target.clone(),
            code: Some(choice.config.code.digest.clone()),
            restores_only: machine.restores_only,
            snapshot,
            signatures,
            pulled: seconds_since_1970(),
            resized: self.resized(digest)?,
        };
        self.store.note(&entry)?;
        let snapshot_file = snapshot_place.map(|(_, place)| place);
        let reference = self.registry.name();
        let artifacts = VmArtifacts { wasm_file: machine.place, snapshot_file, reference, digest, voucher: None, _pins: pins };
        Ok((artifacts, entry))
    }

    /// Machines of other sizes that were made of what the document `digest` names.
    fn resized(&self, digest: Sha256) -> Result<Vec<ResizedMachine>> {
        let known = self.store.entry(&self.registry.name())?.filter(|entry| entry.digest == digest);
        Ok(known.map(|entry| entry.resized).unwrap_or_default())
    }

    fn stored(&self, layer: Sha256, place: &Path) -> Result<StoredFile> {
        let bytes = fs::metadata(place).map(|found| found.len());
        let bytes = bytes.map_err(|source| Error::Read { what: "file of the store", path: place.into(), source })?;
        Ok(StoredFile { layer, bytes })
    }

    fn pin(&self, place: &Path) -> Result<Lock> {
        let lost = || Error::Read { what: "file of the store", path: place.into(), source: std::io::ErrorKind::NotFound.into() };
        self.store.pin(place)?.ok_or_else(lost)
    }

    /// What is needed of a machine: without what only a boot needs where there is a snapshot to restore.
    fn wanted(&self, choice: &Choice) -> Wanted {
        let is_needed = |kind: &PartKind| self.to_boot || choice.snapshot.is_none() || !BOOT_PARTS.contains(kind);
        match &choice.machine {
            Machine::File(_) => Wanted { parts: Vec::new() },
            Machine::Layers(layers) => Wanted { parts: layers.parts.keys().copied().filter(is_needed).collect() },
        }
    }

    /// The machine, if the store has it already.
    fn kept(&self, choice: &Choice, wanted: &Wanted, others: &Others) -> Result<Option<Kept>> {
        let format = choice.config.code.format;
        let layers = match &choice.machine {
            Machine::File(layer) => {
                let place = self.store.file(layer.digest, format.ending());
                let Some(pin) = intact(self.store, &place, layer.digest)? else { return Ok(None) };
                return Ok(Some(Kept { file: self.stored(layer.digest, &place)?, place, pin, restores_only: false }));
            }
            Machine::Layers(layers) => layers,
        };
        for other in others.like(&choice.config, &wanted.parts) {
            let place = self.store.file(other.file.layer, format.ending());
            if let Some(pin) = intact(self.store, &place, other.file.layer)? {
                let restores_only = other.artifact.parts().len() < layers.parts.len();
                return Ok(Some(Kept { file: other.file.clone(), place, pin, restores_only }));
            }
        }
        Ok(None)
    }

    /// The signatures of the document. Ones that are not understood are none.
    async fn signatures(&self, digest: Sha256) -> Result<Vec<Signature>> {
        match self.registry.signatures(digest).await {
            Err(Error::Oci(error)) if !error.is_passing() => Ok(Vec::new()),
            signatures => signatures,
        }
    }

    /// The files for this host among those that the document `digest` names, told before any of them is fetched.
    async fn choose(&self, digest: Sha256, document: Option<&[u8]>) -> Result<Choice> {
        /// Tells the documents apart.
        #[derive(Deserialize)]
        struct Shape {
            manifests: Option<IgnoredAny>,
        }
        let bytes = match document {
            Some(document) => document.to_vec(),
            None => self.registry.named(Some(digest)).await?,
        };
        let shape: Shape = decode("document", &bytes)?;
        if shape.manifests.is_none() {
            let choice = self.read(&bytes).await?;
            return match self.host.check(&choice.config) {
                Ok(()) => Ok(choice),
                Err(reason) => Err(self.incompatible(vec![reason])),
            };
        }
        let index: Index = decode("index", &bytes)?;
        let is_for = |architecture: &'static str| {
            let fits = move |entry: &&Descriptor| entry.platform.as_ref().is_some_and(|platform| platform.architecture == architecture);
            index.manifests.iter().take(MAX_ENTRIES).filter(fits)
        };
        let mut reasons = Vec::new();
        // Native code first: WebAssembly is only interpreted.
        for entry in is_for(self.host.architecture()).chain(is_for("wasm")) {
            let manifest = match entry.content() {
                Some(manifest) => manifest,
                None => self.registry.named(Some(entry.digest)).await?,
            };
            let choice = self.read(&manifest).await?;
            match self.host.check(&choice.config) {
                Ok(()) => return Ok(choice),
                Err(reason) => reasons.push(reason),
            }
        }
        if reasons.is_empty() {
            let mut found: Vec<_> =
                index.manifests.iter().filter_map(|entry| entry.platform.as_ref()).map(|it| it.architecture.clone()).collect();
            found.dedup();
            let found = found.join(", ").chars().take(200).collect::<String>().escape_debug().to_string();
            let wanted = self.host.architecture();
            reasons.push((
                "wrong-target",
                format!("it is for {found}, but this host is {wanted}; push a machine for this host too, or a .wasm"),
            ));
        }
        Err(self.incompatible(reasons))
    }

    fn incompatible(&self, reasons: Vec<Reason>) -> Error {
        let kind = reasons.first().map_or("incompatible", |reason| reason.0);
        let problem = reasons.into_iter().map(|reason| reason.1).collect::<Vec<_>>().join("; or: ");
        OciError::Incompatible { reference: self.registry.name(), kind, problem }.into()
    }

    /// What a manifest names, with its configuration.
    async fn read(&self, manifest: &[u8]) -> Result<Choice> {
        /// What every manifest has.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kind {
            config: ConfigKind,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct ConfigKind {
            media_type: String,
        }
        let kind: Kind = decode("manifest", manifest)?;
        if kind.config.media_type != CONFIG_TYPE {
            let found = format!("its configuration is {}", kind.config.media_type.chars().take(100).collect::<String>().escape_debug());
            return Err(OciError::NotPrebaked { reference: self.registry.name(), found }.into());
        }
        let manifest: Manifest = decode("manifest", manifest)?;
        let config = match manifest.config.content() {
            Some(config) => config,
            None => self.registry.small("the configuration", manifest.config.digest, MAX_DOCUMENT).await?,
        };
        let config: Config = decode("configuration", &config)?;
        let (machine, snapshot) = manifest.files()?;
        let contradiction = |problem: &str| Err(OciError::document("manifest", problem).into());
        match &machine {
            Machine::File(file) if file.media_type != config.code.format.media_type() => {
                return contradiction("its machine is not of the format that its configuration says");
            }
            Machine::File(file) if file.size > MAX_FILE_LEN => return contradiction(TOO_LARGE),
            Machine::File(_) => {}
            Machine::Layers(layers) => layers.check(&config)?,
        }
        if snapshot.is_some() != config.snapshot.is_some() {
            return contradiction("it and its configuration do not agree on whether there is a snapshot");
        }
        let unpacked = config.snapshot.as_ref().map_or(0, |snapshot| snapshot.stored_bytes);
        if snapshot.as_ref().map_or(0, |snapshot| snapshot.size).max(unpacked) > MAX_SNAPSHOT_LEN {
            return contradiction(TOO_LARGE);
        }
        Ok(Choice { machine, snapshot, config })
    }

    /// Fetches layers to where they are kept until they are complete, in the order in which they are needed, while `early` begins with what has come. It does
    /// nothing if nobody can begin without all of them. Nothing is verified. Returns the signatures.
    fn stream(
        &self,
        early: &Early<'_>,
        choice: &Choice,
        (digest, mut signatures): (Sha256, Signing<'_>),
        missing: &[&Descriptor],
        others: &Others,
    ) -> Result<Vec<Signature>> {
        let (Machine::Layers(layers), Some(snapshot), Some(sizes)) = (&choice.machine, &choice.snapshot, &choice.config.layers) else {
            return self.registry.wait(signed(&mut signatures));
        };
        let [metadata, root] = [PartKind::Metadata, PartKind::Root].map(|kind| layers.parts.get(&kind));
        // Metadata are held in memory.
        let bytes = sizes.parts.get(PartKind::Metadata.name()).copied().into_iter().chain(metadata.map(|layer| layer.size)).max();
        let is_small = bytes.is_some_and(|bytes| bytes <= MAX_DOCUMENT);
        if !missing.contains(&snapshot) || !is_small || (root.is_some() && sizes.root.is_none()) {
            return self.registry.wait(signed(&mut signatures));
        }
        // The first gets the connection that there is.
        let first: Vec<&Descriptor> = [Some(snapshot), root, metadata].into_iter().flatten().collect();
        let rest = missing.iter().copied().filter(|layer| !first.contains(layer));
        let coming = first.iter().copied().filter(|layer| missing.contains(layer)).chain(rest);
        let coming = coming.map(|layer| self.coming(layer)).collect::<Result<Vec<_>>>()?;
        let piece = |kind: PartKind| match others.place(kind, &choice.config, self.store) {
            Some(path) => Some(Piece::Here(path)),
            None => {
                layers.parts.get(&kind).and_then(|wanted| coming.iter().find(|coming| coming.layer == *wanted)).cloned().map(Piece::Coming)
            }
        };
        let of_snapshot = coming.iter().find(|coming| coming.layer == *snapshot);
        let (Some(of_metadata), Some(of_snapshot)) = (piece(PartKind::Metadata), of_snapshot) else {
            return self.registry.wait(signed(&mut signatures));
        };
        let begin = async {
            let signatures = signed(&mut signatures).await?;
            let beginning = Beginning {
                reference: self.registry.name(),
                digest,
                signatures: signatures.clone(),
                config: choice.config.clone(),
                metadata: of_metadata,
                root: piece(PartKind::Root),
                snapshot: of_snapshot.clone(),
                place: self.store.file(snapshot.digest, SNAPSHOT_ENDING),
            };
            // Whoever does not listen any more gives it up.
            let _ = early.sender.send(beginning);
            Ok(signatures)
        };
        // What is wanted first is asked for at once, where it is known how much that is.
        let first_bytes = choice.config.snapshot.as_ref().and_then(|snapshot| snapshot.first_bytes);
        for layer in &coming {
            let bytes = match &layer.layer {
                layer if *layer == *snapshot => first_bytes,
                layer if Some(layer) == root => sizes.root_first_bytes,
                layer if Some(layer) == metadata => Some(layer.size),
                _ => None,
            };
            layer.file.want(bytes.unwrap_or_default());
        }
        let total = coming.iter().map(|layer| layer.layer.size).sum();
        let tracker = Tracker::new(self.context.observer(), Task::Pull, Some(total));
        let watch = |done| {
            tracker.set(done);
            tracker.check()
        };
        let wants_all = || early.watcher.wants_all();
        let stream = Stream::new(self.registry, &coming, &wants_all, &watch);
        let streamed = self.registry.wait(try_join(stream.run(), begin));
        coming.iter().for_each(|layer| layer.file.end());
        self.keep_useful(missing, streamed).map(|((), signatures)| signatures)
    }

    fn coming(&self, layer: &Descriptor) -> Result<ComingLayer> {
        let path = self.store.partial(layer.digest);
        let writing = |source| Error::Write { path: path.clone(), source };
        // Beside it: the folder for temporary files may be memory, and the registry decides how much comes ahead of its turn.
        let ahead = tempfile::tempfile_in(path.parent().unwrap_or(&path)).map_err(writing)?;
        let file = ComingFile::new(self.store.open_partial(layer.digest)?, ahead, layer.size).map_err(writing)?;
        Ok(ComingLayer { layer: layer.clone(), file, path })
    }

    /// Fetches layers to where they are kept until they are complete, all at the same time.
    fn download(&self, layers: &[&Descriptor]) -> Result<()> {
        if layers.is_empty() {
            return Ok(());
        }
        let files = layers.iter().map(|layer| self.store.open_partial(layer.digest)).collect::<Result<Vec<_>>>()?;
        let total = layers.iter().map(|layer| layer.size).sum();
        let meter = Meter::new(self.context.observer(), Task::Pull, layers.len(), total);
        let fetches = layers.iter().zip(&files).enumerate().map(|(number, (layer, file))| {
            let meter = &meter;
            let before = file.metadata().map_or(0, |found| found.len());
            async move {
                meter.watch(number, before)?;
                let path = self.store.partial(layer.digest);
                let what = format!("the layer {}", layer.digest);
                self.registry.fetch(&what, layer, (file, &path), |done| meter.watch(number, done)).await
            }
        });
        let fetched = self.registry.wait(try_join_all(fetches));
        self.keep_useful(layers, fetched)?;
        self.context.notice(Notice::Fetched { bytes: total });
        Ok(())
    }

    /// Removes what has come of layers if it is of no use: on a full disk half a file is worth less than the room that it takes, and what a registry has sent
    /// that does not keep to the protocol is hardly what was asked for.
    fn keep_useful<T>(&self, layers: &[&Descriptor], fetched: Result<T>) -> Result<T> {
        fetched.inspect_err(|error| {
            let is_nonsense = matches!(error, Error::Oci(error) if matches!(**error, OciError::Protocol { .. }));
            if is_nonsense || error.kind() == "disk-full" {
                layers.iter().for_each(|layer| drop(fs::remove_file(self.store.partial(layer.digest))));
            }
        })
    }

    /// Puts a machine, all of which has come, into the store.
    fn admit_machine(&self, choice: &Choice, wanted: &Wanted, others: &Others) -> Result<Kept> {
        let (config, format) = (&choice.config, choice.config.code.format);
        let (partial, layer, restores_only) = match &choice.machine {
            Machine::File(layer) => (self.store.partial(layer.digest), layer.digest, false),
            Machine::Layers(layers) => {
                let partial = self.store.partial(layers.code.digest).with_extension("machine");
                let assembled = self.assemble(config, layers, wanted, others, &partial);
                let layer = self.or_remove(&partial, assembled).inspect_err(|error| {
                    // What has come is not what the documents say.
                    if matches!(error, Error::Oci(_) | Error::Artifact { .. } | Error::Snapshot { .. }) {
                        wanted.layers(choice).for_each(|layer| drop(fs::remove_file(self.store.partial(layer.digest))));
                    }
                })?;
                (partial, layer, wanted.parts.len() < layers.parts.len())
            }
        };
        self.or_remove(&partial, check_machine(config, &partial))?;
        let place = self.store.file(layer, format.ending());
        let stamp = self.store.admit(&partial, &place)?;
        if let Machine::Layers(layers) = &choice.machine {
            // Nobody needs them any more, and prune finds them if they stay.
            layers.all().for_each(|layer| drop(fs::remove_file(self.store.partial(layer.digest))));
        }
        std::thread::sleep(stamp.map_or(Duration::ZERO, |stamp| stamp.wait()));
        // What its code is, is remembered too, so that the first run need not look.
        let error = |source| Error::Artifact { path: place.clone(), source };
        let machine = Artifact::open(HostFile::open("machine", &place)?).map_err(error)?;
        let code = machine.code_digest().map_err(error)?;
        if code.to_string() != config.code.digest {
            self.store.discard(&place)?;
            return Err(OciError::document("configuration", "it does not describe the machine's code").into());
        }
        self.context.code_ledger().remember(machine.file().file(), stamp, code);
        self.require_intact(layer, &place)?;
        Ok(Kept { file: self.stored(layer, &place)?, pin: self.pin(&place)?, place, restores_only })
    }

    /// Puts a machine's file together at `path`, of its layers and of what other machines have. Returns the file's digest.
    fn assemble(&self, config: &Config, layers: &Layers, wanted: &Wanted, others: &Others, path: &Path) -> Result<Sha256> {
        let Some(sizes) = &config.layers else { return Err(OciError::document("configuration", "it has no lengths").into()) };
        let open = |layer: &Descriptor| Packed::open(&self.store.partial(layer.digest));
        let code = others.code(&config.code.digest);
        let code_layer = if code.is_none() { Some(open(&layers.code)?) } else { None };
        let mut part_layers = BTreeMap::new();
        for (kind, layer) in layers.parts.iter().filter(|(kind, _)| wanted.parts.contains(kind)) {
            if others.part(*kind, config).is_none() {
                part_layers.insert(*kind, open(layer)?);
            }
        }
        let own = part_layers.iter().map(|(kind, layer)| (*kind, Origin::Layer(layer)));
        let found = wanted.parts.iter().filter_map(|kind| Some((*kind, Origin::Machine(others.part(*kind, config)?))));
        let parts = own.chain(found).collect();
        let Some(code) = code.map(Origin::Machine).or_else(|| code_layer.as_ref().map(Origin::Layer)) else {
            return Err(OciError::document("manifest", "it has no code").into());
        };
        let writing = |source| Error::Write { path: path.into(), source };
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path).map_err(writing)?;
        Assembly::new(config, sizes, code, parts).write(&mut file, path)?;
        Sha256::of_file(&file).map_err(|source| Error::Read { what: "machine", path: path.into(), source })
    }

    /// Unpacks a snapshot that has come whole into the store.
    fn admit_snapshot(&self, config: &Config, layer: &Descriptor, place: &Path) -> Result<()> {
        let partial = self.store.partial(layer.digest);
        let unpacked = partial.with_extension("unpacked");
        let error = |source| match source {
            snapshot::Error::Io { source, .. } => Error::Write { path: unpacked.clone(), source },
            source => Error::Snapshot { path: partial.clone(), source },
        };
        let unpack = || {
            let travelling = Travelling::open(HostFile::open("snapshot", &partial)?).map_err(error)?;
            check_snapshot(&travelling, config)?;
            let mut file = File::create(&unpacked).map_err(|source| Error::Write { path: unpacked.clone(), source })?;
            let tracker = Tracker::new(self.context.observer(), Task::UnpackSnapshot, Some(travelling.stored_length()));
            travelling.unpack(&mut file, |done| tracker.set(done)).map_err(error)
        };
        let result = unpack();
        self.or_remove(&unpacked, result.map(drop)).or_else(|error| self.or_remove(&partial, Err(error)))?;
        let stamp = self.store.admit(&unpacked, place)?;
        // Nobody needs it any more, and prune finds it if it stays.
        let _ = fs::remove_file(&partial);
        std::thread::sleep(stamp.map_or(Duration::ZERO, |stamp| stamp.wait()));
        self.require_intact(layer.digest, place)
    }

    /// Reads back what is on the disk, and remembers that it is good.
    fn require_intact(&self, layer: Sha256, place: &Path) -> Result<()> {
        if verify(self.store.ledger(), place, layer)? {
            return Ok(());
        }
        self.store.discard(place)?;
        let source = std::io::Error::other("the data read back differs from the data written");
        Err(Error::Read { what: "file of the store", path: place.into(), source })
    }

    /// Removes a file that turned out to be of no use.
    fn or_remove<T>(&self, path: &Path, result: Result<T>) -> Result<T> {
        if result.is_err() {
            let _ = fs::remove_file(path);
        }
        result
    }
}

/// Bytes of a snapshot. Memory and disk of a machine are in 4 GiB; the rest is for sections, an index, frames that do not shrink.
const MAX_SNAPSHOT_LEN: u64 = (4 << 30) + (256 << 20);

/// Checks that the machine in the file at `path` is as `config` says, its code apart.
fn check_machine(config: &Config, path: &Path) -> Result<()> {
    let artifact = Artifact::open(HostFile::open("machine", path)?).map_err(|source| Error::Artifact { path: path.into(), source })?;
    let (format, target) = match artifact.kind() {
        Kind::Wasm => (CodeFormat::Wasm, None),
        Kind::Aot { target } => (CodeFormat::Aot, Some(target.as_str())),
    };
    if (format, target, artifact.size().ram_size) != (config.code.format, config.code.target.as_deref(), config.ram_bytes) {
        return Err(OciError::document("configuration", "it does not describe this machine").into());
    }
    Ok(())
}

/// The parts of a machine that are needed.
struct Wanted {
    parts: Vec<PartKind>,
}

impl Wanted {
    /// The layers for it, the snapshot's included.
    fn layers<'a>(&'a self, choice: &'a Choice) -> impl Iterator<Item = &'a Descriptor> {
        let (file, layers) = match &choice.machine {
            Machine::File(file) => (Some(file), None),
            Machine::Layers(layers) => (Some(&layers.code), Some(layers)),
        };
        let parts = layers.into_iter().flat_map(move |layers| self.parts.iter().filter_map(move |kind| layers.parts.get(kind)));
        file.into_iter().chain(parts).chain(&choice.snapshot)
    }

    /// The layers of the machine that must be fetched.
    fn missing<'a>(&'a self, choice: &'a Choice, others: &Others) -> Vec<&'a Descriptor> {
        match &choice.machine {
            Machine::File(file) => vec![file],
            Machine::Layers(layers) => {
                let code = Some(&layers.code).filter(|_| others.code(&choice.config.code.digest).is_none());
                let is_missing = |kind: &&PartKind| others.part(**kind, &choice.config).is_none();
                let parts = self.parts.iter().filter(is_missing).filter_map(|kind| layers.parts.get(kind));
                code.into_iter().chain(parts).collect()
            }
        }
    }
}
