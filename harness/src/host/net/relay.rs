//! A cable to another process: QEMU's and passt's framing, which container2wasm's proxies speak, too.

use super::options::SocketPlace;
use super::poller::{Interest, Poller, Watch};
use crate::error::{Error, Result};
use devices::net::{MAX_FRAME, MIN_FRAME};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

const TOKEN: u64 = 0;
/// Bytes that wait for the other process. More is lost, as on any wire.
const CAPACITY: usize = 4 << 20;
/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;

/// A cable to another process.
pub struct Relay {
    stream: File,
    poller: Poller,
    watch: Watch,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    ended: bool,
}

impl Relay {
    /// Connects to the process that listens at `place`.
    pub fn connect(place: &SocketPlace) -> Result<Self> {
        let error = |source| Error::Relay { place: place.to_string(), source };
        let descriptor: OwnedFd = match place {
            SocketPlace::Path(path) => UnixStream::connect(path).map_err(error)?.into(),
            SocketPlace::Address(address) => {
                let stream = TcpStream::connect(address).map_err(error)?;
                stream.set_nodelay(true).map_err(error)?;
                stream.into()
            }
        };
        let flags = fcntl_getfl(&descriptor).map_err(|errno| error(errno.into()))?;
        fcntl_setfl(&descriptor, flags | OFlags::NONBLOCK).map_err(|errno| error(errno.into()))?;
        let poller = Poller::new().map_err(error)?;
        let (watch, incoming, outgoing) = Default::default();
        Ok(Self { stream: descriptor.into(), poller, watch, incoming, outgoing, ended: false })
    }

    /// What is readable when something has happened.
    pub fn poller(&self) -> &Poller {
        &self.poller
    }

    /// The other process has gone.
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Sends a frame.
    pub fn send(&mut self, frame: &[u8]) {
        if !self.ended && self.outgoing.len() + 4 + frame.len() <= CAPACITY {
            self.outgoing.extend((frame.len() as u32).to_be_bytes());
            self.outgoing.extend(frame);
        }
    }

    /// A frame that has come.
    pub fn frame(&mut self) -> Option<Vec<u8>> {
        loop {
            let (&length, rest) = self.incoming.split_first_chunk()?;
            let length = u32::from_be_bytes(length) as usize;
            if length > MAX_FRAME {
                // Where the next one begins cannot be known.
                self.ended = true;
                self.incoming.clear();
                return None;
            }
            let frame = rest.get(..length)?.to_vec();
            self.incoming.drain(..4 + length);
            if length >= MIN_FRAME {
                return Some(frame);
            }
        }
    }

    /// Moves what can be moved, and watches for what stopped that. More is read only while no frame waits.
    pub fn work(&mut self) -> Result<()> {
        let _ = self.poller.take();
        let moved = self.write().and_then(|()| self.read());
        if moved.is_err() {
            self.ended = true;
        }
        let interest = Interest { read: !self.ended && self.incoming.len() < PIECE, write: !self.ended && !self.outgoing.is_empty() };
        let watch = self.poller.set(&mut self.watch, self.stream.as_fd(), TOKEN, interest);
        watch.map_err(|source| Error::Host { what: "watch a socket", source })
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.ended && !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(count) => _ = self.outgoing.drain(..count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        while !self.ended && self.incoming.len() < PIECE {
            match self.stream.read(&mut piece) {
                Ok(0) => self.ended = true,
                Ok(count) => self.incoming.extend(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
