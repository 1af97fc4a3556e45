//! What is in a snapshot.

use crate::cli::InspectArgs;
use crate::error::{Error, Result};
use crate::file::HostFile;
use crate::progress::{grouped, mebibytes};
use crate::vm::record::{BakeState, DiskKind, Point};
use serde_json::{Value, json};
use snapshot::{FORMAT_VERSION, PAGE_SIZE, Run, SectionEntry, Snapshot, Space};
use std::fmt::Write as _;

/// Describes the snapshot, as text or as JSON.
pub fn inspect(args: &InspectArgs) -> Result<String> {
    let error = |source| Error::Snapshot { path: args.file.clone(), source };
    let snapshot = Snapshot::open(HostFile::open("snapshot", &args.file)?).map_err(error)?;
    if args.verify {
        snapshot.verify_all().map_err(error)?;
    }
    // A snapshot that another program made may lack it.
    let baked = snapshot.sections().take_if_present::<BakeState>(0).ok().flatten();
    Ok(if args.json { format!("{:#}\n", as_json(args, &snapshot, baked.as_ref())) } else { as_text(args, &snapshot, baked.as_ref()) })
}

fn point_name(point: Point) -> &'static str {
    match point {
        Point::Barrier => "barrier",
        Point::Idle => "idle",
    }
}

fn as_json(args: &InspectArgs, snapshot: &Snapshot<HostFile>, baked: Option<&BakeState>) -> Value {
    let header = snapshot.header();
    let machine = snapshot.machine();
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
        "model": machine.model.as_str(),
        "ram_bytes": machine.ram_size,
        "devices": machine.devices,
        "snapshot_bytes": header.file_length(),
        "pages": snapshot.spaces().map(|space| snapshot.page_count(space)).sum::<u64>(),
        "groups": header.group_count,
        "mappings": snapshot.spaces().flat_map(|space| snapshot.runs(space).map(move |run| mapping(space, run))).collect::<Vec<_>>(),
        "baked": baked.map(|baked| json!({
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
        "sections": snapshot.entries().iter().map(section).collect::<Vec<_>>(),
        "verified": args.verify,
    })
}

fn as_text(args: &InspectArgs, snapshot: &Snapshot<HostFile>, baked: Option<&BakeState>) -> String {
    let header = snapshot.header();
    let machine = snapshot.machine();
    let mut lines = vec![
        format!("snapshot   {} (format {FORMAT_VERSION}, {})", args.file.display(), mebibytes(header.file_length())),
        format!("content    {}", header.content_digest),
        format!("machine    {}, {} MiB of memory, devices {:#x}", machine.model, machine.ram_size >> 20, machine.devices),
    ];
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
    for space in snapshot.spaces() {
        let pages = snapshot.page_count(space);
        lines.push(format!(
            "pages      {} of {space} that are not zero ({}) in {} groups, {} mappings",
            grouped(pages),
            mebibytes(pages * PAGE_SIZE as u64),
            grouped(snapshot.group_count(space) as u64),
            snapshot.runs(space).count()
        ));
    }
    lines.push(format!(
        "integrity  {}",
        if args.verify { "every byte verified" } else { "all but the pages verified (--verify checks them too)" }
    ));
    lines.push("section    version  bytes".into());
    for entry in snapshot.entries() {
        let mut line = format!("  {:<8} {:>7}  {:>9}", entry.name.to_string(), entry.version, grouped(u64::from(entry.len)));
        if !entry.critical {
            let _ = write!(line, "  may be skipped");
        }
        lines.push(line);
    }
    lines.iter().fold(String::new(), |text, line| text + line + "\n")
}
