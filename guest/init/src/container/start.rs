//! Starting the program: its words, environment, folder, user and streams.

use std::ffi::{CString, OsStr};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Pid;

use super::Streams;
use super::root::Root;
use super::user::User;
use crate::error::{Context, Result};
use crate::image::ProgramDefaults;
use crate::info::{Info, Limit};
use crate::sys;

/// What a container without a `PATH` gets.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a shell ends with where a program is not there, and where it is but cannot be run.
const NOT_FOUND: u8 = 127;
/// See above.
pub const NOT_RUNNABLE: u8 = 126;

/// What became of it.
#[derive(Debug)]
pub enum Started {
    /// It runs.
    Running(Pid),
    /// It could not be run, and has been told so; this is its status.
    Ended(u8),
}

/// What a program is started on.
#[derive(Debug)]
pub enum On<'a> {
    /// A terminal.
    Terminal {
        /// What `TERM` says.
        name: &'a str,
        /// Its path.
        device: &'a Path,
    },
    /// Three streams.
    Streams(Streams),
}

/// Starts what `info` makes of `image`.
pub fn start(root: &Root, image: &ProgramDefaults, info: &Info, on: On<'_>) -> Result<Started> {
    let mut ready = Ready::new(root, image, info, on)?;
    match ready.command.spawn() {
        Ok(child) => {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(ErrorKind::InvalidData);
            Ok(Started::Running(pid.context("start", ready.name)?))
        }
        Err(error) => ready.failed(error).map(Started::Ended),
    }
}

/// Turns this process into what `info` makes of `image`. Returns only if that cannot be run and has been told so, with its status.
pub fn become_program(root: &Root, image: &ProgramDefaults, info: &Info, on: On<'_>) -> Result<u8> {
    let mut ready = Ready::new(root, image, info, on)?;
    let error = ready.command.exec();
    ready.failed(error)
}

/// A program that is ready to be started.
struct Ready {
    command: Command,
    name: String,
    stderr: File,
}

impl Ready {
    fn new(root: &Root, image: &ProgramDefaults, info: &Info, on: On<'_>) -> Result<Self> {
        let words = image.arguments(info)?;
        let user = info.user.as_ref().or(image.user.as_ref()).map_or(String::new(), |user| user.to_string_lossy().into_owned());
        let user = User::find(&user)?;
        let folder = folder(info.folder.as_deref().or(image.folder.as_deref()))?;

        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(folder).env_clear();
        command.env("PATH", PATH).env("HOME", &user.home).env("HOSTNAME", OsStr::new(&hostname()));
        let on_terminal = match on {
            On::Terminal { name, .. } => Some(name),
            On::Streams(_) => None,
        };
        command.envs(on_terminal.map(|name| ("TERM", name)));
        for (name, value) in image.environment.iter().chain(&info.environment) {
            command.env(name, value);
        }
        if info.read_only {
            root.make_read_only()?;
        }
        sys::with_limits(&mut command, info.limits.iter().map(limit).collect());
        let on_terminal = on_terminal.is_some();
        let stderr = connect(&mut command, on)?;
        sys::as_user(&mut command, on_terminal, user.uid, user.gid, user.groups);
        let mounted: Vec<CString> =
            info.binds.iter().filter_map(|bind| CString::new(Path::new("/").join(&bind.path).into_os_string().into_vec()).ok()).collect();
        sys::looking_at(&mut command, mounted);
        Ok(Self { command, name: words[0].to_string_lossy().into_owned(), stderr })
    }

    /// Tells the program that it could not be run, which gives it a status.
    fn failed(mut self, error: io::Error) -> Result<u8> {
        if error.kind() == ErrorKind::InvalidInput {
            return Err(error).context("start", self.name);
        }
        // A program that cannot be told is not told.
        let _ = writeln!(self.stderr, "prebake: cannot run {}: {error}", self.name);
        Ok(if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE })
    }
}

/// A limit as the kernel has it.
fn limit(limit: &Limit) -> (libc::c_int, libc::rlimit) {
    let number = |limit: Option<u64>| limit.unwrap_or(libc::RLIM_INFINITY);
    (limit.resource as libc::c_int, libc::rlimit { rlim_cur: number(limit.soft), rlim_max: number(limit.hard) })
}

/// The folder to start in, which is made if it is not there.
fn folder(wanted: Option<&Path>) -> Result<PathBuf> {
    let folder = Path::new("/").join(wanted.unwrap_or(Path::new("")));
    let name = || folder.display().to_string();
    fs::create_dir_all(&folder).context("make the working folder", name())?;
    if !fs::metadata(&folder).context("enter", name())?.is_dir() {
        return Err(io::Error::from(ErrorKind::NotADirectory)).context("enter", name());
    }
    Ok(folder)
}

/// Gives the command its three streams, and returns another handle for the last.
fn connect(command: &mut Command, on: On<'_>) -> Result<File> {
    let copy = |file: &File| file.try_clone().context("duplicate", "the program's streams");
    let [stdin, stdout, stderr] = match on {
        On::Terminal { device, .. } => {
            let open = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(device);
            let terminal = open.context("open", device.display().to_string())?;
            [copy(&terminal)?, copy(&terminal)?, terminal]
        }
        On::Streams(Streams { stdin, stdout, stderr }) => [OwnedFd::from(stdin), stdout.into(), stderr.into()].map(File::from),
    };
    let last = copy(&stderr)?;
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    Ok(last)
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
