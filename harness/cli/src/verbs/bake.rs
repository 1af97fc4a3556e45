//! `prebake bake`: a cold start under the virtual clock, and a snapshot of it.

use super::publish::Publication;
use super::{finish, on_thread_for_wamr};
use crate::args::{BakeArgs, PointArg};
use prebake::error::{Error, Result};
use prebake::host::backend::disk::Verify;
use prebake::host::file::HostFile;
use prebake::host::file::atomic::AtomicFile;
use prebake::host::file::ledger::{Ledger, Stamp};
use prebake::machine::ClockSource;
use prebake::machine::Devices;
use prebake::machine::Engine;
use prebake::machine::boot::{self, Made};
use prebake::machine::file::MachineFile;
use prebake::machine::parts::{Parts, Randomness, seed};
use prebake::machine::program::Program;
use prebake::machine::record::{BakeState, Point};
use prebake::make::code::is_machine;
use prebake::make::convert::{Conversion, convert};
use prebake::make::settle::{Settled, save, settle};
use prebake::progress::{Progress, grouped, mebibytes, mips};
use prebake::report::{Boot, Report};
use prebake::run::drive::Drive;
use prebake::run::outlet::Outlet;
use prebake::run::tail::Tail;
use prebake::terminal::signals::Signals;
use snapshot::{Snapshot, Written};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs the verb.
pub fn run(args: &BakeArgs) -> ExitCode {
    if args.in_module() { on_thread_for_wamr(|| attempt(args)) } else { attempt(args) }
}

fn attempt(args: &BakeArgs) -> ExitCode {
    let mut report = Report::of("bake");
    let result = bake(args, &mut report);
    finish("bake", &args.report, report, result.map(|()| 0))
}

fn bake(args: &BakeArgs, report: &mut Report) -> Result<()> {
    let mut signals = Signals::catch()?;
    let mut progress = Progress::new("bake");
    let ledger = Ledger::of_user();
    let publication = match (&args.push, &args.source) {
        (Some(reference), Some(source)) => Some(Publication::begin(args, reference, source)?),
        _ => None,
    };
    // Without one of the two there is the other.
    let output = args.output.clone().or_else(|| publication.as_ref().map(Publication::snapshot)).unwrap_or_default();
    // Begun first, so that a place that cannot be written is told before the work.
    let mut file = AtomicFile::create(&output)?;
    let (devices, program) = (Devices::from(&args.cold.devices), Program::from(&args.program));
    let mut parts = Parts::open(&devices, &ledger, Verify::IfChanged)?.for_program(&program)?;
    let outlet = Outlet::silent(true, Tail::default());
    let point = match args.at {
        PointArg::Barrier => Point::Barrier,
        PointArg::Idle => Point::Idle,
    };
    // A guest that goes on past the barrier wants a seed. One that stops there gets its seed when it is restored.
    let seed = if point == Point::Idle { Some(seed(Randomness::Published)?) } else { None };
    let made = Made {
        outlet: &outlet,
        clock: ClockSource::Virtual,
        randomness: Randomness::Published,
        seed,
        shares: &devices.shares,
        program: &program,
        aid: None,
    };
    let source = args.source.as_deref().map(|source| machine_file(source, &output)).transpose()?;
    let (machine, name, memory) = make(args, source.as_deref(), &mut parts, &made, report)?;
    let mut drive = Drive::new(machine, args.report.limit_instructions);

    progress.say(format_args!("booting {} with {memory} MiB of memory", name.display()));
    let settled = settle(
        &mut drive,
        &outlet,
        || signals.take_ending(),
        point,
        args.settle.into(),
        |moment| {
            progress
                .update(|| format!("{} M instructions, {:.1} s of guest time", moment.instructions / 1_000_000, moment.now as f64 / 1e9));
        },
    );
    report.take(&mut drive);
    let Settled { booted, judged, verdict, control } = settled?;
    report.boot = Some(Boot::new(booted.instructions, booted.elapsed, booted.now));
    report.settled = Some(verdict.into());
    progress.say(format_args!(
        "booted to {}: {} instructions in {:.3} s ({:.0} MIPS), {:.3} s of guest time",
        if point == Point::Barrier { "the barrier" } else { "the prompt" },
        grouped(booted.instructions),
        booted.elapsed.as_secs_f64(),
        mips(booted.instructions, booted.elapsed),
        booted.now as f64 / 1e9,
    ));
    progress.say(format_args!("settled: {verdict}"));
    let waited = judged.elapsed.saturating_sub(booted.elapsed);
    progress.say(format_args!("waiting for that took {:.1} ms", waited.as_secs_f64() * 1e3));

    let state = BakeState { point, control, disks: parts.disk_records, shares: parts.share_records };
    let written = save(&mut drive, &outlet, &state, &mut file, &output)?;
    let file = file.commit()?;
    report.snapshot_bytes = Some(written.file_length);
    report.snapshot_mappings = Some(written.runs);
    read_back(&output, &file, &written, &ledger)?;
    progress.say(format_args!(
        "saved {}: {}, {} pages in {} mappings, {}",
        output.display(),
        mebibytes(written.file_length),
        grouped(written.pages),
        written.runs,
        written.content_digest
    ));
    if point == Point::Idle {
        progress.say(if control {
            "note: what the guest's programs drew from the random generator up to here is known to everyone who has this snapshot"
        } else {
            "warning: this guest has no init of prebake's, so nothing rekeys its random generator after a restore: all copies share it"
        });
    }
    match (publication, source) {
        (Some(publication), Some(machine)) => {
            signals.release();
            publication.send(&machine, &output, &mut progress)
        }
        _ => Ok(()),
    }
}

/// The machine's file that `source` names, or that is made of the image of that name, beside the snapshot at `output`.
fn machine_file(source: &str, output: &Path) -> Result<PathBuf> {
    if is_machine(Path::new(source)) {
        return Ok(source.into());
    }
    let path = output.with_extension("wasm");
    convert(&Conversion::of_image(source, &path))?;
    Ok(path)
}

/// The machine that is to be baked, what it was made of, and its memory in MiB.
fn make<'a>(
    args: &'a BakeArgs,
    source: Option<&'a Path>,
    parts: &mut Parts,
    made: &Made<'_>,
    report: &mut Report,
) -> Result<(Box<dyn Engine>, &'a Path, u64)> {
    match (source, &args.kernel) {
        (Some(path), _) => {
            let machine = MachineFile::open(path)?;
            let in_module = args.in_module() && machine.is_trusted()?;
            if in_module {
                report.engine = machine.engine();
            }
            Ok((boot::file(&machine, in_module, parts, made)?, path, machine.ram_size() >> 20))
        }
        (None, Some(kernel)) => {
            let config = parts.take_config(made.outlet, made.clock, made.randomness, made.seed)?;
            Ok((Box::new(boot::cold(kernel, &args.cold.cold(), config)?), kernel, args.cold.memory.into()))
        }
        (None, None) => unreachable!("the command line has one of the two"),
    }
}

/// Reads back what is on the disk, and remembers that it is good.
fn read_back(path: &Path, file: &std::fs::File, written: &Written, ledger: &Ledger) -> Result<()> {
    let stamp = Stamp::of(file);
    std::thread::sleep(stamp.map_or(std::time::Duration::ZERO, |stamp| stamp.wait()));
    let error = |source| Error::Snapshot { path: path.into(), source };
    let snapshot = Snapshot::open(HostFile::open("snapshot", path)?).map_err(error)?;
    snapshot.verify_all().map_err(error)?;
    ledger.remember(snapshot.source().file(), stamp, written.content_digest);
    Ok(())
}
