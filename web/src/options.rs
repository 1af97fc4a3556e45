//! How a machine is to be restored and attended.

use crate::error::{Result, error};
use attend::{Clock, Settings, Source};
use devices::console::WindowSize;
use protocol::network::{GUEST_MAC, NetworkInfo};
use protocol::{Bind, Info, Mode, SEED_LEN};
use std::fmt::Write as _;
use wasm_bindgen::prelude::*;

/// Counts between two looks at the outside: some ten milliseconds.
const SLICE: u64 = 1_000_000;
/// What the CMOS clock would show at power-on: a restored machine has its own.
const EPOCH: u64 = 0;
/// The module's descriptor of the snapshot that it reads itself: its standard input, for which it has no other use.
const SNAPSHOT: u32 = 0;
/// The module's descriptor of the folder that the guest shares with its host.
const FOLDER: u32 = 3;

#[wasm_bindgen(typescript_custom_section)]
const OPTIONS: &str = r#"
export interface Options {
    /** 64 random bytes, which nobody else has: the guest's random generator is rekeyed with them. */
    readonly seed: Uint8Array;
    /** Where time comes from. `virtual`: from the count of instructions, so that a run can be repeated. */
    readonly clock: "host" | "virtual";
    /** Where virtio-rng and RDRAND come from. `published`: from a stream that everyone knows. */
    readonly entropy: "host" | "published";
    /** The program is on a terminal; otherwise on three streams. */
    readonly terminal: boolean;
    /** Input comes from a person; otherwise from a program, and is given line by line. */
    readonly interactive: boolean;
    /** For the variable TERM. */
    readonly term: string;
    readonly columns: number;
    readonly rows: number;
    /** The machine can be saved, and is when its user leaves and when its program has ended. */
    readonly canSave: boolean;
    /** Instructions that it may run for. */
    readonly limit?: number;
    /** The folder of the guest that is shared: an absolute path. */
    readonly folder?: string;
    /** Program and arguments, in place of the image's. */
    readonly command: string[];
    /** NAME=VALUE. */
    readonly environment: string[];
}
"#;

#[wasm_bindgen]
extern "C" {
    /// See above.
    #[wasm_bindgen(typescript_type = "Options")]
    pub type Options;

    #[wasm_bindgen(method, getter)]
    pub fn seed(this: &Options) -> Vec<u8>;
    #[wasm_bindgen(method, getter)]
    fn clock(this: &Options) -> String;
    #[wasm_bindgen(method, getter)]
    fn entropy(this: &Options) -> String;
    #[wasm_bindgen(method, getter)]
    fn terminal(this: &Options) -> bool;
    #[wasm_bindgen(method, getter)]
    fn interactive(this: &Options) -> bool;
    #[wasm_bindgen(method, getter)]
    fn term(this: &Options) -> String;
    #[wasm_bindgen(method, getter)]
    fn columns(this: &Options) -> u16;
    #[wasm_bindgen(method, getter)]
    fn rows(this: &Options) -> u16;
    #[wasm_bindgen(method, getter, js_name = canSave)]
    fn can_save(this: &Options) -> bool;
    #[wasm_bindgen(method, getter)]
    fn limit(this: &Options) -> Option<f64>;
    #[wasm_bindgen(method, getter)]
    fn folder(this: &Options) -> Option<String>;
    #[wasm_bindgen(method, getter)]
    fn command(this: &Options) -> Vec<String>;
    #[wasm_bindgen(method, getter)]
    fn environment(this: &Options) -> Vec<String>;
}

fn wrong(problem: &str) -> JsValue {
    error("wrong-option", problem)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The address of a network device that is made anew.
pub fn mac() -> String {
    hex(&GUEST_MAC)
}

impl Options {
    /// How the guest is to be attended.
    pub fn settings(&self) -> Result<Settings> {
        let clock = match self.clock().as_str() {
            "host" => Clock::Host,
            "virtual" => Clock::Virtual,
            other => return Err(wrong(&format!("there is no clock {other:?}; use `host` or `virtual`"))),
        };
        let term = self.term();
        if term.is_empty() || !term.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("the terminal's name must be printable and without spaces"));
        }
        let is_terminal = self.terminal();
        Ok(Settings {
            clock,
            mode: if is_terminal { Mode::Tty } else { Mode::Streams },
            source: if self.interactive() { Source::Terminal } else { Source::Pipe },
            escape_keys: false,
            term: is_terminal.then_some(term),
            window: is_terminal.then(|| WindowSize { cols: self.columns(), rows: self.rows() }),
            can_save: self.can_save(),
            visit: false,
            slice: SLICE,
            limit: self.limit().map(|limit| limit as u64),
        })
    }

    /// The first option that only a program that is still to be started can follow.
    pub fn for_program(&self) -> Option<&'static str> {
        let given = [("command", !self.command().is_empty()), ("environment", !self.environment().is_empty())];
        given.into_iter().find_map(|(name, given)| given.then_some(name))
    }

    /// What they say to the module, besides what the machine's file does. With `reads`, the module reads the snapshot itself; with `network`,
    /// the guest has a network.
    pub fn configuration(&self, reads: bool, network: bool) -> Result<String> {
        let seed = self.seed();
        if seed.len() != SEED_LEN {
            return Err(wrong(&format!("the seed has {} bytes, but the guest needs {SEED_LEN} random ones", seed.len())));
        }
        let mut text = format!("clock={}\nepoch={EPOCH}\nentropy={}\nseed={}\n", self.clock(), self.entropy(), hex(&seed));
        let network = network.then(NetworkInfo::default);
        let mut info = Info { command: self.command(), network, ..Info::default() };
        for variable in self.environment() {
            let pair = variable.split_once('=').filter(|(name, _)| !name.is_empty());
            let (name, value) = pair.ok_or_else(|| wrong(&format!("{variable:?} is not NAME=VALUE")))?;
            info.environment.push((name.into(), value.into()));
        }
        if let Some(folder) = self.folder() {
            let path = folder.trim_matches('/');
            if !folder.starts_with('/') || path.is_empty() || path.contains(char::is_control) {
                return Err(wrong(&format!("{folder:?} is not the absolute path of a folder other than the root")));
            }
            let _ = writeln!(text, "bind={FOLDER},rw,{path}");
            info.binds.push(Bind { path: path.into(), read_only: false });
        }
        let info = info.to_string();
        if !info.is_empty() {
            let _ = writeln!(text, "info={}", hex(info.as_bytes()));
        }
        if reads {
            let _ = writeln!(text, "snapshot={SNAPSHOT}");
        }
        Ok(text)
    }
}
