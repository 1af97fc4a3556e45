//! The machine's end of programs beside the container's own: passes the host's orders on, and copies streams as far as both sides have room.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use protocol::{EXEC_WINDOW, Exec, ExecId, ExecOrder, ExecReport, ExecWindow, MAX_CHUNK};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{Winsize, tcsetwinsize};

use super::Link;
use crate::container::Helpers;
use crate::error::{Context, Result};

/// What a shell reports of a program that was killed, as all are at the container's end.
const KILLED: u8 = 128 + 9;
/// What a terminal takes for the end of its input.
const END_OF_FILE: u8 = 4;

enum Order {
    Exec(Exec<ExecOrder>),
    HangUpAll,
}

/// The end of the thread that listens to the host. It never waits.
#[derive(Debug)]
pub struct Orders {
    orders: Sender<Order>,
    waker: UnixStream,
}

impl Orders {
    /// Gives an order of the host.
    pub fn give(&self, order: Exec<ExecOrder>) {
        self.send(Order::Exec(order));
    }

    /// The machine was restored: whoever listened before does no more.
    pub fn hang_up_all(&self) {
        self.send(Order::HangUpAll);
    }

    fn send(&self, order: Order) {
        // The other end is gone once the container is. A pipe that is full wakes as well as one byte does.
        let _ = self.orders.send(order);
        let _ = (&self.waker).write(&[0]);
    }
}

/// Serves orders in a thread of its own, which ends with the container. `port` is the control port.
pub fn serve(link: Link, port: File) -> Result<(Orders, JoinHandle<()>)> {
    let pair = || {
        let (waker, wake) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        wake.set_nonblocking(true)?;
        Ok::<_, io::Error>((waker, wake))
    };
    let (waker, wake) = pair().context("make a channel to", "a helper thread")?;
    let (sender, orders) = channel();
    let server = Server { link, port, wake, orders, programs: BTreeMap::new() };
    Ok((Orders { orders: sender, waker }, Helpers::default().give(move |_| server.run())?))
}

struct Server {
    link: Link,
    port: File,
    wake: UnixStream,
    orders: Receiver<Order>,
    programs: BTreeMap<ExecId, Program>,
}

/// A program and our ends of its streams.
#[derive(Debug)]
struct Program {
    stdin: Option<File>,
    /// Standard output and standard error, or the terminal.
    outputs: [Option<File>; 2],
    /// Its streams are a terminal.
    on_terminal: bool,
    /// Input that it has not taken.
    pending: VecDeque<u8>,
    /// There will be no more.
    input_ended: bool,
    /// Bytes that the host has room for.
    room: usize,
    /// Somebody listens to it.
    is_heard: bool,
    status: Option<u8>,
}

impl Server {
    fn run(mut self) {
        while let Ok((woken, linked)) = self.wait() {
            if woken {
                self.take_orders();
            }
            if linked && !self.hear() {
                break;
            }
            let port = &self.port;
            self.programs.retain(|id, program| !program.work(&mut |what| report(port, *id, what)));
        }
        // The container is gone, and everything in it.
        let port = &self.port;
        for (id, mut program) in self.programs.into_iter().filter(|(_, program)| program.is_heard) {
            program.drain(&mut |what| report(port, id, what));
            report(port, id, ExecReport::Exit(program.status.unwrap_or(KILLED)));
        }
    }

    /// Waits for something to do: orders, and messages of the container's process 1.
    fn wait(&self) -> io::Result<(bool, bool)> {
        let mut watched = vec![PollFd::new(&self.wake, PollFlags::IN), PollFd::new(&self.link, PollFlags::IN)];
        for program in self.programs.values() {
            let input = program.stdin.iter().filter(|_| !program.pending.is_empty());
            watched.extend(input.map(|file| PollFd::new(file, PollFlags::OUT)));
            let outputs = program.outputs.iter().flatten().filter(|_| program.room > 0 || !program.is_heard);
            watched.extend(outputs.map(|file| PollFd::new(file, PollFlags::IN)));
        }
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => Ok((!watched[0].revents().is_empty(), !watched[1].revents().is_empty())),
            Err(error) => Err(error.into()),
        }
    }

    fn take_orders(&mut self) {
        // Emptied before the orders are looked at, so that none is missed.
        let mut bytes = [0; 64];
        while matches!(self.wake.read(&mut bytes), Ok(1..)) {}
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Exec(order) => self.obey(order),
                Order::HangUpAll => {
                    let ids: Vec<_> = self.programs.keys().copied().collect();
                    ids.into_iter().for_each(|id| self.obey(Exec { id, what: ExecOrder::HangUp }));
                }
            }
        }
    }

    fn obey(&mut self, order: Exec<ExecOrder>) {
        let port = &self.port;
        match (order.what, self.programs.get_mut(&order.id)) {
            (ExecOrder::Input(bytes), Some(program)) => program.give(bytes, &mut |what| report(port, order.id, what)),
            (ExecOrder::Taken(count), Some(program)) => program.room = (program.room + count).min(EXEC_WINDOW),
            (ExecOrder::Resize(window), Some(program)) => program.outputs[0].iter().for_each(|terminal| resize(terminal, window)),
            (ExecOrder::Input(_) | ExecOrder::Taken(_) | ExecOrder::Resize(_), None) => {}
            (what @ ExecOrder::HangUp, program) => {
                program.into_iter().for_each(Program::hang_up);
                self.pass_on(&Exec { id: order.id, what });
            }
            (what @ (ExecOrder::Start { .. } | ExecOrder::Signal(_)), _) => self.pass_on(&Exec { id: order.id, what }),
        }
    }

    /// Passes an order on to the container's process 1.
    fn pass_on(&self, order: &Exec<ExecOrder>) {
        // If that is gone, so is the program.
        let _ = self.link.send(&order.encode(), &[]);
    }

    /// Hears the container's process 1. False once that is gone.
    fn hear(&mut self) -> bool {
        let Ok(Some((bytes, files))) = self.link.receive() else { return false };
        let Some(Exec { id, what }) = Exec::<ExecReport>::decode(&bytes) else { return true };
        match (what, self.programs.get_mut(&id)) {
            (ExecReport::Exit(status), Some(program)) => program.status = Some(status),
            // It has its signal, which comes before the end of its input.
            (_, Some(program)) => program.stdin = program.stdin.take().filter(|_| program.is_heard),
            (what, None) => {
                if let Some(program) = Program::new(files) {
                    self.programs.insert(id, program);
                }
                report(&self.port, id, what);
            }
        }
        true
    }
}

impl Program {
    /// One with three streams, or with a terminal.
    fn new(files: Vec<OwnedFd>) -> Option<Self> {
        let mut files = files.into_iter().map(File::from);
        let (first, rest) = (files.next()?, [files.next(), files.next()]);
        let on_terminal = rest[0].is_none();
        let (stdin, outputs) = if on_terminal { (first.try_clone().ok(), [Some(first), None]) } else { (Some(first), rest) };
        for file in stdin.iter().chain(outputs.iter().flatten()) {
            rustix::io::ioctl_fionbio(file, true).ok()?;
        }
        Some(Self {
            stdin,
            outputs,
            on_terminal,
            pending: VecDeque::new(),
            input_ended: false,
            room: EXEC_WINDOW,
            is_heard: true,
            status: None,
        })
    }

    fn give(&mut self, bytes: Vec<u8>, report: &mut impl FnMut(ExecReport)) {
        match bytes.is_empty() {
            true if self.on_terminal => self.pending.push_back(END_OF_FILE),
            true => self.input_ended = true,
            // Nobody reads it.
            false if self.stdin.is_none() => report(ExecReport::Taken(bytes.len())),
            // A host that keeps to the window never sends more than there is room for.
            false if self.pending.len() + bytes.len() <= EXEC_WINDOW => self.pending.extend(bytes),
            false => {}
        }
    }

    /// Nobody listens any more. Its terminal is gone; its pipes stay open, because a program that ends in its own way may still write to them.
    fn hang_up(&mut self) {
        self.is_heard = false;
        self.pending.clear();
        if self.on_terminal {
            (self.stdin, self.outputs) = (None, [None, None]);
        }
    }

    /// Takes some of what nobody is to hear.
    fn discard(&mut self) {
        let mut bytes = vec![0; MAX_CHUNK];
        for output in &mut self.outputs {
            let read = output.as_mut().map(|file| file.read(&mut bytes));
            if matches!(read, Some(Ok(0))) {
                *output = None;
            }
        }
    }

    /// Copies what can be copied. Whether the program has ended, and all is out.
    fn work(&mut self, report: &mut impl FnMut(ExecReport)) -> bool {
        if !self.is_heard {
            self.discard();
            return self.status.is_some();
        }
        self.feed(report);
        match (self.drain(report), self.status) {
            (true, Some(status)) => {
                report(ExecReport::Exit(status));
                true
            }
            _ => false,
        }
    }

    fn feed(&mut self, report: &mut impl FnMut(ExecReport)) {
        let before = self.pending.len();
        while let Some(stdin) = self.stdin.as_mut().filter(|_| !self.pending.is_empty()) {
            match stdin.write(self.pending.as_slices().0) {
                Ok(0) => break,
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.stdin = None;
                    self.pending.clear();
                }
            }
        }
        if self.input_ended && self.pending.is_empty() {
            self.stdin = None;
        }
        let taken = before - self.pending.len();
        if taken > 0 {
            report(ExecReport::Taken(taken.min(EXEC_WINDOW)));
        }
    }

    /// Sends what the program has written, as far as there is room. Whether there is no more for now.
    fn drain(&mut self, report: &mut impl FnMut(ExecReport)) -> bool {
        for (number, output) in self.outputs.iter_mut().enumerate() {
            while let Some(file) = output {
                if self.room == 0 {
                    return false;
                }
                let mut bytes = vec![0; self.room.min(MAX_CHUNK)];
                match file.read(&mut bytes) {
                    Ok(count @ 1..) => {
                        bytes.truncate(count);
                        self.room -= count;
                        report(ExecReport::Output { is_error: number == 1, bytes });
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // A terminal that nobody has open any more fails.
                    Ok(_) | Err(_) => *output = None,
                }
            }
        }
        true
    }
}

fn resize(terminal: &impl AsFd, window: ExecWindow) {
    let size = Winsize { ws_col: window.cols, ws_row: window.rows, ws_xpixel: 0, ws_ypixel: 0 };
    // A terminal of the old size is one.
    let _ = tcsetwinsize(terminal, size);
}

/// Tells the host. One write is one message, whoever else writes to the port.
fn report(mut port: &File, id: ExecId, what: ExecReport) {
    // A host that does not listen any more is not told.
    let _ = port.write_all(&Exec { id, what }.encode());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program's ends of three pipes, and the program.
    fn piped() -> (io::PipeReader, io::PipeWriter, io::PipeWriter, Program) {
        let (stdin, input) = io::pipe().unwrap();
        let (output, stdout) = io::pipe().unwrap();
        let (errors, stderr) = io::pipe().unwrap();
        let program = Program::new(vec![input.into(), output.into(), errors.into()]).unwrap();
        (stdin, stdout, stderr, program)
    }

    fn work(program: &mut Program) -> (bool, Vec<ExecReport>) {
        let mut reports = Vec::new();
        (program.work(&mut |report| reports.push(report)), reports)
    }

    fn output(is_error: bool, bytes: &[u8]) -> ExecReport {
        ExecReport::Output { is_error, bytes: bytes.to_vec() }
    }

    #[test]
    fn both_streams_are_told_apart_and_the_status_comes_last() {
        let (_stdin, mut stdout, mut stderr, mut program) = piped();
        stderr.write_all(b"err").unwrap();
        stdout.write_all(b"out").unwrap();
        program.status = Some(3);
        // What is left behind by the program has its output open.
        assert_eq!(work(&mut program), (true, vec![output(false, b"out"), output(true, b"err"), ExecReport::Exit(3)]));
    }

    #[test]
    fn output_waits_until_the_host_has_room() {
        let (_stdin, mut stdout, _stderr, mut program) = piped();
        program.room = 4;
        program.status = Some(0);
        stdout.write_all(b"123456").unwrap();
        assert_eq!(work(&mut program), (false, vec![output(false, b"1234")]));
        assert_eq!(work(&mut program), (false, Vec::new()));
        program.room = 10;
        assert_eq!(work(&mut program), (true, vec![output(false, b"56"), ExecReport::Exit(0)]));
    }

    #[test]
    fn input_arrives_and_ends_and_what_nobody_reads_is_taken() {
        let (mut stdin, _stdout, _stderr, mut program) = piped();
        let mut reports = Vec::new();
        program.give(b"abc".to_vec(), &mut |report| reports.push(report));
        program.give(Vec::new(), &mut |report| reports.push(report));
        assert_eq!(work(&mut program), (false, vec![ExecReport::Taken(3)]));
        let mut text = String::new();
        stdin.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), reports.len()), ("abc", 0));
        program.give(b"more".to_vec(), &mut |report| reports.push(report));
        assert_eq!(reports, [ExecReport::Taken(4)]);

        let (stdin, _stdout, _stderr, mut program) = piped();
        drop(stdin);
        program.give(b"abc".to_vec(), &mut |_| {});
        assert_eq!(work(&mut program), (false, vec![ExecReport::Taken(3)]));
    }

    #[test]
    fn what_nobody_listens_to_is_taken_and_dropped() {
        let (_stdin, mut stdout, _stderr, mut program) = piped();
        program.room = 0;
        program.hang_up();
        for _ in 0..3 {
            // More than a pipe holds would wait for ever.
            stdout.write_all(&[b'x'; 3 * MAX_CHUNK]).unwrap();
            for _ in 0..3 {
                assert_eq!(work(&mut program), (false, Vec::new()));
            }
        }
        program.status = Some(129);
        assert_eq!(work(&mut program), (true, Vec::new()));
    }

    #[test]
    fn more_input_than_the_window_is_not_held() {
        let (_stdin, _stdout, _stderr, mut program) = piped();
        for _ in 0..10 {
            program.give(vec![0; MAX_CHUNK], &mut |_| {});
        }
        assert_eq!(program.pending.len(), EXEC_WINDOW);
    }

    #[test]
    fn messages_carry_files() {
        let (one, other) = Link::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        one.send(b"first", &[writer.as_fd()]).unwrap();
        one.send(b"second", &[]).unwrap();
        drop(writer);
        let (bytes, mut files) = other.receive().unwrap().unwrap();
        assert_eq!((bytes.as_slice(), files.len()), (b"first".as_slice(), 1));
        File::from(files.remove(0)).write_all(b"x").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        assert_eq!(other.receive().unwrap().unwrap().0, b"second");
        drop(one);
        assert!(other.receive().unwrap().is_none());
    }
}
