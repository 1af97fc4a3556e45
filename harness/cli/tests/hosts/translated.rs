//! A machine with translated code comes to the same bytes as one without. WAMR interprets it here: a translated function is WebAssembly like any other.

use crate::common::{run, scratch, succeed, text};
use crate::folder::{go_in_v8, go_in_wasmtime, go_on_aarch64};
use crate::host::{assert_same, compile_for_aarch64, in_turn, packed_wasm, packer};
use crate::log::{Call, Listener};
use crate::machine::{self, Host, save};
use crate::{RecordedRun, disks, file};
use emu::machine::Stop;
use prebake::artifact::{Artifact, Kind, PartInput, pack};
use prebake::host::file::HostFile;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use wasm_encoder::{CodeSection, Function, Module, RawSection};
use wasmparser::{Parser, Payload};

/// What the guest is trained with. The ways below run other files, numbers and programs.
const LESSON: &[u8] =
    b"torture 53; cat /bin/busybox | gzip | md5sum; seq 500 | sort -r | md5sum; i=0; while [ $i -lt 200 ]; do i=$((i+1)); done; \
    for i in 1 2 3; do /bin/busybox true; done; ls -lR /bin | wc; echo done\n";

/// The tests' machine, trained.
fn trained() -> &'static Path {
    static TRAINED: OnceLock<PathBuf> = OnceLock::new();
    TRAINED.get_or_init(train)
}

fn train() -> PathBuf {
    let (profile, trained) = (scratch("lesson.profile"), scratch("trained.wasm"));
    let mut lesson = packer("run");
    lesson.arg(packed_wasm()).args(["--engine", "native", "--clock", "virtual", "--profile"]).arg(&profile);
    let output = run(&mut lesson, LESSON);
    assert!(output.status.success() && text(&output.stdout).ends_with("done\n"), "{output:?}");
    let mut translate = packer("translate");
    succeed(translate.arg(packed_wasm()).arg("--profile").arg(&profile).arg("-o").arg(&trained));
    trained
}

/// A way again in the interpreter, with `cuts` stops in each run.
fn follow(file: &Path, way: &RecordedRun, from: Option<&Path>, cuts: u64) -> Vec<u8> {
    let (file, listener) = (machine::open(file), Listener::default());
    let mut engine = match from {
        None => Host::Interpreter.boot_with(&file, &listener),
        Some(snapshot) => Host::Interpreter.restore_with(&file, snapshot, &listener),
    };
    for call in &way.log {
        if let Call::Run { count, .. } = call {
            let (start, distance) = (engine.count(), count.saturating_sub(engine.count()));
            // At no round number, and each a little further than the last.
            let stops = (1..=cuts).map(|cut| start + (distance * cut / (cuts + 1)) / 7 * 7 + cut % 7);
            for stop in stops.filter(|&stop| stop < *count) {
                assert_eq!(engine.run(stop).unwrap(), Stop::Due);
            }
        }
        way.replay(&mut *engine, call, &listener);
    }
    way.assert_said(&listener.said());
    save(&mut *engine)
}

/// A way from a settled guest through what was and was not trained.
fn way(settled: &Path) -> RecordedRun {
    let lines = [
        disks::FILL,
        "torture 61\n",
        disks::READ,
        "head -c 99999 /bin/busybox | gzip | md5sum; seq 300 | sort | md5sum; (sleep 9; echo late) & kill $!; wait; date\n",
        "i=0; while [ $i -lt 300 ]; do i=$((i + 3)); done; /bin/busybox echo $i; ls -l /bin | md5sum\n",
        "exit 0\n",
    ];
    RecordedRun::through(settled, &lines)
}

#[test]
fn translated_code_comes_to_the_same_bytes() {
    in_turn(|| {
        let trained = trained();
        let boot = RecordedRun::boot();
        assert_same(&follow(trained, &boot, None, 0), &boot.end, "booted with translated code (first) and natively");
        let settled = file("settled-untrained", &boot.end);
        let way = way(&settled);
        let end = follow(trained, &way, Some(&settled), 50);
        assert_same(&end, &way.end, "with translated code and 50 stops in each run (first) and natively");
    });
}

/// On a host that compiles it.
fn comes_to_the_same_bytes(host: &str, go: impl Fn(&RecordedRun, Option<&Path>) -> Vec<u8> + Sync) {
    in_turn(|| {
        let boot = RecordedRun::boot();
        assert_same(&go(&boot, None), &boot.end, &format!("booted with translated code {host} (first) and natively"));
        let settled = file(&format!("settled {host}"), &boot.end);
        let way = way(&settled);
        assert_same(&go(&way, Some(&settled)), &way.end, &format!("with translated code {host} (first) and natively"));
    });
}

/// V8 compiles it, in another way than WAMR.
#[test]
#[ignore = "wants Node.js and the package that make web builds: make hosts"]
fn a_page_with_translated_code_comes_to_the_same_bytes() {
    comes_to_the_same_bytes("in V8", |way, from| go_in_v8("node", trained(), way, from));
}

#[test]
#[ignore = "wants wasmtime, a package of Python's: make hosts"]
fn a_stock_runtime_with_translated_code_comes_to_the_same_bytes() {
    comes_to_the_same_bytes("in wasmtime", |way, from| go_in_wasmtime(trained(), way, from));
}

#[test]
#[ignore = "wants a build for aarch64: make hosts"]
fn translated_code_compiled_for_aarch64_comes_to_the_same_bytes() {
    let aot = scratch("trained-aarch64.aot");
    compile_for_aarch64(trained(), &aot);
    comes_to_the_same_bytes("on aarch64", |way, from| go_on_aarch64(Host::Aot, &aot, way, from));
}

/// The functions of a machine's module that another does not have, each made to trap.
fn spoiled(trained: &Path, plain: &Path) -> PathBuf {
    let open = |path: &Path| Artifact::open(HostFile::open("machine", path).unwrap()).unwrap();
    let bodies = |code: &[u8]| Parser::new(0).parse_all(code).filter(|payload| matches!(payload, Ok(Payload::CodeSectionEntry(_)))).count();
    let machine = open(trained);
    assert_eq!(*machine.kind(), Kind::Wasm);
    let (code, own) = (machine.code().unwrap(), bodies(&open(plain).code().unwrap()));
    assert!(bodies(&code) > own + 100, "{own} functions, and none translated");
    let mut section = CodeSection::new();
    let mut out = Module::new();
    for payload in Parser::new(0).parse_all(&code) {
        match payload.unwrap() {
            Payload::CodeSectionEntry(body) => {
                if (section.len() as usize) < own {
                    section.raw(body.as_bytes());
                } else {
                    let mut function = Function::new([]);
                    function.instructions().unreachable().end();
                    section.function(&function);
                }
                if section.len() as usize == bodies(&code) {
                    out.section(&section);
                }
            }
            Payload::CodeSectionStart { .. } => {}
            other => {
                if let Some((id, range)) = other.as_section() {
                    out.section(&RawSection { id, data: &code[range.start as usize..range.end as usize] });
                }
            }
        }
    }
    let path = scratch("spoiled.wasm");
    let parts = machine.parts().iter().map(|part| PartInput::new(part.kind, part.length, machine.reader(part))).collect();
    pack(&out.finish(), machine.size(), parts, &mut File::create(&path).unwrap()).unwrap();
    path
}

/// The test above would pass as well if translated code never ran.
#[test]
fn translated_code_is_what_runs() {
    in_turn(|| {
        let spoiled = spoiled(trained(), packed_wasm());
        let (file, listener) = (machine::open(&spoiled), Listener::default());
        let mut engine = Host::Interpreter.boot_with(&file, &listener);
        let error = engine.run(u64::MAX).unwrap_err().to_string();
        assert!(error.contains("unreachable"), "{error}");
    });
}

#[test]
fn equal_machines_that_are_trained_alike_are_equal() {
    let train = |name: &str, lesson: &str| {
        let machine = scratch(name);
        fs::copy(packed_wasm(), &machine).unwrap();
        let mut bake = packer("bake");
        bake.arg(&machine).arg("-o").arg(machine.with_extension("snap")).args(["--train", lesson, "--train-instructions", "1000"]);
        (run(&mut bake, b""), fs::read(&machine).unwrap())
    };
    let plain = fs::read(packed_wasm()).unwrap();
    let [(one, first), (other, second)] = ["alike.wasm", "too.wasm"].map(|name| train(name, "seq 2000 | sort | md5sum"));
    assert!(one.status.success() && other.status.success(), "{one:?} {other:?}");
    assert!(first == second && first != plain, "{one:?} {other:?}");

    let (failed, machine) = train("failed.wasm", "exit 3");
    assert_eq!(failed.status.code(), Some(125));
    assert!(text(&failed.stderr).contains("`exit 3` ended with status 3 in the guest"), "{failed:?}");
    assert!(machine == plain, "a machine whose training failed has changed");
}

/// What `profile --machine` prints: how much is covered, in %, and exits per 1,000 instructions of that.
fn coverage(output: &[u8]) -> (f64, f64) {
    let text = text(output);
    let (_, told) = text.rsplit_once(" covers ").unwrap();
    let number = |text: &str| text.split_whitespace().next().unwrap().parse().unwrap();
    (number(told), number(told.split_once("; ").unwrap().1))
}

#[test]
fn a_profile_says_how_much_of_it_a_machine_has_translated() {
    trained();
    let of = |machine: &Path| {
        let mut profile = packer("profile");
        let output = run(profile.arg(scratch("lesson.profile")).arg("--machine").arg(machine).args(["--top", "0"]), b"");
        assert!(output.status.success(), "{output:?}");
        coverage(&output.stdout)
    };
    let ((plain, often), (all, seldom)) = (of(packed_wasm()), of(trained()));
    assert!(plain < 80.0 && all > 95.0 && seldom < often && seldom > 0.0, "{plain} {often} {all} {seldom}");
}

#[test]
fn what_is_no_profile_is_refused_by_name() {
    let path = scratch("no.profile");
    for (bytes, told) in [
        (&b"something"[..], "not a profile"),
        (b"prebake profile 1\nx", "not a profile of this version"),
        (b"prebake profile 2\nx", "damaged at byte 18"),
    ] {
        fs::write(&path, bytes).unwrap();
        let mut translate = packer("translate");
        let output = run(translate.arg(packed_wasm()).arg("--profile").arg(&path).arg("-o").arg(scratch("none.wasm")), b"");
        assert_eq!(output.status.code(), Some(125));
        assert!(text(&output.stderr).contains(told), "{output:?}");
        assert!(!scratch("none.wasm").exists());
    }
}
