//! What a machine is configured with: lines of `key=value`.

use crate::error::Error;
use crate::payload::Place;
use devices::net::Mac;
use devices::p9::{Name, RelativePath};
use snapshot::Digest;

/// Bytes of the seed that the guest's init takes.
pub const SEED_LENGTH: usize = 64;

/// A configuration.
#[derive(Default)]
pub struct Config {
    /// `clock=host` instead of `virtual`: time is the host's.
    pub host_clock: bool,
    /// `entropy=host` instead of `published`: random bytes are the host's.
    pub host_entropy: bool,
    /// `epoch=N`: what the CMOS clock shows at power-on, in nanoseconds since 1970.
    pub epoch: u64,
    /// `seed=HEX`: for the guest's random generator.
    pub seed: Option<[u8; SEED_LENGTH]>,
    /// `append=TEXT`: words for the kernel's command line.
    pub append: String,
    /// `ram=BYTES`: guest RAM, which is what the module's memory has behind `pb_ram`.
    pub ram: u64,
    /// `kernel=OFFSET,LENGTH`: in the payload.
    pub kernel: Option<Place>,
    /// `initramfs=OFFSET,LENGTH`: in the payload.
    pub initramfs: Option<Place>,
    /// `root=OFFSET,LENGTH,DIGEST`: the root disk.
    pub root: Option<Root>,
    /// `upper=BYTES`: the upper disk, which is what the module's memory has behind guest RAM. 0 if there is none.
    pub upper: u64,
    /// `network=HEX`: a network device with this address.
    pub network: Option<Mac>,
    /// `info=HEX`: the text of `info` for the guest's init.
    pub info: Vec<u8>,
    /// `bind=FD,rw,PATH`, `bind=FD,rw:BYTES,PATH`, `bind=FD,ro,PATH`: folders of the host, which the runtime has opened, at their paths in the
    /// guest; and `file=FD,rw,NAME,PATH` and so on: single files in such folders, with the name in hexadecimal digits.
    pub binds: Vec<BoundFolder>,
    /// `share=TAG,FD`, `share=TAG,FD,ro`: folders of the host, which the runtime has opened.
    pub folders: Vec<SharedFolder>,
    /// `snapshot=FD`, `snapshot=FD,NAME`: where the module reads the snapshot that it restores.
    pub snapshot: Option<SnapshotPlace>,
}

/// Where a snapshot's file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPlace {
    /// The runtime's descriptor of the file, or of the folder that it is in.
    pub descriptor: u32,
    /// The file's name in that folder.
    pub name: Option<String>,
}

/// A folder of the host at a path of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundFolder {
    /// The runtime's descriptor.
    pub descriptor: u32,
    /// What of it is there, if that is one file.
    pub file: Option<Name>,
    /// The guest may only look.
    pub read_only: bool,
    /// Bytes that it may add, if that is bounded.
    pub room: Option<u64>,
    /// The path in the guest.
    pub path: RelativePath,
}

/// A read-only disk in the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root {
    /// Its contents.
    pub place: Place,
    /// Digest of them.
    pub digest: Digest,
}

/// The disk that is memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upper {
    /// Which disk of the machine, from 0.
    pub number: u32,
    /// Where it begins behind the start of guest RAM.
    pub offset: u64,
    /// Bytes of it.
    pub size: u64,
}

/// A folder of the host for the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedFolder {
    /// What the guest finds it by.
    pub tag: String,
    /// The runtime's descriptor.
    pub descriptor: u32,
    /// The guest may only look.
    pub read_only: bool,
}

impl Config {
    /// Understands a configuration, all of it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut config = Self::default();
        for line in text.lines() {
            config.set(line).ok_or_else(|| Error::Config { line: line.to_owned() })?;
        }
        Ok(config)
    }

    /// The upper disk, which comes after the root.
    pub fn upper(&self) -> Option<Upper> {
        let number = u32::from(self.root.is_some());
        (self.upper != 0).then_some(Upper { number, offset: self.ram, size: self.upper })
    }

    fn set(&mut self, line: &str) -> Option<()> {
        let (key, value) = line.split_once('=')?;
        match key {
            "clock" => self.host_clock = choice(value, "virtual", "host")?,
            "entropy" => self.host_entropy = choice(value, "published", "host")?,
            "epoch" => self.epoch = value.parse().ok()?,
            "seed" => self.seed = Some(parse_hex(value)?.try_into().ok()?),
            "ram" => self.ram = value.parse().ok()?,
            "append" => value.clone_into(&mut self.append),
            "kernel" => self.kernel = Some(parse_place(value)?),
            "initramfs" => self.initramfs = Some(parse_place(value)?),
            "root" => self.root = Some(parse_root(value)?),
            "upper" => self.upper = value.parse().ok()?,
            "network" => self.network = Some(parse_hex(value)?.try_into().ok().filter(|[first, ..]: &Mac| first & 1 == 0)?),
            "info" => self.info = parse_hex(value)?,
            "bind" => self.binds.push(parse_bind(value)?),
            "file" => self.binds.push(parse_file(value)?),
            "snapshot" => self.snapshot = Some(parse_snapshot(value)?),
            "share" => self.folders.push(parse_folder(value)?),
            _ => return None,
        }
        Some(())
    }
}

fn parse_root(value: &str) -> Option<Root> {
    let (place, digest) = value.rsplit_once(',')?;
    Some(Root { place: parse_place(place)?, digest: Digest::from_bytes(parse_hex(digest)?.try_into().ok()?) })
}

fn choice(value: &str, no: &str, yes: &str) -> Option<bool> {
    if value == yes { Some(true) } else { (value == no).then_some(false) }
}

fn parse_place(value: &str) -> Option<Place> {
    let (offset, length) = value.split_once(',')?;
    Some(Place { offset: offset.parse().ok()?, length: length.parse().ok()? })
}

fn parse_snapshot(value: &str) -> Option<SnapshotPlace> {
    let (descriptor, name) = value.split_once(',').map_or((value, None), |(descriptor, name)| (descriptor, Some(name.to_owned())));
    Some(SnapshotPlace { descriptor: descriptor.parse().ok()?, name })
}

fn parse_folder(value: &str) -> Option<SharedFolder> {
    let (value, read_only) = value.strip_suffix(",ro").map_or((value, false), |value| (value, true));
    let (tag, descriptor) = value.rsplit_once(',')?;
    Some(SharedFolder { tag: tag.to_owned(), descriptor: descriptor.parse().ok()?, read_only })
}

fn parse_bind(value: &str) -> Option<BoundFolder> {
    let (descriptor, value) = value.split_once(',')?;
    let (access, path) = value.split_once(',')?;
    let path = RelativePath::parse(path).ok()?;
    let (access, room) = match access.split_once(':') {
        Some(("rw", room)) => ("rw", Some(room.parse().ok()?)),
        _ => (access, None),
    };
    Some(BoundFolder { descriptor: descriptor.parse().ok()?, file: None, read_only: choice(access, "rw", "ro")?, room, path })
}

fn parse_file(value: &str) -> Option<BoundFolder> {
    let [descriptor, access, name, path] = value.splitn(4, ',').collect::<Vec<_>>()[..] else { return None };
    let folder = parse_bind(&format!("{descriptor},{access},{path}"))?;
    Some(BoundFolder { file: Some(Name::new(&parse_hex(name)?).ok()?), ..folder })
}

fn parse_hex(value: &str) -> Option<Vec<u8>> {
    let (pairs, []) = value.as_bytes().as_chunks::<2>() else { return None };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'))?, 16).ok();
    pairs.iter().map(byte).collect()
}
