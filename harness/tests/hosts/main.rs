//! The same machine and the same input give the same bytes on every host: as a part of a program, compiled by WAMR, interpreted by WAMR, and
//! in wasmtime. Floating point is where they could part, so the guest runs `guest/torture`.
//!
//! What takes longer is ignored by default: `cargo test -p harness --test hosts -- --ignored`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

#[path = "../common/mod.rs"]
mod common;
mod disks;
mod host;
mod log;
mod reading;
mod wasmtime;

use common::{guest, scratch, succeed, text};
use devices::console::Port;
use emu::machine::Stop;
use harness::engine::Engine;
use host::{Host, assert_same, in_turn, save};
use log::{Call, Listener, Recording, Said, replay};
use std::path::{Path, PathBuf};

/// A machine's way: its input, what it said, and what it was at the end.
struct Way {
    log: Vec<Call>,
    said: Said,
    end: Vec<u8>,
}

impl Way {
    /// From power-on to the barrier, natively.
    fn to_barrier() -> Self {
        let listener = Listener::default();
        let mut engine = Host::Native.boot(&listener);
        let log = Recording::new(&mut *engine, &listener).boot();
        Self { log, said: listener.said().clone(), end: save(&mut *engine) }
    }

    /// From a snapshot at the barrier through a script, natively. The script succeeds.
    fn through(snapshot: &Path, lines: &[&str]) -> Self {
        let listener = Listener::default();
        let mut engine = Host::Native.restore(snapshot, &listener);
        let log = Recording::new(&mut *engine, &listener).script(lines);
        let said = listener.said().clone();
        assert_eq!((said.on(Port::Control), said.on(Port::Stderr)), ("exit 0\n", ""));
        Self { log, said, end: save(&mut *engine) }
    }

    /// Goes it again, with another machine.
    fn follow(&self, engine: &mut dyn Engine, listener: &Listener) {
        self.log.iter().for_each(|call| replay(engine, call, listener, &self.said));
        self.assert_said(listener);
    }

    fn assert_said(&self, listener: &Listener) {
        assert!(*listener.said() == self.said, "the guest said\n{}", listener.said().difference(&self.said));
    }
}

/// Writes a snapshot to a file.
fn file(name: &str, snapshot: &[u8]) -> PathBuf {
    let path = scratch(name);
    std::fs::write(&path, snapshot).unwrap();
    path
}

/// Every host boots, saves, restores what another one saved, and goes through the script.
fn assert_all_the_same(lines: &[&str]) {
    let boot = Way::to_barrier();
    let barrier = file("barrier.snap", &boot.end);
    let script = Way::through(&barrier, lines);
    for host in [Host::Aot, Host::Interpreter] {
        let listener = Listener::default();
        let mut engine = host.boot(&listener);
        boot.follow(&mut *engine, &listener);
        let saved = save(&mut *engine);
        drop(engine);
        assert_same(&saved, &boot.end, &format!("booted by {host:?} (first) and natively"));

        let listener = Listener::default();
        let mut engine = host.restore(&barrier, &listener);
        script.follow(&mut *engine, &listener);
        assert_same(&save(&mut *engine), &script.end, &format!("restored and run by {host:?} (first) and natively"));
    }
    for host in [Host::Native, Host::Aot] {
        let listener = Listener::default();
        let mut engine = host.restore_by_reading(&barrier, &listener);
        script.follow(&mut *engine, &listener);
        assert_same(&save(&mut *engine), &script.end, &format!("read as it was touched by {host:?} (first) and mapped"));
    }
}

#[test]
fn every_host_comes_to_the_same_bytes() {
    in_turn(|| {
        assert_all_the_same(&[
            "torture 61\n",
            disks::FILL,
            disks::READ,
            "head -c 99 /dev/urandom | md5sum; ls -lR /bin | md5sum; sleep 9; date\n",
            "exit 0\n",
        ])
    });
}

#[test]
#[ignore = "a hundred million instructions on each host"]
fn every_host_comes_to_the_same_bytes_after_all_cases() {
    in_turn(|| assert_all_the_same(&["torture\n", "head -c 200000 /bin/busybox | gzip | md5sum\n", "exit 0\n"]));
}

/// A machine is saved in the midst of its computations and goes on elsewhere, several times.
#[test]
fn a_machine_may_move_from_host_to_host() {
    in_turn(|| {
        let barrier = file("before.snap", &Way::to_barrier().end);
        let way = Way::through(&barrier, &["torture 61\n", disks::COPY, "torture 59\n", disks::CHANGE, disks::READ, "exit 0\n"]);
        let count = |call: &Call| if let Call::Run { count, .. } = call { Some(*count) } else { None };
        let total = way.log.iter().filter_map(count).max().unwrap();

        let listener = Listener::default();
        let mut hosts = Host::ALL.iter().cycle();
        let mut engine = hosts.next().unwrap().restore(&barrier, &listener);
        let (mut next, step) = (engine.count(), (total - engine.count()) / 8);
        let mut moves = 0;
        for call in &way.log {
            if let Call::Run { count, .. } = call {
                while next + step < *count {
                    next += step;
                    assert_eq!(engine.run(next).unwrap(), Stop::Due);
                    let moved = file("moved.snap", &save(&mut *engine));
                    // WAMR has one machine at a time.
                    drop(engine);
                    engine = hosts.next().unwrap().restore(&moved, &listener);
                    moves += 1;
                }
            }
            replay(&mut *engine, call, &listener, &way.said);
        }
        assert!(moves >= 6, "{moves}");
        way.assert_said(&listener);
        assert_same(&save(&mut *engine), &way.end, "moved (first) and at rest");
    });
}

/// WAMR makes faster code for a memory that can neither grow nor be asked how large it is, and whatever is behind the heap is the machine's.
#[test]
fn the_modules_memory_is_what_it_was_made() {
    use wasmparser::{Operator, Parser, Payload};
    let module = std::fs::read(common::machine_folder().join("machine.wasm")).unwrap();
    let mut functions = 0;
    for payload in Parser::new(0).parse_all(&module) {
        let Payload::CodeSectionEntry(body) = payload.unwrap() else { continue };
        functions += 1;
        for operator in body.get_operators_reader().unwrap() {
            assert!(!matches!(operator.unwrap(), Operator::MemoryGrow { .. } | Operator::MemorySize { .. }), "function {functions}");
        }
    }
    assert!(functions > 1000, "{functions}");
}

/// The guest's floating point is this processor's, but for the instructions that approximate.
#[cfg(target_arch = "x86_64")]
#[test]
fn floating_point_is_the_processors() {
    let here = succeed(&mut std::process::Command::new(guest("tests/bin/torture")));
    let barrier = file("torture.snap", &Way::to_barrier().end);
    let there = Way::through(&barrier, &["torture\n", "exit 0\n"]);
    let exact = |output: &str| output.lines().filter(|line| !line.contains('~')).map(str::to_owned).collect::<Vec<_>>();
    let (here, there) = (exact(&text(&here.stdout)), exact(there.said.on(Port::Stdout)));
    assert!(here.len() > 100 && there.len() == here.len(), "{here:?} {there:?}");
    let differing: Vec<_> = there.iter().zip(&here).filter(|(there, here)| there != here).collect();
    assert!(differing.is_empty(), "the guest's and this processor's: {differing:#?}");
}
