//! The keys that are prebake's and not the guest's.

use crate::Event;

const ESCAPE: u8 = 0x01;

/// Takes the Ctrl-A sequences out of what a user types: Ctrl-A x leaves, Ctrl-A s saves, Ctrl-A Ctrl-A is one Ctrl-A, and any other key
/// passes together with the Ctrl-A before it.
#[derive(Debug, Default)]
pub struct EscapeKeys {
    /// The last key was a Ctrl-A.
    escaped: bool,
}

/// What an escape sequence asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EscapeCommand {
    /// Save the machine, and let it run on.
    Save,
    /// Leave the machine.
    Leave,
}

impl From<EscapeCommand> for Event<'_> {
    fn from(command: EscapeCommand) -> Self {
        match command {
            EscapeCommand::Save => Self::Save,
            EscapeCommand::Leave => Self::Leave,
        }
    }
}

impl EscapeKeys {
    /// Appends to `out` what the guest is to get of `typed`. Keys after a command to leave are dropped.
    pub fn filter(&mut self, typed: &[u8], out: &mut impl Extend<u8>) -> Option<EscapeCommand> {
        let mut command = None;
        for &key in typed {
            if !self.escaped {
                self.escaped = key == ESCAPE;
                if !self.escaped {
                    out.extend([key]);
                }
                continue;
            }
            self.escaped = false;
            match key {
                b'x' => return Some(EscapeCommand::Leave),
                b's' => command = Some(EscapeCommand::Save),
                ESCAPE => out.extend([ESCAPE]),
                other => out.extend([ESCAPE, other]),
            }
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(pieces: &[&[u8]]) -> (Vec<u8>, Option<EscapeCommand>) {
        let (mut keys, mut out) = (EscapeKeys::default(), Vec::new());
        let command = pieces.iter().fold(None, |_, piece| keys.filter(piece, &mut out));
        (out, command)
    }

    #[test]
    fn ctrl_a_x_leaves() {
        assert_eq!(filter(&[b"ls\r\x01x"]), (b"ls\r".to_vec(), Some(EscapeCommand::Leave)));
        assert_eq!(filter(&[b"ls\r\x01", b"xls\r"]), (b"ls\r".to_vec(), Some(EscapeCommand::Leave)));
    }

    #[test]
    fn ctrl_a_s_saves() {
        assert_eq!(filter(&[b"ls\r\x01sx"]), (b"ls\rx".to_vec(), Some(EscapeCommand::Save)));
        assert_eq!(filter(&[b"\x01s\x01x"]), (Vec::new(), Some(EscapeCommand::Leave)));
    }

    #[test]
    fn other_keys_pass() {
        assert_eq!(filter(&[b"x\x01\x01x\x01", b"\x01"]), (b"x\x01x\x01".to_vec(), None));
        assert_eq!(filter(&[b"\x01a\x01\x03"]), (b"\x01a\x01\x03".to_vec(), None));
        assert_eq!(filter(&[b"\x01"]), (Vec::new(), None));
    }
}
