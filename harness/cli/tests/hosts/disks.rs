//! The disks of a machine's file: what the guest does with them in the other tests, and that a snapshot is bound to them.

use crate::common::{assert_fails, guest, machine_folder, prebake, run, scratch, succeed, text};
use crate::host::{assert_same, packed};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes a file system on the upper disk and puts the files of the root disk there.
pub const FILL: &str = "mkdir /root/a /root/b && mount -t ext4 -o ro /dev/vda /root/a && mke2fs /dev/vdb >/dev/null && \
    mount -t ext4 /dev/vdb /root/b && cp -R /root/a/. /root/b && sync\n";
/// The same without mke2fs, which looks at all that is mounted: what the host shows through `wasi1` is no part of a machine that moves.
pub const COPY: &str = "mkdir /root/b && cat /dev/vda >/dev/vdb && mount -t ext4 /dev/vdb /root/b\n";
/// Frees blocks, discards them, and uses some again.
pub const CHANGE: &str = "rm -r /root/b/bin && sync && fstrim /root/b && seq 9999 >/root/b/seq && sync\n";
/// Reads everything from the disk itself.
pub const READ: &str = "sync && echo 3 >/proc/sys/vm/drop_caches && head -c 999999 /dev/vdb | md5sum && cd /root/b && \
    find . -type f | sort | xargs md5sum && cd /\n";

fn convert(name: &str, root: &Path, args: &[&str]) -> PathBuf {
    let path = scratch(name);
    let mut convert = prebake();
    convert.env("PREBAKE_MACHINE", machine_folder()).arg("convert");
    convert.arg("--kernel").arg(guest("vmlinux")).arg("--initrd").arg(guest("initramfs.cpio")).arg("--root").arg(root);
    succeed(convert.args(args).arg("-o").arg(&path));
    path
}

/// The program with the user's cache: code that was compiled there may be run.
fn trusting() -> Command {
    Command::new(env!("CARGO_BIN_EXE_prebake"))
}

pub fn bake(file: &Path, name: &str, args: &[&str]) -> PathBuf {
    let path = scratch(name);
    succeed(trusting().arg("bake").arg(file).args(args).arg("-o").arg(&path));
    path
}

fn run_of(file: &Path, snapshot: &Path) -> Command {
    let mut command = trusting();
    command.arg("run").arg(file).arg("--snapshot").arg(snapshot);
    command
}

#[test]
fn a_file_bakes_to_the_same_bytes_on_both_engines() {
    let file = &packed().aot;
    for args in [&["--at", "barrier"][..], &["--at", "idle"]] {
        let native = bake(file, "native.snap", args);
        let module = bake(file, "module.snap", &[args, &["--engine", "wamr"]].concat());
        let (native, module) = (std::fs::read(native).unwrap(), std::fs::read(module).unwrap());
        assert_same(&module, &native, &format!("baked in WAMR (first) and natively, {args:?}"));
    }
}

#[test]
fn files_on_the_upper_disk_are_there_wherever_it_runs() {
    let file = &packed().aot;
    let snapshot = bake(file, "upper.snap", &[]);
    let script = format!("{FILL}{CHANGE}{READ}");
    let said: Vec<String> = ["native", "wamr"]
        .iter()
        .flat_map(|engine| {
            let restored = run(run_of(file, &snapshot).args(["--engine", engine]), script.as_bytes());
            let booted = run(trusting().arg("run").arg(file).args(["--engine", engine]), script.as_bytes());
            [restored, booted].map(|output| text(&output.stdout))
        })
        .collect();
    assert!(said[0].lines().count() > 3 && said[0].contains("./seq"), "{said:?}");
    let files = |said: &String| said.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert!(said.iter().all(|other| files(other) == files(&said[0])), "{said:?}");
}

#[test]
fn a_snapshot_is_bound_to_the_disks_of_its_machine() {
    let root = scratch("root.img");
    std::fs::write(&root, [7; 8192]).unwrap();
    let other_root = scratch("other.img");
    std::fs::write(&other_root, [8; 8192]).unwrap();
    let small = ["--memory", "64", "--upper", "16"];
    let file = convert("bound.wasm", &root, &small);
    let snapshot = bake(&file, "bound.snap", &[]);
    let shown = text(&succeed(prebake().arg("inspect").arg("--verify").arg(&snapshot)).stdout);
    for words in ["the machine's root (0.0 MiB, read-only), blake3:", "the machine's upper (16.0 MiB, in the pages below)"] {
        assert!(shown.contains(words), "{shown}");
    }

    let other = convert("other-root.wasm", &other_root, &small);
    let larger = convert("other-upper.wasm", &root, &["--memory", "64", "--upper", "32"]);
    let without = convert("no-upper.wasm", &root, &["--memory", "64"]);
    for engine in ["native", "wamr"] {
        let fails = |file: &Path, kind: &str, words: &[&str]| {
            assert_fails(run_of(file, &snapshot).args(["--engine", engine]), kind, words);
        };
        fails(&other, "wrong-disk", &["root disk", "8192 bytes", "pass the machine that it was baked from"]);
        fails(&larger, "wrong-disk", &["upper disk", "32 MiB of memory", "16 MiB of memory"]);
        fails(&without, "wrong-disk", &["upper disk", "has none"]);
        fails(&convert("other-ram.wasm", &root, &["--memory", "96", "--upper", "16"]), "wrong-ram-size", &["64 MiB", "96 MiB"]);
    }
    assert_fails(prebake().arg("run").arg(&snapshot), "wrong-disk", &["its own disks", "--snapshot"]);
    let mut with_disk = run_of(&file, &snapshot);
    assert_fails(with_disk.arg("--disk").arg(&root), "not-in-module", &["--disk"]);
    let mut with_disk = run_of(&file, &snapshot);
    assert_fails(with_disk.args(["--engine", "native", "--disk"]).arg(&root), "wrong-disk", &["1 disks", "omit the others"]);
}

#[test]
fn what_cannot_be_a_machines_disk_is_refused() {
    let odd = scratch("odd.img");
    std::fs::write(&odd, [1; 700]).unwrap();
    let mut convert = prebake();
    convert.env("PREBAKE_MACHINE", machine_folder()).arg("convert").arg("--kernel").arg(guest("vmlinux"));
    convert.arg("-o").arg(scratch("odd.wasm")).arg("--root");
    let refused = |command: &mut Command| {
        let output = run(command, b"");
        assert_eq!(output.status.code(), Some(125));
        text(&output.stderr)
    };
    let message = refused(convert.arg(&odd));
    assert!(message.contains("700 bytes") && message.contains("512"), "{message}");
    std::fs::write(&odd, [1; 512]).unwrap();
    let message = refused(convert.args(["--upper", "3900"]));
    assert!(message.contains("a smaller upper disk"), "{message}");
}
