//! A machine whose own code may not be run has the shipped machine's in WAMR, around the parts of its file.

use crate::common::{machine_folder, report, run, scratch, succeed, text};
use crate::host::{assert_same, packed, packer};
use crate::machine;
use crate::refused::text_of;
use prebake::artifact::{Artifact, PartInput, PartKind, pack};
use prebake::host::file::HostFile;
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What prebake is shipped with, as it is installed: with compiled code.
pub fn installed() -> &'static Path {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let folder = scratch("installed");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        for name in ["machine.wasm", "prebake-wamrc"] {
            symlink(machine_folder().join(name), folder.join(name)).unwrap();
        }
        // This leaves the code in the user's cache.
        packed();
        succeed(packer("aot").arg("--ship").arg(folder.join("code")));
        folder
    })
}

fn open(path: &Path) -> Artifact<HostFile> {
    Artifact::open(HostFile::open("machine", path).unwrap()).unwrap()
}

/// The tests' machine with other code.
fn with_code(name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> PathBuf {
    let ours = open(&packed().aot);
    let parts = ours.parts().iter().map(|part| PartInput::new(part.kind, part.length, ours.reader(part))).collect();
    let path = scratch(name);
    pack(&change(ours.code().unwrap()), ours.size(), parts, &mut fs::File::create(&path).unwrap()).unwrap();
    path
}

/// The tests' machine with code that nobody knows, and that would not get far: it is breakpoints.
fn foreign() -> &'static Path {
    static FOREIGN: OnceLock<PathBuf> = OnceLock::new();
    FOREIGN.get_or_init(|| {
        with_code("foreign-code.aot", |mut code| {
            let text = text_of(&code);
            code[text.start + text.len() / 8..text.end].fill(0xcc);
            moved(code)
        })
    })
}

/// A code file with one data segment more, so that the payload lies elsewhere, as where code was translated.
fn moved(mut code: Vec<u8>) -> Vec<u8> {
    const MORE: usize = 8192;
    // The length of the section that has the segments, how many there are, and the length of the last, which is empty.
    let packed = fs::read(&packed().aot).unwrap();
    let payload = u64::from_le_bytes(packed[packed.len() - 16..][..8].try_into().unwrap()) as usize;
    for (at, more) in [(68, MORE + 16), (96, 1), (payload - 4, MORE)] {
        let field = u32::from_le_bytes(code[at..][..4].try_into().unwrap()) + more as u32;
        code[at..][..4].copy_from_slice(&field.to_le_bytes());
    }
    let mut segment = [0; MORE + 16];
    segment[MORE] = 1; // passive
    code.splice(payload..payload, segment);
    code
}

/// The program of a user who has never compiled anything.
fn stranger(shipped: &Path, verb: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    let cache = scratch("strangers-cache");
    command.env("PREBAKE_MACHINE", shipped).env("PREBAKE_CACHE", cache).arg(verb);
    command
}

const NOT_TRUSTED: &str = "was not compiled here and is not trusted, so it does not run; ";

#[test]
fn foreign_code_gives_way_to_the_shipped_machines_with_the_same_bytes() {
    let json = scratch("fallback.json");
    let bake = |engine: &str, name: &str| {
        let snapshot = scratch(name);
        let mut bake = stranger(installed(), "bake");
        let output = succeed(bake.arg(foreign()).args(["--engine", engine, "--json"]).arg(&json).arg("-o").arg(&snapshot));
        (snapshot, text(&output.stderr), report(&json)["engine"].clone())
    };
    let (native, said, engine) = bake("native", "fallback-native.snap");
    assert!(engine == "native" && !said.contains("trusted"), "{engine} {said}");
    let (shipped, said, engine) = bake("wamr", "fallback-shipped.snap");
    assert_eq!(engine, "wamr-aot", "{said}");
    let told = "using the code of the machine that prebake is shipped with instead; to trust it, see prebake trust --help";
    assert!(said.contains(&format!("foreign-code.aot {NOT_TRUSTED}{told}")), "{said}");
    assert_same(&fs::read(&shipped).unwrap(), &fs::read(native).unwrap(), "with the shipped machine's code (first) and natively");

    // All of its root is there, mapped or read.
    let wanted = run(stranger(installed(), "run").arg(foreign()).arg("--snapshot").arg(&shipped).args(["--engine", "native"]), READ);
    for options in [&[][..], &["--verify"]] {
        let mut command = stranger(installed(), "run");
        command.arg(foreign()).arg("--snapshot").arg(&shipped).args(["--engine", "wamr", "--json"]).arg(&json).args(options);
        let output = run(&mut command, READ);
        assert_eq!((output.status.code(), &output.stdout), (Some(3), &wanted.stdout), "{}", text(&output.stderr));
        assert_eq!(report(&json)["engine"], "wamr-aot");
    }
}

const READ: &[u8] = b"md5sum </dev/vda; exit 3\n";

#[test]
fn the_native_engine_is_usual_and_where_there_is_no_shipped_code() {
    let json = scratch("no-fallback.json");
    let ran = |shipped: &Path, options: &[&str]| {
        let output = run(stranger(shipped, "run").arg(foreign()).arg("--json").arg(&json).args(options), b"uname -m; exit 3\n");
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(3), "x86_64\n".into()), "{said}");
        assert_eq!(report(&json)["engine"], "native");
        said
    };
    let said = ran(installed(), &[]);
    assert!(said.contains(&format!("{NOT_TRUSTED}using the native engine instead; to trust it")), "{said}");
    let said = ran(&machine_folder(), &["--engine", "wamr"]);
    assert!(
        said.contains(&format!("{NOT_TRUSTED}using the native engine instead, since the machine that prebake is shipped with")),
        "{said}"
    );
    // What lies there without its mark is anyone's.
    let marks = fs::read_dir(installed().join("code")).unwrap().map(|entry| entry.unwrap().path());
    let unmarked = scratch("unmarked");
    let _ = fs::remove_dir_all(&unmarked);
    fs::create_dir_all(unmarked.join("code")).unwrap();
    for path in marks.filter(|path| path.extension().is_some_and(|extension| extension == "aot")) {
        fs::copy(&path, unmarked.join("code").join(path.file_name().unwrap())).unwrap();
    }
    for name in ["machine.wasm", "prebake-wamrc"] {
        symlink(machine_folder().join(name), unmarked.join(name)).unwrap();
    }
    assert!(ran(&unmarked, &["--engine", "wamr"]).contains("is not compiled here"));
}

#[test]
fn a_part_that_was_changed_is_found_around_the_shipped_code_too() {
    let changed = scratch("changed-part.aot");
    fs::copy(foreign(), &changed).unwrap();
    let machine = open(&changed);
    let at = machine.file_offset(machine.part(PartKind::Root).unwrap()) + 4000;
    fs::File::options().write(true).open(&changed).unwrap().write_all_at(b"changed", at).unwrap();
    let (machine, code) = (machine::open(&changed), open(&packed().aot).code().unwrap());
    assert!(machine.with_code(&code, false).is_ok());
    let error = machine.with_code(&code, true).err().unwrap().to_string();
    assert!(error.contains("root") && error.contains("changed-part.aot"), "{error}");
}

#[test]
fn code_for_a_better_processor_gives_way_too() {
    let better = with_code("better.aot", |mut code| {
        let at = code.windows(9).rposition(|name| name == b"x86-64-v2").unwrap();
        code[at + 8] = b'9';
        code
    });
    let json = scratch("better.json");
    let mut command = stranger(installed(), "run");
    let output = run(command.arg(&better).args(["--engine", "wamr", "--json"]).arg(&json), b"exit 3\n");
    let said = text(&output.stderr);
    assert!(said.contains("better.aot needs x86-64-v9, which this processor is not; using the code of the machine that prebake"), "{said}");
    assert_eq!((output.status.code(), &report(&json)["engine"]), (Some(3), &"wamr-aot".into()), "{said}");
}
