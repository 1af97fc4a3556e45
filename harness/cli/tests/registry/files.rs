//! Small machines and snapshots.

use emu::machine::model::MODEL;
use prebake::artifact::{MachineSize, PartInput, PartKind, link, pack, with_cpu};
use snapshot::{MachineId, Pages, Writer};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

pub const RAM_SIZE: u64 = 32 << 20;

/// A machine in `folder`. Of other `kernel`s it is another.
pub fn machine(folder: &Path, name: &str, kernel: &[u8]) -> PathBuf {
    machine_with(folder, name, kernel, RAM_SIZE)
}

/// The same in native code that says what processor it was compiled for.
pub fn machine_for(folder: &Path, name: &str, cpu: &str) -> PathBuf {
    pack_machine(with_cpu(OLD_CODE.to_vec(), cpu), &folder.join(name), b"kernel", RAM_SIZE)
}

/// Native code from before that was recorded.
const OLD_CODE: &[u8] = include_bytes!("../../../tests/data/payload.aot");

pub fn machine_with(folder: &Path, name: &str, kernel: &[u8], ram_size: u64) -> PathBuf {
    pack_machine(code_of(name), &folder.join(name), kernel, ram_size)
}

/// A machine in `folder` with these parts.
pub fn machine_of(folder: &Path, name: &str, parts: &[(PartKind, Vec<u8>)], ram_size: u64) -> PathBuf {
    pack_parts(code_of(name), &folder.join(name), parts, ram_size)
}

fn code_of(name: &str) -> Vec<u8> {
    match name.ends_with(".aot") {
        true => OLD_CODE.to_vec(),
        false => link(&wat::parse_str(include_str!("../../../tests/data/payload.wat")).unwrap()).unwrap(),
    }
}

fn pack_machine(code: Vec<u8>, path: &Path, kernel: &[u8], ram_size: u64) -> PathBuf {
    pack_parts(code, path, &[(PartKind::Kernel, kernel.to_vec()), (PartKind::Metadata, b"{\"append\":\"\"}".to_vec())], ram_size)
}

fn pack_parts(code: Vec<u8>, path: &Path, parts: &[(PartKind, Vec<u8>)], ram_size: u64) -> PathBuf {
    let size = MachineSize { pages: (ram_size / 65_536) as u32 + 16, ram_size };
    let parts = parts.iter().map(|(kind, content)| PartInput::new(*kind, content.len() as u64, content.as_slice())).collect();
    pack(&code, size, parts, &mut File::create(path).unwrap()).unwrap();
    path.into()
}

/// Bytes without a pattern, so that they do not shrink on the way.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A snapshot in `folder` of a machine with this much memory, and some noise in it.
pub fn snapshot(folder: &Path, name: &str, ram_size: u64) -> PathBuf {
    let mut ram = vec![0; ram_size as usize];
    ram[1 << 20..(1 << 20) + 300_000].copy_from_slice(&noise(300_000, 7));
    let path = folder.join(name);
    let writer = Writer::new(MachineId { model: MODEL, ram_size, devices: 0 });
    writer.write(Pages::new(&ram), &mut File::create(&path).unwrap()).unwrap();
    path
}

/// All files below `folder`, by name, without locks.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.retain(|path| !path.to_string_lossy().ends_with("lock"));
    found.sort();
    found
}
