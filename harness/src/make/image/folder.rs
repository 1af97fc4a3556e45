//! A folder of the host as the root.

use super::archive::Segment;
use super::error::{ImageError, Result};
use super::layer::Layers;
use super::tree::{Attributes, Inode, Node};
use crate::observer::{Observer, Task, Tracker};
use rustix::fs::{FileType, OFlags};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Puts all that is in `root` into the tree. Links are taken as links.
pub fn add(layers: &mut Layers, root: &Path, observer: &dyn Observer) -> Result<()> {
    let mut walk = Walk { layers, known: BTreeMap::new(), count: 0 };
    let tracker = Tracker::new(observer, Task::ReadFolder, None);
    let mut ahead = vec![(root.to_path_buf(), Vec::new())];
    while let Some((path, place)) = ahead.pop() {
        let metadata = path.symlink_metadata().map_err(cannot_read(&path))?;
        walk.put(&path, &place, &metadata)?;
        walk.layers.check_tree()?;
        if metadata.is_dir() {
            // Sorted, for hard links are given to whoever comes first.
            let mut names = std::fs::read_dir(&path)
                .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>())
                .map_err(cannot_read(&path))?;
            names.sort_unstable();
            ahead.extend(names.iter().rev().map(|name| (path.join(name), [&place, &b"/"[..], name.as_bytes()].concat())));
        }
        walk.count += 1;
        tracker.set(walk.count);
        tracker.check().map_err(|error| ImageError::io("read the folder")(io::Error::other(error)))?;
    }
    Ok(())
}

struct Walk<'a> {
    layers: &'a mut Layers,
    /// Files with several names, and the first of them.
    known: BTreeMap<(u64, u64), Vec<u8>>,
    count: u64,
}

impl Walk<'_> {
    fn put(&mut self, path: &Path, place: &[u8], metadata: &Metadata) -> Result<()> {
        let problem = |problem| ImageError::Entry { layer: 1, path: place.to_vec(), problem };
        let identity = (metadata.dev(), metadata.ino());
        if !metadata.is_dir() && metadata.nlink() > 1 {
            if let Some(first) = self.known.get(&identity) {
                return self.layers.tree.link(place, first).map_err(problem);
            }
            self.known.insert(identity, place.to_vec());
        }
        let device = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
        let node = match FileType::from_raw_mode(metadata.mode()) {
            FileType::Directory => Node::Folder(BTreeMap::new()),
            FileType::RegularFile => {
                let mut file = open(path).map_err(cannot_read(path))?;
                let length = file.metadata().map_err(cannot_read(path))?.len();
                Node::File(self.layers.spool.add(length, &[Segment { offset: 0, length }], &mut file)?)
            }
            FileType::Symlink => Node::Symlink(path.read_link().map_err(cannot_read(path))?.as_os_str().as_bytes().to_vec()),
            FileType::CharacterDevice => Node::Character(device.0, device.1),
            FileType::BlockDevice => Node::Block(device.0, device.1),
            FileType::Fifo => Node::Fifo,
            FileType::Socket => Node::Socket,
            FileType::Unknown => return Err(problem("its file type is unknown".into())),
        };
        let mut attributes = Attributes {
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: (metadata.mtime(), metadata.mtime_nsec() as u32),
            extended: extended_attributes(path).map_err(cannot_read(path))?,
        };
        self.layers.dropped += attributes.drop_foreign();
        self.layers.tree.put(place, Inode { attributes, node }).map_err(problem)?;
        Ok(())
    }
}

/// The file itself, even if there is a link now, and without waiting for anyone if there is a pipe.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

fn extended_attributes(path: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    /// Linux has no longer lists, and no longer values.
    const MAX: usize = 64 << 10;
    let mut list = vec![0; MAX];
    let length = match rustix::fs::llistxattr(path, list.as_mut_slice()) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut found = BTreeMap::new();
    let mut value = vec![0; MAX];
    for name in list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match rustix::fs::lgetxattr(path, OsStr::from_bytes(name), value.as_mut_slice()) {
            Ok(length) => drop(found.insert(name.to_vec(), value[..length].to_vec())),
            // It has gone, or is not for this user.
            Err(rustix::io::Errno::NODATA | rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

fn cannot_read(path: &Path) -> impl FnOnce(io::Error) -> ImageError {
    let path: PathBuf = path.into();
    move |source| ImageError::io(format!("read {}", path.display()))(source)
}
