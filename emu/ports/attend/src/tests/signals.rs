//! Signals: the program's, or the end.

use super::guest::{Guest, Init, Phase};
use super::*;

#[test]
fn a_signal_is_the_programs_in_every_stage_that_has_one() {
    for busy in [false, true] {
        for (begin, guest) in [(Begin::Barrier, Guest::at_barrier()), (Begin::Running, Guest::running())] {
            for (number, line) in [(15, "stop"), (2, "signal 2"), (10, "signal 10"), (12, "signal 12"), (40, "signal 40")] {
                let mut host = Host::new(piped(), begin, Guest { busy, ..guest.clone() });
                host.attendant.handle(Event::Signal(number));
                assert_eq!(host.finish(), Ok(Ending::Exited(128 + number as u8)), "{begin:?} {number}, busy: {busy}");
                assert_eq!(host.guest.messages.last().map(String::as_str), Some(line));
            }
        }
    }
}

#[test]
fn signals_wait_in_order_for_a_program_that_starts() {
    let mut host = Host::new(piped(), Begin::Barrier, Guest { handles_signals: true, ..Guest::at_barrier() });
    for number in [10, 15, 10, 12] {
        host.attendant.handle(Event::Signal(number));
    }
    host.until(|guest| guest.messages.len() == 4);
    assert_eq!(host.guest.messages[1..], ["signal 10", "stop", "signal 12"]);
}

#[test]
fn the_second_that_asks_to_end_ends_the_run_and_others_never_do() {
    for (begin, guest) in [(Begin::Barrier, Guest::at_barrier()), (Begin::Running, Guest::running())] {
        let mut host = Host::new(piped(), begin, Guest { handles_signals: true, ..guest }.busy());
        for _ in 0..3 {
            host.attendant.handle(Event::Signal(10));
            assert_eq!(host.step(), None);
        }
        host.attendant.handle(Event::Signal(2));
        assert_eq!(host.step(), None);
        host.attendant.handle(Event::Signal(15));
        assert_eq!(host.finish(), Ok(Ending::Signalled(15)), "{begin:?}");
    }
}

#[test]
fn a_guest_that_has_no_program_yet_or_no_init_is_ended() {
    for (begin, guest) in [
        (Begin::PowerOn, Guest::new(Init::Prebake, Phase::Boots(u32::MAX)).busy()),
        (Begin::Running, Guest::new(Init::Foreign, Phase::Runs).busy()),
    ] {
        let mut host = Host::new(piped(), begin, guest);
        assert_eq!(host.step(), None);
        host.attendant.handle(Event::Signal(15));
        assert_eq!(host.finish(), Ok(Ending::Signalled(15)));
    }
}

#[test]
fn a_busy_guest_gets_its_signal_with_the_next_slice() {
    let mut host = Host::new(piped(), Begin::Running, Guest { handles_signals: true, ..Guest::running() }.busy());
    host.until(|guest| guest.runs == 10);
    host.attendant.handle(Event::Signal(15));
    host.until(|guest| guest.messages.iter().any(|line| line == "stop"));
    assert_eq!(host.guest.runs, 11);
}

/// A message makes a halted guest run: it must not be left waiting for its timer.
#[test]
fn a_halted_guest_gets_its_signal_at_once() {
    let mut host = Host::new(piped(), Begin::Running, Guest { ticks: true, ..Guest::running() });
    host.until(|guest| guest.runs == 10);
    let now = host.guest.now;
    host.attendant.handle(Event::Signal(15));
    assert_eq!(host.finish(), Ok(Ending::Exited(143)));
    assert!(host.guest.now - now < 1_000_000_000, "it waited for a timer");
}
