//! Images and sessions: what is fetched, what is there, and what may go.

use crate::border::{address, enter, for_c, given, optional, text};
use crate::error::{Failure, hand};
use prebake::context::{Context, Folders};
use prebake::distribution::oci::VmArtifacts;
use prebake::network::Network;
use prebake::observer::{self, Notice, Observer};
use prebake::service::spec::pull_options;
use prebake::service::{self, Cancel};
use std::ffi::{CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::Arc;

/// Images and sessions in a folder. Several threads may use it at a time.
pub struct Prebake {
    context: Context,
}

impl Prebake {
    /// For work that tells `observer`.
    pub fn context(&self, observer: impl Observer + 'static) -> Context {
        self.context.clone().with_observer(Arc::new(observer))
    }
}

/// Where files lie, and how registries are reached. Set all of it to zero first.
#[repr(C)]
pub struct Options {
    /// Everything that is written lies below this folder. Sessions have what was typed and shown: leave it out of backups that others read.
    folder: *const c_char,
    /// A folder with machine.wasm, vmlinux and initramfs.cpio, as prebake is installed. Without it, or if it is NULL, only pre-baked images can be run.
    shipped: *const c_char,
    /// A file with certificates (PEM) that are trusted besides this host's, or NULL.
    authorities: *const c_char,
    /// A file with credentials for registries, as docker and podman write it, or NULL.
    credentials: *const c_char,
    /// Registries are reached without TLS.
    plain_http: bool,
}

/// How far something has come.
#[repr(C)]
pub struct Progress {
    /// What is being done: "pull", "unpack-snapshot", "compile", "boot" and so on, as `prebake serve` calls it.
    task: *const c_char,
    /// How much is done.
    done: u64,
    /// How much there is to do, or 0 if that is not known.
    total: u64,
    /// The task has ended, with success or not.
    ended: bool,
}

/// Hears how far something has come, several times a second at most, on the thread that does it.
pub type OnProgress = Option<extern "C" fn(user: *mut c_void, progress: *const Progress)>;

/// What C gives to have it back. C sees to it that threads may use it.
#[derive(Clone, Copy)]
pub struct User(pub *mut c_void);

// SAFETY: it is not looked at here, and the header says on which threads C gets it back.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

/// Tells C how far something has come.
pub fn tell_progress(on_progress: OnProgress, user: User, progress: &observer::Progress<'_>) {
    if let Some(tell) = on_progress {
        let task = for_c(progress.task.name());
        let progress = Progress { task: task.as_ptr(), done: progress.done, total: progress.total.unwrap_or(0), ended: progress.ended };
        tell(user.0, &progress);
    }
}

struct Told(OnProgress, User);

impl Observer for Told {
    fn notice(&self, _notice: &Notice<'_>) {}

    fn progress(&self, progress: &observer::Progress<'_>) {
        tell_progress(self.0, self.1, progress);
    }
}

/// Gives up what is being done with it, from any thread.
#[derive(Default)]
pub struct Token(Cancel);

/// How an image is fetched. NULL is the same as all of it zero.
#[repr(C)]
pub struct EnsureOptions {
    /// No registry is asked.
    offline: bool,
    /// A public key (PEM) that must have signed the image, or NULL.
    verify_key: *const c_char,
    /// Hears how far it has come, or NULL.
    on_progress: OnProgress,
    /// What that is called with.
    user: *mut c_void,
    /// What gives it up, or NULL.
    cancel: *const Token,
}

impl Default for EnsureOptions {
    fn default() -> Self {
        Self { offline: false, verify_key: ptr::null(), on_progress: None, user: ptr::null_mut(), cancel: ptr::null() }
    }
}

/// The files of a machine. They stay in the store until it is freed.
pub struct Artifacts {
    machine: CString,
    snapshot: Option<CString>,
    reference: CString,
    digest: CString,
    _kept: VmArtifacts,
}

impl From<VmArtifacts> for Artifacts {
    fn from(found: VmArtifacts) -> Self {
        let path = |path: &Path| for_c(path.as_os_str().as_bytes());
        Self {
            machine: path(&found.wasm_file),
            snapshot: found.snapshot_file.as_deref().map(path),
            reference: for_c(found.reference.as_str()),
            digest: for_c(found.digest.to_string()),
            _kept: found,
        }
    }
}

/// An image in the store. Its texts are valid until the function that gets it returns.
#[repr(C)]
pub struct Image {
    /// The reference in full.
    reference: *const c_char,
    /// Names this version of the image for ever.
    digest: *const c_char,
    /// The processor of its native code, or "wasm".
    target: *const c_char,
    /// Bytes of the machine.
    machine_bytes: u64,
    /// Bytes of the snapshot, or 0 if there is none.
    snapshot_bytes: u64,
    /// When it was pulled, in seconds since 1970.
    pulled: u64,
}

/// A session. Its texts are valid until the function that gets it returns.
#[repr(C)]
pub struct Session {
    /// Its name.
    name: *const c_char,
    /// The reference, or the file, that it is of.
    of: *const c_char,
    /// When it began, in seconds since 1970.
    began: u64,
    /// When it was saved last, in seconds since 1970, or 0 if it never was.
    kept: u64,
    /// Bytes that it takes on the disk.
    bytes: u64,
    /// A process runs it.
    running: bool,
}

/// What was removed from the store.
#[repr(C)]
pub struct Pruned {
    /// Files that were removed.
    files: u64,
    /// Bytes of them.
    bytes: u64,
    /// Files that were not, since they are in use.
    in_use: u64,
}

/// Opens the images and sessions in a folder; several programs may have the same one open. NULL if that fails.
///
/// Where `error` is not NULL, here and below, a function that fails writes an error there, which is to be freed.
///
/// # Safety
/// The texts end in NUL characters, and an error can be written where `error` points.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prebake_open(options: Option<&Options>, error: *mut *mut Failure) -> Option<Box<Prebake>> {
    let opened = enter(|| {
        let options = given("options", options)?;
        // SAFETY: as the caller vouches.
        let [folder, shipped, authorities, credentials] = unsafe {
            [
                Some(text("folder", options.folder)?),
                optional("shipped", options.shipped)?,
                optional("authorities", options.authorities)?,
                optional("credentials", options.credentials)?,
            ]
        }
        .map(|path| path.map(Path::new));
        let folder = folder.filter(|folder| folder.is_absolute());
        let folder = folder.ok_or_else(|| Failure::invalid(format_args!("folder is not an absolute path")))?;
        let files = |file: Option<&Path>| file.map(Path::to_path_buf).into_iter().collect();
        let network = Network {
            plain_http: options.plain_http,
            authorities: files(authorities),
            credentials: files(credentials),
            ..Network::default()
        };
        let folders = Folders::below(folder, shipped.unwrap_or(Path::new("")));
        Ok(Some(Box::new(Prebake { context: Context::silent(folders).with_network(network) })))
    });
    // SAFETY: as the caller vouches.
    unsafe { hand(opened, None, error) }
}

/// Closes it; NULL is none. Machines that were started with it run on.
#[unsafe(no_mangle)]
pub extern "C" fn prebake_close(prebake: Option<Box<Prebake>>) {
    drop(prebake);
}

/// A new one. It may be used for several things one after another, until it has been cancelled.
#[unsafe(no_mangle)]
pub extern "C" fn prebake_cancel_new() -> Box<Token> {
    Box::default()
}

/// Gives up what is being done with it: that fails soon, with the kind "cancelled". What has come so far is kept.
#[unsafe(no_mangle)]
pub extern "C" fn prebake_cancel_now(cancel: &Token) {
    cancel.0.cancel();
}

/// Frees it, once nothing is being done with it; NULL is none.
#[unsafe(no_mangle)]
pub extern "C" fn prebake_cancel_free(cancel: Option<Box<Token>>) {
    drop(cancel);
}

/// Makes sure that what a reference names now is in the store, every byte of it verified, and returns its files. It asks the registry, which is one small
/// question if nothing has changed; if the registry cannot be reached, what was pulled before is returned. What was cut off or given up goes on where it was the
/// next time. NULL if it fails.
///
/// # Safety
/// The texts end in NUL characters, and an error can be written where `error` points.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prebake_ensure(
    prebake: &Prebake,
    reference: *const c_char,
    options: Option<&EnsureOptions>,
    error: *mut *mut Failure,
) -> Option<Box<Artifacts>> {
    let found = enter(|| {
        // SAFETY: as the caller vouches.
        let reference = unsafe { text("reference", reference)? };
        let usual = EnsureOptions::default();
        let options = options.unwrap_or(&usual);
        // SAFETY: as the caller vouches.
        let (key, token) = unsafe { (optional("verify_key", options.verify_key)?, options.cancel.as_ref()) };
        let cancel = token.map(|token| token.0.clone()).unwrap_or_default();
        let context = prebake.context(Told(options.on_progress, User(options.user)));
        let found = service::ensure(&context, reference, &pull_options(options.offline, key)?, &cancel)?;
        Ok(Some(Box::new(found.into())))
    });
    // SAFETY: as the caller vouches.
    unsafe { hand(found, None, error) }
}

/// The machine's path. Valid, as are the texts below, until the artifacts are freed.
#[unsafe(no_mangle)]
pub extern "C" fn prebake_artifacts_machine(artifacts: &Artifacts) -> *const c_char {
    artifacts.machine.as_ptr()
}

/// The path of its snapshot. NULL if the image was not pre-baked: such a machine boots once, when it is first started, and is saved then.
#[unsafe(no_mangle)]
pub extern "C" fn prebake_artifacts_snapshot(artifacts: &Artifacts) -> *const c_char {
    address(artifacts.snapshot.as_ref())
}

/// The reference in full.
#[unsafe(no_mangle)]
pub extern "C" fn prebake_artifacts_reference(artifacts: &Artifacts) -> *const c_char {
    artifacts.reference.as_ptr()
}

/// What names this version of the image for ever.
#[unsafe(no_mangle)]
pub extern "C" fn prebake_artifacts_digest(artifacts: &Artifacts) -> *const c_char {
    artifacts.digest.as_ptr()
}

/// Frees artifacts, whose files may leave the store then; NULL is none.
#[unsafe(no_mangle)]
pub extern "C" fn prebake_artifacts_free(artifacts: Option<Box<Artifacts>>) {
    drop(artifacts);
}

/// Calls `each` for each image in the store, by reference, before it returns. Returns whether that worked.
///
/// # Safety
/// An error can be written where `error` points.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prebake_images(
    prebake: &Prebake,
    each: extern "C" fn(user: *mut c_void, image: *const Image),
    user: *mut c_void,
    error: *mut *mut Failure,
) -> bool {
    let listed = enter(|| {
        for image in service::store::images(&prebake.context)? {
            let (reference, digest, target) = (for_c(image.reference), for_c(image.digest), for_c(image.target));
            let image = Image {
                reference: reference.as_ptr(),
                digest: digest.as_ptr(),
                target: target.as_ptr(),
                machine_bytes: image.machine_bytes,
                snapshot_bytes: image.snapshot_bytes.unwrap_or(0),
                pulled: image.pulled,
            };
            each(user, &image);
        }
        Ok(true)
    });
    // SAFETY: as the caller vouches.
    unsafe { hand(listed, false, error) }
}

/// Calls `each` for each session, by name, before it returns. Returns whether that worked.
///
/// # Safety
/// An error can be written where `error` points.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prebake_sessions(
    prebake: &Prebake,
    each: extern "C" fn(user: *mut c_void, session: *const Session),
    user: *mut c_void,
    error: *mut *mut Failure,
) -> bool {
    let listed = enter(|| {
        for session in service::store::sessions(&prebake.context)? {
            let (name, of) = (for_c(session.name), for_c(session.of));
            let session = Session {
                name: name.as_ptr(),
                of: of.as_ptr(),
                began: session.began,
                kept: session.kept.unwrap_or(0),
                bytes: session.bytes,
                running: session.running,
            };
            each(user, &session);
        }
        Ok(true)
    });
    // SAFETY: as the caller vouches.
    unsafe { hand(listed, false, error) }
}

/// Ends a session for good. Returns whether that worked.
///
/// # Safety
/// The text ends in a NUL character, and an error can be written where `error` points.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prebake_session_remove(prebake: &Prebake, name: *const c_char, error: *mut *mut Failure) -> bool {
    // SAFETY: as the caller vouches.
    let removed = enter(|| Ok(service::store::remove_session(&prebake.context, unsafe { text("name", name)? }).map(|()| true)?));
    // SAFETY: as the caller vouches.
    unsafe { hand(removed, false, error) }
}

/// Forgets an image, or none if `reference` is NULL, and removes every file that no other image, no session and no machine that runs needs. Returns whether
/// that worked.
///
/// # Safety
/// The text ends in a NUL character; what was removed, if that is wanted, and an error can be written where `pruned` and `error` point.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prebake_prune(
    prebake: &Prebake,
    reference: *const c_char,
    pruned: Option<&mut Pruned>,
    error: *mut *mut Failure,
) -> bool {
    let done = enter(|| {
        // SAFETY: as the caller vouches.
        let references: Vec<String> = unsafe { optional("reference", reference)? }.map(str::to_owned).into_iter().collect();
        let removed = service::store::prune(&prebake.context, &references)?;
        if let Some(pruned) = pruned {
            *pruned = Pruned { files: removed.files as u64, bytes: removed.bytes, in_use: removed.in_use as u64 };
        }
        Ok(true)
    });
    // SAFETY: as the caller vouches.
    unsafe { hand(done, false, error) }
}
