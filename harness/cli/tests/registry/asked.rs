//! A run of what the store has: when its registry is asked, and what comes of the answer.

use super::common::{succeed, text};
use super::proxy::{Fault, Proxy};
use super::streaming::User;
use super::{refused, run};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

fn hello(user: &User, proxy: &Proxy, options: &[&str]) -> Command {
    let mut command = user.prebake("run");
    command.args(options).arg(format!("{}/shell:1", proxy.address)).args(["--", "echo", "hello"]);
    command
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
