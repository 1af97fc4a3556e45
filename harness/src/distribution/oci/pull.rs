//! What a reference names, brought into the store.

use super::digest::{NotADigest, Sha256};
use super::document::{CONFIG_TYPE, CodeFormat, Config, Descriptor, Index, MAX_DOCUMENT, MAX_ENTRIES, Manifest, decode};
use super::error::OciError;
use super::host::{Host, Reason};
use super::meter::Meter;
use super::registry::Registry;
use crate::artifact::{Artifact, Kind, MAX_FILE_LEN};
use crate::context::Context;
use crate::distribution::store::{Entry, Lock, SNAPSHOT_ENDING, Store, StoredFile};
use crate::distribution::trust::{Policy, PublicKey, Signature, TrustError, repository};
use crate::error::{Error, Result};
use crate::host::backend::clock::seconds_since_1970;
use crate::host::file::HostFile;
use crate::host::file::ledger::{self, Ledger, Stamp};
use crate::machine::file::Voucher;
use crate::observer::{Notice, Task, Tracker};
use futures_util::future::try_join_all;
use oci_client::Reference;
use serde::Deserialize;
use serde::de::IgnoredAny;
use snapshot::{Snapshot, Travelling};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::{debug, debug_span};

/// The files of a machine. They stay in the store as long as this lives.
#[derive(Debug)]
pub struct VmArtifacts {
    /// The machine: a `.aot` or a `.wasm`.
    pub wasm_file: PathBuf,
    /// The snapshot, in its stored form; `None` if there is none to be had.
    pub snapshot_file: Option<PathBuf>,
    /// The reference in full.
    pub reference: String,
    /// Digest of the document that it names.
    pub digest: Sha256,
    /// That the machine's native code may be run although it was not compiled here, if someone who is trusted stands for it: for
    /// [`MachineFile::vouched_for`](crate::machine::file::MachineFile::vouched_for).
    pub voucher: Option<Voucher>,
    _pins: Vec<Lock>,
}

impl VmArtifacts {
    /// The same with another machine, of which there is no snapshot yet.
    pub(crate) fn with_machine(mut self, machine: PathBuf, pin: Lock) -> Self {
        self._pins.push(pin);
        Self { wasm_file: machine, snapshot_file: None, ..self }
    }
}

/// How a reference is looked up.
#[derive(Debug, Clone, Copy)]
pub struct PullOptions {
    /// Nothing is asked of the registry.
    pub offline: bool,
    /// What can be used.
    pub host: Host,
    /// The key that must have signed it. Whoever names it trusts it.
    pub verify_key: Option<PublicKey>,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self { offline: false, host: Host::this(), verify_key: None }
    }
}

/// Makes sure that what `reference` names is in the user's store, and keeps it there.
///
/// Asks the registry what the reference names now, which is one small question where nothing has changed. What is missing is fetched, and
/// every byte of it verified. If the registry is down, what there is will do.
pub fn ensure(context: &Context, reference: &str, options: &PullOptions) -> Result<VmArtifacts> {
    context.outcome(Store::open(context).and_then(|store| ensure_in(context, &store, reference, options)))
}

/// The same in a store that is open.
pub(crate) fn ensure_in(context: &Context, store: &Store, reference: &str, options: &PullOptions) -> Result<VmArtifacts> {
    let _span = debug_span!(target: "prebake::registry", "pull", reference).entered();
    let _shared = store.share()?;
    let reference = super::reference(reference)?;
    let name = reference.whole();
    // A digest names the same for ever.
    let fixed = match reference.digest() {
        Some(digest) => {
            Some(digest.parse().map_err(|problem: NotADigest| OciError::Reference { text: name.clone(), problem: problem.to_string() })?)
        }
        None => None,
    };
    let stand = Standing { policy: Policy::open_or_nothing(context), key: options.verify_key, repository: repository(&reference) };
    let mut entry = store.entry(&name)?;
    let here = match &entry {
        Some(entry) => files_of(store, entry)?,
        None => None,
    };
    let is_enough = entry.as_ref().is_some_and(|entry| !stand.wants_more(entry));
    if options.offline || (here.is_some() && fixed.is_some() && is_enough) {
        let (Some(artifacts), Some(entry)) = (here, entry) else { return Err(OciError::NotInStore { reference: name }.into()) };
        return stand.judge(artifacts, &entry);
    }
    let asked = if here.is_some() { Registry::hasty } else { Registry::new }(context, reference.clone())?;
    let fetch = || {
        let digest = match fixed {
            Some(digest) => digest,
            None => asked.wait(asked.digest())?,
        };
        let Some(known) = entry.as_mut().filter(|entry| here.is_some() && entry.digest == digest) else {
            let pull = Pull { context, store, registry: &Registry::new(context, reference)?, host: options.host, stand: &stand };
            return pull.fetch(digest).map(Some);
        };
        if stand.wants_more(known) {
            // Someone may have signed it since.
            let signatures = asked.wait(asked.signatures(digest))?;
            if signatures != known.signatures {
                known.signatures = signatures;
                store.note(known)?;
            }
        }
        Ok(None)
    };
    let here = match fetch() {
        Ok(Some((artifacts, entry))) => return stand.judge(artifacts, &entry),
        Ok(None) => here,
        Err(Error::Oci(error)) if error.is_passing() && here.is_some() => {
            context.notice(Notice::RegistryDown { error: &error });
            here
        }
        Err(error) => return Err(error),
    };
    let (Some(artifacts), Some(entry)) = (here, entry) else { return Err(OciError::NotInStore { reference: name }.into()) };
    stand.judge(artifacts, &entry)
}

/// Who must stand for what a reference names, and who may.
struct Standing {
    policy: Policy,
    /// Who must.
    key: Option<PublicKey>,
    repository: String,
}

impl Standing {
    /// Whether signatures that are not known yet could make a difference.
    fn wants_more(&self, entry: &Entry) -> bool {
        self.require(&entry.reference, entry.digest, &entry.signatures).is_err()
            || (entry.format == CodeFormat::Aot
                && self.policy.wants_signatures(&self.repository)
                && self.policy.vouches(&self.repository, entry.digest, &entry.signatures).is_none())
    }

    /// Checks that the document `digest` is signed by who must have signed it.
    fn require(&self, reference: &str, digest: Sha256, signatures: &[Signature]) -> Result<()> {
        let Some(key) = self.key.filter(|key| !signatures.iter().any(|signature| signature.is_of(digest, *key))) else { return Ok(()) };
        let problem = match signatures.len() {
            0 => format!("{digest} has no signatures"),
            _ => format!("{digest} is signed only by other keys"),
        };
        Err(TrustError::NotSigned { reference: reference.into(), key: key.fingerprint().to_string(), problem }.into())
    }

    /// The files with a voucher, if there is one; an error if who must stand for them does not.
    fn judge(&self, artifacts: VmArtifacts, entry: &Entry) -> Result<VmArtifacts> {
        self.require(&entry.reference, entry.digest, &entry.signatures)?;
        let by = match self.key {
            Some(key) => Some(format!("the key {}", key.fingerprint())),
            None => self.policy.vouches(&self.repository, entry.digest, &entry.signatures).map(ToString::to_string),
        };
        let voucher = by.zip(entry.code.clone()).map(|(by, code)| Voucher { code, by });
        Ok(VmArtifacts { voucher, ..artifacts })
    }
}

/// That someone whom the user trusts stands for this code of what `reference` named under this digest, if so. Nobody needs to stand for what has no
/// code, as machines of images on this host have none.
pub(crate) fn voucher(
    context: &Context,
    reference: &str,
    digest: Sha256,
    code: Option<String>,
    signatures: &[Signature],
) -> Result<Option<Voucher>> {
    let Some(code) = code else { return Ok(None) };
    let reference = super::reference(reference)?;
    let policy = Policy::open_or_nothing(context);
    let by = policy.vouches(&repository(&reference), digest, signatures).map(ToString::to_string);
    Ok(by.map(|by| Voucher { code, by }))
}

/// The digest of the document that `reference` names now.
pub(crate) fn digest_of(context: &Context, reference: &Reference) -> Result<Sha256> {
    let registry = Registry::new(context, reference.clone())?;
    registry.wait(registry.digest())
}

/// The files of `entry`, if all are there as they should be.
pub(crate) fn files_of(store: &Store, entry: &Entry) -> Result<Option<VmArtifacts>> {
    let wasm_file = store.file(entry.machine.layer, entry.format.ending());
    let Some(machine) = intact(store, &wasm_file, entry.machine.layer)? else { return Ok(None) };
    let (reference, digest) = (entry.reference.clone(), entry.digest);
    let mut artifacts = VmArtifacts { wasm_file, snapshot_file: None, reference, digest, voucher: None, _pins: vec![machine] };
    if let Some(snapshot) = &entry.snapshot {
        let place = store.file(snapshot.layer, SNAPSHOT_ENDING);
        let Some(pin) = intact(store, &place, snapshot.layer)? else { return Ok(None) };
        artifacts.snapshot_file = Some(place);
        artifacts._pins.push(pin);
    }
    Ok(Some(artifacts))
}

/// Locks a file of the store that is unchanged since it was verified, or verifies it again. One that is damaged is removed.
pub(crate) fn intact(store: &Store, place: &Path, layer: Sha256) -> Result<Option<Lock>> {
    let Some(pin) = store.pin(place)? else { return Ok(None) };
    let is_intact = verify(store.ledger(), place, layer)?;
    debug!(target: "prebake::verify", file = %place.display(), is_intact, "looked at a file of the store");
    if is_intact {
        return Ok(Some(pin));
    }
    store.discard(place)?;
    Ok(None)
}

/// Whether a file is as it was when it came: a machine by the digest of its layer, a snapshot by the digests in it.
fn verify(ledger: &Ledger, place: &Path, layer: Sha256) -> Result<bool> {
    let file = HostFile::open("file of the store", place)?;
    let before = Stamp::of(file.file());
    let remembered = ledger.recall(file.file());
    if place.extension().is_none_or(|ending| ending != SNAPSHOT_ENDING) {
        let read = |source| Error::Read { what: "file of the store", path: place.into(), source };
        if remembered.is_some() {
            return Ok(true);
        }
        let is_intact = Sha256::of_file(file.file()).map_err(read)? == layer;
        if is_intact {
            ledger.remember(file.file(), before, ledger::digest_of(file.file(), place)?);
        }
        return Ok(is_intact);
    }
    let Ok(snapshot) = Snapshot::open(&file) else { return Ok(false) };
    let content = snapshot.header().content_digest;
    if remembered == Some(content) {
        return Ok(true);
    }
    let is_intact = snapshot.verify_all().is_ok();
    if is_intact {
        ledger.remember(file.file(), before, content);
    }
    Ok(is_intact)
}

/// A pull that is under way.
struct Pull<'a> {
    context: &'a Context,
    store: &'a Store,
    registry: &'a Registry,
    host: Host,
    stand: &'a Standing,
}

/// What was chosen.
struct Choice {
    config: Config,
    machine: Descriptor,
    snapshot: Option<Descriptor>,
}

impl Pull<'_> {
    /// Brings what the document `digest` names into the store.
    fn fetch(&self, digest: Sha256) -> Result<(VmArtifacts, Entry)> {
        let signatures = self.registry.wait(self.signatures(digest))?;
        self.stand.require(&self.registry.name(), digest, &signatures)?;
        let choice = self.registry.wait(self.choose(digest))?;
        let format = choice.config.code.format;
        let machine_place = self.store.file(choice.machine.digest, format.ending());
        let mut wanted = vec![(&choice.machine, machine_place.clone())];
        let snapshot_place = choice.snapshot.as_ref().map(|layer| self.store.file(layer.digest, SNAPSHOT_ENDING));
        wanted.extend(choice.snapshot.as_ref().zip(snapshot_place.clone()));
        // Whoever wants several claims them in one order, so that nobody waits for someone who waits.
        wanted.sort_by_key(|(layer, _)| layer.digest);
        let _claims = wanted.iter().map(|(layer, _)| self.store.claim(layer.digest)).collect::<Result<Vec<_>>>()?;

        let mut pins = Vec::new();
        let mut missing = Vec::new();
        for (layer, place) in &wanted {
            match intact(self.store, place, layer.digest)? {
                Some(pin) => pins.push(pin),
                None => missing.push((*layer, place)),
            }
        }
        self.download(&missing.iter().map(|(layer, _)| *layer).collect::<Vec<_>>())?;
        for (layer, place) in missing {
            if *place == machine_place {
                self.admit_machine(&choice.config, layer, place)?;
            } else {
                self.admit_snapshot(&choice.config, layer, place)?;
            }
            let lost = || Error::Read { what: "file of the store", path: place.clone(), source: std::io::ErrorKind::NotFound.into() };
            pins.push(self.store.pin(place)?.ok_or_else(lost)?);
        }
        let kept = |layer: &Descriptor, place: &Path| {
            let bytes = fs::metadata(place).map(|found| found.len());
            let bytes = bytes.map_err(|source| Error::Read { what: "file of the store", path: place.into(), source })?;
            Ok::<_, Error>(StoredFile { layer: layer.digest, bytes })
        };
        let entry = Entry {
            reference: self.registry.name(),
            digest,
            machine: kept(&choice.machine, &machine_place)?,
            format,
            target: choice.config.code.target.clone(),
            code: Some(choice.config.code.digest.clone()),
            snapshot: choice.snapshot.as_ref().zip(snapshot_place.as_deref()).map(|(layer, place)| kept(layer, place)).transpose()?,
            signatures,
            pulled: seconds_since_1970(),
            resized: Vec::new(),
        };
        self.store.note(&entry)?;
        let reference = self.registry.name();
        let artifacts =
            VmArtifacts { wasm_file: machine_place, snapshot_file: snapshot_place, reference, digest, voucher: None, _pins: pins };
        Ok((artifacts, entry))
    }

    /// The signatures of the document. Ones that are not understood are none.
    async fn signatures(&self, digest: Sha256) -> Result<Vec<Signature>> {
        match self.registry.signatures(digest).await {
            Err(Error::Oci(error)) if !error.is_passing() => Ok(Vec::new()),
            signatures => signatures,
        }
    }

    /// The files for this host among those that the document `digest` names, told before any of them is fetched.
    async fn choose(&self, digest: Sha256) -> Result<Choice> {
        /// Tells the documents apart.
        #[derive(Deserialize)]
        struct Shape {
            manifests: Option<IgnoredAny>,
        }
        let bytes = self.registry.named(Some(digest)).await?;
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
            let choice = self.read(&self.registry.named(Some(entry.digest)).await?).await?;
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
        let config: Config =
            decode("configuration", &self.registry.small("the configuration", manifest.config.digest, MAX_DOCUMENT).await?)?;
        let (machine, snapshot) = manifest.files()?;
        let contradiction = |problem: &str| Err(OciError::document("manifest", problem).into());
        if machine.media_type != config.code.format.media_type() {
            return contradiction("its machine is not of the format that its configuration says");
        }
        if snapshot.is_some() != config.snapshot.is_some() {
            return contradiction("it and its configuration do not agree on whether there is a snapshot");
        }
        let unpacked = config.snapshot.as_ref().map_or(0, |snapshot| snapshot.stored_bytes);
        let longest = snapshot.map_or(0, |snapshot| snapshot.size).max(unpacked);
        if machine.size > MAX_FILE_LEN || longest > MAX_SNAPSHOT_LEN {
            return contradiction("its files are larger than any machine can be");
        }
        Ok(Choice { machine: machine.clone(), snapshot: snapshot.cloned(), config })
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
        if let Err(error) = fetched {
            // On a full disk half a file is worth less than the room that it takes.
            if error.kind() == "disk-full" {
                layers.iter().for_each(|layer| drop(fs::remove_file(self.store.partial(layer.digest))));
            }
            return Err(error);
        }
        self.context.notice(Notice::Fetched { bytes: total });
        Ok(())
    }

    /// Puts a machine that has come whole into the store.
    fn admit_machine(&self, config: &Config, layer: &Descriptor, place: &Path) -> Result<()> {
        let partial = self.store.partial(layer.digest);
        let check = || {
            let artifact =
                Artifact::open(HostFile::open("machine", &partial)?).map_err(|source| Error::Artifact { path: partial.clone(), source })?;
            let (format, target) = match artifact.kind() {
                Kind::Wasm => (CodeFormat::Wasm, None),
                Kind::Aot { target } => (CodeFormat::Aot, Some(target.as_str())),
            };
            if (format, target, artifact.size().ram_size) != (config.code.format, config.code.target.as_deref(), config.ram_bytes) {
                return Err(OciError::document("configuration", "it does not describe this machine").into());
            }
            Ok(())
        };
        self.or_remove(&partial, check())?;
        let stamp = self.store.admit(&partial, place)?;
        std::thread::sleep(stamp.map_or(Duration::ZERO, |stamp| stamp.wait()));
        // What its code is, is remembered too, so that the first run need not look.
        let machine = Artifact::open(HostFile::open("machine", place)?).map_err(|source| Error::Artifact { path: place.into(), source })?;
        let code = machine.code_digest().map_err(|source| Error::Artifact { path: place.into(), source })?;
        if code.to_string() != config.code.digest {
            self.store.discard(place)?;
            return Err(OciError::document("configuration", "it does not describe the machine's code").into());
        }
        self.context.code_ledger().remember(machine.file().file(), stamp, code);
        self.require_intact(layer, place)
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
            let (header, machine) = (travelling.header(), travelling.machine());
            let found = (header.content_digest.to_string(), travelling.stored_length(), machine.devices);
            let wanted = config.snapshot.as_ref().map(|snapshot| (snapshot.content.clone(), snapshot.stored_bytes, snapshot.devices));
            if (machine.model.as_str(), machine.ram_size) != (config.model.as_str(), config.ram_bytes) || Some(found) != wanted {
                return Err(OciError::document("configuration", "it does not describe this snapshot").into());
            }
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
        self.require_intact(layer, place)
    }

    /// Reads back what is on the disk, and remembers that it is good.
    fn require_intact(&self, layer: &Descriptor, place: &Path) -> Result<()> {
        if verify(self.store.ledger(), place, layer.digest)? {
            return Ok(());
        }
        self.store.discard(place)?;
        let source = std::io::Error::other("the data read back differs from the data written");
        Err(Error::Read { what: "file of the store", path: place.into(), source })
    }

    /// Removes a file that turned out to be of no use.
    fn or_remove(&self, path: &Path, result: Result<()>) -> Result<()> {
        if result.is_err() {
            let _ = fs::remove_file(path);
        }
        result
    }
}

/// Bytes of a snapshot. Memory and disk of a machine are in 4 GiB; the rest is for sections, an index, frames that do not shrink.
const MAX_SNAPSHOT_LEN: u64 = (4 << 30) + (256 << 20);
