//! What is wrong from outside: each a clear error of its own kind, exit code 125, and nothing lost.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{assert_fails, at_barrier, bake, guest, prebake, prebake_cold, run, scratch, script, text};
use prebake::machine::record::{BakeState, DiskKind, DiskRecord, Point};
use snapshot::{MachineId, Memory, Model, Pages, Record, SectionId, Writer};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn run_of(path: &Path) -> Command {
    let mut command = prebake();
    command.arg("run").arg(path);
    command
}

/// A copy of a good snapshot with something done to its bytes.
fn damaged(name: &str, damage: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let mut bytes = fs::read(at_barrier()).unwrap();
    damage(&mut bytes);
    let path = scratch(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_snapshot_that_is_not_there() {
    assert_fails(&mut run_of(Path::new("/nonexistent/a.snap")), "missing", &["/nonexistent/a.snap", "No such file"]);
    let mut folder = prebake();
    folder.args(["run", "--snapshot", "/tmp"]);
    assert_fails(&mut folder, "unreadable", &["/tmp", "directory"]);
}

#[test]
fn a_snapshot_that_is_something_else() {
    let path = scratch("foreign.snap");
    fs::write(&path, "#!/bin/sh\necho hello\n").unwrap();
    assert_fails(&mut run_of(&path), "not-a-snapshot", &["#!/bin/s", "prebake bake"]);
    fs::write(&path, "").unwrap();
    assert_fails(&mut run_of(&path), "truncated", &["0 of 256 bytes"]);
}

#[test]
fn a_snapshot_without_its_end() {
    for length in [100, 5000, 1 << 20] {
        let path = damaged("truncated.snap", |bytes| bytes.truncate(length));
        assert_fails(&mut run_of(&path), "truncated", &[&length.to_string(), "bake it again"]);
    }
}

#[test]
fn a_snapshot_with_a_flipped_bit() {
    let length = fs::metadata(at_barrier()).unwrap().len() as usize;
    // Header, a section, the index or a section, two pages.
    for offset in [60, 1000, 20_000, length / 2, length - 100] {
        let path = damaged("flipped.snap", |bytes| bytes[offset] ^= 4);
        assert_fails(&mut run_of(&path), "corrupted", &["corrupted"]);
    }
}

#[test]
fn a_snapshot_with_a_flipped_bit_in_what_is_read_later() {
    let good = damaged("read.snap", |_| ());
    let output = script(&good, &["--restore", "read"], b"echo $((6 * 7)); exit 9\n");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(9), "42\n".into()));
    // Of the pages that are there some byte of each group is something.
    let pages = snapshot::Snapshot::open(fs::read(&good).unwrap().as_slice()).unwrap().header().pages_offset() as usize;
    let path = damaged("flipped-later.snap", |bytes| bytes[pages..].iter_mut().for_each(|byte| *byte ^= u8::from(*byte != 0)));
    assert_fails(run_of(&path).args(["--restore", "read"]), "corrupted", &["group", "KiB", "bake it again"]);
}

#[test]
fn a_snapshot_that_changed_after_it_was_verified() {
    let path = damaged("changed.snap", |_| ());
    std::thread::sleep(std::time::Duration::from_millis(50));
    for _ in 0..2 {
        assert_eq!(script(&path, &[], b"exit 7\n").status.code(), Some(7));
    }
    let length = fs::metadata(&path).unwrap().len();
    let file = fs::File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"!", length - 100).unwrap();
    assert_fails(&mut run_of(&path), "corrupted", &["pages"]);
}

#[test]
fn a_snapshot_of_a_later_version() {
    let path = damaged("newer.snap", |bytes| bytes[8] = 2);
    assert_fails(&mut run_of(&path), "newer-version", &["version 2", "up to 1", "newer prebake"]);
}

/// A sound snapshot that is not of any machine.
fn forged(name: &str, model: &str, fill: impl FnOnce(&mut Writer)) -> PathBuf {
    let machine = MachineId { model: Model::new(model).unwrap(), ram_size: 32 << 20, devices: 0 };
    let mut writer = Writer::new(machine);
    fill(&mut writer);
    let path = scratch(name);
    writer.write(Pages::new(&vec![0; 32 << 20]), &mut fs::File::create(&path).unwrap()).unwrap();
    path
}

#[test]
fn a_snapshot_of_another_machine() {
    let path = forged("model.snap", "pc1-v3/1", |_| ());
    assert_fails(&mut run_of(&path), "wrong-model", &["pc1-v3/1", "pc1-v2/1"]);
    assert_fails(run_of(&at_barrier()).args(["--memory", "64"]), "wrong-ram-size", &["128 MiB", "64 MiB"]);
}

/// Pages of disks belong to the disks of a machine's file, and to nothing else.
#[test]
fn a_snapshot_with_pages_of_a_disk_that_is_not_there() {
    let machine = MachineId { model: Model::new("pc1-v2/1").unwrap(), ram_size: 32 << 20, devices: 0 };
    let snapshot = |name: &str, disks: Vec<DiskRecord>| {
        let mut writer = Writer::new(machine);
        writer.add(0, &BakeState { point: Point::Barrier, control: true, disks, shares: Vec::new() }).unwrap();
        let ram = vec![0; 32 << 20];
        let memory = Memory::of_ram(Pages::new(&ram)).with_disk(1, Pages::new(&[1; 64 << 10]));
        let path = scratch(name);
        writer.write(memory, &mut fs::File::create(&path).unwrap()).unwrap();
        path
    };
    let path = snapshot("no-disk.snap", Vec::new());
    assert_fails(&mut run_of(&path), "wrong-disk", &["disk 1 up to byte 65536", "room for 0"]);
    let upper = DiskRecord { kind: DiskKind::Upper, name: "upper".into(), size: 64 << 10, digest: [0; 32], read_only: false };
    let path = snapshot("no-machine.snap", vec![upper]);
    assert_fails(&mut run_of(&path), "wrong-disk", &["its own disks", "--snapshot"]);
}

#[test]
fn a_snapshot_with_too_little_or_too_much_in_it() {
    snapshot::saved! {
        struct Later {
            field: u8,
        }
    }
    impl Record for Later {
        const ID: SectionId = SectionId::new(*b"LATE");
        const VERSION: u16 = 3;
    }
    let path = forged("empty.snap", "pc1-v2/1", |_| ());
    assert_fails(&mut run_of(&path), "missing-section", &["BAKE"]);
    let baked = BakeState { point: Point::Barrier, control: true, disks: Vec::new(), shares: Vec::new() };
    let path = forged("partial.snap", "pc1-v2/1", |writer| {
        writer.add(0, &baked).unwrap();
        writer.add(0, &Later { field: 1 }).unwrap();
    });
    assert_fails(&mut run_of(&path), "missing-section", &[]);
}

fn disk(name: &str, byte: u8) -> PathBuf {
    let path = scratch(name);
    fs::write(&path, vec![byte; 64 << 10]).unwrap();
    path
}

#[test]
fn a_disk_that_is_not_the_one() {
    let (first, second) = (disk("first.img", 1), disk("second.img", 2));
    let path = scratch("disk.snap");
    bake(&path, &["--disk", &format!("{}:ro", first.display())]);
    let with = |disk: &Path, suffix| {
        let mut command = run_of(&path);
        command.arg("--disk").arg(format!("{}{suffix}", disk.display()));
        command
    };
    // Beside the snapshot, and named.
    let read = b"head -c 3 /dev/vda | od -An -tx1\n";
    for command in [&mut run_of(&path), &mut with(&first, ":ro")] {
        let output = run(command, read);
        assert_eq!(text(&output.stdout), " 01 01 01\n", "{}", text(&output.stderr));
    }
    assert_fails(&mut with(&second, ":ro"), "wrong-disk", &["vda", "first.img", "second.img"]);
    assert_fails(&mut with(&first, ""), "wrong-disk", &["read-only", ":ro"]);
    assert_fails(with(&first, ":ro").arg("--disk").arg(&second), "wrong-disk", &["2 disks", "omit the others"]);
    assert_fails(&mut with(Path::new("/nonexistent.img"), ":ro"), "missing", &["/nonexistent.img"]);

    // The same name and size, other contents: before and after its digest is remembered.
    fs::write(&first, vec![3; 64 << 10]).unwrap();
    assert_fails(&mut run_of(&path), "wrong-disk", &["first.img"]);
    fs::remove_file(&first).unwrap();
    assert_fails(&mut run_of(&path), "missing", &["first.img"]);
}

#[test]
fn a_disk_that_cannot_be_one() {
    let odd = scratch("odd.img");
    fs::write(&odd, [0; 700]).unwrap();
    let with = |disk: &Path| {
        let mut command = prebake_cold("boot");
        command.arg("--disk").arg(disk);
        command
    };
    assert_fails(&mut with(&odd), "disk-size", &["700 bytes", "multiple of 512"]);
    assert_fails(&mut with(Path::new("/tmp")), "unreadable", &["directory"]);
    assert_fails(&mut with(Path::new("/nonexistent.img")), "missing", &["/nonexistent.img"]);
    assert_fails(prebake_cold("boot").args(["--share", "x=/nonexistent"]), "missing", &["/nonexistent"]);
}

#[test]
fn a_writable_disk_keeps_its_changes_in_the_snapshot_alone() {
    let image = disk("written.img", 5);
    let json = scratch("written.json");
    // Init of this guest: writes to the disk, and waits.
    let append =
        "console=ttyS0 quiet panic=-1 rdinit=/bin/sh -- -c \"mount -t devtmpfs dev /dev; echo changed > /dev/vda; sync; exec cat\"";
    let path = scratch("written.snap");
    bake(&path, &["--disk", image.to_str().unwrap(), "--at", "idle", "--append", append, "--json", json.to_str().unwrap()]);
    assert_eq!(fs::read(&image).unwrap(), vec![5; 64 << 10]);
    let sections = text(&common::succeed(prebake().arg("inspect").arg(&path)).stdout);
    assert!(sections.contains("with changes kept apart"), "{sections}");
}

#[test]
fn a_kernel_that_is_not_one() {
    let boot = |kernel: &Path| {
        let mut command = prebake();
        command.arg("boot").arg("--kernel").arg(kernel);
        command
    };
    let text_file = scratch("kernel.txt");
    fs::write(&text_file, "not a kernel").unwrap();
    assert_fails(&mut boot(&text_file), "not-a-kernel", &["vmlinux"]);
    assert_fails(&mut boot(&guest("initramfs.cpio")), "not-a-kernel", &["vmlinux"]);
    assert_fails(&mut boot(Path::new("/nonexistent")), "missing", &["kernel", "/nonexistent"]);
    assert_fails(boot(&guest("vmlinux")).args(["--initrd", "/nonexistent"]), "missing", &["initramfs"]);
    assert_fails(boot(&guest("vmlinux")).args(["--memory", "33"]), "ram-size", &["2 MiB"]);
    assert_fails(boot(&guest("vmlinux")).args(["--memory", "4000000"]), "ram-size", &[]);
    assert_fails(prebake_cold("boot").args(["--memory", "32"]), "does-not-fit", &["initial RAM file system", "more memory"]);
    assert_fails(prebake_cold("boot").arg("--append").arg("x".repeat(3000)), "command-line", &[]);
}

/// Bakes to `path` where no file may grow beyond a mebibyte.
fn bake_without_room(path: &Path) -> Command {
    let mut command = Command::new("sh");
    let bake = prebake_cold("bake");
    command.args(["-c", "ulimit -f 2048 && exec \"$0\" \"$@\""]).arg(bake.get_program()).args(bake.get_args()).arg("-o").arg(path);
    command.env("PREBAKE_CACHE", scratch("cache"));
    command
}

#[test]
fn no_room_for_the_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.snap");
    fs::write(&path, "the one before").unwrap();
    assert_fails(&mut bake_without_room(&path), "disk-full", &["a.snap", "free some space"]);
    assert_eq!(fs::read(&path).unwrap(), b"the one before");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was left behind");
}

#[test]
fn a_place_that_cannot_be_written() {
    let bake = |path: &str| {
        let mut command = prebake_cold("bake");
        command.arg("-o").arg(path);
        command
    };
    assert_fails(&mut bake("/nonexistent/a.snap"), "unwritable", &["/nonexistent/a.snap"]);
    assert_fails(&mut bake("/dev/full"), "not-a-file", &["/dev/full"]);
    assert_fails(&mut bake("/tmp"), "not-a-file", &["/tmp"]);
    assert!(fs::metadata("/dev/full").is_ok_and(|device| !device.is_file()));
}

#[test]
fn inspect_and_diff_refuse_the_same() {
    let path = damaged("inspected.snap", |bytes| {
        let last = bytes.len() - 100;
        bytes[last] ^= 1;
    });
    let inspect = |args: &[&str]| run(prebake().arg("inspect").args(args).arg(&path), b"");
    // The pages are only looked at on demand.
    assert_eq!(inspect(&[]).status.code(), Some(0));
    let output = inspect(&["--verify", "--json"]);
    assert_eq!(output.status.code(), Some(125));
    let error: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(error["error"]["kind"], "corrupted");

    let output = run(prebake().arg("diff").arg(at_barrier()).arg("/nonexistent"), b"");
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output.stderr).contains("/nonexistent"));
}

#[test]
fn wrong_usage_is_2() {
    for words in [&["run"][..], &["fly"], &["bake", "-o", "a"], &["boot", "--kernel", "x", "--memory", "much"], &[]] {
        assert_eq!(run(prebake().args(words), b"").status.code(), Some(2), "{words:?}");
    }
    let output = run(prebake().arg("images").env("PREBAKE_LOG", "debgu"), b"");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("PREBAKE_LOG `debgu`"), "{}", text(&output.stderr));
}

/// Names come from anyone: `prebake inspect *` in a folder that a guest writes to.
#[test]
fn no_name_is_a_command_to_the_terminal() {
    let folder = scratch("names");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    let evil = "a\x1b]0;evil\x07\u{9b}2J\rb";
    let at = |ending: &str| {
        let path = folder.join(format!("{evil}.{ending}"));
        fs::write(&path, "nothing").unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let (snap, wasm, aot, tar, other) = (at("snap"), at("wasm"), at("aot"), at("tar"), at("other"));
    fs::copy(at_barrier(), folder.join("good.snap")).unwrap();
    let (good, barrier) = (folder.join("good.snap").display().to_string(), at_barrier().display().to_string());
    let volume = format!("{folder}/none{evil}:/x", folder = folder.display());
    let commands: [&[&str]; 18] = [
        &["run", &snap],
        &["run", &wasm],
        &["run", &aot, "--snapshot", &good],
        &["run", &good, "-v", &volume],
        &["run", &good, "--disk", &other],
        &["run", &good, "--json", evil, "--session", evil],
        &["run", evil],
        &["inspect", &snap],
        &["inspect", &aot],
        &["diff", &good, &snap],
        &["convert", &tar, "-o", &wasm],
        &["convert", &format!("oci:{tar}"), "-o", &wasm],
        &["aot", &wasm, "-o", &aot],
        &["push", evil, &aot],
        &["unpack", &snap, "-o", &other],
        &["key", "public", &other],
        &[evil],
        &["run", &barrier, &format!("--{evil}")],
    ];
    for words in commands {
        let output = run(prebake().args(words).current_dir(&folder), b"");
        assert!(!output.status.success(), "{words:?}");
        let said = text(&output.stderr) + &text(&output.stdout);
        assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{words:?}: {said:?}");
    }
    // What is well is shown, too.
    let path = folder.join(format!("{evil}.good.snap"));
    fs::copy(at_barrier(), &path).unwrap();
    let output = run(prebake().arg("inspect").arg(&path), b"");
    assert!(output.status.success() && !text(&output.stdout).contains('\x1b'));
}
