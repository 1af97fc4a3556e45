//! How far a transfer of several files has come.

use crate::progress::{Progress, mebibytes};
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// Counts bytes of files that are on their way at the same time, and tells the user.
pub struct Meter<'a> {
    progress: RefCell<&'a mut Progress>,
    /// What is being done.
    verb: &'static str,
    total: u64,
    /// Of each file.
    done: RefCell<Vec<Option<u64>>>,
    start: Instant,
    /// Bytes that were there at the start.
    before: RefCell<u64>,
}

impl<'a> Meter<'a> {
    /// For `files` files of `total` bytes.
    pub fn new(progress: &'a mut Progress, verb: &'static str, files: usize, total: u64) -> Self {
        let done = RefCell::new(vec![None; files]);
        Self { progress: RefCell::new(progress), verb, total, done, start: Instant::now(), before: RefCell::new(0) }
    }

    /// Of file `number` there are `bytes`.
    pub fn watch(&self, number: usize, bytes: u64) {
        let mut done = self.done.borrow_mut();
        let Some(place) = done.get_mut(number) else { return };
        *place = Some(bytes);
        let sum = done.iter().flatten().sum();
        let moved = sum - (*self.before.borrow()).min(sum);
        self.progress.borrow_mut().update(|| text(self.verb, sum, self.total, moved, self.start.elapsed()));
    }

    /// Of file `number` there were `bytes` before.
    pub fn begin(&self, number: usize, bytes: u64) {
        *self.before.borrow_mut() += bytes;
        self.watch(number, bytes);
    }
}

fn text(verb: &str, done: u64, total: u64, moved: u64, elapsed: Duration) -> String {
    let rate = moved as f64 / elapsed.as_secs_f64().max(1e-3);
    let rest = total.saturating_sub(done) as f64 / rate.max(1.0);
    let rest = if rest < 1e6 { format!(", {rest:.0} s left") } else { String::new() };
    format!("{verb} {} of {}, {}/s{rest}", mebibytes(done), mebibytes(total), mebibytes(rate as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_rest_are_those_of_what_moved() {
        let mib = 1 << 20;
        let halfway = text("fetching", 30 * mib, 50 * mib, 10 * mib, Duration::from_secs(2));
        assert_eq!(halfway, "fetching 30.0 MiB of 50.0 MiB, 5.0 MiB/s, 4 s left");
        assert_eq!(text("fetching", 0, 50 * mib, 0, Duration::ZERO), "fetching 0.0 MiB of 50.0 MiB, 0.0 MiB/s");
    }
}
