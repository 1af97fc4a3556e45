//! What prebake remembers of files that it has read in full, so that it need not read them again.
//!
//! For each file there is an entry of its own under the user's cache: who the file was (device, inode, size, times) and what it held. An
//! entry counts only for a file that has not changed since by any of these; nobody can set a file's ctime.

use rustix::fs::{FileType, Stat, fstat};
use rustix::time::{ClockId, clock_gettime};
use snapshot::Digest;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The first word of an entry, to be changed with its meaning.
const FORMAT: &str = "1";

/// A file system notes times no finer than this: within it a file may change and look the same. Some do whole seconds.
const FINE: Duration = Duration::from_millis(20);
const COARSE: Duration = Duration::from_secs(2);
/// Longest time between two ticks of the kernel's coarse clock, which stamps files.
const TICK: Duration = Duration::from_millis(10);

/// The entries; none where the user has no private cache.
#[derive(Debug, Default)]
pub struct Ledger {
    folder: Option<PathBuf>,
}

impl Ledger {
    /// The entries in `folder`, which is private to the user.
    pub const fn at(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// The digest that was remembered of `file`, if it is unchanged since.
    pub fn recall(&self, file: &File) -> Option<Digest> {
        let stamp = Stamp::of(file)?;
        let entry = fs::read_to_string(self.entry(&stamp)?).ok()?;
        let digest = entry.strip_prefix(&stamp.line())?.strip_suffix('\n')?;
        parse_digest(digest)
    }

    /// Remembers `digest` of `file`, which was read in full since `before`.
    pub fn remember(&self, file: &File, before: Option<Stamp>, digest: Digest) {
        let stamp = Stamp::of(file);
        let Some(stamp) = stamp.filter(|_| stamp == before) else { return };
        if stamp.age().is_none_or(|age| age < stamp.granularity()) {
            return;
        }
        let Some(path) = self.entry(&stamp) else { return };
        // What cannot be remembered is read again the next time.
        let beside = path.with_extension(std::process::id().to_string());
        let write = |mut entry: File| writeln!(entry, "{}{digest}", stamp.line());
        if File::create(&beside).and_then(write).and_then(|()| fs::rename(&beside, &path)).is_err() {
            let _ = fs::remove_file(&beside);
        }
    }

    fn entry(&self, stamp: &Stamp) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(format!("{:x}-{:x}", stamp.device, stamp.inode)))
    }
}

/// Who a file is, and when it last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: i64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// That of an open regular file.
    pub fn of(file: &File) -> Option<Self> {
        let Stat { st_dev, st_ino, st_size, st_mtime, st_mtime_nsec, st_ctime, st_ctime_nsec, st_mode, .. } = fstat(file).ok()?;
        let stamp = Self {
            device: st_dev,
            inode: st_ino,
            size: st_size,
            modified: (st_mtime, st_mtime_nsec as i64),
            changed: (st_ctime, st_ctime_nsec as i64),
        };
        (FileType::from_raw_mode(st_mode) == FileType::RegularFile).then_some(stamp)
    }

    /// How long it is until reading the file would see every change that this stamp does not.
    pub fn wait(&self) -> Duration {
        let age = self.age().unwrap_or_default();
        // The clock that the age is read from may lag behind the sleeper's by a tick.
        if age < self.granularity() { self.granularity() - age + TICK } else { Duration::ZERO }
    }

    fn granularity(&self) -> Duration {
        if self.changed.1 == 0 { COARSE } else { FINE }
    }

    /// Time since the last change; `None` if that is in the future.
    fn age(&self) -> Option<Duration> {
        let now = clock_gettime(ClockId::RealtimeCoarse);
        let nanos = |(seconds, nanoseconds): (i64, i64)| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        let age = nanos((now.tv_sec, now.tv_nsec as i64)) - nanos(self.changed);
        u64::try_from(age).ok().map(Duration::from_nanos)
    }

    fn line(&self) -> String {
        let Self { size, modified, changed, .. } = self;
        format!("{FORMAT} {size} {}.{:09} {}.{:09} ", modified.0, modified.1, changed.0, changed.1)
    }
}

/// A digest, as it is written.
pub fn parse_digest(text: &str) -> Option<Digest> {
    let text = text.strip_prefix("blake3:").filter(|text| text.len() == 2 * Digest::LEN && text.is_ascii())?;
    let mut bytes = [0; Digest::LEN];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(Digest::from_bytes(bytes))
}

/// The digest of everything in `file`.
pub fn digest_of(file: &File, path: &Path) -> crate::error::Result<Digest> {
    let digest = || {
        let mut digester = snapshot::Digester::new();
        let mut buffer = vec![0; 1 << 20];
        let mut offset = 0;
        loop {
            match std::os::unix::fs::FileExt::read_at(file, &mut buffer, offset) {
                Ok(0) => return Ok(digester.finish()),
                Ok(count) => {
                    digester.update(&buffer[..count]);
                    offset += count as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    };
    digest().map_err(|source| crate::error::Error::Read { what: "disk", path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::file::private_folder;

    fn ledger(folder: &Path) -> Ledger {
        Ledger { folder: private_folder(folder.join("verified")) }
    }

    /// A file that is old enough to be remembered.
    fn file(folder: &Path) -> (PathBuf, File) {
        let path = folder.join("file");
        fs::write(&path, "content").unwrap();
        let file = File::open(&path).unwrap();
        std::thread::sleep(Stamp::of(&file).unwrap().wait());
        (path, file)
    }

    #[test]
    fn an_unchanged_file_is_recalled_and_a_changed_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger(folder.path());
        let (path, file) = file(folder.path());
        let digest = digest_of(&file, &path).unwrap();
        assert_eq!(digest, Digest::of(b"content"));
        assert_eq!(ledger.recall(&file), None);
        ledger.remember(&file, Stamp::of(&file), digest);
        assert_eq!(ledger.recall(&File::open(&path).unwrap()), Some(digest));

        // The same size, and the modification time set back.
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "CONTENT").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!(ledger.recall(&file), None);
    }

    #[test]
    fn a_file_that_may_change_unnoticed_is_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger(folder.path());
        let (path, file) = file(folder.path());
        let before = Stamp::of(&file);
        fs::write(&path, "changed").unwrap();
        ledger.remember(&file, before, Digest::of(b"content"));
        assert_eq!(ledger.recall(&file), None);
        // Just written: it could be written again within the same tick.
        ledger.remember(&file, Stamp::of(&file), Digest::of(b"changed"));
        assert_eq!(ledger.recall(&file), None);
    }

    #[test]
    fn a_folder_that_others_can_write_is_not_believed() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(private_folder(open), None);
        let (_, file) = file(folder.path());
        let nowhere = Ledger::default();
        nowhere.remember(&file, Stamp::of(&file), Digest::of(b"content"));
        assert_eq!(nowhere.recall(&file), None);
    }
}
