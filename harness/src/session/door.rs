//! The way into a session that runs: a socket in its folder, on which the process that has the machine starts programs for others.

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Its name in the session's folder.
pub(super) const DOOR: &str = "exec.sock";
/// Who waits to be let in.
const BACKLOG: i32 = 16;

/// The door of a session that this process holds. It is closed when this is dropped; that of a process that was killed stays, and nobody opens.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Door {
    /// Opens the door in a session's folder. Only the user can come in.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(DOOR);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (_folder, short) = short(folder)?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        bind(&socket, &SocketAddrUnix::new(short)?)?;
        // Nobody can connect before it listens.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        listen(&socket, BACKLOG)?;
        Ok(Self { listener: socket.into(), path })
    }

    /// The next one who wants to come in.
    pub fn accept(&self) -> Option<UnixStream> {
        self.listener.accept().ok().map(|(stream, _)| stream)
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // One that stays is replaced by the next.
        let _ = fs::remove_file(&self.path);
    }
}

/// Goes through the door in a session's folder; `None` if there is nobody to open.
pub(super) fn enter(folder: &Path) -> io::Result<Option<UnixStream>> {
    let entered = short(folder).and_then(|(_folder, short)| UnixStream::connect(short));
    match entered {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether somebody is there to open the door in a session's folder. That is not waited for.
pub(super) fn is_open(folder: &Path) -> bool {
    let knock = || -> io::Result<()> {
        let (_folder, short) = short(folder)?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        Ok(connect(&socket, &SocketAddrUnix::new(short)?)?)
    };
    // Where as many wait as may, they wait for somebody.
    knock().map_or_else(|error| error.kind() == ErrorKind::WouldBlock, |()| true)
}

/// The door's path by the open folder: a socket's path has 107 bytes at most, whatever the store's has.
fn short(folder: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let open = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = Path::new("/proc/self/fd").join(open.as_raw_fd().to_string()).join(DOOR);
    Ok((open, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    /// A folder whose path is longer than that of a socket can be.
    fn folder() -> (tempfile::TempDir, PathBuf) {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("x".repeat(120));
        fs::create_dir(&folder).unwrap();
        (temporary, folder)
    }

    #[test]
    fn a_door_is_the_users_alone_and_goes_with_its_process() {
        let (_temporary, folder) = folder();
        assert!(enter(&folder).unwrap().is_none());
        let door = Door::open(&folder).unwrap();
        assert_eq!(fs::metadata(folder.join(DOOR)).unwrap().mode() & 0o777, 0o600);
        assert!(door.accept().is_none());
        let inside = enter(&folder).unwrap();
        assert!(inside.is_some() && door.accept().is_some());
        drop(door);
        assert!(!folder.join(DOOR).exists() && enter(&folder).unwrap().is_none());
    }

    #[test]
    fn the_door_of_a_killed_process_is_known_and_replaced() {
        let (_temporary, folder) = folder();
        let Door { listener, .. } = &Door::open(&folder).unwrap();
        let stale = folder.join(DOOR);
        // As the kernel does when a process is killed: the socket closes, its name stays.
        let kept = folder.join("kept");
        fs::rename(&stale, &kept).unwrap();
        rustix::net::shutdown(listener, rustix::net::Shutdown::Both).unwrap();
        fs::rename(&kept, &stale).unwrap();
        assert!(enter(&folder).unwrap().is_none());
        let door = Door::open(&folder).unwrap();
        assert!(enter(&folder).unwrap().is_some() && door.accept().is_some());
    }

    /// A process that is long in saving its machine lets nobody in meanwhile.
    #[test]
    fn whether_a_door_is_open_is_known_however_many_wait_before_it() {
        let (_temporary, folder) = folder();
        assert!(!is_open(&folder));
        let door = Door::open(&folder).unwrap();
        for _ in 0..3 * BACKLOG {
            assert!(is_open(&folder));
        }
        assert_eq!(std::iter::from_fn(|| door.accept()).count(), BACKLOG as usize + 1);
        drop(door);
        assert!(!is_open(&folder));
    }
}
