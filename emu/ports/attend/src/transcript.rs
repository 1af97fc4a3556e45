//! The end of what the guest wrote to a terminal.

use snapshot::{Record, SectionId};

/// Longest unfinished line that is kept, in bytes.
const MAX_LINE: usize = 4096;
/// Bytes of recent output that are kept for error messages.
const MAX_RECENT: usize = 4096;
/// A program asks its terminal where the cursor is (ECMA-48: DSR 6).
const CURSOR_QUERY: &[u8] = b"\x1b[6n";

snapshot::saved! {
    /// What the guest wrote to its terminal after the last line end. Whoever resumes the guest is shown it again. Untrusted.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct TranscriptState(pub Vec<u8>);
}

impl Record for TranscriptState {
    const ID: SectionId = SectionId::new(*b"TAIL");
    const VERSION: u16 = 1;
    const CRITICAL: bool = false;
}

/// The unfinished last line and the most recent output of a terminal, both of bounded length.
#[derive(Debug, Default)]
pub struct Transcript {
    line: Vec<u8>,
    recent: Vec<u8>,
}

impl Transcript {
    /// Continues the transcript of a snapshot.
    pub fn restore(state: TranscriptState) -> Self {
        let mut transcript = Self::default();
        transcript.push(&state.0);
        transcript
    }

    /// The record for a snapshot.
    pub fn save(&self) -> TranscriptState {
        TranscriptState(self.line.clone())
    }

    /// Appends output.
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

    /// The most recent output as printable text, for an error message.
    pub fn recent(&self) -> String {
        let text = String::from_utf8_lossy(&self.recent);
        text.chars().filter(|&c| c == '\n' || !c.is_control()).collect::<String>().trim().to_owned()
    }

    /// A terminal's answer, if the guest has just asked where the cursor is. The question is removed from the line, so that a terminal that
    /// shows the line later does not answer it again.
    pub fn answer_cursor_query(&mut self) -> Option<String> {
        self.line.strip_suffix(CURSOR_QUERY)?;
        self.line.truncate(self.line.len() - CURSOR_QUERY.len());
        // In the last of 24 rows. In the first, busybox takes some answers for Ctrl with a cursor key.
        Some(format!("\x1b[24;{}R", columns(&self.line) + 1))
    }
}

/// Columns by which `line`, which may hold escape sequences, has moved the cursor.
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
        let mut transcript = Transcript::default();
        transcript.push(b"hello\r\n/ #");
        transcript.push(b" ");
        assert_eq!(transcript.line(), b"/ # ");
        assert_eq!(Transcript::restore(transcript.save()).line(), b"/ # ");
        transcript.push(b"ls\n");
        assert_eq!(transcript.line(), b"");
    }

    #[test]
    fn a_cursor_query_is_answered_once() {
        let mut transcript = Transcript::default();
        transcript.push(b"hello\r\n");
        assert_eq!(transcript.answer_cursor_query(), None);
        transcript.push(b"old\r\x1b[K\x1b[1;32m/\x1b[0m \x1b=\xc3\xa9# \x1b[6");
        assert_eq!(transcript.answer_cursor_query(), None);
        transcript.push(b"n");
        assert_eq!(transcript.answer_cursor_query().as_deref(), Some("\x1b[24;6R"));
        assert_eq!(transcript.line(), b"old\r\x1b[K\x1b[1;32m/\x1b[0m \x1b=\xc3\xa9# ");
        assert_eq!(transcript.answer_cursor_query(), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut transcript = Transcript::default();
        for i in 0..100 {
            transcript.push(&[b'a' + i % 26; 1000]);
        }
        assert_eq!(transcript.line().len(), MAX_LINE);
        assert_eq!(transcript.line()[MAX_LINE - 1], b'a' + 99 % 26);
        assert_eq!(transcript.recent().len(), MAX_RECENT);
    }

    #[test]
    fn a_message_quotes_only_text() {
        let mut transcript = Transcript::default();
        transcript.push(b"\x1b[1mpanic\r\n\x07no root\n\n");
        assert_eq!(transcript.recent(), "[1mpanic\nno root");
    }
}
