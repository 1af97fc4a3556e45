//! The container's process 1: makes the container, forks the process that becomes the program, passes signals on to that, and buries what has lost its
//! parent.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, WaitOptions, wait};

use super::beside::{Beside, Site};
use super::order::Order;
use super::root::{self, Root};
use super::start::{On, become_program};
use super::{READY, Streams, exit_code, warm};
use crate::error::{Context, Error, Result};
use crate::exec::Link;
use crate::image::ProgramDefaults;
use crate::info::Info;
use crate::network::{self, Network};
use crate::sys::{self, Signals};

/// Its whole life.
pub fn live(mut channel: UnixStream, link: Link, (image, warm): (&ProgramDefaults, bool), streams: Streams) -> ! {
    let status = match prepare(image, warm) {
        Ok((root, Forked::Program(order))) => {
            drop(link);
            wait_and_become(order, (image, &root), streams).unwrap_or_else(|error| give_up(channel, &error))
        }
        Ok((mut root, Forked::First { program, to_program, signals, has_network })) => {
            // What there is of these is the program's.
            drop(streams);
            match pass_order_on(&mut channel, to_program, (&mut root, has_network)) {
                Ok(info) => {
                    // When the program's process has closed it as well, the program runs.
                    drop(channel);
                    attend(program, &signals, Beside::new(Site { root, image, info }, link))
                }
                Err(error) => give_up(channel, &error),
            }
        }
        Err(error) => give_up(channel, &error),
    };
    std::process::exit(status.into())
}

/// Which of two processes this is.
enum Forked {
    /// The one that becomes the program, and gets its order here.
    Program(PipeReader),
    /// The container's process 1.
    First { program: Pid, to_program: PipeWriter, signals: Signals, has_network: bool },
}

/// Makes the container, and forks the process that becomes the program: it is there before the barrier, so that nothing has to be copied behind it.
fn prepare(image: &ProgramDefaults, warm: bool) -> Result<(Root, Forked)> {
    // Signals wait to be looked at. A process 1 is sent none that it neither catches nor blocks.
    let signals = Signals::block().context("block", "signals")?;
    let mut root = root::enter(image)?;
    let has_network = prepare_network()?;
    if warm {
        warm::program(image);
    }
    let (order, to_program) = io::pipe().context("make a pipe to", "the program's process")?;
    let forked = match sys::fork().context("fork", "the program's process")? {
        Some(program) => Forked::First { program, to_program, signals, has_network },
        None => {
            root.close_files();
            Forked::Program(order)
        }
    };
    Ok((root, forked))
}

/// Waits for the order, does what it asks for besides the program, and passes it on. Returns the host's info.
fn pass_order_on(channel: &mut UnixStream, mut to_program: PipeWriter, (root, has_network): (&mut Root, bool)) -> Result<Info> {
    channel.write_all(&[READY]).context("tell", "the machine's init")?;
    let mut bytes = Vec::new();
    channel.read_to_end(&mut bytes).context("hear from", "the machine's init")?;
    let order = Order::decode(&bytes)?;
    let info = Info::parse(&order.info)?;
    follow(&info, root, (order.clock_is_set, has_network))?;
    root.close_files();
    to_program.write_all(&bytes).context("tell", "the program's process")?;
    Ok(info)
}

/// Waits for the order, and becomes the program that it asks for. Returns the status of one that cannot be run, or that is not wanted.
fn wait_and_become(mut order: PipeReader, (image, root): (&ProgramDefaults, &Root), streams: Streams) -> Result<u8> {
    let mut bytes = Vec::new();
    order.read_to_end(&mut bytes).context("hear from", "the container's process 1")?;
    if bytes.is_empty() {
        // Process 1 says why there is none.
        return Ok(1);
    }
    let order = Order::decode(&bytes)?;
    let info = Info::parse(&order.info)?;
    let on = match &order.terminal {
        Some(name) => On::Terminal { name, device: Path::new(root.console) },
        None => On::Streams(streams),
    };
    become_program(root, image, &info, on)
}

/// Says why the program does not run. Returns the container's status.
fn give_up(mut channel: UnixStream, reason: &Error) -> u8 {
    // If nobody listens, the machine is at its end.
    let _ = write!(channel, "{reason}");
    1
}

/// Sets up the network that hosts mostly ask for, if the machine has a network device: what is in the snapshot need not be done after it.
fn prepare_network() -> Result<bool> {
    let usual = Network::default();
    match usual.set_up() {
        Err(Error::NoNetwork) => Ok(false),
        outcome => outcome.and_then(|()| root::write_network(&usual)).map(|()| true),
    }
}

/// Does what the host's info asks for besides the program.
fn follow(info: &Info, root: &Root, (clock_is_set, has_network): (bool, bool)) -> Result<()> {
    // The control port's time is the finer one.
    if let Some(seconds) = info.time.filter(|_| !clock_is_set) {
        crate::set_clock(seconds.saturating_mul(crate::SECOND))?;
    }
    if let Some(hostname) = &info.hostname {
        root.call(hostname)?;
    }
    if info.has_network {
        if !has_network || !info.network.has_usual_link() {
            info.network.set_up()?;
        }
        if info.hostname.is_some() || !info.network.has_usual_names() {
            root::write_network(&info.network)?;
        }
    } else if has_network {
        network::take_down()?;
    }
    info.tmpfs.iter().try_for_each(|tmpfs| root.mount_memory(tmpfs))?;
    info.binds.iter().try_for_each(|bind| root.bind(bind))
}

/// Serves the container until the program has ended, and returns its status.
fn attend(program: Pid, signals: &Signals, mut beside: Beside<'_>) -> u8 {
    let mut has_orders = true;
    loop {
        let mut watched = vec![PollFd::new(signals, PollFlags::IN)];
        watched.extend(has_orders.then(|| PollFd::new(&beside, PollFlags::IN)));
        // The only failure is a signal, and all are blocked.
        let _ = poll(&mut watched, None);
        let is_ordered = watched.get(1).is_some_and(|link| !link.revents().is_empty());
        while let Some(signal) = signals.next() {
            if signal != libc::SIGCHLD {
                // A program that has just ended needs no signal.
                let _ = sys::kill(program, signal);
                continue;
            }
            // One signal may stand for many children.
            while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
                if pid == program {
                    return exit_code(status);
                }
                beside.ended(pid, exit_code(status));
            }
        }
        if is_ordered {
            has_orders = beside.obey();
        }
    }
}
