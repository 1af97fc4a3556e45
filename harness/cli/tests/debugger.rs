//! The real debugger, GDB, with a bare-metal program and with Linux; and traces.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{assert_fails, at_prompt, guest, machine_folder, prebake, prebake_cold, run, scratch, signal, succeed, text};
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Counts five calls, then powers off with what it has counted as status.
const PROGRAM: &str = "
    .globl _start, work, done
_start: mov $5, %ecx
    mov %cr4, %rax
    or $0x200, %eax
    mov %rax, %cr4
    xor %eax, %eax
again: call work
    dec %ecx
    jnz again
done: mov $0x600, %edx
    outl %eax, %dx
    hlt
work: inc %eax
    mov %eax, counted(%rip)
    mov %eax, %ebx
    cvtsi2sd %eax, %xmm3
    ret
    .data
    .globl counted
counted: .long 0
";

/// The program as an ELF file.
fn program() -> PathBuf {
    let (source, file) = (scratch("program.s"), scratch("program"));
    std::fs::write(&source, PROGRAM).unwrap();
    succeed(Command::new("gcc").args(["-nostdlib", "-static", "-no-pie", "-Wl,-Ttext=0x1000000", "-Wl,-n", "-o"]).arg(&file).arg(&source));
    file
}

/// A machine that waits for a debugger, and where.
fn waiting(command: &mut Command) -> (Child, BufReader<std::process::ChildStderr>, String) {
    let mut child =
        command.args(["--gdb", "127.0.0.1:0"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let address =
        line.split("target remote ").nth(1).unwrap_or_else(|| unreachable!("{line}")).trim_end().trim_end_matches('\'').to_string();
    (child, stderr, address)
}

/// What GDB says to these commands, after connecting.
fn gdb(symbols: &Path, address: &str, commands: &[&str]) -> String {
    // A guest that is not stopped goes on for ever.
    let mut gdb = Command::new("timeout");
    gdb.args(["60", "gdb", "-nx", "-batch"]).arg(symbols).arg("-ex").arg(format!("target remote {address}"));
    for command in commands {
        gdb.arg("-ex").arg(command);
    }
    let output = succeed(&mut gdb);
    text(&output.stdout) + &text(&output.stderr)
}

fn assert_in_order(said: &str, words: &[&str]) {
    let mut rest = said;
    for word in words {
        let at = rest.find(word).unwrap_or_else(|| unreachable!("`{word}` is missing from the rest of:\n{said}"));
        rest = &rest[at + word.len()..];
    }
}

#[test]
fn gdb_breaks_steps_and_changes_a_bare_metal_program() {
    let program = program();
    let (mut child, _stderr, address) = waiting(prebake().args(["boot", "--clock", "virtual", "--kernel"]).arg(&program));
    let said = gdb(
        &program,
        &address,
        &[
            "p $rip == (long)&_start",
            "break work",
            "continue",
            "stepi",
            "p $eax",
            "x/i $pc",
            "continue",
            "p (int)counted",
            "stepi 4",
            "p $xmm3.v2_double[0]",
            "p $ebx",
            "set {int}&counted = 77",
            "p (int)counted",
            "set $eax = 40",
            "delete",
            "hbreak done",
            "continue",
            "p $eax",
            "p $ecx",
            "x/1xb $pc",
            "x/1xb 0x7fffffffffff",
            "detach",
        ],
    );
    assert_in_order(
        &said,
        &[
            "$1 = 1",
            "Breakpoint 1, ",
            "in work ()",
            "$2 = 1",
            "%eax",
            "Breakpoint 1, ",
            "$3 = 1",
            "$4 = 2",
            "$5 = 2",
            "$6 = 77",
            "Breakpoint 2, ",
            "in done ()",
            "$7 = 43",
            "$8 = 0",
            "<done>:\t0xba",
            "detached",
            "Cannot access memory",
        ],
    );
    assert_eq!(child.wait().unwrap().code(), Some(43));
}

#[test]
fn gdb_finds_linux_in_its_own_functions() {
    let map = std::fs::read_to_string(guest("System.map")).unwrap();
    let start_kernel = map.lines().find_map(|line| line.strip_suffix(" T start_kernel")).unwrap();
    let (mut child, mut stderr, address) = waiting(prebake_cold("boot").args(["--clock", "virtual"]));
    let stop = format!("break *0x{start_kernel}");
    let said = gdb(&guest("vmlinux"), &address, &[&stop, "continue", "info registers rip", "x/i $pc", "stepi 100", "p $cs", "detach"]);
    assert_in_order(&said, &["Breakpoint 1, ", "rip ", start_kernel, "=> ", start_kernel, "$1 = 16"]);
    child.stdin.take().unwrap().write_all(b"echo 6 times 7 is $((6*7)); exit 3\n").unwrap();
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!((stdout.as_str(), child.wait().unwrap().code()), ("6 times 7 is 42\n", Some(3)), "{rest}");
}

#[test]
fn trace_has_a_line_for_each_instruction() {
    let (program, trace) = (program(), scratch("trace.txt"));
    let mut boot = prebake();
    boot.args(["boot", "--clock", "virtual", "--kernel"]).arg(&program).arg("--trace").arg(&trace);
    assert_eq!(run(&mut boot, b"").status.code(), Some(5));
    let trace = std::fs::read_to_string(&trace).unwrap();
    let lines: Vec<_> = trace.lines().collect();
    // Five instructions of set-up, five times six and two, and three of the end, of which the last is not reached.
    assert_eq!(lines.len(), 5 + 5 * 8 + 2, "{trace}");
    assert_eq!(lines[0], "0 0000000001000000  mov ecx,5  ; rcx=5");
    assert_eq!(lines[3], "3 000000000100000d  mov cr4,rax  ; cr4=220");
    assert!(lines[5].starts_with("5 0000000001000012  call 0x") && lines[5].contains("; rip=") && lines[5].contains(" rsp="), "{trace}");
    assert!(lines[9].contains("cvtsi2sd xmm3,eax  ; xmm3=3ff0000000000000"), "{trace}");
    assert!(lines[10].contains("ret  ; rip="), "{trace}");
    assert!(trace.ends_with("out dx,eax\n"), "{trace}");
}

/// One that speaks the protocol itself.
struct Debugger(BufReader<TcpStream>);

impl Debugger {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self(BufReader::new(stream))
    }

    fn say(&mut self, packet: &str) {
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        write!(self.0.get_ref(), "${packet}#{sum:02x}").unwrap();
    }

    /// The next packet with its runs written out, which is acknowledged.
    fn hear(&mut self) -> String {
        let mut packet = Vec::new();
        self.0.read_until(b'$', &mut packet).unwrap();
        packet.clear();
        self.0.read_until(b'#', &mut packet).unwrap();
        packet.pop();
        self.0.read_exact(&mut [0; 2]).unwrap();
        self.0.get_ref().write_all(b"+").unwrap();
        let (packet, mut whole) = (text(&packet), String::new());
        let mut characters = packet.chars();
        while let Some(character) = characters.next() {
            match (character, whole.chars().last()) {
                ('*', Some(last)) => whole.extend(std::iter::repeat_n(last, characters.next().unwrap() as usize - 29)),
                _ => whole.push(character),
            }
        }
        whole
    }
}

#[test]
fn a_restored_guest_that_waits_is_interrupted_left_met_again_and_killed() {
    let (mut child, _stderr, address) = waiting(prebake().arg("run").arg(at_prompt()));
    let mut debugger = Debugger::connect(&address);
    for _ in 0..2 {
        debugger.say("c");
        std::thread::sleep(Duration::from_millis(200));
        debugger.0.get_ref().write_all(&[3]).unwrap();
        assert_eq!(&debugger.hear()[1..3], "02");
        // Sixteen general registers, RIP and more.
        debugger.say("g");
        assert!(debugger.hear().len() > 2 * 8 * 17);
    }
    debugger.say("D");
    assert_eq!(debugger.hear(), "OK");
    drop(debugger);
    child.stdin.as_mut().unwrap().write_all(b"echo 6 times 7 is $((6*7))\n").unwrap();
    let mut seen = String::new();
    while !seen.contains("is 42") {
        let mut bytes = [0; 256];
        let count = child.stdout.as_mut().unwrap().read(&mut bytes).unwrap();
        assert_ne!(count, 0, "{seen}");
        seen += &text(&bytes[..count]);
    }
    let mut debugger = Debugger::connect(&address);
    debugger.say("?");
    assert_eq!(&debugger.hear()[1..3], "05");
    debugger.say("k");
    assert_eq!(child.wait().unwrap().code(), Some(128 + 9));
}

#[test]
fn a_signal_ends_the_wait_for_a_debugger() {
    let (mut child, _stderr, _) = waiting(prebake_cold("boot").args(["--clock", "virtual"]));
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
}

#[test]
fn nobody_looks_on_where_it_makes_no_sense() {
    let machine = scratch("machine.wasm");
    succeed(prebake_cold("convert").env("PREBAKE_MACHINE", machine_folder()).arg("-o").arg(&machine));
    let trace = scratch("nothing.txt");
    let of = |file: &Path| {
        let mut command = prebake();
        command.env("PREBAKE_HOME", scratch("home")).arg("run").arg(file);
        command
    };
    assert_fails(of(&machine).args(["--gdb", ":0"]), "not-in-module", &["--gdb", "--engine native"]);
    assert_fails(of(&machine).args(["--engine", "wamr", "--trace"]).arg(&trace), "not-in-module", &["--trace", "--engine native"]);
    assert_fails(of(&at_prompt()).args(["--session", "looked-at", "--gdb", ":0"]), "not-in-session", &["--gdb", "looked-at"]);
    assert_fails(of(&at_prompt()).args(["--trace", "/nowhere/trace"]), "unwritable", &["/nowhere/trace"]);
    let both = run(of(&at_prompt()).args(["--gdb", ":0", "--trace"]).arg(&trace), b"");
    assert_eq!(both.status.code(), Some(2), "{}", text(&both.stderr));
    assert!(!trace.exists());
}
