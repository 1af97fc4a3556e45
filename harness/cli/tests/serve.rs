//! `prebake serve`, as a program that starts it uses it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use common::serve::{Served, command};
use common::{at_barrier, at_prompt, machine_folder, prebake, prebake_cold, run, scratch, succeed, text};
use serde_json::{Value, json};
use std::path::PathBuf;

/// A store of the test's own, which is empty.
fn home(name: &str) -> PathBuf {
    let home = scratch(name);
    let _ = std::fs::remove_dir_all(&home);
    home
}

fn terminal() -> Value {
    json!({ "name": "vt220", "columns": 90, "rows": 30 })
}

/// A session out of the snapshot of a shell.
fn session(name: &str) -> Value {
    json!({ "snapshot": at_prompt(), "session": name, "terminal": terminal() })
}

fn start(served: &mut Served, machine: u32, spec: &Value) {
    assert_eq!(served.call("start", json!({ "machine": machine, "spec": spec })), json!({}));
}

#[test]
fn a_machine_is_typed_at_resized_saved_and_resumed() {
    let home = home("resumed");
    let mut served = Served::start(&home);
    start(&mut served, 7, &session("work"));
    served.wait_for_text(7, "# ");
    served.ask_shell(7, "stty size; word=one; echo $word", "30 90\r\none");
    served.call("resize", json!({ "machine": 7, "columns": 120, "rows": 40 }));
    served.ask_shell(7, "stty size", "40 120");
    let saved = served.call("checkpoint", json!({ "machine": 7 }));
    assert!(saved["session"] == "work" && saved["pages"].as_u64() > Some(0), "{saved}");
    // What was typed is told of, so that more may be.
    let consumed = served.wait_for(|message| message["method"] == "consumed");
    assert_eq!(consumed["params"]["bytes"], "stty size; word=one; echo $word\n".len());
    served.ask_shell(7, "word=two; echo $word", "two");
    served.call("stop", json!({ "machine": 7 }));
    let ended = served.ended(7);
    assert!(
        ended["ending"] == "stopped" && ended["saved"]["session"] == "work" && ended["guest_instructions"].as_u64() > Some(0),
        "{ended}"
    );
    assert_eq!(served.refused("checkpoint", json!({ "machine": 7 })), "machine-ended");
    // Its number is free.
    start(&mut served, 7, &session("work"));
    served.ask_shell(7, "echo $word", "two");
    let listed = served.call("sessions", json!({}));
    assert_eq!((&listed["sessions"][0]["name"], listed["sessions"].as_array().unwrap().len()), (&"work".into(), 1));
    assert_eq!(served.refused("remove-session", json!({ "name": "work" })), "session-in-use");
    served.type_in(7, b"exit 3\n");
    assert_eq!((&served.ended(7)["ending"], served.leave().code()), (&"exited".into(), Some(0)));
}

#[test]
fn the_end_of_the_input_saves_and_ends_all_machines() {
    let home = home("eof");
    let mut served = Served::start(&home);
    for (machine, name) in [(1, "a"), (2, "b")] {
        start(&mut served, machine, &session(name));
        served.ask_shell(machine, &format!("word={name}{name}; echo $word"), &format!("{name}{name}"));
    }
    assert_eq!(served.leave().code(), Some(0));
    assert_eq!([1, 2].map(|machine| served.ended(machine)["saved"]["session"].clone()), ["a", "b"]);
    let mut served = Served::start(&home);
    for (machine, name) in [(1, "a"), (2, "b")] {
        start(&mut served, machine, &session(name));
        served.ask_shell(machine, "echo $word", &format!("{name}{name}"));
    }
}

/// A host that hangs up without having read: machines that wait to be read are saved, too.
#[test]
fn output_that_is_not_read_does_not_keep_a_machine_from_being_saved() {
    let home = home("unread");
    let mut served = Served::start(&home);
    start(&mut served, 1, &session("work"));
    served.ask_shell(1, "word=kept; echo $word", "kept");
    served.type_in(1, b"yes\n");
    served.wait_for_text(1, "y\r\ny\r\n");
    // More than every buffer on the way has room for.
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(served.leave().code(), Some(0));
    assert_eq!(served.ended(1)["saved"]["session"], "work");
}

#[test]
fn a_signal_saves_and_ends_all_machines() {
    let home = home("signal");
    let mut served = Served::start(&home);
    start(&mut served, 1, &session("work"));
    served.ask_shell(1, "word=kept; echo $word", "kept");
    // Whatever the program was about to say.
    served.send_raw(&[0, 0, 1, 0, 0]);
    common::signal(&served.child, rustix::process::Signal::TERM);
    while served.read() {}
    assert_eq!((served.child.wait().unwrap().code(), &served.ended(1)["saved"]["session"]), (Some(0), &"work".into()));
}

#[test]
fn what_was_saved_survives_the_death_of_the_process() {
    let home = home("killed");
    let mut served = Served::start(&home);
    start(&mut served, 1, &session("work"));
    served.ask_shell(1, "word=saved; echo $word", "saved");
    served.call("checkpoint", json!({ "machine": 1 }));
    served.ask_shell(1, "word=lost; echo $word", "lost");
    served.child.kill().unwrap();
    // It has the session for as long as it is there.
    served.child.wait().unwrap();
    let mut served = Served::start(&home);
    start(&mut served, 1, &session("work"));
    served.ask_shell(1, "echo $word", "saved");
}

#[test]
fn streams_are_byte_exact_and_end() {
    let mut served = Served::start(&home("streams"));
    start(&mut served, 1, &json!({ "snapshot": at_barrier(), "environment": { "A": "done" } }));
    served.type_in(1, b"cat; echo $A >&2; exit 5\n");
    served.type_in(1, b"a\r\n\x04\xff\x00b");
    served.type_in(1, b"");
    let ended = served.ended(1);
    assert_eq!((&ended["ending"], &ended["status"]), (&"exited".into(), &5.into()));
    assert_eq!((served.seen(1, 1).as_bytes(), &*served.seen(1, 2)), ("a\r\n\x04\u{fffd}\x00b".as_bytes(), "done\n"));
}

/// Copies of one snapshot draw different numbers, though they are given equal seeds.
#[test]
fn copies_draw_different_numbers() {
    let mut served = Served::start(&home("copies"));
    let mut drawn = Vec::new();
    for machine in 1..=3 {
        let seed = "2a".repeat(64);
        start(&mut served, machine, &json!({ "snapshot": at_barrier(), "terminal": terminal(), "fresh": true, "seed": seed }));
        served.wait_for_text(machine, "# ");
        served.type_in(machine, b"echo x$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' ')x\n");
        served.wait_for_text(machine, "\r\nx");
        drawn.push(served.wait_for_text(machine, "x\r\n"));
    }
    assert!(drawn.iter().all(|drawn| drawn.len() == 32 + 3), "{drawn:?}");
    drawn.dedup();
    assert_eq!(drawn.len(), 3);
}

#[test]
fn machines_run_in_wamr_side_by_side() {
    let module = scratch("side-by-side.wasm");
    succeed(prebake_cold("convert").env("PREBAKE_MACHINE", machine_folder()).arg("-o").arg(&module));
    let mut served = Served::start(&home("side-by-side"));
    for machine in 1..=2 {
        start(&mut served, machine, &json!({ "machine": module, "snapshot": at_barrier(), "engine": "wamr", "fresh": true }));
        served.type_in(machine, b"echo here; read code; exit $code\n");
        served.wait_for_text(machine, "here");
    }
    for machine in 1..=2 {
        served.type_in(machine, format!("{machine}\n").as_bytes());
        let ended = served.ended(machine);
        assert_eq!((&ended["ending"], &ended["status"]), (&"exited".into(), &machine.into()), "{ended}");
    }
}

#[test]
fn what_cannot_be_done_is_an_error_by_its_kind() {
    let mut served = Served::start(&home("errors"));
    assert_eq!(served.refused("ensure", json!({ "reference": "localhost:1/none:1", "offline": true })), "not-in-store");
    assert_eq!(served.refused("ensure", json!({ "reference": "" })), "image-name");
    assert_eq!(served.refused("prune", json!({ "references": ["localhost:1/none:1"] })), "not-in-store");
    assert_eq!(served.refused("remove-session", json!({ "name": "none" })), "no-session");
    assert_eq!(served.refused("start", json!({ "machine": 1, "spec": { "seed": "1" } })), "invalid");
    assert_eq!(served.refused("stop", json!({ "machine": 1 })), "machine-ended");
    assert_eq!(served.call("prune", json!({})), json!({ "files": 0, "bytes": 0, "in_use": 0 }));
    assert_eq!(served.call("images", json!({})), json!({ "images": [] }));
    // What fails later is told when it ends.
    for (spec, kind) in [
        (json!({ "snapshot": "/nonexistent.snap" }), "missing"),
        (json!({}), "nothing-to-run"),
        (json!({ "session": "none" }), "no-session"),
    ] {
        start(&mut served, 1, &spec);
        let ended = served.ended(1);
        assert!(ended["ending"] == "failed" && ended["error"]["kind"] == kind, "{ended}");
    }
}

#[test]
fn the_protocol_is_held_to() {
    let mut served = Served::start(&home("protocol"));
    let mut refused = |bytes: &[u8]| {
        served.send_frame(0, bytes);
        served.wait_for(|message| message.get("error").is_some())["error"]["code"].as_i64().unwrap()
    };
    assert_eq!(refused(b"{"), -32700);
    assert_eq!(refused(b"[]"), -32600);
    assert_eq!(refused(&[b'['; 200_000]), -32700);
    assert_eq!(refused(br#"{"jsonrpc": "2.0", "id": 1, "method": "format"}"#), -32601);
    assert_eq!(refused(br#"{"jsonrpc": "2.0", "id": 1, "method": "start", "params": {"machine": 1, "spec": {"x": 1}}}"#), -32602);
    // An answer to no question, and input for no machine, are of no interest.
    served.send(&json!({ "jsonrpc": "2.0", "id": 99, "result": {} }));
    served.type_in(99, b"x");

    start(&mut served, 1, &json!({ "snapshot": at_prompt(), "terminal": terminal() }));
    assert_eq!(served.refused("start", json!({ "machine": 1, "spec": {} })), "protocol");
    assert_eq!(served.refused("resize", json!({ "machine": 1, "columns": 0, "rows": 1 })), "protocol");
    assert_eq!(served.refused("signal", json!({ "machine": 1, "number": 65 })), "protocol");
    served.type_in(1, b"stty raw -echo; echo go; sleep 1000\n");
    served.wait_for_text(1, "\ngo\n");
    // Nobody reads: the pipe and the guest's port take some of it, the window the rest, and no more.
    for _ in 0..40 {
        served.type_in(1, &[b'x'; 64 << 10]);
    }
    let error = served.wait_for(|message| message.get("error").is_some());
    assert!(error["error"]["message"].as_str().unwrap().contains("262144"), "{error}");
    served.call("stop", json!({ "machine": 1 }));
    assert_eq!(served.ended(1)["ending"], "stopped");
}

/// After a frame that cannot be one, nobody knows where the next begins: that is the end, with everything saved.
#[test]
fn a_bad_frame_is_the_end_and_loses_nothing() {
    for (name, bytes) in [
        ("length", &[0xff; 8][..]),
        ("empty", &[0; 4]),
        ("type", &[0, 0, 0, 1, 9]),
        ("prefix", &[0, 0, 0, 2, 1, 0]),
        ("cut", &[0, 0, 1, 0, 0]),
    ] {
        let home = home(&format!("bad-{name}"));
        let mut served = Served::of(command(&home, &[]).stderr(std::process::Stdio::piped()));
        start(&mut served, 1, &session("work"));
        served.ask_shell(1, "word=kept; echo $word", "kept");
        served.send_raw(bytes);
        assert_eq!(served.leave().code(), Some(125), "{name}");
        assert_eq!(served.ended(1)["saved"]["session"], "work", "{name}");
        let error = served.wait_for(|message| message.get("error").is_some());
        assert_eq!(error["error"]["data"]["kind"], "protocol", "{name}");
    }
}

#[test]
fn nothing_on_the_streams_but_the_protocol() {
    let output = run(prebake().arg("serve").env("PREBAKE_HOME", home("silent")), b"");
    assert_eq!((output.status.code(), &*text(&output.stderr)), (Some(0), ""));
    let length = output.stdout.len() as u32 - 4;
    assert_eq!(output.stdout[..5], [&length.to_be_bytes()[..], &[0]].concat());
    // Nor can anything else in the process, or a program that it starts, read or write them.
    let served = Served::of(command(&home("apart"), &[]).stderr(std::process::Stdio::piped()));
    let stream = |number: u8| std::fs::read_link(format!("/proc/{}/fd/{number}", served.child.id())).unwrap();
    assert_eq!((stream(0), stream(1)), ("/dev/null".into(), stream(2)));
}

/// Whatever is quoted, the program's reader need not take longer frames than it was promised.
#[test]
fn no_message_is_longer_than_a_frame_may_be() {
    let mut served = Served::start(&home("long"));
    let long = "\u{200b}".repeat((1 << 20) / 3 - 100);
    assert_eq!(served.refused("ensure", json!({ "reference": long, "offline": true })), "image-name");
    assert_eq!(served.refused("prune", json!({ "references": [long] })), "reference");
    assert_eq!(served.refused("start", json!({ "machine": 1, "spec": { "engine": long } })), "invalid");
    start(&mut served, 1, &json!({ "machine": long }));
    assert_eq!(served.ended(1)["error"]["kind"], "unreadable");
}
