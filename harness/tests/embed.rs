//! The example program, as its users run it.
#![allow(clippy::unwrap_used, reason = "a test may")]

#[allow(dead_code, reason = "its main is not this program's")]
#[path = "../examples/embed.rs"]
mod example;

use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the folder of the process that is the example.
const FOLDER: &str = "PREBAKE_TEST_EMBED";

fn guest(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")).join("guest").join(name)
}

#[test]
#[ignore = "run by the other test, in a process of its own"]
fn example_alone() {
    let folder = std::env::var_os(FOLDER).unwrap();
    example::run(Path::new(&folder), guest("vmlinux"), guest("initramfs.cpio")).unwrap();
}

#[test]
fn the_example_runs_a_machine_in_its_own_folder_and_says_nothing_on_standard_error() {
    let folder = tempfile::tempdir().unwrap();
    let run = || {
        let mut example = Command::new(std::env::current_exe().unwrap());
        // Nothing of the user's is used: there is no home, and no other folder in the environment.
        example.env_clear().env(FOLDER, folder.path()).args(["--ignored", "--exact", "--nocapture", "example_alone"]);
        example.envs(std::env::vars_os().filter(|(name, _)| name == "CARGO_TARGET_DIR"));
        let output = example.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let first = run();
    assert!(first.contains("Boot {") && first.contains("Settled {"), "{first}");
    assert!(first.contains("\n1 times\r\n") && folder.path().join("store/sessions/embed/state.snap").exists(), "{first}");
    // The session is resumed, and nothing boots.
    let second = run();
    assert!(second.contains("\n2 times\r\n") && !second.contains("Boot {"), "{second}");
}
