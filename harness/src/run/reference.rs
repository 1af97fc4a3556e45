//! What a reference names: what was baked, an image that is made a machine here, and the sessions of both.

use super::plan::{Files, Pins, Plan};
use super::{RunRequest, SessionPolicy, cold, named};
use crate::context::Context;
use crate::distribution::oci::{Coming, Found, Sha256, VmArtifacts};
use crate::distribution::store::Store;
use crate::distribution::trust::Signature;
use crate::error::{Error, Result};
use crate::machine::{ClockSource, EngineKind};
use crate::observer::Notice;
use crate::session::Sessions;
use protocol::Mode;

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
    /// The memory in MiB that was asked for.
    memory: Option<u32>,
}

impl Resolved {
    /// What the store knows of these files.
    fn of(store: &Store, artifacts: &VmArtifacts, memory: Option<u32>) -> Result<Self> {
        let (reference, digest) = (artifacts.reference.clone(), artifacts.digest);
        let entry = store.entry(&reference)?.filter(|entry| entry.digest == digest);
        let (code, signatures) = entry.map(|entry| (entry.code, entry.signatures)).unwrap_or_default();
        Ok(Self { reference, digest, code, signatures, memory })
    }

    /// What is known of files that are on their way.
    fn coming(coming: &Coming) -> Self {
        let (reference, code, signatures) = (coming.reference().into(), coming.code().into(), coming.signatures().to_vec());
        Self { reference, digest: coming.digest(), code: Some(code), signatures, memory: None }
    }

    /// The name of the session that a person has who runs it without more ado: another one for each document, and for each amount of memory.
    fn session(&self) -> String {
        let name = self.reference.rsplit('/').next().unwrap_or_default();
        let name = name.split('@').next().unwrap_or_default();
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let name: String = name.chars().take(64).map(|c| if fits(c) { c } else { '-' }).collect();
        let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        let memory = self.memory.map_or(String::new(), |memory| format!("-{memory}m"));
        let digits = &self.digest.digits()[..12];
        if name.is_empty() { format!("{digits}{memory}") } else { format!("{name}-{digits}{memory}") }
    }
}

/// Plans a run of what the reference `text` names.
pub fn plan(context: &Context, request: &RunRequest, text: &str, mode: Mode) -> Result<Plan> {
    let store = Store::open_for_run(context)?;
    let (image, files) = match find(context, &store, request, text)? {
        Found::Here(artifacts) => here(context, &store, request, artifacts)?,
        Found::Coming(coming) => {
            let snapshot = Some(coming.place().to_owned());
            let image = Resolved::coming(&coming);
            (image, Files { machine: None, snapshot, coming: Some(coming), voucher: None, pins: Pins::default() })
        }
    };
    match &request.session {
        SessionPolicy::Named(name) | SessionPolicy::Visited(name) => Plan::in_session(context, request, files, mode, (name, Some(&image))),
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

/// Finds what `text` names. What is to be looked at as a whole comes whole, and so does what WAMR is to run: the native engine needs none of the code.
fn find(context: &Context, store: &Store, request: &RunRequest, text: &str) -> Result<Found> {
    let is_whole = request.memory.is_some() || request.verify || request.engine == Some(EngineKind::Wamr) || store.is_temporary();
    if is_whole {
        return named::ensure_in(context, store, text, &request.pull).map(Found::Here);
    }
    named::begin_in(context, store, text, &request.pull)
}

/// The files of what is in the store.
fn here(context: &Context, store: &Store, request: &RunRequest, artifacts: VmArtifacts) -> Result<(Resolved, Files)> {
    let artifacts = match request.memory {
        Some(memory) => named::with_memory(context, store, artifacts, (memory, &request.pull))?,
        None => artifacts,
    };
    let image = Resolved::of(store, &artifacts, request.memory)?;
    let machine = artifacts.wasm_file.clone();
    let (snapshot, pin) = match artifacts.snapshot_file.clone() {
        Some(snapshot) => (snapshot, None),
        None => cold::first_boot(context, store, &machine).map(|(snapshot, pin)| (snapshot, Some(pin)))?,
    };
    let voucher = artifacts.voucher.clone();
    let pins = Pins::of(artifacts, pin);
    Ok((image, Files { machine: Some(machine), snapshot: Some(snapshot), coming: None, voucher, pins }))
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
