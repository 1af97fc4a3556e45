//! A registry whose connection breaks in the middle of a layer.

use super::builder::{Compression, Layer, Layout};
use super::{is_refused, listing, read_with};
use prebake::make::image::limits::Limits;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

/// How it breaks, and how it goes on.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// Half of the layer comes, then what was asked for.
    Once,
    /// The same, but what comes then is all, whatever was asked for.
    OnceWithoutRanges,
    /// More comes than was announced in the manifest.
    TooMuch,
}

/// Answers a request. Of the layer it tells from where on it was asked for.
fn answer(mut stream: &TcpStream, layout: &Layout, image: &Value, fault: Fault, asked: &Sender<u64>, broken: &mut bool) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next()?.unwrap();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    let headers: Vec<String> = lines.map(|line| line.unwrap().to_ascii_lowercase()).take_while(|line| !line.is_empty()).collect();
    let range = headers.iter().find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse::<u64>().ok());
    let digest = match path.rsplit_once('/').unwrap() {
        (_, "") => None,
        (_, "1") => Some(image["digest"].as_str().unwrap()),
        (_, digest) => Some(digest),
    };
    let mut bytes = digest.map(|digest| fs::read(layout.blob_path(digest)).unwrap()).unwrap_or_default();
    let is_layer = bytes.starts_with(&[0x1f, 0x8b]);
    if is_layer {
        asked.send(range.unwrap_or(0)).unwrap();
        if fault == Fault::TooMuch {
            bytes.extend([0; 100_000]);
        }
    }
    let start = range.filter(|_| fault == Fault::Once).unwrap_or(0) as usize;
    let status = match start {
        0 => "200 OK".to_owned(),
        _ => format!("206 Partial Content\r\nContent-Range: bytes {start}-{}/{}", bytes.len() - 1, bytes.len()),
    };
    let body = &bytes[start..];
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let breaks = is_layer && fault != Fault::TooMuch && !std::mem::replace(broken, is_layer || *broken);
    // Who has seen enough does not listen any more.
    let _ = stream.write_all(&body[..if breaks { body.len() / 2 } else { body.len() }]);
    Some(())
}

/// Reads an image of one layer from a registry with this fault. Returns where the layer was asked for from, each time.
fn fetch(fault: Fault) -> (prebake::make::image::Result<prebake::make::image::ContainerImage>, Vec<u64>, u64) {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(&folder.path().join("image"));
    let noise: String = (0..50_000_u64).map(|n| char::from(b'a' + (n * n % 23) as u8)).collect();
    let image = layout.image(&[Layer::new().file("a", &noise).done()], Compression::Gzip, |_| ());
    let manifest: Value = serde_json::from_slice(&fs::read(layout.blob_path(image["digest"].as_str().unwrap())).unwrap()).unwrap();
    let size = manifest["layers"][0]["size"].as_u64().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, told): (Sender<u64>, Receiver<u64>) = channel();
    // It ends with the test program.
    std::thread::spawn(move || {
        let _folder = folder;
        let mut broken = false;
        for stream in listener.incoming() {
            answer(&stream.unwrap(), &layout, &image, fault, &asked, &mut broken);
        }
    });
    let result = read_with(&format!("{address}/x:1"), Limits::default());
    (result, told.try_iter().collect(), size)
}

#[test]
fn a_layer_is_gone_on_with_where_it_broke_off() {
    let (image, asked, size) = fetch(Fault::Once);
    assert!(listing(&image.unwrap())[0].starts_with("/a="));
    assert_eq!(asked, [0, size / 2]);
}

#[test]
fn a_registry_may_begin_again() {
    let (image, asked, size) = fetch(Fault::OnceWithoutRanges);
    assert!(listing(&image.unwrap())[0].starts_with("/a="));
    assert_eq!(asked, [0, size / 2]);
}

#[test]
fn a_layer_that_goes_on_and_on_is_not_taken() {
    is_refused(fetch(Fault::TooMuch).0, "registry-protocol", &["layer 1 of 1 has more than"]);
}
