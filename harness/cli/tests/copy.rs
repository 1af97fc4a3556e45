//! Files out of a session, and into it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use common::{at_prompt, prebake, run, scratch, signal, succeed, text};
use rustix::process::Signal;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What has not come by then never will.
const PATIENCE: Duration = Duration::from_secs(120);

/// A store of a test's own with the session `work`, and a folder of files.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        let home = scratch(name);
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(home.join("files")).unwrap();
        Self(home)
    }

    fn prebake(&self, words: &[&str]) -> Command {
        let mut command = prebake();
        command.env("PREBAKE_HOME", self.0.join("home")).current_dir(self.0.join("files")).args(words);
        command
    }

    fn copy(&self, words: &[&str]) {
        succeed(self.prebake(&["cp"]).args(words));
    }

    fn refused(&self, words: &[&str]) -> String {
        let output = run(self.prebake(&["cp"]).args(words), b"");
        assert_eq!(output.status.code(), Some(125), "{words:?}: {output:?}");
        text(&output.stderr)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join("files").join(name)
    }

    fn state(&self) -> PathBuf {
        self.0.join("home/sessions/work/state.snap")
    }

    /// Has a shell in the session do this and end as it says; what it wrote.
    fn script(&self, snapshot: Option<&Path>, script: &str) -> String {
        let mut command = self.prebake(&["run", "--session", "work"]);
        let output = run(command.args(snapshot), script.as_bytes());
        text(&output.stdout)
    }

    /// Starts the session, and waits until others can come in.
    fn start(&self, snapshot: Option<&Path>) -> Child {
        let mut command = self.prebake(&["run", "--session", "work"]);
        command.args(snapshot).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let start = Instant::now();
        while !text(&succeed(&mut self.prebake(&["sessions"])).stdout).contains("running") {
            assert!(start.elapsed() < PATIENCE, "the session does not run");
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    }

    /// Fills a folder with what a copy can lose.
    fn make_folder(&self, name: &str) {
        let folder = self.file(name);
        fs::create_dir_all(folder.join("in/deep")).unwrap();
        let noise: Vec<u8> = (0..700_001_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::write(folder.join("noise"), noise).unwrap();
        fs::write(folder.join("in/deep/empty"), "").unwrap();
        fs::write(folder.join("x".repeat(150)), "long name").unwrap();
        fs::write(folder.join("program"), "#!/bin/sh\necho ran\n").unwrap();
        fs::set_permissions(folder.join("program"), fs::Permissions::from_mode(0o750)).unwrap();
        symlink("in/deep", folder.join("link")).unwrap();
    }
}

/// Both folders have the same in them.
fn assert_same(one: &Path, other: &Path) {
    let names = |folder: &Path| {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(one), names(other), "{}", one.display());
    for name in names(one) {
        let (one, other) = (one.join(&name), other.join(&name));
        let (a, b) = (fs::symlink_metadata(&one).unwrap(), fs::symlink_metadata(&other).unwrap());
        assert_eq!((a.mode(), a.mtime()), (b.mode(), b.mtime()), "{}", one.display());
        match a.file_type() {
            kind if kind.is_dir() => assert_same(&one, &other),
            kind if kind.is_symlink() => assert_eq!(fs::read_link(&one).unwrap(), fs::read_link(&other).unwrap()),
            _ => assert!(fs::read(&one).unwrap() == fs::read(&other).unwrap(), "{}", one.display()),
        }
    }
}

#[test]
fn a_session_that_rests_takes_files_and_gives_them_and_goes_on_as_it_was() {
    let home = Home::new("rests");
    home.make_folder("folder");
    let mut child = home.start(Some(&at_prompt()));
    child.stdin.as_mut().unwrap().write_all(b"word=kept; touch /tmp/typed\n").unwrap();
    while !run(&mut home.prebake(&["exec", "work", "ls", "/tmp/typed"]), b"").status.success() {}
    signal(&child, Signal::TERM);
    child.wait().unwrap();

    home.copy(&["folder", "work:/tmp"]);
    home.copy(&["folder/noise", "work:tmp/other"]);
    home.copy(&["work:/tmp/folder", "back"]);
    assert_same(&home.file("folder"), &home.file("back"));
    home.copy(&["work:/tmp/other", "."]);
    assert!(fs::read(home.file("other")).unwrap() == fs::read(home.file("folder/noise")).unwrap());
    let said = home.script(None, "echo :$word: $(/tmp/folder/program) $(stat -c %u:%a /tmp/folder/program)\nexit\n");
    assert!(said.contains("\n:kept: ran 0:750"), "{said}");

    // Its program has ended now. It is not started for a copy, and starts anew as before.
    fs::write(home.file("note"), "new").unwrap();
    home.copy(&["note", "work:/root-note"]);
    home.copy(&["work:/root-note", "again"]);
    assert_eq!(fs::read(home.file("again")).unwrap(), b"new");
    let inspected = text(&succeed(home.prebake(&["inspect"]).arg(home.state())).stdout);
    assert!(inspected.contains("exited"), "{inspected}");
    let said = home.script(None, "echo :$word: $(cat /root-note) $(/tmp/folder/program)\nexit\n");
    assert!(said.contains("\n:: new ran"), "{said}");
}

#[test]
fn a_session_that_runs_does_too_and_archives_pass_through() {
    let home = Home::new("runs");
    home.make_folder("folder");
    let mut child = home.start(Some(&at_prompt()));
    home.copy(&["folder/.", "work:/content"]);
    home.copy(&["work:/content/.", "back"]);
    assert_same(&home.file("folder"), &home.file("back"));
    home.copy(&["-L", "work:/content/link", "followed"]);
    assert!(home.file("followed").is_dir());

    let archive = succeed(&mut home.prebake(&["cp", "work:/content/in", "-"])).stdout;
    let mut names = Command::new("tar");
    let names = text(&run(names.arg("-t"), &archive).stdout);
    assert_eq!(names.lines().map(|name| name.trim_end_matches('/')).collect::<Vec<_>>(), ["in", "in/deep", "in/deep/empty"]);
    let output = run(&mut home.prebake(&["cp", "-", "work:/tmp"]), &archive);
    assert!(output.status.success(), "{output:?}");
    let listed = succeed(&mut home.prebake(&["exec", "work", "find", "/tmp/in"])).stdout;
    assert_eq!(text(&listed), "/tmp/in\n/tmp/in/deep\n/tmp/in/deep/empty\n");

    assert!(home.refused(&["work:/no/such", "."]).contains("in the session: cannot look at /no/such"));
    assert!(home.refused(&["nothing", "work:/tmp"]).contains("nothing"));
    assert!(home.refused(&["folder", "work:/etc/passwd/x"]).contains("in the session"));
    assert!(home.refused(&["work:/content", "no/such/place"]).contains("no/such"));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The guest's root can put another program in the place of init's that copies. It writes an archive of its own, and complains without end.
#[test]
fn a_guest_that_stands_in_for_the_copier_gives_no_more_than_what_was_asked_for() {
    let home = Home::new("stands-in");
    fs::create_dir_all(home.file("evil/asked")).unwrap();
    for (name, content) in [("asked/file", "good"), (".bashrc", "evil"), ("bad", "evil")] {
        fs::write(home.file("evil").join(name), content).unwrap();
    }
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(home.file("evil")).args(["-P", "--transform", "s,^bad,../../bad,", "-cf", "-", "asked", ".bashrc", "bad"]);
    fs::write(home.file("evil.tar"), succeed(&mut tar).stdout).unwrap();
    let mut child = home.start(Some(&at_prompt()));
    home.copy(&["evil.tar", "work:/"]);
    // With what the shell can do by itself: it finds its other programs through /proc.
    let script = "#!/bin/sh\\nn=0; while [ $n -lt 2000 ]; do echo complaint $n; n=$((n+1)); done >&2; exec /bin/cat /evil.tar\\n";
    let take_over = format!(
        "mount -t tmpfs none /proc; mkdir /proc/self; printf '{script}' > /proc/self/exe; chmod 755 /proc/self/exe; touch /tmp/ready\n"
    );
    child.stdin.as_mut().unwrap().write_all(take_over.as_bytes()).unwrap();
    while !run(&mut home.prebake(&["exec", "work", "ls", "/tmp/ready"]), b"").status.success() {}
    for (path, target, problem) in [
        ("work:/asked", "entry", "\".bashrc\" that is not copied: it is not what was asked for"),
        ("work:/asked/.", "content", "\"../../bad\" that is not copied: its path leads up"),
    ] {
        let said = home.refused(&[path, target]);
        assert!(said.contains(problem), "{said}");
    }
    assert!(home.file("entry/file").exists() && !home.file(".bashrc").exists() && !home.file("bad").exists());
    assert!(home.file("content/.bashrc").exists() && !home.0.parent().unwrap().join("bad").exists());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_copy_that_is_killed_leaves_the_session_as_it_was() {
    let home = Home::new("killed");
    let child = home.start(Some(&at_prompt()));
    // What has not begun is not saved.
    succeed(&mut home.prebake(&["exec", "work", "true"]));
    signal(&child, Signal::TERM);
    { child }.wait().unwrap();
    let before = fs::read(home.state()).unwrap();
    let mut copy = home.prebake(&["cp", "-", "work:/tmp"]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // An archive that does not end.
    let start = Instant::now();
    while !text(&succeed(&mut home.prebake(&["sessions"])).stdout).contains("running") {
        assert!(start.elapsed() < PATIENCE, "the session does not run");
    }
    let _ = copy.stdin.as_mut().unwrap().write_all(&[b'x'; 1000]);
    copy.kill().unwrap();
    copy.wait().unwrap();
    assert!(fs::read(home.state()).unwrap() == before);
    fs::write(home.file("note"), "still").unwrap();
    home.copy(&["note", "work:/note"]);
    home.copy(&["work:/note", "back"]);
    assert_eq!(fs::read(home.file("back")).unwrap(), b"still");
}
