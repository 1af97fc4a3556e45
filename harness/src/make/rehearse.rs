//! Rehearsals: what was baked is restored in each of the ways in which it will be, under the virtual clock and with the published random stream, to learn what
//! it touches up to its first prompt. The same snapshot gives the same list on every host.

use crate::context::Context;
use crate::error::{Error, Result};
use crate::host::backend::disk::Verify;
use crate::host::backend::ram::MappedRam;
use crate::host::file::HostFile;
use crate::machine::config::{self, ConfigBuilder, Randomness};
use crate::machine::drive::{Drive, SLICE};
use crate::machine::file::MachineFile;
use crate::machine::output::HostOutput;
use crate::machine::program::Program;
use crate::machine::record::{BakeState, Point};
use crate::machine::saved::Saved;
use crate::machine::{ClockSource, Devices, Engine};
use attend::{Action, Settler, TranscriptState};
use devices::blk::{BlockError, BlockSource};
use devices::console::{Port, WindowSize};
use devices::net::Offload;
use emu::bus::{PageSource, Ram};
use emu::machine::{DiskContent, Machine, Stop, Thresholds, model};
use net::{Cable, Frame, Outside};
use protocol::network::NetworkInfo;
use protocol::{ANSWER, AfterExit, HostMessage, Mode};
use snapshot::{GROUP_SIZE, HotPages, PAGE_SIZE, PAGES_PER_GROUP, Snapshot, Space};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tracing::debug;

/// Guest time that a program has to come to its prompt: then it is one without.
const WITHIN: u64 = 30_000_000_000;
/// Counts that it has: some seconds. Python takes a fifth of them.
const LIMIT: u64 = 400_000_000;
/// What the guest is told of its user's terminal and of the time. Any will do.
const TERM: &str = "xterm-256color";
const WINDOW: WindowSize = WindowSize { cols: 80, rows: 24 };
const TIME: u64 = 1_800_000_000_000_000_000;
/// On a slow host, counts after which more time has passed, and how much. Timers then interrupt the guest wherever they may, also those that are due in some
/// seconds only.
const SLOW: (u64, u64) = (20_000, 50_000_000);

/// A way in which a machine is restored.
#[derive(Debug, Clone, Copy)]
struct Scene {
    mode: Mode,
    /// Time passes while the guest works or waits for a part of itself, as it does by the host's clock.
    is_slow: bool,
}

/// What is touched in the first comes first.
const SCENES: [Scene; 3] =
    [Scene { mode: Mode::Tty, is_slow: false }, Scene { mode: Mode::Tty, is_slow: true }, Scene { mode: Mode::Streams, is_slow: false }];

/// Learns what the snapshot in `file`, of the machine's file at `machine` if it has one, touches first. A guest that comes to no prompt in good time has touched
/// what it has.
pub fn rehearse(context: &Context, file: HostFile, machine: Option<&Path>) -> Result<HotPages> {
    let machine = machine.map(|path| MachineFile::open(context, path)).transpose()?;
    let saved = Saved::of(file, Path::new("snapshot"))?;
    let snapshot = saved.snapshot()?;
    let touched = Touches::default();
    for (seed, scene) in (0..).zip(SCENES) {
        let instructions = play(context, &saved, machine.as_ref(), (scene, seed), &touched)?;
        let (pages, root) = (touched.ram.borrow().order.len(), touched.root.borrow().order.len());
        debug!(target: "prebake::bake", ?scene, pages, root, instructions, "rehearsed");
    }
    let disks = snapshot
        .spaces()
        .filter(|space| *space != Space::Ram)
        .flat_map(|space| snapshot.page_numbers(space).map(move |page| (space, page)));
    let of_ram = touched.ram.take().order.into_iter().map(|page| (Space::Ram, page));
    let root = touched.root.take().order.into_iter().filter_map(|page| u32::try_from(page).ok()).collect();
    HotPages::of(&snapshot, of_ram.chain(disks), root).map_err(|source| saved.error(source))
}

/// Restores the machine, lets it come to its prompt, and adds what it touches. Returns how many instructions it took. With another `seed`, the guest's programs
/// lie elsewhere.
fn play(context: &Context, saved: &Saved, machine: Option<&MachineFile>, (scene, seed): (Scene, u8), touched: &Touches) -> Result<u64> {
    let snapshot = saved.snapshot()?;
    let mut sections = snapshot.sections();
    let error = |source| saved.error(source);
    let baked: BakeState = sections.take(0).map_err(error)?;
    let _transcript: Option<TranscriptState> = sections.take_if_present(0).map_err(error)?;

    let program = Program::default();
    // The usual network, from which nothing comes.
    let network = model::has_network(saved.machine().devices).then(NetworkInfo::default);
    let mut parts = ConfigBuilder::open(context, &Devices::default(), Verify::IfChanged, &program, network.as_ref())?;
    parts.network = network.is_some();
    if let Some(machine) = machine {
        let mut disks = machine.open_disks(Some(saved))?;
        if let Some(root) = disks.first_mut()
            && let DiskContent::ReadOnly(source) = &mut root.content
        {
            let inner = std::mem::replace(source, Box::new(Nothing));
            *source = Box::new(Watched { inner, touched: touched.root.clone() });
        }
        parts.put_first(machine.disks(), disks);
    }
    // Where messages go does not matter, so long as what the guest sees is the same.
    let output = HostOutput::silent(false);
    let mut published = config::seed(Randomness::Published)?;
    published[0] ^= seed;
    let config = parts.take_config(&output, ClockSource::Virtual, Randomness::Published, Some(published))?;
    let pages = Box::new(SinglePages { snapshot: snapshot.clone(), touched: touched.ram.clone() });
    let ram = Ram::of_pages(Box::new(MappedRam::zeroed(saved.machine().ram_size)?), pages);
    let restored = Machine::restore(config, ram, &mut sections).map_err(|source| Error::Restore { path: saved.path().into(), source })?;
    let mut engine: Box<dyn Engine> = Box::new(restored);
    begin(&mut *engine, &baked, scene.mode);
    let within = engine.now().saturating_add(WITHIN);
    let mut drive = Drive::new(engine);
    let start = (drive.status(), drive.work());
    let mut cable = Cable::default();
    let slice = if scene.is_slow { SLOW.0 } else { SLICE };
    let mut settler = Settler::new((attend::Point::Idle, Thresholds::default(), within), (slice, Some(LIMIT)), start);
    loop {
        let action = settler.next(&mut output.look());
        match action {
            Action::Run { until } => {
                cable.work(drive.machine(), &mut Unplugged, Duration::ZERO)?;
                let stop = drive.run(until)?;
                if scene.is_slow && matches!(stop, Stop::Due) {
                    let now = drive.machine().now();
                    drive.machine().skip_to(now + SLOW.1);
                }
                let status = drive.status();
                settler.stopped(stop, status, drive.work());
            }
            Action::Push { port, bytes } => {
                drive.machine().push_input(port, &bytes);
            }
            Action::SkipTo(tick) => drive.machine().skip_to(tick),
            Action::End(_) => return Ok(drive.instructions()),
            _ => {}
        }
    }
}

/// Has the guest go on from where it stands, as the one who restores it does.
fn begin(machine: &mut dyn Engine, baked: &BakeState, mode: Mode) {
    let (time, after_exit) = (Some(TIME), AfterExit::Halt);
    let term = (mode == Mode::Tty).then(|| TERM.into());
    let message = match baked.point {
        Point::Barrier | Point::Exited => HostMessage::Start { mode, term, time, after_exit },
        Point::Idle => HostMessage::Resume { time, after_exit },
    };
    if baked.control {
        machine.push_input(Port::Control, message.to_string().as_bytes());
    }
    if baked.point != Point::Idle {
        machine.push_input(Port::Tty, ANSWER);
    }
    if mode == Mode::Tty {
        machine.resize(WINDOW);
    }
}

/// The other end of a cable from which nothing comes.
struct Unplugged;

impl Outside for Unplugged {
    type Error = Error;

    fn receive(&mut self, _frame: Frame) {}

    fn work(&mut self, _offload: Offload, _now: Duration) -> Result<()> {
        Ok(())
    }

    fn frame(&mut self) -> Option<Frame> {
        None
    }
}

/// What was touched of RAM and of the root.
#[derive(Debug, Default)]
struct Touches {
    ram: Rc<RefCell<Touched>>,
    root: Rc<RefCell<Touched>>,
}

/// Pages in the order of their first touch.
#[derive(Debug, Default)]
struct Touched {
    order: Vec<u64>,
    seen: BTreeSet<u64>,
}

impl Touched {
    fn add(&mut self, page: u64) {
        if self.seen.insert(page) {
            self.order.push(page);
        }
    }
}

/// The pages of a snapshot, each alone.
struct SinglePages {
    snapshot: Rc<Snapshot<HostFile>>,
    touched: Rc<RefCell<Touched>>,
}

impl PageSource for SinglePages {
    fn pages(&self) -> Vec<u64> {
        self.snapshot.page_numbers(Space::Ram).collect()
    }

    fn read(&mut self, number: u64, group: &mut [u8; GROUP_SIZE]) -> std::result::Result<u16, snapshot::Error> {
        self.touched.borrow_mut().add(number);
        self.snapshot.read_group(Space::Ram, number / PAGES_PER_GROUP as u64, group)?;
        Ok(1 << (number % PAGES_PER_GROUP as u64))
    }
}

/// A disk whose reads are noted.
struct Watched {
    inner: Box<dyn BlockSource>,
    touched: Rc<RefCell<Touched>>,
}

impl BlockSource for Watched {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> std::result::Result<(), BlockError> {
        let (page, end) = (PAGE_SIZE as u64, offset + bytes.len() as u64);
        (offset / page..end.div_ceil(page)).for_each(|page| self.touched.borrow_mut().add(page));
        self.inner.read_at(offset, bytes)
    }
}

/// In the place of a disk that is about to get another.
struct Nothing;

impl BlockSource for Nothing {
    fn size(&self) -> u64 {
        0
    }

    fn read_at(&mut self, _offset: u64, _bytes: &mut [u8]) -> std::result::Result<(), BlockError> {
        Err(BlockError::Host)
    }
}
