//! Layers that are used while they are still on their way.
//!
//! Three connections fetch them by ranges: what is waited for, and once nobody has to wait for a machine to start, all the rest, one layer after the other. One
//! of them is there for what is waited for alone, and while something is, no more of the rest is asked for. So nothing is fetched twice, each range is asked
//! of the registry anew, and an address that expires is never held for long. A registry without ranges sends the whole of a layer at once.

use super::document::Descriptor;
use super::error::OciError;
use super::registry::{Operation, Registry};
use crate::error::{Error, Result};
use crate::host::coming::{ComingFile, GRAIN};
use futures_util::future::try_join3;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};
use std::cell::Cell;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes that a connection asks for at first.
const FIRST: u64 = 4 * GRAIN;
/// The most that it comes to ask for, of a registry that is near.
const MOST: u64 = 128 * GRAIN;
/// What a range is to take: a wait for something else is then not much longer. A range that took less is followed by a longer one.
const SHORT: Duration = Duration::from_millis(200);
/// One that took more, by a shorter one.
const LONG: Duration = Duration::from_millis(600);
/// How often a connection with nothing to do looks whether there is something.
const IDLE: Duration = Duration::from_millis(10);

/// A layer that is to come.
#[derive(Clone)]
pub struct ComingLayer {
    /// Which.
    pub layer: Descriptor,
    /// What has come of it.
    pub file: Arc<ComingFile>,
    /// Where that is, for errors.
    pub path: PathBuf,
}

/// Layers that are to come, in this order.
pub struct Stream<'a> {
    registry: &'a Registry,
    layers: &'a [ComingLayer],
    /// Whether all is to come, not only what is waited for.
    wants_all: &'a dyn Fn() -> bool,
    /// Told how many bytes of all of them have come.
    watch: &'a dyn Fn(u64) -> Result<()>,
    /// Ranges under way that somebody waits for.
    waited_for: Cell<usize>,
}

impl<'a> Stream<'a> {
    pub const fn new(
        registry: &'a Registry,
        layers: &'a [ComingLayer],
        wants_all: &'a dyn Fn() -> bool,
        watch: &'a dyn Fn(u64) -> Result<()>,
    ) -> Self {
        Self { registry, layers, wants_all, watch, waited_for: Cell::new(0) }
    }

    /// Has all of them come. Nothing is verified.
    pub async fn run(&self) -> Result<()> {
        try_join3(self.connection(true), self.connection(true), self.connection(false)).await.map(drop)
    }

    /// Fetches one range after the other: what is waited for, and if it is `for_all`, the rest.
    async fn connection(&self, for_all: bool) -> Result<()> {
        let mut length = FIRST;
        loop {
            if let Some((layer, range)) = self.next(|file| file.take_wanted(MOST)) {
                self.waited_for.set(self.waited_for.get() + 1);
                let fetched = self.fetch(layer, &range).await;
                self.waited_for.set(self.waited_for.get() - 1);
                fetched?;
                continue;
            }
            let is_free = for_all && self.waited_for.get() == 0 && (self.wants_all)();
            let next = if is_free { self.next(|file| file.take_next(length)) } else { None };
            let Some((layer, range)) = next else {
                if self.layers.iter().all(|layer| layer.file.is_complete()) {
                    return Ok(());
                }
                tokio::time::sleep(IDLE).await;
                continue;
            };
            let begun = Instant::now();
            self.fetch(layer, &range).await?;
            length = match begun.elapsed() {
                elapsed if elapsed < SHORT && range.end - range.start >= length => (length * 2).min(MOST),
                elapsed if elapsed > LONG => (length / 2).max(FIRST),
                _ => length,
            };
        }
    }

    /// The next range that nobody fetches yet, which is taken.
    fn next(&self, take: impl Fn(&ComingFile) -> Option<Range<u64>>) -> Option<(&ComingLayer, Range<u64>)> {
        self.layers.iter().find_map(|layer| take(&layer.file).map(|range| (layer, range)))
    }

    /// Fetches `range` of a layer. What has not come in the end is for others to take.
    async fn fetch(&self, layer: &ComingLayer, range: &Range<u64>) -> Result<()> {
        self.fetch_all(layer, range).await.inspect_err(|_| layer.file.give_back(range.clone()))
    }

    async fn fetch_all(&self, layer: &ComingLayer, range: &Range<u64>) -> Result<()> {
        let mut at = range.start;
        loop {
            let before = at;
            // Once there was more, the next break is a first one.
            let result = self
                .registry
                .retry(async || match self.fetch_once(layer, &mut at, range.end).await {
                    Err(Error::Oci(error)) if matches!(*error, OciError::CutOff { .. }) && at > before => Ok(false),
                    result => result.map(|()| true),
                })
                .await?;
            if result {
                return Ok(());
            }
        }
    }

    /// Fetches the bytes from `at` to `end`, and says how far it came; or all, if the registry knows no ranges.
    async fn fetch_once(&self, layer: &ComingLayer, at: &mut u64, end: u64) -> Result<()> {
        let (what, from) = (format!("the layer {}", layer.layer.digest), *at);
        let url = self.registry.url(&format!("blobs/{}", layer.layer.digest))?;
        let range = |request: reqwest::RequestBuilder| request.header(RANGE, format!("bytes={from}-{}", end - 1));
        let response = self.registry.ask_once(Operation::Pull, Method::GET, &url, &what, &range).await?;
        if response.status() == StatusCode::PARTIAL_CONTENT {
            let begins = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
            if !begins.is_some_and(|range| range.starts_with(&format!("bytes {from}-"))) {
                return Err(OciError::protocol(format!("it answered with another part of {what}")).into());
            }
            return self.absorb(response, layer, (at, end), &what).await;
        }
        // Whoever is the first to see that has all of it come; the others find it here.
        if from < end && !layer.file.take_whole() {
            while !layer.file.is_complete() && layer.file.is_whole_taken() {
                tokio::time::sleep(IDLE).await;
            }
            return if layer.file.is_complete() { Ok(()) } else { Err(cut_off(layer, &what, from)) };
        }
        let mut from = 0;
        let result = self.absorb(response, layer, (&mut from, layer.layer.size), &what).await;
        layer.file.give_whole_back();
        result
    }

    /// Takes what comes, grain by grain.
    async fn absorb(&self, mut response: Response, layer: &ComingLayer, (at, end): (&mut u64, u64), what: &str) -> Result<()> {
        let mut grain = Vec::with_capacity(GRAIN as usize);
        while let Ok(Some(bytes)) = response.chunk().await {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let wanted = GRAIN.min(end - *at) as usize - grain.len();
                if wanted == 0 {
                    return Err(OciError::protocol(format!("{what} has more than the announced {} bytes", layer.layer.size)).into());
                }
                let (taken, left) = rest.split_at(wanted.min(rest.len()));
                grain.extend_from_slice(taken);
                rest = left;
                if taken.len() == wanted {
                    layer.file.put(*at, &grain).map_err(|source| Error::Write { path: layer.path.clone(), source })?;
                    *at += grain.len() as u64;
                    grain.clear();
                    (self.watch)(self.layers.iter().map(|layer| layer.file.come()).sum())?;
                }
            }
        }
        if *at == end { Ok(()) } else { Err(cut_off(layer, what, *at)) }
    }
}

fn cut_off(layer: &ComingLayer, what: &str, found: u64) -> Error {
    OciError::CutOff { what: what.into(), found, wanted: layer.layer.size }.into()
}
