//! What prebake and the guest's init say to each other: the barrier on the terminal, lines on the control port, and what is to be run, as
//! guest/init/PROTOCOL.md defines them.

mod exec;
mod frame;
mod image;
mod info;
mod message;
pub mod network;

pub use exec::{COPIER, EXEC_WINDOW, Exec, ExecId, ExecOrder, ExecReport, ExecTerminal, ExecWindow, MAX_CHUNK, MAX_EXEC_INFO, MAX_EXECS};
pub use frame::{FrameReader, Framed};
pub use image::ProgramDefaults;
pub use info::{Bind, Info, Limit, RESOURCES, Tmpfs};
pub use message::{AfterExit, GuestMessage, HostMessage, MessageReader, Mode};

/// Mount tag of the share with the host's files, each at its path in the guest.
pub const FILES_TAG: &str = "wasi0";
/// Mount tag of the share through which prebake itself talks to init.
pub const RESERVED_TAG: &str = "wasi1";
/// The file of the reserved share that tells init what to run: an [`Info`].
pub const INFO_FILE: &str = "info";
/// The file of the reserved share from which init seeds the random generator: [`SEED_LEN`] bytes.
pub const SEED_FILE: &str = "entropy";
/// Bytes of a seed.
pub const SEED_LEN: usize = 64;

/// What init writes to the terminal when it is ready, without a newline.
const BARRIER: [u8; 10] = *b"==========";
/// The answer that lets it go on.
pub const ANSWER: &[u8] = b"=\n";

/// Takes the barrier out of the terminal's output: ten `=` in a row, and nothing after them. Nobody can tell before the guest waits for the
/// answer, so what may be the barrier is held back until then.
#[derive(Debug, Default)]
pub struct BarrierFilter {
    held: usize,
    /// The row is longer than the barrier.
    overrun: bool,
}

impl BarrierFilter {
    /// Appends to `out` what cannot be the barrier any more.
    pub fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            if byte == BARRIER[0] && !self.overrun {
                self.held += 1;
                self.overrun = self.held > BARRIER.len();
                if self.overrun {
                    self.release(out);
                }
            } else {
                self.release(out);
                self.overrun = byte == BARRIER[0];
                out.push(byte);
            }
        }
    }

    /// The barrier has been written, and nothing since.
    pub fn at_barrier(&self) -> bool {
        self.held == BARRIER.len()
    }

    fn release(&mut self, out: &mut Vec<u8>) {
        out.resize(out.len() + self.held, BARRIER[0]);
        self.held = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pass(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let (mut filter, mut out) = (BarrierFilter::default(), Vec::new());
        pieces.iter().for_each(|piece| filter.pass(piece, &mut out));
        (out, filter.at_barrier())
    }

    #[test]
    fn the_barrier_is_swallowed_however_it_is_cut() {
        assert_eq!(pass(&[b"hello\n=========="]), (b"hello\n".to_vec(), true));
        assert_eq!(pass(&[b"a=", b"===", b"======"]), (b"a".to_vec(), true));
        assert_eq!(pass(&[b"==========", b"\n=========="]), (b"==========\n".to_vec(), true));
    }

    #[test]
    fn other_rows_are_not_the_barrier() {
        assert_eq!(pass(&[b"========="]), (Vec::new(), false));
        assert_eq!(pass(&[b"=========\n"]), (b"=========\n".to_vec(), false));
        assert_eq!(pass(&[b"===========", b"=========="]), (vec![b'='; 21], false));
        assert_eq!(pass(&[b"========== booting"]), (b"========== booting".to_vec(), false));
    }

    proptest! {
        #[test]
        fn nothing_is_lost(bytes in prop::collection::vec(prop_oneof![4 => Just(b'='), 1 => Just(b'.')], 0..60), cut in 0..60_usize) {
            let cut = cut.min(bytes.len());
            let (mut out, at_barrier) = pass(&[&bytes[..cut], &bytes[cut..]]);
            let row = bytes.iter().rev().take_while(|&&byte| byte == b'=').count();
            prop_assert_eq!(at_barrier, row == 10);
            out.resize(out.len() + if row <= 10 { row } else { 0 }, b'=');
            prop_assert_eq!(out, bytes);
        }
    }
}
