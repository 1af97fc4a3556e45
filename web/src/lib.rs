//! Hosts a machine's module in JavaScript. The module is the machine's own file, unchanged, and another instance than this one: its memory is
//! reached through its exports ([ABI.md](../../emu/ports/ABI.md)).
//!
//! JavaScript compiles the module, gives it WASI, and calls [`Vm::step`] again and again. Here is what every host shares: the state machine
//! that attends a guest, and the reading and writing of snapshots.
//!
//! Every error is a JavaScript `Error` with the property `kind`: a stable name, the same as in the program's `--json`.

mod artifact;
mod error;
mod file;
mod framed;
mod module;
mod network;
mod options;
mod packed;
mod restore;
mod save;
mod step;

use attend::{Attendant, Ending, Output};
use emu::machine::Stop;
use error::Result;
use file::HostFile;
use module::{Exports, Module};
use net::Failure;
use network::{Carrier, Network};
use options::Options;
use save::{Saver, Saving};
use snapshot::Snapshot;
use std::iter;
use std::time::Duration;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// The other side: what JavaScript does for a machine.
    pub type Host;

    /// Shows the user bytes: 1 for standard output, where a terminal's output goes too, 2 for standard error.
    #[wasm_bindgen(method)]
    fn show(this: &Host, stream: u8, bytes: &[u8]);

    /// Tells the user something: `leaving-loses-work` or `exit-not-saved`; or answers a request to save: `cannot-save`, `nothing-new`.
    #[wasm_bindgen(method)]
    fn notify(this: &Host, notice: &str);

    /// The host's clock, in milliseconds since 1970.
    #[wasm_bindgen(method)]
    fn now(this: &Host) -> f64;

    /// Milliseconds since some moment, by a clock that nobody sets.
    #[wasm_bindgen(method)]
    fn elapsed(this: &Host) -> f64;

    /// Whether a read of the snapshot has failed only because its bytes have not come yet.
    #[wasm_bindgen(method)]
    fn pending(this: &Host) -> bool;
}

/// What [`Vm::step`] leaves to JavaScript.
#[wasm_bindgen]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: events may be looked at, and the next step follows.
    More = 0,
    /// The guest waits for an event, or as long as [`Vm::wait`] says.
    Wait = 1,
    /// The guest waits for pages of its snapshot.
    Pages = 2,
    /// The machine is to be saved: [`Vm::save`], then [`Vm::saved`].
    Save = 3,
    /// The guest has been attended to its end: [`Vm::ending`] and [`Vm::status`].
    End = 4,
}

/// A machine that is attended.
#[wasm_bindgen]
pub struct Vm {
    host: Host,
    module: Module,
    attendant: Attendant,
    output: Output,
    saver: Option<Saver>,
    network: Option<Network>,
    /// The run that was asked for, until the machine has done it.
    running: Option<u64>,
    /// Why the machine stopped, until that is reported.
    stop: Option<Stop>,
    /// The save that was asked for, until it is done or has failed.
    saving: Option<Saving>,
    /// Milliseconds, of the last [`Step::Wait`].
    wait: Option<f64>,
    ending: Option<Ending>,
}

#[wasm_bindgen]
impl Vm {
    /// Restores a machine in a new instance of its module: from a snapshot, and what a session has changed of it. After an error the instance
    /// is of no use any more. With a `carrier` the guest has a network.
    pub fn restore(
        host: Host,
        exports: Exports,
        snapshot: HostFile,
        changes: Option<HostFile>,
        options: &Options,
        carrier: Option<Carrier>,
    ) -> Result<Vm> {
        restore::restore(host, Module::new(exports)?, (snapshot, changes), options, carrier)
    }

    /// Whether there is room for more input.
    #[wasm_bindgen(js_name = wantsInput)]
    pub fn wants_input(&self) -> bool {
        self.attendant.wants_input()
    }

    /// Instructions and REP iterations since power-on.
    pub fn count(&self) -> Result<f64> {
        Ok(self.module.count()? as f64)
    }

    /// Instructions retired since power-on.
    pub fn retired(&self) -> Result<f64> {
        self.module.retired().map(|retired| retired as f64)
    }

    /// Whether somebody waits for the guest's network, or the guest for somebody.
    #[wasm_bindgen(js_name = isNetworkBusy)]
    pub fn is_network_busy(&self) -> bool {
        self.network.as_ref().is_some_and(Network::is_busy)
    }

    /// A frame for the guest has come.
    pub fn frame(&mut self, bytes: Vec<u8>) {
        if let Some(network) = &mut self.network {
            network.frame(bytes);
        }
    }

    /// A flow that the carrier was to open is open.
    #[wasm_bindgen(js_name = flowOpened)]
    pub fn flow_opened(&mut self, flow: u32) {
        if let Some(network) = &mut self.network {
            network.opened(flow);
        }
    }

    /// A flow could not be opened, or has broken off: `refused`, `unreachable` or `forbidden`.
    #[wasm_bindgen(js_name = flowFailed)]
    pub fn flow_failed(&mut self, flow: u32, reason: &str) {
        let failure = match reason {
            "unreachable" => Failure::Unreachable,
            "forbidden" => Failure::Forbidden,
            _ => Failure::Refused,
        };
        if let Some(network) = &mut self.network {
            network.failed(flow, failure);
        }
    }

    /// Bytes of a stream, or a datagram, have come.
    #[wasm_bindgen(js_name = flowCame)]
    pub fn flow_came(&mut self, flow: u32, bytes: Vec<u8>) {
        if let Some(network) = &mut self.network {
            network.came(flow, bytes);
        }
    }

    /// Nothing more comes on a stream.
    #[wasm_bindgen(js_name = flowEnded)]
    pub fn flow_ended(&mut self, flow: u32) {
        if let Some(network) = &mut self.network {
            network.ended(flow);
        }
    }

    /// Bytes of a stream that the guest has not taken yet.
    #[wasm_bindgen(js_name = flowWaiting)]
    pub fn flow_waiting(&self, flow: u32) -> usize {
        self.network.as_ref().map_or(0, |network| network.waiting(flow))
    }
}

impl Host {
    /// The time of the network.
    fn moment(&self) -> Duration {
        Duration::from_secs_f64((self.elapsed() / 1e3).max(0.0))
    }
}

/// Where in a snapshot are its head and what its machine touches first: pairs of a start and an end, in order. Throws while the head has not come.
#[wasm_bindgen(js_name = touchedFirst)]
pub fn touched_first(file: HostFile) -> Result<Vec<f64>> {
    let snapshot = Snapshot::open(file::Source(file)).map_err(error::snapshot)?;
    let touched = snapshot.touched_first().map_err(error::snapshot)?;
    Ok(file::places(iter::once(0..snapshot.header().pages_offset()).chain(touched)))
}

/// Verifies every byte of a snapshot. Returns its content digest.
#[wasm_bindgen(js_name = verifySnapshot)]
pub fn verify_snapshot(file: HostFile) -> Result<String> {
    let snapshot = Snapshot::open(file::Source(file)).map_err(error::snapshot)?;
    snapshot.verify_all().map_err(error::snapshot)?;
    Ok(snapshot.header().content_digest.to_string())
}
