//! What the program sees as its machine: the root and the file systems that programs expect, in a mount namespace of the container's own.
//!
//! The root is moved over the machine's and then made the process's: nothing of the machine's has a path in the container.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;

use protocol::FILES_TAG;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, makedev, mkdirat, mknodat, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_move, move_mount, open_tree, unmount};
use rustix::process::{chdir, chroot, umask};

use crate::error::{Context, Error, Result};
use crate::image::ProgramDefaults;
use crate::info::{Bind, Tmpfs};
use crate::mounts::{self, NOTHING_TO_RUN, make_folder, mount_at, parameter};
use crate::network::Network;
use crate::{sys, terminal, upper};

/// Where programs find the names of machines, and who knows others.
const HOSTS: &str = "/etc/hosts";
const RESOLVERS: &str = "/etc/resolv.conf";
/// The terminal in a `/dev` of the container's own.
const CONSOLE: &str = "/dev/console";

/// File systems that the kernel makes, in an order in which each finds its mount point.
const KERNEL: [(&str, &str, MountFlags, &str); 6] = [
    ("proc", "/proc", NOTHING_TO_RUN, ""),
    ("sysfs", "/sys", NOTHING_TO_RUN.union(MountFlags::RDONLY), ""),
    ("cgroup2", "/sys/fs/cgroup", NOTHING_TO_RUN, ""),
    ("devpts", "/dev/pts", MountFlags::NOSUID.union(MountFlags::NOEXEC), "mode=620,gid=5,ptmxmode=666"),
    ("mqueue", "/dev/mqueue", NOTHING_TO_RUN, ""),
    ("tmpfs", "/dev/shm", NOTHING_TO_RUN, "mode=1777"),
];
/// Devices, and memory for those of an image, which has none of the machine's. They come before what is mounted below them.
const MACHINE_DEVICES: (&str, &str) = ("devtmpfs", "");
const OWN_DEVICES: (&str, &str) = ("tmpfs", "mode=755,size=64k");
/// Devices that everyone may use, by their numbers.
const DEVICES: [(&str, u32, u32); 6] = [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const DEVICE_LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// What a root image may be. EROFS is last because it complains on the console of an image that is not its own.
const ROOT_TYPES: [&str; 3] = ["ext4", "squashfs", "erofs"];

/// The container's control group.
const CGROUP: &str = "/sys/fs/cgroup/container";
/// Paths from the host and links in the container lead to nothing outside of the place that they start from.
const CONFINED: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
/// Just the place of a file.
const PLACE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// The container's root, which this process has entered.
#[derive(Debug)]
pub struct Root {
    /// The root of the share with the host's files, which has no path any more.
    files: Option<OwnedFd>,
    /// The path of the terminal.
    pub console: &'static str,
    /// It is that of an image, not the machine's own.
    is_image: bool,
}

/// Makes the container's root of what the kernel's command line names (`prebake.root`, `prebake.upper`), or of the initramfs, and enters it.
pub fn enter(image: &ProgramDefaults) -> Result<Root> {
    let line = fs::read_to_string("/proc/cmdline").context("read", "/proc/cmdline")?;
    let is_image = match parameter(&line, "prebake.root") {
        Some(device) => {
            make_overlay(device, parameter(&line, "prebake.upper"))?;
            true
        }
        None => false,
    };
    let files = mounts::host_share(FILES_TAG)?;
    let files = files.map(|path| openat(CWD, &path, PLACE | OFlags::DIRECTORY, Mode::empty()).context("open", path.display().to_string()));
    let (console, number) = terminal::device()?;

    remove_groups(Path::new(CGROUP))?;
    make_folder(CGROUP)?;
    fs::write(format!("{CGROUP}/cgroup.procs"), "0").context("enter", CGROUP)?;
    sys::leave_control_groups().context("leave", "the machine's control groups")?;
    for tree in mounts::TREES {
        unmount(tree, UnmountFlags::DETACH).context("leave the machine's", tree)?;
    }
    if is_image {
        chdir("/merged").context("enter", "/merged")?;
        mount_move(".", "/").context("move to /", "/merged")?;
        chroot(".").context("change the root to", "/merged")?;
    }
    chdir("/").context("enter", "/")?;

    let (kind, data) = if is_image { OWN_DEVICES } else { MACHINE_DEVICES };
    mount_at(kind, "/dev", kind, MountFlags::NOSUID, data)?;
    for (kind, target, flags, data) in KERNEL {
        mount_at(kind, target, kind, flags, data)?;
    }
    DEVICE_LINKS.iter().try_for_each(|(target, link)| make_link(target, link))?;
    if is_image {
        make_devices(number)?;
    }
    forget_machine_console()?;
    let hostname = image.hostname.clone().unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned().into());
    let root = Root { files: files.transpose()?, console: if is_image { CONSOLE } else { console }, is_image };
    root.call(&hostname)?;
    Ok(root)
}

/// Removes a control group that an earlier program has left, and those in it: one that has groups in it may not take processes.
fn remove_groups(group: &Path) -> Result<()> {
    let entries = match fs::read_dir(group) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.context("read", group.display().to_string())?,
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .try_for_each(|entry| remove_groups(&entry.path()))?;
    fs::remove_dir(group).context("remove the control group", group.display().to_string())
}

/// Makes a writable tree of a read-only image: what is written to it goes to the disk `upper`, or to memory.
fn make_overlay(image: &str, upper: Option<&str>) -> Result<()> {
    mount_image(image, "/lower")?;
    match upper {
        Some(device) => {
            upper::ensure(device)?;
            mount_at(device, "/upper", "ext4", MountFlags::NOATIME, "")?;
        }
        None => mount_at("tmpfs", "/upper", "tmpfs", MountFlags::empty(), "mode=755")?,
    }
    let is_new = !Path::new("/upper/upper").exists();
    make_folder("/upper/upper")?;
    make_folder("/upper/work")?;
    if is_new {
        copy_attributes("/lower", "/upper/upper").context("give the container's root", "its owner and mode")?;
    }
    mount_at("overlay", "/merged", "overlay", MountFlags::empty(), "lowerdir=/lower,upperdir=/upper/upper,workdir=/upper/work")
}

/// An overlay's root has the attributes of its upper directory, whatever those below have.
fn copy_attributes(from: &str, to: &str) -> std::io::Result<()> {
    let found = fs::metadata(from)?;
    chown(to, Some(found.uid()), Some(found.gid()))?;
    fs::set_permissions(to, found.permissions())
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

/// Fills a `/dev` of the container's own. `console` is the machine's terminal, by its number.
fn make_devices(console: u64) -> Result<()> {
    let node = |name: &str, mode: u32, number: u64| {
        let path = format!("/dev/{name}");
        mknodat(CWD, &path, FileType::CharacterDevice, Mode::from_raw_mode(mode), number).context("make the device", path)
    };
    let before = umask(Mode::empty());
    DEVICES.iter().try_for_each(|(name, major, minor)| node(name, 0o666, makedev(*major, *minor)))?;
    node("console", 0o620, console)?;
    umask(before);
    make_link("pts/ptmx", "/dev/ptmx")
}

/// Makes a link in `/dev`. That of the machine may have it, or something else, from an earlier program.
fn make_link(target: &str, link: &str) -> Result<()> {
    match symlink(target, link) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(link).and_then(|()| symlink(target, link)).context("replace", link)
        }
        outcome => outcome.context("make the link", link),
    }
}

/// This process came with the machine's console as its streams, which is not for the container to find.
fn forget_machine_console() -> Result<()> {
    let null = openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).context("open", "/dev/null")?;
    rustix::stdio::dup2_stdin(&null)
        .and_then(|()| rustix::stdio::dup2_stdout(&null))
        .and_then(|()| rustix::stdio::dup2_stderr(&null))
        .context("replace the streams of", "the container's process 1")
}

/// Writes the files in which programs look up the names of machines, in place of the image's, which are not of this machine. A list of
/// name servers stays: there is no network that could tell another.
fn write_names(hostname: &OsStr) -> Result<()> {
    let hostname = hostname.to_string_lossy();
    make_folder("/etc")?;
    let hosts = format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback {hostname}\n");
    for (path, content) in [("/etc/hostname", format!("{hostname}\n")), (HOSTS, hosts)] {
        // A link would lead to a file of another purpose.
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).context("replace", path),
            _ => fs::write(path, content).context("write", path)?,
        }
    }
    match fs::symlink_metadata(RESOLVERS) {
        Ok(_) => Ok(()),
        Err(_) => fs::write(RESOLVERS, "").context("write", RESOLVERS),
    }
}

/// Says where names are looked up, and which are known.
pub fn write_network(network: &Network) -> Result<()> {
    make_folder("/etc")?;
    // A link would lead to a file of another purpose.
    if fs::symlink_metadata(RESOLVERS).is_ok_and(|found| !found.is_file()) {
        fs::remove_file(RESOLVERS).context("replace", RESOLVERS)?;
    }
    fs::write(RESOLVERS, network.resolver_file()).context("write", RESOLVERS)?;
    let hosts = fs::read_to_string(HOSTS).unwrap_or_default();
    let new: String =
        network.hosts().lines().filter(|line| !hosts.lines().any(|own| own == *line)).map(|line| format!("{line}\n")).collect();
    if new.is_empty() { Ok(()) } else { fs::write(HOSTS, hosts + &new).context("write", HOSTS) }
}

impl Root {
    /// Lets go of the share with the host's files: a program must not find them all at process 1.
    pub fn close_files(&mut self) {
        self.files = None;
    }

    /// Gives the machine this name.
    pub fn call(&self, hostname: &OsStr) -> Result<()> {
        rustix::system::sethostname(hostname.as_encoded_bytes()).context("name the machine", hostname.to_string_lossy())?;
        if self.is_image { write_names(hostname) } else { Ok(()) }
    }

    /// Lets nothing be written to the root itself; what is mounted in it stays as it is.
    pub fn make_read_only(&self) -> Result<()> {
        let root = openat(CWD, "/", PLACE | OFlags::DIRECTORY, Mode::empty()).context("open", "/")?;
        sys::make_read_only(root.as_fd()).context("make read-only", "/")
    }

    /// Mounts a file system in memory. What is missing on the way is made.
    pub fn mount_memory(&self, tmpfs: &Tmpfs) -> Result<()> {
        let name = || format!("/{}", tmpfs.path.display());
        let target = place(&tmpfs.path, true).context("make the place for memory at", name())?;
        let path = format!("/proc/self/fd/{}", target.as_raw_fd());
        let data = CString::new(tmpfs.data.as_str()).map_err(|_| Errno::INVAL);
        data.and_then(|data| mount("tmpfs", path, "tmpfs", tmpfs.flags, data.as_c_str())).context("mount memory at", name())
    }

    /// Makes a file or folder of the host appear at the same path from the root on. What is missing on the way is made.
    pub fn bind(&self, bind: &Bind) -> Result<()> {
        let name = || format!("/{}", bind.path.display());
        let files = self.files.as_ref().ok_or(Error::NoFolders)?;
        let source = openat2(files, &bind.path, PLACE, Mode::empty(), CONFINED).context("find the host's", name())?;
        let is_folder =
            FileType::from_raw_mode(rustix::fs::fstat(&source).context("look at the host's", name())?.st_mode) == FileType::Directory;
        let target = place(&bind.path, is_folder).context("make the place for the host's", name())?;
        let tree =
            open_tree(&source, c"", OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH)
                .context("bind the host's", name())?;
        if bind.read_only {
            sys::make_read_only(tree.as_fd()).context("make read-only the host's", name())?;
        }
        move_mount(&tree, c"", &target, c"", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH)
            .context("bind the host's", name())
    }
}

/// The file or folder at `path` from the root on, which is made if it is not there.
fn place(path: &Path, is_folder: bool) -> rustix::io::Result<OwnedFd> {
    let root = openat(CWD, "/", PLACE | OFlags::DIRECTORY, Mode::empty())?;
    let find = |path: &Path| openat2(&root, path, PLACE, Mode::empty(), CONFINED);
    let mut way = path.ancestors().filter(|part| !part.as_os_str().is_empty()).collect::<Vec<_>>();
    let mut parent = openat(&root, c".", PLACE, Mode::empty())?;
    while let Some(part) = way.pop() {
        let found = match find(part) {
            Err(Errno::NOENT) => {
                let name = part.file_name().unwrap_or_default();
                if way.is_empty() && !is_folder {
                    mknodat(&parent, name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0)?;
                } else {
                    mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                }
                find(part)
            }
            found => found,
        };
        parent = found?;
    }
    Ok(parent)
}
