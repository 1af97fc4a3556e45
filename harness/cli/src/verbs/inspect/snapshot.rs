//! What is in a snapshot.

use crate::args::InspectArgs;
use crate::wording::{grouped, mebibytes};
use prebake::error::{Error, Result};
use prebake::host::file::HostFile;
use prebake::machine::record::{BakeState, DiskKind, Point};
use serde_json::{Value, json};
use snapshot::{Delta, Digest, FORMAT_VERSION, Header, PAGE_SIZE, Run, SectionEntry, Sections, Snapshot, Space};
use std::fmt::Write as _;

/// Describes the snapshot, as text or as JSON.
pub fn inspect(args: &InspectArgs) -> Result<String> {
    let error = |source| Error::Snapshot { path: args.file.clone(), source };
    let open = || HostFile::open("snapshot", &args.file);
    match Snapshot::open(open()?) {
        Err(snapshot::Error::Delta { .. }) => {
            let delta = Delta::open(open()?).map_err(error)?;
            if args.verify {
                delta.verify_all().map_err(error)?;
            }
            let held = |space| Held { space, pages: delta.page_count(space), groups: delta.group_count(space), runs: delta.runs(space) };
            let held = delta.spaces().map(held).collect();
            Ok(describe(args, &Facts::new(delta.header(), delta.entries(), delta.sections(), held)))
        }
        opened => {
            let whole = opened.map_err(error)?;
            if args.verify {
                whole.verify_all().map_err(error)?;
            }
            let held =
                |space| Held { space, pages: whole.page_count(space), groups: whole.group_count(space), runs: whole.runs(space).collect() };
            let held = whole.spaces().map(held).collect();
            Ok(describe(args, &Facts::new(whole.header(), whole.entries(), whole.sections(), held)))
        }
    }
}

/// What is said of a snapshot, whole or not.
struct Facts<'a> {
    header: &'a Header,
    entries: &'a [SectionEntry],
    baked: Option<BakeState>,
    held: Vec<Held>,
}

/// What it holds of a space.
struct Held {
    space: Space,
    pages: u64,
    groups: usize,
    runs: Vec<Run>,
}

impl<'a> Facts<'a> {
    fn new(header: &'a Header, entries: &'a [SectionEntry], mut sections: Sections<'_>, held: Vec<Held>) -> Self {
        // A snapshot that another program made may lack it.
        let baked = sections.take_if_present::<BakeState>(0).ok().flatten();
        Self { header, entries, baked, held }
    }
}

fn describe(args: &InspectArgs, facts: &Facts<'_>) -> String {
    if args.json { format!("{:#}\n", as_json(args, facts)) } else { as_text(args, facts) }
}

fn point_name(point: Point) -> &'static str {
    match point {
        Point::Barrier => "barrier",
        Point::Idle => "idle",
        Point::Exited => "exited",
    }
}

fn as_json(args: &InspectArgs, facts: &Facts<'_>) -> Value {
    let Facts { header, entries, baked, held } = facts;
    let machine = &header.machine;
    let section = |entry: &SectionEntry| {
        json!({
            "id": entry.name.id.to_string(),
            "instance": entry.name.instance,
            "version": entry.version,
            "critical": entry.critical,
            "bytes": entry.len,
            "digest": entry.digest.to_string(),
        })
    };
    let mapping = |space: Space, Run { address, file_offset, len }: Run| json!({ "space": space.to_string(), "address": address, "file_offset": file_offset, "bytes": len });
    json!({
        "file": args.file.display().to_string(),
        "format": FORMAT_VERSION,
        "content_digest": header.content_digest.to_string(),
        "base": header.base.map(|base: Digest| base.to_string()),
        "model": machine.model.as_str(),
        "ram_bytes": machine.ram_size,
        "devices": machine.devices,
        "snapshot_bytes": header.file_length(),
        "pages": held.iter().map(|held| held.pages).sum::<u64>(),
        "groups": header.group_count,
        "mappings": held.iter().flat_map(|held| held.runs.iter().map(|run| mapping(held.space, *run))).collect::<Vec<_>>(),
        "baked": baked.as_ref().map(|baked| json!({
            "at": point_name(baked.point),
            "init": baked.control,
            "disks": baked.disks.iter().map(|disk| json!({
                "kind": match disk.kind {
                    DiskKind::File => "file",
                    DiskKind::Root => "root",
                    DiskKind::Upper => "upper",
                },
                "name": disk.name,
                "bytes": disk.size,
                "digest": disk.digest().to_string(),
                "read_only": disk.read_only,
            })).collect::<Vec<_>>(),
            "shares": baked.shares.iter().map(|share| json!({ "tag": share.tag, "read_only": share.read_only })).collect::<Vec<_>>(),
        })),
        "sections": entries.iter().map(section).collect::<Vec<_>>(),
        "verified": args.verify,
    })
}

fn as_text(args: &InspectArgs, facts: &Facts<'_>) -> String {
    let Facts { header, entries, baked, held } = facts;
    let machine = &header.machine;
    let mut lines = vec![
        format!("snapshot   {} (format {FORMAT_VERSION}, {})", args.file.display(), mebibytes(header.file_length())),
        format!("content    {}", header.content_digest),
        format!("machine    {}, {} MiB of memory, devices {:#x}", machine.model, machine.ram_size >> 20, machine.devices),
    ];
    if let Some(base) = header.base {
        lines.push(format!("delta on   {base}"));
    }
    if let Some(baked) = baked {
        lines.push(format!("baked at   {}", point_name(baked.point)));
        for disk in &baked.disks {
            let (name, size, digest) = (disk.name.escape_debug(), mebibytes(disk.size), disk.digest());
            lines.push(match (disk.kind, disk.read_only) {
                (DiskKind::File, true) => format!("disk       {name} ({size}, read-only), {digest}"),
                (DiskKind::File, false) => format!("disk       {name} ({size}, with changes kept apart), {digest}"),
                (DiskKind::Root, _) => format!("disk       the machine's root ({size}, read-only), {digest}"),
                (DiskKind::Upper, _) => format!("disk       the machine's upper ({size}, in the pages below)"),
            });
        }
        for share in &baked.shares {
            lines.push(format!("share      {}{}", share.tag.escape_debug(), if share.read_only { " (read-only)" } else { "" }));
        }
    }
    for Held { space, pages, groups, runs } in held {
        lines.push(format!(
            "pages      {} of {space} that are {} ({}) in {} groups, {} mappings",
            grouped(*pages),
            if header.base.is_some() { "not the base's" } else { "not zero" },
            mebibytes(pages * PAGE_SIZE as u64),
            grouped(*groups as u64),
            runs.len()
        ));
    }
    lines.push(format!(
        "integrity  {}",
        if args.verify { "every byte verified" } else { "all but the pages verified (--verify checks them too)" }
    ));
    lines.push("section    version  bytes".into());
    for entry in *entries {
        let mut line = format!("  {:<8} {:>7}  {:>9}", entry.name.to_string(), entry.version, grouped(u64::from(entry.len)));
        if !entry.critical {
            let _ = write!(line, "  may be skipped");
        }
        lines.push(line);
    }
    lines.iter().fold(String::new(), |text, line| text + line + "\n")
}
