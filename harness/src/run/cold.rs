//! A machine that boots: for the one who runs it, or once and for all, for a snapshot of it.

use super::plan::Plan;
use super::{Outcome, RunRequest, attend, network};
use crate::context::Context;
use crate::distribution::oci::{self, Sha256};
use crate::distribution::store::{Lock, SNAPSHOT_ENDING, Store};
use crate::error::{Error, Result};
use crate::host::backend::disk::Verify;
use crate::host::file::atomic::AtomicFile;
use crate::host::net::Network;
use crate::machine::boot::{self, BootOptions};
use crate::machine::config::{ConfigBuilder, Randomness, fresh_seed, seed};
use crate::machine::drive::Drive;
use crate::machine::file::{MachineFile, Runnable};
use crate::machine::output::HostOutput;
use crate::machine::program::Program;
use crate::machine::record::{BakeState, Point};
use crate::machine::{ClockSource, Devices};
use crate::make::bake::{self, SettleOptions};
use crate::make::settle::{save, settle};
use crate::observer::Notice;
use crate::report::Report;
use crate::run::attended::{AttendOptions, Attended};
use crate::run::console::{Console, Control};
use attend::{Begin, Failure, Routes, Transcript};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A machine without a snapshot: it boots what it carries, and is attended to its end.
pub fn run(
    context: &Context,
    plan: Plan,
    request: &RunRequest,
    module: Option<Runnable>,
    (console, control): (Console, Box<dyn Control>),
    (report, start): (&mut Report, Instant),
) -> Result<Outcome> {
    let Some(machine) = &plan.machine else { return Err(Error::NothingToRun) };
    let (clock, mode) = (request.clock, plan.mode);
    let (input, streams) = console.split();
    let output = HostOutput::new(Routes::all(mode), streams, true, Transcript::default());
    // A machine that someone looks at may stand still for long.
    if request.aid.is_none() {
        output.gather();
    }
    let network = network::open(context, request, Some(machine), (machine.has_network(), machine.path()))?;
    let network_info = network.as_ref().map(Network::info);
    // An init with container2wasm's protocol needs an `info`, and is told of the time by it. Prebake's is told when it starts the program.
    let program = Program { time: (clock == ClockSource::Host).then(|| clock.epoch_seconds()), ..plan.program };
    let mut parts = ConfigBuilder::open(context, &request.devices, Verify::IfChanged, &program, network_info.as_ref())?;
    let randomness = Randomness::of_boot(clock);
    if module.is_some() {
        report.engine = machine.engine();
    }
    let made = BootOptions {
        context,
        output: &output,
        clock,
        randomness,
        seed: Some(match randomness {
            Randomness::Host => fresh_seed(request.seed.as_ref())?,
            Randomness::Published => seed(randomness)?,
        }),
        shares: &request.devices.shares,
        program: &program,
        network: network_info.as_ref(),
        aid: request.aid.as_ref(),
    };
    let engine = boot::file(machine, module, &mut parts, &made)?;
    let options = AttendOptions {
        begin: Begin::PowerOn,
        clock,
        mode,
        limit: request.limit_instructions,
        saver: None,
        door: None,
        visit: false,
        network,
    };
    let mut attended = Attended::new(context.clone(), engine, (input, output.clone()), control, options)?;
    attend(context, &mut attended, &output, (report, start))
}

/// The snapshot of a machine in the store that came without one. It is made here, the first time that it is wanted: the machine boots under the
/// virtual clock to the barrier, or to where it has settled, before it has had any input. What keeps it in the store comes with it.
pub fn first_boot(context: &Context, store: &Store, machine: &Path) -> Result<(PathBuf, Lock)> {
    let place = machine.with_extension(SNAPSHOT_ENDING);
    let lost = || Error::Read { what: "file of the store", path: place.clone(), source: std::io::ErrorKind::NotFound.into() };
    let layer: Sha256 = machine.file_stem().and_then(|stem| format!("sha256:{}", stem.to_string_lossy()).parse().ok()).ok_or_else(lost)?;
    if let Some(pin) = oci::intact(store, &place, layer)? {
        return Ok((place, pin));
    }
    let _shared = store.share()?;
    // Others who want the same wait here, and find it made.
    let _claim = store.claim(layer)?;
    if let Some(pin) = oci::intact(store, &place, layer)? {
        return Ok((place, pin));
    }
    context.notice(Notice::FirstBoot);
    let made = store.partial(layer).with_extension(SNAPSHOT_ENDING);
    boot_and_save(context, &MachineFile::open(context, machine)?, &made)?;
    let stamp = store.admit(&made, &place)?;
    std::thread::sleep(stamp.map_or(Duration::ZERO, |stamp| stamp.wait()));
    let pin = oci::intact(store, &place, layer)?.ok_or_else(lost)?;
    Ok((place, pin))
}

fn boot_and_save(context: &Context, machine: &MachineFile, path: &Path) -> Result<()> {
    let mut file = AtomicFile::create_private(path)?;
    let (devices, program) = (Devices::default(), Program::default());
    let mut parts = ConfigBuilder::open(context, &devices, Verify::IfChanged, &program, None)?;
    let output = HostOutput::silent(true);
    let made = BootOptions {
        context,
        output: &output,
        clock: ClockSource::Virtual,
        randomness: Randomness::Published,
        seed: None,
        shares: &[],
        program: &program,
        network: None,
        aid: None,
    };
    let mut drive = Drive::new(boot::file(machine, None, &mut parts, &made)?);
    let tracker = bake::tracker(context);
    let mut settle_at = |point| {
        settle(&mut drive, &output, None, (point, SettleOptions::default(), None), || None, |moment| bake::report(&tracker, moment))
    };
    let (point, settled) = match settle_at(Point::Barrier) {
        // A guest with an init of its own has no barrier.
        Err(Error::Guest(Failure::NoBarrier { .. })) => (Point::Idle, settle_at(Point::Idle)?),
        settled => (Point::Barrier, settled?),
    };
    let state = BakeState { point, control: settled.control, disks: parts.disk_records, shares: parts.share_records };
    save(&mut drive, &output, (&state, None), file.file(), path)?;
    file.commit()?;
    drop(tracker);
    context.notice(Notice::FirstBootSaved { elapsed: settled.judged.elapsed });
    Ok(())
}
