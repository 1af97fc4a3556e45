//! Blobs: to the registry in chunks, from it with as many tries as it takes.

use super::digest::Sha256;
use super::document::Descriptor;
use super::error::OciError;
use super::registry::{Operation, Registry};
use crate::error::{Error, Result};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use reqwest::{Method, Response, StatusCode, Url};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes that are pushed at once. Registries take no larger chunks.
const CHUNK: usize = 4 << 20;
/// How often a download goes on after it has broken off, as long as each time there was more.
const MAX_BREAKS: u32 = 1000;

/// How a blob came to be in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It was there.
    WasThere,
    /// Another repository of the registry had it.
    Mounted,
    /// It was sent.
    Uploaded,
}

impl Registry {
    /// Fetches what is missing of a blob behind the bytes that are in `file`, which is at `path`, and verifies all of it. `watch` is told how
    /// many bytes there are.
    pub async fn fetch(
        &self,
        what: &str,
        wanted: &Descriptor,
        (file, path): (&File, &Path),
        watch: impl Fn(u64) -> Result<()>,
    ) -> Result<()> {
        let mut is_anew = false;
        loop {
            self.complete(what, wanted, (file, path), &watch).await?;
            let digest = |source| Error::Read { what: "file that was fetched", path: path.into(), source };
            let found = Sha256::of_file(file).map_err(digest)?;
            if found == wanted.digest {
                return Ok(());
            }
            file.set_len(0).map_err(|source| Error::Write { path: path.into(), source })?;
            // A byte was wrong on the way, now or when the file was begun.
            if std::mem::replace(&mut is_anew, true) {
                return Err(OciError::WrongDigest { what: what.into(), found, wanted: wanted.digest }.into());
            }
        }
    }

    /// Brings `file` to its length.
    async fn complete(&self, what: &str, wanted: &Descriptor, target: (&File, &Path), watch: &impl Fn(u64) -> Result<()>) -> Result<()> {
        let url = self.url(&format!("blobs/{}", wanted.digest))?;
        let mut done = 0;
        for _ in 0..MAX_BREAKS {
            let before = done;
            // Once there was more, the next break is a first one.
            let result = self
                .retry(async || match self.go_on(what, &url, wanted, target, watch, &mut done).await {
                    Err(Error::Oci(error)) if matches!(*error, OciError::CutOff { .. }) && done > before => Ok(false),
                    result => result.map(|()| true),
                })
                .await;
            match result {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => return Err(error),
            }
        }
        Err(OciError::CutOff { what: what.into(), found: done, wanted: wanted.size }.into())
    }

    async fn go_on(
        &self,
        what: &str,
        url: &Url,
        wanted: &Descriptor,
        (mut file, path): (&File, &Path),
        watch: &impl Fn(u64) -> Result<()>,
        done: &mut u64,
    ) -> Result<()> {
        let writing = |source| Error::Write { path: path.into(), source };
        *done = file.seek(SeekFrom::End(0)).map_err(writing)?;
        if *done > wanted.size {
            *done = restart(file).map_err(writing)?;
        }
        if *done == wanted.size {
            return Ok(());
        }
        let from = *done;
        let range = |request: reqwest::RequestBuilder| match from {
            0 => request,
            _ => request.header(RANGE, format!("bytes={from}-")),
        };
        let mut response = match self.ask_once(Operation::Pull, Method::GET, url, what, &range).await {
            Err(Error::Oci(error)) if matches!(*error, OciError::Status { status: 416, .. }) => {
                *done = restart(file).map_err(writing)?;
                self.ask_once(Operation::Pull, Method::GET, url, what, &|request| request).await?
            }
            response => response?,
        };
        if !goes_on(&response, *done) {
            *done = restart(file).map_err(writing)?;
        }
        let cut_off = |found| OciError::CutOff { what: what.into(), found, wanted: wanted.size };
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) => {
                    if bytes.len() as u64 > wanted.size - *done {
                        let problem = format!("{what} has more than the announced {} bytes", wanted.size);
                        return Err(OciError::protocol(problem).into());
                    }
                    file.write_all(&bytes).map_err(writing)?;
                    *done += bytes.len() as u64;
                    watch(*done)?;
                }
                Ok(None) if *done == wanted.size => return Ok(()),
                Ok(None) | Err(_) => return Err(cut_off(*done).into()),
            }
        }
    }

    /// Sends a blob, unless the registry has it. `elsewhere` is another repository there that may.
    pub async fn send(
        &self,
        what: &str,
        blob: &Descriptor,
        source: &Source<'_>,
        elsewhere: Option<&str>,
        watch: impl Fn(u64) -> Result<()>,
    ) -> Result<Sent> {
        let url = self.url(&format!("blobs/{}", blob.digest))?;
        match self.ask(Operation::Push, Method::HEAD, &url, what, |request| request).await {
            Ok(_) => return Ok(Sent::WasThere),
            Err(Error::Oci(error)) if matches!(*error, OciError::Status { status: 404, .. }) => {}
            Err(error) => return Err(error),
        }
        self.retry(async || self.send_once(what, blob, source, elsewhere, &watch).await).await
    }

    async fn send_once(
        &self,
        what: &str,
        blob: &Descriptor,
        source: &Source<'_>,
        elsewhere: Option<&str>,
        watch: &impl Fn(u64) -> Result<()>,
    ) -> Result<Sent> {
        let mut begin = self.url("blobs/uploads/")?;
        if let Some(repository) = elsewhere {
            begin.query_pairs_mut().append_pair("mount", &blob.digest.to_string()).append_pair("from", repository);
        }
        let empty = |request: reqwest::RequestBuilder| request.header(CONTENT_LENGTH, 0);
        let response = self.ask_once(Operation::Push, Method::POST, &begin, what, &empty).await?;
        if response.status() == StatusCode::CREATED {
            return Ok(Sent::Mounted);
        }
        let mut place = Self::place(&response)?;
        let mut done = 0;
        // What fits goes with the request that ends the upload.
        while blob.size - done > CHUNK as u64 {
            let chunk = source.read(done, CHUNK)?;
            let range = format!("{done}-{}", done + chunk.len() as u64 - 1);
            done += chunk.len() as u64;
            let patch = |request: reqwest::RequestBuilder| {
                request.header(CONTENT_TYPE, "application/octet-stream").header(CONTENT_RANGE, &range).body(chunk.clone())
            };
            let response = self.ask_once(Operation::Push, Method::PATCH, &place, what, &patch).await?;
            place = Self::place(&response)?;
            watch(done)?;
        }
        let rest = source.read(done, (blob.size - done) as usize)?;
        let is_chunked = done > 0;
        let range = format!("{done}-{}", blob.size.saturating_sub(1));
        place.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
        let put = |request: reqwest::RequestBuilder| {
            let request = request.header(CONTENT_TYPE, "application/octet-stream").body(rest.clone());
            if is_chunked { request.header(CONTENT_RANGE, &range) } else { request }
        };
        self.ask_once(Operation::Push, Method::PUT, &place, what, &put).await?;
        watch(blob.size)?;
        Ok(Sent::Uploaded)
    }

    /// Sends a document, unless the registry has it: under its digest, or under a tag.
    pub async fn send_document(&self, media_type: &str, bytes: &[u8], name: &str) -> Result<()> {
        let (url, what) = (self.url(&format!("manifests/{name}"))?, format!("the document {name}"));
        if self.digest_at(Operation::Push, &url, &what).await? == Some(Sha256::of(bytes)) {
            return Ok(());
        }
        let put = |request: reqwest::RequestBuilder| request.header(CONTENT_TYPE, media_type).body(bytes.to_vec());
        self.ask(Operation::Push, Method::PUT, &url, &what, put).await.map(drop)
    }
}

/// Begins a file again.
fn restart(mut file: &File) -> std::io::Result<u64> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))
}

/// Whether an answer begins at byte `done`, as was asked for.
fn goes_on(response: &Response, done: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    match response.status() {
        StatusCode::PARTIAL_CONTENT => range.is_some_and(|range| range.starts_with(&format!("bytes {done}-"))),
        _ => done == 0,
    }
}

/// Where a blob that is sent is read from.
pub enum Source<'a> {
    /// Memory.
    Bytes(&'a [u8]),
    /// A file, and its name.
    File(&'a File, &'a Path),
}

impl Source<'_> {
    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.get(offset as usize..).and_then(|rest| rest.get(..length)).unwrap_or_default().to_vec()),
            Self::File(file, path) => {
                let mut bytes = vec![0; length];
                let error = |source| Error::Read { what: "file that is pushed", path: path.to_path_buf(), source };
                file.read_exact_at(&mut bytes, offset).map_err(error)?;
                Ok(bytes)
            }
        }
    }
}
