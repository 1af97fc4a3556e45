//! The hosts that are compared.

use crate::common::{guest, machine_folder, scratch, succeed};
use crate::folder;
use crate::log::Listener;
use crate::machine::{self, Host, on_small_stack, save};
use crate::{RecordedRun, file};
use prebake::machine::Engine;
use prebake::machine::file::MachineFile;
use snapshot::Snapshot;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

impl Host {
    /// Boots the guest with the test programs.
    pub fn boot(self, listener: &Listener) -> Box<dyn Engine> {
        self.boot_with(&self.file(), listener)
    }

    /// Restores a snapshot in a file.
    pub fn restore(self, snapshot: &Path, listener: &Listener) -> Box<dyn Engine> {
        self.restore_with(&self.file(), snapshot, listener)
    }

    /// Restores a snapshot in a file, whose memory is read as the machine touches it.
    pub fn restore_by_reading(self, snapshot: &Path, listener: &Listener) -> Box<dyn Engine> {
        self.restore_by_reading_with(&self.file(), snapshot, listener)
    }

    fn file(self) -> MachineFile {
        machine::open(if self == Self::Aot { &packed().aot } else { packed_wasm() })
    }
}

/// Where a machine can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In this process.
    Here(Host),
    /// The same, with a memory that is read from a snapshot as it is touched.
    Reading(Host),
    /// In wasmtime.
    Wasmtime,
    /// In V8: in `node` or in `chromium`.
    V8(&'static str),
    /// In a program for another processor.
    Aarch64(Host),
}

impl Place {
    pub const HERE: [Self; 3] = [Self::Here(Host::Native), Self::Here(Host::Aot), Self::Here(Host::Interpreter)];

    /// Goes a way again, from power-on or from a snapshot in a file. Gives the snapshot that the machine comes to.
    pub fn go(self, way: &RecordedRun, from: Option<&Path>) -> Vec<u8> {
        let host = match self {
            Self::Here(host) | Self::Reading(host) => host,
            Self::Wasmtime => return folder::go_in_wasmtime(packed_wasm(), way, from),
            Self::V8(host) => return folder::go_in_v8(host, packed_wasm(), way, from),
            Self::Aarch64(host) => {
                let machine = if host == Host::Interpreter { packed_wasm() } else { packed_for_aarch64() };
                return folder::go_on_aarch64(host, machine, way, from);
            }
        };
        let listener = Listener::default();
        let mut engine = match from {
            None => host.boot(&listener),
            Some(snapshot) if self == Self::Reading(host) => host.restore_by_reading(snapshot, &listener),
            Some(snapshot) => host.restore(snapshot, &listener),
        };
        way.log.iter().for_each(|call| way.replay(&mut *engine, call, &listener));
        way.assert_said(&listener.said());
        save(&mut *engine)
    }

    /// Goes a way again, which must end as it did. Leaves the snapshot in a file.
    pub fn follow(self, way: &RecordedRun, from: Option<&Path>, what: &str) -> PathBuf {
        let start = from.and_then(Path::file_name).unwrap_or("power-on".as_ref());
        let saved = self.go(way, from);
        assert_same(&saved, &way.end, &format!("{what} by {self:?} from {} (first) and natively", start.display()));
        file(&format!("{what} by {self:?}"), &saved)
    }
}

/// The machine with the tests' guest and two disks, packed, and compiled for this host.
pub struct Packed {
    pub wasm: PathBuf,
    pub aot: PathBuf,
}

pub fn packed() -> &'static Packed {
    static PACKED: OnceLock<Packed> = OnceLock::new();
    PACKED.get_or_init(|| {
        let packed = Packed { wasm: packed_wasm().into(), aot: scratch("machine.aot") };
        succeed(packer("aot").arg(&packed.wasm).arg("-o").arg(&packed.aot));
        packed
    })
}

/// The same machine, not compiled.
pub fn packed_wasm() -> &'static Path {
    static PACKED: OnceLock<PathBuf> = OnceLock::new();
    PACKED.get_or_init(|| {
        let wasm = scratch("machine.wasm");
        let mut convert = packer("convert");
        convert.arg("--kernel").arg(guest("vmlinux")).arg("--initrd").arg(guest("tests.cpio")).args(["--memory", "64"]);
        convert.arg("--root").arg(guest("root.img")).args(["--upper", "64", "--network-device"]);
        succeed(convert.arg("-o").arg(&wasm));
        wasm
    })
}

/// The same, compiled for aarch64.
pub fn packed_for_aarch64() -> &'static Path {
    static PACKED: OnceLock<PathBuf> = OnceLock::new();
    PACKED.get_or_init(|| {
        let aot = scratch("aarch64.aot");
        compile_for_aarch64(&packed().wasm, &aot);
        aot
    })
}

pub fn compile_for_aarch64(machine: &Path, aot: &Path) {
    succeed(packer("aot").args(["--target", "aarch64"]).arg(machine).arg("-o").arg(aot));
}

/// The program with the user's cache: compiling takes a minute.
pub fn packer(verb: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    command.env("PREBAKE_MACHINE", machine_folder()).arg(verb);
    command
}

/// Two snapshots are the same, byte for byte.
pub fn assert_same(found: &[u8], wanted: &[u8], what: &str) {
    if found != wanted {
        let (found, wanted) = (Snapshot::open(found).unwrap(), Snapshot::open(wanted).unwrap());
        panic!("{what}:\n{}", snapshot::diff(&found, &wanted, 20).unwrap());
    }
}

/// Runs a test where WAMR can start: once at a time in a process, and on a small stack.
pub fn in_turn(test: impl FnOnce() + Send) {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Err(panic) = on_small_stack(test) {
        drop(turn);
        std::panic::resume_unwind(panic);
    }
}
