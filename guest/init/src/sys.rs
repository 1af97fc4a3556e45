//! The system calls that have no safe wrapper: the only `unsafe` code of this program.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

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

/// Lets the calling thread run before every other one as soon as it has something to do, and until it waits again.
pub fn run_first() -> io::Result<()> {
    /// The highest that Linux has.
    const PRIORITY: libc::c_int = 99;
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: the kernel reads `parameters`; 0 is the calling thread.
    checked(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) })
}

/// Kills every process but this one, which must be process 1.
pub fn kill_all() -> io::Result<()> {
    // SAFETY: kill(2) touches no memory of ours.
    checked(unsafe { libc::kill(-1, libc::SIGKILL) })
}

/// Gives the command a session of its own, with its standard input as the controlling terminal where `terminal` says so.
pub fn in_new_session(command: &mut Command, terminal: bool) -> &mut Command {
    let set_up = move || {
        rustix::process::setsid()?;
        if terminal {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe code may run: these are two bare system calls, which allocate nothing.
    unsafe { command.pre_exec(set_up) }
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
