//! Sessions: what was done in a machine, saved from one run to the next.
//!
//! A session is a folder in the store, held by one process at a time. It has the machine's state as a delta on the snapshot that it began with, and
//! a note of what that was. The delta is replaced as a whole or not at all, so whatever happens, the last one that was saved is there.
//!
//! ```text
//! sessions/NAME/lock            held by who runs it
//! sessions/NAME/session.json    what it is of; written before its first state, and on the disk before that is
//! sessions/NAME/state.snap      how it stands; a session without one has not been saved yet
//! sessions/NAME/exec.sock       the way in, while it runs
//! ```

mod door;
mod origin;
mod saver;

pub use door::Door;
pub use origin::{FileRef, Origin};
pub use saver::{Checkpoint, Saver};

use crate::distribution::store::{Lock, Sharing, Store};
use crate::error::{Error, Result};
use crate::host::file::{atomic, private_folder};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tracing::debug;

/// Longest name of a session.
const MAX_NAME: usize = 128;
/// What the size of a file on the disk is counted in.
const DISK_BLOCK: u64 = 512;
const LOCK: &str = "lock";
const ORIGIN: &str = "session.json";
const STATE: &str = "state.snap";

/// The sessions of a store.
#[derive(Debug, Clone)]
pub struct Sessions {
    folder: PathBuf,
}

/// What is told of a session to whoever does not run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its name.
    pub name: String,
    /// What it is of.
    pub origin: Origin,
    /// When it was saved last; one that runs need not have been.
    pub saved: Option<SystemTime>,
    /// Bytes that its state takes on the disk.
    pub bytes: u64,
    /// A process runs it, and lets others in.
    pub runs: bool,
}

/// A session that this process holds. One that has never been saved leaves no trace.
#[derive(Debug)]
pub struct Session {
    name: String,
    folder: PathBuf,
    origin: Origin,
    /// That is on the disk, and not just on its way there.
    is_noted: bool,
    /// The name may be another process's by now.
    ended: bool,
    _held: Lock,
}

/// What became of an attempt to hold a session.
#[derive(Debug)]
pub enum Attempt {
    /// It is held, and was saved before.
    Saved(Session),
    /// It is held, and is new.
    New(Session),
    /// Another process holds it.
    InUse,
}

/// Whether this may be the name of a session: it is that of a folder, too.
pub fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.as_bytes()[0].is_ascii_alphanumeric() && name.bytes().all(is_plain)
}

impl Sessions {
    /// Those of `store`.
    pub fn of(store: &Store) -> Result<Self> {
        store.folder("sessions").map(|folder| Self { folder })
    }

    /// The names of the store's files that they need.
    pub fn needed(&self) -> Result<Vec<String>> {
        Ok(self.list()?.iter().flat_map(|session| session.origin.stored()).map(str::to_owned).collect())
    }

    /// What session `name` is of, if it has been saved.
    pub fn origin(&self, name: &str) -> Result<Option<Origin>> {
        let folder = self.folder_of(name)?;
        if !folder.join(STATE).exists() {
            return Ok(None);
        }
        Origin::read(&folder.join(ORIGIN)).map(Some)
    }

    /// Holds session `name`. If it has not been saved yet, it is one of `origin` from now on.
    pub fn hold(&self, name: &str, origin: impl FnOnce() -> Result<Origin>) -> Result<Attempt> {
        let folder = self.folder_of(name)?;
        let error = |source| Error::Write { path: folder.clone(), source };
        private_folder(folder.clone()).ok_or(Error::NoStore)?;
        let Some(held) = lock(&folder.join(LOCK)).map_err(error)? else {
            debug!(target: "prebake::session", name, "in use");
            return Ok(Attempt::InUse);
        };
        atomic::remove_leftovers(&folder);
        let session = |origin, is_noted| Session { name: name.into(), folder: folder.clone(), origin, is_noted, ended: false, _held: held };
        let saved = self.origin(name)?;
        debug!(target: "prebake::session", name, is_new = saved.is_none(), "held");
        match saved {
            Some(origin) => Ok(Attempt::Saved(session(origin, true))),
            None => match origin().and_then(|origin| origin.write(&folder.join(ORIGIN)).map(|()| origin)) {
                Ok(origin) => Ok(Attempt::New(session(origin, false))),
                Err(error) => {
                    remove_all(&folder)?;
                    Err(error)
                }
            },
        }
    }

    /// Where a session of this name is, or would be. The name may be anyone's word, so it is no way to anywhere else.
    fn folder_of(&self, name: &str) -> Result<PathBuf> {
        if is_name(name) { Ok(self.folder.join(name)) } else { Err(Error::SessionName { name: name.into() }) }
    }

    /// All that have been saved or run, by name. One that is not understood is an error: nobody knows what it needs.
    pub fn list(&self) -> Result<Vec<SessionInfo>> {
        let error = |source| Error::Read { what: "store's folder", path: self.folder.clone(), source };
        let mut listed = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(error)? {
            let folder = entry.map_err(error)?.path();
            let Some(name) = folder.file_name().and_then(|name| name.to_str()).filter(|name| is_name(name)) else { continue };
            // In this order: who runs it saves it before the door is closed.
            let runs = door::is_open(&folder);
            let state = fs::metadata(folder.join(STATE)).ok();
            if state.is_none() && !runs {
                continue;
            }
            let origin = match Origin::read(&folder.join(ORIGIN)) {
                // One that another process is just removing.
                Err(Error::Read { source, .. }) if source.kind() == ErrorKind::NotFound => continue,
                origin => origin?,
            };
            let saved = state.as_ref().map(|state| state.modified().unwrap_or(SystemTime::UNIX_EPOCH));
            let bytes = state.map_or(0, |state| state.blocks() * DISK_BLOCK);
            listed.push(SessionInfo { name: name.into(), origin, saved, bytes, runs });
        }
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    /// A connection to the process that runs session `name`.
    pub fn enter(&self, name: &str) -> Result<UnixStream> {
        let folder = self.folder_of(name)?;
        let entered = door::enter(&folder).map_err(|source| Error::Host { what: "reach the session's process", source })?;
        entered.ok_or_else(|| Error::SessionRests { name: name.into() })
    }

    /// Ends session `name` for good.
    pub fn remove(&self, name: &str) -> Result<()> {
        let unknown = || Error::NoSession { name: name.into() };
        if !is_name(name) || !self.folder.join(name).exists() {
            return Err(unknown());
        }
        match self.hold(name, || Err(unknown()))? {
            Attempt::Saved(mut session) | Attempt::New(mut session) => session.end(),
            Attempt::InUse => Err(Error::SessionInUse { name: name.into() }),
        }
    }
}

/// Locks the file at `path`, unless another process has. Whoever ends a session removes the file with it, so what was locked must still be what
/// has the name.
fn lock(path: &Path) -> io::Result<Option<Lock>> {
    loop {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let file = match OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            file => file?,
        };
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let locked = identity(file.metadata()?);
        let Some(held) = Lock::attempt(file, Sharing::Alone)? else { return Ok(None) };
        if fs::metadata(path).is_ok_and(|found| identity(found) == locked) {
            return Ok(Some(held));
        }
    }
}

fn remove_all(folder: &Path) -> Result<()> {
    // The state first: without it the rest counts for nothing.
    for name in [STATE, ORIGIN, door::DOOR, LOCK] {
        let path = folder.join(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => return Err(Error::Write { path, source }),
            _ => {}
        }
    }
    // Another process may be on its way in already.
    let _ = fs::remove_dir(folder);
    Ok(())
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.ended && !self.state().exists() {
            // What cannot be removed is in nobody's way.
            let _ = remove_all(&self.folder);
        }
    }
}

impl Session {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is of.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The file of its state.
    pub fn state(&self) -> PathBuf {
        self.folder.join(STATE)
    }

    /// Lets others in, while it runs.
    pub fn open_door(&self) -> io::Result<Door> {
        Door::open(&self.folder)
    }

    /// Ends it for good.
    pub fn end(&mut self) -> Result<()> {
        debug!(target: "prebake::session", name = self.name, "removed");
        self.ended = true;
        remove_all(&self.folder)
    }

    /// Notes its machine, which was on its way into the store when it began.
    fn settle(&mut self, machine: &Path) -> Result<()> {
        self.origin.machine = machine.file_name().map(|name| FileRef::Store(name.to_string_lossy().into_owned()));
        self.is_noted = false;
        self.origin.write(&self.folder.join(ORIGIN))
    }

    /// Waits until the disk has what a state of this session stands on: the note of what it is of, and its folder.
    fn sync(&mut self) -> io::Result<()> {
        if !self.is_noted {
            let place = self.folder.parent().unwrap_or(Path::new("."));
            for path in [&self.folder.join(ORIGIN), &self.folder, place] {
                File::open(path)?.sync_all()?;
            }
            self.is_noted = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{Context, Folders};

    #[test]
    fn a_name_is_no_way_out_of_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Context::silent(Folders::below(folder.path(), Path::new("")))).unwrap();
        let sessions = Sessions::of(&store).unwrap();
        fs::create_dir_all(folder.path().join("outside")).unwrap();
        fs::write(folder.path().join("outside").join(STATE), "").unwrap();
        for name in ["../../outside", "/tmp", "..", "", "a/b", ".hidden"] {
            assert_eq!(sessions.origin(name).unwrap_err().kind(), "session-name", "{name}");
            assert_eq!(sessions.hold(name, || unreachable!("it is not looked at")).unwrap_err().kind(), "session-name", "{name}");
            assert_eq!(sessions.enter(name).unwrap_err().kind(), "session-name", "{name}");
        }
    }
}
