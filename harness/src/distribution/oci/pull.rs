//! What a reference names, brought into the store.

use super::arrival::{Coming, Early, Found};
use super::digest::{NotADigest, Sha256};
use super::document::CodeFormat;
use super::error::OciError;
use super::fetch::Pull;
use super::host::Host;
use super::registry::Registry;
use crate::context::Context;
use crate::distribution::store::{Entry, Lock, SNAPSHOT_ENDING, Store};
use crate::distribution::trust::{Policy, PublicKey, Signature, TrustError, repository};
use crate::error::{Error, Result};
use crate::host::file::HostFile;
use crate::host::file::ledger::{self, Ledger, Stamp};
use crate::machine::file::Voucher;
use crate::observer::Notice;
use oci_client::Reference;
use snapshot::Snapshot;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
    pub(super) _pins: Vec<Lock>,
}

impl VmArtifacts {
    /// The same with another machine, of which there is no snapshot yet.
    pub(crate) fn with_machine(mut self, machine: PathBuf, pin: Lock) -> Self {
        self._pins.push(pin);
        Self { wasm_file: machine, snapshot_file: None, ..self }
    }
}

/// When the registry is asked what a reference names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PullPolicy {
    /// Always. If it is down, what is in the store will do.
    #[default]
    Newer,
    /// Always. If it is down, that is an error.
    Always,
    /// Only if the store lacks what the reference names, or a signature of it that is wanted.
    Missing,
    /// Never: what is not in the store is an error.
    Never,
}

impl PullPolicy {
    /// [`Self::Never`] if `offline`, or else what is usual.
    pub fn unless(offline: bool) -> Self {
        if offline { Self::Never } else { Self::default() }
    }
}

/// How a reference is looked up.
#[derive(Debug, Clone, Copy)]
pub struct PullOptions {
    /// When the registry is asked.
    pub policy: PullPolicy,
    /// What can be used.
    pub host: Host,
    /// The key that must have signed it. Whoever names it trusts it.
    pub verify_key: Option<PublicKey>,
    /// The machine is to be booted, too: kernel and initramfs are fetched although there is a snapshot to restore.
    pub to_boot: bool,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self { policy: PullPolicy::default(), host: Host::this(), verify_key: None, to_boot: false }
    }
}

/// Makes sure that what `reference` names is in the user's store, and keeps it there.
///
/// Asks the registry as `options` say, usually what the reference names now, which is one small question where nothing has changed. What is missing is
/// fetched, and every byte of it verified. If the registry is down, what there is will do, unless `options` say otherwise.
pub fn ensure(context: &Context, reference: &str, options: &PullOptions) -> Result<VmArtifacts> {
    context.outcome(Store::open(context).and_then(|store| ensure_in(context, &store, reference, options)))
}

/// The same in a store that is open.
pub(crate) fn ensure_in(context: &Context, store: &Store, reference: &str, options: &PullOptions) -> Result<VmArtifacts> {
    find(context, store, reference, options, |missing| missing.fetch(context, store, None))
}

/// The same, but what is not in the store may still be on its way.
pub(crate) fn begin_in(context: &Context, store: &Store, reference: &str, options: &PullOptions) -> Result<Found> {
    find(context, store, reference, options, |missing| {
        Coming::start(context, move |context, early| {
            let store = Store::open(context)?;
            let _shared = store.share()?;
            let registry = missing.registry.with_context(context);
            Missing { registry, ..missing }.fetch(context, &store, Some(early))
        })
    })
}

/// What is to be fetched.
struct Missing {
    registry: Registry,
    /// Digest of the document that names it.
    digest: Sha256,
    /// This document, if it has come already.
    document: Option<Vec<u8>>,
    options: PullOptions,
    stand: Arc<Standing>,
}

impl Missing {
    fn fetch(&self, context: &Context, store: &Store, early: Option<&Early<'_>>) -> Result<VmArtifacts> {
        let Self { registry, digest, document, options: PullOptions { host, to_boot, .. }, stand } = self;
        let pull = Pull { context, store, registry, host: *host, to_boot: *to_boot, stand, early };
        let (artifacts, entry) = pull.fetch(*digest, document.as_deref())?;
        stand.judge(artifacts, &entry)
    }
}

/// What the store has of `reference`, if that is what it names, or else what `fetch` makes of what is missing.
fn find<T: From<VmArtifacts>>(
    context: &Context,
    store: &Store,
    reference: &str,
    options: &PullOptions,
    fetch: impl FnOnce(Missing) -> Result<T>,
) -> Result<T> {
    let _span = debug_span!(target: "prebake::registry", "pull", reference).entered();
    let _shared = store.share()?;
    let Known { reference, name, fixed, stand, mut entry, is_enough } = Known::of(context, store, reference, options)?;
    let here = match &entry {
        Some(entry) if !(options.to_boot && entry.restores_only) => files_of(store, entry)?,
        _ => None,
    };
    let is_needless = here.is_some() && is_enough && (fixed.is_some() || options.policy == PullPolicy::Missing);
    if options.policy == PullPolicy::Never || is_needless {
        let (Some(artifacts), Some(entry)) = (here, entry) else { return Err(OciError::NotInStore { reference: name }.into()) };
        return stand.judge(artifacts, &entry).map(T::from);
    }
    let asked = if here.is_some() { Registry::hasty } else { Registry::new }(context, reference.clone())?;
    let look = || {
        let (digest, document) = match fixed {
            Some(digest) => (digest, None),
            None if here.is_some() => (asked.wait(asked.digest())?, None),
            // It will be needed.
            None => {
                let document = asked.wait(asked.named(None))?;
                (Sha256::of(&document), Some(document))
            }
        };
        let Some(known) = entry.as_mut().filter(|entry| here.is_some() && entry.digest == digest) else {
            // One that is patient has been asked already if nothing is here.
            let registry = if here.is_some() { Registry::new(context, reference)? } else { asked };
            return fetch(Missing { registry, digest, document, options: *options, stand: stand.clone() }).map(Some);
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
    let here = match look() {
        Ok(Some(found)) => return Ok(found),
        Ok(None) => here,
        Err(Error::Oci(error)) if error.is_passing() && here.is_some() && options.policy != PullPolicy::Always => {
            context.notice(Notice::RegistryDown { error: &error });
            here
        }
        Err(error) => return Err(error),
    };
    let (Some(artifacts), Some(entry)) = (here, entry) else { return Err(OciError::NotInStore { reference: name }.into()) };
    stand.judge(artifacts, &entry).map(T::from)
}

/// What is known of a reference before its registry is asked.
struct Known {
    reference: Reference,
    /// The reference in full.
    name: String,
    /// A digest names the same for ever.
    fixed: Option<Sha256>,
    stand: Arc<Standing>,
    entry: Option<Entry>,
    /// Nothing more is to be known of what the entry names.
    is_enough: bool,
}

impl Known {
    fn of(context: &Context, store: &Store, reference: &str, options: &PullOptions) -> Result<Self> {
        let reference = super::reference(reference)?;
        let name = reference.whole();
        let parse = |digest: &str| {
            digest.parse().map_err(|problem: NotADigest| OciError::Reference { text: name.clone(), problem: problem.to_string() })
        };
        let fixed = reference.digest().map(parse).transpose()?;
        let policy = Policy::open_or_nothing(context);
        let stand = Arc::new(Standing { policy, key: options.verify_key, repository: repository(&reference) });
        let entry = store.entry(&name)?;
        let is_enough = entry.as_ref().is_some_and(|entry| !stand.wants_more(entry));
        Ok(Self { reference, name, fixed, stand, entry, is_enough })
    }
}

/// What a registry says of what the store has of a reference.
#[derive(Debug)]
pub(crate) enum Standpoint {
    /// The reference still names it.
    Current,
    /// It is down, so that what is in the store will do.
    Down(Box<OciError>),
    /// Something else: another document, a refusal, or nothing that helps.
    Other,
}

/// Has `answer` what the registry says of what the store has of the tag `reference`, if it is to be asked that at all, as soon as it says it. Nothing is
/// told to the user, fetched or noted.
pub(crate) fn ask(context: &Context, reference: &str, options: &PullOptions, answer: impl FnOnce(Standpoint)) -> Result<()> {
    let _span = debug_span!(target: "prebake::registry", "ask", reference).entered();
    let Known { reference, entry, is_enough, .. } = Known::of(context, &Store::open(context)?, reference, options)?;
    let Some(entry) = entry.filter(|_| is_enough) else { return Ok(()) };
    let registry = Registry::hasty(context, reference)?;
    answer(match registry.wait(registry.digest()) {
        Ok(digest) if digest == entry.digest => Standpoint::Current,
        Err(Error::Oci(error)) if error.is_passing() && options.policy == PullPolicy::Newer => Standpoint::Down(error),
        _ => Standpoint::Other,
    });
    Ok(())
}

/// Who must stand for what a reference names, and who may.
pub(super) struct Standing {
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

    /// Whether someone must stand for it.
    pub(super) const fn wants_signature(&self) -> bool {
        self.key.is_some()
    }

    /// Checks that the document `digest` is signed by who must have signed it.
    pub(super) fn require(&self, reference: &str, digest: Sha256, signatures: &[Signature]) -> Result<()> {
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

/// Whether a file is as it was when it came: a machine by the digest that is its name, a snapshot by the digests in it.
pub(super) fn verify(ledger: &Ledger, place: &Path, layer: Sha256) -> Result<bool> {
    let file = HostFile::open("file of the store", place)?;
    if ledger.recall(file.file()).is_some() { Ok(true) } else { verify_bytes(ledger, (&file, place), layer) }
}

/// Whether the bytes of a file are those that came. Out of line: room for them is on the stack, and whoever calls would bring it into memory at every start.
#[inline(never)]
fn verify_bytes(ledger: &Ledger, (file, place): (&HostFile, &Path), layer: Sha256) -> Result<bool> {
    let before = Stamp::of(file.file());
    if place.extension().is_none_or(|ending| ending != SNAPSHOT_ENDING) {
        let read = |source| Error::Read { what: "file of the store", path: place.into(), source };
        let is_intact = Sha256::of_file(file.file()).map_err(read)? == layer;
        if is_intact {
            ledger.remember(file.file(), before, ledger::digest_of(file.file(), place)?);
        }
        return Ok(is_intact);
    }
    let Ok(snapshot) = Snapshot::open(file) else { return Ok(false) };
    let is_intact = snapshot.verify_all().is_ok();
    if is_intact {
        ledger.remember(file.file(), before, snapshot.header().content_digest);
    }
    Ok(is_intact)
}
