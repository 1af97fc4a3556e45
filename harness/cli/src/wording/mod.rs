//! The words for what the library tells.

mod error;

pub use error::{error, option, registry};

use attend::SavePoint;
use prebake::machine::record::Point;
use prebake::make::translated::Chosen;
use prebake::observer::{Instead, Notice, Task};
use prebake::report::{Hlt, Report, mips};
use prebake::session::Checkpoint;
use std::path::Path;
use std::time::Duration;

/// What is being done.
pub fn task(task: Task<'_>) -> String {
    match task {
        Task::Pull => "fetching".into(),
        Task::Push => "pushing".into(),
        Task::FetchImage { what } => format!("fetching {what}"),
        Task::ReadImage { what } => format!("reading {what}"),
        Task::ReadFolder => "files read".into(),
        Task::PackRoot => "packing the root file system".into(),
        Task::Pack { path } => format!("packing {}", path.display()),
        Task::UnpackSnapshot => "unpacking the snapshot".into(),
        Task::Compile { baseline, elapsed } => format!("compiling for {baseline}, {} s so far", elapsed.as_secs()),
        Task::Boot { guest_time } => format!("booting, {:.1} s of guest time, instructions", guest_time.as_secs_f64()),
    }
}

/// A notice, in lines.
pub fn notice(notice: &Notice<'_>) -> Vec<String> {
    vec![match *notice {
        Notice::Compiling { baseline } => {
            format!("compiling the machine's code for {baseline}; this takes a minute or two and is done once")
        }
        Notice::Interpreted { path } => {
            let (wasm, aot) = (path.display(), path.with_extension("aot"));
            format!(
                "{wasm} is not compiled, so it is interpreted, some 60 times slower; compile it: prebake aot {wasm} -o {}",
                aot.display()
            )
        }
        Notice::ImageRead { name, files, bytes } => format!("read {name}: {} files, {}", grouped(files), mebibytes(bytes)),
        Notice::TakenForReference { name, reference, exists: true } => {
            format!("using {name} as the reference {reference}; to use the file or folder, write ./{name}")
        }
        Notice::TakenForReference { name, reference, exists: false } => {
            format!("no file {name} here, so using it as the reference {reference}")
        }
        Notice::AttributesLeftOut { count } => {
            format!("left out {} extended attributes that the root file system cannot hold", grouped(count))
        }
        Notice::Training { lesson } => format!("training with {}", lesson.escape_debug()),
        Notice::Booting { path, memory } => format!("booting {} with {memory} MiB of memory", path.display()),
        Notice::Settled { point, instructions, elapsed, guest_time, ref verdict, waited } => {
            return vec![
                format!(
                    "booted to {}: {} instructions in {:.3} s ({:.0} MIPS), {:.3} s of guest time",
                    if point == Point::Barrier { "the barrier" } else { "the prompt" },
                    grouped(instructions),
                    elapsed.as_secs_f64(),
                    mips(instructions, elapsed),
                    guest_time.as_secs_f64(),
                ),
                format!("settled: {verdict}"),
                format!("waiting for that took {:.1} ms", millis(waited)),
            ];
        }
        Notice::Fetched { bytes } => format!("fetched {}", mebibytes(bytes)),
        Notice::Packed { path, bytes, stored } => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            format!("packed {name}: {} of {}", mebibytes(bytes), mebibytes(stored))
        }
        Notice::RegistryDown { error } => format!("warning: {}; using what was pulled before", registry(error)),
        Notice::Retrying { error, after } => format!("{error}; trying again in {} s", after.as_secs()),
        Notice::CredentialsUnread { registry, problem } => {
            format!("note: the credentials for {registry} cannot be read: {problem}; asking without them")
        }
        Notice::WaitingForMachine => "waiting for a part of the machine that has not come from the registry yet".into(),
        Notice::NotAllFetched { error: problem } => {
            format!("warning: the image is not complete in the store, and the next run goes on fetching it: {}", error(problem))
        }
        Notice::WaitingForPrune => "waiting for another prebake, which is removing files from the store".into(),
        Notice::WaitingForUsers => "waiting for other prebakes, which are using the store".into(),
        Notice::WaitingForOther => "waiting for another prebake, which is fetching the same".into(),
        Notice::OrdinaryImage { reference } => format!("{reference} is an ordinary image; converting it to a machine"),
        Notice::FirstBoot => "the image has no snapshot, so the machine boots once; the result is saved for later runs".into(),
        Notice::FirstBootSaved { elapsed } => format!("booted in {:.2} s, saved", elapsed.as_secs_f64()),
        Notice::NewerImage { reference, session } => {
            format!("{reference} has been updated since session {session} began; the session is kept: prebake run --session {session}")
        }
        Notice::SessionInUse { session } => {
            format!("session {session} is in use by another prebake, so this run starts afresh and will not be saved")
        }
        Notice::SessionSaved(checkpoint) => saved(checkpoint),
        Notice::SessionNotSaved(problem) => error(problem),
        Notice::ExitNotSaved => "the guest ended without waiting to be saved; the session stays as it was last saved".into(),
        Notice::LeavingLoses => "leaving now loses everything since the session was last saved; leave again to confirm".into(),
        Notice::NoCache { folder } => {
            format!("note: {}, so compiled code and verified files are not remembered; set PREBAKE_CACHE", unwritable("cache", folder))
        }
        Notice::NoStore { folder } => {
            format!("note: {}, so nothing is kept of this run; set PREBAKE_HOME", unwritable("store", folder))
        }
        Notice::NoPolicy { error } => format!("note: {error}; nothing counts as trusted"),
        Notice::OtherProcessor { path, cpu, instead } => {
            format!("the native code in {} needs {cpu}, which this processor is not; {}", path.display(), self::instead(instead))
        }
        Notice::NotTrusted { path, instead } => format!(
            "the native code in {} was not compiled here and is not trusted, so it does not run; {}; to trust it, see prebake trust --help",
            path.display(),
            self::instead(instead)
        ),
        Notice::DiskFull => "the guest's writes to a disk failed: no room is left for changed blocks".into(),
        Notice::Published { address, guest, protocol } => format!("port {guest}/{protocol} of the guest is published on {address}"),
        Notice::BakedWithNetwork => "the guest has a network, so the same bake will not give the same snapshot again".into(),
        Notice::WaitingForDebugger { address } => {
            format!("waiting for a debugger: gdb -ex 'target remote {address}'")
        }
    }]
}

/// What runs a machine whose own code does not.
fn instead(instead: Instead) -> &'static str {
    match instead {
        Instead::ShippedCode => "using the code of the machine that prebake is shipped with instead",
        Instead::NativeEngine => "using the native engine instead",
        Instead::NoShippedCode => {
            "using the native engine instead, since the machine that prebake is shipped with is not compiled here (prebake aot --ship)"
        }
    }
}

/// Why something cannot be kept.
fn unwritable(what: &str, folder: Option<&Path>) -> String {
    match folder {
        Some(folder) => format!("the {what} {} cannot be written, or others can write it", folder.display()),
        None => format!("there is no {what}"),
    }
}

/// A session that was saved.
pub fn saved(checkpoint: &Checkpoint) -> String {
    let Checkpoint { session, pages, bytes, took, at } = checkpoint;
    let next = match at {
        SavePoint::Running => "resumes it",
        SavePoint::Exited => "has its files and starts its program anew",
    };
    let (pages, size, time) = (grouped(*pages), mebibytes(*bytes), millis(*took));
    format!("saved session {session}: {pages} pages, {size}, in {time:.0} ms; the next run {next}")
}

/// The figures that people want to see.
pub fn stats(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if let (Some(restore), Some(mappings)) = (report.restore_ms, report.snapshot_mappings) {
        lines.push(format!("restored in {restore:.1} ms ({mappings} mappings)"));
    }
    if let Some(first) = report.first_output_ms {
        lines.push(format!("first output after {first:.1} ms"));
    }
    let (instructions, seconds, mips) = (grouped(report.guest_instructions), report.wall_seconds, report.mips);
    lines.push(format!("{instructions} instructions at {mips:.0} MIPS, {seconds:.3} s in all"));
    let Hlt { count, asleep_seconds, .. } = report.hlt;
    lines.push(format!("halted {} times, {asleep_seconds:.3} s of guest time asleep", grouped(count)));
    if let Some(pages) = report.pages_loaded {
        lines.push(format!("{} pages of memory in use", grouped(pages)));
    }
    if !report.unimplemented_instructions.is_empty() {
        let gaps: Vec<_> = report.unimplemented_instructions.iter().map(|(name, count)| format!("{name} ({count})")).collect();
        lines.push(format!("instructions that are not implemented: {}", gaps.join(", ")));
    }
    lines
}

/// How much of what ran is translated code.
pub fn coverage(chosen: &Chosen) -> String {
    let (share, exits) = (100.0 * chosen.coverage(), chosen.exits_per_thousand());
    format!("covers {share:.1} % of the instructions that ran; {exits:.1} exits to the interpreter per 1,000 of those")
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.char_indices() {
        if i != 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Bytes as MiB.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
