//! The file systems that a program expects, and the root under them.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_bind, mount_move, mount_remount};
use rustix::process::{chdir, chroot};

use crate::error::{Context, Error, Result};
use crate::info::Bind;

/// File systems that the kernel makes, in an order in which each finds its mount point.
const KERNEL: [(&str, &str, MountFlags, &str); 7] = [
    ("proc", "/proc", NOTHING_TO_RUN, ""),
    ("sysfs", "/sys", NOTHING_TO_RUN, ""),
    ("cgroup2", "/sys/fs/cgroup", NOTHING_TO_RUN, "nsdelegate"),
    ("devtmpfs", "/dev", MountFlags::NOSUID, ""),
    ("devpts", "/dev/pts", MountFlags::NOSUID.union(MountFlags::NOEXEC), "mode=620,gid=5,ptmxmode=666"),
    ("mqueue", "/dev/mqueue", NOTHING_TO_RUN, ""),
    ("tmpfs", "/dev/shm", MountFlags::NOSUID.union(MountFlags::NODEV), "mode=1777"),
];
const NOTHING_TO_RUN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

const DEVICE_LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// What a root image may be. EROFS is last because it complains on the console of an image that is not its own.
const ROOT_TYPES: [&str; 3] = ["ext4", "squashfs", "erofs"];

/// Mounts what the kernel makes.
pub fn set_up() -> Result<()> {
    for (kind, target, flags, data) in KERNEL {
        mount_at(kind, target, kind, flags, data)?;
    }
    for (target, link) in DEVICE_LINKS {
        symlink(target, link).context("make the link", link)?;
    }
    Ok(())
}

/// Enters the root that the kernel's command line names (`prebake.root`, `prebake.upper`), or stays in the initramfs.
pub fn enter_root() -> Result<()> {
    let line = fs::read_to_string("/proc/cmdline").context("read", "/proc/cmdline")?;
    match parameter(&line, "prebake.root") {
        Some(image) => enter_overlay(image, parameter(&line, "prebake.upper")),
        None => Ok(()),
    }
}

/// The value of `name=value` on a kernel command line.
fn parameter<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// Makes a writable root of a read-only image: what is written goes to the file system on `upper`, or to memory.
fn enter_overlay(image: &str, upper: Option<&str>) -> Result<()> {
    mount_image(image, "/lower")?;
    match upper {
        Some(device) => mount_at(device, "/upper", "ext4", MountFlags::empty(), "")?,
        None => mount_at("tmpfs", "/upper", "tmpfs", MountFlags::empty(), "mode=755")?,
    }
    make_folder("/upper/upper")?;
    make_folder("/upper/work")?;
    mount_at("overlay", "/merged", "overlay", MountFlags::empty(), "lowerdir=/lower,upperdir=/upper/upper,workdir=/upper/work")?;
    for tree in ["/proc", "/sys", "/dev"] {
        let target = format!("/merged{tree}");
        make_folder(&target)?;
        mount_move(tree, &target).context("move to the new root", tree)?;
    }
    chdir("/merged").context("enter", "/merged")?;
    mount_move(".", "/").context("move to /", "/merged")?;
    chroot(".").context("change the root to", "/merged")
}

/// Mounts the device `image` as the first of [`ROOT_TYPES`] that it is.
fn mount_image(image: &str, target: &str) -> Result<()> {
    make_folder(target)?;
    for kind in ROOT_TYPES {
        match mount(image, target, kind, MountFlags::RDONLY | MountFlags::SILENT, None) {
            // What a file system answers to an image of another kind.
            Err(Errno::INVAL) => {}
            outcome => return outcome.context("mount the root device", image),
        }
    }
    Err(Error::UnknownRoot(image.to_owned()))
}

/// Mounts the host's 9P file system `tag` on `/mnt/TAG`, and says where; `None` if the machine has no such device.
pub fn host_share(tag: &str) -> Result<Option<PathBuf>> {
    // Large messages, for every one is a round trip out of the machine; and no cache, for the host changes files while the guest is frozen.
    const OPTIONS: &str = "trans=virtio,version=9p2000.L,cache=none,msize=512000";
    if !share_tags().contains(&tag.to_owned()) {
        return Ok(None);
    }
    let target = format!("/mnt/{tag}");
    mount_at(tag, &target, "9p", MountFlags::NOSUID | MountFlags::NODEV, OPTIONS)?;
    Ok(Some(target.into()))
}

/// Makes a folder of the mounted share at `share` appear at the same path from the root on.
pub fn bind(share: &Path, bind: &Bind) -> Result<()> {
    let (source, target) = (share.join(&bind.path), Path::new("/").join(&bind.path));
    let name = || target.display().to_string();
    fs::create_dir_all(&target).context("make the folder", name())?;
    mount_bind(&source, &target).context("bind the host's folder to", name())?;
    if bind.read_only {
        mount_remount(&target, MountFlags::BIND | MountFlags::RDONLY, c"").context("make read-only", name())?;
    }
    Ok(())
}

/// Tags of the 9P devices. Asked first, since the kernel complains on the console of a tag that does not exist.
fn share_tags() -> Vec<String> {
    let Ok(devices) = fs::read_dir("/sys/bus/virtio/drivers/9pnet_virtio") else { return Vec::new() };
    let tag_of = |device: fs::DirEntry| fs::read_to_string(device.path().join("mount_tag")).ok();
    devices.flatten().filter_map(tag_of).map(|tag| tag.trim_end_matches(['\0', '\n']).to_owned()).collect()
}

fn mount_at(source: &str, target: &str, kind: &str, flags: MountFlags, data: &str) -> Result<()> {
    make_folder(target)?;
    let data = std::ffi::CString::new(data).map_err(io::Error::from).context("mount", target)?;
    mount(source, target, kind, flags, data.as_c_str()).context("mount", format!("{kind} on {target}"))
}

fn make_folder(path: &str) -> Result<()> {
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
