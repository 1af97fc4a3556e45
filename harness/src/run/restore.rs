//! A machine out of a snapshot, or out of what a session has saved.

use super::plan::Plan;
use super::{Outcome, RunRequest, SessionPolicy, attend, check, network};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::host::backend::disk::Verify;
use crate::host::backend::ram::MappedRam;
use crate::host::memory;
use crate::host::net::Network;
use crate::machine::coming::ComingRam;
use crate::machine::config::{ConfigBuilder, Randomness, fresh_seed};
use crate::machine::file::{MachineFile, Runnable};
use crate::machine::output::HostOutput;
use crate::machine::program::Program;
use crate::machine::record::{BakeState, DiskKind, DiskRecord, Point};
use crate::machine::saved::{Base, Saved};
use crate::machine::{ClockSource, Engine, native};
use crate::report::{NATIVE, Report, millis_between};
use crate::run::RestoreMode;
use crate::run::attended::{AttendOptions, Attended, Ending};
use crate::run::console::{Console, Control, Input};
use crate::session::Saver;
use attend::{Begin, Routes, Transcript, TranscriptState};
use emu::bus::{PageSource, Ram};
use emu::machine::{Machine, MachineError, model};
use net::ConnectionsState;
use protocol::network::NetworkInfo;
use snapshot::{MachineId, Record, Sections, Space};
use std::time::Instant;
use tracing::debug;

/// A machine that stands as it was saved, and whose guest has not gone on.
pub struct Restored {
    plan: Plan,
    engine: Box<dyn Engine>,
    input: Input,
    output: HostOutput,
    network: Option<Network>,
    baked: BakeState,
}

/// Restores what is planned.
pub fn restore(
    context: &Context,
    plan: Plan,
    request: &RunRequest,
    (module, console): (Option<Runnable>, Console),
    (report, start): (&mut Report, Instant),
) -> Result<Restored> {
    let Some(saved) = &plan.saved else { unreachable!("what is restored was saved") };
    let in_module = module.is_some();
    let machine = plan.machine.as_ref();
    let ledger = context.ledger();
    let verify = if request.verify { Verify::Always } else { Verify::IfChanged };
    let path = saved.path();

    let found = *saved.machine();
    // Shares and disks have checks of their own, with better messages.
    let ram_size = match machine {
        Some(machine) => machine.ram_size(),
        None => request.memory.map_or(found.ram_size, |mebibytes| u64::from(mebibytes) << 20),
    };
    let has_network = machine.map_or(model::has_network(found.devices), MachineFile::has_network);
    let devices = model::with_network(found.devices, has_network);
    let wanted = MachineId { model: model::MODEL, ram_size, devices };
    found.require(&wanted).map_err(|source| saved.error(source))?;
    let mut sections = saved.sections();
    let baked: BakeState = sections.take(0).map_err(|source| saved.error(source))?;
    let connections: Option<ConnectionsState> = sections.take_if_present(0).map_err(|source| saved.error(source))?;
    let transcript: Option<TranscriptState> = sections.take_if_present(0).map_err(|source| saved.error(source))?;

    if !plan.resumed {
        check::program(&plan.program, path, &baked)?;
    }
    let mut program = plan.program.clone();
    if baked.speaks_container2wasm() {
        program.time = Some(request.clock.epoch_seconds());
    }
    let own = machine.map(MachineFile::disks).unwrap_or_default();
    check::own_disks(&baked.disks, machine.map(|_| own.as_slice()))?;
    let devices = check::devices(&request.devices, path, &baked);
    let mut network = network::open(context, request, machine, (has_network, path))?;
    let network_info = network.as_ref().map(Network::info);
    let mut parts = ConfigBuilder::open(context, &devices, verify, &program, network_info.as_ref())?;
    parts.network = has_network;
    if in_module {
        parts.require_no_disks()?;
    }
    check::disks(&baked.disks[own.len()..], &parts.disk_records, own.len())?;
    let memory = |number: u16| own.get(usize::from(number)).filter(|disk| disk.kind == DiskKind::Upper).map(|disk| disk.size);
    saved.require_disks(memory).map_err(|source| saved.error(source))?;
    check::shares(&baked.shares, &parts.share_records)?;

    // What is read later is verified then. The native engine maps the pages of disks.
    let maps =
        request.restore == RestoreMode::Map || !saved.is_whole() || !in_module && saved.spaces().iter().any(|space| *space != Space::Ram);
    if maps || request.verify {
        saved.verify(&ledger, verify)?;
    }
    let (input, streams) = console.split();
    let transcript = transcript.map(Transcript::restore).unwrap_or_default();
    let output = HostOutput::new(Routes::all(plan.mode), streams, false, transcript);
    // A machine that someone looks at may stand still for long.
    if request.aid.is_none() {
        output.gather();
    }
    report.engine = machine.filter(|_| in_module).map_or(NATIVE, MachineFile::engine);
    let engine = match (machine, module) {
        (Some(machine), Some(module)) => in_wamr((machine, module), saved, (request, &program, network_info.as_ref()), &output)?,
        (machine, _) => natively(context, machine, saved, request, (parts, own, &mut sections), (&output, baked.point))?,
    };
    if !in_module {
        sections.finish().map_err(|source| saved.error(source))?;
    }
    report.restore_ms = Some(millis_between(start, Instant::now()));
    report.snapshot_bytes = Some(saved.file_length());
    report.snapshot_mappings = Some(if request.restore == RestoreMode::Map { saved.mappings() } else { 0 });

    if let (Some(network), Some(connections)) = (&mut network, &connections) {
        network.reset_connections(&connections.connections());
    }
    debug!(
        target: "prebake::restore",
        snapshot = %path.display(),
        mode = ?request.restore,
        point = ?baked.point,
        resumed = plan.resumed,
        mappings = report.snapshot_mappings,
        since_start = ?start.elapsed(),
        "restored"
    );
    Ok(Restored { engine, input, output, network, baked, plan })
}

impl Restored {
    /// Attends it to its end.
    pub fn attend(
        self,
        context: &Context,
        request: &RunRequest,
        control: Box<dyn Control>,
        (report, start): (&mut Report, Instant),
    ) -> Result<Outcome> {
        let Self { plan, engine, input, output, network, baked } = self;
        let Some(saved) = &plan.saved else { unreachable!("what is restored was saved") };
        let begin = Begin::from(baked.point);
        report.session = plan.session.as_ref().map(|session| session.name().into());
        let visit = matches!(request.session, SessionPolicy::Visited(_));
        // Under the virtual clock, a guest does what its input says and nothing else.
        let door = plan.session.as_ref().filter(|_| request.clock == ClockSource::Host).and_then(|session| {
            session.open_door().inspect_err(|error| debug!(target: "prebake::exec", %error, "nobody can come in")).ok()
        });
        let saver = plan.session.map(|session| Saver::new(session, saved, &baked));
        let (clock, mode, limit) = (request.clock, plan.mode, request.limit_instructions);
        let options = AttendOptions { begin, clock, mode, limit, saver, door, visit, network };
        let mut attended = Attended::new(context.clone(), engine, (input, output.clone()), control, options)?;
        if let Some(coming) = plan.coming {
            attended.waits_for(coming);
        }
        let outcome = attend(context, &mut attended, &output, (report, start)).map_err(|error| match error {
            Error::Machine(source @ MachineError::Pages { .. }) => Error::Restore { path: saved.path().into(), source },
            error => error,
        })?;
        if matches!(outcome.ending, Ending::Exited(_)) {
            attended.fetch_rest();
        }
        Ok(outcome)
    }
}

/// The machine's module, in WAMR.
fn in_wamr(
    (machine, module): (&MachineFile, Runnable),
    saved: &Saved,
    (request, program, network): (&RunRequest, &Program, Option<&NetworkInfo>),
    output: &HostOutput,
) -> Result<Box<dyn Engine>> {
    let (shares, taken) = (&request.devices.shares, &[BakeState::ID]);
    let seed = fresh_seed(request.seed.as_ref())?;
    let config = machine.config(&module, request.clock, Randomness::Host, Some(seed), shares, (program, network))?;
    let load = |snapshot| machine.load(module, shares, program, snapshot);
    Ok(Box::new(match request.restore {
        RestoreMode::Read if saved.is_whole() => {
            load(Some(saved.snapshot()?.source()))?.restore_by_reading(&config, taken, output.clone())?
        }
        _ => load(None)?.restore(&config, saved, taken, output.clone())?,
    }))
}

/// The machine as a part of this program.
fn natively(
    context: &Context,
    machine: Option<&MachineFile>,
    saved: &Saved,
    request: &RunRequest,
    (mut parts, own, sections): (ConfigBuilder, Vec<DiskRecord>, &mut Sections<'_>),
    (output, point): (&HostOutput, Point),
) -> Result<Box<dyn Engine>> {
    if let Some(machine) = machine {
        parts.put_first(own, machine.open_disks(Some(saved))?);
    }
    let config = parts.take_config(output, request.clock, Randomness::Host, Some(fresh_seed(request.seed.as_ref())?))?;
    let found = *saved.machine();
    let of_pages = |pages: Box<dyn PageSource>| Ok::<_, Error>(Ram::of_pages(Box::new(MappedRam::zeroed(found.ram_size)?), pages));
    let ram = match (saved.base(), request.restore) {
        (Base::Coming(coming), _) if saved.is_whole() => of_pages(Box::new(ComingRam(coming.pages.clone())))?,
        (Base::Here(snapshot), RestoreMode::Read) if saved.is_whole() => of_pages(Box::new(snapshot.clone()))?,
        _ => Ram::new(Box::new(saved.memory(Space::Ram, found.ram_size)?)),
    };
    let machine = Machine::restore(config, ram, sections).map_err(|source| Error::Restore { path: saved.path().into(), source })?;
    machine.id().require(&found).map_err(|source| saved.error(source))?;
    let room = machine.room();
    room.tables.iter().for_each(memory::bring_in);
    // At its prompt a machine decodes less than a large page has room for.
    if point != Point::Idle {
        memory::prefer_large_pages(&room.blocks);
    }
    native(context, machine, request.aid.as_ref())
}
