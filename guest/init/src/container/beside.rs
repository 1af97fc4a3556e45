//! Programs beside the container's own, as its process 1 starts them: with the root, user, environment and limits of that one, unless the host says
//! otherwise.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use protocol::{EXEC_WINDOW, Exec, ExecId, ExecOrder, ExecReport, ExecTerminal, ExecWindow};
use rustix::process::Pid;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::Streams;
use super::root::Root;
use super::start::{NOT_RUNNABLE, On, Started, start};
use crate::error::{Context, Result};
use crate::exec::Link;
use crate::image::ProgramDefaults;
use crate::info::Info;
use crate::{TERMINAL_NAME, sys};

/// What programs have in common with the container's own.
#[derive(Debug)]
pub struct Site<'a> {
    /// The root.
    pub root: Root,
    /// What the image says.
    pub image: &'a ProgramDefaults,
    /// What the host has said of the container's own program.
    pub info: Info,
}

/// The programs beside the container's own.
#[derive(Debug)]
pub struct Beside<'a> {
    site: Site<'a>,
    link: Link,
    running: Vec<(Pid, ExecId)>,
}

impl<'a> Beside<'a> {
    /// None yet. Orders come through `link`.
    pub const fn new(site: Site<'a>, link: Link) -> Self {
        Self { site, link, running: Vec::new() }
    }

    /// Obeys the next order. False if there will be none.
    pub fn obey(&mut self) -> bool {
        let Ok(Some((bytes, _))) = self.link.receive() else { return false };
        let Some(Exec { id, what }) = Exec::<ExecOrder>::decode(&bytes) else { return true };
        match what {
            ExecOrder::Start { terminal, info } => {
                if let Err(error) = self.start(id, terminal, &info) {
                    let bytes = format!("prebake: {error}\n").into_bytes();
                    self.report(id, ExecReport::Output { is_error: true, bytes }, &[]);
                    self.report(id, ExecReport::Exit(NOT_RUNNABLE), &[]);
                }
            }
            ExecOrder::Signal(number) => self.send_signal(id, number),
            ExecOrder::HangUp => {
                self.send_signal(id, libc::SIGHUP);
                self.report(id, ExecReport::Taken(0), &[]);
            }
            ExecOrder::Input(_) | ExecOrder::Taken(_) | ExecOrder::Resize(_) => {}
        }
        true
    }

    /// A child has ended: tells the machine's init if it was one of these.
    pub fn ended(&mut self, pid: Pid, status: u8) {
        if let Some(index) = self.running.iter().position(|(running, _)| *running == pid) {
            let (_, id) = self.running.swap_remove(index);
            self.report(id, ExecReport::Exit(status), &[]);
        }
    }

    fn start(&mut self, id: ExecId, terminal: Option<ExecTerminal>, info: &[u8]) -> Result<()> {
        let info = self.merged(Info::parse(info)?);
        let (started, ours) = match terminal {
            Some(terminal) => {
                let (ours, device) = open_terminal(terminal.window).context("open", "a terminal")?;
                let name = terminal.name.as_deref().unwrap_or(TERMINAL_NAME);
                (start(&self.site.root, self.site.image, &info, On::Terminal { name, device: &device })?, vec![ours])
            }
            None => {
                let pipes = || Ok::<_, io::Error>((io::pipe()?, io::pipe()?, io::pipe()?));
                let ((stdin, input), (output, stdout), (errors, stderr)) = pipes().context("make pipes for", "a program")?;
                let streams = Streams { stdin, stdout, stderr };
                let ours = vec![input.into(), output.into(), errors.into()];
                (start(&self.site.root, self.site.image, &info, On::Streams(streams))?, ours)
            }
        };
        let files: Vec<BorrowedFd<'_>> = ours.iter().map(AsFd::as_fd).collect();
        // With its streams there is room for input.
        self.report(id, ExecReport::Taken(EXEC_WINDOW), &files);
        match started {
            Started::Running(pid) => self.running.push((pid, id)),
            Started::Ended(status) => self.report(id, ExecReport::Exit(status), &[]),
        }
        Ok(())
    }

    /// What the host says of one program, and otherwise of the container's own.
    fn merged(&self, info: Info) -> Info {
        let own = &self.site.info;
        Info {
            entrypoint: info.entrypoint,
            arguments: info.arguments,
            environment: own.environment.iter().cloned().chain(info.environment).collect(),
            user: info.user.or_else(|| own.user.clone()),
            folder: info.folder.or_else(|| own.folder.clone()),
            binds: own.binds.clone(),
            limits: own.limits.clone(),
            ..Info::default()
        }
    }

    fn send_signal(&self, id: ExecId, number: i32) {
        if let Some((pid, _)) = self.running.iter().find(|(_, running)| *running == id) {
            // Processes that have just ended need no signal.
            let _ = sys::kill_group(*pid, number);
        }
    }

    fn report(&self, id: ExecId, what: ExecReport, files: &[BorrowedFd<'_>]) {
        // If the machine's init is gone, so is the machine.
        let _ = self.link.send(&Exec { id, what }.encode(), files);
    }
}

impl AsFd for Beside<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

/// A new terminal of this size: its user's end, and the path of its program's.
fn open_terminal(ExecWindow { cols, rows }: ExecWindow) -> io::Result<(OwnedFd, PathBuf)> {
    let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&user)?;
    unlockpt(&user)?;
    tcsetwinsize(&user, Winsize { ws_col: cols, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 })?;
    let path = OsString::from_vec(ptsname(&user, Vec::new())?.into_bytes());
    Ok((user, path.into()))
}
