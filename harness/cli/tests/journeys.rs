//! What people do with an image, from the first time that they run it to the day that it is replaced: with a real registry, at a real terminal,
//! on both engines.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use common::pty::Session;
use common::registry::Registry;
use common::{machine_folder, made, prebake, run, signal, succeed, text};
use rustix::process::Signal;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A machine of an image, compiled for this host, and its snapshot.
struct Pair {
    aot: PathBuf,
    snap: PathBuf,
}

/// Two versions of one image: they differ in their memory.
fn pairs() -> &'static [Pair; 2] {
    static PAIRS: OnceLock<[Pair; 2]> = OnceLock::new();
    PAIRS.get_or_init(|| {
        let image = format!("oci:{}", made(Path::new("images/busybox"), "test-images").display());
        ["96", "128"].map(|memory| {
            let at = |ending: &str| common::scratch(&format!("{memory}.{ending}"));
            let (wasm, aot, snap) = (at("wasm"), at("aot"), at("snap"));
            let verb = |verb: &str| {
                let mut command = prebake();
                command.env("PREBAKE_MACHINE", machine_folder()).arg(verb);
                command
            };
            succeed(verb("convert").args([&image, "--memory", memory, "-o"]).arg(&wasm));
            succeed(verb("aot").arg(&wasm).arg("-o").arg(&aot));
            succeed(verb("bake").arg(&aot).arg("-o").arg(&snap));
            Pair { aot, snap }
        })
    })
}

/// A registry, and a person's store.
struct World {
    registry: Registry,
    engine: &'static str,
}

const IMAGE: &str = "some/shell:1";

impl World {
    fn new(engine: &'static str) -> Self {
        Self { registry: Registry::start(false), engine }
    }

    fn prebake(&self) -> Command {
        let mut command = prebake();
        command.env("PREBAKE_MACHINE", machine_folder());
        command.env("PREBAKE_HOME", self.registry.at("store")).env("DOCKER_CONFIG", self.registry.folder.path());
        command
    }

    fn reference(&self) -> String {
        format!("{}/{IMAGE}", self.registry.address)
    }

    /// Has the registry name these files.
    fn publish(&self, files: &[&PathBuf]) {
        succeed(self.prebake().arg("push").arg(self.reference()).args(files));
    }

    fn run(&self, args: &[&str]) -> Command {
        let mut command = self.prebake();
        command.args(["run", "--engine", self.engine]).args(args);
        command
    }

    /// A person runs the image, and has a prompt.
    fn at_prompt(&self, args: &[&str]) -> (Session, String) {
        let mut session = Session::start(self.run(args).arg(self.reference()));
        session.wait_for("# ");
        let before = std::mem::take(&mut session.before);
        (session, before)
    }

    /// A script in the image's shell, of which nothing is kept.
    fn script(&self, args: &[&str], script: &str) -> (String, String) {
        let output = run(self.run(args).arg(self.reference()), script.as_bytes());
        assert!(output.status.success(), "{}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    }

    fn sessions(&self) -> Vec<Value> {
        let listed = succeed(self.prebake().args(["sessions", "--json"])).stdout;
        serde_json::from_slice::<Value>(&listed).unwrap().as_array().unwrap().clone()
    }
}

/// Types a command and waits for what it prints.
fn ask(session: &mut Session, command: &str, answer: &str) {
    session.type_in(&format!("{command}\r"));
    session.wait_for(&format!("\r\n{answer}\r\n"));
    session.wait_for("# ");
}

/// Ends the shell, whose files are kept.
fn exit(mut session: Session) {
    session.type_in("exit 3\r");
    session.wait_for("has its files and starts its program anew");
    assert_eq!(session.end().code(), Some(3));
}

fn leave(mut session: Session) {
    session.type_in("\x01x");
    session.wait_for("saved session");
    assert_eq!(session.end().code(), Some(0));
}

const UUID: &str = "cat /proc/sys/kernel/random/uuid\n";

fn first_launch_of_a_baked_image(engine: &'static str) {
    let world = World::new(engine);
    let [pair, _] = pairs();
    world.publish(&[&pair.aot, &pair.snap]);
    let (mut session, before) = world.at_prompt(&[]);
    // On the native engine it starts before all of it has come.
    assert!(before.contains("fetched") == (engine == "wamr") && !before.contains("boots once"), "{before}");
    ask(&mut session, "echo $((6*7))", "42");
    leave(session);
    // Everyone has random numbers of their own.
    let (one, other) = (world.script(&[], UUID).0, world.script(&[], UUID).0);
    assert!(one.len() == 37 && one != other, "{one}{other}");
}

fn first_launch_of_an_image_without_a_snapshot(engine: &'static str) {
    let world = World::new(engine);
    world.publish(&[&pairs()[0].aot]);
    let (session, before) = world.at_prompt(&[]);
    assert!(before.contains("boots once"), "{before}");
    leave(session);
    // Once.
    let (one, said) = world.script(&[], UUID);
    assert!(!said.contains("boots once"), "{said}");
    assert!(one != world.script(&["--offline"], UUID).0);
    // It stays as long as the image does.
    succeed(world.prebake().arg("prune"));
    assert!(!world.script(&["--offline"], UUID).1.contains("boots once"));
}

/// An image that nobody has baked: it is made a machine, boots once, and is there ever after.
#[test]
fn an_ordinary_image_is_run() {
    let world = World::new("native");
    let layout = made(Path::new("images/busybox"), "test-images");
    let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    world.registry.push(&layout, &index["manifests"][0], IMAGE);
    let mut usual = world.prebake();
    usual.arg("run").arg(world.reference()).args(["--", "uname", "-m"]);
    let output = run(&mut usual, b"");
    let said = text(&output.stderr);
    assert_eq!(text(&output.stdout), "x86_64\n", "{said}");
    assert!(said.contains("ordinary image") && said.contains("boots once"), "{said}");
    let (session, before) = world.at_prompt(&[]);
    assert!(!before.contains("ordinary image") && !before.contains("boots once"), "{before}");
    leave(session);
    assert_eq!(world.script(&["--offline"], "uname -m\n").0, "x86_64\n");
}

/// An image on this host is run as one in a registry: what is done in it stays.
#[test]
fn an_image_on_this_host_is_run() {
    let world = World::new("native");
    let image = format!("oci:{}", made(Path::new("images/busybox"), "test-images").display());
    let at_prompt = || {
        let mut session = Session::start(world.run(&[]).arg(&image));
        session.wait_for("# ");
        let before = std::mem::take(&mut session.before);
        (session, before)
    };
    let (mut session, before) = at_prompt();
    assert!(before.contains("boots once"), "{before}");
    ask(&mut session, "echo kept >/note; cat /note", "kept");
    exit(session);
    let (mut session, before) = at_prompt();
    assert!(!before.contains("boots once"), "{before}");
    ask(&mut session, "cat /note", "kept");
    leave(session);
    assert_eq!(world.sessions().len(), 1);
}

/// Of two at once one fetches it, and both run; who does not know the code runs the machine all the same.
#[test]
fn two_people_run_an_image_at_once() {
    let world = World::new("wamr");
    let [pair, _] = pairs();
    world.publish(&[&pair.aot, &pair.snap]);
    let start = || {
        let mut command = world.run(&[]);
        command.arg(world.reference()).args(["--", "echo", "hello"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let outputs = [start(), start()].map(|child| child.wait_with_output().unwrap());
    assert!(outputs.iter().all(|output| output.status.success() && output.stdout == b"hello\n"), "{outputs:?}");
    let fetched = outputs.iter().filter(|output| text(&output.stderr).contains("fetched")).count();
    assert_eq!(fetched, 1, "{outputs:?}");

    let nobody = tempfile::tempdir().unwrap();
    let mut stranger = world.run(&["--offline"]);
    stranger.env("PREBAKE_CACHE", nobody.path()).arg(world.reference()).args(["--", "echo", "hello"]);
    let output = run(&mut stranger, b"");
    assert!(output.status.success() && output.stdout == b"hello\n");
    assert!(text(&output.stderr).contains("native engine instead"), "{}", text(&output.stderr));
}

fn every_later_launch(engine: &'static str) {
    let world = World::new(engine);
    let [pair, _] = pairs();
    world.publish(&[&pair.aot, &pair.snap]);
    world.script(&[], "true\n");
    let (mut session, before) = world.at_prompt(&[]);
    assert!(!before.contains("fetched"), "{before}");
    ask(&mut session, "word=kept; echo there >/root/file; ls /root", "file");
    leave(session);
    // Where it was, again and again.
    for _ in 0..2 {
        let (mut session, _) = world.at_prompt(&[]);
        ask(&mut session, "echo $word; cat /root/file", "kept\r\nthere");
        leave(session);
    }
    // Who says what is to be run gets that, and starts afresh; so does who asks for it. The session stays as it is.
    assert_eq!(world.script(&[], "ls /root\n").0, "");
    let (mut session, _) = world.at_prompt(&["--fresh"]);
    ask(&mut session, "echo :$word:", "::");
    session.type_in("\x01x");
    assert_eq!(session.end().code(), Some(0));
    let (mut session, _) = world.at_prompt(&["--offline"]);
    ask(&mut session, "cat /root/file", "there");
    // Its files outlive its program, which starts anew.
    exit(session);
    for _ in 0..2 {
        let (mut session, _) = world.at_prompt(&[]);
        ask(&mut session, "echo :$word:; cat /root/file; echo more >>/root/more; tail -n 1 /root/more", "::\r\nthere\r\nmore");
        // What is kept while it runs is kept as it runs.
        session.type_in("\x01s");
        session.wait_for("resumes it");
        exit(session);
    }
    let (mut session, _) = world.at_prompt(&[]);
    ask(&mut session, "word=again; wc -l </root/more", "2");
    leave(session);
    let (mut session, _) = world.at_prompt(&[]);
    ask(&mut session, "echo $word", "again");
    exit(session);
    // Only a fresh start and the removal of the session do without them.
    let (mut session, _) = world.at_prompt(&["--fresh"]);
    ask(&mut session, "ls /root; echo :$word:", "::");
    session.type_in("exit\r");
    assert_eq!(session.end().code(), Some(0));
    let [kept] = &world.sessions()[..] else { panic!("{:?}", world.sessions()) };
    succeed(world.prebake().args(["sessions", "--remove", kept["name"].as_str().unwrap()]));
    let (mut session, _) = world.at_prompt(&[]);
    ask(&mut session, "ls /root; echo :$word:", "::");
    leave(session);
}

fn a_busy_program(engine: &'static str) {
    let world = World::new(engine);
    let [pair, _] = pairs();
    world.publish(&[&pair.aot, &pair.snap]);
    let start = |script: &str| {
        let mut command = world.run(&[]);
        command.arg(world.reference()).args(["--", "sh", "-c", script]);
        command
    };
    // Its input, though it never halts; the end of it, too.
    let busy = "while :; do :; done & read a; echo got $a; read b; echo got $b; cat; kill $!; exit 7";
    let output = run(&mut start(busy), b"one\ntwo\nthe rest");
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("got one\ngot two\nthe rest", Some(7)), "{}", text(&output.stderr));
    // Its signals.
    let busy = |signal| format!("trap 'echo bye; exit 9' {signal}; echo rea''dy; while :; do :; done");
    let mut child = start(&busy("TERM")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    signal(&child, Signal::TERM);
    assert_eq!(lines.next().unwrap().unwrap(), "bye");
    assert_eq!(child.wait().unwrap().code(), Some(9));
    // Its keys.
    let mut session = Session::start(&mut start(&busy("INT")));
    session.wait_for("ready\r\n");
    session.type_in("\x03");
    session.wait_for("bye\r\n");
    assert_eq!(session.end().code(), Some(9));
}

fn the_image_is_updated(engine: &'static str) {
    let world = World::new(engine);
    let [old, new] = pairs();
    let memory = "test $(grep MemTotal /proc/meminfo | tr -dc 0-9) -gt 100000 && echo more || echo less";
    world.publish(&[&old.aot, &old.snap]);
    let (mut session, _) = world.at_prompt(&[]);
    ask(&mut session, memory, "less");
    ask(&mut session, "echo old work >/root/file; cat /root/file", "old work");
    let name = world.sessions()[0]["name"].as_str().unwrap().to_owned();

    // It is in use, which is nothing to who gets the new one.
    world.publish(&[&new.aot, &new.snap]);
    let running = session;
    let (mut session, before) = world.at_prompt(&[]);
    assert_eq!(before.matches(&format!("--session {name}")).count(), 1, "{before}");
    assert!(!before.contains("in use"), "{before}");
    leave(running);
    // Natively it runs before all of it has come.
    assert_eq!(before.contains("fetched"), engine == "wamr", "{before}");
    ask(&mut session, memory, "more");
    leave(session);

    // The old session is there, with what it needs.
    succeed(world.prebake().arg("prune"));
    let mut session = Session::start(&mut world.run(&["--session", &name]));
    session.wait_for("# ");
    ask(&mut session, "cat /root/file", "old work");
    leave(session);
    assert_eq!(world.sessions().len(), 2);
    succeed(world.prebake().args(["sessions", "--remove", &name]));
    let said = text(&succeed(world.prebake().arg("prune")).stderr);
    assert!(said.contains("removed 2 files"), "{said}");
}

fn the_app_is_swiped_away(engine: &'static str) {
    let world = World::new(engine);
    let [pair, _] = pairs();
    world.publish(&[&pair.aot, &pair.snap]);
    // A signal, as from a system that wants the memory.
    let (mut session, _) = world.at_prompt(&[]);
    ask(&mut session, "word=one; cd /root; pwd", "/root");
    signal(&session.child, Signal::TERM);
    assert_eq!(session.end().code(), Some(128 + 15));
    // The terminal goes away, in the middle of something.
    let (mut session, _) = world.at_prompt(&[]);
    ask(&mut session, "echo $word; pwd; word=two", "one\r\n/root");
    // In a file: a busybox shell that is interrupted while it sets a variable may lose it.
    session.type_in("while true; do echo $word >>count; done\r");
    session.wait_for("done\r\n");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let Session { user, terminal, mut child, .. } = session;
    drop((user, terminal));
    assert_eq!(child.wait().unwrap().code(), Some(128 + 1));
    let mut session = Session::start(world.run(&[]).arg(world.reference()));
    // It counts on, until it is told to stop. Before that the keys are not the guest's yet.
    session.wait_until_raw();
    session.type_in("\x03");
    session.wait_for("# ");
    session.type_in("test -s count && echo counted\r");
    session.wait_for("\r\ncounted\r\n");
    leave(session);
}

macro_rules! on_both_engines {
    ($($journey:ident)*) => {$(
        mod $journey {
            #[test]
            fn native() {
                super::$journey("native");
            }

            #[test]
            fn wamr() {
                super::$journey("wamr");
            }
        }
    )*};
}

on_both_engines! {
    first_launch_of_a_baked_image
    first_launch_of_an_image_without_a_snapshot
    every_later_launch
    a_busy_program
    the_image_is_updated
    the_app_is_swiped_away
}

/// A repository with its hooks read-only, which the host executes; and a guest that may add only so much.
#[test]
fn a_guest_changes_no_more_of_its_volumes_than_it_was_given() {
    for engine in ["native", "wamr"] {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("git/hooks")).unwrap();
        std::fs::write(at("git/hooks/hook"), "hook").unwrap();
        std::fs::write(at("env"), "env").unwrap();
        let volume = |host: &str, guest: &str| format!("{}:{guest}", at(host).display());
        let volumes = [
            volume("", "/vol:size=1m"),
            volume("git/hooks", "/vol/git/hooks:ro"),
            volume("git/hooks", "/hooks:ro"),
            volume("env", "/env:ro"),
        ];
        let [pair, _] = pairs();
        let mut command = prebake();
        command.args(["run", "--engine", engine, "--snapshot"]).arg(&pair.snap);
        // What prebake trusts later lies below a volume, as it does below a home directory; not all of it is there yet.
        command.env("PREBAKE_HOME", at("home/store")).env("PREBAKE_CONFIG", at("home/config"));
        std::fs::create_dir_all(at("home/store/files")).unwrap();
        for volume in &volumes {
            command.args(["-v", volume]);
        }
        let script = "cd /vol
            mv git moved || echo kept
            mkdir -p git/hooks && echo evil >git/hooks/hook; echo evil >moved/hooks/hook; rm -r git
            ln git/hooks/hook link && echo evil >link
            mkdir -p home/config; for file in home/config/trust.json home/store/files/x home/store/x; do echo evil >$file && echo written; done
            mv home/store home/moved; mv home gone; rm -r home
            echo evil >env; mv env gone; rm env; ln env other && echo evil >other
            dd if=/dev/zero of=big bs=64k count=32 || echo full
            rm big; echo more >small && cat small; exit 0
        ";
        let output = run(command.arg(&pair.aot), script.as_bytes());
        let said = text(&output.stdout);
        assert!(
            said.contains("kept\n") && said.contains("full\n") && said.ends_with("more\n"),
            "{engine}: {said} {}",
            text(&output.stderr)
        );
        assert_eq!(std::fs::read_to_string(at("git/hooks/hook")).unwrap(), "hook", "{engine}");
        assert_eq!(std::fs::read_to_string(at("env")).unwrap(), "env", "{engine}");
        let mut names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["env", "git", "home", "small"], "{engine}");
        assert!(!said.contains("written") && at("home/store/files").exists(), "{engine}: {said}");
        assert_eq!(std::fs::read_dir(at("home/config")).unwrap().count(), 0, "{engine}");
    }
}
