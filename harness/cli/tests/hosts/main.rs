//! The same machine and the same input give the same bytes on every host: as a part of a program, compiled by WAMR, interpreted by WAMR, and
//! in wasmtime. Floating point is where they could part, so the guest runs `guest/torture`.
//!
//! What takes longer is ignored by default: `cargo test -p prebake-cli --test hosts -- --ignored`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod aarch64;
mod changed;
#[path = "../common/mod.rs"]
mod common;
mod disks;
mod fallback;
mod folder;
mod host;
mod log;
mod machine;
mod network;
mod reading;
mod refused;
mod relocated;
mod translated;

use common::{guest, scratch, succeed, text};
use devices::console::Port;
use emu::machine::Stop;
use host::{Place, assert_same, in_turn};
use log::{Call, GuestOutput, Listener, Recording, replay};
use machine::{Host, save};
use prebake::machine::Engine;
use std::path::{Path, PathBuf};

/// A machine's way: its input, what it said, and what it was at the end.
struct RecordedRun {
    log: Vec<Call>,
    said: GuestOutput,
    end: Vec<u8>,
}

impl RecordedRun {
    /// From power-on to where the guest has settled, natively.
    fn boot() -> Self {
        let listener = Listener::default();
        let mut engine = Host::Native.boot(&listener);
        let log = Recording::new(&mut *engine, &listener).boot();
        Self { log, said: listener.said().clone(), end: save(&mut *engine) }
    }

    /// From a snapshot of that through a script, natively. The script succeeds.
    fn through(snapshot: &Path, lines: &[&str]) -> Self {
        Self::through_with(snapshot, lines, &[])
    }

    /// The same, with frames for the guest before the last line.
    fn through_with(snapshot: &Path, lines: &[&str], frames: &[Vec<u8>]) -> Self {
        let listener = Listener::default();
        let mut engine = Host::Native.restore(snapshot, &listener);
        let log = Recording::new(&mut *engine, &listener).conversation(lines, frames);
        let said = listener.said().clone();
        assert_eq!((said.on(Port::Control), said.on(Port::Stderr)), ("offers exec\nstarted\nexit 0\n", ""));
        Self { log, said, end: save(&mut *engine) }
    }

    /// The two halves of a way from a snapshot, cut amid a run.
    fn halves(&self, from: &Path) -> [Self; 2] {
        let listener = Listener::default();
        let mut engine = Host::Native.restore(from, &listener);
        let middle = engine.count().midpoint(self.last_count());
        let is_behind = |call: &Call| matches!(call, Call::Run { count, .. } if *count > middle);
        let (first, second) = self.log.split_at(self.log.iter().position(is_behind).unwrap());
        let first = [first, &[Call::Run { stop: Stop::Due, count: middle }]].concat();
        let mut half = |log: Vec<Call>| {
            let before = listener.said().clone();
            log.iter().for_each(|call| self.replay(&mut *engine, call, &listener));
            Self { log, said: listener.said().since(&before), end: save(&mut *engine) }
        };
        [half(first), half(second.to_vec())]
    }

    /// The count at the end.
    fn last_count(&self) -> u64 {
        let count = |call: &Call| if let Call::Run { count, .. } = call { Some(*count) } else { None };
        self.log.iter().filter_map(count).max().unwrap()
    }

    /// Does a call of it again.
    fn replay(&self, engine: &mut dyn Engine, call: &Call, listener: &Listener) {
        replay(engine, call).unwrap_or_else(|error| panic!("{error}; the guest said\n{}", listener.said().difference(&self.said)));
    }

    fn assert_said(&self, said: &GuestOutput) {
        assert!(*said == self.said, "the guest said\n{}", said.difference(&self.said));
    }
}

/// Writes a snapshot to a file.
fn file(name: &str, snapshot: &[u8]) -> PathBuf {
    let path = scratch(name);
    std::fs::write(&path, snapshot).unwrap();
    path
}

/// Every place boots, goes on from what its neighbour saved, is saved amid a script, and finishes what was begun.
fn assert_all_the_same(places: &[Place], lines: &[&str]) {
    let boot = RecordedRun::boot();
    let settled = file("settled", &boot.end);
    let [first, second] = RecordedRun::through(&settled, lines).halves(&settled);
    let settled: Vec<_> = places.iter().map(|place| place.follow(&boot, None, "booted")).collect();
    let neighbours = settled.iter().cycle().skip(1);
    let middles: Vec<_> = places.iter().zip(neighbours).map(|(place, settled)| place.follow(&first, Some(settled), "begun")).collect();
    // The middles are equal, so it does not matter which of them is finished.
    let reading = [Host::Native, Host::Aot].map(Place::Reading);
    for place in places.iter().chain(&reading) {
        place.follow(&second, middles.first().map(PathBuf::as_path), "finished");
    }
}

#[test]
fn every_host_comes_to_the_same_bytes() {
    in_turn(|| {
        assert_all_the_same(
            &Place::HERE,
            &[
                disks::FILL,
                "torture 61\n",
                disks::READ,
                "head -c 99 /dev/urandom | md5sum; ls -lR /bin | md5sum; sleep 9; date\n",
                "torture 59\n",
                "exit 0\n",
            ],
        )
    });
}

#[test]
#[ignore = "a hundred million instructions on each host, and wants wasmtime and a build for aarch64: make hosts"]
fn more_hosts_come_to_the_same_bytes_after_all_cases() {
    let others = [Place::Wasmtime, Place::Aarch64(Host::Native), Place::Aarch64(Host::Aot)];
    let lines = [
        disks::FILL,
        "torture\n",
        disks::READ,
        "head -c 200000 /bin/busybox | gzip | md5sum\n",
        "sleep 9; date\n",
        "torture 7\n",
        "exit 0\n",
    ];
    in_turn(|| assert_all_the_same(&[Place::HERE.as_slice(), &others].concat(), &lines));
}

/// The page's machine is saved, and goes on, with the same bytes.
#[test]
#[ignore = "wants Node.js, Chromium and the package that make web builds: make hosts"]
fn a_page_comes_to_the_same_bytes() {
    let lines = [disks::FILL, "torture 61\n", disks::READ, "ls -lR /bin | md5sum; sleep 9; date\n", "exit 0\n"];
    in_turn(|| assert_all_the_same(&[Place::V8("node"), Place::V8("chromium")], &lines));
}

/// A machine is saved in the midst of its computations and goes on elsewhere, several times.
#[test]
fn a_machine_may_move_from_host_to_host() {
    in_turn(|| {
        let barrier = file("before.snap", &RecordedRun::boot().end);
        let way = RecordedRun::through(&barrier, &["torture 61\n", disks::COPY, "torture 59\n", disks::CHANGE, disks::READ, "exit 0\n"]);
        let listener = Listener::default();
        let mut hosts = Host::ALL.iter().cycle();
        let mut engine = hosts.next().unwrap().restore(&barrier, &listener);
        let (mut next, step) = (engine.count(), (way.last_count() - engine.count()) / 8);
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
            way.replay(&mut *engine, call, &listener);
        }
        assert!(moves >= 6, "{moves}");
        way.assert_said(&listener.said());
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

/// Lines of `torture` on an AMD, where they differ from those on an Intel: which of several NaNs is the sum (`emu/tests/oracle/vendor.rs`).
#[cfg(target_arch = "x86_64")]
const AMDS: [&str; 3] = ["18a887fe0607f4b7 dpps x, y, 0xff", "63065afe17978106 dpps x, y, 0x75", "ab6a46ec398d2877 dppd x, y, 0x33"];

/// What `torture` prints on an Intel (family 6, model 167, stepping 1), without the instructions that approximate; or on the host's vendor's.
#[cfg(target_arch = "x86_64")]
fn torture_on(vendor: &str) -> Vec<String> {
    let others = if matches!(vendor, "AuthenticAMD" | "HygonGenuine") { &AMDS[..] } else { &[] };
    let lines = include_str!("torture.txt").lines().filter(|line| !line.contains('~'));
    let name = |line: &str| line.split_once(' ').unwrap().1.to_owned();
    lines.map(|line| others.iter().find(|other| name(other) == name(line)).unwrap_or(&line).to_string()).collect()
}

/// The guest's floating point is an Intel's, whatever the host is, and the host's is its vendor's.
#[cfg(target_arch = "x86_64")]
#[test]
fn floating_point_is_an_intels() {
    #[allow(unused_unsafe, reason = "it is safe for newer compilers")]
    // SAFETY: every x86-64 processor has the instruction.
    let leaf = unsafe { std::arch::x86_64::__cpuid(0) };
    let vendor: Vec<u8> = [leaf.ebx, leaf.edx, leaf.ecx].iter().flat_map(|word| word.to_le_bytes()).collect();
    let here = succeed(&mut std::process::Command::new(guest("tests/bin/torture")));
    let barrier = file("torture.snap", &RecordedRun::boot().end);
    let there = RecordedRun::through(&barrier, &["torture\n", "exit 0\n"]);
    let exact = |output: &str| output.lines().filter(|line| !line.contains('~')).map(str::to_owned).collect::<Vec<_>>();
    let (here, there) = (exact(&text(&here.stdout)), exact(there.said.on(Port::Stdout)));
    assert!(there.len() > 100, "{there:?}");
    let differing = |found: &[String], wanted: &[String]| -> Vec<String> {
        assert_eq!(found.len(), wanted.len(), "{found:#?}");
        found.iter().zip(wanted).filter(|(found, wanted)| found != wanted).map(|(found, wanted)| format!("{found}; {wanted}")).collect()
    };
    let none: Vec<String> = Vec::new();
    assert_eq!(differing(&there, &torture_on("GenuineIntel")), none, "the guest's and an Intel's");
    assert_eq!(differing(&here, &torture_on(&text(&vendor))), none, "this processor's and its vendor's");
}
