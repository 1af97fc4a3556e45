//! The host's side: what is asked of the guest's program `partner`, and how long it takes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::millis;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

/// Where the guest asks what to do.
pub const CONTROL: u16 = 5000;
/// The guest's port that answers.
pub const ECHO: u16 = 5001;
/// The host's port that leads there.
pub const PUBLISHED: u16 = 5002;

/// A machine that says nothing for this long hangs.
const SILENCE: Duration = Duration::from_secs(120);
/// Bytes at a time.
const PIECE: usize = 128 << 10;
/// Answers that are waited for.
const ANSWERS: usize = 300;

/// What was measured of one machine.
#[derive(Debug)]
pub struct Figures {
    /// Seconds for the bytes to the host.
    pub out: f64,
    /// Seconds for the bytes from the host.
    pub into: f64,
    /// Milliseconds to an answer: the median, and the slowest of a hundred.
    pub idle: [f64; 2],
    /// The same while another program of the guest wants the processor.
    pub busy: [f64; 2],
}

/// Measures the machine that connects to `listener`.
pub fn measure(listener: &TcpListener, length: u64) -> Result<Figures> {
    let (out, into) = (out(listener, length)?, into(listener, length)?);
    done(order(listener, b'E', 0)?)?;
    let idle = answers()?;
    done(order(listener, b'B', 0)?)?;
    let busy = answers()?;
    Ok(Figures { out, into, idle, busy })
}

/// Has the guest send `length` bytes. Seconds that this took.
pub fn out(listener: &TcpListener, length: u64) -> Result<f64> {
    let mut peer = order(listener, b'S', length)?;
    let begun = Instant::now();
    let mut piece = vec![0; PIECE];
    let mut received = 0;
    loop {
        match peer.read(&mut piece)? {
            0 => break,
            count => received += count as u64,
        }
    }
    ensure!(received == length, "{received} bytes came of {length}");
    Ok(begun.elapsed().as_secs_f64())
}

/// Sends the guest `length` bytes. Seconds until it had them.
pub fn into(listener: &TcpListener, length: u64) -> Result<f64> {
    let mut peer = order(listener, b'R', length)?;
    let begun = Instant::now();
    let piece = vec![0; PIECE];
    let mut left = length as usize;
    while left > 0 {
        let count = left.min(PIECE);
        peer.write_all(&piece[..count])?;
        left -= count;
    }
    peer.shutdown(Shutdown::Write)?;
    done(peer)?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Has the guest end.
pub fn quit(listener: &TcpListener) -> Result<()> {
    order(listener, b'Q', 0).map(drop)
}

fn order(listener: &TcpListener, letter: u8, length: u64) -> Result<TcpStream> {
    set_socket_timeout(listener, Timeout::Recv, Some(SILENCE))?;
    let (mut peer, _) = listener.accept().context("the guest does not ask what to do")?;
    peer.set_read_timeout(Some(SILENCE))?;
    peer.set_write_timeout(Some(SILENCE))?;
    peer.write_all(&[&[letter][..], &length.to_le_bytes()].concat())?;
    Ok(peer)
}

/// The guest ends its side when it has done what it was asked for.
fn done(mut peer: TcpStream) -> Result<()> {
    ensure!(peer.read(&mut [0])? == 0, "the guest sent something");
    Ok(())
}

fn answers() -> Result<[f64; 2]> {
    let mut peer = TcpStream::connect(("127.0.0.1", PUBLISHED)).context("cannot connect to the guest's port")?;
    peer.set_nodelay(true)?;
    peer.set_read_timeout(Some(SILENCE))?;
    let mut times = Vec::new();
    for _ in 0..ANSWERS {
        let begun = Instant::now();
        peer.write_all(b"?")?;
        peer.read_exact(&mut [0])?;
        times.push(millis(begun.elapsed()));
    }
    times.sort_by(f64::total_cmp);
    Ok([times[ANSWERS / 2], times[ANSWERS - ANSWERS / 100]])
}
