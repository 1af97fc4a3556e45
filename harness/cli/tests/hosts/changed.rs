//! Files that are changed while a machine runs from them: a guest could, if their folder is its volume.

use crate::common::pty::Session;
use crate::common::{scratch, text};
use crate::disks::bake;
use crate::host::packed;
use snapshot::Snapshot;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn prebake() -> Command {
    Command::new(env!("CARGO_BIN_EXE_prebake"))
}

fn copy(path: &Path, name: &str) -> PathBuf {
    let copy = scratch(name);
    let _ = fs::remove_file(&copy);
    fs::copy(path, &copy).unwrap();
    copy
}

/// Other bytes in every page of a snapshot.
fn rewrite(path: &Path) {
    let start = Snapshot::open(fs::read(path).unwrap().as_slice()).unwrap().header().pages_offset();
    let length = fs::metadata(path).unwrap().len() - start;
    File::options().write(true).open(path).unwrap().write_all_at(&vec![0xff; length as usize], start).unwrap();
}

fn shorten(path: &Path) {
    File::options().write(true).open(path).unwrap().set_len(1 << 20).unwrap();
}

/// Runs programs that were not touched before, with `meddle` in the middle.
fn run_with(command: &mut Command, meddle: impl FnOnce()) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    stdin.write_all(b"echo ready\n").unwrap();
    let mut ready = [0; 6];
    stdout.read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
    meddle();
    let _ =
        stdin.write_all(b"for file in /bin/*; do md5sum <$file; done | sort -u; seq 2000 | awk '{ s += $1 } END { print s }'; exit 3\n");
    drop(stdin);
    let mut said = Vec::new();
    stdout.read_to_end(&mut said).unwrap();
    Output { stdout: said, ..child.wait_with_output().unwrap() }
}

#[test]
fn a_snapshot_that_is_changed_after_it_was_restored_changes_no_memory_and_kills_nobody() {
    let machine = &packed().aot;
    let snapshot = bake(machine, "changed-whole.snap", &[]);
    let run_of = |snapshot: &Path, engine: &str| {
        let mut command = prebake();
        command.arg("run").arg(machine).arg("--snapshot").arg(snapshot).args(["--engine", engine]);
        command
    };
    let wanted = run_with(&mut run_of(&snapshot, "wamr"), || ());
    assert_eq!(wanted.status.code(), Some(3), "{}", text(&wanted.stderr));
    for meddle in [rewrite, shorten] {
        for engine in ["wamr", "native"] {
            let own = copy(&snapshot, "changed.snap");
            let output = run_with(&mut run_of(&own, engine), || meddle(&own));
            let said = text(&output.stderr);
            assert_eq!((output.status.code(), &output.stdout), (Some(3), &wanted.stdout), "{engine}: {said}");
            // What is read later is verified then.
            let own = copy(&snapshot, "changed.snap");
            let output = run_with(run_of(&own, engine).args(["--restore", "read"]), || meddle(&own));
            let said = text(&output.stderr);
            assert!(
                output.status.code() == Some(125) && (said.contains("changed.snap") || engine == "wamr"),
                "{engine}, {:?}: {said}",
                output.status
            );
        }
    }
}

#[test]
fn a_machine_that_is_shortened_is_named_and_the_terminal_is_the_users_again() {
    let snapshot = bake(&packed().aot, "shortened.snap", &[]);
    for engine in ["wamr", "native"] {
        let machine = copy(&packed().aot, "shortened.aot");
        let mut session = Session::start(prebake().arg("run").arg(&machine).arg("--snapshot").arg(&snapshot).args(["--engine", engine]));
        session.wait_for("# ");
        shorten(&machine);
        session.type_in("cat /dev/vda | md5sum; echo the''end\r");
        if engine == "wamr" {
            session.wait_for("shortened.aot");
            assert_eq!(session.end().code(), Some(125));
        } else {
            session.wait_for("theend\r\n");
            assert!(session.before.contains("error"), "{}", session.before);
            session.type_in("exit 4\r");
            assert_eq!(session.end().code(), Some(4));
        }
    }
}
