//! A rehearsal: what was baked is restored once, under the virtual clock and with the published random stream, to learn what it touches up to its first
//! prompt. The same snapshot gives the same list on every host.

use super::settle::settle;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::host::backend::disk::Verify;
use crate::host::backend::ram::MappedRam;
use crate::host::file::HostFile;
use crate::machine::config::{ConfigBuilder, Randomness, seed};
use crate::machine::drive::Drive;
use crate::machine::file::MachineFile;
use crate::machine::output::HostOutput;
use crate::machine::program::Program;
use crate::machine::record::{BakeState, Point};
use crate::machine::saved::Saved;
use crate::machine::{ClockSource, Devices, Engine};
use crate::make::bake::SettleOptions;
use attend::TranscriptState;
use devices::blk::{BlockError, BlockSource};
use devices::console::Port;
use emu::bus::{PageSource, Ram};
use emu::machine::{DiskContent, Machine, model};
use protocol::network::NetworkInfo;
use protocol::{ANSWER, AfterExit, HostMessage, Mode};
use snapshot::{GROUP_SIZE, HotPages, PAGE_SIZE, PAGES_PER_GROUP, Snapshot, Space};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use tracing::debug;

/// Guest time that a program has to come to its prompt: then it is one without.
const WITHIN: u64 = 30_000_000_000;
/// Counts that it has: some seconds. Python takes a fifth of them.
const LIMIT: u64 = 400_000_000;

/// Learns what the snapshot in `file`, of the machine's file at `machine` if it has one, touches first. A guest that comes to no prompt in good time has touched
/// what it has.
pub fn rehearse(context: &Context, file: HostFile, machine: Option<&Path>) -> Result<HotPages> {
    let machine = machine.map(|path| MachineFile::open(context, path)).transpose()?;
    let saved = Saved::of(file, Path::new("snapshot"))?;
    let snapshot = saved.snapshot()?;
    let mut sections = snapshot.sections();
    let error = |source| saved.error(source);
    let baked: BakeState = sections.take(0).map_err(error)?;
    let _transcript: Option<TranscriptState> = sections.take_if_present(0).map_err(error)?;

    let program = Program::default();
    // The usual network, on which nothing happens.
    let network = model::has_network(saved.machine().devices).then(NetworkInfo::default);
    let mut parts = ConfigBuilder::open(context, &Devices::default(), Verify::IfChanged, &program, network.as_ref())?;
    parts.network = network.is_some();
    let (of_ram, of_root) = (Rc::<RefCell<Touched>>::default(), Rc::<RefCell<Touched>>::default());
    if let Some(machine) = &machine {
        let mut disks = machine.open_disks(Some(&saved))?;
        if let Some(root) = disks.first_mut()
            && let DiskContent::ReadOnly(source) = &mut root.content
        {
            let inner = std::mem::replace(source, Box::new(Nothing));
            *source = Box::new(Watched { inner, touched: of_root.clone() });
        }
        parts.put_first(machine.disks(), disks);
    }
    // Where messages go does not matter, so long as what the guest sees is the same.
    let output = HostOutput::silent(false);
    let config = parts.take_config(&output, ClockSource::Virtual, Randomness::Published, Some(seed(Randomness::Published)?))?;
    let pages = Box::new(SinglePages { snapshot: snapshot.clone(), touched: of_ram.clone() });
    let ram = Ram::of_pages(Box::new(MappedRam::zeroed(saved.machine().ram_size)?), pages);
    let restored = Machine::restore(config, ram, &mut sections).map_err(|source| Error::Restore { path: saved.path().into(), source })?;
    let mut engine: Box<dyn Engine> = Box::new(restored);
    begin(&mut *engine, &baked);
    let within = engine.now().saturating_add(WITHIN);
    let mut drive = Drive::new(engine);
    let options = SettleOptions { within, ..SettleOptions::default() };
    let settled = settle(&mut drive, &output, None, (Point::Idle, options, Some(LIMIT)), || None, |_| Ok(()));

    let disks = snapshot
        .spaces()
        .filter(|space| *space != Space::Ram)
        .flat_map(|space| snapshot.page_numbers(space).map(move |page| (space, page)));
    let touched = of_ram.take().order.into_iter().map(|page| (Space::Ram, page)).chain(disks);
    let root = of_root.take().order.into_iter().filter_map(|page| u32::try_from(page).ok()).collect();
    let hot = HotPages::of(&snapshot, touched, root).map_err(error)?;
    debug!(
        target: "prebake::bake",
        pages = hot.pages.len(),
        root = hot.root.len(),
        instructions = drive.instructions(),
        prompt = settled.is_ok(),
        "rehearsed"
    );
    Ok(hot)
}

/// Has the guest go on from where it stands, as the one who restores it does.
fn begin(machine: &mut dyn Engine, baked: &BakeState) {
    let after_exit = AfterExit::Halt;
    let message = match baked.point {
        Point::Barrier | Point::Exited => HostMessage::Start { mode: Mode::Tty, term: None, time: None, after_exit },
        Point::Idle => HostMessage::Resume { time: None, after_exit },
    };
    if baked.control {
        machine.push_input(Port::Control, message.to_string().as_bytes());
    }
    if baked.point != Point::Idle {
        machine.push_input(Port::Tty, ANSWER);
    }
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
