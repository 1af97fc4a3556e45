//! The file systems that the machine's init itself needs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::error::{Context, Result};

/// File systems that the kernel makes, in an order in which each finds its mount point.
const KERNEL: [(&str, &str, MountFlags, &str); 4] = [
    ("proc", "/proc", NOTHING_TO_RUN, ""),
    ("sysfs", "/sys", NOTHING_TO_RUN, ""),
    ("cgroup2", "/sys/fs/cgroup", NOTHING_TO_RUN, "nsdelegate"),
    ("devtmpfs", "/dev", MountFlags::NOSUID, ""),
];
/// Where they are mounted, each with all that is below it.
pub const TREES: [&str; 3] = ["/proc", "/sys", "/dev"];
/// For file systems that hold no programs.
pub const NOTHING_TO_RUN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Mounts what the kernel makes.
pub fn set_up() -> Result<()> {
    KERNEL.iter().try_for_each(|(kind, target, flags, data)| mount_at(kind, target, kind, *flags, data))
}

/// The value of `name=value` on a kernel command line.
pub fn parameter<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// Mounts the host's 9P file system `tag` on `/mnt/TAG`, and says where; `None` if the machine has no such device.
pub fn host_share(tag: &str) -> Result<Option<PathBuf>> {
    // Large messages, for every one is a round trip out of the machine; and no cache but of what programs map, for the host changes files
    // while the guest is frozen. Without that a mapping could not be shared and written, as databases do.
    const OPTIONS: &str = "trans=virtio,version=9p2000.L,cache=mmap,msize=512000";
    if !share_tags().contains(&tag.to_owned()) {
        return Ok(None);
    }
    let target = format!("/mnt/{tag}");
    mount_at(tag, &target, "9p", MountFlags::NOSUID | MountFlags::NODEV, OPTIONS)?;
    Ok(Some(target.into()))
}

/// Unmounts what [`host_share`] mounted.
pub fn leave_host_share(folder: &Path) -> Result<()> {
    unmount(folder, UnmountFlags::empty()).context("unmount", folder.display().to_string())
}

/// Tags of the 9P devices. Asked first, since the kernel complains on the console of a tag that does not exist.
fn share_tags() -> Vec<String> {
    let Ok(devices) = fs::read_dir("/sys/bus/virtio/drivers/9pnet_virtio") else { return Vec::new() };
    let tag_of = |device: fs::DirEntry| fs::read_to_string(device.path().join("mount_tag")).ok();
    devices.flatten().filter_map(tag_of).map(|tag| tag.trim_end_matches(['\0', '\n']).to_owned()).collect()
}

/// Mounts something, and makes the folder for it.
pub fn mount_at(source: &str, target: &str, kind: &str, flags: MountFlags, data: &str) -> Result<()> {
    make_folder(target)?;
    let data = std::ffi::CString::new(data).map_err(io::Error::from).context("mount", target)?;
    mount(source, target, kind, flags, data.as_c_str()).context("mount", format!("{kind} on {target}"))
}

/// Makes a folder and those above it, as far as they are missing.
pub fn make_folder(path: &str) -> Result<()> {
    fs::create_dir_all(Path::new(path)).context("make the folder", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_whole_words() {
        let line = "quiet prebake.rootx=/dev/vdc xprebake.root=/dev/vdd prebake.root=/dev/vda prebake.upper\n";
        assert_eq!(parameter(line, "prebake.root"), Some("/dev/vda"));
        assert_eq!(parameter(line, "prebake.upper"), None);
        assert_eq!(parameter("", "prebake.root"), None);
    }
}
