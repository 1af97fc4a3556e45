//! Many machines of one snapshot at once: each has memory of its own for what it has changed, and no more.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use common::pty::Session;
use common::{at_prompt, prebake, scratch};
use std::fs;
use std::time::{Duration, Instant};

/// KiB of its own that an idle machine may have.
const MOST: u64 = 6 << 10;

#[test]
fn clones_share_what_they_do_not_change() {
    clones(4);
}

#[test]
#[ignore = "make clones"]
fn a_hundred_clones_answer_and_share_what_they_do_not_change() {
    clones(100);
}

/// Starts `count` machines at the shell's prompt, has each answer a question of its own, and looks at their memory.
fn clones(count: usize) {
    // A file in the store is mapped; any other is read, since it may change.
    let home = scratch(&format!("store-of-{count}"));
    let files = home.join("files");
    fs::create_dir_all(&files).unwrap();
    let snapshot = files.join("prompt.snap");
    fs::copy(at_prompt(), &snapshot).unwrap();

    let start = Instant::now();
    let mut sessions: Vec<_> = (0..count).map(|_| Session::start(prebake().env("PREBAKE_HOME", &home).arg("run").arg(&snapshot))).collect();
    for (number, session) in sessions.iter_mut().enumerate() {
        session.type_in(&format!("echo $(({number}*7))x\r"));
    }
    for (number, session) in sessions.iter_mut().enumerate() {
        session.wait_for(&format!("\r\n{}x", number * 7));
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    // Idle, they wait for input.
    std::thread::sleep(Duration::from_millis(500));
    let mut own: Vec<u64> = sessions.iter().map(|session| private_dirty(session.child.id())).collect();
    own.sort_unstable();
    println!("{count} machines, {rate:.0} started a second, all have answered; KiB of its own that each has: {own:?}");
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
