//! Files that someone changes while prebake uses them: a guest, if their folder is its volume.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use common::{at_barrier, at_prompt, context, guest, prebake, report, run, scratch, text};
use payload::{MachineSize, Metadata, PartKind, RAM_START};
use prebake::artifact::code_cache::CodeCache;
use prebake::artifact::{MEMORY_PAGE, PartInput, link, pack};
use prebake::context::Context;
use prebake::error::Error;
use prebake::machine::file::MachineFile;
use prebake::machine::program::Program;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use wamr::{Baseline, Options, Runtime};

/// Answers of `pb_abi`, by which the code is known that ran.
const OURS: u32 = 7;
const THEIRS: u32 = 666;

/// A machine with code that says `answer`, compiled and trusted by `context`.
fn machine(context: &Context, answer: u32) -> Vec<u8> {
    // What tells the answers apart is in the middle of several pages of code: pages are what a file is mapped by.
    let other: String = (0..300).map(|n| format!("(func (param i32) (result i32) (i32.mul (local.get 0) (i32.const {n})))")).collect();
    let module = format!(
        r#"(module (memory (export "memory") 1 1)
             (func (export "pb_payload_read") (param i32 i32 i32))
             {other} (func (export "pb_abi") (result i32) (i32.const {answer})) {other})"#
    );
    let code = link(&wat::parse_str(module).unwrap()).unwrap();
    let options = Options::new(Baseline::default_for(std::env::consts::ARCH).unwrap());
    let code = CodeCache::open(context).compiled(&code, &options).unwrap();
    let ram_size = 32 << 20;
    let size = MachineSize { pages: ((RAM_START + ram_size) / MEMORY_PAGE) as u32, ram_size };
    let metadata = Metadata { append: String::new(), upper: 0, network: false, image: None }.encode();
    let root = vec![0x5a; 256 << 10];
    let part = |kind, bytes: &'static [u8]| PartInput::new(kind, bytes.len() as u64, bytes);
    let parts = vec![
        PartInput::new(PartKind::Metadata, metadata.len() as u64, metadata.as_slice()),
        PartInput::new(PartKind::Root, root.len() as u64, root.as_slice()),
        part(PartKind::Kernel, b"kernel"),
    ];
    let mut file = std::io::Cursor::new(Vec::new());
    pack(&code, size, parts, &mut file).unwrap();
    file.into_inner()
}

/// Swaps the bytes of the file at `path` for others and back in every way there is, until `done`.
fn swap(path: &Path, (ours, theirs): (&[u8], &[u8]), done: &AtomicBool) {
    let (beside, length) = (path.with_extension("new"), ours.len() as u64);
    // From the first byte that differs: so that what is judged is long gone when it is changed.
    let first = ours.iter().zip(theirs).position(|(a, b)| a != b).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    let mut round = 0_u32;
    while !done.load(Ordering::Relaxed) {
        round = round.wrapping_add(1);
        match round % 64 {
            0 => {
                file.set_len(length / 2).unwrap();
                file.write_all_at(ours, 0).unwrap();
            }
            // By another file: what was opened before goes on being swapped in place below.
            1 => {
                fs::write(&beside, theirs).unwrap();
                fs::rename(&beside, path).unwrap();
                fs::write(&beside, ours).unwrap();
                fs::rename(&beside, path).unwrap();
            }
            _ => {
                let file = File::options().write(true).open(path).unwrap();
                file.write_all_at(&theirs[first..], first as u64).unwrap();
                (0..round % 7 * 40).for_each(|_| std::hint::spin_loop());
                file.write_all_at(&ours[first..], first as u64).unwrap();
            }
        }
    }
}

#[test]
fn code_that_is_swapped_while_it_is_judged_is_never_run() {
    const TRIES: usize = 10_000;
    let (context, other) = (context("swapped"), context("swapped-elsewhere"));
    let (ours, theirs) = (machine(&context, OURS), machine(&other, THEIRS));
    assert_eq!(ours.len(), theirs.len());
    let last = ours.iter().zip(&theirs).rposition(|(a, b)| a != b).unwrap();
    assert!(last < ours.len() / 4096 * 4096, "what differs is on the last page");
    let path = scratch("swapped.aot");
    fs::write(&path, &ours).unwrap();
    let done = AtomicBool::new(false);
    let (mut ran, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| swap(&path, (&ours, &theirs), &done));
        let attempts = std::thread::Builder::new().stack_size(Runtime::STACK).spawn_scoped(scope, || {
            for _ in 0..TRIES {
                let Ok(file) = MachineFile::open(&context, &path) else { continue };
                let Ok(Ok(module)) = file.runnable(false) else {
                    refused += 1;
                    continue;
                };
                match file.load(module, &[], &Program::default(), None) {
                    Err(Error::ModuleAbi { found: OURS, .. }) => ran += 1,
                    Err(other) => panic!("what ran is not what was judged: {other}"),
                    Ok(_) => unreachable!("there is no such ABI"),
                }
            }
        });
        let ended = attempts.unwrap().join();
        done.store(true, Ordering::Relaxed);
        ended.unwrap();
    });
    assert!(ran > TRIES / 100 && refused > TRIES / 100, "{ran} of {TRIES} ran, {refused} were refused");
}

/// A pipe that nobody writes to or reads from.
fn pipe(name: &str) -> PathBuf {
    let path = scratch(name);
    let _ = fs::remove_file(&path);
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    path
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for() {
    let (snapshot, machine, other) = (pipe("pipe.snap"), pipe("pipe.aot"), pipe("pipe"));
    let other = other.to_str().unwrap();
    let refused = |command: &mut Command| {
        let output = run(command, b"");
        let said = text(&output.stderr);
        assert!(matches!(output.status.code(), Some(2 | 125)) && said.contains("it is a pipe"), "{command:?}: {said}");
    };
    refused(prebake().arg("run").arg(&snapshot));
    refused(prebake().arg("run").arg(&machine));
    refused(prebake().arg("run").arg(at_barrier()).args(["--disk", other]));
    refused(prebake().arg("run").arg(at_barrier()).args(["--env-file", other]));
    refused(prebake().args(["boot", "--kernel", other]));
    refused(prebake().args(["boot", "--kernel"]).arg(guest("vmlinux")).args(["--initrd", other]));
    refused(prebake().args(["inspect", other]));
    refused(prebake().args(["key", "public", other]));
}

#[test]
fn a_report_goes_where_it_was_meant_to_and_nowhere_else() {
    let folder = scratch("reports");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    let at = |name: &str| folder.join(name);
    let run_with = |json: &Path| run(prebake().arg("run").arg(at_barrier()).arg("--json").arg(json), b"echo hello; exit 5\n");

    // A link that someone has laid there is replaced.
    fs::write(at("precious"), "precious").unwrap();
    symlink("precious", at("link.json")).unwrap();
    assert_eq!(run_with(&at("link.json")).status.code(), Some(5));
    assert_eq!(report(&at("link.json"))["exit_code"], 5);
    assert_eq!(fs::read(at("precious")).unwrap(), b"precious");

    // Nothing else is, and that is told before the guest runs.
    mknodat(CWD, at("pipe.json"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    for name in ["pipe.json", "missing/a.json", "."] {
        let output = run_with(&at(name));
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(125), String::new()), "{name}");
    }

    // What the process was started with is written to.
    let shell = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script]).env("PREBAKE", prebake().get_program()).env("SNAPSHOT", at_barrier()).current_dir(&folder);
        assert_eq!(run(&mut command, b"echo hello; exit 5\n").status.code(), Some(5), "{script}");
    };
    shell("exec $PREBAKE run $SNAPSHOT --json /dev/fd/3 3>three.json >/dev/null");
    assert_eq!(report(&at("three.json"))["exit_code"], 5);
    shell("exec $PREBAKE run $SNAPSHOT --json /dev/stdout >both");
    let both = fs::read_to_string(at("both")).unwrap();
    assert!(both.starts_with("hello\n{") && both.ends_with("}\n"), "{both}");
    shell("exec $PREBAKE run $SNAPSHOT --json /dev/null >/dev/null");
}

#[test]
fn what_holds_memory_is_for_its_owner_alone_whatever_the_umask() {
    let home = scratch("modes");
    let _ = fs::remove_dir_all(&home);
    fs::create_dir(&home).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    let open = |script: &str, input: &[u8]| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask 0; exec $PREBAKE {script}")]).env("PREBAKE", prebake().get_program());
        command.env("KERNEL", guest("vmlinux")).env("INITRD", guest("initramfs.cpio")).env("SNAPSHOT", at_prompt());
        command.env("PREBAKE_HOME", home.join("store")).env("PREBAKE_CACHE", home.join("cache")).current_dir(&home);
        let output = run(&mut command, input);
        assert!(output.status.success(), "{script}: {}", text(&output.stderr));
    };
    open("bake --kernel $KERNEL --initrd $INITRD -o own.snap", b"");
    open("run --session work $SNAPSHOT", b"echo hello\n");
    assert_eq!(mode(&home.join("own.snap")), 0o600);
    let session = home.join("store/sessions/work");
    for (name, wanted) in [("", 0o700), ("state.snap", 0o600), ("session.json", 0o600)] {
        assert_eq!(mode(&session.join(name)), wanted, "{name}");
    }
}
