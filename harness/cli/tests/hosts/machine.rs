//! A machine in this process, by what runs it. The example `replay` has this file too.
#![allow(dead_code, reason = "each program uses its part")]

use crate::log::Listener;
use emu::bus::{Ram, VecBacking};
use emu::machine::{Config, Machine};
use prebake::artifact::Artifact;
use prebake::context::{Context, Folders};
use prebake::host::backend::disk::Verify;
use prebake::host::file::HostFile;
use prebake::machine::Engine;
use prebake::machine::config::{ConfigBuilder, Randomness, seed};
use prebake::machine::file::{MachineFile, Runnable, Voucher};
use prebake::machine::module::Loaded;
use prebake::machine::output::HostOutput;
use prebake::machine::program::Program;
use prebake::machine::saved::Saved;
use prebake::machine::{ClockSource, Devices};
use snapshot::Space;
use std::io::Cursor;
use std::path::Path;
use wamr::Runtime;

/// What runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// This program.
    Native,
    /// WAMR, from compiled code.
    Aot,
    /// WAMR, from WebAssembly.
    Interpreter,
}

impl Host {
    pub const ALL: [Self; 3] = [Self::Native, Self::Aot, Self::Interpreter];

    /// Boots what is in `file`.
    pub fn boot_with(self, file: &MachineFile, listener: &Listener) -> Box<dyn Engine> {
        match self {
            Self::Native => Box::new(file.boot_natively(native_config(file, None, listener)).unwrap()),
            Self::Aot | Self::Interpreter => {
                let (loaded, config) = load(file, None);
                Box::new(loaded.boot(&config, listener.clone()).unwrap())
            }
        }
    }

    /// Restores a snapshot with the machine in `file`.
    pub fn restore_with(self, file: &MachineFile, snapshot: &Path, listener: &Listener) -> Box<dyn Engine> {
        let saved = Saved::open(&nobody(), snapshot).unwrap();
        saved.snapshot().unwrap().verify_all().unwrap();
        match self {
            Self::Native => Box::new(restore_natively(&saved, file, listener)),
            Self::Aot | Self::Interpreter => {
                let (loaded, config) = load(file, None);
                Box::new(loaded.restore(&config, &saved, &[], listener.clone()).unwrap())
            }
        }
    }

    /// Restores a snapshot with the machine in `file`. Its memory is read as the machine touches it.
    pub fn restore_by_reading_with(self, file: &MachineFile, snapshot: &Path, listener: &Listener) -> Box<dyn Engine> {
        match self {
            Self::Native => {
                let saved = Saved::open(&nobody(), snapshot).unwrap();
                let snapshot = saved.snapshot().unwrap();
                let ram = Ram::of_pages(Box::new(VecBacking::new(file.ram_size() as usize).unwrap()), Box::new(snapshot.clone()));
                Box::new(Machine::restore(native_config(file, Some(&saved), listener), ram, &mut snapshot.sections()).unwrap())
            }
            Self::Aot | Self::Interpreter => {
                let host_file = HostFile::open("snapshot", snapshot).unwrap();
                let (loaded, config) = load(file, Some(&host_file));
                Box::new(loaded.restore_by_reading(&config, &[], listener.clone()).unwrap())
            }
        }
    }
}

/// No folders, and nobody who listens.
fn nobody() -> Context {
    Context::silent(Folders::default())
}

/// The machine in a file, for whose code this stands.
pub fn open(path: &Path) -> MachineFile {
    let code = Artifact::open(HostFile::open("machine", path).unwrap()).unwrap().code_digest().unwrap();
    let voucher = Voucher { code: code.to_string(), by: "the test".into() };
    MachineFile::open(&nobody(), path).unwrap().vouched_for(Some(voucher))
}

/// Everything but CPU and RAM: the clock is virtual, and random numbers are everyone's.
fn native_config(file: &MachineFile, saved: Option<&Saved>, listener: &Listener) -> Config {
    let mut parts = ConfigBuilder::open(&nobody(), &Devices::default(), Verify::Always, &Program::default(), None).unwrap();
    parts.put_first(file.disks(), file.open_disks(saved).unwrap());
    parts.network = file.has_network();
    let seed = seed(Randomness::Published).unwrap();
    let nowhere = HostOutput::silent(false);
    let config = parts.take_config(&nowhere, ClockSource::Virtual, Randomness::Published, Some(seed)).unwrap();
    Config { console: Box::new(listener.clone()), serial: Box::new(listener.clone()), ..config }
}

/// A machine's module, in WAMR, and its configuration.
fn load(file: &MachineFile, snapshot: Option<&HostFile>) -> (Loaded, String) {
    let module = file.runnable(false).unwrap().unwrap();
    let config = config_of(file, &module);
    (file.load(module, &[], &Program::default(), snapshot).unwrap(), config)
}

/// The same as of [`native_config`] for a module.
fn config_of(file: &MachineFile, module: &Runnable) -> String {
    let (program, seed) = (Program::default(), seed(Randomness::Published).unwrap());
    file.config(module, ClockSource::Virtual, Randomness::Published, Some(seed), &[], (&program, None)).unwrap()
}

/// The same for the module in a file.
pub fn module_config(path: &Path) -> String {
    let file = open(path);
    config_of(&file, &file.runnable(false).unwrap().unwrap())
}

fn restore_natively(saved: &Saved, file: &MachineFile, listener: &Listener) -> Machine {
    use snapshot::ReadAt;
    let snapshot = saved.snapshot().unwrap();
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

/// Saves a machine.
pub fn save(engine: &mut dyn Engine) -> Vec<u8> {
    let writer = engine.save().unwrap();
    let mut file = Cursor::new(Vec::new());
    engine.memory().save(&writer, false, &mut file).unwrap();
    file.into_inner()
}

/// Does something where WAMR can start: on a thread with a small stack.
pub fn on_small_stack(work: impl FnOnce() + Send) -> std::thread::Result<()> {
    std::thread::scope(|scope| std::thread::Builder::new().stack_size(Runtime::STACK).spawn_scoped(scope, work).unwrap().join())
}
