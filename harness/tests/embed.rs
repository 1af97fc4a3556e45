//! The example program, as its users run it.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::Path;
use std::process::Command;

#[test]
fn the_example_runs_a_machine_in_its_own_folder_and_says_nothing_on_standard_error() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| package.join("../target"), Into::into);
    let folder = tempfile::tempdir().unwrap();
    let built = Command::new(env!("CARGO")).args(["build", "--quiet", "--package", "prebake", "--example", "embed"]).status().unwrap();
    assert!(built.success());
    let run = || {
        let mut example = Command::new(target.join("debug/examples/embed"));
        // Nothing of the user's is used: there is no home, and no other folder in the environment.
        example.env_clear().arg(folder.path()).args(["vmlinux", "initramfs.cpio"].map(|name| target.join("guest").join(name)));
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
