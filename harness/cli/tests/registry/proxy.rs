//! What may go wrong on the way to a registry: a server that passes requests on, and answers as it is told.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Bytes after which a flood ends.
pub const FLOOD: u64 = 1 << 30;

/// What is done with an answer.
pub enum Fault {
    /// Nothing.
    None,
    /// The connection breaks after so many bytes of the content.
    Cut(usize),
    /// A bit of the content is another.
    Flip(usize),
    /// This is answered instead.
    Answer(Vec<u8>),
    /// It comes in pieces with pauses between them.
    Slow,
    /// The address in its head is relative to the path that was asked for.
    RelativeLocation,
    /// Nothing more comes after so many bytes of the content, but the connection stays.
    Stall(usize),
    /// The registry knows no ranges: all of it comes.
    NoRanges,
    /// This is answered instead, and then zeroes without end; how many were taken is counted.
    Flood(String, Arc<AtomicU64>),
    /// It is passed on while it comes, so many bytes at a time with pauses between them, until the registry or its connection ends.
    Drip(usize),
}

impl Fault {
    /// An answer with this status, and more headers.
    pub fn status(status: &str, headers: &str, body: &str) -> Self {
        Self::Answer(
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n{body}", body.len()).into_bytes(),
        )
    }
}

/// A request, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// Method and path.
    pub line: String,
    /// Whether it asks for a part.
    pub range: Option<String>,
    /// What it is let in with.
    pub authorization: Option<String>,
    /// What it sends.
    pub body: Vec<u8>,
}

impl HttpRequest {
    pub fn is_blob(&self) -> bool {
        self.line.starts_with("GET") && self.line.contains("/blobs/")
    }

    /// Whether it sends something to keep.
    pub fn is_upload(&self) -> bool {
        ["POST", "PATCH", "PUT"].iter().any(|method| self.line.starts_with(method))
    }

    pub fn is_document(&self) -> bool {
        self.line.contains("/manifests/")
    }
}

type Faults = dyn Fn(&HttpRequest, usize) -> Fault + Send + Sync;

/// The server. It listens until the tests end.
pub struct Proxy {
    /// Host and port.
    pub address: String,
    seen: Arc<Mutex<Vec<HttpRequest>>>,
}

impl Proxy {
    /// Before `registry`. `faults` is asked for each request, with how many of the same there were before.
    pub fn before(registry: &str, faults: impl Fn(&HttpRequest, usize) -> Fault + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (seen, faults): (Arc<Mutex<Vec<HttpRequest>>>, Arc<Faults>) = (Arc::default(), Arc::new(faults));
        let (registry, log) = (registry.to_owned(), Arc::clone(&seen));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (registry, log, faults) = (registry.clone(), Arc::clone(&log), Arc::clone(&faults));
                // What goes wrong here, the test sees as what it did.
                std::thread::spawn(move || client.and_then(|client| serve(client, &registry, &log, &*faults)));
            }
        });
        Self { address, seen }
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<HttpRequest> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(mut client: TcpStream, registry: &str, log: &Mutex<Vec<HttpRequest>>, faults: &Faults) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let (line, rest) = head.split_once("\r\n").unwrap_or_default();
    let header = |name: &str| rest.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let mut body = vec![0; header("content-length: ").map_or(0, |length| length.parse().unwrap())];
    client.read_exact(&mut body)?;
    let (range, authorization) = (header("range: "), header("authorization: "));
    let request = HttpRequest { line: line.trim_end_matches(" HTTP/1.1").into(), range, authorization, body };
    let before = {
        let mut log = log.lock().unwrap();
        log.push(request.clone());
        log.iter().filter(|seen| seen.line == request.line).count() - 1
    };
    let fault = faults(&request, before);
    if let Fault::Flood(head, taken) = fault {
        client.write_all(head.as_bytes())?;
        while taken.load(Ordering::Relaxed) < FLOOD {
            taken.fetch_add(client.write(&[0; 1 << 16])? as u64, Ordering::Relaxed);
        }
        return Ok(());
    }
    if let Fault::Answer(answer) = fault {
        return client.write_all(&answer);
    }
    let mut server = TcpStream::connect(registry)?;
    let rest = match fault {
        Fault::NoRanges => rest.split("\r\n").filter(|line| !line.starts_with("range: ")).collect::<Vec<_>>().join("\r\n"),
        _ => rest.to_owned(),
    };
    server.write_all(format!("{line}\r\nConnection: close\r\n{rest}").as_bytes())?;
    server.write_all(&request.body)?;
    if let Fault::Drip(length) = fault {
        let mut piece = vec![0; length];
        loop {
            match server.read(&mut piece)? {
                0 => return client.shutdown(Shutdown::Write),
                count => client.write_all(&piece[..count])?,
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let content = answer.windows(4).position(|end| end == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    match fault {
        Fault::Cut(length) => client.write_all(&answer[..answer.len().min(content + length)])?,
        Fault::Flip(at) => {
            if let Some(byte) = answer.get_mut(content + at) {
                *byte ^= 1;
            }
            client.write_all(&answer)?;
        }
        Fault::RelativeLocation => {
            let (head, body) = answer.split_at(content);
            let shorten = |line: &str| match line.split_once("/v2/") {
                Some((before, place)) if before.starts_with("Location: ") => format!("Location: {}", place.rsplit_once('/').unwrap().1),
                _ => line.to_owned(),
            };
            let head = String::from_utf8_lossy(head).split("\r\n").map(shorten).collect::<Vec<_>>().join("\r\n");
            client.write_all(&[head.as_bytes(), body].concat())?;
        }
        Fault::Slow => {
            for piece in answer.chunks(answer.len().div_ceil(8)) {
                client.write_all(piece)?;
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Fault::Stall(length) => {
            client.write_all(&answer[..answer.len().min(content + length)])?;
            // Until whoever waits has had enough.
            let _ = client.read(&mut byte);
        }
        _ => client.write_all(&answer)?,
    }
    client.shutdown(Shutdown::Write)
}
