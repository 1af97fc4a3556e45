//! The machine's terminal.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use rustix::termios::{OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr};

use crate::error::{Context, Result};

/// The virtio console, and what stands in for it on a machine that has none.
const DEVICES: [&str; 2] = ["/dev/hvc0", "/dev/console"];

/// The path of the terminal, and the number under which it can have another.
pub fn device() -> Result<(&'static str, u64)> {
    let find = |path: &'static str| fs::metadata(path).map(|metadata| (path, metadata.rdev()));
    find(DEVICES[0]).or_else(|_| find(DEVICES[1])).context("find the terminal", DEVICES[1])
}

/// The open terminal, and the settings that it came with.
#[derive(Debug)]
pub struct Terminal {
    file: File,
    sane: Termios,
}

impl Terminal {
    /// Opens it without making it anyone's controlling terminal.
    pub fn open() -> Result<Self> {
        let open = |path: &str| OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path);
        let file = open(DEVICES[0]).or_else(|_| open(DEVICES[1])).context("open the terminal", DEVICES[1])?;
        let sane = tcgetattr(&file).context("read the settings of", "the terminal")?;
        Ok(Self { file, sane })
    }

    /// The settings that it came with, which a program is to find.
    pub fn settings(&self) -> Termios {
        self.sane.clone()
    }

    /// Opens it again after a program, with these settings. What the program has not read is not for the next one.
    pub fn reset(settings: Termios) -> Result<()> {
        let terminal = Self { sane: settings, ..Self::open()? };
        terminal.make_sane()?;
        tcflush(&terminal.file, QueueSelector::IFlush).context("empty", "the terminal")
    }

    /// A handle for whoever reads and writes it.
    pub fn handle(&self) -> Result<File> {
        self.file.try_clone().context("duplicate", "the terminal")
    }

    /// No echo, no translation, no signals, no flow control: bytes.
    pub fn make_raw(&self) -> Result<()> {
        let mut raw = self.sane.clone();
        raw.make_raw();
        self.set(&raw)
    }

    /// The settings that a program expects to find.
    pub fn make_sane(&self) -> Result<()> {
        self.set(&self.sane)
    }

    fn set(&self, settings: &Termios) -> Result<()> {
        tcsetattr(&self.file, OptionalActions::Now, settings).context("change the settings of", "the terminal")
    }
}
