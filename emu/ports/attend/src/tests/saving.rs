//! Saving: on request, on leaving, and when the program has ended.

use super::guest::{Deed, Guest, Init, Phase};
use super::*;

fn saved(settings: Settings) -> Settings {
    Settings { can_save: true, ..settings }
}

/// A guest whose program has had its start.
fn attached(settings: Settings, guest: Guest) -> Host {
    let mut host = Host::new(saved(settings), Begin::Running, guest);
    host.until(|guest| guest.runs > 3);
    host
}

#[test]
fn leaving_saves_a_program_that_runs() {
    for busy in [false, true] {
        for (event, ending) in [
            (Event::Leave, Ending::Left),
            (Event::Input(b"\x01x"), Ending::Left),
            (Event::Signal(15), Ending::Signalled(15)),
            (Event::Signal(1), Ending::Signalled(1)),
            (Event::HangUp, Ending::Signalled(1)),
            (Event::BrokenPipe, Ending::BrokenPipe),
            (Event::EndOfInput, Ending::Signalled(1)),
        ] {
            let mut host = attached(typed(), Guest { busy, ticks: true, ..Guest::running() });
            host.attendant.handle(event);
            assert_eq!(host.finish(), Ok(ending), "{event:?}, busy: {busy}");
            assert_eq!(host.saves(), [SavePoint::Running], "{event:?}");
        }
    }
}

#[test]
fn what_has_had_no_input_is_not_saved() {
    for (begin, guest) in [(Begin::PowerOn, Guest::booting().busy()), (Begin::Running, Guest::new(Init::Deaf, Phase::Runs))] {
        let mut host = Host::new(saved(typed()), begin, guest);
        host.attendant.handle(Event::Save);
        host.attendant.handle(Event::Leave);
        assert_eq!(host.finish(), Ok(Ending::Left));
        assert_eq!(host.saves(), []);
        assert!(host.done.contains(&Action::Decline(Decline::NothingNew)), "{begin:?}");
    }
}

#[test]
fn a_request_saves_and_the_guest_runs_on() {
    let mut host = attached(typed(), Guest { ticks: true, ..Guest::running() });
    host.attendant.handle(Event::Save);
    host.attendant.handle(Event::Input(b"ls\x01s -l\n"));
    host.until(|guest| guest.read == b"ls -l\n");
    host.attendant.handle(Event::Signal(10));
    assert_eq!(host.step(), None);
    assert_eq!(host.saves(), [SavePoint::Running; 3]);
    let requested = |action: &&Action| matches!(action, Action::Save { requested: true, .. });
    assert_eq!(host.done.iter().filter(requested).count(), 3);
}

#[test]
fn a_host_that_cannot_save_declines() {
    let mut host = Host::new(typed(), Begin::Running, Guest::running());
    host.until_waiting();
    host.attendant.handle(Event::Save);
    host.attendant.handle(Event::Leave);
    assert_eq!(host.finish(), Ok(Ending::Left));
    assert!(host.done.contains(&Action::Decline(Decline::CannotSave)));
    assert!(host.guest.messages.iter().all(|line| !line.contains("exit=wait")));
}

#[test]
fn who_cannot_be_saved_may_stay_and_leaves_by_leaving_again() {
    let mut host = attached(typed(), Guest { ticks: true, ..Guest::running() });
    host.disk_is_full = true;
    host.attendant.handle(Event::Leave);
    host.attendant.handle(Event::Input(b"still here\n"));
    host.until(|guest| guest.read == b"still here\n");
    assert!(host.done.contains(&Action::Notify(Notice::LeavingLosesWork)));
    host.attendant.handle(Event::Leave);
    assert_eq!(host.finish(), Ok(Ending::Left));

    let mut host = attached(typed(), Guest::running());
    host.disk_is_full = true;
    host.attendant.handle(Event::Signal(15));
    assert_eq!(host.finish(), Err(Failure::NotSaved));
}

#[test]
fn a_program_that_ends_is_saved_and_started_anew() {
    for busy in [false, true] {
        let mut host = Host::new(saved(typed()), Begin::Barrier, Guest { busy, ..Guest::at_barrier() });
        host.attendant.handle(Event::Input(b"exit\n"));
        assert_eq!(host.finish(), Ok(Ending::Exited(7)), "busy: {busy}");
        assert_eq!(host.saves(), [SavePoint::Exited]);

        let mut host = Host::new(saved(typed()), Begin::Exited, Guest { read: Vec::new(), ..host.guest });
        host.attendant.handle(Event::Input(b"again\nexit\n"));
        assert_eq!(host.finish(), Ok(Ending::Exited(7)), "busy: {busy}");
        assert_eq!(host.guest.read, b"again\nexit\n");
        assert_eq!(host.saves(), [SavePoint::Exited]);
    }
}

/// A program can be told before a restore that its machine will be saved, or after it.
#[test]
fn a_resumed_program_that_ends_is_saved_too() {
    let mut host = Host::new(saved(typed()), Begin::Running, Guest::running().does(5, Deed::Exit(3)));
    assert_eq!(host.finish(), Ok(Ending::Exited(3)));
    assert_eq!(host.saves(), [SavePoint::Exited]);
    assert_eq!(host.guest.messages, [format!("resume time={WALL} exit=wait")]);
}

#[test]
fn an_end_that_cannot_be_saved_is_told() {
    for guest in [
        Guest::new(Init::Silent, Phase::AtBarrier).does(2, Deed::Exit(3)),
        Guest::new(Init::Silent, Phase::AtBarrier).busy().does(2, Deed::Exit(3)),
        Guest::new(Init::Prebake, Phase::AtBarrier).does(2, Deed::PowerOff(3)),
    ] {
        let mut host = Host::new(saved(typed()), Begin::Barrier, guest);
        assert_eq!(host.finish(), Ok(Ending::Exited(3)));
        assert_eq!(host.saves(), []);
        assert!(host.done.contains(&Action::Notify(Notice::ExitNotSaved)));
    }
}

#[test]
fn who_leaves_as_the_program_ends_has_it_saved() {
    let mut host = attached(typed(), Guest::running().does(5, Deed::Exit(3)));
    host.until(|guest| guest.phase == Phase::Exited);
    host.attendant.handle(Event::Leave);
    host.attendant.handle(Event::Signal(15));
    assert_eq!(host.finish(), Ok(Ending::Exited(3)));
    assert_eq!(host.saves(), [SavePoint::Exited]);
}
