//! `prebake run`: a snapshot, restored, with someone at the console.

use super::{Made, attend, boot_file, finish, mode, on_thread_for_wamr, routes};
use crate::backend::disk::Verify;
use crate::backend::ram::MappedRam;
use crate::cli::{DeviceArgs, DiskArg, RestoreArg, RunArgs};
use crate::engine::Engine;
use crate::engine::file::MachineFile;
use crate::error::{Error, Result};
use crate::file::HostFile;
use crate::file::ledger::{Ledger, Stamp};
use crate::program::{FILES_TAG, ProgramArgs};
use crate::report::{Report, millis_between};
use crate::terminal;
use crate::terminal::signals::Signals;
use crate::vm::attended::Attended;
use crate::vm::drive::Drive;
use crate::vm::input::Input;
use crate::vm::outlet::Outlet;
use crate::vm::parts::{Parts, Randomness, seed};
use crate::vm::record::{BakeState, DiskKind, DiskRecord, Point, ShareRecord};
use crate::vm::tail::{Tail, TailState};
use emu::bus::Ram;
use emu::machine::{Machine, model};
use protocol::Mode;
use snapshot::{MachineId, Record, Snapshot, Space};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

/// Runs the verb.
pub fn run(args: RunArgs, start: Instant) -> ExitCode {
    if args.in_module() { on_thread_for_wamr(|| attempt(&args, start)) } else { attempt(&args, start) }
}

fn attempt(args: &RunArgs, start: Instant) -> ExitCode {
    let mut report = Report::of("run");
    let result = make_and_attend(args, start, &mut report);
    finish("run", &args.report, report, result)
}

fn make_and_attend(args: &RunArgs, start: Instant, report: &mut Report) -> Result<u8> {
    let machine = args.machine().map(MachineFile::open).transpose()?;
    if let (Some(machine), Some(mebibytes)) = (&machine, args.memory) {
        machine.require_memory(mebibytes)?;
    }
    if let Some(machine) = machine.as_ref().filter(|_| args.verify) {
        machine.verify()?;
    }
    let in_module = match &machine {
        Some(machine) => args.in_module() && machine.is_trusted()?,
        None => false,
    };
    match (args.snapshot(), &machine) {
        (Some(snapshot), machine) => restore_and_attend(args, machine.as_ref(), in_module, snapshot, start, report),
        (None, Some(machine)) => boot_and_attend(args, machine, in_module, start, report),
        (None, None) => unreachable!("the command line has one of the two"),
    }
}

fn restore_and_attend(
    args: &RunArgs,
    machine: Option<&MachineFile>,
    in_module: bool,
    path: &Path,
    start: Instant,
    report: &mut Report,
) -> Result<u8> {
    let signals = Signals::catch()?;
    let ledger = Ledger::of_user();
    let verify = if args.verify { Verify::Always } else { Verify::IfChanged };
    let error = |source| Error::Snapshot { path: path.into(), source };

    let snapshot = Rc::new(Snapshot::open(HostFile::open("snapshot", path)?).map_err(error)?);
    let found = *snapshot.machine();
    // Shares and disks have checks of their own, with better messages.
    let ram_size = match machine {
        Some(machine) => machine.ram_size(),
        None => args.memory.map_or(found.ram_size, |mebibytes| u64::from(mebibytes) << 20),
    };
    found.require(&MachineId { model: model::MODEL, ram_size, devices: found.devices }).map_err(error)?;
    let mut sections = snapshot.sections();
    let baked: BakeState = sections.take(0).map_err(error)?;
    let tail: Option<TailState> = sections.take_if_present(0).map_err(error)?;

    check_program(&args.program, path, &baked)?;
    let own = machine.map(MachineFile::disks).unwrap_or_default();
    check_own_disks(&baked.disks, machine.map(|_| own.as_slice()))?;
    let mut parts = Parts::open(&devices(args, path, &baked), &ledger, verify)?.for_program(&args.program)?;
    if in_module {
        parts.require_no_disks()?;
    }
    check_disks(&baked.disks[own.len()..], &parts.disk_records, own.len())?;
    let memory = |number: u16| own.get(usize::from(number)).filter(|disk| disk.kind == DiskKind::Upper).map(|disk| disk.size);
    snapshot.require_disks(memory).map_err(error)?;
    check_shares(&baked.shares, &parts.share_records)?;
    let mode = match (baked.point, mode(&args.console)) {
        (Point::Idle, Mode::Streams) if args.console.no_tty => return Err(Error::OnATerminal { path: path.into() }),
        (Point::Idle, _) => Mode::Tty,
        (Point::Barrier, mode) => mode,
    };

    // What is read later is verified then. The native engine maps the pages of disks.
    let maps = args.restore == RestoreArg::Map || !in_module && snapshot.spaces().any(|space| space != Space::Ram);
    if maps || args.verify {
        verify_pages(&snapshot, path, &ledger, verify)?;
    }
    let outlet = Outlet::new(routes(mode), false, tail.map(Tail::restore).unwrap_or_default());
    let seed = seed(Randomness::Host)?;
    let machine: Box<dyn Engine> = match machine {
        Some(machine) if in_module => {
            report.engine = machine.engine();
            let (shares, taken) = (&args.devices.shares, &[BakeState::ID]);
            let config = machine.config(args.console.clock, Randomness::Host, Some(seed), shares, &args.program);
            let load = |snapshot| machine.load(shares, &args.program, snapshot);
            Box::new(match args.restore {
                RestoreArg::Map => load(None)?.restore(&config, &snapshot, taken, outlet.clone())?,
                RestoreArg::Read => load(Some(snapshot.source()))?.restore_by_reading(&config, taken, outlet.clone())?,
            })
        }
        machine => {
            if let Some(machine) = machine {
                parts.put_first(own, machine.open_disks(Some(&snapshot))?);
            }
            let config = parts.take_config(&outlet, args.console.clock, Randomness::Host, Some(seed))?;
            let ram = match args.restore {
                RestoreArg::Map => {
                    Ram::new(Box::new(MappedRam::of_snapshot(found.ram_size, snapshot.source().file(), snapshot.runs(Space::Ram))?))
                }
                RestoreArg::Read => Ram::of_pages(Box::new(MappedRam::zeroed(found.ram_size)?), Box::new(snapshot.clone())),
            };
            let machine = Machine::restore(config, ram, &mut sections).map_err(|source| Error::Restore { path: path.into(), source })?;
            machine.id().require(&found).map_err(error)?;
            sections.finish().map_err(error)?;
            Box::new(machine)
        }
    };
    report.restore_ms = Some(millis_between(start, Instant::now()));
    report.snapshot_bytes = Some(snapshot.header().file_length());
    report.snapshot_mappings = Some(match args.restore {
        RestoreArg::Map => snapshot.spaces().map(|space| snapshot.runs(space).count()).sum(),
        RestoreArg::Read => 0,
    });

    let drive = Drive::new(machine, args.report.limit_instructions);
    let input = Input::new(rustix::stdio::stdin(), terminal::on_stdin());
    let mut attended = Attended::new(drive, outlet.clone(), input, signals, args.console.clock, mode);
    match baked.point {
        Point::Barrier => attended.start(),
        Point::Idle => attended.resume(baked.control),
    }
    attend(&mut attended, &outlet, (&args.console, &args.report), report, start)
}

/// A machine without a snapshot: it boots what it carries.
fn boot_and_attend(args: &RunArgs, machine: &MachineFile, in_module: bool, start: Instant, report: &mut Report) -> Result<u8> {
    let signals = Signals::catch()?;
    let clock = args.console.clock;
    let mode = mode(&args.console);
    let outlet = Outlet::new(routes(mode), true, Tail::default());
    let mut parts = Parts::open(&args.devices, &Ledger::of_user(), Verify::IfChanged)?.for_program(&args.program)?;
    let randomness = Randomness::of_boot(clock);
    if in_module {
        report.engine = machine.engine();
    }
    let made =
        Made { outlet: &outlet, clock, randomness, seed: Some(seed(randomness)?), shares: &args.devices.shares, program: &args.program };
    let machine = boot_file(machine, in_module, &mut parts, &made)?;
    let drive = Drive::new(machine, args.report.limit_instructions);
    let input = Input::new(rustix::stdio::stdin(), terminal::on_stdin());
    let mut attended = Attended::new(drive, outlet.clone(), input, signals, clock, mode);
    attend(&mut attended, &outlet, (&args.console, &args.report), report, start)
}

/// The devices that were asked for. Disks that the snapshot had and that were not, from beside it.
fn devices(args: &RunArgs, snapshot: &Path, baked: &BakeState) -> DeviceArgs {
    let given = &args.devices;
    let beside = |disk: &DiskRecord| {
        // The name is the snapshot's word, so it is no way to anywhere else.
        let name = Path::new(&disk.name).file_name().unwrap_or_default();
        DiskArg { path: snapshot.with_file_name(name), read_only: disk.read_only }
    };
    let missing = baked.disks.iter().filter(|disk| disk.kind == DiskKind::File).skip(given.disks.len()).map(beside);
    DeviceArgs { disks: given.disks.iter().cloned().chain(missing).collect(), shares: given.shares.clone() }
}

/// The disks that a machine's file brings, if there is one.
fn check_own_disks(baked: &[DiskRecord], own: Option<&[DiskRecord]>) -> Result<()> {
    let wrong = |problem| Err(Error::WrongDisk { problem });
    let wanted: Vec<_> = baked.iter().filter(|disk| disk.kind != DiskKind::File).collect();
    let Some(own) = own else {
        if wanted.is_empty() {
            return Ok(());
        }
        return wrong(
            "the snapshot is of a machine's file, which has disks of its own; give both: prebake run FILE.aot --snapshot FILE.snap".into(),
        );
    };
    for kind in [DiskKind::Root, DiskKind::Upper] {
        let wanted = wanted.iter().copied().find(|disk| disk.kind == kind);
        let found = own.iter().find(|disk| disk.kind == kind);
        if found != wanted {
            let name = if kind == DiskKind::Root { "root" } else { "upper" };
            let (found, wanted) = (describe(found), describe(wanted));
            return wrong(format!(
                "the machine has {found} for its {name} disk, but the snapshot was taken with {wanted}; \
                 give the machine that it was baked from, or bake this one"
            ));
        }
    }
    // Hostile: in another order, or twice.
    if baked.len() < own.len() || baked[..own.len()] != *own || wanted.len() != own.len() {
        return wrong("the snapshot lists its disks in an order that no machine has; bake it again".into());
    }
    Ok(())
}

fn describe(disk: Option<&DiskRecord>) -> String {
    match disk {
        None => "none".into(),
        Some(disk) if disk.kind == DiskKind::Upper => format!("{} MiB of memory", disk.size >> 20),
        Some(disk) => format!("{} bytes with digest {}", disk.size, disk.digest()),
    }
}

/// The disks in files of the host. `before` them are so many of the machine's own.
fn check_disks(baked: &[DiskRecord], given: &[DiskRecord], before: usize) -> Result<()> {
    let wrong = |problem| Err(Error::WrongDisk { problem });
    if given.len() > baked.len() {
        return wrong(format!(
            "{} disks were given, but the snapshot is of a machine with {}; leave the others out",
            given.len(),
            baked.len()
        ));
    }
    for (number, (wanted, found)) in baked.iter().zip(given).enumerate() {
        let drive = char::from(b'a' + ((before + number) as u8 & 3));
        if (wanted.size, wanted.digest) != (found.size, found.digest) {
            return wrong(format!(
                "the disk vd{drive} ({}) has {} bytes and digest {}, but the snapshot was taken with {} bytes and digest {} ({}); \
                 give the same disk with --disk, or bake again",
                found.name,
                found.size,
                found.digest(),
                wanted.size,
                wanted.digest(),
                wanted.name
            ));
        }
        if wanted.read_only != found.read_only {
            let (was, give) = if wanted.read_only { ("read-only", "with") } else { ("writable", "without") };
            return wrong(format!("the disk vd{drive} ({}) was {was} when the snapshot was taken; give it {give} `:ro`", found.name));
        }
    }
    Ok(())
}

/// Refuses what the guest would not follow.
fn check_program(program: &ProgramArgs, path: &Path, baked: &BakeState) -> Result<()> {
    let Some(option) = program.given() else { return Ok(()) };
    match baked.point {
        Point::Idle => Err(Error::AlreadyStarted { path: path.into(), option }),
        Point::Barrier if !baked.control => Err(Error::NoInit { path: path.into(), option }),
        Point::Barrier if !program.volumes.is_empty() && baked.shares.iter().any(|share| share.tag == FILES_TAG) => {
            Err(Error::WrongShare {
                problem: format!("the snapshot was taken with --share {FILES_TAG}=DIR; give that again instead of -v, or bake without it"),
            })
        }
        Point::Barrier => Ok(()),
    }
}

fn check_shares(baked: &[ShareRecord], given: &[ShareRecord]) -> Result<()> {
    if baked == given {
        return Ok(());
    }
    let list = |shares: &[ShareRecord]| match shares {
        [] => "none".to_owned(),
        _ => shares
            .iter()
            .map(|ShareRecord { tag, read_only }| format!("{tag}{}", if *read_only { " (ro)" } else { "" }))
            .collect::<Vec<_>>()
            .join(", "),
    };
    Err(Error::WrongShare {
        problem: format!(
            "the shares given are {}, but the snapshot was taken with {}; give the same tags with --share, in the same order",
            list(given),
            list(baked)
        ),
    })
}

/// Makes sure of every byte that is to be mapped, unless that was done since the file last changed.
fn verify_pages(snapshot: &Snapshot<HostFile>, path: &Path, ledger: &Ledger, verify: Verify) -> Result<()> {
    let (file, content) = (snapshot.source().file(), snapshot.header().content_digest);
    if verify == Verify::IfChanged && ledger.recall(file) == Some(content) {
        return Ok(());
    }
    let before = Stamp::of(file);
    snapshot.verify_all().map_err(|source| Error::Snapshot { path: path.into(), source })?;
    ledger.remember(file, before, content);
    Ok(())
}
