//! What is no machine, or no snapshot of it, is refused before anything runs.

use crate::common::{assert_fails, bake, report, run, scratch, text};
use crate::host::packed;
use prebake::artifact::{Artifact, PartInput, pack};
use prebake::host::file::HostFile;
use snapshot::{Digest, MachineId, Model, Pages, Writer};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where an .aot says for which processor it is: a name in 16 bytes, padded with zeroes.
const ARCHITECTURE: Range<usize> = 48..64;

/// A file made of the machine's own.
fn made(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let mut bytes = fs::read(&packed().aot).unwrap();
    change(&mut bytes);
    let path = scratch(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn run_of(machine: &Path, cache: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    command.env("PREBAKE_CACHE", cache).arg("run").arg(machine);
    command
}

#[test]
fn code_of_another_wamr_is_refused_on_both_engines() {
    let cache = tempfile::tempdir().unwrap();
    for version in [5, 7] {
        let other = made("version.aot", |bytes| bytes[4] = version);
        let found = format!("version {version}");
        for engine in ["wamr", "native"] {
            let words = [found.as_str(), "reads version 6", "make the file again"];
            assert_fails(run_of(&other, cache.path()).args(["--engine", engine]), "other-code-version", &words);
        }
    }
}

#[test]
fn code_for_another_processor_is_refused_though_it_is_trusted() {
    let ours = Artifact::open(HostFile::open("machine", &packed().aot).unwrap()).unwrap();
    let mut code = ours.code().unwrap();
    code[ARCHITECTURE].copy_from_slice(b"riscv64\0\0\0\0\0\0\0\0\0");
    let parts = ours.parts().iter().map(|part| PartInput::new(part.kind, part.length, ours.reader(part))).collect();
    let foreign = scratch("foreign.aot");
    pack(&code, ours.size(), parts, &mut fs::File::create(&foreign).unwrap()).unwrap();

    let cache = cache_that_knows(&code);
    assert_fails(&mut run_of(&foreign, cache.path()), "module", &["the .aot is for riscv64", std::env::consts::ARCH, "compile the module"]);
}

/// A cache by which this code was compiled here.
fn cache_that_knows(code: &[u8]) -> tempfile::TempDir {
    let cache = tempfile::tempdir().unwrap();
    let mark = cache.path().join(format!("code/{}.trusted", Digest::of(code).to_string().trim_start_matches("blake3:")));
    fs::create_dir(cache.path().join("code")).unwrap();
    fs::write(mark, "x86_64:x86-64-v2").unwrap();
    cache
}

/// Where an .aot's machine code is: its second section, behind the magic number and the version. A section has a number, a length and so many bytes.
pub fn text_of(code: &[u8]) -> Range<usize> {
    let word = |at: usize| u32::from_le_bytes(code[at..][..4].try_into().unwrap()) as usize;
    let mut at = 8_usize;
    loop {
        at = at.next_multiple_of(4);
        let (kind, end) = (word(at), at + 8 + word(at + 4));
        if kind == 2 {
            return at + 8..end;
        }
        at = end;
    }
}

/// In a machine that was trained, what was translated stands there.
#[test]
fn code_with_a_changed_byte_at_its_end_is_not_run() {
    let ours = Artifact::open(HostFile::open("machine", &packed().aot).unwrap()).unwrap();
    let mut code = ours.code().unwrap();
    let (cache, json) = (cache_that_knows(&code), scratch("tampered.json"));
    let engine_of = |machine: &Path| {
        let output = run(run_of(machine, cache.path()).arg("--json").arg(&json), b"exit 3\n");
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        report(&json)["engine"].clone()
    };
    assert_eq!(engine_of(&packed().aot), "wamr-aot");

    let at = text_of(&code).end - 64;
    code[at] ^= 1;
    let parts = ours.parts().iter().map(|part| PartInput::new(part.kind, part.length, ours.reader(part))).collect();
    let tampered = scratch("tampered.aot");
    pack(&code, ours.size(), parts, &mut fs::File::create(&tampered).unwrap()).unwrap();
    assert_eq!(engine_of(&tampered), "native");
}

#[test]
fn code_that_nobody_knows_is_not_run() {
    let (cache, json) = (tempfile::tempdir().unwrap(), scratch("unknown.json"));
    let output = run(run_of(&packed().aot, cache.path()).arg("--json").arg(&json), b"uname -m; exit 3\n");
    let message = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(3), "x86_64\n".into()), "{message}");
    assert!(message.contains("was not compiled here") && message.contains("native engine instead"), "{message}");
    assert_eq!(report(&json)["engine"], "native");
}

#[test]
fn a_machine_without_its_end_is_refused_on_both_engines() {
    let cache = tempfile::tempdir().unwrap();
    let whole = fs::metadata(&packed().aot).unwrap().len() as usize;
    for length in [0, 7, 100, 1 << 20, whole / 2, whole - 1] {
        let cut = made("cut.aot", |bytes| bytes.truncate(length));
        for engine in ["wamr", "native"] {
            let output = run(run_of(&cut, cache.path()).args(["--engine", engine]), b"echo ran\n");
            let message = text(&output.stderr);
            assert_eq!((output.status.code(), text(&output.stdout)), (Some(125), String::new()), "{length}: {message}");
            let named = ["truncated", "not a machine", "no payload"].iter().any(|words| message.contains(words));
            assert!(named && message.contains("cut.aot"), "{length}: {message}");
        }
    }
}

#[test]
fn a_snapshot_of_another_model_is_refused_on_both_engines() {
    let path = scratch("model.snap");
    let machine = MachineId { model: Model::new("pc1-v3/1").unwrap(), ram_size: 64 << 20, devices: 0 };
    Writer::new(machine).write(Pages::new(&vec![0; 64 << 20]), &mut fs::File::create(&path).unwrap()).unwrap();
    let plain = scratch("plain.snap");
    bake(&plain, &["--memory", "64", "--net", "user"]);
    for engine in ["wamr", "native"] {
        let restore = |snapshot: &Path| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
            command.arg("run").arg(&packed().aot).args(["--engine", engine]).arg("--snapshot").arg(snapshot);
            command
        };
        assert_fails(&mut restore(&path), "wrong-model", &["pc1-v3/1", "pc1-v2/1"]);
        // The right model and size, without this machine's disks.
        assert_fails(&mut restore(&plain), "wrong-disk", &["root disk"]);
    }
}
