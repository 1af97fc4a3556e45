//! Programs beside the guest's own.

use super::guest::{Deed, Guest, Init, Phase};
use super::*;
use devices::console::Port;
use protocol::{EXEC_WINDOW, Exec, ExecId, ExecOrder, ExecReport, MAX_CHUNK, MAX_EXECS};

fn start() -> ExecOrder {
    ExecOrder::Start { terminal: None, info: b"e: ls\n".to_vec() }
}

fn input(length: usize) -> ExecOrder {
    ExecOrder::Input(vec![b'i'; length])
}

fn output(length: usize) -> ExecReport {
    ExecReport::Output { is_error: false, bytes: vec![b'o'; length] }
}

impl Guest {
    fn offering(self) -> Self {
        Self { offers: true, ..self }
    }

    fn reports(&mut self, id: ExecId, what: ExecReport) {
        self.written.push((Port::Control, Exec { id, what }.encode()));
    }

    fn ordered(&self) -> Vec<(ExecId, ExecOrder)> {
        self.orders.iter().map(|order| (order.id, order.what.clone())).collect()
    }
}

impl Host {
    fn order(&mut self, id: ExecId, what: ExecOrder) {
        self.attendant.order(Exec { id, what });
    }

    fn told(&self) -> Vec<(ExecId, ExecReport)> {
        let told = |action: &Action| if let Action::Exec(Exec { id, what }) = action { Some((*id, what.clone())) } else { None };
        self.done.iter().filter_map(told).collect()
    }

    /// The reason why a program failed, and nothing else was told.
    fn refusal(&self) -> String {
        match &self.told()[..] {
            [(_, ExecReport::Failed(reason))] => reason.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// Does so many actions.
    fn steps(&mut self, count: usize) {
        (0..count).for_each(|_| assert_eq!(self.step(), None));
    }
}

/// A host whose guest's program runs and waits for a person.
fn attached(guest: Guest) -> Host {
    let mut host = Host::new(typed(), Begin::Barrier, guest.offering());
    host.until(|guest| guest.phase == Phase::Runs);
    host.steps(5);
    host
}

#[test]
fn a_program_is_started_beside_the_guests_own_and_its_end_is_told() {
    for guest in [Guest::at_barrier(), Guest::at_barrier().busy()] {
        let mut host = attached(guest);
        host.order(1, start());
        host.until(|guest| guest.orders.len() == 1);
        host.guest.reports(1, ExecReport::Taken(EXEC_WINDOW));
        host.guest.reports(1, output(3));
        host.steps(8);
        host.order(1, input(2));
        host.order(1, ExecOrder::Signal(2));
        host.until(|guest| guest.orders.len() == 3);
        host.guest.reports(1, ExecReport::Exit(7));
        host.steps(8);
        assert_eq!(host.guest.ordered(), [(1, start()), (1, input(2)), (1, ExecOrder::Signal(2))]);
        assert_eq!(host.told(), [(1, ExecReport::Taken(EXEC_WINDOW)), (1, output(3)), (1, ExecReport::Exit(7))]);
    }
}

#[test]
fn one_that_comes_too_early_waits_for_the_guests_program() {
    for begin in [Begin::PowerOn, Begin::Barrier, Begin::Running] {
        let guest = match begin {
            Begin::PowerOn => Guest::booting(),
            Begin::Barrier => Guest::at_barrier(),
            _ => Guest::running(),
        };
        let mut host = Host::new(typed(), begin, guest.offering());
        host.order(1, start());
        host.until(|guest| !guest.orders.is_empty());
        assert_eq!(host.guest.phase, Phase::Runs);
        let first = if begin == Begin::Running { "resume" } else { "start" };
        assert!(host.guest.messages[0].starts_with(first));
        assert_eq!(host.told(), []);
    }
}

#[test]
fn an_older_init_is_named_and_gets_no_order() {
    for init in [Init::Prebake, Init::Silent, Init::BarrierOnly, Init::Foreign] {
        for (begin, phase) in [(Begin::Barrier, Phase::AtBarrier), (Begin::PowerOn, Phase::Boots(3))] {
            for busy in [false, true] {
                let mut host = Host::new(Settings { slice: 10 * SLICE, ..typed() }, begin, Guest { busy, ..Guest::new(init, phase) });
                host.order(1, start());
                (0..400).for_each(|_| assert_eq!(host.step(), None));
                assert!(host.refusal().contains("older than `exec`"), "{init:?} {begin:?} {busy}");
                host.order(2, start());
                host.steps(5);
                assert_eq!(host.told().len(), 2);
                assert_eq!(host.guest.ordered(), []);
            }
        }
    }
}

#[test]
fn an_init_that_offers_late_is_waited_for() {
    // Its machine halts between two steps of its start.
    let guest = Guest { init: Init::Silent, ticks: true, ..Guest::at_barrier() };
    let mut host = Host::new(typed(), Begin::Barrier, guest);
    host.order(1, start());
    host.until(|guest| guest.phase == Phase::Runs);
    host.steps(3);
    host.guest.written.push((Port::Control, b"offers exec\nstarted\n".to_vec()));
    host.until(|guest| guest.orders.len() == 1);
    assert_eq!(host.told(), []);
}

#[test]
fn who_sends_more_than_there_is_room_for_is_hung_up() {
    let mut host = attached(Guest::at_barrier());
    host.order(1, start());
    host.order(1, input(1));
    host.steps(5);
    assert!(host.refusal().contains("more input"));
    assert_eq!(host.guest.ordered(), [(1, ExecOrder::HangUp)]);

    let mut host = attached(Guest::at_barrier());
    host.order(1, start());
    host.until(|guest| guest.orders.len() == 1);
    for _ in 0..EXEC_WINDOW / MAX_CHUNK {
        host.guest.reports(1, output(MAX_CHUNK));
    }
    host.steps(20);
    assert_eq!(host.told().len(), EXEC_WINDOW / MAX_CHUNK);
    // What the client has taken may be sent again, but not more, whatever it says.
    host.order(1, ExecOrder::Taken(EXEC_WINDOW));
    host.order(1, ExecOrder::Taken(EXEC_WINDOW));
    for _ in 0..=EXEC_WINDOW / MAX_CHUNK {
        host.guest.reports(1, output(MAX_CHUNK));
    }
    host.steps(30);
    let told = host.told();
    assert_eq!(told.len(), 2 * (EXEC_WINDOW / MAX_CHUNK) + 1);
    assert!(matches!(told.last(), Some((1, ExecReport::Failed(reason))) if reason.contains("more output")));
    assert_eq!(host.guest.ordered().last(), Some(&(1, ExecOrder::HangUp)));
}

#[test]
fn a_guest_that_says_nothing_for_ever_is_not_passed_on() {
    let mut host = attached(Guest::at_barrier());
    host.order(1, start());
    host.until(|guest| guest.orders.len() == 1);
    host.guest.reports(1, ExecReport::Taken(EXEC_WINDOW));
    host.steps(5);
    for _ in 0..20 {
        for _ in 0..500 {
            host.guest.reports(1, ExecReport::Taken(EXEC_WINDOW));
            host.guest.reports(1, output(0));
        }
        host.steps(5);
    }
    assert_eq!(host.told(), [(1, ExecReport::Taken(EXEC_WINDOW))]);
    // What the client has sent there is room for again, and for no more than that.
    host.order(1, input(5));
    host.steps(5);
    host.guest.reports(1, ExecReport::Taken(EXEC_WINDOW));
    host.steps(5);
    assert_eq!(host.told().last(), Some(&(1, ExecReport::Taken(5))));
}

#[test]
fn what_nobody_asked_for_is_dropped() {
    let mut host = attached(Guest::at_barrier());
    for what in [output(5), ExecReport::Taken(9), ExecReport::Exit(1), ExecReport::Failed("no".into())] {
        host.guest.reports(9, what);
    }
    host.order(9, ExecOrder::Signal(9));
    host.order(9, ExecOrder::HangUp);
    host.steps(9);
    assert_eq!((host.told(), host.guest.ordered()), (Vec::new(), Vec::new()));
}

#[test]
fn programs_and_orders_that_wait_are_bounded() {
    let mut host = attached(Guest::at_barrier());
    (0..=MAX_EXECS as u32).for_each(|id| host.order(id, start()));
    host.steps(2);
    assert!(host.refusal().contains("16 programs"));
    assert!(host.attendant.wants_orders());
    (0..300).for_each(|_| host.order(0, ExecOrder::Signal(1)));
    assert!(!host.attendant.wants_orders());
}

#[test]
fn orders_leave_room_for_the_lines_about_the_guests_own_program() {
    let mut host = attached(Guest::at_barrier());
    host.order(1, start());
    host.until(|guest| guest.orders.len() == 1);
    host.guest.reports(1, ExecReport::Taken(EXEC_WINDOW));
    host.steps(5);
    let chunks = EXEC_WINDOW / MAX_CHUNK;
    (0..chunks).for_each(|_| host.order(1, input(MAX_CHUNK)));
    let mut pushed = 0;
    // The guest does not run, so it takes nothing.
    for _ in 0..chunks + 1 {
        if let Action::Push { port: Port::Control, bytes } = host.attendant.next(&mut host.output) {
            pushed += bytes.len();
        }
    }
    assert!(pushed > 0 && pushed <= devices::console::INPUT_CAPACITY - 4096, "{pushed}");
}

#[test]
fn they_end_with_the_guests_own_program() {
    let mut host = attached(Guest::at_barrier().does(40, Deed::Exit(3)));
    host.order(1, start());
    assert_eq!(host.finish(), Ok(Ending::Exited(3)));
    assert!(host.refusal().contains("program has ended"));
}

#[test]
fn a_visit_leaves_a_machine_whose_program_had_ended_as_it_was() {
    for (begin, guest, saved, told) in [
        (Begin::Exited, Guest::new(Init::Prebake, Phase::Exited), SavePoint::Exited, Ending::Exited(137)),
        (Begin::Running, Guest::running(), SavePoint::Running, Ending::Left),
    ] {
        let settings = Settings { can_save: true, visit: true, ..typed() };
        let mut host = Host::new(settings, begin, guest.offering());
        host.order(1, start());
        host.until(|guest| guest.orders.len() == 1);
        host.guest.reports(1, ExecReport::Exit(0));
        host.steps(5);
        host.attendant.handle(Event::Leave);
        assert_eq!((host.finish(), host.saves()), (Ok(told), vec![saved]));
    }
}

#[test]
fn a_guest_with_such_a_program_is_not_stuck() {
    let settings = Settings { source: Source::Pipe, ..piped() };
    let mut host = Host::new(settings, Begin::Barrier, Guest { reads: false, ..Guest::at_barrier().offering() });
    host.attendant.handle(Event::EndOfInput);
    host.order(1, start());
    host.until_waiting();
    host.order(1, ExecOrder::HangUp);
    assert_eq!(host.finish(), Err(Failure::Stuck));
}
