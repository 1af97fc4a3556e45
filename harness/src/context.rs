//! What the library is handed before it does anything: where files lie, how registries are reached, and who hears of its work.

use crate::error::{Error, Result};
use crate::host::file::ledger::Ledger;
use crate::host::file::{lies_below, only_owner_writes, only_owner_writes_file, private_folder};
use crate::network::{Network, Resolver};
use crate::observer::{Notice, Observer, Silent};
use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tempfile::TempDir;

/// The folders of a store with files that are used where they are.
const STORED: [&str; 2] = ["files", "sessions"];

/// Where files lie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folders {
    /// What was pulled, and sessions. Without one nothing can be pulled or kept.
    pub store: Option<PathBuf>,
    /// What can be made again: compiled code, and what is known of files that were verified. It counts only if nobody else can write to it.
    pub cache: Option<PathBuf>,
    /// What the user trusts.
    pub configuration: Option<PathBuf>,
    /// What prebake is shipped with: `machine.wasm`, `vmlinux`, `initramfs.cpio`, `prebake-wamrc`.
    pub shipped: PathBuf,
    /// Files that go with the process.
    pub temporary: PathBuf,
}

impl Folders {
    /// Everything that is written lies below `root`; `shipped` is what prebake is shipped with.
    pub fn below(root: &Path, shipped: &Path) -> Self {
        Self {
            store: Some(root.join("store")),
            cache: Some(root.join("cache")),
            configuration: Some(root.join("configuration")),
            shipped: shipped.into(),
            temporary: root.join("temporary"),
        }
    }

    /// Those below one of `places` whose files are trusted later; all paths are without symbolic links. One that is not there is made: nobody else is to
    /// make it.
    pub(crate) fn trusted_below(&self, places: &[&Path]) -> Vec<PathBuf> {
        let is_below = |folder: &&PathBuf| {
            let known = folder.ancestors().find_map(|known| known.canonicalize().ok());
            known.is_some_and(|known| places.iter().any(|place| known.starts_with(place)))
        };
        let folders = [&self.store, &self.cache, &self.configuration].into_iter().flatten().filter(is_below);
        folders.filter_map(|folder| private_folder(folder.clone()).unwrap_or_else(|| folder.clone()).canonicalize().ok()).collect()
    }
}

/// What everything is done with. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    folders: Arc<Folders>,
    observer: Arc<dyn Observer>,
    network: Arc<Network>,
    resolver: Option<Arc<dyn Resolver>>,
    /// What has been told once, and is not to be told again.
    told: Arc<Mutex<BTreeSet<String>>>,
    /// See [`Context::temporary_store`].
    store: Arc<OnceLock<TempDir>>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("folders", &self.folders).finish_non_exhaustive()
    }
}

impl Context {
    /// Works in these folders, and tells this observer.
    pub fn new(folders: Folders, observer: Arc<dyn Observer>) -> Self {
        Self { folders: Arc::new(folders), observer, network: Arc::default(), resolver: None, told: Arc::default(), store: Arc::default() }
    }

    /// The same, and tells nobody.
    pub fn silent(folders: Folders) -> Self {
        Self::new(folders, Arc::new(Silent))
    }

    /// The same, and reaches registries like this.
    pub fn with_network(self, network: Network) -> Self {
        Self { network: Arc::new(network), ..self }
    }

    /// The same, and has names of hosts looked up by `resolver`: registries' and those that guests ask for.
    pub fn with_resolver(self, resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver: Some(resolver), ..self }
    }

    /// The same with another observer.
    pub fn with_observer(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer, ..self }
    }

    /// The same with another observer, made of the one that there is.
    pub(crate) fn observed_by(self, observer: impl FnOnce(Arc<dyn Observer>) -> Arc<dyn Observer>) -> Self {
        Self { observer: observer(self.observer), ..self }
    }

    /// The same for work that may come to nothing, with an observer that then tells nobody: what it would have told is told by the next.
    pub(crate) fn tentative(&self, observer: Arc<dyn Observer>) -> Self {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let store = if self.store.get().is_some() { self.store.clone() } else { Arc::default() };
        Self { observer, told: Arc::new(Mutex::new(told)), store, ..self.clone() }
    }

    /// The folders.
    pub fn folders(&self) -> &Folders {
        &self.folders
    }

    /// The observer.
    pub fn observer(&self) -> &dyn Observer {
        &*self.observer
    }

    /// How registries are reached.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Who looks up names of hosts, if not this host.
    pub fn resolver(&self) -> Option<&Arc<dyn Resolver>> {
        self.resolver.as_ref()
    }

    /// Tells the observer.
    pub fn notice(&self, notice: Notice<'_>) {
        self.observer.notice(&notice);
    }

    /// Tells the observer, unless it has been told the same before.
    pub(crate) fn notice_once(&self, what: &str, notice: Notice<'_>) {
        if self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(what.to_owned()) {
            self.notice(notice);
        }
    }

    /// The folder for files that go with the process. It is made if it is not there.
    pub fn temporary(&self) -> Result<&Path> {
        let folder = &self.folders.temporary;
        std::fs::create_dir_all(folder).map_err(|source| Error::Write { path: folder.clone(), source })?;
        Ok(folder)
    }

    /// A folder of the cache, if there is one that only this user can write to. If there is none, the user is told.
    pub(crate) fn cache(&self, name: &str) -> Option<PathBuf> {
        let folder = self.folders.cache.as_ref().and_then(|cache| private_folder(cache.join(name)));
        if folder.is_none() {
            self.tell_of_no_cache();
        }
        folder
    }

    /// Tells the user that nothing can be kept in the cache.
    pub(crate) fn tell_of_no_cache(&self) {
        self.notice_once("cache", Notice::NoCache { folder: self.folders.cache.as_deref() });
    }

    /// A store that goes with the process, for a run whose own store cannot be written. What that has is in it, if nobody but its owner can change it.
    pub(crate) fn temporary_store(&self) -> Result<&Path> {
        if self.store.get().is_none() {
            let temporary = self.temporary()?;
            let made = tempfile::Builder::new().prefix(".prebake-store-").tempdir_in(temporary);
            let made = made.map_err(|source| Error::Write { path: temporary.into(), source })?;
            self.notice(Notice::NoStore { folder: self.folders.store.as_deref() });
            // Another thread may have made one meanwhile, which is as good.
            let _ = self.store.set(made);
        }
        self.store.get().map(TempDir::path).ok_or(Error::NoStore)
    }

    /// Whether `file` is in the store, where nobody else writes: it stays as it is. Any other file may be changed while it is in use, by a guest too if
    /// its folder is a volume.
    pub(crate) fn keeps(&self, file: &File) -> bool {
        let stores = self.folders.store.as_deref().into_iter().chain(self.store.get().map(TempDir::path));
        let mut folders = stores.flat_map(|store| STORED.map(|name| store.join(name)));
        only_owner_writes_file(file) && folders.any(|folder| only_owner_writes(&folder) && lies_below(file, &folder))
    }

    /// What is known of files that were verified.
    pub fn ledger(&self) -> Ledger {
        Ledger::at(self.cache("verified"))
    }

    /// The same of artifacts in the store, of which the digest of their code is remembered instead.
    pub fn code_ledger(&self) -> Ledger {
        Ledger::at(self.cache("verified-code"))
    }

    /// The same of code that was relocated.
    pub fn relocated_ledger(&self) -> Ledger {
        Ledger::at(self.cache("verified-relocated"))
    }

    /// The same of modules, of which the digest of what they become when they are linked is remembered.
    pub fn link_ledger(&self) -> Ledger {
        Ledger::at(self.cache("linked"))
    }

    /// What came of something that takes a while: an error after a cancellation is the cancellation.
    pub(crate) fn outcome<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| if self.observer.is_cancelled() { Error::Cancelled } else { error })
    }
}
