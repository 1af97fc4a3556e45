//! What a reference names: what was baked, an image that is made a machine here, and the sessions of both.

use super::plan::{Files, Pins, Plan};
use super::{RunRequest, SessionPolicy, cold};
use crate::context::Context;
use crate::distribution::oci::{self, CodeFormat, OciError, Sha256, VmArtifacts};
use crate::distribution::store::{Entry, Lock, Store, StoredFile};
use crate::distribution::trust::Signature;
use crate::error::{Error, Result};
use crate::machine::ClockSource;
use crate::make::convert::{self, Conversion};
use crate::observer::Notice;
use crate::session::Sessions;
use oci_client::Reference;
use protocol::Mode;
use std::fs::{self, File};
use std::time::SystemTime;

/// What a reference names now.
pub struct Resolved {
    /// The reference in full.
    pub reference: String,
    /// Digest of the document that it names.
    pub digest: Sha256,
    /// Digest of its machine's code, if it came with one.
    pub code: Option<String>,
    /// Who has signed the document.
    pub signatures: Vec<Signature>,
}

impl Resolved {
    /// The name of the session that a person has who runs it without more ado: another one for each document.
    fn session(&self) -> String {
        let name = self.reference.rsplit('/').next().unwrap_or_default();
        let name = name.split('@').next().unwrap_or_default().replace(':', "-");
        format!("{}-{}", &name[..name.len().min(64)], &self.digest.digits()[..12])
    }
}

/// Plans a run of what the reference `text` names.
pub fn plan(context: &Context, request: &RunRequest, text: &str, mode: Mode) -> Result<Plan> {
    let store = Store::open_for_run(context)?;
    let (image, artifacts) = ensure(context, request, &store, text)?;
    let machine = artifacts.wasm_file.clone();
    let (snapshot, pin) = match artifacts.snapshot_file.clone() {
        Some(snapshot) => (snapshot, None),
        None => cold::first_boot(context, &store, &machine).map(|(snapshot, pin)| (snapshot, Some(pin)))?,
    };
    let voucher = artifacts.voucher.clone();
    let pins = Pins::of(artifacts, pin);
    let files = Files { machine: Some(machine), snapshot: Some(snapshot), voucher, pins };
    match &request.session {
        SessionPolicy::Named(name) => Plan::in_session(context, request, files, mode, (name, Some(&image))),
        SessionPolicy::Never => Plan::without_session(context, request, files, mode),
        SessionPolicy::Automatic if is_plain(request, mode) && !store.is_temporary() => {
            tell_of_earlier(context, &store, &image)?;
            let name = image.session();
            match Plan::in_session(context, request, files, mode, (&name, Some(&image))) {
                Err(Error::SessionInUse { .. }) => {
                    context.notice(Notice::SessionInUse { session: &name });
                    plan(context, &RunRequest { session: SessionPolicy::Never, ..request.clone() }, text, mode)
                }
                plan => plan,
            }
        }
        SessionPolicy::Automatic => Plan::without_session(context, request, files, mode),
    }
}

/// Whether a person runs it at a terminal, and has said nothing of its program.
fn is_plain(request: &RunRequest, mode: Mode) -> bool {
    let devices = &request.devices;
    let nothing_said = request.program.given().is_none() && devices.disks.is_empty() && devices.shares.is_empty();
    mode == Mode::Tty && request.mode.is_none() && request.clock == ClockSource::Host && nothing_said && request.aid.is_none()
}

/// Tells of sessions of what the reference named before.
fn tell_of_earlier(context: &Context, store: &Store, image: &Resolved) -> Result<()> {
    for session in Sessions::of(store)?.list()? {
        let is_earlier = session.origin.reference.as_ref() == Some(&image.reference) && session.origin.image != Some(image.digest);
        if is_earlier {
            context.notice(Notice::NewerImage { reference: &image.reference, session: &session.name });
        }
    }
    Ok(())
}

/// Makes sure that what the reference names is in the store: what was baked, or else a machine that is made of the image.
fn ensure(context: &Context, request: &RunRequest, store: &Store, text: &str) -> Result<(Resolved, VmArtifacts)> {
    let artifacts = match oci::ensure_in(context, store, text, &request.pull) {
        Err(Error::Oci(error)) if matches!(*error, OciError::NotPrebaked { .. }) => {
            convert_image(context, store, text)?;
            let options = oci::PullOptions { offline: true, ..request.pull };
            oci::ensure_in(context, store, text, &options)?
        }
        artifacts => artifacts?,
    };
    let (reference, digest) = (artifacts.reference.clone(), artifacts.digest);
    let entry = store.entry(&reference)?.filter(|entry| entry.digest == digest);
    let (code, signatures) = entry.map(|entry| (entry.code, entry.signatures)).unwrap_or_default();
    Ok((Resolved { reference, digest, code, signatures }, artifacts))
}

/// Makes a machine of an ordinary container image, and puts it into the store as what the reference names.
fn convert_image(context: &Context, store: &Store, text: &str) -> Result<()> {
    let _shared = store.share()?;
    let reference = oci::reference(text)?;
    let name = reference.whole();
    let digest = oci::digest_of(context, &reference)?;
    context.notice(Notice::OrdinaryImage { reference: &name });
    // Others who want the same wait here, and find it made.
    let _claim: Lock = store.claim(digest)?;
    if store.entry(&name)?.is_some_and(|entry| entry.digest == digest && store.file(entry.machine.layer, entry.format.ending()).exists()) {
        return Ok(());
    }
    let made = store.partial(digest).with_extension("wasm");
    // What was asked for may have moved on since.
    let fixed = Reference::with_digest(reference.registry().into(), reference.repository().into(), digest.to_string());
    convert::convert(context, &Conversion::of_image(&fixed.whole(), &made))?;
    let read = |source| Error::Read { what: "machine", path: made.clone(), source };
    let layer = Sha256::of_file(&File::open(&made).map_err(read)?).map_err(read)?;
    let bytes = fs::metadata(&made).map_err(read)?.len();
    store.admit(&made, &store.file(layer, CodeFormat::Wasm.ending()))?;
    store.note(&Entry {
        reference: name,
        digest,
        machine: StoredFile { layer, bytes },
        format: CodeFormat::Wasm,
        target: None,
        code: None,
        snapshot: None,
        signatures: Vec::new(),
        pulled: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |age| age.as_secs()),
    })
}
