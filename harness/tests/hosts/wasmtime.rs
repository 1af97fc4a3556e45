//! wasmtime as a host, driven from Python through the Machine ABI alone: nothing of `harness` is in between.

use crate::common::{scratch, succeed};
use crate::host::{assert_same, in_turn, module_config, packed};
use crate::log::Call;
use crate::{Way, file};
use devices::console::Port;
use emu::machine::Stop;
use harness::engine::file::MachineFile;
use harness::file::HostFile;
use snapshot::{Memory, Pages, Snapshot, Space, Writer};
use std::fmt::Write as _;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A line for each call.
fn lines(log: &[Call]) -> String {
    let mut text = String::new();
    for call in log {
        match call {
            Call::Run { stop, count } => {
                let reason = match stop {
                    Stop::Due => 0,
                    Stop::Halted { .. } => 1,
                    Stop::HaltedForGood => 2,
                    Stop::PowerOff { .. } => 3,
                    Stop::Reset => 4,
                };
                writeln!(text, "run {reason} {count}").unwrap();
            }
            Call::SkipTo(tick) => writeln!(text, "skip {tick}").unwrap(),
            Call::Push(port, bytes) => {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                writeln!(text, "push {} {hex}", port.index()).unwrap();
            }
        }
    }
    text
}

/// A folder as `replay.py` wants it.
fn folder(name: &str, way: &Way, snapshot: Option<&Path>) -> PathBuf {
    let folder = scratch(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config"), module_config(&MachineFile::open(&packed().wasm).unwrap())).unwrap();
    fs::write(folder.join("log"), lines(&way.log)).unwrap();
    if let Some(path) = snapshot {
        let snapshot = Snapshot::open(HostFile::open("snapshot", path).unwrap()).unwrap();
        let mut layout = format!("{}\n", snapshot.header().pages_offset());
        for space in snapshot.spaces() {
            let disk = if let Space::Disk(number) = space { i32::from(number) } else { -1 };
            for run in snapshot.runs(space) {
                writeln!(layout, "{disk} {} {} {}", run.address, run.file_offset, run.len).unwrap();
            }
        }
        fs::write(folder.join("layout"), layout).unwrap();
        fs::copy(path, folder.join("snapshot")).unwrap();
    }
    folder
}

/// Lets wasmtime do the same, and compares what it says and what it comes to.
fn assert_wasmtime_does(name: &str, way: &Way, snapshot: Option<&Path>) {
    let folder = folder(name, way, snapshot);
    let python = std::env::var_os("PREBAKE_PYTHON").unwrap_or("python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts/replay.py");
    succeed(Command::new(python).arg(script).arg(&packed().wasm).arg(&folder));

    let said = |number: usize| fs::read(folder.join(format!("said.{number}"))).unwrap_or_default();
    for port in Port::ALL {
        assert_eq!(said(port.index()), way.said.ports[port.index()], "{name}: {port:?}");
    }
    assert_eq!(said(255), way.said.serial, "{name}: serial port");
    let left = |name: &str| fs::read(folder.join(name)).unwrap();
    let (records, ram, upper) = (left("records"), left("ram"), left("upper"));
    let records = Snapshot::open(records.as_slice()).unwrap();
    let mut writer = Writer::new(*records.machine());
    writer.add_sections_of(&records).unwrap();
    let mut saved = Cursor::new(Vec::new());
    let memory = Memory::of_ram(Pages::new(&ram)).with_disk(1, Pages::new(&upper));
    writer.write(memory, &mut saved).unwrap();
    assert_same(&saved.into_inner(), &way.end, &format!("{name}: wasmtime (first) and natively"));
}

#[test]
#[ignore = "needs the Python package wasmtime; PREBAKE_PYTHON names the interpreter that has it"]
fn wasmtime_comes_to_the_same_bytes() {
    in_turn(|| {
        let boot = Way::to_barrier();
        assert_wasmtime_does("wasmtime-boot", &boot, None);
        let barrier = file("wasmtime.snap", &boot.end);
        let script = Way::through(
            &barrier,
            &["torture\n", crate::disks::FILL, crate::disks::READ, "ls -lR /bin | md5sum; sleep 9; date\n", "exit 0\n"],
        );
        assert_wasmtime_does("wasmtime-script", &script, Some(&barrier));
    });
}
