//! What a machine can run on.

use crate::common::{guest, machine_folder, scratch, succeed};
use crate::log::Listener;
use emu::bus::{Ram, VecBacking};
use emu::machine::{Config, Machine};
use harness::backend::disk::Verify;
use harness::cli::{ClockArg, DeviceArgs};
use harness::engine::Engine;
use harness::engine::file::MachineFile;
use harness::engine::module::Loaded;
use harness::file::HostFile;
use harness::file::ledger::Ledger;
use harness::program::ProgramArgs;
use harness::vm::outlet::Outlet;
use harness::vm::parts::{Parts, Randomness, seed};
use harness::vm::saved::Saved;
use harness::vm::tail::Tail;
use snapshot::{Snapshot, Space};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use wamr::Runtime;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    Native,
    Aot,
    Interpreter,
}

impl Host {
    pub const ALL: [Self; 3] = [Self::Native, Self::Aot, Self::Interpreter];

    /// Boots the guest with the test programs.
    pub fn boot(self, listener: &Listener) -> Box<dyn Engine> {
        self.boot_with(&self.file(), listener)
    }

    /// Boots what is in `file`.
    pub fn boot_with(self, file: &MachineFile, listener: &Listener) -> Box<dyn Engine> {
        match self {
            Self::Native => Box::new(file.boot_natively(native_config(file, None, listener)).unwrap()),
            Self::Aot | Self::Interpreter => Box::new(load(file, None).boot(&module_config(file), listener.clone()).unwrap()),
        }
    }

    /// Restores a snapshot in a file.
    pub fn restore(self, snapshot: &Path, listener: &Listener) -> Box<dyn Engine> {
        self.restore_with(&self.file(), snapshot, listener)
    }

    /// Restores a snapshot with the machine in `file`.
    pub fn restore_with(self, file: &MachineFile, snapshot: &Path, listener: &Listener) -> Box<dyn Engine> {
        let saved = Saved::open(snapshot).unwrap();
        saved.snapshot().verify_all().unwrap();
        match self {
            Self::Native => Box::new(restore_natively(&saved, file, listener)),
            Self::Aot | Self::Interpreter => {
                Box::new(load(file, None).restore(&module_config(file), &saved, &[], listener.clone()).unwrap())
            }
        }
    }

    /// Restores a snapshot in a file, whose memory is read as the machine touches it.
    pub fn restore_by_reading(self, snapshot: &Path, listener: &Listener) -> Box<dyn Engine> {
        let file = self.file();
        match self {
            Self::Native => {
                let saved = Saved::open(snapshot).unwrap();
                let snapshot = saved.snapshot().clone();
                let ram = Ram::of_pages(Box::new(VecBacking::new(file.ram_size() as usize).unwrap()), Box::new(snapshot.clone()));
                Box::new(Machine::restore(native_config(&file, Some(&saved), listener), ram, &mut snapshot.sections()).unwrap())
            }
            Self::Aot | Self::Interpreter => {
                let host_file = HostFile::open("snapshot", snapshot).unwrap();
                let loaded = load(&file, Some(&host_file));
                Box::new(loaded.restore_by_reading(&module_config(&file), &[], listener.clone()).unwrap())
            }
        }
    }

    fn file(self) -> MachineFile {
        let Packed { wasm, aot } = packed();
        MachineFile::open(if self == Self::Interpreter { wasm } else { aot }).unwrap()
    }
}

/// Everything but CPU and RAM: the clock is virtual, and random numbers are everyone's.
fn native_config(file: &MachineFile, saved: Option<&Saved>, listener: &Listener) -> Config {
    let mut parts = Parts::open(&DeviceArgs { disks: Vec::new(), shares: Vec::new() }, &Ledger::default(), Verify::Always).unwrap();
    parts.put_first(file.disks(), file.open_disks(saved).unwrap());
    let seed = seed(Randomness::Published).unwrap();
    let nowhere = Outlet::silent(false, Tail::default());
    let config = parts.take_config(&nowhere, ClockArg::Virtual, Randomness::Published, Some(seed)).unwrap();
    Config { console: Box::new(listener.clone()), serial: Box::new(listener.clone()), ..config }
}

/// A machine's module, in WAMR.
fn load(file: &MachineFile, snapshot: Option<&HostFile>) -> Loaded {
    file.load(&[], &ProgramArgs::default(), snapshot).unwrap()
}

/// The same for a module.
pub fn module_config(file: &MachineFile) -> String {
    file.config(ClockArg::Virtual, Randomness::Published, Some(seed(Randomness::Published).unwrap()), &[], &ProgramArgs::default())
}

fn restore_natively(saved: &Saved, file: &MachineFile, listener: &Listener) -> Machine {
    use snapshot::ReadAt;
    let snapshot = saved.snapshot();
    let mut ram = Ram::new(Box::new(VecBacking::new(file.ram_size() as usize).unwrap()));
    for run in snapshot.runs(Space::Ram) {
        let (start, length) = (run.address as usize, run.len as usize);
        snapshot.source().read_exact_at(&mut ram.bytes_mut()[start..start + length], run.file_offset).unwrap();
    }
    let mut sections = snapshot.sections();
    let machine = Machine::restore(native_config(file, Some(saved), listener), ram, &mut sections).unwrap();
    assert!(sections.finish().unwrap().is_empty());
    machine
}

/// The machine with the tests' guest and two disks, packed, and compiled for this host.
pub struct Packed {
    pub wasm: PathBuf,
    pub aot: PathBuf,
}

pub fn packed() -> &'static Packed {
    static PACKED: OnceLock<Packed> = OnceLock::new();
    PACKED.get_or_init(|| {
        let packed = Packed { wasm: scratch("machine.wasm"), aot: scratch("machine.aot") };
        // Compiling takes a minute, so the code in the user's cache is used.
        let prebake = |verb| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
            command.env("PREBAKE_MACHINE", machine_folder()).arg(verb);
            command
        };
        let mut convert = prebake("convert");
        convert.arg("--kernel").arg(guest("vmlinux")).arg("--initrd").arg(guest("tests.cpio")).args(["--memory", "64"]);
        convert.arg("--root").arg(guest("root.img")).args(["--upper", "64"]);
        succeed(convert.arg("-o").arg(&packed.wasm));
        succeed(prebake("aot").arg(&packed.wasm).arg("-o").arg(&packed.aot));
        packed
    })
}

/// Saves a machine.
pub fn save(engine: &mut dyn Engine) -> Vec<u8> {
    let writer = engine.save().unwrap();
    let mut file = Cursor::new(Vec::new());
    engine.memory().save(&writer, false, &mut file).unwrap();
    file.into_inner()
}

/// Two snapshots are the same, byte for byte.
pub fn assert_same(found: &[u8], wanted: &[u8], what: &str) {
    if found != wanted {
        let (found, wanted) = (Snapshot::open(found).unwrap(), Snapshot::open(wanted).unwrap());
        panic!("{what}:\n{}", snapshot::diff(&found, &wanted, 20).unwrap());
    }
}

/// Runs a test where WAMR can start: once at a time in a process, on a thread with a small stack.
pub fn in_turn(test: impl FnOnce() + Send) {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(Runtime::STACK).spawn_scoped(scope, test).unwrap();
        if let Err(panic) = thread.join() {
            drop(turn);
            std::panic::resume_unwind(panic);
        }
    });
}
