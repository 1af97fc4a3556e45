//! The system calls that have no safe wrapper: the only `unsafe` code of this program.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{Gid, Uid};
use rustix::process::Pid;

/// `struct rand_pool_info` of linux/random.h with room for `N` bytes.
#[repr(C)]
#[derive(Debug)]
pub struct PoolInfo<const N: usize> {
    /// Bits of entropy in `buffer`.
    pub entropy_count: i32,
    /// Bytes of `buffer` that count.
    pub buffer_size: i32,
    /// The seed.
    pub buffer: [u8; N],
}

const RNDADDENTROPY: libc::Ioctl = 0x4008_5203;
const RNDRESEEDCRNG: libc::Ioctl = 0x5207;

/// Mixes `info` into the input pool of the random device and credits it.
pub fn add_entropy<const N: usize>(device: &File, info: &PoolInfo<N>) -> io::Result<()> {
    if usize::try_from(info.buffer_size).map_or(true, |size| size > N) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the kernel reads the header and then `buffer_size` bytes, which were just checked to lie inside `info`.
    checked(unsafe { libc::ioctl(device.as_raw_fd(), RNDADDENTROPY, info) })
}

/// Makes the generator take a new key from its input pool.
pub fn reseed_generator(device: &File) -> io::Result<()> {
    // SAFETY: this request takes no argument.
    checked(unsafe { libc::ioctl(device.as_raw_fd(), RNDRESEEDCRNG) })
}

/// Lets the calling thread run before every other one as soon as it has something to do, and until it waits again. Threads that it starts do not.
pub fn run_first() -> io::Result<()> {
    /// The highest that Linux has.
    static PRIORITY: libc::c_int = 99;
    // musl refuses to do this, so that the kernel is asked.
    // SAFETY: the kernel reads the priority, which is all of its `struct sched_param`; 0 is the calling thread.
    let result =
        unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const PRIORITY) };
    checked(if result < 0 { -1 } else { 0 })
}

/// Sends a signal to one process, real-time signals included.
pub fn kill(process: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: kill(2) touches no memory of ours, and a `Pid` is one process.
    checked(unsafe { libc::kill(process.as_raw_nonzero().get(), signal) })
}

/// Sends a signal to all processes of the group that a process leads.
pub fn kill_group(leader: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: kill(2) touches no memory of ours, and the negative of a `Pid` is one group.
    checked(unsafe { libc::kill(-leader.as_raw_nonzero().get(), signal) })
}

/// Forks a child that is process 1 of new namespaces for mounts, processes, the host's name and System V's IPC. Returns its number, or `None`
/// in the child.
///
/// This process must have one thread only: the child has a copy of that one, and locks that others hold stay locked in it. The child must start none:
/// the C library goes on to take it for the thread that the parent was.
pub fn fork_contained() -> io::Result<Option<Pid>> {
    fork_into(libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC)
}

/// Forks a child. Returns its number, or `None` in the child. As for [`fork_contained`], this process must have one thread only.
pub fn fork() -> io::Result<Option<Pid>> {
    fork_into(0)
}

fn fork_into(namespaces: libc::c_int) -> io::Result<Option<Pid>> {
    // SAFETY: without CLONE_VM and with no stack of its own the child goes on in a copy of everything, as after fork(2).
    let pid = unsafe { libc::syscall(libc::SYS_clone, namespaces | libc::SIGCHLD, 0, 0, 0, 0) };
    match pid {
        ..0 => Err(io::Error::last_os_error()),
        _ => Ok(i32::try_from(pid).ok().and_then(Pid::from_raw)),
    }
}

/// Gives this process a control group namespace whose root is the group that it is in.
pub fn leave_control_groups() -> io::Result<()> {
    // SAFETY: such a namespace shares neither memory nor files.
    checked(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) })
}

/// The signals to this process, as something to poll for.
#[derive(Debug)]
pub struct Signals(File);

impl Signals {
    /// Lets all signals to this process wait to be looked at. Children inherit that.
    pub fn block() -> io::Result<Self> {
        let all = all_signals();
        set_blocked(&all)?;
        // SAFETY: the set is initialised, and -1 asks for a new descriptor.
        let descriptor = unsafe { libc::signalfd(-1, &raw const all, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        checked(descriptor)?;
        // SAFETY: the descriptor is new, so nobody else has it.
        Ok(Self(unsafe { File::from_raw_fd(descriptor) }))
    }

    /// The next one that has come.
    pub fn next(&self) -> Option<i32> {
        // struct signalfd_siginfo begins with the number.
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        let read = (&self.0).read(&mut info).ok().filter(|count| *count == info.len());
        read.map(|_| i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn set_blocked(signals: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: the set is initialised, and the old one is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, signals, std::ptr::null_mut()) } {
        0 => Ok(()),
        number => Err(io::Error::from_raw_os_error(number)),
    }
}

fn all_signals() -> libc::sigset_t {
    // musl's sigfillset leaves out what its threads use elsewhere, such as SIGRTMIN.
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: all bits may be set, and are.
    unsafe {
        set.as_mut_ptr().write_bytes(0xff, 1);
        set.assume_init()
    }
}

fn no_signals() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// Makes a mount read-only, attached or not.
pub fn make_read_only(mount: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let (path, size) = (c"".as_ptr(), size_of_val(&attributes));
    // SAFETY: path and attributes live as long as the call, and the size is theirs.
    let result =
        unsafe { libc::syscall(libc::SYS_mount_setattr, mount.as_raw_fd(), path, libc::AT_EMPTY_PATH, &raw const attributes, size) };
    checked(if result < 0 { -1 } else { 0 })
}

/// Brings a network interface up.
pub fn bring_up(interface: &str) -> io::Result<()> {
    // SAFETY: all zero is a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: the request has the interface's name and the member that SIOCSIFFLAGS reads.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) })
}

/// Starts the command with these limits: a resource's number in Linux, and its two limits.
pub fn with_limits(command: &mut Command, limits: Vec<(libc::c_int, libc::rlimit)>) -> &mut Command {
    let set_up = move || {
        limits.iter().try_for_each(|(resource, limit)| {
            // SAFETY: the kernel reads `limit`.
            checked(unsafe { libc::setrlimit(*resource as _, limit) })
        })
    };
    // SAFETY: between fork and exec only async-signal-safe code may run: these are system calls.
    unsafe { command.pre_exec(set_up) }
}

/// Makes the command a session of its own that is run as this user, whose its streams are, with all signals, and with its standard input as the
/// controlling terminal where `terminal` says so.
pub fn as_user(command: &mut Command, terminal: bool, uid: u32, gid: u32, groups: Vec<u32>) -> &mut Command {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let groups: Vec<Gid> = groups.into_iter().map(Gid::from_raw).collect();
    let none = no_signals();
    let set_up = move || {
        set_blocked(&none)?;
        rustix::process::setsid()?;
        if terminal {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        // Streams are opened again by name, and must be the user's for that.
        for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
            rustix::fs::fchown(stream, Some(uid), None)?;
        }
        rustix::thread::set_thread_groups(&groups)?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe code may run: these are little more than system calls, and allocate nothing.
    unsafe { command.pre_exec(set_up) }
}

/// Lets the command look at these files before it starts. The host may say that they belong to whoever asks, and Linux remembers what it said
/// last: this makes them the user's, where the mount has made them root's.
pub fn looking_at(command: &mut Command, paths: Vec<CString>) -> &mut Command {
    let look = move || {
        for path in &paths {
            // What cannot be seen will not be used either.
            let _ = rustix::fs::stat(path.as_c_str());
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe code may run: these are system calls.
    unsafe { command.pre_exec(look) }
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
