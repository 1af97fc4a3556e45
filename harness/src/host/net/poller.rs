//! What is to be watched, as one descriptor that becomes readable when something has happened.

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::Timespec;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Names something that is watched.
pub type Token = u64;

/// What has happened to one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// Its name.
    pub token: Token,
    /// It can be read, or has ended.
    pub read: bool,
    /// It can be written.
    pub write: bool,
    /// It has failed, or both sides have ended it.
    pub failed: bool,
}

/// What to watch something for. For nothing at all, it is not watched: the kernel would report failures again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interest {
    /// It can be read.
    pub read: bool,
    /// It can be written.
    pub write: bool,
}

/// A descriptor that is watched, and what for.
#[derive(Debug, Default)]
pub struct Watch(Interest);

/// Events at a time.
const BATCH: usize = 64;

/// Watches descriptors.
#[derive(Debug)]
pub struct Poller(OwnedFd);

impl Poller {
    /// Watches nothing.
    pub fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Watches `descriptor` for this, and no longer for what `watch` says.
    pub fn set(&self, watch: &mut Watch, descriptor: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        let before = std::mem::replace(&mut watch.0, interest);
        if before == interest {
            return Ok(());
        }
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN | EventFlags::RDHUP, interest.read);
        flags.set(EventFlags::OUT, interest.write);
        let data = EventData::new_u64(token);
        match (before == Interest::default(), interest == Interest::default()) {
            (_, true) => epoll::delete(&self.0, descriptor)?,
            (true, false) => epoll::add(&self.0, descriptor, data, flags)?,
            (false, false) => epoll::modify(&self.0, descriptor, data, flags)?,
        }
        Ok(())
    }

    /// What has happened since; it does not wait.
    pub fn take(&self) -> io::Result<Vec<Ready>> {
        let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; BATCH];
        let count = match epoll::wait(&self.0, &mut events[..], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let ready = |event: &Event| {
            let flags = event.flags;
            let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
            Ready {
                token: event.data.u64(),
                read: failed || flags.intersects(EventFlags::IN | EventFlags::RDHUP),
                write: flags.contains(EventFlags::OUT),
                failed,
            }
        };
        Ok(events[..count].iter().map(ready).collect())
    }
}

impl AsFd for Poller {
    /// Readable when something has happened.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
