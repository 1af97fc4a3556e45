//! A program that speaks the protocol of `prebake serve`.

use super::prebake;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

/// `prebake serve`, and what it has said.
pub struct Served {
    pub child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
    last: u64,
    /// Messages that nobody has asked for yet.
    told: VecDeque<Value>,
    /// What machines have written, by number and stream.
    shown: Vec<(u32, u8, Vec<u8>)>,
    /// Where names lead that it asks for.
    pub names: Vec<(String, String)>,
    /// What it has asked for.
    pub asked: Vec<String>,
}

/// `prebake serve` with a store of its own.
pub fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = prebake();
    command.arg("serve").args(args).env("PREBAKE_HOME", home).env("PREBAKE_CONFIG", home.join("configuration"));
    command
}

impl Served {
    pub fn start(home: &Path) -> Self {
        Self::of(&mut command(home, &[]))
    }

    pub fn of(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        let (told, shown, names, asked) = Default::default();
        let mut served = Self { child, input, output, last: 0, told, shown, names, asked };
        let ready = served.wait_for(|message| message["method"] == "ready");
        assert_eq!(ready["params"]["protocol"], 1);
        served
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.input.as_mut().unwrap().write_all(bytes).unwrap();
    }

    pub fn send_frame(&mut self, kind: u8, body: &[u8]) {
        let length = (1 + body.len()) as u32;
        self.send_raw(&[&length.to_be_bytes()[..], &[kind], body].concat());
    }

    pub fn send(&mut self, message: &Value) {
        self.send_frame(0, message.to_string().as_bytes());
    }

    pub fn type_in(&mut self, machine: u32, bytes: &[u8]) {
        self.send_frame(1, &[&machine.to_be_bytes()[..], &[0], bytes].concat());
    }

    /// Asks for something, and does not wait.
    pub fn ask(&mut self, method: &str, parameters: Value) -> u64 {
        self.last += 1;
        self.send(&json!({ "jsonrpc": "2.0", "id": self.last, "method": method, "params": parameters }));
        self.last
    }

    pub fn answer(&mut self, id: u64) -> Result<Value, Value> {
        let mut answer = self.wait_for(|message| message["id"] == id && message.get("method").is_none());
        match answer.get_mut("error") {
            Some(error) => Err(error.take()),
            None => Ok(answer["result"].take()),
        }
    }

    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        let id = self.ask(method, parameters);
        self.answer(id).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The kind of the error that this fails with.
    pub fn refused(&mut self, method: &str, parameters: Value) -> String {
        let id = self.ask(method, parameters);
        let error = self.answer(id).unwrap_err();
        error["data"]["kind"].as_str().unwrap().to_owned()
    }

    /// The first message that fits, of those that have come or come next.
    pub fn wait_for(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Some(at) = self.told.iter().position(&fits) {
                return self.told.remove(at).unwrap();
            }
            assert!(self.read(), "it has ended; it said {:?}", self.told);
        }
    }

    /// Waits until a machine has written `text`, and forgets all before it.
    pub fn wait_for_text(&mut self, machine: u32, text: &str) -> String {
        loop {
            let seen = self.seen(machine, 1);
            if let Some(at) = seen.find(text) {
                let (before, after) = seen.split_at(at + text.len());
                self.shown.retain(|(number, stream, _)| (*number, *stream) != (machine, 1));
                self.shown.push((machine, 1, after.as_bytes().to_vec()));
                return before.to_owned();
            }
            // What it wrote comes before its end.
            let has_ended = self.told.iter().any(|message| message["method"] == "ended" && message["params"]["machine"] == machine);
            assert!(!has_ended && self.read(), "`{text}` was not shown: {seen:?}; it said {:?}", self.told);
        }
    }

    pub fn seen(&self, machine: u32, stream: u8) -> String {
        let of = self.shown.iter().filter(|(number, from, _)| (*number, *from) == (machine, stream));
        String::from_utf8_lossy(&of.flat_map(|(_, _, bytes)| bytes.clone()).collect::<Vec<_>>()).into_owned()
    }

    /// Types a command, and waits for its answer.
    pub fn ask_shell(&mut self, machine: u32, command: &str, answer: &str) {
        self.type_in(machine, format!("{command}\n").as_bytes());
        self.wait_for_text(machine, &format!("\r\n{answer}\r\n"));
    }

    pub fn ended(&mut self, machine: u32) -> Value {
        self.wait_for(|message| message["method"] == "ended" && message["params"]["machine"] == machine)["params"].take()
    }

    /// Reads a frame, unless this is the end.
    pub fn read(&mut self) -> bool {
        let mut length = [0; 4];
        if self.output.read_exact(&mut length).is_err() {
            return false;
        }
        let length = u32::from_be_bytes(length) as usize;
        assert!(length <= (1 << 20) + 1, "a frame of {length} bytes");
        let mut body = vec![0; length];
        self.output.read_exact(&mut body).unwrap();
        match body[0] {
            0 => {
                let message: Value = serde_json::from_slice(&body[1..]).unwrap();
                if message["method"] == "resolve" {
                    let name = message["params"]["name"].as_str().unwrap().to_owned();
                    let addresses: Vec<&String> =
                        self.names.iter().filter(|(known, _)| *known == name).map(|(_, address)| address).collect();
                    self.send(&json!({ "jsonrpc": "2.0", "id": message["id"], "result": { "addresses": addresses } }));
                    self.asked.push(name);
                } else {
                    self.told.push_back(message);
                }
            }
            1 => self.shown.push((u32::from_be_bytes(body[1..5].try_into().unwrap()), body[5], body[6..].to_vec())),
            other => panic!("a frame of type {other}"),
        }
        true
    }

    /// Goes away, and waits for its end.
    pub fn leave(&mut self) -> ExitStatus {
        self.input = None;
        while self.read() {}
        self.child.wait().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
