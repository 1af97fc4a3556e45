//! A guest, or a machine's module, that says and does anything in any order.

use super::{Host, WALL, piped, typed};
use crate::*;
use devices::console::{INPUT_CAPACITY, Port, WindowSize};
use emu::machine::Stop;
use proptest::prelude::*;

/// Actions in a row without the machine running or waiting.
const MOST_AT_ONCE: usize = 40;

#[derive(Debug, Clone)]
enum Deed {
    Writes(Port, Vec<u8>),
    Stops(Stop, Status),
    Host(Event<'static>),
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), 0..1_000_000_u64, any::<u64>()]
}

fn deed() -> impl Strategy<Value = Deed> {
    let lines = ["started\n", "resumed\n", "waiting\n", "exit 3\n", "exit 0\n", "failed \u{1b}[2J\n", "exit 999\n", "start", "\n", "\u{0}"];
    let line = prop::sample::select(lines.to_vec()).prop_map(|line| line.as_bytes().to_vec());
    let text = prop_oneof![Just(b"==========".to_vec()), Just(b"=".to_vec()), prop::collection::vec(any::<u8>(), 0..40)];
    let stop = prop_oneof![
        Just(Stop::Due),
        prop::option::of(number()).prop_map(|deadline| Stop::Halted { deadline }),
        Just(Stop::HaltedForGood),
        any::<u32>().prop_map(|status| Stop::PowerOff { status }),
        Just(Stop::Reset),
    ];
    let port = || (any::<bool>(), prop_oneof![Just(0), 0..2 * INPUT_CAPACITY]).prop_map(|(ready, pending)| PortStatus { ready, pending });
    let status = (number(), number(), port(), port(), port()).prop_map(|(count, now, tty, stdin, control)| Status {
        count,
        now,
        wall: WALL,
        tty,
        stdin,
        control,
    });
    let host = prop::sample::select(vec![
        Event::Input(b"ls\n"),
        Event::Input(b"\x01x"),
        Event::EndOfInput,
        Event::Signal(15),
        Event::Signal(10),
        Event::Resize(WindowSize { cols: 80, rows: 24 }),
        Event::Save,
        Event::Leave,
    ]);
    prop_oneof![
        4 => (prop::sample::select(Port::ALL.to_vec()), line).prop_map(|(_, line)| Deed::Writes(Port::Control, line)),
        2 => (prop::sample::select(Port::ALL.to_vec()), text).prop_map(|(port, text)| Deed::Writes(port, text)),
        6 => (stop, status).prop_map(|(stop, status)| Deed::Stops(stop, status)),
        1 => host.prop_map(Deed::Host),
    ]
}

proptest! {
    #[test]
    fn whatever_a_guest_does_its_host_goes_on_or_ends(
        begin in prop::sample::select(vec![Begin::PowerOn, Begin::Barrier, Begin::Running, Begin::Exited]),
        on_terminal in any::<bool>(),
        can_save in any::<bool>(),
        saves in any::<bool>(),
        deeds in prop::collection::vec(deed(), 1..60),
    ) {
        let settings = Settings { can_save, ..if on_terminal { typed() } else { piped() } };
        // What the scripted guest would do is not asked for.
        let Host { mut attendant, mut output, mut guest, .. } = Host::new(settings, begin, super::Guest::booting());
        let mut status = guest.status();
        for deed in deeds {
            match deed {
                Deed::Writes(port, bytes) => drop(output.console(port, &bytes)),
                Deed::Host(Event::Input(_)) if !attendant.wants_input() => {}
                Deed::Host(event) => attendant.handle(event),
                Deed::Stops(stop, now) => {
                    status = now;
                    attendant.handle(Event::Stopped { stop, status });
                }
            }
            for done in 0.. {
                prop_assert!(done < MOST_AT_ONCE, "the host never comes to rest");
                match attendant.next(&mut output) {
                    Action::Run { until } => {
                        prop_assert!(until >= status.count);
                        break;
                    }
                    Action::Wait { .. } | Action::SkipTo(_) => break,
                    Action::End(_) => return Ok(()),
                    Action::Save { .. } => attendant.handle(if saves { Event::Saved } else { Event::NotSaved }),
                    Action::Push { port, bytes } => {
                        prop_assert!(!bytes.is_empty());
                        let input = status.port(port);
                        input.pending += bytes.len();
                        prop_assert!(input.pending <= INPUT_CAPACITY, "{port:?} has {}", input.pending);
                    }
                    Action::Close(_) | Action::Show { .. } | Action::Resize(_) | Action::Decline(_) | Action::Notify(_) | Action::Exec(_) => {}
                }
            }
        }
    }
}
