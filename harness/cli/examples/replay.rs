//! Replays what the test `hosts` has recorded, in a process of its own, which may be for another processor.
//!
//! `replay MACHINE HOST FOLDER` with HOST as `Native`, `Aot` or `Interpreter`: makes the machine, of the snapshot FOLDER/snapshot if there is one, does what each
//! line of FOLDER/log says, and leaves in FOLDER what the guest wrote on each port (`said.NUMBER`) and the machine that it came to (`saved`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a part of a test")]

#[path = "../tests/hosts/log.rs"]
mod log;
#[path = "../tests/hosts/machine.rs"]
mod machine;

use log::{Listener, replay};
use machine::{Host, on_small_stack, save};
use std::fs;
use std::path::Path;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [machine, host, folder] = arguments.as_slice() else { panic!("usage: replay MACHINE HOST FOLDER") };
    let host = Host::ALL.into_iter().find(|known| format!("{known:?}") == *host).unwrap();
    on_small_stack(|| run(Path::new(machine), host, Path::new(folder))).unwrap();
}

fn run(machine: &Path, host: Host, folder: &Path) {
    let (machine, listener, snapshot) = (machine::open(machine), Listener::default(), folder.join("snapshot"));
    let mut engine = match snapshot.exists() {
        true => host.restore_with(&machine, &snapshot, &listener),
        false => host.boot_with(&machine, &listener),
    };
    for line in fs::read_to_string(folder.join("log")).unwrap().lines() {
        replay(&mut *engine, &line.parse().unwrap()).unwrap();
    }
    fs::write(folder.join("saved"), save(&mut *engine)).unwrap();
    for (number, bytes) in listener.said().streams() {
        fs::write(folder.join(format!("said.{number}")), bytes).unwrap();
    }
}
