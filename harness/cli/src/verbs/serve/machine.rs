//! The machines of the other side, by the numbers that it has given them.

use super::message::{Refusal, Resize};
use super::peer::Peer;
use super::{lock, refusal, saved, spawn};
use devices::console::WindowSize;
use prebake::context::Context;
use prebake::error::Error;
use prebake::run::attended::Ending;
use prebake::service::output::{Stream, forward};
use prebake::service::spec::MachineSpec;
use prebake::service::{ConsoleEnds, Ended, Handle, Vm};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{PipeWriter, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Machines at a time.
const MAX_MACHINES: usize = 64;
/// Bytes of input that a machine has not taken, at most.
pub const WINDOW: usize = 256 << 10;
/// Bytes that are written at once, at most: so much can be sent again.
const CHUNK: usize = 16 << 10;

/// See above.
pub struct Machines {
    peer: Peer,
    table: Arc<Table>,
}

#[derive(Default)]
struct Table {
    machines: Mutex<BTreeMap<u32, Entry>>,
    /// One has ended.
    ended: Condvar,
}

struct Entry {
    handle: Handle,
    input: Arc<Input>,
}

/// What a machine is to read.
#[derive(Default)]
struct Input {
    pending: Mutex<Pending>,
    /// There is more of it, or its end.
    changed: Condvar,
}

#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    /// Bytes that are being written.
    written: usize,
    has_ended: bool,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.input.end();
    }
}

impl Machines {
    /// None yet.
    pub fn new(peer: Peer) -> Self {
        Self { peer, table: Arc::default() }
    }

    /// Starts one.
    pub fn start(&self, context: Context, number: u32, spec: &MachineSpec) -> Result<(), Refusal> {
        let failed = |error: Error| refusal(&error);
        let mut machines = lock(&self.table.machines);
        if machines.contains_key(&number) {
            return Err(Refusal::of_protocol(format!("there is a machine {number} already")));
        }
        if machines.len() >= MAX_MACHINES {
            return Err(Refusal::of_protocol(format!("there are {MAX_MACHINES} machines already")));
        }
        let request = spec.request().map_err(failed)?;
        let (console, ConsoleEnds { stdin, stdout, stderr }) = spec.console().map_err(failed)?;
        let vm = Vm::start(context, request, console).map_err(failed)?;
        let input = Arc::<Input>::default();
        let entry = Entry { handle: vm.handle(), input: input.clone() };
        let peer = self.peer.clone();
        spawn("input", move || input.feed(&peer, number, stdin)).map_err(failed)?;
        let (peer, table) = (self.peer.clone(), self.table.clone());
        spawn("output", move || {
            let passed_on = forward(stdout, stderr, |stream, bytes| {
                let stream = match stream {
                    Stream::Stdout => 1,
                    Stream::Stderr => 2,
                };
                peer.output(number, stream, bytes);
            });
            let ended = vm.wait();
            let how = how(&ended, passed_on.err().as_ref());
            // Once this is told its number is free, and once that is free this is told.
            let mut machines = lock(&table.machines);
            peer.notify("ended", json!({ "machine": number }).merged(how));
            machines.remove(&number);
            table.ended.notify_all();
        })
        .map_err(failed)?;
        machines.insert(number, entry);
        Ok(())
    }

    /// Does something with one.
    pub fn with<T>(&self, number: u32, work: impl FnOnce(&Handle) -> T) -> Result<T, Refusal> {
        lock(&self.table.machines).get(&number).map(|entry| work(&entry.handle)).ok_or_else(|| none(number))
    }

    /// Tells it the size of its terminal.
    pub fn resize(&self, Resize { machine, columns, rows }: &Resize) -> Result<(), Refusal> {
        if *columns == 0 || *rows == 0 {
            return Err(Refusal::of_protocol("a terminal has at least one column and one row"));
        }
        self.with(*machine, |handle| handle.resize(WindowSize { cols: *columns, rows: *rows }))
    }

    /// Gives it input; none at all is its end.
    pub fn input(&self, number: u32, bytes: Vec<u8>) -> Result<(), Refusal> {
        let machines = lock(&self.table.machines);
        // One that has ended meanwhile reads no more.
        let Some(entry) = machines.get(&number) else { return Ok(()) };
        if bytes.is_empty() {
            entry.input.end();
            return Ok(());
        }
        entry.input.give(&bytes).map_err(|problem| Refusal::of_protocol(format!("machine {number} takes no more input: {problem}")))
    }

    /// Saves and ends all of them, and returns when that is done.
    pub fn end(&self) {
        let machines = lock(&self.table.machines);
        machines.values().for_each(|entry| entry.handle.hang_up());
        drop(self.table.ended.wait_while(machines, |machines| !machines.is_empty()).unwrap_or_else(PoisonError::into_inner));
    }
}

fn none(number: u32) -> Refusal {
    Refusal::new(Refusal::FAILED, "machine-ended", format!("there is no machine {number}, or it has ended"))
}

impl Input {
    /// Adds some, or says why not.
    fn give(&self, bytes: &[u8]) -> Result<(), String> {
        let mut pending = lock(&self.pending);
        if pending.has_ended {
            return Err("its end has been sent".into());
        }
        let ahead = pending.bytes.len() + pending.written;
        if ahead + bytes.len() > WINDOW {
            return Err(format!("it has not taken {ahead} bytes; send no more than {WINDOW} ahead"));
        }
        pending.bytes.extend_from_slice(bytes);
        self.changed.notify_all();
        Ok(())
    }

    fn end(&self) {
        lock(&self.pending).has_ended = true;
        self.changed.notify_all();
    }

    /// The next that is to be written, when there is some; nothing at the end.
    fn next(&self) -> Option<Vec<u8>> {
        let pending = lock(&self.pending);
        let is_idle = |pending: &mut Pending| pending.bytes.is_empty() && !pending.has_ended;
        let mut pending = self.changed.wait_while(pending, is_idle).unwrap_or_else(PoisonError::into_inner);
        let bytes = std::mem::take(&mut pending.bytes);
        pending.written = bytes.len();
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Writes it, and tells how much of it is written.
    fn feed(&self, peer: &Peer, machine: u32, mut stdin: PipeWriter) {
        while let Some(bytes) = self.next() {
            for chunk in bytes.chunks(CHUNK) {
                if stdin.write_all(chunk).is_err() {
                    return;
                }
                lock(&self.pending).written -= chunk.len();
                peer.notify("consumed", json!({ "machine": machine, "bytes": chunk.len() }));
            }
        }
    }
}

/// How a machine ended.
fn how(Ended { outcome, report }: &Ended, lost: Option<&Error>) -> Value {
    let error = |error: &Error| {
        let refusal = refusal(error);
        json!({ "ending": "failed", "error": { "kind": refusal.kind, "message": refusal.message } })
    };
    let how = match (outcome, lost) {
        (Err(problem), _) | (Ok(_), Some(problem)) => error(problem),
        (Ok(outcome), None) => {
            let how = match outcome.ending {
                Ending::Exited(status) => json!({ "ending": "exited", "status": status }),
                Ending::Left => json!({ "ending": "stopped" }),
                Ending::Signalled(number) => json!({ "ending": "signalled", "signal": number }),
                Ending::BrokenPipe => json!({ "ending": "broken-pipe" }),
            };
            how.merged(json!({ "saved": outcome.checkpoint.as_ref().map(saved) }))
        }
    };
    how.merged(json!({ "guest_instructions": report.guest_instructions, "restore_ms": report.restore_ms, "first_output_ms": report.first_output_ms }))
}

trait Merged {
    /// This object with the fields of another.
    fn merged(self, other: Value) -> Value;
}

impl Merged for Value {
    fn merged(mut self, other: Value) -> Value {
        if let (Self::Object(own), Self::Object(other)) = (&mut self, other) {
            own.extend(other);
        }
        self
    }
}
