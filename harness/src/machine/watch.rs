//! How long a module is waited for. One that comes from anyone may never return from a call.
//!
//! How much it may do in a call is counted, so that no host's speed matters. Somebody who wants the machine to end need not wait so long.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};
use wamr::Watch;

/// Branches and calls of the module that any call may take: for what a device does with one request, and for booting, restoring and saving.
/// Some seconds.
const STEPS: u64 = 1 << 30;
/// The same for each count of the guest besides, up to as many counts as a machine runs for between two looks at the outside. An instruction takes
/// some tens.
const STEPS_OF_A_COUNT: u64 = 1 << 12;
/// See [`STEPS_OF_A_COUNT`].
const COUNTS: u64 = 1 << 20;
/// A module that returns sooner is never interrupted: a machine looks at the outside itself.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is known of a call that lasts.
#[derive(Default)]
pub struct Patience {
    /// Steps that this call may take besides.
    besides: Cell<u64>,
    since: Cell<Option<Instant>>,
    /// Asked whether the user wants the machine to end.
    wanted: RefCell<Option<Box<dyn FnMut() -> bool>>>,
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patience").field("besides", &self.besides).finish_non_exhaustive()
    }
}

impl Patience {
    /// What asks it.
    pub fn watch(self: &Rc<Self>) -> Watch {
        let this = self.clone();
        Watch::new(move |steps| this.may_go_on(steps))
    }

    /// Makes `work`, a call that lets the guest run for so many counts, last as long as that may take.
    pub fn for_counts<R>(&self, counts: u64, work: impl FnOnce() -> R) -> R {
        self.besides.set(counts.min(COUNTS) * STEPS_OF_A_COUNT);
        let result = work();
        self.besides.set(0);
        result
    }

    /// Asks this, while a call lasts too long for a person.
    pub fn end_when(&self, wanted: Box<dyn FnMut() -> bool>) {
        *self.wanted.borrow_mut() = Some(wanted);
    }

    fn may_go_on(&self, steps: u64) -> bool {
        if steps <= u64::from(Watch::STEPS) {
            self.since.set(Some(Instant::now()));
        }
        let is_patient = self.since.get().is_none_or(|since| since.elapsed() < PATIENCE);
        let is_to_end = || self.wanted.borrow_mut().as_mut().is_some_and(|wanted| wanted());
        steps < STEPS + self.besides.get() && (is_patient || !is_to_end())
    }
}
