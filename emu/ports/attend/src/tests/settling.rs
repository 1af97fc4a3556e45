//! A guest that boots until it has settled.

use super::guest::{Deed, Guest, Init, Phase};
use super::*;
use devices::console::Port;
use emu::machine::Thresholds;

const WITHIN: u64 = 600_000_000_000;

type Pushed = Vec<(Port, Vec<u8>)>;

/// Settles a guest. The end, and what was pushed.
fn settle(point: Point, mut guest: Guest, limit: Option<u64>, mut ask: bool) -> (Result<Settled, Failure>, Pushed, Guest) {
    let mut output = Output::new(Routes::nothing(), true, Transcript::default());
    let mut settler = Settler::new((point, Thresholds::default(), WITHIN), (SLICE, limit), (guest.status(), Work::default()));
    let mut pushed = Vec::new();
    for step in 0..20_000 {
        match settler.next(&mut output) {
            Action::Run { until } => {
                let (stop, mut written) = guest.run(until);
                if step >= 30 && std::mem::take(&mut ask) {
                    written.push((Port::Tty, b"/ # \x1b[6n".to_vec()));
                }
                for (port, bytes) in written {
                    assert_eq!(output.console(port, &bytes), None);
                }
                let work = Work { retired: guest.count, device_work: 0 };
                settler.stopped(stop, guest.status(), work);
            }
            Action::SkipTo(tick) => guest.now = tick,
            Action::Push { port, bytes } => {
                guest.push(port, &bytes);
                pushed.push((port, bytes));
            }
            Action::End(end) => {
                assert_eq!(settler.next(&mut output), Action::End(end.clone()));
                return (end, pushed, guest);
            }
            action => panic!("{action:?}"),
        }
    }
    panic!("{guest:?}")
}

#[test]
fn a_guest_settles_at_the_barrier_without_an_answer() {
    for ticks in [false, true] {
        let (end, pushed, guest) = settle(Point::Barrier, Guest { ticks, ..Guest::booting() }, None, false);
        let settled = end.unwrap();
        assert!(settled.control && settled.verdict.timer == ticks);
        assert_eq!((pushed, guest.phase), (Vec::new(), Phase::AtBarrier));
        assert_eq!(guest.now >= Thresholds::default().quiet, ticks);
    }
}

#[test]
fn a_guest_settles_at_its_prompt_on_the_terminal() {
    let (end, pushed, guest) = settle(Point::Idle, Guest { ticks: true, ..Guest::booting() }, None, true);
    assert!(end.unwrap().control);
    assert_eq!((guest.phase, guest.messages), (Phase::Runs, vec!["start tty".to_owned()]));
    let answers = [(Port::Control, b"start tty\n".to_vec()), (Port::Tty, b"=\n".to_vec()), (Port::Tty, b"\x1b[24;5R".to_vec())];
    assert_eq!(pushed, answers);
    assert_eq!(guest.read, b"\x1b[24;5R");
}

#[test]
fn a_guest_without_a_barrier_settles_idle_only() {
    let guest = Guest::new(Init::Foreign, Phase::Boots(2));
    let (end, ..) = settle(Point::Barrier, guest.clone(), None, false);
    assert!(matches!(end, Err(Failure::NoBarrier { .. })), "{end:?}");
    let (end, ..) = settle(Point::Idle, guest, None, false);
    assert!(end.is_ok_and(|settled| !settled.control));
}

#[test]
fn a_guest_that_never_settles_is_named() {
    let busy = Guest { now: WITHIN - 10 * SLICE, ..Guest::booting().busy() };
    let (end, ..) = settle(Point::Barrier, busy, None, false);
    assert!(matches!(end, Err(Failure::NeverSettled { within: WITHIN, .. })), "{end:?}");
    let (end, ..) = settle(Point::Barrier, Guest::booting().busy(), Some(5 * SLICE), false);
    assert_eq!(end, Err(Failure::Limit { limit: 5 * SLICE }));
}

#[test]
fn a_guest_that_ends_or_fails_is_named() {
    let end = |deed| settle(Point::Idle, Guest { ticks: true, ..Guest::booting().does(0, deed) }, None, false).0.unwrap_err();
    assert_eq!(end(Deed::Fail("no seed")), Failure::GuestFailed { reason: "no seed".into() });
    let ended = |how| Failure::GuestEnded { how, output: "booted".into() };
    assert_eq!(end(Deed::PowerOff(0)), ended("the guest has ended"));
    assert_eq!(end(Deed::HaltForGood), ended("the guest has ended"));
    assert_eq!(end(Deed::Reset), ended("the guest has reset the machine"));
}
