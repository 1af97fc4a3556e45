//! Input, its pace and its end.

use super::guest::{Guest, Init, Phase};
use super::*;
use devices::console::{INPUT_CAPACITY, Port};

/// What was pushed to the program.
fn pushed(host: &Host) -> Vec<Vec<u8>> {
    let push = |action: &Action| match action {
        Action::Push { port: Port::Tty | Port::Stdin, bytes } => Some(bytes.clone()),
        _ => None,
    };
    host.done.iter().filter_map(push).collect()
}

#[test]
fn a_script_is_given_line_by_line_each_when_the_guest_waits() {
    for clock in [Clock::Host, Clock::Virtual] {
        for mode in [Mode::Tty, Mode::Streams] {
            let mut host = Host::new(settings(clock, mode, Source::Pipe), Begin::Running, Guest::running());
            host.attendant.handle(Event::Input(b"one\ntwo\nexit\n"));
            assert_eq!(host.finish(), Ok(Ending::Exited(7)));
            assert_eq!(pushed(&host), [b"one\n".to_vec(), b"two\n".to_vec(), b"exit\n".to_vec()], "{clock:?} {mode:?}");
        }
    }
}

#[test]
fn streams_are_not_paced_for_long() {
    let mut host = Host::new(piped(), Begin::Running, Guest::running());
    let lines = b"0123456789abcde\n".repeat(1000);
    host.attendant.handle(Event::Input(&lines));
    host.until(|guest| guest.read.len() == lines.len());
    assert_eq!(pushed(&host).len(), 4096 / 16 + 1);
}

#[test]
fn a_person_is_not_paced_and_a_guest_that_does_not_read_is_not_flooded() {
    let mut host = Host::new(typed(), Begin::Running, Guest { reads: false, ..Guest::running() });
    host.until_waiting();
    assert!(host.attendant.wants_input());
    host.attendant.handle(Event::Input(&vec![b'x'; INPUT_CAPACITY + 10]));
    assert!(!host.attendant.wants_input());
    host.until_waiting();
    assert_eq!(pushed(&host).iter().map(Vec::len).collect::<Vec<_>>(), [INPUT_CAPACITY]);
    host.guest.reads = true;
    host.until(|guest| guest.read.len() == INPUT_CAPACITY + 10);
}

#[test]
fn a_busy_guest_that_takes_its_lines_gets_the_next_one() {
    for clock in [Clock::Host, Clock::Virtual] {
        let mut host = Host::new(settings(clock, Mode::Streams, Source::Pipe), Begin::Running, Guest::running().busy());
        host.attendant.handle(Event::Input(b"one\ntwo\n"));
        host.attendant.handle(Event::EndOfInput);
        host.until(|guest| guest.ended);
        assert_eq!(host.guest.read, b"one\ntwo\n", "{clock:?}");
        assert_eq!(pushed(&host).len(), 2);
        // Under the virtual clock a guest that works is not disturbed for a second of its time.
        assert_eq!(host.guest.count > 1_000_000_000, clock == Clock::Virtual);
    }
}

#[test]
fn a_busy_guest_under_the_virtual_clock_is_not_stopped_for_input_that_does_not_come() {
    let mut host = Host::new(settings(Clock::Virtual, Mode::Streams, Source::Pipe), Begin::Running, Guest::running().busy());
    host.until(|guest| guest.count > 3_000_000_000);
    assert!(host.done.iter().all(|action| !matches!(action, Action::Wait { .. })));
}

#[test]
fn the_end_of_the_input_waits_for_its_program() {
    for settings in [piped(), settings(Clock::Host, Mode::Tty, Source::Pipe)] {
        for (begin, guest) in
            [(Begin::PowerOn, Guest::booting()), (Begin::Barrier, Guest::at_barrier()), (Begin::Running, Guest::running())]
        {
            let mut host = Host::new(settings.clone(), begin, guest);
            host.attendant.handle(Event::EndOfInput);
            assert!(!host.attendant.wants_input());
            assert_eq!(host.finish(), Ok(Ending::Exited(7)), "{begin:?}");
        }
    }
}

#[test]
fn input_before_its_end_is_not_lost() {
    let mut host = Host::new(piped(), Begin::PowerOn, Guest::booting());
    host.attendant.handle(Event::Input(b"no line end"));
    host.attendant.handle(Event::EndOfInput);
    assert_eq!(host.finish(), Ok(Ending::Exited(7)));
    assert_eq!(host.guest.read, b"no line end");
    assert_eq!(host.done.iter().filter(|action| matches!(action, Action::Close(_))).count(), 1);
}

/// Each program on a terminal needs an end of its own: the shell behind the `cat` too.
#[test]
fn on_a_terminal_the_end_is_typed_once_a_second() {
    let settings = settings(Clock::Virtual, Mode::Tty, Source::Pipe);
    let mut host = Host::new(settings, Begin::Running, Guest { reads: false, ..Guest::running() });
    host.attendant.handle(Event::EndOfInput);
    let ready = |host: &mut Host, ends: usize| {
        host.guest.reads = true;
        host.until(|guest| guest.read.len() == ends);
    };
    host.guest.busy = true;
    ready(&mut host, 1);
    let first = host.guest.now;
    ready(&mut host, 2);
    assert!((1_000_000_000..1_100_000_000).contains(&(host.guest.now - first)), "{first} {}", host.guest.now);
}

#[test]
fn the_end_of_a_persons_terminal_is_a_hang_up_and_that_of_a_stream_is_not() {
    let mut host = Host::new(typed(), Begin::Running, Guest::running());
    host.attendant.handle(Event::EndOfInput);
    assert_eq!(host.finish(), Ok(Ending::Signalled(1)));
    let mut host = Host::new(settings(Clock::Host, Mode::Streams, Source::Terminal), Begin::Running, Guest::running());
    host.until_waiting();
    host.attendant.handle(Event::Input(b"line\n"));
    host.attendant.handle(Event::EndOfInput);
    assert_eq!(host.finish(), Ok(Ending::Exited(7)));
    assert_eq!(host.guest.read, b"line\n");
}

#[test]
fn the_virtual_clock_waits_for_a_script_however_slow_it_is() {
    let run = |chunks: &[&[u8]]| {
        let settings = settings(Clock::Virtual, Mode::Streams, Source::Pipe);
        let mut host = Host::new(settings, Begin::Running, Guest { ticks: true, ..Guest::running() });
        for chunk in chunks {
            host.until_waiting();
            host.attendant.handle(Event::Input(chunk));
        }
        assert_eq!(host.finish(), Ok(Ending::Exited(7)));
        (pushed(&host), host.guest.now)
    };
    let whole = run(&[b"one\nand two\nexit\n"]);
    assert_eq!(whole.0.len(), 3);
    assert_eq!(run(&[b"o", b"ne\nand ", b"two\nex", b"it\n"]), whole);
}

#[test]
fn under_the_virtual_clock_a_sleeping_guest_costs_no_waiting() {
    let guest = Guest { ticks: true, reads: false, ..Guest::new(Init::Prebake, Phase::Runs) };
    let mut host = Host::new(settings(Clock::Virtual, Mode::Tty, Source::Pipe), Begin::Running, guest);
    host.until(|guest| guest.now > 10_000_000_000);
    assert!(host.done.iter().any(|action| matches!(action, Action::SkipTo(_))));
    assert!(host.done.iter().all(|action| !matches!(action, Action::Wait { .. })));
}

#[test]
fn a_guest_that_halts_briefly_is_not_typed_at_by_a_script() {
    let mut host = Host::new(settings(Clock::Host, Mode::Tty, Source::Pipe), Begin::Running, Guest::running());
    host.attendant.handle(Event::Input(b"one\ntwo\n"));
    host.until(|guest| guest.read == b"one\n");
    let brief = |host: &mut Host, ahead: u64| {
        let status = host.guest.status();
        host.attendant.handle(Event::Stopped { stop: Stop::Halted { deadline: Some(status.now + ahead) }, status });
        let action = host.attendant.next(&mut host.output);
        matches!(action, Action::Push { port: Port::Tty, .. })
    };
    assert!(!brief(&mut host, 10_000_000), "its terminal may still be at work");
    let Action::Run { .. } = host.attendant.next(&mut host.output) else { panic!() };
    assert!(brief(&mut host, 100_000_000));
}
