//! The keys that are for prebake and not for the guest.

const ESCAPE: u8 = 0x01;

/// Takes Ctrl-A sequences out of what the user types: Ctrl-A x leaves, Ctrl-A s saves, Ctrl-A Ctrl-A is one Ctrl-A, anything else passes as
/// it is.
#[derive(Debug, Default)]
pub struct EscapeFilter {
    /// The last key was a Ctrl-A that nothing has followed yet.
    escaped: bool,
}

/// What the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// To type.
    Type,
    /// To keep what was done so far.
    Save,
    /// To leave.
    Leave,
}

impl EscapeFilter {
    /// Appends to `out` what of `typed` is for the guest. What follows a wish to leave is dropped.
    pub fn pass(&mut self, typed: &[u8], out: &mut impl Extend<u8>) -> Wish {
        let mut wish = Wish::Type;
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
                b'x' => return Wish::Leave,
                b's' => wish = Wish::Save,
                ESCAPE => out.extend([ESCAPE]),
                other => out.extend([ESCAPE, other]),
            }
        }
        wish
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(pieces: &[&[u8]]) -> (Vec<u8>, Wish) {
        let (mut filter, mut out) = (EscapeFilter::default(), Vec::new());
        let wish = pieces.iter().fold(Wish::Type, |_, piece| filter.pass(piece, &mut out));
        (out, wish)
    }

    #[test]
    fn ctrl_a_x_leaves() {
        assert_eq!(pass(&[b"ls\r\x01x"]), (b"ls\r".to_vec(), Wish::Leave));
        assert_eq!(pass(&[b"ls\r\x01", b"x"]), (b"ls\r".to_vec(), Wish::Leave));
    }

    #[test]
    fn ctrl_a_s_saves() {
        assert_eq!(pass(&[b"ls\r\x01sx"]), (b"ls\rx".to_vec(), Wish::Save));
        assert_eq!(pass(&[b"\x01s\x01x"]), (Vec::new(), Wish::Leave));
    }

    #[test]
    fn other_keys_pass() {
        assert_eq!(pass(&[b"x\x01\x01x\x01", b"\x01"]), (b"x\x01x\x01".to_vec(), Wish::Type));
        assert_eq!(pass(&[b"\x01a\x01\x03"]), (b"\x01a\x01\x03".to_vec(), Wish::Type));
        assert_eq!(pass(&[b"\x01"]), (Vec::new(), Wish::Type));
    }
}
