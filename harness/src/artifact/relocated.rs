//! Compiled code as WAMR's loader had it once it was loaded: relocated to addresses of its own. A later process maps it there, in place of copying and
//! relocating it again, and shares what it does not write with all others. It can be made again, so it lies in the user's cache.

use super::MAX_CODE_LEN;
use crate::context::Context;
use crate::host::file::atomic;
use crate::host::file::ledger::{Ledger, Stamp};
use crate::text::hex;
use snapshot::Digest;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tracing::debug;
use wamr::{Module, ModuleBytes, Place, PlacedCode, Runtime, loader};

/// The folder in the user's cache.
const FOLDER: &str = "relocated";
const MAGIC: [u8; 8] = *b"\x89PBRC\r\n\x1a";
/// To be changed with what follows: the page size, the sizes of code and data (4 bytes each, and 4 that are 0), their addresses (8 bytes each) and the digest of
/// all that is in front of it and of the file from its second page on, all little-endian. Code and data each begin with a page.
const VERSION: u32 = 1;
const HEADER_LEN: usize = 80;
const DIGEST: std::ops::Range<usize> = 48..HEADER_LEN;
/// Code that was loaded last is kept. Each takes as much as the code of a machine: a few MiB.
const MOST: usize = 16;

/// What is kept of the code that was loaded on this host.
pub struct RelocatedCode {
    /// None where the user has no private cache.
    folder: Option<PathBuf>,
    ledger: Ledger,
}

/// A file of it that is whole.
struct Kept {
    file: File,
    place: Place,
}

impl RelocatedCode {
    /// That of `context`.
    pub fn open(context: &Context) -> Self {
        Self { folder: context.cache(FOLDER), ledger: context.relocated_ledger() }
    }

    /// Loads the `.aot` in `bytes`, whose code has the digest `code`.
    pub fn load(&self, code: Digest, runtime: &Runtime, bytes: ModuleBytes) -> wamr::Result<Module> {
        let Some(path) = self.folder.as_ref().map(|folder| folder.join(format!("{}-{:016x}", hex(code.as_bytes()), loader()))) else {
            return Module::load(runtime, bytes);
        };
        if let Some(Kept { file, place }) = self.find(&path) {
            let page = rustix::param::page_size() as u64;
            let data_at = page + u64::from(place.code_size).next_multiple_of(page);
            debug!(target: "prebake::engine", file = %path.display(), "mapping code that was relocated before");
            return Module::load_placed(runtime, bytes, &PlacedCode { file: &file, code_at: page, data_at, place });
        }
        let module = Module::load(runtime, bytes)?;
        if let Some((place, code, data)) = module.place() {
            // What cannot be kept is copied again the next time.
            let kept = atomic::write_private_for_now(&path, &encode(&place, code, data));
            debug!(target: "prebake::engine", file = %path.display(), ?kept, "relocated code");
            self.remove_oldest();
        }
        Ok(module)
    }

    /// The file at `path`, if it is what was written there.
    fn find(&self, path: &Path) -> Option<Kept> {
        let file = File::open(path).ok()?;
        let before = Stamp::of(&file);
        let mut header = [0; HEADER_LEN];
        file.read_exact_at(&mut header, 0).ok()?;
        let place = decode(&header)?;
        let digest = Digest::from_bytes(*header[DIGEST].first_chunk()?);
        if self.ledger.recall(&file) != Some(digest) {
            let page = rustix::param::page_size();
            let mut content = vec![0; DIGEST.start + length(&place, page)? - page];
            content[..DIGEST.start].copy_from_slice(&header[..DIGEST.start]);
            file.read_exact_at(&mut content[DIGEST.start..], page as u64).ok()?;
            if Digest::of(&content) != digest {
                return None;
            }
            self.ledger.remember(&file, before, digest);
        }
        Some(Kept { file, place })
    }

    fn remove_oldest(&self) {
        let entries = self.folder.as_ref().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
        let mut known: Vec<_> = entries.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
        known.sort();
        for (_, path) in known.iter().rev().skip(MOST) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Bytes of a file with code and data of these sizes, if it can be.
fn length(place: &Place, page: usize) -> Option<usize> {
    let whole = |size: u32| Some(size as usize).filter(|size| *size <= MAX_CODE_LEN as usize).map(|size| size.next_multiple_of(page));
    Some(page + whole(place.code_size)? + whole(place.data_size)?)
}

fn encode(place: &Place, code: &[u8], data: &[u8]) -> Vec<u8> {
    let page = rustix::param::page_size();
    let mut file = vec![0; page];
    for part in [code, data] {
        file.extend(part);
        file.resize(file.len().next_multiple_of(page), 0);
    }
    let words = [VERSION, page as u32, place.code_size, place.data_size, 0, 0].map(u32::to_le_bytes);
    let addresses = [place.code as u64, place.data as u64].map(u64::to_le_bytes);
    let header = [&MAGIC[..], words.as_flattened(), addresses.as_flattened()].concat();
    let digest = Digest::of(&[&header, &file[page..]].concat());
    file[..DIGEST.start].copy_from_slice(&header);
    file[DIGEST].copy_from_slice(digest.as_bytes());
    file
}

fn decode(header: &[u8; HEADER_LEN]) -> Option<Place> {
    let word = |at: usize| Some(u32::from_le_bytes(*header.get(at..)?.first_chunk()?));
    let long = |at: usize| usize::try_from(u64::from_le_bytes(*header.get(at..)?.first_chunk()?)).ok();
    let known = header.starts_with(&MAGIC) && word(8)? == VERSION && word(12)? as usize == rustix::param::page_size();
    let place = Place { code: long(32)?, data: long(40)?, code_size: word(16)?, data_size: word(20)? };
    known.then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_found_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let kept = RelocatedCode { folder: Some(folder.path().into()), ledger: Ledger::default() };
        let (code, data) = (vec![1; 10_000], vec![2; 100]);
        let place = Place { code: 0x4100_0000, data: 0x4200_0000, code_size: code.len() as u32, data_size: data.len() as u32 };
        let path = folder.path().join("code");
        let good = encode(&place, &code, &data);
        assert_eq!(Some(good.len()), length(&place, rustix::param::page_size()));
        let found = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            kept.find(&path).map(|kept| kept.place)
        };
        assert_eq!(found(&good), Some(place));
        let page = rustix::param::page_size();
        for at in (0..HEADER_LEN).chain([page, page + 9_999, good.len() - page, good.len() - 1]) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(found(&bad), None, "byte {at}");
        }
        for length in [0, HEADER_LEN - 1, HEADER_LEN, page, good.len() - 1] {
            assert_eq!(found(&good[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn what_was_loaded_last_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let kept = RelocatedCode { folder: Some(folder.path().into()), ledger: Ledger::default() };
        for number in 0..MOST + 3 {
            let file = File::create(folder.path().join(number.to_string())).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(number as u64)).unwrap();
        }
        kept.remove_oldest();
        let left = |number: usize| folder.path().join(number.to_string()).exists();
        assert!((0..3).all(|number| !left(number)) && (3..MOST + 3).all(left));
    }
}
