//! Copies of one machine draw different random numbers, from the first one after the restore on; and the same seed gives the same ones.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use common::guest;
use devices::console::{ConsoleSink, Port};
use devices::p9::{Access, MemoryFs};
use devices::rng::DeterministicStream;
use devices::serial::SerialSink;
use emu::bus::{Ram, VecBacking};
use emu::cache::Limits;
use emu::machine::{Config, Entropy, Machine, Share, Stop};
use emu::vcpu::Clock;
use prebake::machine::config::BAKE_EPOCH;
use protocol::{ANSWER, AfterExit, HostMessage, Mode};
use rand_core::Rng;
use snapshot::{Snapshot, Space};
use std::collections::HashSet;
use std::io::Cursor;
use std::sync::{Arc, Mutex, OnceLock};

const RAM_SIZE: usize = 64 << 20;
const APPEND: &str = "console=ttyS0 quiet printk.devkmsg=on";
/// A guest that does nothing but draw, and goes before every ordinary program. A number is out before the next one is drawn: the kernel
/// writes its messages to the serial port at once.
const DRAWS: &[u8] = b"renice -n -20 $$; while read number < /proc/sys/kernel/random/uuid; do echo \"<0>$number\" >/dev/kmsg; done\n";

/// What the guest wrote, to the console's ports and to the serial port.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<[Vec<u8>; Port::ALL.len() + 1]>>);

const SERIAL: usize = Port::ALL.len();

impl ConsoleSink for Heard {
    fn write(&mut self, port: Port, bytes: &[u8]) {
        self.0.lock().unwrap()[port.index()].extend(bytes);
    }
}

impl SerialSink for Heard {
    fn write(&mut self, byte: u8) {
        self.0.lock().unwrap()[SERIAL].push(byte);
    }
}

impl Heard {
    fn on(&self, port: Port) -> String {
        self.text(port.index())
    }

    fn text(&self, index: usize) -> String {
        String::from_utf8(self.0.lock().unwrap()[index].clone()).unwrap()
    }

    /// The numbers that the guest drew. The kernel puts the time before each.
    fn numbers(&self) -> Vec<String> {
        let text = self.text(SERIAL);
        let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
        whole.lines().filter_map(|line| Some(line.split_once("] ")?.1.trim_end().to_owned())).collect()
    }
}

/// What a machine gets of its host: nothing, or what this byte stands for.
#[derive(Clone, Copy)]
enum Given {
    Nothing,
    Seed { bytes: usize, of: u8 },
}

/// A machine and what it has written since it was made.
struct Guest {
    machine: Machine,
    heard: Heard,
}

/// The machine's parts. What the seed does not decide, RDRAND and virtio-rng, is different in every machine that `of` tells apart.
fn config(heard: &Heard, given: Given, entropy: Entropy) -> Config {
    let mut files = MemoryFs::new(64 << 10);
    if let Given::Seed { bytes, of } = given {
        files.write_file("entropy", &vec![of; bytes]).unwrap();
    }
    Config {
        disks: Vec::new(),
        shares: vec![Share { tag: "wasi1".into(), filesystem: Box::new(files), access: Access::ReadWrite }],
        network: None,
        entropy,
        console: Box::new(heard.clone()),
        serial: Box::new(heard.clone()),
        clock: Clock::Virtual,
        epoch: BAKE_EPOCH,
        limits: Limits::default(),
    }
}

fn host(of: u8) -> Entropy {
    let source: Box<dyn Rng> = Box::new(DeterministicStream::new([of; 32]));
    Entropy::Host(source)
}

fn zeroed_ram() -> Ram {
    Ram::new(Box::new(VecBacking::new(RAM_SIZE).unwrap()))
}

impl Guest {
    fn boot(append: &str) -> Self {
        let heard = Heard::default();
        let (kernel, initrd) = (std::fs::read(guest("vmlinux")).unwrap(), std::fs::read(guest("initramfs.cpio")).unwrap());
        let config = config(&heard, Given::Nothing, Entropy::Published);
        let machine = Machine::boot(config, zeroed_ram(), &kernel, Some(&initrd), append).unwrap();
        let mut guest = Self { machine, heard };
        guest.until(|guest| guest.heard.on(Port::Tty).ends_with("=========="));
        guest
    }

    /// Runs until it halts with `done`, or has halted for good.
    fn until(&mut self, done: impl Fn(&Self) -> bool) {
        let limit = self.machine.count() + 500_000_000;
        while self.machine.count() < limit {
            match self.machine.run(self.machine.count() + 100_000).unwrap() {
                Stop::Due if done(self) => return,
                Stop::Due => {}
                Stop::Halted { .. } if done(self) => return,
                Stop::Halted { deadline } => self.machine.skip_to(deadline.unwrap()),
                Stop::HaltedForGood => return,
                stop => panic!("{stop:?}"),
            }
        }
        panic!("after {limit} instructions: {}", self.heard.on(Port::Tty));
    }

    fn save(&mut self) -> Vec<u8> {
        let mut writer = snapshot::Writer::new(self.machine.id());
        self.machine.save(&mut writer).unwrap();
        let mut file = Cursor::new(Vec::new());
        writer.write(snapshot::Pages::new(self.machine.ram().bytes()), &mut file).unwrap();
        file.into_inner()
    }

    fn restore(bytes: &[u8], given: Given, entropy: Entropy) -> Self {
        let snapshot = Snapshot::open(bytes).unwrap();
        let mut ram = zeroed_ram();
        for run in snapshot.runs(Space::Ram) {
            let (guest, file, len) = (run.address as usize, run.file_offset as usize, run.len as usize);
            ram.bytes_mut()[guest..guest + len].copy_from_slice(&bytes[file..file + len]);
        }
        let heard = Heard::default();
        let mut sections = snapshot.sections();
        let machine = Machine::restore(config(&heard, given, entropy), ram, &mut sections).unwrap();
        Self { machine, heard }
    }

    fn request(&mut self, request: &HostMessage) {
        self.machine.push_input(Port::Control, request.to_string().as_bytes());
    }

    /// Lets a guest at the barrier start its shell.
    fn start(&mut self) {
        self.request(&HostMessage::Start { mode: Mode::Streams, term: None, time: None, after_exit: AfterExit::Halt });
        self.machine.push_input(Port::Tty, ANSWER);
    }

    /// The first numbers that it draws.
    fn draws(&mut self, count: usize) -> Vec<String> {
        self.until(|guest| guest.heard.numbers().len() >= count);
        let mut drawn = self.heard.numbers();
        assert!(drawn.len() >= count, "{}{}", self.heard.on(Port::Stderr), self.heard.text(SERIAL));
        drawn.truncate(count);
        drawn
    }
}

/// At the barrier.
fn at_barrier() -> &'static [u8] {
    static SNAPSHOT: OnceLock<Vec<u8>> = OnceLock::new();
    SNAPSHOT.get_or_init(|| Guest::boot(APPEND).save())
}

/// What a copy of the machine at the barrier draws.
fn drawn_after_barrier(given: Given, entropy: Entropy) -> Vec<String> {
    let mut guest = Guest::restore(at_barrier(), given, entropy);
    guest.start();
    guest.machine.push_input(Port::Stdin, DRAWS);
    guest.draws(20)
}

const fn seed(of: u8) -> Given {
    Given::Seed { bytes: 64, of }
}

fn common(a: &[String], b: &[String]) -> usize {
    let a: HashSet<_> = a.iter().collect();
    b.iter().filter(|number| a.contains(number)).count()
}

#[test]
fn copies_of_the_machine_at_the_barrier_draw_different_numbers() {
    let one = drawn_after_barrier(seed(1), host(1));
    assert_eq!(common(&one, &drawn_after_barrier(seed(2), host(2))), 0);
    // The seed alone tells them apart.
    assert_eq!(common(&one, &drawn_after_barrier(seed(2), host(1))), 0);
    assert_eq!(one, drawn_after_barrier(seed(1), host(1)));
}

#[test]
fn without_a_good_seed_no_program_is_started() {
    for (given, reason) in [
        (Given::Nothing, "cannot read the host's seed from /mnt/wasi1/entropy"),
        (Given::Seed { bytes: 0, of: 1 }, "0 bytes"),
        (Given::Seed { bytes: 31, of: 1 }, "31 bytes"),
    ] {
        let mut guest = Guest::restore(at_barrier(), given, host(1));
        guest.start();
        guest.machine.push_input(Port::Stdin, b"echo started\n");
        guest.until(|_| false);
        let said = guest.heard.on(Port::Control);
        assert!(said.starts_with("failed ") && said.contains(reason), "{said}");
        assert_eq!(guest.heard.on(Port::Stdout), "");
    }
}

#[test]
fn a_seed_is_gone_once_it_is_used() {
    let mut guest = Guest::restore(at_barrier(), seed(1), host(1));
    guest.start();
    guest.machine.push_input(Port::Stdin, b"cat /mnt/wasi1/entropy || echo gone\n");
    guest.until(|guest| guest.heard.on(Port::Stdout).ends_with('\n'));
    assert_eq!(guest.heard.on(Port::Stdout), "gone\n");
    guest.request(&HostMessage::Resume { time: None, after_exit: AfterExit::Halt });
    guest.until(|_| false);
    let said = guest.heard.on(Port::Control);
    assert!(said.starts_with("offers exec\nstarted\nfailed cannot read the host's seed"), "a second use was not refused: {said}");
}

/// What copies draw of a machine whose process 1 does no more than to write the seed to /dev/urandom.
fn drawn_after_a_write(snapshot: &[u8], of: u8) -> String {
    let mut guest = Guest::restore(snapshot, seed(of), host(of));
    guest.machine.push_input(Port::Tty, ANSWER);
    guest.until(|guest| guest.heard.on(Port::Tty).ends_with("end\n"));
    guest.heard.on(Port::Tty)
}

#[test]
fn a_write_to_urandom_would_not_do() {
    let script = "mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t 9p -o trans=virtio,cache=none wasi1 /mnt; \
                  exec <>/dev/hvc0 >&0; stty raw -echo; printf ==========; dd bs=2 count=1 >/dev/null 2>&1; cat /mnt/entropy >/dev/urandom; \
                  head -c 32 /dev/urandom | md5sum; cat /proc/sys/kernel/random/uuid; echo end; exec cat";
    let snapshot = Guest::boot(&format!("{APPEND} rdinit=/bin/sh -- -c \"{script}\"")).save();
    let one = drawn_after_a_write(&snapshot, 1);
    assert_eq!(one.lines().count(), 3, "{one}");
    assert_eq!(one, drawn_after_a_write(&snapshot, 2));
}

/// A machine that draws, after so many instructions of it.
fn amid_draws(instructions: u64) -> Guest {
    let mut guest = Guest::restore(at_barrier(), seed(9), host(9));
    guest.start();
    guest.machine.push_input(Port::Stdin, DRAWS);
    guest.draws(3);
    assert!(matches!(guest.machine.run(guest.machine.count() + instructions).unwrap(), Stop::Due | Stop::Halted { .. }));
    guest
}

/// What a copy of `snapshot` draws after it was told to rekey, or not. The first number may have been drawn before.
fn drawn_after_resuming(snapshot: &[u8], of: u8, resume: bool) -> Vec<String> {
    let mut guest = Guest::restore(snapshot, seed(of), host(of));
    if resume {
        guest.request(&HostMessage::Resume { time: None, after_exit: AfterExit::Halt });
    }
    let mut drawn = guest.draws(40);
    assert_eq!(guest.heard.on(Port::Control), if resume { "offers exec\nresumed\n" } else { "" });
    drawn.remove(0);
    drawn
}

#[test]
fn copies_of_a_machine_amid_its_work_draw_different_numbers() {
    // Steps that share no factor with anything the guest does, over a few rounds of its loop.
    for step in 0..40 {
        let mut guest = amid_draws(step * 7_919);
        assert_eq!(guest.machine.run_to_safe_point(u64::MAX).unwrap(), Stop::Due);
        assert!(guest.machine.at_safe_point());
        let snapshot = guest.save();
        let one = drawn_after_resuming(&snapshot, 1, true);
        assert_eq!(common(&one, &drawn_after_resuming(&snapshot, 2, true)), 0, "step {step}");
        assert_eq!(one, drawn_after_resuming(&snapshot, 1, true), "step {step}");
    }
}

#[test]
fn copies_that_are_not_told_draw_the_same() {
    let mut guest = amid_draws(0);
    guest.machine.run_to_safe_point(u64::MAX).unwrap();
    let snapshot = guest.save();
    assert_eq!(drawn_after_resuming(&snapshot, 1, false), drawn_after_resuming(&snapshot, 2, false));
}

#[test]
fn a_system_call_is_no_safe_point() {
    let mut guest = amid_draws(0);
    let unsafe_points = (0..20_000).filter(|_| {
        guest.machine.run(guest.machine.count() + 1).unwrap();
        !guest.machine.at_safe_point()
    });
    assert!(unsafe_points.count() > 1000);
}
