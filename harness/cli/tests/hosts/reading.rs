//! Memory that is read and verified when the guest first touches it.

use crate::common::{scratch, text};
use crate::host::in_turn;
use crate::log::{Call, Listener};
use crate::machine::{Host, save};
use crate::{RecordedRun, file};
use prebake::machine::Engine;
use snapshot::{GROUP_SIZE, Snapshot, Space};
use std::fs;
use std::path::{Path, PathBuf};

/// A copy of a snapshot with a bit flipped in these groups.
fn damaged(snapshot: &Path, groups: impl Fn(u64) -> bool) -> PathBuf {
    let mut bytes = fs::read(snapshot).unwrap();
    let runs: Vec<_> = Snapshot::open(bytes.as_slice()).unwrap().runs(Space::Ram).collect();
    for run in runs {
        for offset in (0..run.len).step_by(GROUP_SIZE) {
            if groups((run.address + offset) / GROUP_SIZE as u64) {
                bytes[(run.file_offset + offset) as usize + 100] ^= 1;
            }
        }
    }
    let path = scratch("damaged.snap");
    fs::write(&path, bytes).unwrap();
    path
}

/// Goes a way as far as the machine does; gives the error that stops it.
fn follow(way: &RecordedRun, engine: &mut dyn Engine, listener: &Listener) -> Option<prebake::error::Error> {
    for call in &way.log {
        if let Call::Run { count, .. } = call
            && let Err(error) = engine.run(*count)
        {
            assert!(engine.count() <= *count);
            return Some(error);
        }
        way.replay(engine, call, listener);
    }
    None
}

/// Which of 64 parts of guest RAM, of 1 MiB each, a way touches.
fn is_touched(host: Host, barrier: &Path, way: &RecordedRun, part: u64) -> bool {
    let listener = Listener::default();
    let mut engine = host.restore_by_reading(&damaged(barrier, |group| group / 16 == part), &listener);
    let error = follow(way, &mut *engine, &listener);
    if let Some(error) = &error {
        assert_eq!(error.kind(), "corrupted", "{error}");
        let message = text(error.to_string().as_bytes());
        let group: u64 = message.split("group ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert_eq!(group / 16, part, "{message}");
        // It stays where it is, and nobody saves it.
        assert_eq!(engine.run(u64::MAX).unwrap_err().kind(), "corrupted");
        assert_eq!(engine.save().unwrap_err().kind(), "corrupted");
        // What it said is what it says if all is well, as far as it came.
        let (said, wanted) = (listener.said(), &way.said);
        assert!(said.ports.iter().zip(&wanted.ports).all(|(said, wanted)| wanted.starts_with(said)));
    } else {
        way.assert_said(&listener.said());
    }
    error.is_some()
}

#[test]
fn a_flipped_bit_stops_every_host_where_the_guest_touches_it() {
    in_turn(|| {
        let barrier = file("whole.snap", &RecordedRun::boot().end);
        let way = RecordedRun::through(&barrier, &["exit 0\n"]);
        let touched: Vec<u64> = (0..64).filter(|&part| is_touched(Host::Native, &barrier, &way, part)).collect();
        assert!((2..32).contains(&touched.len()), "{touched:?}");
        let untouched = (0..64).find(|part| !touched.contains(part)).unwrap();
        for part in [touched[0], touched[1], *touched.last().unwrap()] {
            assert!(is_touched(Host::Aot, &barrier, &way, part));
        }
        assert!(!is_touched(Host::Aot, &barrier, &way, untouched));
    });
}

#[test]
fn what_was_read_and_not_written_is_not_dirty() {
    in_turn(|| {
        let barrier = file("clean.snap", &RecordedRun::boot().end);
        for host in [Host::Native, Host::Aot] {
            let mut engine = host.restore_by_reading(&barrier, &Listener::default());
            // All of it is brought in for this.
            save(&mut *engine);
            assert!(engine.memory().written.iter().all(|&written| !written), "{host:?}");
        }
    });
}
