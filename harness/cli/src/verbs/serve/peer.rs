//! The other side of the streams: what it is told, and what it is asked.

use super::frame::Frame;
use super::message;
use prebake::network::{Asker, Resolver};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of output that wait to be sent, at most: beyond them machines wait.
const MAX_OUTPUT: usize = 1 << 20;
/// Bytes that wait to be sent, at most. The other side asks for that much only if it does not read.
const MAX_QUEUE: usize = 16 << 20;
/// Names that are looked up at a time for registries, and for each guest. More of them wait.
const MAX_LOOKUPS: (usize, usize) = (64, 16);
/// How long one may take, with its wait.
const LOOKUP: Duration = Duration::from_secs(15);
/// How long the other side may take for what it is told last.
const FAREWELL: Duration = Duration::from_secs(5);

/// The other side. Cheap to clone.
#[derive(Clone)]
pub struct Peer(Arc<Shared>);

struct Shared {
    /// Called when it has gone without a word: nothing can be sent, or it does not read what it is told.
    lost: Box<dyn Fn() + Send + Sync>,
    queue: Mutex<Queue>,
    /// The queue has become shorter, or longer, or the other side has gone.
    changed: Condvar,
    questions: Mutex<Questions>,
    /// There is one less, or there will be no more.
    asked: Condvar,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
    /// One that is not in the queue any more is being sent.
    sending: bool,
    /// The other side has closed its end, or does not read: it is told no more of what machines write.
    gone: bool,
    /// Nothing can be sent any more.
    broken: bool,
}

#[derive(Default)]
struct Questions {
    last: u64,
    waiting: BTreeMap<u64, (Asker, Sender<Result<Value, String>>)>,
    closed: bool,
}

impl Questions {
    /// Whether one more may be asked for `asker`.
    fn has_room(&self, asker: Asker) -> bool {
        let most = match asker {
            Asker::Registry => MAX_LOOKUPS.0,
            Asker::Guest(_) => MAX_LOOKUPS.1,
        };
        self.waiting.values().filter(|(other, _)| *other == asker).count() < most
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peer {
    /// One that is there. `lost` is called if it goes without a word.
    pub fn new(lost: impl Fn() + Send + Sync + 'static) -> Self {
        let (queue, changed, questions, asked) = Default::default();
        Self(Arc::new(Shared { lost: Box::new(lost), queue, changed, questions, asked }))
    }

    /// Sends what is queued to `stream`, for as long as that can be written.
    pub fn send_to(&self, mut stream: impl Write) {
        let mut queue = lock(&self.0.queue);
        loop {
            let Some(frame) = queue.frames.pop_front() else {
                queue = self.0.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            queue.sending = true;
            drop(queue);
            let sent = stream.write_all(&frame).and_then(|()| stream.flush());
            queue = lock(&self.0.queue);
            queue.sending = false;
            queue.bytes -= frame.len();
            if sent.is_err() {
                (queue.gone, queue.broken) = (true, true);
                queue.frames.clear();
                self.0.changed.notify_all();
                drop(queue);
                return (self.0.lost)();
            }
            self.0.changed.notify_all();
        }
    }

    /// Tells it something, if it is there to read it.
    fn tell(&self, message: &Value) {
        let mut queue = lock(&self.0.queue);
        if queue.broken {
            return;
        }
        if queue.bytes > MAX_QUEUE {
            let was_there = !std::mem::replace(&mut queue.gone, true);
            self.0.changed.notify_all();
            drop(queue);
            if was_there {
                (self.0.lost)();
            }
            return;
        }
        self.push(&mut queue, &Frame::Message(message.to_string().into_bytes()));
    }

    fn push(&self, queue: &mut Queue, frame: &Frame) {
        let bytes = frame.encode();
        queue.bytes += bytes.len();
        queue.frames.push_back(bytes);
        self.0.changed.notify_all();
    }

    /// Answers a request of it.
    pub fn answer(&self, id: &Value, result: Result<Value, message::Refusal>) {
        self.tell(&message::answer(id, result));
    }

    /// Tells it something that it did not ask for.
    pub fn notify(&self, method: &str, parameters: Value) {
        self.tell(&message::notification(method, parameters));
    }

    /// Passes on what a machine has written, and waits while too much is on its way.
    pub fn output(&self, machine: u32, stream: u8, bytes: &[u8]) {
        let mut queue = lock(&self.0.queue);
        while queue.bytes > MAX_OUTPUT && !queue.gone {
            queue = self.0.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.gone {
            return;
        }
        // A guest that writes line by line, to a reader that is slower, is not a frame for each line.
        if queue.frames.back_mut().is_some_and(|last| Frame::join(last, machine, stream, bytes)) {
            queue.bytes += bytes.len();
        } else {
            self.push(&mut queue, &Frame::Bytes { machine, stream, bytes: bytes.to_vec() });
        }
    }

    /// Takes its answer to a question.
    pub fn take_answer(&self, id: u64, result: Result<Value, String>) {
        if let Some((_, waiting)) = lock(&self.0.questions).waiting.remove(&id) {
            // Whoever does not wait any more does not want to know.
            let _ = waiting.send(result);
        }
    }

    /// It has closed its end: machines need not wait for it, and nobody for its answers.
    pub fn has_gone(&self) {
        lock(&self.0.queue).gone = true;
        self.0.changed.notify_all();
        let mut questions = lock(&self.0.questions);
        questions.closed = true;
        questions.waiting.clear();
        self.0.asked.notify_all();
    }

    /// Waits until all is sent, for as long as one may.
    pub fn flush(&self) {
        let queue = lock(&self.0.queue);
        drop(self.0.changed.wait_timeout_while(queue, FAREWELL, |queue| (queue.sending || !queue.frames.is_empty()) && !queue.broken));
    }

    fn ask(&self, asker: Asker, method: &str, parameters: Value) -> io::Result<Value> {
        let (sender, receiver) = channel();
        let begun = Instant::now();
        let id = {
            let is_full = |questions: &mut Questions| !questions.closed && !questions.has_room(asker);
            let waited = self.0.asked.wait_timeout_while(lock(&self.0.questions), LOOKUP, is_full);
            let (mut questions, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            if questions.closed || waited.timed_out() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            questions.last += 1;
            let id = questions.last;
            questions.waiting.insert(id, (asker, sender));
            id
        };
        self.tell(&message::request(id, method, parameters));
        let answer = receiver.recv_timeout(LOOKUP.saturating_sub(begun.elapsed()));
        lock(&self.0.questions).waiting.remove(&id);
        self.0.asked.notify_all();
        match answer {
            Ok(answer) => answer.map_err(io::Error::other),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Has names looked up by the other side.
pub struct AskPeer(pub Peer);

impl Resolver for AskPeer {
    fn resolve(&self, name: &str, asker: Asker) -> io::Result<Vec<IpAddr>> {
        let answer = self.0.ask(asker, "resolve", json!({ "name": name }))?;
        let unusable = || io::Error::other("the answer has no list of addresses");
        let addresses = answer["addresses"].as_array().ok_or_else(unusable)?;
        addresses.iter().map(|address| address.as_str().and_then(|text| text.parse().ok()).ok_or_else(unusable)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    fn answers(peer: &Peer, text: &'static str) -> thread::JoinHandle<()> {
        let peer = peer.clone();
        thread::spawn(move || {
            while lock(&peer.0.questions).waiting.is_empty() {
                thread::yield_now();
            }
            peer.take_answer(1, Ok(serde_json::from_str(text).unwrap()));
        })
    }

    #[test]
    fn names_are_looked_up_by_the_other_side() {
        let peer = Peer::new(|| ());
        let other = answers(&peer, r#"{"addresses": ["192.0.2.1", "2001:db8::1"]}"#);
        let found = AskPeer(peer.clone()).resolve("registry.example", Asker::Registry).unwrap();
        assert_eq!(found, ["192.0.2.1", "2001:db8::1"].map(|address| address.parse::<IpAddr>().unwrap()));
        other.join().unwrap();
        let asked = lock(&peer.0.queue).frames.pop_front().unwrap();
        assert!(String::from_utf8_lossy(&asked).contains(r#""params":{"name":"registry.example"}"#));
    }

    #[test]
    fn an_answer_that_is_none_is_a_failed_lookup() {
        for text in ["{}", r#"{"addresses": [1]}"#, r#"{"addresses": ["x"]}"#, "[]", "null"] {
            let peer = Peer::new(|| ());
            let other = answers(&peer, text);
            assert!(AskPeer(peer).resolve("a", Asker::Registry).is_err(), "{text}");
            other.join().unwrap();
        }
        // One to no question is of no interest.
        Peer::new(|| ()).take_answer(1, Ok(Value::Null));
    }

    #[test]
    fn guests_that_ask_a_lot_leave_something_for_registries_and_for_other_guests() {
        let peer = Peer::new(|| ());
        let ask = |asker| {
            let peer = AskPeer(peer.clone());
            thread::spawn(move || peer.resolve("a", asker))
        };
        let hostile = [Asker::guest(), Asker::guest()];
        let asking: Vec<_> = (0..64).flat_map(|_| hostile.map(ask)).collect();
        while lock(&peer.0.questions).waiting.len() < 2 * MAX_LOOKUPS.1 {
            thread::yield_now();
        }
        let others = [ask(Asker::Registry), ask(Asker::guest())];
        while lock(&peer.0.questions).waiting.len() < 2 * MAX_LOOKUPS.1 + 2 {
            assert!(others.iter().all(|other| !other.is_finished()), "one of them was not asked for");
            thread::yield_now();
        }
        // Where one is answered, the next is asked.
        peer.take_answer(1, Ok(json!({ "addresses": [] })));
        while lock(&peer.0.questions).last < 2 * MAX_LOOKUPS.1 as u64 + 3 {
            thread::yield_now();
        }
        peer.has_gone();
        assert_eq!(asking.into_iter().chain(others).filter_map(|asking| asking.join().unwrap().err()).count(), 2 * 64 + 1);
    }

    #[test]
    fn nobody_waits_for_one_who_has_gone() {
        let peer = Peer::new(|| ());
        let (asker, writer) = (AskPeer(peer.clone()), peer.clone());
        let asking = thread::spawn(move || asker.resolve("a", Asker::Registry).is_err());
        // More than is kept: this waits, as nobody reads.
        let writing = thread::spawn(move || (0..64).for_each(|_| writer.output(1, 1, &[0; 64 << 10])));
        while lock(&peer.0.questions).waiting.is_empty() || lock(&peer.0.queue).bytes <= MAX_OUTPUT {
            thread::yield_now();
        }
        peer.has_gone();
        assert!(asking.join().unwrap());
        writing.join().unwrap();
        assert!(AskPeer(peer).resolve("a", Asker::Registry).is_err());
    }

    #[test]
    fn what_is_not_read_is_not_kept_without_end() {
        let (sender, lost) = mpsc::channel();
        let peer = Peer::new(move || sender.send(()).unwrap());
        // A machine that waits to be read waits no more when nobody reads.
        let writer = peer.clone();
        let writing = thread::spawn(move || (0..64).for_each(|_| writer.output(1, 1, &[0; 64 << 10])));
        while lock(&peer.0.queue).bytes <= MAX_OUTPUT {
            thread::yield_now();
        }
        let text = "x".repeat(1 << 20);
        (0..100).for_each(|_| peer.notify("notice", json!({ "text": text })));
        writing.join().unwrap();
        assert!(lost.try_recv().is_ok() && lost.try_recv().is_err());
        assert!(lock(&peer.0.queue).bytes <= MAX_QUEUE + (2 << 20));
    }

    #[test]
    fn a_stream_that_breaks_is_told_once() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (sender, lost) = mpsc::channel();
        let peer = Peer::new(move || sender.send(()).unwrap());
        peer.notify("ready", json!({}));
        peer.send_to(Broken);
        peer.notify("notice", json!({}));
        assert!(lost.try_recv().is_ok() && lost.try_recv().is_err() && lock(&peer.0.queue).frames.is_empty());
        peer.flush();
    }
}
