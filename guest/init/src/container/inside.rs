//! The container's process 1: makes the container, starts the program in it, passes signals on to it, and buries what has lost its parent.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, WaitOptions, wait};

use super::beside::{Beside, Site};
use super::order::Order;
use super::root::{self, Root};
use super::start::{On, Started, start};
use super::{READY, Streams, exit_code, warm};
use crate::error::{Context, Error, Result};
use crate::exec::Link;
use crate::image::ProgramDefaults;
use crate::info::Info;
use crate::network::{self, Network};
use crate::sys::{self, Signals};

/// Its whole life.
pub fn live(mut channel: UnixStream, link: Link, (image, warm): (&ProgramDefaults, bool), streams: Streams) -> ! {
    let status = match prepare_and_start(&mut channel, (image, warm), streams) {
        Ok((Started::Running(program), signals, site)) => {
            // This is what says that it runs.
            drop(channel);
            attend(program, &signals, Beside::new(site, link))
        }
        Ok((Started::Ended(status), ..)) => status,
        Err(error) => {
            // If nobody listens, the machine is at its end.
            let _ = write!(channel, "{error}");
            1
        }
    };
    std::process::exit(status.into())
}

fn prepare_and_start<'a>(
    channel: &mut UnixStream,
    (image, warm): (&'a ProgramDefaults, bool),
    streams: Streams,
) -> Result<(Started, Signals, Site<'a>)> {
    // Signals wait to be looked at. A process 1 is sent none that it neither catches nor blocks.
    let signals = Signals::block().context("block", "signals")?;
    let mut root = root::enter(image)?;
    let has_network = prepare_network()?;
    if warm {
        warm::program(image);
    }
    channel.write_all(&[READY]).context("tell", "the machine's init")?;

    let mut order = Vec::new();
    channel.read_to_end(&mut order).context("hear from", "the machine's init")?;
    let order = Order::decode(&order)?;
    let info = Info::parse(&order.info)?;
    follow(&info, &root, (order.clock_is_set, has_network))?;
    root.close_files();
    let on = match &order.terminal {
        Some(name) => On::Terminal { name, device: Path::new(root.console) },
        None => On::Streams(streams),
    };
    let started = start(&root, image, &info, on)?;
    Ok((started, signals, Site { root, image, info }))
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
