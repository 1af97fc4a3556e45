//! What the guest writes, sorted by what it is for.

use crate::sink::Output;
use devices::console::Port;
use protocol::{BarrierFilter, ControlLines, Said};
use std::io::{self, Write};

/// This much of the terminal's and the serial port's output is kept, for the case that the guest fails.
const KEPT: usize = 4096;

/// The guest's side of the conversation.
#[derive(Default)]
pub struct Guest {
    /// While the barrier is ahead.
    barrier: BarrierFilter,
    control: ControlLines,
    last_words: Vec<u8>,
}

impl Guest {
    /// Passes the program's output on and returns what init has said last.
    pub fn hear(&mut self, output: &Output) -> io::Result<Option<Said>> {
        let mut said = None;
        let records = output.take();
        let mut rest = records.as_slice();
        while let Some((&[number, a, b, c, d], tail)) = rest.split_first_chunk() {
            let (bytes, tail) = tail.split_at((u32::from_le_bytes([a, b, c, d]) as usize).min(tail.len()));
            rest = tail;
            match Port::ALL.get(usize::from(number)) {
                Some(Port::Stdout) => pass_on(io::stdout(), bytes)?,
                Some(Port::Stderr) => pass_on(io::stderr(), bytes)?,
                Some(Port::Control) => self.control.take(bytes, |line| said = Some(line)),
                Some(Port::Tty) => {
                    let mut text = Vec::new();
                    self.barrier.pass(bytes, &mut text);
                    self.keep(&text);
                }
                // The guest has no business writing there.
                Some(Port::Stdin) => {}
                None => self.keep(bytes),
            }
        }
        Ok(said)
    }

    /// The guest has announced the barrier and nothing since.
    pub fn at_barrier(&self) -> bool {
        self.barrier.at_barrier()
    }

    /// The end of what it wrote to terminal and serial port.
    pub fn last_words(&self) -> String {
        String::from_utf8_lossy(&self.last_words).chars().filter(|c| *c == '\n' || !c.is_control()).collect()
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.last_words.extend(bytes);
        let surplus = self.last_words.len().saturating_sub(KEPT);
        self.last_words.drain(..surplus);
    }
}

/// Without a buffer: the guest's output is seen as soon as it is there.
fn pass_on(mut stream: impl Write, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}
