//! A machine with a network, and what it costs.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use benches::report::Report;

use crate::peer::{self, CONTROL, ECHO, Figures, PUBLISHED};

/// How the program runs a machine.
#[derive(Debug, Clone, Copy)]
pub enum Engine {
    /// As a part of the program.
    Native,
    /// In WAMR.
    Wamr,
}

impl Engine {
    /// As options and tables have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Wamr => "wamr",
        }
    }
}

/// A machine.
#[derive(Debug, Clone, Copy)]
pub enum Machine<'a> {
    /// QEMU's smallest PC, on one thread, with its just-in-time compiler and its user network.
    Qemu { kernel: &'a Path, initramfs: &'a Path },
    /// Ours.
    Prebake { program: &'a Path, machine: &'a Path, engine: Engine },
}

/// What it takes to move some bytes one way.
#[derive(Debug)]
pub struct Cost {
    /// Guest instructions.
    pub instructions: f64,
    /// Of the time that it takes, the part in which the guest runs.
    pub share: f64,
}

/// A run of a machine, as it reports it.
struct Counted {
    instructions: f64,
    /// Seconds in which the guest ran.
    running: f64,
    /// Seconds that the transfer took.
    transfer: f64,
}

impl Machine<'_> {
    /// As tables have it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Qemu { .. } => "QEMU TCG",
            Self::Prebake { engine, .. } => engine.name(),
        }
    }

    /// Times of `length` bytes each way, and of answers.
    pub fn measure(&self, length: u64) -> Result<Figures> {
        self.attended(None, |child, listener| {
            let figures = peer::measure(listener, length)?;
            // Not every machine has power to switch off.
            child.kill()?;
            Ok(figures)
        })
    }

    /// What `length` bytes to the host and from the host cost, where the machine tells.
    pub fn costs(&self, length: u64) -> Result<Option<[Cost; 2]>> {
        if matches!(self, Self::Qemu { .. }) {
            return Ok(None);
        }
        let nothing = self.counted(|_| Ok(0.0))?;
        let cost = |run: Counted| Cost {
            instructions: run.instructions - nothing.instructions,
            share: (run.running - nothing.running) / run.transfer,
        };
        let out = self.counted(|listener| peer::out(listener, length))?;
        let into = self.counted(|listener| peer::into(listener, length))?;
        Ok(Some([out, into].map(cost)))
    }

    /// A run whose only work is `transfer`, which returns its seconds.
    fn counted(&self, transfer: impl FnOnce(&TcpListener) -> Result<f64>) -> Result<Counted> {
        let report = tempfile::NamedTempFile::new()?;
        let transfer = self.attended(Some(report.path()), |_, listener| {
            let seconds = transfer(listener)?;
            peer::quit(listener)?;
            Ok(seconds)
        })?;
        let report = Report::parse(&std::fs::read(report.path())?)?;
        let instructions = report.number("/guest_instructions")?;
        Ok(Counted { instructions, running: instructions / 1e6 / report.number("/mips")?, transfer })
    }

    /// Starts the machine, has `attend` do its work, and waits for its end. If that fails, the error has what the machine said.
    fn attended<T>(&self, report: Option<&Path>, attend: impl FnOnce(&mut Child, &TcpListener) -> Result<T>) -> Result<T> {
        let listener = TcpListener::bind(("127.0.0.1", CONTROL))?;
        let said = tempfile::NamedTempFile::new()?;
        let mut command = self.command();
        report.into_iter().for_each(|report| _ = command.arg("--json").arg(report));
        let output = said.reopen()?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let result = attend(&mut child, &listener);
        if result.is_err() {
            let _ = child.kill();
        }
        child.wait()?;
        result.with_context(|| format!("{} said: {}", self.name(), std::fs::read_to_string(said.path()).unwrap_or_default()))
    }

    fn command(&self) -> Command {
        match self {
            Self::Qemu { kernel, initramfs } => {
                let mut command = Command::new("qemu-system-x86_64");
                command
                    .args(["-M", "microvm,x-option-roms=off,isa-serial=on,acpi=off,rtc=on,pit=on,pic=on", "-accel", "tcg,thread=single"])
                    .args(["-cpu", "Nehalem", "-m", "128", "-nodefaults", "-display", "none", "-serial", "stdio"])
                    .arg("-netdev")
                    .arg(format!(
                        "user,id=net,net=192.168.127.0/24,host=192.168.127.254,dhcpstart=192.168.127.3,dns=192.168.127.2,\
                         hostfwd=tcp:127.0.0.1:{PUBLISHED}-192.168.127.3:{ECHO}"
                    ))
                    .args(["-device", "virtio-net-device,netdev=net"])
                    .arg("-kernel")
                    .arg(kernel)
                    .arg("-initrd")
                    .arg(initramfs)
                    .args(["-append", "console=ttyS0 quiet noapic panic=-1 tsc_early_khz=2600000 tsc=reliable"]);
                command
            }
            Self::Prebake { program, machine, engine } => {
                let mut command = Command::new(program);
                command.arg("run").args(["--engine", engine.name(), "--net", "user,host=on"]);
                command.arg("-p").arg(format!("127.0.0.1:{PUBLISHED}:{ECHO}")).arg(machine);
                command
            }
        }
    }
}
