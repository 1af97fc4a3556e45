//! What a guest writes, passed on as it comes.

use crate::error::{Error, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io::{PipeReader, Read};

/// Bytes that are passed on at once, at most.
pub const CHUNK: usize = 64 << 10;

/// Where bytes were written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error, and what the kernel says.
    Stderr,
}

/// Passes on what comes by both until both have ended, which is when the machine has. `take` is called on this thread; while it does not return, the guest
/// is not waited for but waits.
pub fn forward(stdout: PipeReader, stderr: PipeReader, mut take: impl FnMut(Stream, &[u8])) -> Result<()> {
    let mut sources = vec![(Stream::Stdout, stdout), (Stream::Stderr, stderr)];
    let mut buffer = vec![0; CHUNK];
    let error = |source| Error::Host { what: "read a guest's output", source };
    while !sources.is_empty() {
        let mut polled: Vec<_> = sources.iter().map(|(_, source)| PollFd::new(source, PollFlags::IN)).collect();
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(error(errno.into())),
        }
        let ready: Vec<bool> = polled.iter().map(|polled| !polled.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        let mut failure = None;
        sources.retain_mut(|(stream, source)| {
            if ready.next() != Some(true) {
                return true;
            }
            match source.read(&mut buffer) {
                Ok(0) => false,
                Ok(count) => {
                    take(*stream, &buffer[..count]);
                    true
                }
                Err(source) => {
                    failure = Some(source);
                    false
                }
            }
        });
        if let Some(source) = failure {
            return Err(error(source));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Write, pipe};

    #[test]
    fn what_comes_is_passed_on_until_both_have_ended() {
        let ((stdout, mut out), (stderr, mut err)) = (pipe().unwrap(), pipe().unwrap());
        let writer = std::thread::spawn(move || {
            err.write_all(b"complaint").unwrap();
            drop(err);
            for _ in 0..100 {
                out.write_all(&[b'x'; 10_000]).unwrap();
            }
        });
        let (mut shown, mut complaints, mut longest) = (0, Vec::new(), 0);
        forward(stdout, stderr, |stream, bytes| match stream {
            Stream::Stdout => {
                shown += bytes.len();
                longest = longest.max(bytes.len());
            }
            Stream::Stderr => complaints.extend_from_slice(bytes),
        })
        .unwrap();
        writer.join().unwrap();
        assert_eq!((shown, &complaints[..]), (1_000_000, &b"complaint"[..]));
        assert!(longest <= CHUNK);
    }
}
