//! The same machine and the same input give the same bytes: however often, wherever it is interrupted, however blocks are cut.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use attend::{Begin, TranscriptState};
use common::{at_barrier, guest};
use devices::console::Port;
use emu::bus::{PageSource, Ram, VecBacking};
use emu::cache::Limits;
use emu::machine::{Config, Entropy, Machine, Stop};
use emu::vcpu::Clock;
use prebake::context::{Context, Folders};
use prebake::distribution::store::Store;
use prebake::host::backend::disk::Verify;
use prebake::host::file::HostFile;
use prebake::machine::Engine;
use prebake::machine::config::{BAKE_EPOCH, ConfigBuilder, Randomness, seed};
use prebake::machine::output::HostOutput;
use prebake::machine::program::Program;
use prebake::machine::record::BakeState;
use prebake::machine::saved::Saved;
use prebake::machine::{ClockSource, Devices};
use prebake::run::attended::{AttendOptions, Attended, Ending};
use prebake::run::console::{Control, ControlCommand, Input, InputSource, Terminal};
use proptest::prelude::*;
use protocol::{ANSWER, AfterExit, GuestMessage, HostMessage, Mode};
use snapshot::{GROUP_SIZE, HotPages, PAGES_PER_GROUP, ReadAt, Snapshot, Space, Travelling, TravellingPages};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Cursor, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;
use std::sync::OnceLock;

const RAM_SIZE: usize = 64 << 20;
const SCRIPT: [&str; 4] = ["i=0; while [ $i -lt 50 ]; do i=$((i+1)); done\n", "ls -lR /bin | md5sum\n", "sleep 1; date\n", "exit 3\n"];

fn save(machine: &mut dyn Engine) -> Vec<u8> {
    let writer = machine.save().unwrap();
    let mut file = Cursor::new(Vec::new());
    machine.memory().save(&writer, false, &mut file).unwrap();
    file.into_inner()
}

/// A machine and a script, driven by rules that look at nothing but the guest.
struct Scripted {
    machine: Machine,
    output: HostOutput,
    limits: Limits,
    lines: std::slice::Iter<'static, &'static str>,
    ended: bool,
    /// Times that memory could not be read.
    failures: usize,
}

/// A snapshot that was never written to a file.
struct InMemory(Vec<u8>);

impl ReadAt for InMemory {
    fn byte_len(&self) -> u64 {
        self.0.as_slice().byte_len()
    }
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.as_slice().read_exact_at(buffer, offset)
    }
}

/// Fails the first time that a group is wanted.
struct Troubled {
    snapshot: Rc<Snapshot<InMemory>>,
    tried: BTreeSet<u64>,
}

impl PageSource for Troubled {
    fn pages(&self) -> Vec<u64> {
        PageSource::pages(&self.snapshot)
    }
    fn read(&mut self, number: u64, group: &mut [u8; GROUP_SIZE]) -> Result<u16, snapshot::Error> {
        if self.tried.insert(number / PAGES_PER_GROUP as u64) {
            return Err(snapshot::Error::Io { doing: "reading the snapshot", source: io::ErrorKind::TimedOut.into() });
        }
        PageSource::read(&mut self.snapshot, number, group)
    }
}

fn config(output: &HostOutput, limits: Limits) -> Config {
    Config {
        disks: Vec::new(),
        shares: Vec::new(),
        network: None,
        entropy: Entropy::Published,
        console: Box::new(output.clone()),
        serial: Box::new(output.clone()),
        clock: Clock::Virtual,
        epoch: BAKE_EPOCH,
        limits,
    }
}

fn zeroed_ram() -> Ram {
    Ram::new(Box::new(VecBacking::new(RAM_SIZE).unwrap()))
}

impl Scripted {
    fn boot(limits: Limits) -> Self {
        let output = HostOutput::silent(true);
        let (kernel, initrd) = (std::fs::read(guest("vmlinux")).unwrap(), std::fs::read(guest("initramfs.cpio")).unwrap());
        let machine = Machine::boot(config(&output, limits), zeroed_ram(), &kernel, Some(&initrd), "console=ttyS0 quiet").unwrap();
        Self { machine, output, limits, lines: SCRIPT.iter(), ended: false, failures: 0 }
    }

    /// Runs up to a count, or until init has ended the machine.
    fn run(&mut self, until: u64) {
        while !self.ended {
            let Ok(stop) = self.machine.run(until).inspect_err(|error| assert_eq!(error.kind(), "io")) else {
                self.failures += 1;
                continue;
            };
            match stop {
                Stop::Due => return,
                Stop::Halted { deadline } => self.halted(deadline),
                Stop::HaltedForGood => {
                    let mut output = self.output.look();
                    let last = std::iter::from_fn(|| output.take_message()).last();
                    assert_eq!(last, Some(GuestMessage::Exit(3)));
                    self.ended = true;
                }
                stop => panic!("{stop:?}"),
            }
        }
    }

    fn halted(&mut self, deadline: Option<u64>) {
        let mut output = self.output.look();
        if output.at_barrier() {
            output.pass_barrier();
            let start = HostMessage::Start { mode: Mode::Streams, term: None, time: None, after_exit: AfterExit::Halt };
            self.machine.push_input(Port::Control, start.to_string().as_bytes());
            self.machine.push_input(Port::Tty, ANSWER);
        } else if self.machine.wants_input(Port::Stdin)
            && self.machine.input_pending(Port::Control) == 0
            && let Some(line) = self.lines.next()
        {
            self.machine.push_input(Port::Stdin, line.as_bytes());
        } else {
            self.machine.skip_to(deadline.unwrap());
        }
    }

    /// Saves the machine, and goes on with the one that this restores to.
    fn interrupt(&mut self) {
        let bytes = save(&mut self.machine);
        let snapshot = Snapshot::open(bytes.as_slice()).unwrap();
        let mut ram = zeroed_ram();
        for run in snapshot.runs(Space::Ram) {
            let (guest, file, len) = (run.address as usize, run.file_offset as usize, run.len as usize);
            ram.bytes_mut()[guest..guest + len].copy_from_slice(&bytes[file..file + len]);
        }
        let mut sections = snapshot.sections();
        self.machine = Machine::restore(config(&self.output, self.limits), ram, &mut sections).unwrap();
        assert!(sections.finish().unwrap().is_empty());
    }

    /// Saves the machine, and goes on with one whose memory is read when it is touched, which always takes two attempts.
    fn read_with_trouble(&mut self) {
        let bytes = save(&mut self.machine);
        let snapshot = Rc::new(Snapshot::open(InMemory(bytes)).unwrap());
        let pages = Box::new(Troubled { snapshot: snapshot.clone(), tried: BTreeSet::new() });
        let ram = Ram::of_pages(Box::new(VecBacking::new(RAM_SIZE).unwrap()), pages);
        self.machine = Machine::restore(config(&self.output, self.limits), ram, &mut snapshot.sections()).unwrap();
    }

    /// The final snapshot, and the count at the end.
    fn finish(mut self) -> (Vec<u8>, u64) {
        self.run(u64::MAX);
        let count = self.machine.count();
        while Engine::save(&mut self.machine).is_err() {}
        (save(&mut self.machine), count)
    }
}

/// What comes out without any interruption.
fn reference() -> &'static (Vec<u8>, u64) {
    static REFERENCE: OnceLock<(Vec<u8>, u64)> = OnceLock::new();
    REFERENCE.get_or_init(|| Scripted::boot(Limits::default()).finish())
}

fn assert_equal(bytes: &[u8], what: &str) {
    let (reference, _) = reference();
    if bytes != reference {
        let (a, b) = (Snapshot::open(bytes).unwrap(), Snapshot::open(reference.as_slice()).unwrap());
        panic!("{what}:\n{}", snapshot::diff(&a, &b, 20).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_interruption_anywhere_changes_nothing(fractions in prop::collection::vec(0.0..1.0_f64, 1..4)) {
        let (_, total) = reference();
        let mut counts: Vec<u64> = fractions.iter().map(|fraction| (*total as f64 * fraction) as u64).collect();
        counts.sort_unstable();
        let mut guest = Scripted::boot(Limits::default());
        for &count in &counts {
            guest.run(count);
            guest.interrupt();
        }
        assert_equal(&guest.finish().0, &format!("interrupted at {counts:?}"));
    }

    #[test]
    fn dropping_caches_anywhere_changes_nothing(steps in prop::collection::vec(1_000..3_000_000_u64, 1..40)) {
        let mut guest = Scripted::boot(Limits::default());
        for step in steps.iter().cycle() {
            if guest.ended {
                break;
            }
            guest.run(guest.machine.count() + step);
            guest.machine.drop_caches();
        }
        assert_equal(&guest.finish().0, &format!("caches dropped after {steps:?}"));
    }
}

#[test]
fn memory_that_is_read_when_it_is_touched_changes_nothing_whatever_fails_meanwhile() {
    let (_, total) = reference();
    for fraction in [0.2, 0.6, 0.9] {
        let mut guest = Scripted::boot(Limits::default());
        guest.run((*total as f64 * fraction) as u64);
        guest.read_with_trouble();
        let all = guest.machine.ram().bytes().len() / GROUP_SIZE;
        guest.run(u64::MAX);
        assert!((10..all).contains(&guest.failures), "{}", guest.failures);
        assert_equal(&guest.finish().0, &format!("read from {fraction} on"));
    }
}

#[test]
fn how_blocks_are_cut_changes_nothing() {
    for block in [1, 3, 64] {
        let limits = Limits { block, ..Limits::default() };
        assert_equal(&Scripted::boot(limits).finish().0, &format!("blocks of {block}"));
    }
    let limits = Limits { cache: 4096, ..Limits::default() };
    assert_equal(&Scripted::boot(limits).finish().0, "a small cache");
}

/// A user who says nothing.
struct NoCommands {
    ours: UnixStream,
    _theirs: UnixStream,
}

impl NoCommands {
    fn new() -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        Self { ours, _theirs: theirs }
    }
}

impl Control for NoCommands {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ours.as_fd()
    }

    fn take(&mut self) -> Option<ControlCommand> {
        None
    }
}

/// Where the memory of a restored machine comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    /// The snapshot's file is mapped, as where it is in the store.
    Mapped,
    /// It is read when the guest touches it.
    Read,
    /// The same of the form in which it travels.
    Streamed,
}

impl Memory {
    fn ram(self, saved: &Saved) -> Ram {
        let (size, snapshot) = (saved.machine().ram_size, saved.snapshot().unwrap());
        let of_pages = |pages: Box<dyn PageSource>| Ram::of_pages(Box::new(VecBacking::new(size as usize).unwrap()), pages);
        match self {
            Self::Mapped => {
                assert!(saved.is_kept());
                Ram::new(Box::new(saved.memory(Space::Ram, size).unwrap()))
            }
            Self::Read => of_pages(Box::new(snapshot)),
            Self::Streamed => {
                let mut packed = Cursor::new(Vec::new());
                snapshot::pack(&snapshot, &mut packed).unwrap();
                let travelling = Travelling::open(InMemory(packed.into_inner())).unwrap();
                of_pages(Box::new(Streamed(TravellingPages::new(Rc::new(travelling)).unwrap())))
            }
        }
    }
}

/// Pages of a snapshot in the form in which it travels.
struct Streamed(TravellingPages<InMemory>);

impl PageSource for Streamed {
    fn pages(&self) -> Vec<u64> {
        self.0.travelling().page_numbers(Space::Ram).collect()
    }
    fn read(&mut self, number: u64, group: &mut [u8; GROUP_SIZE]) -> Result<u16, snapshot::Error> {
        self.0.read(Space::Ram, number, group)
    }
}

/// Restores the baked snapshot as `run` does, but for randomness, lets it execute `script` under the virtual clock, and saves it.
fn restored_and_saved(script: &[u8], memory: Memory) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let context = Context::silent(Folders::below(folder.path(), Path::new("")));
    let place = Store::open(&context).unwrap().named("baked.snap");
    fs::copy(at_barrier(), &place).unwrap();
    let saved = Saved::open(&context, &place).unwrap();
    let mut sections = saved.sections();
    sections.take::<BakeState>(0).unwrap();
    sections.take::<TranscriptState>(0).unwrap();
    let output = HostOutput::silent(false);
    let mut parts = ConfigBuilder::open(&context, &Devices::default(), Verify::Always, &Program::default(), None).unwrap();
    let seed = seed(Randomness::Published).unwrap();
    let config = parts.take_config(&output, ClockSource::Virtual, Randomness::Published, Some(seed)).unwrap();
    let machine = Machine::restore(config, memory.ram(&saved), &mut sections).unwrap();

    let mut input = tempfile::tempfile().unwrap();
    input.write_all(script).unwrap();
    input.rewind().unwrap();
    let input = Input { stdin: input.into(), source: InputSource::Pipe, terminal: Terminal::default() };
    let (clock, mode) = (ClockSource::Virtual, Mode::Streams);
    let options = AttendOptions { begin: Begin::Barrier, clock, mode, limit: None, saver: None, door: None, visit: false, network: None };
    let (context, control) = (Context::silent(Folders::default()), Box::new(NoCommands::new()));
    let mut attended = Attended::new(context, Box::new(machine), (input, output), control, options).unwrap();
    assert_eq!(attended.run().unwrap(), Ending::Exited(5));
    save(attended.drive().machine())
}

#[test]
fn a_script_leaves_the_same_machine_every_time_wherever_its_memory_comes_from() {
    let script = b"head -c 100 /dev/urandom > /tmp/a; sleep 7; ls -l / > /tmp/b; exit 5\n";
    let first = restored_and_saved(script, Memory::Mapped);
    for memory in [Memory::Mapped, Memory::Read, Memory::Streamed] {
        assert!(first == restored_and_saved(script, memory), "{memory:?}");
        assert!(first != restored_and_saved(b"exit 5\n", memory), "{memory:?}");
    }
}

/// Pages of a snapshot, of which some are all that there is.
struct Listed {
    snapshot: Rc<Snapshot<HostFile>>,
    pages: BTreeSet<u64>,
}

impl PageSource for Listed {
    fn pages(&self) -> Vec<u64> {
        PageSource::pages(&self.snapshot)
    }
    fn read(&mut self, number: u64, group: &mut [u8; GROUP_SIZE]) -> Result<u16, snapshot::Error> {
        if !self.pages.contains(&number) {
            return Err(snapshot::Error::Io { doing: "reading the snapshot", source: io::ErrorKind::NotFound.into() });
        }
        PageSource::read(&mut self.snapshot, number, group)?;
        Ok(1 << (number % PAGES_PER_GROUP as u64))
    }
}

#[test]
fn what_a_bake_lists_is_all_that_the_first_prompt_takes() {
    let context = Context::silent(Folders::default());
    let saved = Saved::open(&context, &at_barrier()).unwrap();
    let (snapshot, mut sections) = (saved.snapshot().unwrap(), saved.sections());
    sections.take::<BakeState>(0).unwrap();
    sections.take::<TranscriptState>(0).unwrap();
    let hot: HotPages = sections.take(0).unwrap();
    let of_ram = hot.pages.iter().filter(|page| page.space == 0);
    let pages: BTreeSet<u64> = of_ram.map(|page| page.number.into()).collect();
    // A seventh or so is listed.
    assert!(pages.len() > 100 && (pages.len() as u64) < snapshot.page_count(Space::Ram) / 3, "{}", pages.len());

    let output = HostOutput::silent(false);
    let mut parts = ConfigBuilder::open(&context, &Devices::default(), Verify::Always, &Program::default(), None).unwrap();
    let seed = seed(Randomness::Published).unwrap();
    let config = parts.take_config(&output, ClockSource::Virtual, Randomness::Published, Some(seed)).unwrap();
    let backing = Box::new(VecBacking::new(saved.machine().ram_size as usize).unwrap());
    let ram = Ram::of_pages(backing, Box::new(Listed { snapshot: snapshot.clone(), pages }));
    let mut machine = Machine::restore(config, ram, &mut sections).unwrap();
    let start = HostMessage::Start { mode: Mode::Tty, term: None, time: None, after_exit: AfterExit::Halt };
    machine.push_input(Port::Control, start.to_string().as_bytes());
    machine.push_input(Port::Tty, ANSWER);
    while !output.look().terminal().recent().contains("# ") {
        match machine.run(u64::MAX / 2).unwrap() {
            Stop::Halted { deadline } => machine.skip_to(deadline.unwrap()),
            stop => panic!("{stop:?}"),
        }
    }
}
