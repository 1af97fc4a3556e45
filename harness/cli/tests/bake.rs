//! Baking: deterministic, told in figures, and not too early.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{assert_fails, at_barrier, at_prompt, bake, guest, prebake, report, run, scratch, succeed, text};
use serde_json::Value;
use std::fs;
use std::process::Command;

#[test]
fn two_bakes_are_equal_byte_for_byte() {
    for (name, args, other) in [("barrier2.snap", &[][..], at_barrier()), ("prompt2.snap", &["--at", "idle"], at_prompt())] {
        let path = scratch(name);
        bake(&path, args);
        assert!(fs::read(&path).unwrap() == fs::read(&other).unwrap(), "{name} differs");
        assert_eq!(text(&succeed(prebake().arg("diff").arg(&path).arg(&other)).stdout), "");
    }
}

#[test]
fn a_difference_is_1_and_is_named() {
    let output = run(prebake().arg("diff").arg(at_barrier()).arg(at_prompt()), b"");
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output.stdout);
    assert!(shown.contains("section CPU : ") && shown.contains("page 0x"), "{shown}");
}

#[test]
fn the_figures_of_a_bake_are_told() {
    let (path, json) = (scratch("told.snap"), scratch("told.json"));
    let shown = text(&bake(&path, &["--json", json.to_str().unwrap()]).stderr);
    for words in ["booted to the barrier: ", " MIPS", "settled: quiet since ", "saved ", " mappings", "blake3:"] {
        assert!(shown.contains(words), "`{words}` is missing: {shown}");
    }
    let report = report(&json);
    let figure = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}: {report}"));
    assert_eq!(figure("/snapshot_bytes"), fs::metadata(&path).unwrap().len() as f64);
    assert!((1.0..=250.0).contains(&figure("/snapshot_mappings")));
    let boot = figure("/boot/guest_instructions");
    assert!((10e6..60e6).contains(&boot), "{boot}");
    assert!(figure("/settled/at_seconds") - figure("/settled/since_seconds") >= 30.0);
    assert!(figure("/settled/longest_wake_up") <= figure("/settled/allowed"));
    assert!(figure("/settled/wake_ups") >= 1.0);
    // To wait out half a minute is next to no work.
    assert!(figure("/guest_instructions") - boot < 2e6);
    assert_eq!(report["unimplemented_instructions"], serde_json::json!({}));
}

#[test]
fn inspect_shows_what_is_there() {
    let shown = text(&succeed(prebake().arg("inspect").arg("--verify").arg(at_barrier())).stdout);
    for words in ["pc1-v2/1, 128 MiB", "baked at   barrier", "every byte verified", "mappings", "CPU", "TAIL"] {
        assert!(shown.contains(words), "`{words}` is missing: {shown}");
    }
    let json = succeed(prebake().args(["inspect", "--json"]).arg(at_prompt())).stdout;
    let json: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!((&json["model"], &json["baked"]["at"]), (&"pc1-v2/1".into(), &"idle".into()));
    assert!(json["mappings"].as_array().is_some_and(|runs| (1..=250).contains(&runs.len())));
    assert!(json["sections"].as_array().unwrap().iter().any(|section| section["id"] == "BAKE" && section["critical"] == true));
}

/// A bake of a guest whose whole start-up is `script`, run by its kernel as process 1.
fn bake_start_up(name: &str, script: &str, point: &str) -> Command {
    let mut command = prebake();
    command.args(["bake", "--at", point, "--kernel"]).arg(guest("vmlinux")).arg("--initrd").arg(guest("initramfs.cpio"));
    command.arg("--append").arg(format!("console=ttyS0 quiet panic=-1 rdinit=/bin/sh -- -c \"{script}\""));
    command.arg("-o").arg(scratch(&format!("{name}.snap")));
    command
}

/// When a guest with this start-up was quiet, in seconds of its time.
fn settled_since(name: &str, script: &str) -> f64 {
    let json = scratch(&format!("{name}.json"));
    succeed(bake_start_up(name, script, "idle").arg("--json").arg(&json));
    let report = report(&json);
    assert!(report["wall_seconds"].as_f64().unwrap() < 60.0, "the quiet time was waited for: {report}");
    report["settled"]["since_seconds"].as_f64().unwrap()
}

#[test]
fn start_ups_that_sleep_are_not_taken_for_settled() {
    for seconds in [1, 5, 20] {
        let script = format!("sleep {seconds}; echo one; sleep {seconds}; ls -R /bin >/dev/null; sleep {seconds}; echo three; exec cat");
        let since = settled_since(&format!("sleep{seconds}"), &script);
        let asleep = f64::from(3 * seconds);
        assert!((asleep..asleep + 1.0).contains(&since), "slept {asleep} s, settled after {since} s");
    }
}

#[test]
fn start_ups_that_tick_are_not_taken_for_settled() {
    // One that says so, and one that only starts programs.
    for (name, tick) in [("loud", "echo tick"), ("quiet", "/bin/true")] {
        let script = format!("i=0; while [ $i -lt 45 ]; do i=$((i+1)); {tick}; sleep 1; done; exec cat");
        let since = settled_since(&format!("tick-{name}"), &script);
        assert!((44.0..46.0).contains(&since), "{name}: ticked for 45 s, settled after {since} s");
    }
}

#[test]
fn a_guest_that_waits_is_settled_at_once() {
    let since = settled_since("waits", "exec cat");
    assert!(since < 1.0, "{since}");
}

#[test]
fn a_guest_that_never_rests_is_given_up() {
    let forever = "while :; do ls /bin >/dev/null; sleep 1; done";
    let words = ["did not settle within 60 s", "instructions", "--settle"];
    assert_fails(bake_start_up("restless", forever, "idle").args(["--settle", "within=60s"]), "never-settled", &words);
    assert_fails(bake_start_up("busy", "while :; do :; done", "idle").args(["--settle", "within=1s"]), "never-settled", &[]);
}

#[test]
fn a_guest_that_ends_or_never_comes_to_the_barrier_is_no_snapshot() {
    assert_fails(&mut bake_start_up("waits", "exec cat", "barrier"), "no-barrier", &["--at idle"]);
    // A process 1 that ends is a panic of the kernel, which says why on the serial port.
    assert_fails(&mut bake_start_up("ends", "exit 3", "idle"), "guest-ended", &["Attempted to kill init"]);
}

#[test]
fn a_limit_ends_a_bake_with_124() {
    let output = run(bake_start_up("limited", "exec cat", "idle").args(["--limit-instructions", "1000000"]), b"");
    assert_eq!(output.status.code(), Some(124), "{}", text(&output.stderr));
    assert!(!scratch("limited.snap").exists());
}
