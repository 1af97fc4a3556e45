//! A guest without an operating system drives every virtio device, with drivers that are not Linux's, and judges what it finds.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{guest, prebake, report, run, scratch, text};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SECTOR: usize = 512;

/// A disk of which every sector holds what the guest expects (`guest/baremetal/src/checks/blk.rs`).
fn disk(name: &str, sectors: usize) -> PathBuf {
    let path = scratch(name);
    let byte = |at: usize| (at / SECTOR * 31 + at % SECTOR * 7) as u8;
    fs::write(&path, (0..sectors * SECTOR).map(byte).collect::<Vec<u8>>()).unwrap();
    path
}

/// A share with what the guest expects in it (`guest/baremetal/src/checks/p9.rs`).
fn share(name: &str) -> PathBuf {
    let folder = scratch(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("hello"), "hello from the host\n").unwrap();
    symlink("/etc/passwd", folder.join("outside")).unwrap();
    folder
}

fn with_path(option: &str, path: &Path, rest: &str) -> String {
    format!("{option}{}{rest}", path.display())
}

fn boot(args: &[String]) -> Command {
    let mut command = prebake();
    command.args(["boot", "--clock", "virtual", "--limit-instructions", "1000000000", "--memory", "32", "-t"]);
    command.arg("--kernel").arg(guest("baremetal")).args(args);
    command
}

/// What the console's checks write.
fn console_output() -> String {
    let byte = |at: u32| if at % 50 == 49 { '\n' } else { char::from(b'a' + (at % 26) as u8) };
    format!("a line from the guest\nbyte by byte\n{}", (0..20_000).map(byte).collect::<String>())
}

fn assert_content(output: &Output, devices: &[&str]) {
    let said = text(&output.stderr);
    assert!(!said.contains("FAILED"), "{said}");
    for device in devices {
        assert!(said.contains(&format!("{device}: ok     it starts")), "{device}: {said}");
    }
    assert!(said.contains(" checks, 0 failed"), "{said}");
    assert_eq!(output.status.code(), Some(0), "{said}");
}

#[test]
fn drivers_that_are_not_linux_s_are_content_with_every_device() {
    let share = share("share");
    let args = [
        with_path("--disk=", &disk("written.img", 200), ""),
        with_path("--disk=", &disk("read-only.img", 16), ":ro"),
        with_path("--share=share=", &share, ""),
        "--append=wait-for-input".into(),
    ];
    let output = run(&mut boot(&args), b"a line from the host\n");
    assert_content(&output, &["blk", "rng", "console", "9p"]);
    assert_eq!(text(&output.stdout), console_output() + "it has 21 bytes\n");
    assert_eq!(text(&output.stderr).matches("blk: ok     it starts").count(), 2);
    assert!(text(&output.stderr).contains("9p: ok     it is read"));

    // What the guest has written to the share is there; what it has written to a disk is not in the file.
    let contents: Vec<u8> = (0..3000_u32).map(|at| (at * 17) as u8).collect();
    assert!(fs::read(share.join("from-the-guest")).unwrap() == contents);
    let mut left: Vec<_> = fs::read_dir(&share).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["from-the-guest", "hello", "outside"]);
    let untouched = fs::read(scratch("written.img")).unwrap();
    assert!(untouched == fs::read(disk("fresh.img", 200)).unwrap());
}

/// The guest's judgement is worth something: it fails where a device does not hold what it expects.
#[test]
fn a_wrong_sector_and_a_wrong_file_are_found() {
    let path = disk("damaged.img", 32);
    let mut bytes = fs::read(&path).unwrap();
    bytes[20 * SECTOR + 77] ^= 1;
    fs::write(&path, bytes).unwrap();
    let output = run(&mut boot(&[with_path("--disk=", &path, ":ro")]), b"");
    assert!(text(&output.stderr).contains("blk: FAILED every sector holds what it must"), "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(1));

    let share = share("damaged-share");
    fs::write(share.join("hello"), "goodbye from the host\n").unwrap();
    let output = run(&mut boot(&[with_path("--share=share=", &share, "")]), b"");
    assert!(text(&output.stderr).contains("9p: FAILED it is read"), "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_same_run_takes_the_same_instructions() {
    let figures = || {
        let json = scratch("figures.json");
        let args = [with_path("--disk=", &disk("counted.img", 40), ""), with_path("--json=", &json, "")];
        assert_content(&run(&mut boot(&args), b""), &["blk", "rng", "console"]);
        report(&json)["guest_instructions"].as_u64().unwrap()
    };
    let first = figures();
    assert!(first > 10_000);
    assert_eq!(figures(), first);
}
