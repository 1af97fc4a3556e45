//! How far a transfer of several files has come.

use crate::error::Result;
use crate::observer::{Observer, Task, Tracker};
use std::cell::RefCell;

/// Counts bytes of files that are on their way at the same time.
pub struct Meter<'a> {
    tracker: Tracker<'a>,
    /// Of each file.
    done: RefCell<Vec<u64>>,
}

impl<'a> Meter<'a> {
    /// For `files` files of `total` bytes.
    pub fn new(observer: &'a dyn Observer, task: Task<'a>, files: usize, total: u64) -> Self {
        Self { tracker: Tracker::new(observer, task, Some(total)), done: RefCell::new(vec![0; files]) }
    }

    /// Of file `number` there are `bytes`. Fails if the transfer is to be given up.
    pub fn watch(&self, number: usize, bytes: u64) -> Result<()> {
        let mut done = self.done.borrow_mut();
        if let Some(place) = done.get_mut(number) {
            *place = bytes;
        }
        self.tracker.set(done.iter().sum());
        self.tracker.check()
    }
}
