//! Threads that wait before the barrier for what is to be done behind it: making one takes longer than most of what they do.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use crate::error::{Context, Result};

/// One for each of the program's streams, and one that listens to the host.
const COUNT: usize = 4;
/// They do little but copy bytes.
const STACK: usize = 64 << 10;
/// As much as the kernel passes to a port at once.
const CHUNK: usize = 32 << 10;

/// What is to be done, with [`CHUNK`] bytes to do it in.
type Work = Box<dyn FnOnce(&mut [u8]) + Send>;

/// Those that have no work yet, at first none. They end when this is dropped.
#[derive(Debug, Default)]
pub struct Helpers(Vec<(Sender<Work>, JoinHandle<()>)>);

impl Helpers {
    /// As many as are needed.
    pub fn prepare() -> Result<Self> {
        (0..COUNT).map(|_| helper()).collect::<Result<_>>().map(Self)
    }

    /// Has one of them do this work, and end; a new one where none is left.
    pub fn give(&mut self, work: impl FnOnce(&mut [u8]) + Send + 'static) -> Result<JoinHandle<()>> {
        let (to, thread) = self.0.pop().map_or_else(helper, Ok)?;
        // One that has no work waits for it.
        let _ = to.send(Box::new(work));
        Ok(thread)
    }

    /// Has one of them copy `from` to `to`, until either side ends.
    pub fn pump(&mut self, mut from: File, mut to: File) -> Result<JoinHandle<()>> {
        self.give(move |buffer| {
            while let Ok(count @ 1..) = from.read(buffer) {
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
        })
    }
}

fn helper() -> Result<(Sender<Work>, JoinHandle<()>)> {
    let (to, work) = channel::<Work>();
    let thread = thread::Builder::new().stack_size(STACK).spawn(move || {
        let mut buffer = vec![0; CHUNK];
        // The kernel gives a page when it is first written.
        buffer.fill(1);
        if let Ok(work) = work.recv() {
            work(&mut buffer);
        }
    });
    Ok((to, thread.context("start", "a helper thread")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_beyond_the_prepared_threads_is_done_as_well() {
        let mut helpers = Helpers::prepare().unwrap();
        let (done, results) = channel();
        let threads: Vec<_> = (0..2 * COUNT)
            .map(|number| {
                let done = done.clone();
                helpers.give(move |_| done.send(number).unwrap()).unwrap()
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop(done);
        let mut numbers: Vec<_> = results.iter().collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..2 * COUNT).collect::<Vec<_>>());
    }

    #[test]
    fn a_pump_passes_everything_on_and_ends() {
        let mut helpers = Helpers::prepare().unwrap();
        let (mut from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let bytes: Vec<u8> = (0..3 * CHUNK + 1).map(|number| number as u8).collect();
        from.write_all(&bytes).unwrap();
        std::io::Seek::rewind(&mut from).unwrap();
        let mut copy = to.try_clone().unwrap();
        helpers.pump(from, to).unwrap().join().unwrap();
        std::io::Seek::rewind(&mut copy).unwrap();
        let mut copied = Vec::new();
        copy.read_to_end(&mut copied).unwrap();
        assert!(copied == bytes);
    }
}
