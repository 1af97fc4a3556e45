//! Files that are on their way to this host. What has come of one can be read; what has not is asked for ahead of its turn, and waited for.
//!
//! What has come without a gap is in the file itself, as after any download that broke off. What is ahead of a gap is in another file, without a name, until
//! the gap is closed.

use snapshot::ReadAt;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::debug;

/// Files come in pieces of so many bytes: what is asked for begins and ends with them.
pub const GRAIN: u64 = 64 << 10;
/// A reader who waits for one piece has so many come at least: whoever wants one thing will want its neighbours.
const NEIGHBOURS: usize = 2;
/// How often someone who waits is asked whether that is to end.
const ATTENTION: Duration = Duration::from_millis(20);

/// A file that is on its way. One thread has it come, another reads it.
#[derive(Debug)]
pub struct ComingFile {
    size: u64,
    file: File,
    ahead: File,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    grains: Vec<Grain>,
    /// Bytes without a gap, in the file.
    done: u64,
    /// Grains that someone waits for.
    wanted: VecDeque<usize>,
    /// Somebody has all of it come at once.
    is_whole_taken: bool,
    /// Nothing more will come.
    has_ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grain {
    Missing,
    /// Somebody has it come.
    Taken,
    Here,
}

impl State {
    fn want(&mut self, grains: Range<usize>) {
        for grain in grains {
            if self.grains[grain] == Grain::Missing && !self.wanted.contains(&grain) {
                self.wanted.push_back(grain);
            }
        }
    }
}

impl ComingFile {
    /// A file that is to have `size` bytes, the first of which are in `file`. `ahead` is empty.
    pub fn new(file: File, ahead: File, size: u64) -> io::Result<Arc<Self>> {
        let found = file.metadata()?.len();
        // One that is too long is not the one that it should be.
        let done = if found >= size { size * u64::from(found == size) } else { found / GRAIN * GRAIN };
        file.set_len(done)?;
        let here = done.div_ceil(GRAIN) as usize;
        let mut grains = vec![Grain::Missing; size.div_ceil(GRAIN) as usize];
        grains[..here].fill(Grain::Here);
        let state = State { grains, done, wanted: VecDeque::new(), is_whole_taken: false, has_ended: false };
        Ok(Arc::new(Self { size, file, ahead, state: Mutex::new(state), changed: Condvar::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that have come, wherever.
    pub fn come(&self) -> u64 {
        let state = self.lock();
        let ahead = state.grains.iter().enumerate().skip((state.done / GRAIN) as usize).filter(|(_, grain)| **grain == Grain::Here);
        if state.done == self.size { self.size } else { state.done + ahead.map(|(grain, _)| self.bytes_of(grain)).sum::<u64>() }
    }

    /// All of it is there.
    pub fn is_complete(&self) -> bool {
        self.lock().done == self.size
    }

    const fn bytes_of(&self, grain: usize) -> u64 {
        let (start, rest) = (grain as u64 * GRAIN, self.size);
        if start + GRAIN <= rest { GRAIN } else { rest - start }
    }

    /// Somebody will wait for its first `bytes`.
    pub fn want(&self, bytes: u64) {
        let grains = 0..bytes.min(self.size).div_ceil(GRAIN) as usize;
        self.lock().want(grains);
    }

    /// What somebody waits for and nobody has come yet, at most `most` bytes of it: it is taken.
    pub fn take_wanted(&self, most: u64) -> Option<Range<u64>> {
        let mut state = self.lock();
        let first = loop {
            let grain = state.wanted.pop_front()?;
            if state.grains[grain] == Grain::Missing {
                break grain;
            }
        };
        // The others that are wanted are in order.
        let most = (most / GRAIN).max(1) as usize;
        let wanted = state.wanted.iter().enumerate().take_while(|(n, grain)| **grain == first + 1 + n).count() + 1;
        Some(self.take(&mut state, first, wanted.min(most)))
    }

    /// What is next of what nobody has come yet, at most `most` bytes of it: it is taken.
    pub fn take_next(&self, most: u64) -> Option<Range<u64>> {
        let mut state = self.lock();
        let start = (state.done / GRAIN) as usize;
        let first = start + state.grains[start.min(state.grains.len())..].iter().position(|grain| *grain == Grain::Missing)?;
        Some(self.take(&mut state, first, (most / GRAIN).max(1) as usize))
    }

    fn take(&self, state: &mut State, first: usize, most: usize) -> Range<u64> {
        let missing = state.grains[first..].iter_mut().take(most).take_while(|grain| **grain == Grain::Missing);
        let count = missing.map(|grain| *grain = Grain::Taken).count();
        first as u64 * GRAIN..((first + count) as u64 * GRAIN).min(self.size)
    }

    /// Takes all that has not come, also what others have taken, unless somebody has done so already. Whether it did.
    pub fn take_whole(&self) -> bool {
        let mut state = self.lock();
        let grains = state.grains.iter_mut().filter(|grain| **grain == Grain::Missing);
        grains.for_each(|grain| *grain = Grain::Taken);
        !std::mem::replace(&mut state.is_whole_taken, true)
    }

    /// Whether somebody has taken all of it.
    pub fn is_whole_taken(&self) -> bool {
        self.lock().is_whole_taken
    }

    /// What has not come of a whole is for others to take.
    pub fn give_whole_back(&self) {
        self.lock().is_whole_taken = false;
        self.give_back(0..self.size);
    }

    /// What was taken of `range` and has not come is for others to take.
    pub fn give_back(&self, range: Range<u64>) {
        let mut state = self.lock();
        let grains = (range.start / GRAIN) as usize..range.end.div_ceil(GRAIN) as usize;
        state.grains[grains].iter_mut().filter(|grain| **grain == Grain::Taken).for_each(|grain| *grain = Grain::Missing);
    }

    /// The grain that begins at byte `at` has come.
    pub fn put(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        let grain = (at / GRAIN) as usize;
        if state.grains[grain] == Grain::Here {
            return Ok(());
        }
        if at == state.done {
            self.file.write_all_at(bytes, at)?;
            state.done += bytes.len() as u64;
        } else {
            self.ahead.write_all_at(bytes, at)?;
        }
        state.grains[grain] = Grain::Here;
        let mut buffer = vec![0; GRAIN as usize];
        while state.done < self.size && state.grains[(state.done / GRAIN) as usize] == Grain::Here {
            let place = &mut buffer[..self.bytes_of((state.done / GRAIN) as usize) as usize];
            self.ahead.read_exact_at(place, state.done)?;
            self.file.write_all_at(place, state.done)?;
            state.done += place.len() as u64;
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Nothing more comes: who waits need not.
    pub fn end(&self) {
        self.lock().has_ended = true;
        self.changed.notify_all();
    }

    /// Reads it. Who asks `gate` has the wait end.
    pub fn reader(self: &Arc<Self>, gate: &Rc<Gate>) -> ComingReader {
        ComingReader { file: self.clone(), gate: gate.clone() }
    }
}

/// Tells whether a wait is to end.
pub type Ends = Box<dyn FnMut() -> bool>;

/// What ends a wait for something that does not come.
#[derive(Default)]
pub struct Gate {
    asks: RefCell<Option<Ends>>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl Gate {
    /// Asks this several times a second while something is waited for.
    pub fn ask(&self, ends: Ends) {
        *self.asks.borrow_mut() = Some(ends);
    }

    /// Whether nothing is to be waited for any longer.
    pub fn is_to_end(&self) -> bool {
        self.asks.borrow_mut().as_mut().is_some_and(|ends| ends())
    }
}

/// Reads what has come of a file, and waits for what has not. If the wait is to end, that is an error of the kind `Interrupted`; if nothing more comes, one of
/// the kind `BrokenPipe`.
#[derive(Debug)]
pub struct ComingReader {
    file: Arc<ComingFile>,
    gate: Rc<Gate>,
}

impl ReadAt for ComingReader {
    fn byte_len(&self) -> u64 {
        self.file.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let ComingFile { size, file, ahead, changed, .. } = &*self.file;
        let end = offset.saturating_add(buffer.len() as u64);
        if end > *size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let grains = (offset / GRAIN) as usize..end.div_ceil(GRAIN) as usize;
        let wanted = grains.start..grains.end.max(grains.start + NEIGHBOURS).min(size.div_ceil(GRAIN) as usize);
        let begun = Instant::now();
        let mut has_waited = false;
        let mut state = self.file.lock();
        while state.grains[grains.clone()].iter().any(|grain| *grain != Grain::Here) {
            if state.has_ended {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            // What somebody has come already needs no neighbours.
            if state.grains[grains.clone()].contains(&Grain::Missing) {
                state.want(wanted.clone());
            }
            has_waited = true;
            (state, _) = changed.wait_timeout(state, ATTENTION).unwrap_or_else(PoisonError::into_inner);
            drop(state);
            if self.gate.is_to_end() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            state = self.file.lock();
        }
        if has_waited {
            debug!(target: "prebake::registry", from = offset, to = end, of = size, elapsed = ?begun.elapsed(), "waited for");
        }
        let in_file = (state.done.clamp(offset, end) - offset) as usize;
        let (front, back) = buffer.split_at_mut(in_file);
        file.read_exact_at(front, offset)?;
        if back.is_empty() { Ok(()) } else { ahead.read_exact_at(back, offset + in_file as u64) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn coming(found: &[u8], size: u64) -> Arc<ComingFile> {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(found, 0).unwrap();
        ComingFile::new(file, tempfile::tempfile().unwrap(), size).unwrap()
    }

    fn content(size: usize) -> Vec<u8> {
        (0..size).map(|n| (n / 7 % 251) as u8).collect()
    }

    fn put(file: &ComingFile, content: &[u8], range: Range<u64>) {
        for at in range.clone().step_by(GRAIN as usize) {
            file.put(at, &content[at as usize..range.end.min(at + GRAIN) as usize]).unwrap();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn in_whatever_order_it_comes_nothing_is_taken_twice_and_all_of_it_is_there(
            size in 1..12 * GRAIN,
            found in 0..13 * GRAIN,
            steps in prop::collection::vec((any::<bool>(), 0..12 * GRAIN, 1..4 * GRAIN), 1..40),
        ) {
            let content = content(size as usize);
            let before = &content[..found.min(size) as usize];
            let file = coming(before, size);
            let gate = Rc::new(Gate::default());
            gate.ask(Box::new(|| true));
            let reader = file.reader(&gate);
            let (mut taken, mut under_way): (Vec<Range<u64>>, Vec<Range<u64>>) = Default::default();
            for (is_read, at, length) in steps {
                let (at, end) = (at.min(size - 1), (at + length).min(size));
                if is_read && at < end {
                    let mut bytes = vec![0; (end - at) as usize];
                    match reader.read_exact_at(&mut bytes, at) {
                        Ok(()) => prop_assert!(bytes == content[at as usize..end as usize]),
                        Err(error) => {
                            prop_assert_eq!(error.kind(), io::ErrorKind::Interrupted);
                            under_way.extend(file.take_wanted(length));
                        }
                    }
                } else if at % 2 == 0 {
                    under_way.extend(file.take_next(length));
                } else if !under_way.is_empty() {
                    let next = under_way.swap_remove(at as usize % under_way.len());
                    if at % 3 == 0 {
                        file.give_back(next);
                    } else {
                        put(&file, &content, next.clone());
                        taken.push(next);
                    }
                }
            }
            while let Some(next) = under_way.pop().or_else(|| file.take_next(GRAIN)) {
                put(&file, &content, next.clone());
                taken.push(next);
            }
            prop_assert!(file.is_complete() && file.come() == size);
            let mut bytes = vec![0; size as usize];
            file.file.read_exact_at(&mut bytes, 0).unwrap();
            prop_assert!(bytes == content);
            taken.sort_by_key(|range| range.start);
            prop_assert!(taken.windows(2).all(|pair| pair[0].end <= pair[1].start), "{taken:?}");
            prop_assert!(taken.first().is_none_or(|first| first.start + GRAIN > found.min(size)));
        }
    }

    #[test]
    fn what_does_not_come_is_an_error() {
        let file = coming(&[], 3 * GRAIN);
        let reader = file.reader(&Rc::default());
        let waits = {
            let file = file.clone();
            std::thread::spawn(move || {
                put(&file, &content(3 * GRAIN as usize), 0..GRAIN);
                file.end();
            })
        };
        assert!(reader.read_exact_at(&mut [0; 100], 50).is_ok());
        assert_eq!(reader.read_exact_at(&mut [0; 100], GRAIN).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(reader.read_exact_at(&mut [0; 1], 3 * GRAIN).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        waits.join().unwrap();
    }

    #[test]
    fn a_file_that_is_too_long_is_begun_again() {
        assert_eq!(coming(&[0; 10], 5).come(), 0);
        assert_eq!(coming(&[0; 10], 10).come(), 10);
    }
}
