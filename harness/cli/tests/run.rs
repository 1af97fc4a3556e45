//! A shell out of a snapshot, through the real program.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{at_barrier, at_prompt, prebake, prebake_cold, report, run, scratch, script, signal, succeed, text};
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

#[test]
fn a_script_gets_its_output_and_its_status() {
    let output = script(&at_barrier(), &[], b"uname -m; echo $((6*7)); exit 3\n");
    assert_eq!(text(&output.stdout), "x86_64\n42\n");
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn the_shell_ends_with_its_input() {
    let output = script(&at_barrier(), &[], b"echo one\nfalse\n");
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("one\n", Some(1)));
    let output = script(&at_barrier(), &[], b"");
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("", Some(0)));
}

#[test]
fn a_signal_that_ends_the_program_shows_in_the_status() {
    assert_eq!(script(&at_barrier(), &[], b"kill -9 $$\n").status.code(), Some(128 + 9));
}

/// A megabyte that no terminal and no line discipline would leave alone.
fn noise() -> Vec<u8> {
    let mut state = 1_u64;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(1 << 20)
    .collect()
}

#[test]
fn streams_are_byte_exact() {
    for clock in ["host", "virtual"] {
        let noise = noise();
        let input = [b"echo apart >&2; cat; echo ended >&2; exit 4\n", noise.as_slice()].concat();
        let output = script(&at_barrier(), &["--clock", clock], &input);
        assert!(output.stdout == noise, "{clock}: {} bytes came back", output.stdout.len());
        assert_eq!(text(&output.stderr), "apart\nended\n");
        assert_eq!(output.status.code(), Some(4));
    }
}

#[test]
fn output_comes_as_it_is_written_and_input_as_it_is_typed() {
    let mut child = start(prebake().arg("run").arg(at_barrier()));
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for word in ["one", "two", "three"] {
        writeln!(stdin, "echo {word}").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), word);
    }
    // Part of a line reaches a program that wants no lines.
    stdin.write_all(b"head -c 3; echo\nabc").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "abc");
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_signal_is_the_programs_and_the_next_one_prebakes() {
    let mut child = start(prebake().arg("run").arg(at_barrier()));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let script = b"trap 'echo caught' TERM; echo ready; while :; do sleep 0.1; done\n";
    child.stdin.take().unwrap().write_all(script).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    signal(&child, Signal::TERM);
    assert_eq!(lines.next().unwrap().unwrap(), "caught");
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
}

#[test]
fn signals_that_are_a_programs_own_reach_it() {
    let mut child = start(prebake().arg("run").arg(at_barrier()));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let signals = [("USR1", Signal::USR1), ("USR2", Signal::USR2), ("ALRM", Signal::ALARM), ("PROF", Signal::PROF), ("PWR", Signal::POWER)];
    let traps = signals.map(|(name, _)| format!("trap 'echo {name}' {name}; ")).concat();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(format!("{traps}echo ready; while :; do sleep 0.1; done\n").as_bytes()).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    // Again and again: none of them is for prebake.
    for (name, number) in signals.into_iter().chain(signals) {
        signal(&child, number);
        assert_eq!(lines.next().unwrap().unwrap(), name);
    }
    signal(&child, Signal::KILL);
    child.wait().unwrap();
}

#[test]
fn what_the_guest_complains_of_is_shown_once() {
    let output = script(&at_barrier(), &["-u", "nosuch"], b"");
    let said = text(&output.stderr);
    assert_eq!((said.matches("nosuch").count(), said.lines().count(), output.status.code()), (1, 1, Some(125)), "{said}");
}

#[test]
fn nobody_listening_ends_the_guest_as_it_would_a_program() {
    let mut child = start(prebake().arg("run").arg(at_barrier()));
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    child.stdin.take().unwrap().write_all(b"yes\n").unwrap();
    stdout.read_line(&mut line).unwrap();
    drop(stdout);
    assert_eq!((line.as_str(), child.wait().unwrap().code()), ("y\n", Some(128 + 13)));
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let full = std::fs::File::create("/dev/full").unwrap();
    let mut command = prebake();
    command.arg("run").arg(at_barrier()).stdin(Stdio::piped()).stdout(full).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"echo hello\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output.stderr).contains("standard output: No space left"), "{}", text(&output.stderr));
}

#[test]
fn a_limit_ends_the_run_with_124() {
    let json = scratch("limit.json");
    let args = ["--limit-instructions", "3000000", "--json", json.to_str().unwrap()];
    let output = script(&at_barrier(), &args, b"while :; do :; done\n");
    assert_eq!(output.status.code(), Some(124), "{}", text(&output.stderr));
    let report = report(&json);
    assert_eq!(report["error"]["kind"], "limit");
    let executed = report["guest_instructions"].as_u64().unwrap();
    assert!((2_000_000..=3_000_000).contains(&executed), "{executed}");
}

#[test]
fn little_is_left_to_do_behind_the_barrier() {
    let json = scratch("little.json");
    assert!(script(&at_barrier(), &["--clock", "virtual", "--json", json.to_str().unwrap()], b"exit\n").status.success());
    // The start of a shell, and the end of the machine: it was a third more when init made its threads and the program's process only then.
    let executed = report(&json)["guest_instructions"].as_u64().unwrap();
    assert!((500_000..1_200_000).contains(&executed), "{executed}");
}

#[test]
fn the_report_has_the_figures_that_were_promised() {
    let json = scratch("figures.json");
    let output = script(&at_barrier(), &["--stats", "--json", json.to_str().unwrap()], b"echo hello; exit 5\n");
    assert_eq!(output.status.code(), Some(5));
    assert!(text(&output.stderr).contains("prebake: restored in "), "{}", text(&output.stderr));
    let report = report(&json);
    assert_eq!((&report["command"], &report["exit_code"]), (&"run".into(), &5.into()));
    // Nothing is mapped that others may write to.
    assert_eq!(report["snapshot_mappings"], 0);
    for key in ["guest_instructions", "pages_loaded", "snapshot_bytes"] {
        assert!(report[key].as_u64().is_some_and(|number| number > 0), "{key}: {report}");
    }
    for key in ["wall_seconds", "mips", "restore_ms", "first_output_ms"] {
        assert!(report[key].as_f64().is_some_and(|number| number > 0.0), "{key}: {report}");
    }
    assert!(report["hlt"]["count"].as_u64().is_some(), "{report}");
    assert!(report["error"].is_null() && report["settled"].is_null(), "{report}");
    assert_eq!(report["unimplemented_instructions"], serde_json::json!({}));
}

#[test]
fn the_virtual_clock_does_not_wait_and_the_hosts_does() {
    let seconds = |clock| {
        let start = std::time::Instant::now();
        let output = script(&at_barrier(), &["--clock", clock], b"a=$(date +%s); sleep 3; echo $(($(date +%s) - a))\n");
        let slept: u64 = text(&output.stdout).trim().parse().unwrap();
        assert!((3..=4).contains(&slept), "{clock}: {slept}");
        start.elapsed().as_secs()
    };
    assert!(seconds("host") >= 3);
    // An hour is no longer than three seconds.
    let output = script(&at_barrier(), &["--clock", "virtual"], b"sleep 3600; echo over\n");
    assert_eq!(text(&output.stdout), "over\n");
}

#[test]
fn copies_of_a_snapshot_draw_different_random_numbers() {
    let barrier = || text(&script(&at_barrier(), &[], b"cat /proc/sys/kernel/random/uuid\n").stdout);
    assert_ne!(barrier(), barrier());
    let prompt = || {
        let output = text(&script(&at_prompt(), &[], b"cat /proc/sys/kernel/random/uuid\nexit\n").stdout);
        output.lines().find(|line| line.len() == 36 && line.matches('-').count() == 4).unwrap().to_owned()
    };
    assert_ne!(prompt(), prompt());
}

#[test]
fn the_guests_clock_is_the_hosts() {
    let output = script(&at_barrier(), &[], b"date +%s\n");
    let guest: u64 = text(&output.stdout).trim().parse().unwrap();
    let host = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(host.abs_diff(guest) <= 60, "{guest} {host}");
}

#[test]
fn a_shell_at_its_prompt_is_typed_at_and_its_prompt_is_shown() {
    for clock in ["host", "virtual"] {
        let output = script(&at_prompt(), &["--clock", clock], b"echo $((6*7))\nexit 6\n");
        let shown = text(&output.stdout);
        // Where the cursor is, the shell was told while it was baked.
        assert!(shown.starts_with("/ # echo"), "{shown:?}");
        assert!(shown.contains("\r\n42\r\n"), "{shown:?}");
        assert_eq!(output.status.code(), Some(6), "{shown:?}");
    }
}

#[test]
fn the_end_of_the_input_is_typed_at_a_shell_until_it_goes() {
    let output = script(&at_prompt(), &[], b"cat\nsome text\n");
    let shown = text(&output.stdout);
    assert!(shown.contains("some text\r\n"), "{shown:?}");
    assert_eq!(output.status.code(), Some(0), "{shown:?}");
}

#[test]
fn a_shell_on_a_terminal_cannot_be_given_streams() {
    common::assert_fails(prebake().args(["run", "-T"]).arg(at_prompt()), "on-a-terminal", &["omit it"]);
}

#[test]
fn a_terminal_is_given_on_demand() {
    let output = script(&at_barrier(), &["-t"], b"tty\nexit 2\n");
    assert!(text(&output.stdout).contains("\r\n/dev/hvc0\r\n"), "{:?}", text(&output.stdout));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_cold_boot_does_the_same() {
    for clock in ["host", "virtual"] {
        let output = run(prebake_cold("boot").args(["--clock", clock]), b"uname -m; echo apart >&2; exit 3\n");
        assert_eq!(text(&output.stdout), "x86_64\n", "{}", text(&output.stderr));
        // The kernel's own messages come first.
        assert!(text(&output.stderr).ends_with("apart\n"), "{}", text(&output.stderr));
        assert_eq!(output.status.code(), Some(3));
    }
}

#[test]
fn a_share_is_a_directory_of_the_host() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hello"), "from the host").unwrap();
    let share = format!("wasi0={}", folder.path().display());
    let snapshot = scratch("share.snap");
    common::bake(&snapshot, &["--share", &share]);
    let output = script(&snapshot, &["--share", &share], b"cat /mnt/wasi0/hello; echo from the guest > /mnt/wasi0/answer\n");
    assert_eq!(text(&output.stdout), "from the host", "{}", text(&output.stderr));
    assert_eq!(std::fs::read_to_string(folder.path().join("answer")).unwrap(), "from the guest\n");
    common::assert_fails(prebake().arg("run").arg(&snapshot), "wrong-share", &["wasi0", "none"]);
}

#[test]
fn manual_pages_and_completions_cover_every_verb() {
    let folder = tempfile::tempdir().unwrap();
    succeed(prebake().arg("man").arg(folder.path()));
    let script = text(&succeed(prebake().args(["completion", "bash"])).stdout);
    for verb in ["run", "bake", "convert", "aot", "push", "pull", "images", "sessions", "inspect"] {
        assert!(std::fs::read_to_string(folder.path().join(format!("prebake-{verb}.1"))).unwrap().contains("SYNOPSIS"), "{verb}");
        assert!(script.contains(&format!("prebake__subcmd__{verb}")) || script.contains(&format!("prebake__{verb}")), "{verb}");
    }
    let page = std::fs::read_to_string(folder.path().join("prebake-run.1")).unwrap();
    // Options that are only refused are in neither.
    assert!(page.contains("ulimit") && !page.contains("gpus"), "{page}");
}

#[test]
fn help_is_a_verb_too() {
    let (verb, option) = (succeed(prebake().args(["help", "convert"])), succeed(prebake().args(["convert", "--help"])));
    assert_eq!(text(&verb.stdout), text(&option.stdout));
}

#[test]
fn figures_may_go_to_standard_output() {
    let output = run(prebake().args(["run", "/nonexistent/a.snap", "--json", "-"]), b"");
    assert_eq!(output.status.code(), Some(125));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["command"], &report["error"]["kind"]), (&"run".into(), &"missing".into()));
}
