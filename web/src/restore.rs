//! A machine of its module, out of a snapshot and what a session has changed since.

use crate::error::{self, Result, error};
use crate::file::{HostFile, Source};
use crate::module::Module;
use crate::network::{Carrier, Network};
use crate::options::{Options, mac};
use crate::save::Saver;
use crate::{Host, Vm};
use attend::record::{BakeState, DiskKind, DiskRecord, Point};
use attend::{Attendant, Output, PortStatus, Routes, Status, Transcript, TranscriptState};
use emu::machine::model;
use net::ConnectionsState;
use payload::{Metadata, PartKind, RAM_START};
use snapshot::{Delta, GROUP_SIZE, MachineId, Record, SectionName, Sections, Snapshot, Space, Writer};
use std::collections::BTreeSet;
use wasm_bindgen::JsValue;

/// See [`Vm::restore`].
pub fn restore(
    host: Host,
    module: Module,
    (snapshot, changes): (HostFile, Option<HostFile>),
    options: &Options,
    carrier: Option<Carrier>,
) -> Result<Vm> {
    let settings = options.settings()?;
    let table = module.table()?;
    let part = |kind| table.parts.iter().find(|part| part.kind == kind);
    let metadata = part(PartKind::Metadata).ok_or_else(|| error("malformed", "the machine's file has no metadata; convert it again"))?;
    let metadata = module.payload(metadata.offset, metadata.length as usize)?;
    let metadata = Metadata::decode(&metadata)
        .map_err(|source| error("metadata", format!("the machine's metadata are not what this version of prebake reads: {source}")))?;
    let ram_size = table.size.ram_size;
    if RAM_START.saturating_add(ram_size).saturating_add(metadata.upper) > u64::from(table.size.pages) * payload::MEMORY_PAGE {
        return Err(error("module-memory", "the module's memory is too small for its machine; convert the image again"));
    }

    let base = Snapshot::open(Source(snapshot)).map_err(error::snapshot)?;
    let changes = changes.map(|file| Delta::open(Source(file))).transpose().map_err(error::snapshot)?;
    if let Some(delta) = &changes {
        delta.require_base(&base).map_err(error::snapshot)?;
    }
    let found = *base.machine();
    let devices = model::with_network(found.devices, metadata.network);
    found.require(&MachineId { model: model::MODEL, ram_size, devices }).map_err(error::snapshot)?;
    if carrier.is_some() && !metadata.network {
        return Err(error("no-network-device", "the machine has no network device; convert and bake its image again"));
    }

    let mut sections = changes.as_ref().map_or_else(|| base.sections(), |delta| delta.sections());
    let baked: BakeState = sections.take(0).map_err(error::snapshot)?;
    let connections: Option<ConnectionsState> = sections.take_if_present(0).map_err(error::snapshot)?;
    let transcript = take_transcript(&mut sections)?;
    let disks = DiskRecord::of_machine(part(PartKind::Root).map(|part| (part.length, part.digest)), metadata.upper);
    check(&baked, &disks, options, changes.is_some())?;
    let upper = disks.iter().position(|disk| disk.kind == DiskKind::Upper).map(|number| (number as u16, metadata.upper));
    let size = |number| upper.filter(|upper| upper.0 == number).map(|upper| upper.1);
    base.require_disks(size).map_err(error::snapshot)?;
    changes.as_ref().map_or(Ok(()), |delta| delta.require_disks(size)).map_err(error::snapshot)?;

    let reads = changes.is_none();
    module.configure(&(options.configuration(reads, carrier.is_some())? + &metadata.configuration(ram_size, &table.parts, &mac())))?;
    let left = match &changes {
        None => module.restore(None)?,
        Some(delta) => {
            lay_out(&module, &base, delta)?;
            let mut writer = Writer::new(*delta.machine());
            writer.add_sections_of_delta(delta).map_err(error::snapshot)?;
            module.restore(Some(&writer.records().map_err(error::snapshot)?))?
        }
    };
    let taken = SectionName { id: BakeState::ID, instance: 0 }.to_string();
    if let Some(name) = left.lines().find(|name| *name != taken) {
        let message = format!("the snapshot has a section {name}, which this machine does not know; use a newer prebake");
        return Err(error("unknown-critical-section", message));
    }

    let output = Output::new(Routes::all(settings.mode), false, transcript);
    let status = status(&module, &host)?;
    if host.pending() {
        // Whether the guest listens on its control port decides how it is attended.
        return Err(error("io", "the pages with the queues of the console have not come yet"));
    }
    let mut network = carrier.map(|carrier| Network::new(carrier, &options.seed(), host.moment()));
    if let (Some(network), Some(connections)) = (&mut network, &connections) {
        network.reset_connections(&connections.connections());
    }
    let saver = settings.can_save.then(|| Saver::new(base, changes.as_ref(), baked.clone(), (ram_size, upper)));
    let attendant = Attendant::new(settings, baked.point.into(), status);
    Ok(Vm { host, module, attendant, output, saver, network, running: None, stop: None, saving: None, wait: None, ending: None })
}

fn take_transcript(sections: &mut Sections<'_>) -> Result<Transcript> {
    let state: Option<TranscriptState> = sections.take_if_present(0).map_err(error::snapshot)?;
    Ok(state.map(Transcript::restore).unwrap_or_default())
}

/// Refuses a snapshot that does not fit the machine, and options that its guest would not follow.
fn check(baked: &BakeState, disks: &[DiskRecord], options: &Options, resumed: bool) -> Result<()> {
    if baked.disks != *disks {
        let message = "the machine's disks are not those of the snapshot; use the machine that it was baked from, or bake this one";
        return Err(error("wrong-disk", message));
    }
    if let Some(share) = baked.shares.first() {
        let message = format!("the snapshot was taken with the share {}, which a page does not have", share.tag);
        return Err(error("wrong-share", message));
    }
    match options.for_program() {
        Some(option) if !resumed && baked.point != Point::Barrier => {
            Err(error("already-started", format!("the snapshot's program runs already, so it cannot be given the option `{option}`")))
        }
        Some(option) if !resumed && !baked.control => {
            Err(error("no-init", format!("the guest's init is not prebake's and takes no option `{option}`")))
        }
        _ => Ok(()),
    }
}

/// Puts all pages in their places, verified.
fn lay_out(module: &Module, base: &Snapshot<Source>, delta: &Delta<Source>) -> Result<()> {
    let spaces: BTreeSet<Space> = base.spaces().chain(delta.spaces()).collect();
    let mut group = Box::new([0; GROUP_SIZE]);
    for space in spaces {
        let start = match space {
            Space::Ram => module.ram(),
            Space::Disk(number) => module.disk(number)?,
        };
        let place = |address: u64| u32::try_from(address).ok().and_then(|address| start.checked_add(address)).unwrap_or(u32::MAX);
        for number in base.group_numbers(space) {
            base.read_group(space, number, &mut group).map_err(error::snapshot)?;
            module.write(place(number * GROUP_SIZE as u64), &group[..])?;
        }
        delta.read_all(space, |address, bytes| module.write(place(address), bytes).map_err(Failed::Placing)).map_err(JsValue::from)?;
    }
    Ok(())
}

/// Either kind of error while pages are put in place.
enum Failed {
    Reading(snapshot::Error),
    Placing(JsValue),
}

impl From<snapshot::Error> for Failed {
    fn from(source: snapshot::Error) -> Self {
        Self::Reading(source)
    }
}

impl From<Failed> for JsValue {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Reading(source) => error::snapshot(source),
            Failed::Placing(error) => error,
        }
    }
}

/// How the machine stands.
pub fn status(module: &Module, host: &Host) -> Result<Status> {
    let mut failed = None;
    let mut port = |port| -> PortStatus {
        let asked = module.wants_input(port).and_then(|ready| Ok(PortStatus { ready, pending: module.input_pending(port)? }));
        asked.unwrap_or_else(|error| {
            failed = Some(error);
            PortStatus::default()
        })
    };
    let status = Status::new(module.count()?, module.now()?, (host.now() * 1e6) as u64, &mut port);
    failed.map_or(Ok(status), Err)
}
