//! A guest, or a user, that goes on for ever: the process stays as large as it is.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{at_barrier, prebake};
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The guest's memory is 128 MiB; this is for everything else.
const MOST: u64 = (128 + 64) << 10;

/// The most memory that a process has had resident, in KiB, by its own account of anonymous and mapped pages.
fn peak(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Waits until the process sleeps and uses no more processor time, so that it has done what it can. False if it never does.
fn comes_to_rest(child: &Child) -> bool {
    let (start, mut before) = (Instant::now(), String::new());
    while start.elapsed() < Duration::from_secs(60) {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let mut fields = stat.rsplit(") ").next().unwrap().split(' ');
        let state = fields.next().unwrap();
        let used = fields.skip(10).take(2).collect::<Vec<_>>().join(" ");
        if state == "S" && used == before {
            return true;
        }
        before = used;
        thread::sleep(Duration::from_millis(250));
    }
    false
}

fn started(first: &[u8]) -> (Child, ChildStdin) {
    let mut command = prebake();
    command.arg("run").arg(at_barrier()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(first).unwrap();
    (child, stdin)
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn output_that_nobody_reads_does_not_pile_up() {
    let (mut child, stdin) = started(b"exec yes 'a line that is longer than most lines are'\n");
    // It does write.
    let mut first = [0; 100_000];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert!(comes_to_rest(&child));
    assert!(peak(&child) < MOST, "{} KiB", peak(&child));
    drop(stdin);
    end(child);
}

#[test]
fn input_that_the_guest_does_not_read_is_not_taken() {
    let (child, mut stdin) = started(b"exec sleep 1000\n");
    let taken = AtomicUsize::new(0);
    thread::scope(|scope| {
        let child = &child;
        scope.spawn(|| {
            // Until the process is gone.
            while let Ok(count) = stdin.write(&[b'x'; 4096]) {
                taken.fetch_add(count, Ordering::Relaxed);
            }
        });
        let rests = comes_to_rest(child);
        let (peak, taken) = (peak(child), taken.load(Ordering::Relaxed));
        rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::KILL).unwrap();
        assert!(rests, "{taken} bytes and more");
        assert!(taken < 1 << 20, "{taken} bytes");
        assert!(peak < MOST, "{peak} KiB");
    });
    let mut child = child;
    child.wait().unwrap();
}
