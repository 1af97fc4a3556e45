//! Standard input of this host.

use super::console::InputSource;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read};
use rustix::time::Timespec;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// What has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// Nothing: the time is over, or something else woke this process.
    Nothing,
    /// Bytes.
    Bytes(Vec<u8>),
    /// The end of the input. More may follow it on a terminal, but a program that ends here would not see it either.
    End,
    /// The terminal is gone.
    HangUp,
}

/// Standard input, until it ends.
#[derive(Debug)]
pub struct Stdin<F> {
    stream: F,
    source: InputSource,
    ended: bool,
}

impl<F: AsFd> Stdin<F> {
    /// Input from `stream`.
    pub const fn new(stream: F, source: InputSource) -> Self {
        Self { stream, source, ended: false }
    }

    /// It comes from a terminal.
    pub fn is_terminal(&self) -> bool {
        self.source != InputSource::Pipe
    }

    /// Waits until there is input, if that is `wanted`, or one of `wake` is readable, or the time is over; and reads the input.
    pub fn wait(&mut self, wanted: bool, wake: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Arrival> {
        let timeout = timeout.map(|time| Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) });
        let stream = (wanted && !self.ended).then(|| PollFd::new(&self.stream, PollFlags::IN));
        let mut watched: Vec<_> = wake.iter().map(|wake| PollFd::from_borrowed_fd(*wake, PollFlags::IN)).chain(stream).collect();
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Arrival::Nothing),
            Err(error) => return Err(error.into()),
        }
        let ready = watched.get(wake.len()).map_or(PollFlags::empty(), PollFd::revents);
        if ready.is_empty() { Ok(Arrival::Nothing) } else { self.read(ready) }
    }

    fn read(&mut self, ready: PollFlags) -> io::Result<Arrival> {
        let mut bytes = [0; 16 << 10];
        let arrival = match read(&self.stream, &mut bytes) {
            // On a terminal that is not raw, Ctrl-D is the end; one that is gone says so besides.
            Ok(0) if self.source == InputSource::LocalTerminal && ready.intersects(PollFlags::HUP | PollFlags::ERR) => Arrival::HangUp,
            Ok(0) => Arrival::End,
            Ok(count) => Arrival::Bytes(bytes[..count].to_vec()),
            Err(Errno::INTR | Errno::AGAIN) => Arrival::Nothing,
            // What a terminal says that has been hung up.
            Err(Errno::IO) if self.is_terminal() => Arrival::HangUp,
            Err(error) => return Err(error.into()),
        };
        self.ended = matches!(arrival, Arrival::End | Arrival::HangUp);
        Ok(arrival)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    const NEVER: Option<Duration> = None;

    #[test]
    fn input_arrives_and_ends_once() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        let (_keep, wake) = UnixStream::pair().unwrap();
        let mut stdin = Stdin::new(reader, InputSource::Pipe);
        writer.write_all(b"one\ntw").unwrap();
        assert_eq!(stdin.wait(true, &[wake.as_fd()], NEVER).unwrap(), Arrival::Bytes(b"one\ntw".to_vec()));
        drop(writer);
        assert_eq!(stdin.wait(true, &[wake.as_fd()], NEVER).unwrap(), Arrival::End);
        assert_eq!(stdin.wait(true, &[wake.as_fd()], Some(Duration::ZERO)).unwrap(), Arrival::Nothing);
        let mut stdin = Stdin::new(File::open("/dev/null").unwrap(), InputSource::Pipe);
        assert_eq!(stdin.wait(true, &[wake.as_fd()], NEVER).unwrap(), Arrival::End);
    }

    #[test]
    fn input_that_is_not_wanted_is_left() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        let mut stdin = Stdin::new(reader, InputSource::Pipe);
        writer.write_all(b"x").unwrap();
        assert_eq!(stdin.wait(false, &[], Some(Duration::ZERO)).unwrap(), Arrival::Nothing);
        assert_eq!(stdin.wait(true, &[], NEVER).unwrap(), Arrival::Bytes(b"x".to_vec()));
    }

    #[test]
    fn something_else_ends_the_waiting() {
        let (mut signal, wake) = UnixStream::pair().unwrap();
        let (_writer, reader) = UnixStream::pair().unwrap();
        signal.write_all(b"!").unwrap();
        assert_eq!(Stdin::new(reader, InputSource::Pipe).wait(true, &[wake.as_fd()], NEVER).unwrap(), Arrival::Nothing);
    }

    /// A terminal of the kernel's.
    fn terminal() -> (File, File) {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        let name = ptsname(&user, Vec::new()).unwrap();
        let terminal = rustix::fs::open(name, rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY, rustix::fs::Mode::empty()).unwrap();
        (user.into(), terminal.into())
    }

    #[test]
    fn ctrl_d_is_the_end_and_a_terminal_that_goes_is_a_hang_up() {
        let (mut user, terminal) = self::terminal();
        let mut stdin = Stdin::new(terminal, InputSource::LocalTerminal);
        user.write_all(b"line\n\x04").unwrap();
        assert_eq!(stdin.wait(true, &[], NEVER).unwrap(), Arrival::Bytes(b"line\n".to_vec()));
        assert_eq!(stdin.wait(true, &[], NEVER).unwrap(), Arrival::End);

        let (user, terminal) = self::terminal();
        let mut stdin = Stdin::new(terminal, InputSource::LocalTerminal);
        drop(user);
        assert_eq!(stdin.wait(true, &[], NEVER).unwrap(), Arrival::HangUp);
    }
}
