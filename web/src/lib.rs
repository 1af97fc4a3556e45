//! Hosts a machine's module in JavaScript. The module is the machine's own file, unchanged, and another instance than this one: its memory is
//! reached through its exports ([ABI.md](../../emu/ports/ABI.md)).
//!
//! JavaScript compiles the module, gives it WASI, and calls [`Vm::step`] again and again. Here is what every host shares: the state machine
//! that attends a guest, and the reading and writing of snapshots.
//!
//! Every error is a JavaScript `Error` with the property `kind`: a stable name, the same as in the program's `--json`.

mod error;
mod file;
mod module;
mod options;
mod restore;
mod save;
mod step;

use attend::{Attendant, Ending, Output};
use emu::machine::Stop;
use error::Result;
use file::HostFile;
use module::{Exports, Module};
use options::Options;
use save::{Saver, Saving};
use snapshot::Snapshot;
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
    /// is of no use any more.
    pub fn restore(host: Host, exports: Exports, snapshot: HostFile, changes: Option<HostFile>, options: &Options) -> Result<Vm> {
        restore::restore(host, Module::new(exports)?, (snapshot, changes), options)
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
}

/// Verifies every byte of a snapshot. Returns its content digest.
#[wasm_bindgen(js_name = verifySnapshot)]
pub fn verify_snapshot(file: HostFile) -> Result<String> {
    let snapshot = Snapshot::open(file::Source(file)).map_err(error::snapshot)?;
    snapshot.verify_all().map_err(error::snapshot)?;
    Ok(snapshot.header().content_digest.to_string())
}
