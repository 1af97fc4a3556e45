//! From power-on, the barrier or a restore to a program that takes input.

use super::guest::{Deed, Guest, Init, Phase};
use super::*;
use devices::console::Port;

/// How a machine can stand at first, with the message that init must get.
fn beginnings() -> [(Begin, Guest, &'static str); 4] {
    [
        (Begin::PowerOn, Guest::booting(), "start streams time=1800000000000000000"),
        (Begin::Barrier, Guest::at_barrier(), "start streams time=1800000000000000000"),
        (Begin::Running, Guest::running(), "resume time=1800000000000000000"),
        (Begin::Exited, Guest::new(Init::Prebake, Phase::Exited), "start streams time=1800000000000000000"),
    ]
}

#[test]
fn every_beginning_comes_to_a_program_that_reads_and_exits() {
    for busy in [false, true] {
        for (begin, guest, message) in beginnings() {
            let mut host = Host::new(piped(), begin, Guest { busy, ..guest });
            host.attendant.handle(Event::Input(b"hello\nexit\n"));
            assert_eq!(host.finish(), Ok(Ending::Exited(7)), "{begin:?}, busy: {busy}");
            assert_eq!(host.guest.messages, [message], "{begin:?}, busy: {busy}");
            assert_eq!(host.guest.read, b"hello\nexit\n", "{begin:?}, busy: {busy}");
        }
    }
}

#[test]
fn a_person_reaches_every_beginning_too() {
    for busy in [false, true] {
        for (begin, guest, _) in beginnings() {
            let mut host = Host::new(typed(), begin, Guest { busy, ..guest });
            host.attendant.handle(Event::Input(b"ls\x03"));
            host.until(|guest| guest.read == b"ls\x03");
            assert!(host.guest.count < 10 * SLICE, "it was kept waiting: {:?}", host.guest);
            host.attendant.handle(Event::Input(b"exit\n"));
            assert_eq!(host.finish(), Ok(Ending::Exited(7)), "{begin:?}, busy: {busy}");
        }
    }
}

#[test]
fn the_barrier_is_answered_once_and_never_shown() {
    let mut host = Host::new(piped(), Begin::PowerOn, Guest::booting());
    host.attendant.handle(Event::EndOfInput);
    assert_eq!(host.finish(), Ok(Ending::Exited(7)));
    assert_eq!(host.shown, b"booted\n");
    let answers = host.done.iter().filter(|action| matches!(action, Action::Push { port: Port::Tty, .. }));
    assert_eq!(answers.count(), 1);
}

/// Ten `=` that more follow are not the barrier, however the guest is stopped in between.
#[test]
fn a_row_that_goes_on_is_not_the_barrier() {
    let mut host = Host::new(piped(), Begin::PowerOn, Guest::new(Init::Prebake, Phase::Boots(u32::MAX)).busy());
    for _ in 0..5 {
        host.guest.written.push((Port::Tty, b"==========".to_vec()));
        assert_eq!(host.step(), None);
        assert!(host.done.is_empty(), "{:?}", host.done);
    }
    // Whatever else, it is the barrier once nothing follows.
    host.guest.written.push((Port::Tty, b"\n==========".to_vec()));
    (0..3).for_each(|_| assert_eq!(host.step(), None));
    assert!(!host.done.is_empty());
}

#[test]
fn no_input_reaches_a_guest_before_its_program_has_started() {
    for settings in [piped(), typed()] {
        for busy in [false, true] {
            let mut host = Host::new(settings.clone(), Begin::PowerOn, Guest { busy, ..Guest::booting() });
            host.attendant.handle(Event::Input(b"early\n"));
            // The scripted guest refuses anything but the answer at the barrier.
            host.until(|guest| guest.read == b"early\n");
        }
    }
}

#[test]
fn an_init_that_does_not_acknowledge_is_attached_all_the_same() {
    for busy in [false, true] {
        let mut host = Host::new(piped(), Begin::Barrier, Guest { busy, ..Guest::new(Init::Silent, Phase::AtBarrier) });
        host.attendant.handle(Event::Input(b"exit\n"));
        assert_eq!(host.finish(), Ok(Ending::Exited(7)), "busy: {busy}");
        // One that never halts has to be given time.
        assert_eq!(host.guest.count > 200_000_000, busy);
    }
}

#[test]
fn a_guest_with_a_barrier_and_no_control_port_is_sent_no_message() {
    for begin in [Begin::PowerOn, Begin::Barrier] {
        let phase = if begin == Begin::PowerOn { Phase::Boots(2) } else { Phase::AtBarrier };
        let guest = Guest::new(Init::BarrierOnly, phase).does(3, Deed::HaltForGood);
        let mut host = Host::new(typed(), begin, guest);
        host.attendant.handle(Event::Input(b"ls\n"));
        assert_eq!(host.finish(), Ok(Ending::Exited(0)), "{begin:?}");
        assert_eq!((host.guest.read.as_slice(), host.guest.messages.len()), (b"ls\n".as_slice(), 0));
    }
}

#[test]
fn a_guest_with_no_control_port_is_given_nothing_while_its_container_starts() {
    let settings = settings(Clock::Host, Mode::Tty, Source::Pipe);
    // Its processes wait for each other, briefly: until it waits for longer, or has done so for long.
    for (ahead, pause, given) in [(1_000_000, 0, false), (100_000_000, 0, true), (1_000_000, 1_100_000_000, true)] {
        let mut host = Host::new(settings.clone(), Begin::Barrier, Guest::new(Init::BarrierOnly, Phase::AtBarrier));
        host.attendant.handle(Event::EndOfInput);
        host.until(|guest| guest.phase == Phase::Runs);
        host.guest.now += pause;
        let status = host.guest.status();
        host.attendant.handle(Event::Stopped { stop: Stop::Halted { deadline: Some(status.now + ahead) }, status });
        let action = host.attendant.next(&mut host.output);
        assert_eq!(matches!(action, Action::Push { port: Port::Tty, .. }), given, "{ahead}, {pause}: {action:?}");
    }
}

#[test]
fn a_foreign_guest_is_attached_when_it_listens() {
    for busy in [false, true] {
        let mut host = Host::new(typed(), Begin::PowerOn, Guest { busy, ..Guest::new(Init::Foreign, Phase::Boots(2)) });
        host.attendant.handle(Event::Input(b"ls\n"));
        host.until(|guest| guest.read == b"ls\n");
    }
}

#[test]
fn the_virtual_clock_tells_the_guest_no_time() {
    let settings = Settings { term: Some("vt220".into()), ..settings(Clock::Virtual, Mode::Tty, Source::Pipe) };
    let mut host = Host::new(settings, Begin::Barrier, Guest::at_barrier());
    host.attendant.handle(Event::Input(b"exit\n"));
    assert_eq!(host.finish(), Ok(Ending::Exited(7)));
    assert_eq!(host.guest.messages, ["start tty term=vt220"]);
}

#[test]
fn what_the_terminal_showed_last_is_shown_again_before_anything_else() {
    let mut host = Host::new(typed(), Begin::Running, Guest::running());
    host.output.terminal().push(b"hello\n/ # ");
    host.until_waiting();
    assert_eq!(host.shown, b"/ # ");
    let show = Action::Show { stream: Stream::Stdout, bytes: b"/ # ".to_vec() };
    assert!(host.done.iter().position(|action| *action == show).is_some_and(|place| place < 2), "{:?}", host.done);
}

#[test]
fn a_window_is_told_before_the_program_starts_and_when_it_changes() {
    let window = |cols| WindowSize { cols, rows: 24 };
    let mut host = Host::new(Settings { window: Some(window(80)), ..typed() }, Begin::Barrier, Guest::at_barrier());
    host.until_waiting();
    host.attendant.handle(Event::Resize(window(100)));
    host.until_waiting();
    let resizes: Vec<_> = host.done.iter().filter(|action| matches!(action, Action::Resize(_))).cloned().collect();
    assert_eq!(resizes, [Action::Resize(window(80)), Action::Resize(window(100))]);
    // Three streams have no size.
    let mut host = Host::new(Settings { window: Some(window(80)), ..piped() }, Begin::Barrier, Guest::at_barrier());
    host.attendant.handle(Event::Resize(window(100)));
    host.until_waiting();
    assert!(!host.done.iter().any(|action| matches!(action, Action::Resize(_))));
}

#[test]
fn a_guest_that_does_not_acknowledge_its_new_key_gets_no_input() {
    for busy in [false, true] {
        let guest = Guest { busy, ticks: true, ..Guest::new(Init::Deaf, Phase::Runs) };
        let mut host = Host::new(piped(), Begin::Running, guest);
        host.attendant.handle(Event::Input(b"secret\n"));
        assert_eq!(host.finish(), Err(Failure::NotReseeded), "busy: {busy}");
        assert_eq!(host.guest.read, b"");
    }
}

/// A host that was stopped for a while has not given its guest a chance.
#[test]
fn time_alone_does_not_fail_a_guest_that_was_not_run() {
    let mut host = Host::new(piped(), Begin::Running, Guest::running().busy());
    let Action::Push { port: Port::Control, .. } = host.attendant.next(&mut host.output) else { panic!() };
    host.guest.now += 60_000_000_000;
    host.attendant.handle(Event::Stopped { stop: Stop::Due, status: host.guest.status() });
    assert!(matches!(host.attendant.next(&mut host.output), Action::Run { .. }));
}

#[test]
fn ends_that_are_not_the_programs_are_told_apart() {
    let end = |guest: Guest| Host::new(piped(), Begin::Running, guest).finish();
    let ended = |how| Err(Failure::GuestEnded { how, output: String::new() });
    assert_eq!(end(Guest::running().does(2, Deed::Exit(3))), Ok(Ending::Exited(3)));
    assert_eq!(end(Guest::running().does(2, Deed::PowerOff(0x1_05))), Ok(Ending::Exited(5)));
    assert_eq!(end(Guest::running().does(2, Deed::HaltForGood)), ended("the guest has halted for good"));
    assert_eq!(end(Guest::running().does(2, Deed::Reset)), ended("the guest has reset the machine"));
    assert_eq!(end(Guest::new(Init::Foreign, Phase::Runs).does(2, Deed::HaltForGood)), Ok(Ending::Exited(0)));
    let failed = Err(Failure::GuestFailed { reason: "no such user".into() });
    assert_eq!(end(Guest::at_barrier_of_its_own().does(0, Deed::Fail("no such user"))), failed);
}

impl Guest {
    /// One that runs without having been told to.
    fn at_barrier_of_its_own() -> Self {
        Self { busy: true, ..Self::running() }
    }
}

#[test]
fn a_limit_is_reached_exactly() {
    let settings = Settings { limit: Some(SLICE * 5 / 2), ..piped() };
    let mut host = Host::new(settings, Begin::Running, Guest { count: 777, ..Guest::running().busy() });
    assert_eq!(host.finish(), Err(Failure::Limit { limit: SLICE * 5 / 2 }));
    assert_eq!(host.guest.count, 777 + SLICE * 5 / 2);
}

#[test]
fn a_guest_that_waits_for_nothing_is_stuck() {
    for clock in [Clock::Host, Clock::Virtual] {
        let guest = Guest { reads: false, ..Guest::running() };
        let mut host = Host::new(settings(clock, Mode::Streams, Source::Pipe), Begin::Running, guest);
        host.attendant.handle(Event::EndOfInput);
        assert_eq!(host.finish(), Err(Failure::Stuck), "{clock:?}");
    }
}

#[test]
fn a_guest_that_a_network_may_wake_waits() {
    let guest = Guest { reads: false, ..Guest::running() };
    let mut host = Host::new(settings(Clock::Host, Mode::Streams, Source::Pipe), Begin::Running, guest);
    host.attendant.set_can_be_woken(true);
    host.attendant.handle(Event::EndOfInput);
    host.until_waiting();
    host.attendant.set_can_be_woken(false);
    assert_eq!(host.finish(), Err(Failure::Stuck));
}

#[test]
fn the_end_stays_the_end() {
    let mut host = Host::new(piped(), Begin::Running, Guest::running().does(0, Deed::Exit(3)));
    let end = host.finish();
    host.attendant.handle(Event::Leave);
    host.attendant.handle(Event::Signal(15));
    host.attendant.handle(Event::Save);
    assert_eq!(host.finish(), end);
}
