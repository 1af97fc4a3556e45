//! The program itself for aarch64, in an emulator of that processor: it bakes, and goes on from what was baked here.

use crate::common::{run, scratch, succeed, text};
use crate::folder::aarch64;
use crate::host::{assert_same, packed, packed_for_aarch64};
use std::process::Command;

#[test]
#[ignore = "wants a build for aarch64: make hosts"]
fn the_program_for_aarch64_bakes_and_runs_the_same_machine() {
    let machine = packed_for_aarch64();
    let here = scratch("here.snap");
    succeed(Command::new(env!("CARGO_BIN_EXE_prebake")).arg("bake").arg(&packed().aot).arg("-o").arg(&here));
    for engine in ["wamr", "native"] {
        let there = scratch("there.snap");
        succeed(aarch64("prebake").arg("bake").arg(machine).args(["--engine", engine]).arg("-o").arg(&there));
        let read = |path| std::fs::read(path).unwrap();
        assert_same(&read(&there), &read(&here), &format!("baked on aarch64 by {engine} (first) and here"));

        let mut restored = aarch64("prebake");
        restored.arg("run").arg(machine).arg("--snapshot").arg(&here).args(["--engine", engine, "--stats"]);
        let output = run(&mut restored, b"uname -m; exit 3\n");
        let said = (output.status.code(), text(&output.stdout));
        assert_eq!(said, (Some(3), "x86_64\n".into()), "{engine}: {}", text(&output.stderr));
    }
    // Code for another processor is not run, but what comes with it.
    let output = run(Command::new(env!("CARGO_BIN_EXE_prebake")).arg("run").arg(machine), b"uname -m; exit 3\n");
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(3), "x86_64\n".into()), "{said}");
    assert!(said.contains("needs aarch64, which this processor is not; using the native engine instead"), "{said}");
}
