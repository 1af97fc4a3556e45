//! A machine's module that comes from anyone, and is made to do harm: it is not this host's terminal, input or time that it has.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::pty::Session;
use common::{assert_fails, prebake, run, scratch, signal, text};
use prebake::artifact::{MachineSize, PartInput, PartKind, link, pack};
use rustix::process::Signal;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const RAM_SIZE: u64 = 32 << 20;
/// Where RAM begins in the module's memory.
const RAM_START: u64 = 96 << 20;

/// A machine's file whose module answers as one does, but for what it does when it is to run: that is `run`, which gives a reason.
fn hostile(name: &str, run: &str) -> PathBuf {
    let constant = [
        ("pb_abi", "", "i32", 1),
        ("pb_init", "", "", 0),
        ("pb_ram", "", "i32", RAM_START),
        ("pb_reserve", "i32", "i32", 8192),
        ("pb_answer", "", "i32", 4096),
        ("pb_answer_length", "", "i32", 12),
        ("pb_configure", "i32", "i32", 0),
        ("pb_boot", "", "i32", 0),
        ("pb_restore", "i32 i64", "i32", 0),
        ("pb_at_safe_point", "", "i32", 0),
        ("pb_detail", "", "i64", 0),
        ("pb_count", "", "i64", 0),
        ("pb_now", "", "i64", 0),
        ("pb_skip_to", "i64", "", 0),
        ("pb_push_input", "i32 i32", "i32", 0),
        ("pb_close_input", "i32", "", 0),
        ("pb_wants_input", "i32", "i32", 0),
        ("pb_input_pending", "i32", "i32", 0),
        ("pb_take_output", "", "i32", 0),
        ("pb_resize", "i32 i32", "", 0),
        ("pb_stats", "", "i32", 0),
        ("pb_save", "", "i32", 1),
        ("pb_dirty_pages", "", "i32", RAM_START - 65536),
        ("pb_disk", "i32", "i32", 0),
        ("pb_dirty_blocks", "i32", "i32", 0),
    ];
    let exports = constant.map(|(name, params, result, value)| {
        let (result, body) = match result {
            "" => (String::new(), String::new()),
            kind => (format!("(result {kind})"), format!("({kind}.const {value})")),
        };
        format!("(func (export \"{name}\") (param {params}) {result} {body})\n")
    });
    let pages = RAM_START / 65536;
    let module = format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") {pages})
          (data (i32.const 1024) "\00\05\00\00\0a\00\00\00")
          (data (i32.const 1280) "\1b]0;evil\07\n")
          (data (i32.const 4096) "io\0a\1b]0;evil\07")
          (data (i32.const 1032) "\00\06\00\00\01\00\00\00")
          (func (export "pb_payload_read") (param i32 i32 i32))
          (func $run (export "pb_run") (param i64) (result i32) {run})
          (func (export "pb_run_to_safe_point") (param i64) (result i32) (call $run (local.get 0)))
          {})"#,
        exports.concat()
    );
    let code = link(&wat::parse_str(module).unwrap()).unwrap();
    let metadata: &[u8] = b"{\"append\":\"\"}";
    let parts =
        vec![PartInput::new(PartKind::Kernel, 6, &b"kernel"[..]), PartInput::new(PartKind::Metadata, metadata.len() as u64, metadata)];
    let size = MachineSize { pages: ((RAM_START + RAM_SIZE) / 65536) as u32, ram_size: RAM_SIZE };
    let path = scratch(name);
    pack(&code, size, parts, &mut File::create(&path).unwrap()).unwrap();
    path
}

const ENDLESS: &str = "(loop (br 0)) (i32.const 0)";

fn run_of(machine: &Path) -> Command {
    let mut command = prebake();
    command.arg("run").arg(machine);
    command
}

#[test]
fn a_machine_that_does_not_return_is_stopped_by_itself() {
    let machine = hostile("endless-limit.wasm", ENDLESS);
    assert_fails(run_of(&machine).args(["-T", "--limit-instructions", "1000"]), "unresponsive", &["does not return"]);
}

#[test]
fn a_machine_that_does_not_return_is_stopped_by_a_signal() {
    let machine = hostile(
        "endless-signal.wasm",
        "(loop (drop (call $fd_write (i32.const 1) (i32.const 1024) (i32.const 1) (i32.const 1040))) (br 0)) (i32.const 0)",
    );
    let mut command = run_of(&machine);
    let mut child = command.arg("-T").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Once it runs. A second one would end the process in any case.
    std::thread::sleep(Duration::from_secs(1));
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
}

#[test]
fn a_machine_that_does_not_return_is_stopped_by_keys() {
    let machine = hostile("endless-keys.wasm", ENDLESS);
    for (keys, status) in [("ls\r\x01x", 0), ("ls\r\x03", 128 + 2)] {
        let mut session = Session::start(run_of(&machine).arg("-t"));
        session.wait_until_raw();
        session.type_in(keys);
        assert_eq!(session.end().code(), Some(status), "{keys:?}");
    }
}

/// It would read what is typed, and write what a terminal obeys.
#[test]
fn a_machines_module_has_none_of_the_users_streams() {
    let machine = hostile(
        "streams.wasm",
        r"(drop (call $fd_write (i32.const 1) (i32.const 1024) (i32.const 1) (i32.const 1040)))
          (drop (call $fd_write (i32.const 2) (i32.const 1024) (i32.const 1) (i32.const 1040)))
          (drop (call $fd_read (i32.const 0) (i32.const 1032) (i32.const 1) (i32.const 1040)))
          (if (i32.load (i32.const 1040)) (then (return (i32.const 4))))
          (i32.const 3)",
    );
    let output = run(run_of(&machine).arg("-T"), b"input\n");
    assert_eq!(text(&output.stdout), "");
    // It comes with the messages of the guest's kernel. What it got to read was nothing: it powers off, and does not reset.
    let said = text(&output.stderr);
    assert_eq!(said.matches("]0;evil").count(), 2, "{said}");
    assert!(said.contains("powered off") || output.status.code() == Some(0), "{said}");
}

#[test]
fn what_a_machines_module_complains_of_is_no_command_to_the_terminal() {
    let machine = hostile("complains.wasm", "(i32.const 6)");
    let output = run(run_of(&machine).arg("-T"), b"");
    let said = text(&output.stderr);
    assert!(said.contains("\\u{1b}]0;evil") && !said.contains('\x1b'), "{said}");
}
