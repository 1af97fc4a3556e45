//! Events in any order come to an end, and never break what the protocol promises.

use super::guest::{Deed, Guest, Init, Phase};
use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Happening {
    Input(&'static [u8]),
    EndOfInput,
    HangUp,
    BrokenPipe,
    Signal(i32),
    Resize,
    Save,
    Leave,
}

impl Happening {
    fn event(&self) -> Event<'static> {
        match self {
            Self::Input(bytes) => Event::Input(bytes),
            Self::EndOfInput => Event::EndOfInput,
            Self::HangUp => Event::HangUp,
            Self::BrokenPipe => Event::BrokenPipe,
            Self::Signal(number) => Event::Signal(*number),
            Self::Resize => Event::Resize(WindowSize { cols: 80, rows: 24 }),
            Self::Save => Event::Save,
            Self::Leave => Event::Leave,
        }
    }
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => prop::sample::select(vec![&b"x\n"[..], b"exit\n", b"\x01", b"s", b"\x03"]).prop_map(Happening::Input),
        1 => Just(Happening::EndOfInput),
        1 => Just(Happening::HangUp),
        1 => Just(Happening::BrokenPipe),
        2 => prop::sample::select(vec![1, 2, 10, 15, 64]).prop_map(Happening::Signal),
        1 => Just(Happening::Resize),
        1 => Just(Happening::Save),
        1 => Just(Happening::Leave),
    ]
}

fn guest() -> impl Strategy<Value = (Begin, Guest)> {
    let init = prop::sample::select(vec![Init::Prebake, Init::Silent, Init::BarrierOnly, Init::Foreign, Init::Deaf]);
    let begin = prop::sample::select(vec![
        (Begin::PowerOn, Phase::Boots(2)),
        (Begin::Barrier, Phase::AtBarrier),
        (Begin::Running, Phase::Runs),
        (Begin::Exited, Phase::Exited),
    ]);
    let deed = prop::sample::select(vec![None, Some(Deed::Exit(3)), Some(Deed::PowerOff(3)), Some(Deed::Reset), Some(Deed::Fail("no"))]);
    (init, begin, any::<[bool; 4]>(), deed, 0..6_u32).prop_map(|(init, (begin, phase), [busy, reads, ticks, handles], deed, after)| {
        // Not every init comes to every place.
        let (begin, phase) = match (init, begin) {
            (Init::Foreign, Begin::Barrier | Begin::Exited) | (Init::Deaf, _) => (Begin::Running, Phase::Runs),
            (Init::Silent | Init::BarrierOnly, Begin::Exited) => (Begin::Barrier, Phase::AtBarrier),
            _ => (begin, phase),
        };
        let guest = Guest { busy, reads, ticks, handles_signals: handles, ..Guest::new(init, phase) };
        (begin, Guest { deed: deed.map(|deed| (after, deed)), ..guest })
    })
}

proptest! {
    #[test]
    fn any_order_of_events_ends_and_keeps_the_promises(
        (begin, guest) in guest(),
        happenings in prop::collection::vec((0..8_usize, happening()), 0..12),
        virtual_clock: bool, tty: bool, person: bool, can_save: bool, disk_is_full: bool,
    ) {
        let clock = if virtual_clock { Clock::Virtual } else { Clock::Host };
        let mode = if tty { Mode::Tty } else { Mode::Streams };
        let source = if person { Source::Terminal } else { Source::Pipe };
        let settings = Settings { can_save, escape_keys: person, limit: Some(6_000_000_000), ..settings(clock, mode, source) };
        let mut host = Host::new(settings, begin, guest);
        host.disk_is_full = disk_is_full;
        let mut end = None;
        for (steps, happening) in &happenings {
            end = end.or_else(|| (0..*steps).find_map(|_| host.step()));
            host.attendant.handle(happening.event());
        }
        // Whoever leaves twice, or sends two signals, gets away: the scripted guest checks that nothing was pushed out of turn.
        let leaves = [Event::Leave, Event::Signal(15), Event::Leave, Event::Signal(15)];
        for event in leaves {
            end = end.or_else(|| (0..50).find_map(|_| host.step()));
            host.attendant.handle(event);
        }
        let end = end.unwrap_or_else(|| host.finish());
        prop_assert_eq!(&host.finish(), &end, "the end does not stay");
        if !can_save {
            prop_assert!(host.saves().is_empty());
        }
        let starts = host.guest.messages.iter().filter(|line| line.starts_with("start ")).count();
        prop_assert!(starts <= 1, "{:?}", host.guest.messages);
    }
}
