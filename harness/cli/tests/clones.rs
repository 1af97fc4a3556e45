//! Many machines of one snapshot at once: each has memory of its own for what it has changed, and no more.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use common::pty::Session;
use common::{at_prompt, machine_folder, made, prebake, scratch, succeed};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// KiB of its own that an idle machine may have.
const MOST: u64 = 6 << 10;

/// What the machines are of, as `prebake run` is told, in the store at `home`.
type Source = fn(home: &Path) -> Vec<OsString>;

#[test]
fn clones_share_what_they_do_not_change() {
    clones(4, the_demo);
}

#[test]
#[ignore = "make clones"]
fn a_hundred_clones_answer_and_share_what_they_do_not_change() {
    clones(100, the_demo);
}

#[test]
#[ignore = "make clones"]
fn a_hundred_clones_of_alpine_answer_and_share_what_they_do_not_change() {
    clones(100, alpine);
}

/// A shell of the tests' root file system.
fn the_demo(home: &Path) -> Vec<OsString> {
    // A file in the store is mapped; any other is read, since it may change.
    let files = home.join("files");
    fs::create_dir_all(&files).unwrap();
    let snapshot = files.join("prompt.snap");
    fs::copy(at_prompt(), &snapshot).unwrap();
    vec![snapshot.into()]
}

/// A shell of Alpine.
fn alpine(home: &Path) -> Vec<OsString> {
    let image = format!("oci:{}", made(Path::new("images/alpine"), "test-images").display());
    let files = home.join("files");
    fs::create_dir_all(&files).unwrap();
    let [machine, snapshot] = ["alpine.wasm", "alpine.snap"].map(|name| files.join(name).into_os_string());
    let verb = |verb: &str| {
        let mut command = prebake();
        command.env("PREBAKE_HOME", home).env("PREBAKE_MACHINE", machine_folder()).arg(verb);
        command
    };
    succeed(verb("convert").arg(image).arg("-o").arg(&machine));
    succeed(verb("bake").arg("--at").arg("idle").arg(&machine).arg("-o").arg(&snapshot));
    vec!["--engine".into(), "native".into(), machine, "--snapshot".into(), snapshot]
}

fn start(home: &Path, run: &[OsString]) -> Session {
    Session::start(prebake().env("PREBAKE_HOME", home).env("PREBAKE_MACHINE", machine_folder()).arg("run").args(run))
}

/// Starts `count` machines at a shell's prompt, has each answer a question of its own, and looks at their memory.
fn clones(count: usize, source: Source) {
    let home = scratch(&format!("store-of-{count}"));
    let _ = fs::remove_dir_all(&home);
    fs::create_dir_all(&home).unwrap();
    let run = source(&home);

    let begin = Instant::now();
    let mut sessions: Vec<_> = (0..count).map(|_| start(&home, &run)).collect();
    for (number, session) in sessions.iter_mut().enumerate() {
        session.type_in(&format!("echo $(({number}*7))x\r"));
    }
    for (number, session) in sessions.iter_mut().enumerate() {
        session.wait_for(&format!("\r\n{}x", number * 7));
    }
    let took = begin.elapsed().as_secs_f64();
    // Idle, they wait for input.
    std::thread::sleep(Duration::from_millis(500));
    let mut own: Vec<u64> = sessions.iter().map(|session| private_dirty(session.child.id())).collect();
    own.sort_unstable();
    println!(
        "{count} machines, {:.0} started a second, all have answered after {took:.1} s; KiB of its own that each has: {own:?}",
        count as f64 / took
    );
    assert!(own[count - 1] <= MOST, "{own:?}");
    for session in &mut sessions {
        session.type_in("exit\r");
    }
    for session in sessions {
        assert!(session.end().success());
    }
    fs::remove_dir_all(home).unwrap();
}

/// KiB of a process's memory that it has changed and shares with no other.
fn private_dirty(process: u32) -> u64 {
    let memory = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let line = memory.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}
