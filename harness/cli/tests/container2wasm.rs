//! A guest with container2wasm's protocol and the patch of `contrib/container2wasm`, restored at its barrier: copies of it draw random numbers of
//! their own, natively and in WAMR. The guests of the controls lack a part of the patch, and their copies all draw the same.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;
#[path = "hosts/log.rs"]
mod log;
#[path = "hosts/machine.rs"]
mod machine;

use common::{made, scratch};
use devices::console::Port;
use emu::bus::Ram;
use emu::machine::{Config, Machine, Stop};
use log::Listener;
use machine::{Host, on_small_stack, save};
use prebake::context::{Context, Folders};
use prebake::host::backend::disk::Verify;
use prebake::machine::config::{ConfigBuilder, Randomness, Seed};
use prebake::machine::file::MachineFile;
use prebake::machine::output::HostOutput;
use prebake::machine::program::Program;
use prebake::machine::saved::Saved;
use prebake::machine::{ClockSource, Devices, Engine};
use protocol::{ANSWER, SEED_LEN};
use snapshot::Space;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What the guest's program draws: from `getrandom` and from two files of the kernel.
const DRAWS: [&str; 3] = ["sh", "-c", "cd /proc/sys/kernel/random && cat uuid boot_id && head -c 16 /dev/urandom | od -A n -t x1"];
/// Counts that a copy may take: several times what it takes.
const LIMIT: u64 = 3_000_000_000;
static TURN: Mutex<()> = Mutex::new(());
const HOSTS: [Host; 2] = [Host::Native, Host::Aot];

/// How a copy ended, and what its terminal has shown.
#[derive(Debug, PartialEq, Eq)]
struct Drawn {
    stop: Stop,
    text: String,
}

impl Drawn {
    /// The numbers, where it has drawn them and nothing else has been said.
    fn numbers(&self) -> Vec<&str> {
        let lines: Vec<_> = self.text.lines().map(str::trim).collect();
        assert_eq!((self.stop, lines.len()), (Stop::HaltedForGood, 3), "{}", self.text);
        lines
    }
}

/// A copy of one of the guests that `make c2w-guest` makes, with this seed, which is all that tells it apart from others: its clock is virtual, and
/// RDRAND and virtio-rng are everyone's.
fn copy(host: Host, guest: &str, seed: Option<u8>) -> Drawn {
    let seed = seed.map(|byte| [byte; SEED_LEN]);
    let program = Program { arguments: DRAWS.map(Into::into).into(), ..Program::default() };
    let work = move || {
        let path = made(&Path::new("c2w").join(guest).with_extension("aot"), "c2w-guest");
        let context = Context::silent(Folders::default());
        let file = machine::open(&path);
        let saved = Saved::open(&context, &saved_at_barrier(&file)).unwrap();
        let listener = Listener::default();
        let mut engine: Box<dyn Engine> = if host == Host::Native {
            let config = native_config(&file, Some(&saved), (&program, seed), &listener);
            let ram = Ram::new(Box::new(saved.memory(Space::Ram, file.ram_size()).unwrap()));
            Box::new(Machine::restore(config, ram, &mut saved.sections()).unwrap())
        } else {
            let module = file.runnable(false).unwrap().unwrap();
            let config = file.config(&module, ClockSource::Virtual, Randomness::Published, seed, &[], (&program, None)).unwrap();
            let loaded = file.load(module, &[], &program, None).unwrap();
            Box::new(loaded.restore(&config, &saved, &[], listener.clone()).unwrap())
        };
        if guest != "qemu" {
            engine.push_input(Port::Tty, ANSWER);
        }
        let stop = to_the_end(&mut *engine);
        let text = listener.said().on(Port::Tty).to_owned();
        Drawn { stop, text }
    };
    // WAMR is in a process once.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut drawn = None;
    on_small_stack(|| drawn = Some(work())).unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    drawn.unwrap()
}

fn native_config(file: &MachineFile, saved: Option<&Saved>, (program, seed): (&Program, Option<Seed>), listener: &Listener) -> Config {
    let context = Context::silent(Folders::default());
    let mut parts = ConfigBuilder::open(&context, &Devices::default(), Verify::Always, program, None).unwrap();
    parts.put_first(file.disks(), file.open_disks(saved).unwrap());
    let config = parts.take_config(&HostOutput::silent(false), ClockSource::Virtual, Randomness::Published, seed).unwrap();
    Config { console: Box::new(listener.clone()), serial: Box::new(listener.clone()), ..config }
}

/// A snapshot right behind the barrier. `bake` would wait until the guest has settled. Meanwhile the generator's key becomes so old that the kernel
/// takes another one as soon as somebody draws, whatever the init has done; and a guest that looks for `info` once a second never settles.
fn saved_at_barrier(file: &MachineFile) -> PathBuf {
    let listener = Listener::default();
    let mut machine = file.boot_natively(native_config(file, None, (&Program::default(), None), &listener)).unwrap();
    while !listener.said().on(Port::Tty).ends_with("==========") {
        let stop = step(&mut machine, LIMIT);
        assert_eq!(stop, None, "{}", listener.said().on(Port::Tty));
    }
    let path = scratch("barrier.snap");
    std::fs::write(&path, save(&mut machine)).unwrap();
    path
}

/// Runs up to the next halt, and lets its time pass, or some way towards `limit`. Gives what else stopped the machine.
fn step(engine: &mut dyn Engine, limit: u64) -> Option<Stop> {
    assert!(engine.count() < limit, "the guest does not come to its end");
    let until = engine.count() + 1_000_000;
    match engine.run(until).unwrap() {
        Stop::Due => None,
        Stop::Halted { deadline } => {
            engine.skip_to(deadline.unwrap());
            None
        }
        stop => Some(stop),
    }
}

fn to_the_end(engine: &mut dyn Engine) -> Stop {
    let limit = engine.count() + LIMIT;
    loop {
        if let Some(stop) = step(engine, limit) {
            return stop;
        }
    }
}

/// Copies with the seeds 1, 2 and 1 again.
fn copies(host: Host, guest: &str) -> [Drawn; 3] {
    [1, 2, 1].map(|seed| copy(host, guest, Some(seed)))
}

#[test]
#[ignore = "make c2w-test"]
fn copies_with_different_seeds_draw_different_numbers_and_with_the_same_seed_the_same() {
    // At the barrier that the host answers, and at the one where the guest looks for `info`.
    for guest in ["patched", "qemu"] {
        let of_hosts = HOSTS.map(|host| copies(host, guest));
        for [one, other, again] in &of_hosts {
            assert_eq!(one, again);
            for (this, that) in one.numbers().iter().zip(other.numbers()) {
                assert_ne!(*this, that, "{guest}");
            }
        }
        assert_eq!(of_hosts[0], of_hosts[1], "{guest}: the hosts agree");
    }
}

#[test]
#[ignore = "make c2w-test"]
fn without_a_part_of_the_patch_all_copies_draw_the_same_numbers() {
    for guest in ["credited", "written", "unpatched"] {
        for host in HOSTS {
            let [one, other, _] = copies(host, guest);
            assert_eq!(one.numbers(), other.numbers(), "{guest}");
        }
    }
}

#[test]
#[ignore = "make c2w-test"]
fn a_copy_without_a_seed_does_not_go_on() {
    for guest in ["patched", "qemu"] {
        for host in HOSTS {
            let Drawn { stop, text } = copy(host, guest, None);
            assert_eq!(stop, Stop::Reset, "{text}");
            assert!(text.contains("cannot reseed the random generator: open /mnt/wasi1/entropy: no such file"), "{text}");
        }
    }
}
