//! A run of what the store has: when its registry is asked, and what comes of the answer.

use super::common::{succeed, text};
use super::proxy::{Fault, Proxy};
use super::streaming::User;
use super::{refused, run};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

fn hello(user: &User, proxy: &Proxy, options: &[&str]) -> Command {
    let mut command = user.prebake("run");
    command.args(options).arg(format!("{}/shell:1", proxy.address)).args(["--", "echo", "hello"]);
    command
}

/// Waits, but not for ever, until a machine has been restored.
#[derive(Default)]
struct Restored {
    is_so: Mutex<bool>,
    changed: Condvar,
}

impl Restored {
    fn wait(&self) -> bool {
        let is_so = self.is_so.lock().unwrap();
        *self.changed.wait_timeout_while(is_so, Duration::from_secs(20), |is_so| !*is_so).unwrap().0
    }

    fn is_so(&self) {
        *self.is_so.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

#[test]
fn a_machine_is_restored_while_its_registry_is_asked_and_does_not_run_before_the_answer() {
    let user = User::behind(|_, _, _| Fault::None);
    let (restored, answered) = (Arc::new(Restored::default()), Arc::new(AtomicBool::new(false)));
    let proxy = Proxy::before(&user.world.registry.address, {
        let (restored, answered) = (restored.clone(), answered.clone());
        move |request, _| {
            if request.line.starts_with("HEAD") {
                restored.wait();
                // Long enough for a guest that does not wait to say something.
                std::thread::sleep(Duration::from_millis(300));
                answered.store(true, Ordering::Relaxed);
            }
            Fault::None
        }
    });
    succeed(&mut hello(&user, &proxy, &[]));
    for engine in ["native", "wamr"] {
        *restored.is_so.lock().unwrap() = false;
        answered.store(false, Ordering::Relaxed);
        let mut command = hello(&user, &proxy, &["--engine", engine]);
        command.env("PREBAKE_LOG", "prebake::restore=debug").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (mut stdout, stderr) = (child.stdout.take().unwrap(), BufReader::new(child.stderr.take().unwrap()));
        std::thread::scope(|scope| {
            let said = scope.spawn(|| {
                let mut said = String::new();
                for line in stderr.lines().map(Result::unwrap) {
                    if line.contains("restored") {
                        restored.is_so();
                    }
                    said += &(line + "\n");
                }
                said
            });
            let mut first = [0];
            stdout.read_exact(&mut first).unwrap();
            assert!(answered.load(Ordering::Relaxed), "{engine}: the guest did not wait for the answer");
            let mut rest = String::new();
            stdout.read_to_string(&mut rest).unwrap();
            assert_eq!((first[0], rest.as_str()), (b'h', "ello\n"));
            // A registry that is waited for too long is taken for one that is down.
            let said = said.join().unwrap();
            assert!(!said.contains("warning"), "{engine}: {said}");
        });
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn the_registry_is_asked_when_the_policy_says_so() {
    let user = User::behind(|_, _, _| Fault::None);
    // What it says, if that is no answer.
    let status = Arc::new(AtomicU16::new(0));
    let proxy = Proxy::before(&user.world.registry.address, {
        let status = status.clone();
        move |_, _| match status.load(Ordering::Relaxed) {
            0 => Fault::None,
            status => Fault::status(&format!("{status} No"), "", ""),
        }
    });
    let requests = || proxy.seen().len();
    // What the user is told, and how often the registry was asked.
    let says_hello = |options: &[&str]| {
        let before = requests();
        let output = succeed(&mut hello(&user, &proxy, options));
        assert_eq!(text(&output.stdout), "hello\n");
        (text(&output.stderr), requests() - before)
    };
    let does_not = |options: &[&str], words: &[&str]| {
        let mut command = hello(&user, &proxy, options);
        refused(&mut command, words);
        assert!(run(&mut command, b"").stdout.is_empty());
    };

    for options in [&["--offline"][..], &["--pull", "never"]] {
        does_not(options, &["is not in the store", "--pull never"]);
    }
    assert_eq!(requests(), 0);
    assert!(says_hello(&["--pull", "missing"]).1 > 1);
    for (options, times) in [
        (&["--pull", "missing"][..], 0),
        (&["--pull", "never"], 0),
        (&["--offline"], 0),
        (&["--pull", "newer"], 1),
        (&["--pull", "always"], 1),
        (&[], 1),
    ] {
        assert_eq!(says_hello(options), (String::new(), times), "{options:?}");
    }

    // It is down.
    status.store(503, Ordering::Relaxed);
    for options in [&[][..], &["--pull", "newer"]] {
        let (said, times) = says_hello(options);
        assert_eq!((said.matches("warning: ").count(), times), (1, 1), "{said}");
    }
    does_not(&["--pull", "always"], &["503"]);
    // It refuses, which is no reason to run what it once gave.
    status.store(403, Ordering::Relaxed);
    for policy in ["newer", "always"] {
        does_not(&["--pull", policy], &["403"]);
    }
    for policy in ["missing", "never"] {
        assert_eq!(says_hello(&["--pull", policy]), (String::new(), 0));
    }
}
