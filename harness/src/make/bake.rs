//! Bakes: a machine boots under the virtual clock until it has settled, and a snapshot of it is saved.

use super::convert::{Conversion, convert};
use super::rehearse::rehearse;
use super::settle::{Moment, Settled, save, settle};
use super::shipped;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::host::backend::disk::Verify;
use crate::host::backend::entropy::OsEntropy;
use crate::host::file::HostFile;
use crate::host::file::atomic::AtomicFile;
use crate::host::net::{Network, NetworkOptions};
use crate::machine::EngineKind;
use crate::machine::boot::{self, BootOptions, KernelOptions};
use crate::machine::config::{ConfigBuilder, Randomness, seed};
use crate::machine::drive::Drive;
use crate::machine::file::MachineFile;
use crate::machine::output::HostOutput;
use crate::machine::program::Program;
use crate::machine::record::{BakeState, Point};
use crate::machine::{ClockSource, Devices, Engine};
use crate::observer::{Notice, Task, Tracker};
use crate::report::{Boot, Report};
use emu::machine::Thresholds;
use snapshot::{HotPages, Snapshot, Written};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::debug;

/// When a bake takes a guest to have settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettleOptions {
    /// For the detector.
    pub thresholds: Thresholds,
    /// Virtual time in nanoseconds after which the bake gives up.
    pub within: u64,
}

impl Default for SettleOptions {
    fn default() -> Self {
        Self { thresholds: Thresholds::default(), within: 600_000_000_000 }
    }
}

/// What is baked.
#[derive(Debug, Clone)]
pub enum Source {
    /// A machine's file.
    Machine(PathBuf),
    /// A container image. A machine of it is made first, beside the snapshot.
    Image {
        /// Its name.
        name: String,
        /// The machine's memory in MiB.
        memory: u32,
    },
    /// A kernel, and what it boots with.
    Kernel(PathBuf, KernelOptions),
}

/// A bake.
#[derive(Debug, Clone)]
pub struct Bake {
    /// What is baked.
    pub source: Source,
    /// Where to save the snapshot. A file of that name stays as it is until the new one is complete.
    pub output: PathBuf,
    /// Where the guest is to stand.
    pub point: Point,
    /// When it counts as settled.
    pub settle: SettleOptions,
    /// What runs the machine.
    pub engine: EngineKind,
    /// Disks and shares.
    pub devices: Devices,
    /// The network that the guest has meanwhile, if it is to have one.
    pub network: Option<NetworkOptions>,
    /// The program, if the guest is to start it.
    pub program: Program,
    /// Give up after this many guest instructions.
    pub limit_instructions: Option<u64>,
}

impl Bake {
    /// Bakes `source` to its barrier, as is usual.
    pub fn new(source: Source, output: &Path) -> Self {
        Self {
            source,
            output: output.into(),
            point: Point::Barrier,
            settle: SettleOptions::default(),
            engine: EngineKind::Native,
            devices: Devices::default(),
            network: None,
            program: Program::default(),
            limit_instructions: None,
        }
    }
}

/// What came of a bake.
#[derive(Debug, Clone)]
pub struct Baked {
    /// The machine's file, unless a kernel was baked.
    pub machine: Option<PathBuf>,
    /// The snapshot.
    pub written: Written,
    /// The guest's init is prebake's, and rekeys the random generator after a restore.
    pub control: bool,
}

/// Bakes. `interrupted` gives the signal that ends it, if one has come.
pub fn bake(context: &Context, bake: &Bake, interrupted: impl FnMut() -> Option<i32>, report: &mut Report) -> Result<Baked> {
    context.outcome(boot_and_save(context, bake, interrupted, report))
}

fn boot_and_save(context: &Context, bake: &Bake, interrupted: impl FnMut() -> Option<i32>, report: &mut Report) -> Result<Baked> {
    let (output, point) = (&bake.output, bake.point);
    // Begun first, so that a place that cannot be written is told before the work.
    let mut file = AtomicFile::create_private(output)?;
    let mut network = network(bake)?;
    let info = network.as_ref().map(Network::info);
    let mut parts = ConfigBuilder::open(context, &bake.devices, Verify::IfChanged, &bake.program, info.as_ref())?;
    parts.network = network.is_some();
    let guest_output = HostOutput::silent(true);
    // A guest that goes on past the barrier wants a seed. One that stops there gets its seed when it is restored.
    let seed = if point == Point::Idle { Some(seed(Randomness::Published)?) } else { None };
    let options = BootOptions {
        context,
        output: &guest_output,
        clock: ClockSource::Virtual,
        randomness: Randomness::Published,
        seed,
        shares: &bake.devices.shares,
        program: &bake.program,
        network: info.as_ref(),
        aid: None,
    };
    let machine_file = machine_file(context, &bake.source, output)?;
    let (machine, path, memory) = boot_source(bake, machine_file.as_deref(), &mut parts, &options, report)?;
    let mut drive = Drive::new(machine);

    context.notice(Notice::Booting { path, memory });
    if network.is_some() {
        context.notice(Notice::BakedWithNetwork);
    }
    let tracker = tracker(context);
    let wanted = (point, bake.settle, bake.limit_instructions);
    let settled = settle(&mut drive, &guest_output, network.as_mut(), wanted, interrupted, |moment| self::report(&tracker, moment));
    drop(tracker);
    report.take(&mut drive);
    let Settled { booted, judged, verdict, control } = settled?;
    report.boot = Some(Boot::new(booted.instructions, booted.elapsed, booted.now));
    report.settled = Some(verdict.into());
    context.notice(Notice::Settled {
        point,
        instructions: booted.instructions,
        elapsed: booted.elapsed,
        guest_time: Duration::from_nanos(booted.now),
        verdict,
        waited: judged.elapsed.saturating_sub(booted.elapsed),
    });

    let state = BakeState { point, control, disks: parts.disk_records, shares: parts.share_records };
    // A guest with container2wasm's protocol alone waits for what only its host can tell.
    let hot = match is_alone(bake) && !state.speaks_container2wasm() {
        true => rehearsed(context, (&mut drive, &guest_output), &state, (machine_file.as_deref(), output))?,
        false => None,
    };
    let written = save(&mut drive, &guest_output, (&state, hot.as_ref()), file.file(), output)?;
    let file = file.commit()?;
    report.snapshot_bytes = Some(written.file_length);
    report.snapshot_mappings = Some(written.runs);
    read_back(output, file)?;
    Ok(Baked { machine: machine_file, written, control })
}

/// Whether the guest has nothing of the host that it could change, or could miss.
fn is_alone(bake: &Bake) -> bool {
    bake.network.is_none() && bake.devices.disks.is_empty() && bake.devices.shares.is_empty() && bake.program.given().is_none()
}

/// What is wanted first of the machine as it stands, if it can be restored. What is restored lies beside the snapshot at `beside`, where there must be room.
fn rehearsed(
    context: &Context,
    (drive, output): (&mut Drive, &HostOutput),
    state: &BakeState,
    (machine, beside): (Option<&Path>, &Path),
) -> Result<Option<HotPages>> {
    let error = |source| Error::Write { path: beside.into(), source };
    let folder = beside.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut scratch = tempfile::tempfile_in(folder).map_err(error)?;
    save(drive, output, (state, None), &mut scratch, beside)?;
    let rehearsed = HostFile::of(scratch).map_err(error).and_then(|file| rehearse(context, file, machine));
    Ok(rehearsed.inspect_err(|error| debug!(target: "prebake::bake", %error, "not rehearsed")).ok())
}

/// The network that the guest has meanwhile.
fn network(bake: &Bake) -> Result<Option<Network>> {
    match &bake.network {
        Some(options) => Network::open(options, None, &mut OsEntropy::open()?),
        None => Ok(None),
    }
}

/// The machine's file of `source`, or the one that is made of its image, beside the snapshot at `output`.
fn machine_file(context: &Context, source: &Source, output: &Path) -> Result<Option<PathBuf>> {
    match source {
        Source::Machine(path) => Ok(Some(path.clone())),
        Source::Image { name, memory } => {
            let path = output.with_extension("wasm");
            convert(context, &Conversion { memory: *memory, ..Conversion::of_image(name, &path) })?;
            Ok(Some(path))
        }
        Source::Kernel(..) => Ok(None),
    }
}

/// The machine that is to be baked, what it was made of, and its memory in MiB.
fn boot_source<'a>(
    bake: &'a Bake,
    machine: Option<&'a Path>,
    parts: &mut ConfigBuilder,
    options: &BootOptions<'_>,
    report: &mut Report,
) -> Result<(Box<dyn Engine>, &'a Path, u64)> {
    match (machine, &bake.source) {
        (None, Source::Kernel(kernel, cold)) => {
            let config = parts.take_config(options.output, options.clock, options.randomness, options.seed)?;
            Ok((Box::new(boot::kernel(kernel, cold, config)?), kernel, cold.memory.into()))
        }
        (Some(path), _) => {
            let machine = MachineFile::open(options.context, path)?;
            if options.network.is_some() && !machine.has_network() {
                return Err(Error::NoNetworkDevice { path: path.into() });
            }
            let module = match bake.engine {
                EngineKind::Wamr => shipped::runnable(options.context, &machine, Some(bake.engine), false)?,
                EngineKind::Native => None,
            };
            if module.is_some() {
                report.engine = machine.engine();
            }
            Ok((boot::file(&machine, module, parts, options)?, path, machine.ram_size() >> 20))
        }
        (None, _) => Err(Error::NothingToRun),
    }
}

/// For the progress of a boot.
pub(crate) fn tracker(context: &Context) -> Tracker<'_> {
    Tracker::new(context.observer(), Task::Boot { guest_time: Duration::ZERO }, None)
}

/// Reports how far a boot has come. Fails if it is to be given up.
pub(crate) fn report(tracker: &Tracker<'_>, moment: Moment) -> Result<()> {
    tracker.set_task(Task::Boot { guest_time: Duration::from_nanos(moment.now) }, moment.instructions);
    tracker.check()
}

/// Reads back what is on the disk.
fn read_back(path: &Path, file: File) -> Result<()> {
    let error = |source| Error::Snapshot { path: path.into(), source };
    let file = HostFile::of(file).map_err(|source| Error::Read { what: "snapshot", path: path.into(), source })?;
    let snapshot = Snapshot::open(file).map_err(error)?;
    snapshot.verify_all().map_err(error)
}
