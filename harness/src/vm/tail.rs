//! The last that the guest wrote to its terminal.

use snapshot::{Record, SectionId};

/// Longest unfinished line that is kept.
const MAX_LINE: usize = 4096;
/// What is kept for whoever asks what happened.
const MAX_RECENT: usize = 4096;

snapshot::saved! {
    /// What the guest wrote to its console after the last line end, to be shown to whoever resumes it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct TailState(pub Vec<u8>);
}

impl Record for TailState {
    const ID: SectionId = SectionId::new(*b"TAIL");
    const VERSION: u16 = 1;
    const CRITICAL: bool = false;
}

/// Keeps the end of a stream of text.
#[derive(Debug, Default)]
pub struct Tail {
    line: Vec<u8>,
    recent: Vec<u8>,
}

impl Tail {
    /// Goes on from a snapshot.
    pub fn restore(state: TailState) -> Self {
        let mut tail = Self::default();
        tail.push(&state.0);
        tail
    }

    /// Takes more of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        match bytes.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => self.line = bytes[end + 1..].to_vec(),
            None => self.line.extend_from_slice(bytes),
        }
        keep_last(&mut self.line, MAX_LINE);
        self.recent.extend_from_slice(bytes);
        keep_last(&mut self.recent, MAX_RECENT);
    }

    /// The unfinished last line.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// For the snapshot.
    pub fn save(&self) -> TailState {
        TailState(self.line.clone())
    }

    /// The last lines as printable text, for a message.
    pub fn recent(&self) -> String {
        let text = String::from_utf8_lossy(&self.recent);
        text.chars().filter(|&c| c == '\n' || !c.is_control()).collect::<String>().trim().to_owned()
    }
}

fn keep_last(bytes: &mut Vec<u8>, count: usize) {
    bytes.drain(..bytes.len().saturating_sub(count));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unfinished_line_is_kept() {
        let mut tail = Tail::default();
        tail.push(b"hello\r\n/ #");
        tail.push(b" ");
        assert_eq!(tail.line(), b"/ # ");
        assert_eq!(Tail::restore(tail.save()).line(), b"/ # ");
        tail.push(b"ls\n");
        assert_eq!(tail.line(), b"");
    }

    #[test]
    fn memory_is_bounded() {
        let mut tail = Tail::default();
        for i in 0..100 {
            tail.push(&[b'a' + i % 26; 1000]);
        }
        assert_eq!(tail.line().len(), MAX_LINE);
        assert_eq!(tail.line()[MAX_LINE - 1], b'a' + 99 % 26);
        assert_eq!(tail.recent().len(), MAX_RECENT);
    }

    #[test]
    fn a_message_quotes_only_text() {
        let mut tail = Tail::default();
        tail.push(b"\x1b[1mpanic\r\n\x07no root\n\n");
        assert_eq!(tail.recent(), "[1mpanic\nno root");
    }
}
