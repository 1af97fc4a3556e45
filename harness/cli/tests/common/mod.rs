//! The real program, with a real guest.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

pub mod pty;
pub mod registry;
pub mod serve;

use prebake::context::{Context, Folders};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

/// A file of the guest that `make test-guest` builds.
pub fn guest(name: &str) -> PathBuf {
    made(&Path::new("guest").join(name), "test-guest")
}

/// The folder with the module and the compiler that `make build machine` builds.
pub fn machine_folder() -> PathBuf {
    let module = made(Path::new("release/machine.wasm"), "build machine");
    made(Path::new("release/prebake-wamrc"), "build machine");
    module.with_file_name("")
}

/// What `make GOAL` leaves below the target folder.
pub fn made(file: &Path, goal: &str) -> PathBuf {
    let chosen = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let places: Vec<_> = chosen.into_iter().chain([usual]).map(|target| target.join(file)).collect();
    let found = places.iter().find(|place| place.exists());
    found.unwrap_or_else(|| panic!("{} is not built (looked for {places:?}); run `make {goal}` first", file.display())).clone()
}

/// The program, with a cache of its own.
pub fn prebake() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    command.env("PREBAKE_CACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
    command
}

/// What the library is given in a test: folders of its own, and nobody who listens.
pub fn context(name: &str) -> Context {
    let shipped = machine_folder();
    Context::silent(Folders::below(&scratch(name), &shipped))
}

/// `prebake VERB` with the guest's kernel and init.
pub fn prebake_cold(verb: &str) -> Command {
    let mut command = prebake();
    command.arg(verb).arg("--kernel").arg(guest("vmlinux")).arg("--initrd").arg(guest("initramfs.cpio"));
    command
}

/// Runs a command to its end with `input` on its standard input.
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A guest that has ended reads no more.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    })
}

/// Sends a signal to a process that was started.
pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Runs a command that must succeed.
pub fn succeed(command: &mut Command) -> Output {
    let output = run(command, b"");
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    output
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bakes the guest to `path`.
pub fn bake(path: &Path, args: &[&str]) -> Output {
    succeed(prebake_cold("bake").arg("-o").arg(path).args(args))
}

fn baked(cell: &'static OnceLock<PathBuf>, name: &str, args: &[&str]) -> PathBuf {
    let bake = || {
        let path = scratch(name);
        bake(&path, args);
        path
    };
    cell.get_or_init(bake).clone()
}

/// A place for a file of this test program.
pub fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(env!("CARGO_CRATE_NAME"));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

/// A snapshot at the barrier. Not to be changed.
pub fn at_barrier() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    baked(&PATH, "barrier.snap", &[])
}

/// A snapshot with a shell at its prompt. Not to be changed.
pub fn at_prompt() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    baked(&PATH, "prompt.snap", &["--at", "idle"])
}

/// Runs `script` in the shell of a snapshot.
pub fn script(snapshot: &Path, args: &[&str], script: &[u8]) -> Output {
    run(prebake().arg("run").args(args).arg(snapshot), script)
}

/// The JSON report at `path`.
pub fn report(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Has the test `name` run in a network of its own, which has the addresses 192.0.2.10 and 2001:db8::10 besides its loopback, and nothing else.
/// Returns whether this is there.
pub fn in_own_network(name: &str) -> bool {
    const VARIABLE: &str = "PREBAKE_TEST_NETWORK";
    if std::env::var_os(VARIABLE).is_some() {
        return true;
    }
    let script =
        "ip link set lo up && ip address add 192.0.2.10/32 dev lo && ip address add 2001:db8::10/128 dev lo nodad && exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "sh", "-c", script]).arg(std::env::current_exe().unwrap());
    let status = command.args([name, "--exact", "--nocapture"]).env(VARIABLE, "").status().unwrap();
    assert!(status.success(), "{name} failed in a network of its own (it needs unshare and ip: util-linux, iproute2)");
    false
}

/// Checks that a command failed as prebake itself does, with an error of this `kind` whose message holds all of `words`.
pub fn assert_fails(command: &mut Command, kind: &str, words: &[&str]) {
    let json = scratch(&format!("{kind}-{:?}.json", std::thread::current().id()));
    let output = run(command.arg("--json").arg(&json), b"");
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{command:?}: {message}");
    let error = &report(&json)["error"];
    assert_eq!(error["kind"], kind, "{message}");
    assert!(message.contains(error["message"].as_str().unwrap()), "{message}");
    for word in words {
        assert!(message.contains(word), "`{word}` is missing: {message}");
    }
}
