//! What has been pulled, on this host: machines by their digests, snapshots by those of the layers that they came as, and what references named.
//!
//! A file is verified before it takes its name, is never written again, and goes only when nothing names it and nobody has it open: whoever
//! uses a file has it locked. `lock` is shared by all who add or take something, and alone for who removes.
//!
//! ```text
//! lock                   see above
//! references/DIGEST      what a reference named, as JSON; the name is the digest of the reference
//! files/DIGEST.aot|wasm  a machine
//! files/LAYER.snap       a snapshot, unpacked
//! files/DIGEST.snap      of a machine: the snapshot that was made of it here, if it came without
//! partial/LAYER          what has come of a layer that is being fetched
//! partial/LAYER.lock     held by who fetches it
//! sessions/              see there
//! ```

mod entry;
mod lock;

pub use entry::{Entry, ResizedMachine, SNAPSHOT_ENDING, StoredFile, file_name};
pub use lock::{Lock, Sharing};

use crate::context::Context;
use crate::distribution::oci::Sha256;
use crate::error::{Error, Result};
use crate::host::file::ledger::{Ledger, Stamp};
use crate::host::file::{atomic, is_writable, only_owner_writes, private_folder};
use crate::observer::Notice;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tracing::debug;

/// A store.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    ledger: Ledger,
    context: Context,
}

/// What a [`Store::prune`] did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Files that are gone.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Files that nothing names, but that someone has in use.
    pub in_use: usize,
}

impl Store {
    /// That of `context`. It is made if it is not there.
    pub fn open(context: &Context) -> Result<Self> {
        Self::at(context, context.folders().store.clone().ok_or(Error::NoStore)?)
    }

    fn at(context: &Context, root: PathBuf) -> Result<Self> {
        let store = Self { root, ledger: context.ledger(), context: context.clone() };
        for name in ["references", "files", "partial"] {
            store.folder(name)?;
        }
        debug!(target: "prebake::store", folder = %store.root.display(), "opened");
        Ok(store)
    }

    /// That of `context` for a run: if it cannot be written, one that goes with the process, with what is in it.
    pub fn open_for_run(context: &Context) -> Result<Self> {
        if let Ok(store) = Self::open(context)
            && ["", "references", "files", "partial"].into_iter().all(|name| is_writable(&store.root.join(name)))
        {
            return Ok(store);
        }
        let root = context.temporary_store()?;
        let temporary = Self::at(context, root.into())?;
        if let Some(own) = context.folders().store.as_deref().filter(|own| only_owner_writes(own)) {
            temporary.borrow(own).map_err(|source| Error::Write { path: root.into(), source })?;
        }
        Ok(temporary)
    }

    /// Takes over what another store has: what references name as copies, files as links.
    fn borrow(&self, other: &Path) -> io::Result<()> {
        let names = |folder: &str| fs::read_dir(other.join(folder)).into_iter().flatten().flatten().map(|entry| entry.file_name());
        for name in names("references") {
            let place = self.root.join("references").join(&name);
            if !place.exists() {
                fs::copy(other.join("references").join(&name), place)?;
            }
        }
        for name in names("files") {
            match symlink(other.join("files").join(&name), self.root.join("files").join(&name)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether it goes with the process.
    pub fn is_temporary(&self) -> bool {
        self.context.folders().store.as_deref() != Some(&self.root)
    }

    /// The folder `name` in it, which is made if it is not there.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        private_folder(self.root.join(name)).ok_or(Error::NoStore)
    }

    /// What it remembers of files that it has verified.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Keeps all that is there from being removed.
    pub fn share(&self) -> Result<Lock> {
        self.lock(&self.root.join("lock"), Sharing::Shared, Notice::WaitingForPrune)
    }

    /// Claims a layer, so that of several who want it one fetches it.
    pub fn claim(&self, layer: Sha256) -> Result<Lock> {
        let path = self.partial(layer).with_extension("lock");
        self.lock(&path, Sharing::Alone, Notice::WaitingForOther)
    }

    fn lock(&self, path: &Path, sharing: Sharing, waiting: Notice<'static>) -> Result<Lock> {
        let mut waiting = Some(waiting);
        let goes_on = || {
            if let Some(notice) = waiting.take() {
                self.context.notice(notice);
            }
            // Whoever has it may wait for a registry that does not answer.
            !self.context.observer().is_cancelled()
        };
        let lock = Lock::wait(path, sharing, goes_on).map_err(|source| Error::Write { path: path.into(), source })?;
        lock.ok_or(Error::Cancelled)
    }

    /// Where what has come of a layer is kept.
    pub fn partial(&self, layer: Sha256) -> PathBuf {
        self.root.join("partial").join(layer.digits())
    }

    /// Opens what has come of a claimed layer.
    pub fn open_partial(&self, layer: Sha256) -> Result<File> {
        let path = self.partial(layer);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        file.map_err(|source| Error::Write { path, source })
    }

    /// Where a file is, or would be.
    pub fn file(&self, layer: Sha256, ending: &str) -> PathBuf {
        self.root.join("files").join(file_name(layer, ending))
    }

    /// Where the file of this name is, or would be.
    pub fn named(&self, name: &str) -> PathBuf {
        // The name may be anyone's word, so it is no way to anywhere else.
        self.root.join("files").join(Path::new(name).file_name().unwrap_or_default())
    }

    /// Gives `file`, which is complete and verified at `from`, its place in the store for good. Returns who it is there.
    pub fn admit(&self, from: &Path, place: &Path) -> Result<Option<Stamp>> {
        let admit = || {
            let file = File::open(from)?;
            file.set_permissions(Permissions::from_mode(0o444))?;
            file.sync_all()?;
            fs::rename(from, place)?;
            File::open(place.parent().unwrap_or(place))?.sync_all()?;
            debug!(target: "prebake::store", file = %place.display(), "admitted");
            Ok(Stamp::of(&file))
        };
        admit().map_err(|source| Error::Write { path: place.into(), source })
    }

    /// Locks a file, so that it stays as long as the lock does; `None` if it is not there.
    pub fn pin(&self, place: &Path) -> Result<Option<Lock>> {
        let error = |source| Error::Read { what: "file of the store", path: place.into(), source };
        match File::open(place) {
            Ok(file) => Lock::attempt(file, Sharing::Shared).map_err(error),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(error(source)),
        }
    }

    /// Removes a file that is not what it should be.
    pub fn discard(&self, place: &Path) -> Result<()> {
        debug!(target: "prebake::store", file = %place.display(), "discarded: it is not what it should be");
        fs::remove_file(place).map_err(|source| Error::Write { path: place.into(), source })
    }

    fn entry_path(&self, reference: &str) -> PathBuf {
        self.root.join("references").join(Sha256::of(reference.as_bytes()).digits())
    }

    /// What a reference named when it was last asked for.
    pub fn entry(&self, reference: &str) -> Result<Option<Entry>> {
        let path = self.entry_path(reference);
        match fs::read(&path) {
            // What cannot be understood was written by another prebake: it is asked for again.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok().filter(|entry: &Entry| entry.reference == reference)),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Read { what: "store's note of a reference", path, source }),
        }
    }

    /// All references, sorted. One that is not understood is an error: nobody knows what it names.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        for path in list(&self.root.join("references"))? {
            let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
            entries.push(read.map_err(|source| Error::Read { what: "store's note of a reference", path, source })?);
        }
        entries.sort_by(|a, b| a.reference.cmp(&b.reference));
        Ok(entries)
    }

    /// Notes what a reference names.
    pub fn note(&self, entry: &Entry) -> Result<()> {
        debug!(target: "prebake::store", reference = entry.reference, digest = %entry.digest, "noted");
        // A struct of text and numbers has a form in JSON.
        atomic::write(&self.entry_path(&entry.reference), &serde_json::to_vec(entry).unwrap_or_default())
    }

    /// Forgets what a reference named; whether there was anything.
    pub fn forget(&self, reference: &str) -> Result<bool> {
        let path = self.entry_path(reference);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(Error::Write { path, source }),
        }
    }

    /// Removes files that no reference names and nobody uses, except those that `needed` names, and what is left of layers that were not fetched to
    /// their end.
    pub fn prune(&self, needed: impl FnOnce() -> Result<Vec<String>>) -> Result<Pruned> {
        let _alone = self.lock(&self.root.join("lock"), Sharing::Alone, Notice::WaitingForUsers)?;
        let names = self.entries()?.iter().flat_map(Entry::files).chain(needed()?).collect::<BTreeSet<String>>();
        let named: BTreeSet<PathBuf> = names.into_iter().map(|name| self.root.join("files").join(name)).collect();
        let mut pruned = Pruned::default();
        let unnamed = list(&self.root.join("files"))?.into_iter().filter(|path| !named.contains(path));
        for path in unnamed.chain(list(&self.root.join("partial"))?) {
            let error = |source| Error::Write { path: path.clone(), source };
            let file = File::open(&path).map_err(error)?;
            let bytes = file.metadata().map_err(error)?.len();
            let Some(_held) = Lock::attempt(file, Sharing::Alone).map_err(error)? else {
                pruned.in_use += 1;
                continue;
            };
            fs::remove_file(&path).map_err(error)?;
            debug!(target: "prebake::store", file = %path.display(), bytes, "removed");
            if path.extension().is_none_or(|ending| ending != "lock") {
                pruned.files += 1;
                pruned.bytes += bytes;
            }
        }
        Ok(pruned)
    }
}

/// What is in a folder, sorted; without what is hidden, which is being written.
fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
    let mut paths = read().map_err(|source| Error::Read { what: "store's folder", path: folder.into(), source })?;
    paths.retain(|path| path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b".")));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Folders;
    use crate::distribution::oci::CodeFormat;
    use crate::observer::{Observer, Progress};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Context::silent(Folders::below(folder.path(), Path::new("")))).unwrap();
        (folder, store)
    }

    /// A machine in the store that `reference` names.
    fn kept(store: &Store, reference: &str, content: &[u8]) -> (Entry, PathBuf) {
        let layer = Sha256::of(content);
        let place = store.file(layer, "aot");
        fs::write(store.partial(layer), content).unwrap();
        store.admit(&store.partial(layer), &place).unwrap();
        let machine = StoredFile { layer, bytes: content.len() as u64 };
        let entry = Entry {
            reference: reference.into(),
            digest: layer,
            machine,
            format: CodeFormat::Aot,
            target: None,
            code: None,
            restores_only: false,
            snapshot: None,
            signatures: Vec::new(),
            pulled: 0,
            resized: Vec::new(),
        };
        store.note(&entry).unwrap();
        (entry, place)
    }

    #[test]
    fn what_is_admitted_is_not_written_again() {
        let (_folder, store) = store();
        let (entry, place) = kept(&store, "r/x:1", b"machine");
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o444);
        assert!(!store.partial(entry.machine.layer).exists());
        assert_eq!(store.entry("r/x:1").unwrap(), Some(entry.clone()));
        assert_eq!((store.entry("r/x:2").unwrap(), store.entries().unwrap()), (None, vec![entry]));
    }

    #[test]
    fn only_what_nothing_names_is_pruned() {
        let (_folder, store) = store();
        let (_, named) = kept(&store, "r/x:1", b"named");
        let (_, moved) = kept(&store, "r/x:2", b"before the tag moved");
        let (_, now) = kept(&store, "r/x:2", b"after it");
        fs::write(store.partial(Sha256::of(b"half")), b"ha").unwrap();
        drop(store.claim(Sha256::of(b"half")).unwrap());
        let bytes = b"before the tag moved".len() as u64 + 2;
        assert_eq!(store.prune(|| Ok(Vec::new())).unwrap(), Pruned { files: 2, bytes, in_use: 0 });
        assert!(named.exists() && now.exists() && !moved.exists());
        assert!(list(&store.root.join("partial")).unwrap().is_empty());
        assert!(store.forget("r/x:1").unwrap() && !store.forget("r/x:1").unwrap());
        assert_eq!(store.prune(|| Ok(Vec::new())).unwrap().files, 1);
        assert!(!named.exists());
    }

    #[test]
    fn what_is_in_use_is_not_pruned() {
        let (_folder, store) = store();
        let (_, place) = kept(&store, "r/x:1", b"machine");
        let pins = [store.pin(&place).unwrap().unwrap(), store.pin(&place).unwrap().unwrap()];
        store.forget("r/x:1").unwrap();
        assert_eq!(store.prune(|| Ok(Vec::new())).unwrap(), Pruned { files: 0, bytes: 0, in_use: 1 });
        assert!(place.exists());
        drop(pins);
        assert_eq!(store.prune(|| Ok(Vec::new())).unwrap().files, 1);
        assert!(store.pin(&place).unwrap().is_none());
    }

    #[test]
    fn who_waits_for_another_that_is_slow_can_give_up() {
        /// Gives up once it is told that it waits.
        #[derive(Default)]
        struct Impatient(AtomicBool);
        impl Observer for Impatient {
            fn notice(&self, notice: &Notice<'_>) {
                assert!(matches!(notice, Notice::WaitingForOther | Notice::WaitingForPrune));
                assert!(!self.0.swap(true, Ordering::Relaxed), "told twice");
            }
            fn progress(&self, _progress: &Progress<'_>) {}
            fn is_cancelled(&self) -> bool {
                self.0.load(Ordering::Relaxed)
            }
        }
        let (folder, store) = store();
        let waiting = || {
            let folders = Folders::below(folder.path(), Path::new(""));
            Store::open(&Context::new(folders, Arc::new(Impatient::default()))).unwrap()
        };
        let layer = Sha256::of(b"slow");
        let claim = store.claim(layer).unwrap();
        assert!(matches!(waiting().claim(layer), Err(Error::Cancelled)));
        drop(claim);
        drop(waiting().claim(layer).unwrap());
        let _prunes = store.lock(&store.root.join("lock"), Sharing::Alone, Notice::WaitingForUsers).unwrap();
        assert!(matches!(waiting().share(), Err(Error::Cancelled)));
    }

    #[test]
    fn a_note_that_is_not_understood_is_none() {
        let (_folder, store) = store();
        let (entry, _) = kept(&store, "r/x:1", b"machine");
        fs::write(store.entry_path("r/x:1"), "{").unwrap();
        assert_eq!(store.entry("r/x:1").unwrap(), None);
        assert_eq!(store.prune(|| Ok(Vec::new())).unwrap_err().kind(), "unreadable");
        fs::write(store.entry_path("r/x:1"), serde_json::to_vec(&Entry { reference: "other".into(), ..entry }).unwrap()).unwrap();
        assert_eq!(store.entry("r/x:1").unwrap(), None);
    }
}
