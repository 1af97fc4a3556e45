//! A person at a terminal: a pseudo-terminal stands in for theirs.

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The user's side of a terminal, and prebake on the other.
pub struct Session {
    pub user: File,
    pub terminal: OwnedFd,
    pub child: Child,
    pub seen: String,
    /// What was shown before what was waited for last.
    pub before: String,
}

pub fn window(rows: u16, cols: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Session {
    /// Starts `command` there.
    pub fn start(command: &mut Command) -> Self {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        let name = ptsname(&user, Vec::new()).unwrap();
        let terminal = open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        tcsetwinsize(&terminal, window(33, 111)).unwrap();
        let end = || terminal.try_clone().unwrap();
        let child = command.env("TERM", "vt220").stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        // The command would keep its ends of the terminal open.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        rustix::io::ioctl_fionbio(&user, true).unwrap();
        Self { user: File::from(user), terminal, child, seen: String::new(), before: String::new() }
    }

    pub fn is_raw(&self) -> bool {
        !tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    /// Waits until every key is for prebake.
    pub fn wait_until_raw(&self) {
        let start = Instant::now();
        while !self.is_raw() {
            assert!(start.elapsed() < Duration::from_secs(60), "the terminal never got into raw mode");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn type_in(&mut self, keys: &str) {
        self.user.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until `text` has been shown.
    pub fn wait_for(&mut self, text: &str) {
        let start = Instant::now();
        let mut bytes = [0; 4096];
        while !self.seen.contains(text) {
            assert!(start.elapsed() < Duration::from_secs(60), "`{text}` was not shown: {:?}", self.seen);
            match self.user.read(&mut bytes) {
                Ok(count) => self.seen += &String::from_utf8_lossy(&bytes[..count]),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        let start = self.seen.find(text).unwrap();
        self.before = self.seen[..start].to_owned();
        self.seen.drain(..start + text.len());
    }

    pub fn end(mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        assert!(!self.is_raw(), "the terminal is still in raw mode");
        status
    }
}
