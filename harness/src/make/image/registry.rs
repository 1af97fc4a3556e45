//! An image in a registry.

use super::error::{ImageError, Result};
use super::spec::Descriptor;
use super::store::Store;
use crate::context::Context;
use crate::distribution::oci;
use crate::error::Error;
use crate::observer::{Observer, Task, Tracker};
use oci_client::Reference;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

/// An image in a registry.
pub struct Registry {
    registry: oci::Registry,
    /// Where blobs are kept while they are read.
    folder: PathBuf,
}

impl Registry {
    /// Nothing is asked of the registry yet.
    pub fn new(context: &Context, reference: Reference, folder: PathBuf) -> Result<Self> {
        let name = reference.whole();
        let registry = oci::Registry::new(context, reference).map_err(|error| cannot_fetch(error, name))?;
        Ok(Self { registry, folder })
    }

    /// The document that the reference names.
    pub fn named(&mut self) -> Result<Vec<u8>> {
        self.registry.wait(self.registry.named(None)).map_err(|error| cannot_fetch(error, self.name()))
    }

    /// The reference in full.
    pub fn name(&self) -> String {
        self.registry.name()
    }
}

impl Store for Registry {
    fn open(&mut self, descriptor: &Descriptor, what: &str, observer: &dyn Observer) -> Result<Box<dyn Read + '_>> {
        let mut file = tempfile::tempfile_in(&self.folder).map_err(ImageError::io("keep a layer beside the machine"))?;
        let total = descriptor.size;
        let wanted = oci::Descriptor::new(&descriptor.media_type, descriptor.digest()?, total);
        let tracker = Tracker::new(observer, Task::FetchImage { what }, Some(total));
        let watch = |done| {
            tracker.set(done);
            tracker.check()
        };
        let fetched = self.registry.wait(self.registry.fetch(what, &wanted, (&file, &self.folder), watch));
        fetched.map_err(|error| cannot_fetch(error, self.name()))?;
        file.seek(SeekFrom::Start(0)).map_err(ImageError::io("keep a layer beside the machine"))?;
        Ok(Box::new(file))
    }

    fn manifest(&mut self, descriptor: &Descriptor, _observer: &dyn Observer) -> Result<Vec<u8>> {
        let digest = descriptor.digest()?;
        self.registry.wait(self.registry.named(Some(digest))).map_err(|error| cannot_fetch(error, self.name()))
    }
}

fn cannot_fetch(error: Error, reference: String) -> ImageError {
    match error {
        Error::Oci(source) => ImageError::Registry { reference, source },
        Error::Read { source, .. } | Error::Write { source, .. } => ImageError::io("keep a layer beside the machine")(source),
        other => ImageError::io(format!("fetch {reference}"))(std::io::Error::other(other.to_string())),
    }
}
