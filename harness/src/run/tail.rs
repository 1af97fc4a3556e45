//! The last that the guest wrote to its terminal.

use snapshot::{Record, SectionId};

/// Longest unfinished line that is kept.
const MAX_LINE: usize = 4096;
/// What is kept for whoever asks what happened.
const MAX_RECENT: usize = 4096;
/// A program asks its terminal where the cursor is (ECMA-48: DSR 6).
const CURSOR_QUERY: &[u8] = b"\x1b[6n";

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

    /// What a terminal answers to the guest if it has just asked where the cursor is. The question leaves the line: another terminal, which
    /// shows the line later, is not to answer it again.
    pub fn answer_cursor_query(&mut self) -> Option<String> {
        self.line.strip_suffix(CURSOR_QUERY)?;
        self.line.truncate(self.line.len() - CURSOR_QUERY.len());
        // In the last of 24 rows. In the first, busybox takes some answers for Ctrl with a cursor key.
        Some(format!("\x1b[24;{}R", columns(&self.line) + 1))
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

/// Columns that the cursor has moved in `line`, which may hold escape sequences.
fn columns(line: &[u8]) -> usize {
    let mut bytes = line.rsplit(|&byte| byte == b'\r').next().unwrap_or(line).iter();
    let mut columns = 0;
    while let Some(&byte) = bytes.next() {
        match byte {
            // A control sequence ends with its first byte from `@` on; any other escape sequence has one byte.
            0x1b if bytes.next() == Some(&b'[') => drop(bytes.find(|byte| **byte >= b'@')),
            // Control characters, and the later bytes of a character in UTF-8.
            ..=0x1f | 0x7f..=0xbf => {}
            _ => columns += 1,
        }
    }
    columns
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
    fn where_the_cursor_is_is_answered_once() {
        let mut tail = Tail::default();
        tail.push(b"hello\r\n");
        assert_eq!(tail.answer_cursor_query(), None);
        tail.push(b"old\r\x1b[K\x1b[1;32m/\x1b[0m \x1b=\xc3\xa9# \x1b[6");
        assert_eq!(tail.answer_cursor_query(), None);
        tail.push(b"n");
        assert_eq!(tail.answer_cursor_query().as_deref(), Some("\x1b[24;6R"));
        assert_eq!(tail.line(), b"old\r\x1b[K\x1b[1;32m/\x1b[0m \x1b=\xc3\xa9# ");
        assert_eq!(tail.answer_cursor_query(), None);
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
