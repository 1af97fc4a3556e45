//! What is said to the user while work goes on: on standard error, a line that keeps changing on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Read, Write};
use std::time::{Duration, Instant};

/// Between two changes of the line.
const INTERVAL: Duration = Duration::from_millis(100);
/// To the start of the line, and erase it.
const ERASE: &str = "\r\x1b[K";

/// A voice with a name.
#[derive(Debug)]
pub struct Progress {
    name: &'static str,
    terminal: bool,
    last: Instant,
    /// A line stands there that is not finished.
    open: bool,
}

impl Progress {
    /// Lines start with `name`.
    pub fn new(name: &'static str) -> Self {
        Self { name, terminal: io::stderr().is_terminal(), last: Instant::now(), open: false }
    }

    /// Something that will soon be different; said now and then, and only on a terminal.
    pub fn update(&mut self, text: impl FnOnce() -> String) {
        if self.terminal && self.last.elapsed() >= INTERVAL {
            self.last = Instant::now();
            self.open = true;
            write(format_args!("{ERASE}{}: {}", self.name, text()));
        }
    }

    /// Something that stays.
    pub fn say(&mut self, text: impl std::fmt::Display) {
        self.erase();
        write(format_args!("{}: {text}\n", self.name));
    }

    fn erase(&mut self) {
        if std::mem::take(&mut self.open) {
            write(format_args!("{ERASE}"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.erase();
    }
}

/// A reader that tells the user how much of it has been read.
pub struct Watched<'a, R> {
    inner: R,
    done: u64,
    total: u64,
    what: String,
    progress: &'a mut Progress,
}

impl<'a, R> Watched<'a, R> {
    /// Of `inner`, which has `total` bytes; `what` says what is being done.
    pub fn new(inner: R, what: String, total: u64, progress: &'a mut Progress) -> Self {
        Self { inner, done: 0, total, what, progress }
    }
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.done += count as u64;
        self.progress.update(|| format!("{}: {} of {}", self.what, mebibytes(self.done), mebibytes(self.total)));
        Ok(count)
    }
}

/// Says a line to the user. Unlike `eprintln!` it does not mind that standard error is gone, say with the terminal.
pub fn say(text: impl std::fmt::Display) {
    write(format_args!("{text}\n"));
}

fn write(text: std::fmt::Arguments<'_>) {
    // Where standard error cannot be written there is nobody to tell.
    let _ = io::stderr().write_fmt(text);
}

/// Text from anyone, for a terminal that is not theirs to program.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.char_indices() {
        if i != 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Bytes as MiB.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Millions of instructions per second.
pub fn mips(instructions: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { instructions as f64 / time.as_secs_f64() / 1e6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_terminal_is_not_programmed() {
        assert_eq!(printable("ä\x1b[2J\n"), "ä\\u{1b}[2J\\n");
    }

    #[test]
    fn speed_needs_time() {
        assert_eq!(mips(5_000_000, Duration::from_millis(500)), 10.0);
        assert_eq!(mips(5, Duration::ZERO), 0.0);
    }
}
