//! Where the guest's output goes on this host.

use attend::{Output, Routes, Stream, Transcript};
use devices::console::{ConsoleSink, Port};
use devices::serial::SerialSink;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::cell::{RefCell, RefMut};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

/// Bytes of a line that are kept back.
const MAX_GATHERED: usize = 4096;

/// The guest's output, from both sides: the machine writes to one handle, and whoever attends it looks at another.
#[derive(Debug, Clone)]
pub struct HostOutput(Rc<RefCell<Shared>>);

#[derive(Debug)]
struct Shared {
    output: Output,
    /// Standard output and standard error; none if nothing is shown.
    streams: Option<[OwnedFd; 2]>,
    /// What is kept back, if that is wanted, and for which stream.
    gathered: Option<(Stream, Vec<u8>)>,
    first: Option<Instant>,
    failure: Option<OutputFailure>,
}

/// Why output could not be written.
#[derive(Debug)]
pub struct OutputFailure {
    /// To which stream.
    pub stream: &'static str,
    /// Why not.
    pub source: io::Error,
}

impl HostOutput {
    /// Output to these streams, standard output and standard error, of a guest whose terminal has shown `terminal` so far.
    pub fn new(routes: Routes, streams: [OwnedFd; 2], barrier_ahead: bool, terminal: Transcript) -> Self {
        Self::of(Output::new(routes, barrier_ahead, terminal), Some(streams))
    }

    /// Output that is not shown.
    pub fn silent(barrier_ahead: bool) -> Self {
        Self::of(Output::new(Routes::nothing(), barrier_ahead, Transcript::default()), None)
    }

    fn of(output: Output, streams: Option<[OwnedFd; 2]>) -> Self {
        Self(Rc::new(RefCell::new(Shared { output, streams, gathered: None, first: None, failure: None })))
    }

    /// Writes what comes of a line at once, at its end or when [`Self::flush`] is called: an editor of lines writes each character by itself.
    pub fn gather(&self) {
        self.0.borrow_mut().gathered.get_or_insert((Stream::Stdout, Vec::new()));
    }

    /// Writes what was gathered.
    pub fn flush(&self) {
        self.0.borrow_mut().flush();
    }

    /// The output as its attendant sees it. Not while the machine runs.
    pub fn look(&self) -> RefMut<'_, Output> {
        RefMut::map(self.0.borrow_mut(), |shared| &mut shared.output)
    }

    /// When the guest first wrote something for the user.
    pub fn first(&self) -> Option<Instant> {
        self.0.borrow().first
    }

    /// Why output could not be written, if that happened since the last call.
    pub fn take_failure(&self) -> Option<OutputFailure> {
        self.0.borrow_mut().failure.take()
    }

    /// Writes to a stream.
    pub fn show(&self, stream: Stream, bytes: &[u8]) {
        let shared = &mut *self.0.borrow_mut();
        shared.show(stream, bytes);
        shared.flush();
    }
}

impl Shared {
    fn show(&mut self, stream: Stream, bytes: &[u8]) {
        match &mut self.gathered {
            None => self.write(stream, bytes),
            Some((last, gathered)) if *last == stream => gathered.extend_from_slice(bytes),
            Some(_) => {
                self.flush();
                self.gathered = Some((stream, bytes.to_vec()));
            }
        }
        if self.gathered.as_ref().is_some_and(|(_, gathered)| gathered.len() > MAX_GATHERED || bytes.contains(&b'\n')) {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if let Some((stream, bytes)) = self.gathered.take() {
            if !bytes.is_empty() {
                self.write(stream, &bytes);
            }
            self.gathered = Some((stream, Vec::new()));
        }
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let Some([stdout, stderr]) = &self.streams else { return };
        let (name, result) = match stream {
            Stream::Stdout => ("standard output", write_all(stdout.as_fd(), bytes)),
            Stream::Stderr => ("standard error", write_all(stderr.as_fd(), bytes)),
        };
        if let Err(error) = result {
            self.failure.get_or_insert(OutputFailure { stream: name, source: error.into() });
        }
    }
}

/// Writes everything.
fn write_all(stream: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(stream, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            // Another process that shares the stream has made it non-blocking.
            Err(Errno::AGAIN) => match poll(&mut [PollFd::from_borrowed_fd(stream, PollFlags::OUT)], None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl ConsoleSink for HostOutput {
    fn write(&mut self, port: Port, bytes: &[u8]) {
        let shared = &mut *self.0.borrow_mut();
        let Some((stream, bytes)) = shared.output.console(port, bytes) else { return };
        shared.first.get_or_insert_with(Instant::now);
        shared.show(stream, &bytes);
    }
}

impl SerialSink for HostOutput {
    fn write(&mut self, byte: u8) {
        let shared = &mut *self.0.borrow_mut();
        if let Some((stream, bytes)) = shared.output.serial(&[byte]) {
            shared.show(stream, &bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn output_is_written_at_once_and_its_first_byte_is_noted() {
        let (mut reader, stdout) = io::pipe().unwrap();
        let stderr = io::stderr().as_fd().try_clone_to_owned().unwrap();
        let output = HostOutput::new(Routes::program(), [stdout.into(), stderr], false, Transcript::default());
        let mut sink = output.clone();
        SerialSink::write(&mut sink, b'x');
        ConsoleSink::write(&mut sink, Port::Control, b"started\n");
        assert!(output.first().is_none());
        ConsoleSink::write(&mut sink, Port::Stdout, b"hello");
        assert!(output.first().is_some());
        let mut bytes = [0; 5];
        reader.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
    }

    #[test]
    fn lines_are_gathered_and_written_in_order() {
        let ((mut reader, stdout), (mut errors, stderr)) = (io::pipe().unwrap(), io::pipe().unwrap());
        for end in [reader.as_fd(), errors.as_fd()] {
            rustix::io::ioctl_fionbio(end, true).unwrap();
        }
        let output = HostOutput::new(Routes::program(), [stdout.into(), stderr.into()], false, Transcript::default());
        output.gather();
        let mut sink = output.clone();
        let read = |reader: &mut io::PipeReader| {
            let mut bytes = [0; 2 * MAX_GATHERED];
            reader.read(&mut bytes).map(|length| bytes[..length].to_vec()).unwrap_or_default()
        };
        for byte in b"hello" {
            ConsoleSink::write(&mut sink, Port::Stdout, &[*byte]);
        }
        assert!(output.first().is_some());
        assert_eq!(read(&mut reader), b"", "the machine still runs");
        output.flush();
        assert_eq!(read(&mut reader), b"hello");
        // What is for the other stream is not written before what came before.
        ConsoleSink::write(&mut sink, Port::Stdout, b"one");
        ConsoleSink::write(&mut sink, Port::Stderr, b"two");
        assert_eq!((read(&mut reader), read(&mut errors)), (b"one".to_vec(), b"".to_vec()));
        // Nor does what the host says come before it.
        output.show(Stream::Stderr, b"three");
        assert_eq!(read(&mut errors), b"twothree");
        // A line is whole with its end.
        for byte in b"42\r\n" {
            assert_eq!(read(&mut reader), b"");
            ConsoleSink::write(&mut sink, Port::Stdout, &[*byte]);
        }
        assert_eq!(read(&mut reader), b"42\r\n");
        // A guest that writes and writes is seen.
        ConsoleSink::write(&mut sink, Port::Stdout, &[b'x'; MAX_GATHERED]);
        assert_eq!(read(&mut reader), b"");
        ConsoleSink::write(&mut sink, Port::Stdout, b"y");
        assert_eq!(read(&mut reader).len(), MAX_GATHERED + 1);
    }

    #[test]
    fn a_stream_that_nobody_reads_is_a_failure_once() {
        let (reader, stdout) = io::pipe().unwrap();
        drop(reader);
        let stderr = io::stderr().as_fd().try_clone_to_owned().unwrap();
        let output = HostOutput::new(Routes::program(), [stdout.into(), stderr], false, Transcript::default());
        ConsoleSink::write(&mut output.clone(), Port::Stdout, b"hello");
        let failure = output.take_failure().unwrap();
        assert_eq!((failure.stream, failure.source.kind()), ("standard output", io::ErrorKind::BrokenPipe));
        assert!(output.take_failure().is_none());
    }
}
