//! A second program in a machine whose program runs: what the host orders and what init reports. The same messages pass between `prebake exec` and
//! the process that has the machine, where all numbers are 0.
//!
//! Each stream has a window: whoever sends may be so many bytes ahead of what the other end says it has taken. So nobody has to hold more than that.

use crate::frame::{FrameReader, Framed};

/// Programs at a time, besides the machine's own.
pub const MAX_EXECS: usize = 16;
/// Bytes of one program's output, or of its input, that are under way at most.
pub const EXEC_WINDOW: usize = 64 << 10;
/// Bytes of a stream in one message.
pub const MAX_CHUNK: usize = 16 << 10;
/// Bytes of what says what to run.
pub const MAX_EXEC_INFO: usize = 48 << 10;
/// Bytes of a reason, which is on one line with the number.
const MAX_REASON: usize = 220;
/// The program that copies files: init itself, by a name that it has in every container.
pub const COPIER: &str = "/proc/self/exe";

/// Names a program among those of one machine.
pub type ExecId = u32;

/// What the host wants of one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecOrder {
    /// Start it.
    Start {
        /// On a terminal of its own; otherwise on three streams.
        terminal: Option<ExecTerminal>,
        /// What to run: an [`Info`](crate::Info).
        info: Vec<u8>,
    },
    /// Input; none is the end of it.
    Input(Vec<u8>),
    /// So many bytes of its output have been taken.
    Taken(usize),
    /// Send this signal to it and to the processes that are with it.
    Signal(i32),
    /// Its terminal has another size.
    Resize(ExecWindow),
    /// Nobody listens to it any more.
    HangUp,
}

/// The terminal of a program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecTerminal {
    /// `TERM`: printable, without spaces.
    pub name: Option<String>,
    /// Its size.
    pub window: ExecWindow,
}

/// The size of a terminal in characters; 0x0 is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExecWindow {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}

/// What init says of one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecReport {
    /// It has written this. A terminal is all standard output.
    Output {
        /// To standard error.
        is_error: bool,
        /// What.
        bytes: Vec<u8>,
    },
    /// There is room for so many bytes of input. The first of these says that it has started.
    Taken(usize),
    /// It has ended with this status, and all its output has been sent before.
    Exit(u8),
    /// It cannot be run, or not any longer, for this reason.
    Failed(String),
}

/// A message about one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec<T> {
    /// Which.
    pub id: ExecId,
    /// What.
    pub what: T,
}

impl Exec<ExecOrder> {
    /// The message in bytes.
    pub fn encode(&self) -> Vec<u8> {
        let id = self.id;
        match &self.what {
            ExecOrder::Start { terminal, info } => {
                let terminal = terminal.as_ref().map_or(String::new(), |ExecTerminal { name, window }| {
                    format!(" tty={} cols={} rows={}", name.as_deref().unwrap_or_default(), window.cols, window.rows)
                });
                framed(format!("exec {id} start {}{terminal}\n", info.len()), info)
            }
            ExecOrder::Input(bytes) => framed(format!("exec {id} input {}\n", bytes.len()), bytes),
            ExecOrder::Taken(count) => format!("exec {id} taken {count}\n").into_bytes(),
            ExecOrder::Signal(number) => format!("exec {id} signal {number}\n").into_bytes(),
            ExecOrder::Resize(window) => format!("exec {id} resize {} {}\n", window.cols, window.rows).into_bytes(),
            ExecOrder::HangUp => format!("exec {id} hangup\n").into_bytes(),
        }
    }
}

impl Exec<ExecReport> {
    /// The message in bytes.
    pub fn encode(&self) -> Vec<u8> {
        let id = self.id;
        match &self.what {
            ExecReport::Output { is_error, bytes } => {
                framed(format!("exec {id} {} {}\n", if *is_error { "stderr" } else { "stdout" }, bytes.len()), bytes)
            }
            ExecReport::Taken(count) => format!("exec {id} taken {count}\n").into_bytes(),
            ExecReport::Exit(status) => format!("exec {id} exit {status}\n").into_bytes(),
            ExecReport::Failed(reason) => {
                let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                format!("exec {id} failed {}\n", &reason[..reason.floor_char_boundary(MAX_REASON)]).into_bytes()
            }
        }
    }
}

fn framed(line: String, bytes: &[u8]) -> Vec<u8> {
    let mut frame = line.into_bytes();
    frame.extend_from_slice(bytes);
    frame
}

impl Framed for Exec<ExecOrder> {
    fn parse(line: &str) -> Option<(Self, usize)> {
        let (id, word, mut words) = head(line)?;
        let (what, length) = match word {
            "start" => {
                let length = number(words.next()?, MAX_EXEC_INFO)?;
                (ExecOrder::Start { terminal: terminal(words)?, info: Vec::new() }, length)
            }
            "input" => (ExecOrder::Input(Vec::new()), number(words.next()?, MAX_CHUNK)?),
            "taken" => (ExecOrder::Taken(number(words.next()?, EXEC_WINDOW)?), 0),
            "signal" => (ExecOrder::Signal(i32::try_from(number(words.next()?, 64)?).ok().filter(|number| *number != 0)?), 0),
            "resize" => (ExecOrder::Resize(ExecWindow { cols: words.next()?.parse().ok()?, rows: words.next()?.parse().ok()? }), 0),
            "hangup" => (ExecOrder::HangUp, 0),
            _ => return None,
        };
        Some((Self { id, what }, length))
    }

    fn bytes(&mut self) -> Option<&mut Vec<u8>> {
        match &mut self.what {
            ExecOrder::Start { info: bytes, .. } | ExecOrder::Input(bytes) => Some(bytes),
            _ => None,
        }
    }
}

impl Framed for Exec<ExecReport> {
    fn parse(line: &str) -> Option<(Self, usize)> {
        let (id, word, mut words) = head(line)?;
        let (what, length) = match word {
            "stdout" | "stderr" => {
                (ExecReport::Output { is_error: word == "stderr", bytes: Vec::new() }, number(words.next()?, MAX_CHUNK)?)
            }
            "taken" => (ExecReport::Taken(number(words.next()?, EXEC_WINDOW)?), 0),
            "exit" => (ExecReport::Exit(words.next()?.parse().ok()?), 0),
            // It is shown to the user, whose terminal is not the guest's to program.
            "failed" => {
                let reason = line.splitn(4, ' ').nth(3).unwrap_or_default();
                (ExecReport::Failed(reason.chars().map(|c| if c.is_control() { '?' } else { c }).collect()), 0)
            }
            _ => return None,
        };
        Some((Self { id, what }, length))
    }

    fn bytes(&mut self) -> Option<&mut Vec<u8>> {
        match &mut self.what {
            ExecReport::Output { bytes, .. } => Some(bytes),
            _ => None,
        }
    }
}

impl<T> Exec<T>
where
    Self: Framed,
{
    /// The one message that `bytes` are.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (mut reader, mut messages) = (FrameReader::default(), Vec::new());
        reader.read(bytes, |message| messages.push(message));
        messages.pop().filter(|_| messages.is_empty())
    }
}

/// `exec ID WORD …`.
fn head(line: &str) -> Option<(ExecId, &str, std::str::Split<'_, char>)> {
    let mut words = line.split(' ');
    let is_exec = words.next()? == "exec";
    let id = words.next()?.parse().ok().filter(|_| is_exec)?;
    Some((id, words.next()?, words))
}

/// A number in digits, not above `most`.
fn number(word: &str, most: usize) -> Option<usize> {
    word.parse().ok().filter(|number| *number <= most && word.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The `key=value` words of a start, of which those that are not known are skipped.
fn terminal<'a>(words: impl Iterator<Item = &'a str>) -> Option<Option<ExecTerminal>> {
    let (mut terminal, mut window) = (None, ExecWindow::default());
    for word in words {
        match word.split_once('=')? {
            ("tty", "") => terminal = Some(None),
            ("tty", name) => terminal = Some(Some(name.to_owned())),
            ("cols", number) => window.cols = number.parse().ok()?,
            ("rows", number) => window.rows = number.parse().ok()?,
            _ => {}
        }
    }
    Some(terminal.map(|name| ExecTerminal { name, window }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order() -> impl Strategy<Value = ExecOrder> {
        let window = || (any::<u16>(), any::<u16>()).prop_map(|(cols, rows)| ExecWindow { cols, rows });
        let terminal = (prop::option::of("[!-~]{1,40}"), window()).prop_map(|(name, window)| ExecTerminal { name, window });
        prop_oneof![
            (prop::option::of(terminal), prop::collection::vec(any::<u8>(), 0..600))
                .prop_map(|(terminal, info)| ExecOrder::Start { terminal, info }),
            prop::collection::vec(any::<u8>(), 0..600).prop_map(ExecOrder::Input),
            (0..=EXEC_WINDOW).prop_map(ExecOrder::Taken),
            (1..=64_i32).prop_map(ExecOrder::Signal),
            window().prop_map(ExecOrder::Resize),
            Just(ExecOrder::HangUp),
        ]
    }

    fn report() -> impl Strategy<Value = ExecReport> {
        prop_oneof![
            (any::<bool>(), prop::collection::vec(any::<u8>(), 0..600))
                .prop_map(|(is_error, bytes)| ExecReport::Output { is_error, bytes }),
            (0..=EXEC_WINDOW).prop_map(ExecReport::Taken),
            any::<u8>().prop_map(ExecReport::Exit),
            "[ -~é]{0,100}".prop_map(ExecReport::Failed),
        ]
    }

    /// What is read of these bytes, in pieces of this size.
    fn read<T>(bytes: &[u8], piece: usize) -> Vec<Exec<T>>
    where
        Exec<T>: Framed,
    {
        let (mut reader, mut messages) = (FrameReader::default(), Vec::new());
        bytes.chunks(piece).for_each(|piece| reader.read(piece, |message| messages.push(message)));
        messages
    }

    proptest! {
        #[test]
        fn orders_arrive_however_they_are_cut(orders in prop::collection::vec((any::<u32>(), order()), 0..6), piece in 1..700_usize) {
            let orders: Vec<_> = orders.into_iter().map(|(id, what)| Exec { id, what }).collect();
            let bytes: Vec<u8> = orders.iter().flat_map(Exec::<ExecOrder>::encode).collect();
            prop_assert_eq!(read::<ExecOrder>(&bytes, piece), orders);
        }

        #[test]
        fn reports_arrive_however_they_are_cut(reports in prop::collection::vec((any::<u32>(), report()), 0..6), piece in 1..700_usize) {
            let reports: Vec<_> = reports.into_iter().map(|(id, what)| Exec { id, what }).collect();
            let bytes: Vec<u8> = reports.iter().flat_map(Exec::<ExecReport>::encode).collect();
            prop_assert_eq!(read::<ExecReport>(&bytes, piece), reports);
        }

        #[test]
        fn any_bytes_are_bounded_messages(
            bytes in prop::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(b'\n')], 0..400),
            head in "(exec [0-9]{1,11} (start|input|stdout|stderr|taken|exit|failed) [0-9]{0,7}[ -~]{0,9}\n)?",
        ) {
            let bytes = [head.as_bytes(), &bytes].concat();
            for message in read::<ExecOrder>(&bytes, 7) {
                prop_assert!(message.encode().len() <= bytes.len() + 40);
            }
            for message in read::<ExecReport>(&bytes, 7) {
                prop_assert!(message.encode().len() <= bytes.len() + 40);
            }
        }
    }

    #[test]
    fn messages_are_lines_with_bytes_behind_them() {
        let terminal = ExecTerminal { name: Some("xterm".into()), window: ExecWindow { cols: 80, rows: 24 } };
        let start = Exec { id: 7, what: ExecOrder::Start { terminal: Some(terminal), info: b"e: a\n".to_vec() } };
        assert_eq!(start.encode(), b"exec 7 start 5 tty=xterm cols=80 rows=24\ne: a\n");
        assert_eq!(Exec { id: 7, what: ExecOrder::Input(Vec::new()) }.encode(), b"exec 7 input 0\n");
        let output = Exec { id: 1, what: ExecReport::Output { is_error: true, bytes: b"\n\n".to_vec() } };
        assert_eq!(output.encode(), b"exec 1 stderr 2\n\n\n");
        assert_eq!(Exec::decode(&output.encode()), Some(output));
    }

    #[test]
    fn what_is_too_much_is_dropped() {
        let too_many = format!("exec 1 input {}\nexec 1 start {}\nexec 1 taken {}\n", MAX_CHUNK + 1, MAX_EXEC_INFO + 1, EXEC_WINDOW + 1);
        assert_eq!(read::<ExecOrder>(too_many.as_bytes(), 100), []);
        let odd = b"exec 1 signal 0\nexec 1 signal 65\nexec -1 hangup\nexec 4294967296 hangup\nexec 1 input +1\nexec 1 start 0 tty\nexec 1\nexec\n";
        assert_eq!(read::<ExecOrder>(odd, 100), []);
        let odd = format!("exec 1 stdout {}\nexec 1 exit 256\nexec 1 exit\nexec 1 taken 65537\n", MAX_CHUNK + 1);
        assert_eq!(read::<ExecReport>(odd.as_bytes(), 100), []);
    }

    #[test]
    fn a_reason_is_one_printable_line() {
        let long = ExecReport::Failed("é\x1b[2J\n".repeat(200));
        let bytes = Exec { id: u32::MAX, what: long }.encode();
        assert!(bytes.len() <= 256 && bytes.iter().filter(|&&byte| byte == b'\n').count() == 1);
        assert!(matches!(Exec::decode(&bytes), Some(Exec { what: ExecReport::Failed(_), .. })));
        let hostile = Exec::<ExecReport>::decode(b"exec 1 failed a\x1b[2Jb\n").map(|message| message.what);
        assert_eq!(hostile, Some(ExecReport::Failed("a?[2Jb".into())));
    }
}
