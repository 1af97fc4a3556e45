//! The runtime's side: standard input, and waiting.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

const STDIN: wasi::Fd = 0;
/// What subscriptions are told apart by.
const INPUT: wasi::Userdata = 0;
const TIMER: wasi::Userdata = 1;

/// Standard input, until it ends.
#[derive(Default)]
pub struct Stdin {
    ended: bool,
}

impl Stdin {
    /// There will be no more.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Waits until there is input, if it is `wanted`, or the time is over; and reads the input.
    pub fn wait(&mut self, wanted: bool, timeout: Option<Duration>) -> io::Result<Option<Vec<u8>>> {
        let mut subscriptions = Vec::with_capacity(2);
        if wanted {
            let fd_read = wasi::SubscriptionFdReadwrite { file_descriptor: STDIN };
            let u = wasi::SubscriptionU { tag: wasi::EVENTTYPE_FD_READ.raw(), u: wasi::SubscriptionUU { fd_read } };
            subscriptions.push(wasi::Subscription { userdata: INPUT, u });
        }
        if let Some(timeout) = timeout {
            let timeout = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
            let clock = wasi::SubscriptionClock { id: wasi::CLOCKID_MONOTONIC, timeout, precision: 0, flags: 0 };
            let u = wasi::SubscriptionU { tag: wasi::EVENTTYPE_CLOCK.raw(), u: wasi::SubscriptionUU { clock } };
            subscriptions.push(wasi::Subscription { userdata: TIMER, u });
        }
        let mut events = [const { MaybeUninit::<wasi::Event>::uninit() }; 2];
        // SAFETY: as many events are written as there are subscriptions at the most, and there is room for two.
        let count = unsafe { wasi::poll_oneoff(subscriptions.as_ptr(), events.as_mut_ptr().cast(), subscriptions.len()) };
        // SAFETY: the runtime has written this many.
        let mut happened = events[..count.map_err(error)?.min(2)].iter().map(|event| unsafe { event.assume_init_ref() });
        // An input that cannot be waited for is read: that says what it is about.
        if happened.any(|event| event.userdata == INPUT) { self.read() } else { Ok(None) }
    }

    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = [0; 16 << 10];
        let iovec = wasi::Iovec { buf: bytes.as_mut_ptr(), buf_len: bytes.len() };
        // SAFETY: the buffer may be written.
        match unsafe { wasi::fd_read(STDIN, &[iovec]) } {
            // A runtime without standard input has none to give.
            Ok(0) | Err(wasi::ERRNO_BADF) => self.ended = true,
            Ok(count) => return Ok(Some(bytes[..count].to_vec())),
            Err(wasi::ERRNO_INTR | wasi::ERRNO_AGAIN) => {}
            Err(number) => return Err(error(number)),
        }
        Ok(None)
    }
}

/// An error of the runtime's.
pub fn error(number: wasi::Errno) -> io::Error {
    io::Error::from_raw_os_error(number.raw().into())
}
