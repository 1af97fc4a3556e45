//! What must fit: the snapshot, and what it is given.

use super::{RunRequest, SessionPolicy};
use crate::error::{Error, Result, Setting};
use crate::machine::DebugAid;
use crate::machine::program::Program;
use crate::machine::record::{BakeState, DiskKind, DiskRecord, Point, ShareRecord};
use crate::machine::{Devices, DiskFile};
use crate::run::RestoreMode;
use protocol::FILES_TAG;
use std::path::Path;

/// Refuses what cannot be saved.
pub fn can_be_saved(request: &RunRequest) -> Result<()> {
    let settings = [
        (Setting::Disks, !request.devices.disks.is_empty()),
        (Setting::Shares, !request.devices.shares.is_empty()),
        (Setting::ReadOnTouch, request.restore == RestoreMode::Read),
    ];
    let aid = request.aid.as_ref().map(DebugAid::setting);
    let setting = settings.into_iter().find_map(|(setting, given)| given.then_some(setting)).or(aid);
    match (setting, &request.session) {
        (Some(setting), SessionPolicy::Named(name)) => Err(Error::NotInSession { name: name.clone(), setting }),
        _ => Ok(()),
    }
}

/// The devices that were asked for. Disks that the snapshot had and that were not, from beside it.
pub fn devices(given: &Devices, snapshot: &Path, baked: &BakeState) -> Devices {
    let beside = |disk: &DiskRecord| {
        // The name is the snapshot's word, so it is no way to anywhere else.
        let name = Path::new(&disk.name).file_name().unwrap_or_default();
        DiskFile { path: snapshot.with_file_name(name), read_only: disk.read_only }
    };
    let missing = baked.disks.iter().filter(|disk| disk.kind == DiskKind::File).skip(given.disks.len()).map(beside);
    Devices { disks: given.disks.iter().cloned().chain(missing).collect(), shares: given.shares.clone(), network: given.network }
}

/// The disks that a machine's file brings, if there is one.
pub fn own_disks(baked: &[DiskRecord], own: Option<&[DiskRecord]>) -> Result<()> {
    let wrong = |problem| Err(Error::WrongDisk { problem });
    let wanted: Vec<_> = baked.iter().filter(|disk| disk.kind != DiskKind::File).collect();
    let Some(own) = own else {
        return if wanted.is_empty() { Ok(()) } else { Err(Error::NeedsMachine) };
    };
    for kind in [DiskKind::Root, DiskKind::Upper] {
        let wanted = wanted.iter().copied().find(|disk| disk.kind == kind);
        let found = own.iter().find(|disk| disk.kind == kind);
        if found != wanted {
            let name = if kind == DiskKind::Root { "root" } else { "upper" };
            let (found, wanted) = (describe(found), describe(wanted));
            return wrong(format!(
                "the machine has {found} for its {name} disk, but the snapshot was taken with {wanted}; \
                 pass the machine that it was baked from, or bake this one"
            ));
        }
    }
    // Hostile: in another order, or twice.
    if baked.len() < own.len() || baked[..own.len()] != *own || wanted.len() != own.len() {
        return wrong("the snapshot lists its disks in an impossible order; bake it again".into());
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
pub fn disks(baked: &[DiskRecord], given: &[DiskRecord], before: usize) -> Result<()> {
    let wrong = |problem| Err(Error::WrongDisk { problem });
    if given.len() > baked.len() {
        return wrong(format!("{} disks were given, but the snapshot was taken with {}; omit the others", given.len(), baked.len()));
    }
    for (number, (wanted, found)) in baked.iter().zip(given).enumerate() {
        let drive = char::from(b'a' + ((before + number) as u8 & 3));
        if (wanted.size, wanted.digest) != (found.size, found.digest) {
            let problem = format!(
                "the disk vd{drive} ({}) has {} bytes and digest {}, but the snapshot was taken with {} bytes and digest {} ({})",
                found.name,
                found.size,
                found.digest(),
                wanted.size,
                wanted.digest(),
                wanted.name
            );
            return Err(Error::OtherDisk { problem });
        }
        if wanted.read_only != found.read_only {
            return Err(Error::DiskAccess { disk: format!("vd{drive} ({})", found.name), read_only: wanted.read_only });
        }
    }
    Ok(())
}

/// Refuses what the guest would not follow.
pub fn program(program: &Program, path: &Path, baked: &BakeState) -> Result<()> {
    let Some(setting) = program.given() else { return Ok(()) };
    if let Some(setting) = program.beyond_container2wasm()
        && baked.speaks_container2wasm()
    {
        return Err(Error::NoInit { path: path.into(), setting });
    }
    match baked.point {
        Point::Idle | Point::Exited => Err(Error::AlreadyStarted { path: path.into(), setting }),
        Point::Barrier if !program.volumes.is_empty() && baked.shares.iter().any(|share| share.tag == FILES_TAG) => {
            Err(Error::NoPlaceForVolumes { tag: FILES_TAG })
        }
        Point::Barrier => Ok(()),
    }
}

pub fn shares(baked: &[ShareRecord], given: &[ShareRecord]) -> Result<()> {
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
    Err(Error::OtherShares { given: list(given), wanted: list(baked) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_init_is_told_what_container2wasm_has_words_for_and_no_more() {
        let at_barrier = |control| BakeState { point: Point::Barrier, control, disks: Vec::new(), shares: Vec::new() };
        let known = Program {
            environment: vec![("A".into(), "1".into())],
            volumes: vec!["/:/a".parse().unwrap()],
            entrypoint: Some("/e".into()),
            arguments: vec!["b".into()],
            ..Program::default()
        };
        let beyond = Program { user: Some("u".into()), ..known.clone() };
        let check = |given: &Program, control| program(given, Path::new("a.snap"), &at_barrier(control)).map_err(|error| error.to_string());
        assert_eq!((check(&known, false), check(&known, true), check(&beyond, true)), (Ok(()), Ok(()), Ok(())));
        let refused = check(&beyond, false).unwrap_err();
        assert_eq!(refused, "the guest in a.snap has an init with container2wasm's protocol, in which the user has no place; omit it");
    }
}
