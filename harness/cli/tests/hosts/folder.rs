//! Hosts that are other programs. A folder has what such a program is to do, and then what its machine came to.

use crate::RecordedRun;
use crate::common::{made, scratch, succeed};
use crate::log::GuestOutput;
use crate::machine::{Host, module_config};
use prebake::host::file::HostFile;
use snapshot::{Memory, Pages, Snapshot, Space, Writer};
use std::fmt::Write as _;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder with the calls of a way, one in a line of `log`, and the `snapshot` that it starts from.
fn folder(name: &str, way: &RecordedRun, from: Option<&Path>) -> PathBuf {
    let folder = scratch(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("log"), way.log.iter().map(|call| format!("{call}\n")).collect::<String>()).unwrap();
    if let Some(path) = from {
        fs::copy(path, folder.join("snapshot")).unwrap();
    }
    folder
}

/// What the guest wrote on each port: `said.NUMBER`, if it wrote there.
fn said(folder: &Path) -> GuestOutput {
    let mut said = GuestOutput::default();
    for (number, bytes) in said.streams_mut() {
        *bytes = fs::read(folder.join(format!("said.{number}"))).unwrap_or_default();
    }
    said
}

/// See [`Place::Wasmtime`](crate::host::Place). The Machine ABI is all there is: nothing of `prebake` is in between.
pub fn go_in_wasmtime(machine: &Path, way: &RecordedRun, from: Option<&Path>) -> Vec<u8> {
    let python = std::env::var_os("PREBAKE_PYTHON").unwrap_or("python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts/replay.py");
    go_by_program("wasmtime", Command::new(python).arg(script), machine, way, from)
}

/// See [`Place::V8`](crate::host::Place): what `make web` has built is in between, as in a page.
pub fn go_in_v8(host: &str, machine: &Path, way: &RecordedRun, from: Option<&Path>) -> Vec<u8> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/tests/replay.mjs");
    go_by_program(host, Command::new("node").arg(script).arg(host), machine, way, from)
}

/// A program that is given the machine and a folder, does what the folder says, and leaves there what the machine came to.
fn go_by_program(name: &str, program: &mut Command, machine: &Path, way: &RecordedRun, from: Option<&Path>) -> Vec<u8> {
    let folder = folder(name, way, from);
    fs::write(folder.join("config"), module_config(machine)).unwrap();
    if let Some(path) = from {
        let snapshot = Snapshot::open(HostFile::open("snapshot", path).unwrap()).unwrap();
        let mut layout = format!("{}\n", snapshot.header().pages_offset());
        for space in snapshot.spaces() {
            let disk = if let Space::Disk(number) = space { i32::from(number) } else { -1 };
            for run in snapshot.runs(space) {
                writeln!(layout, "{disk} {} {} {}", run.address, run.file_offset, run.len).unwrap();
            }
        }
        fs::write(folder.join("layout"), layout).unwrap();
    }
    succeed(program.arg(machine).arg(&folder));

    way.assert_said(&said(&folder));
    let left = |name: &str| fs::read(folder.join(name)).unwrap();
    let (records, ram, upper) = (left("records"), left("ram"), left("upper"));
    let records = Snapshot::open(records.as_slice()).unwrap();
    let mut writer = Writer::new(*records.machine());
    writer.add_sections_of(&records).unwrap();
    let mut saved = Cursor::new(Vec::new());
    let memory = Memory::of_ram(Pages::new(&ram)).with_disk(1, Pages::new(&upper));
    writer.write(memory, &mut saved).unwrap();
    saved.into_inner()
}

/// See [`Place::Aarch64`](crate::host::Place).
pub fn go_on_aarch64(host: Host, machine: &Path, way: &RecordedRun, from: Option<&Path>) -> Vec<u8> {
    let folder = folder("aarch64", way, from);
    succeed(aarch64("examples/replay").arg(machine).arg(format!("{host:?}")).arg(&folder));
    way.assert_said(&said(&folder));
    fs::read(folder.join("saved")).unwrap()
}

/// A program for aarch64 that `make aarch64` builds.
pub fn aarch64(program: &str) -> Command {
    let mut command = Command::new("qemu-aarch64-static");
    command.args(["-L", "/usr/aarch64-linux-gnu"]);
    command.arg(made(&Path::new("aarch64/aarch64-unknown-linux-gnu/release").join(program), "aarch64"));
    command
}
