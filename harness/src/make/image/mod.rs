//! Container images: from a reference or a file to a root file system and what the image says of the program in it.
//!
//! Nothing of an image is unpacked onto the host. Layers are read into a [`tree`] whose contents lie in a temporary file without a name, and
//! the root file system is written from there. So no path of an image means anything to the host, and nobody has to be root.
//!
//! `name` is what the user says; `store` and `registry` are where documents and layers are, `spec` what the documents say; `layer`, with
//! `archive` and `spool`, makes the tree; `erofs` writes it.

pub(crate) mod archive;
mod compression;
pub mod cpio;
mod digest;
pub mod erofs;
mod error;
mod folder;
mod layer;
pub mod limits;
mod name;
mod recognised;
mod registry;
mod spec;
pub mod spool;
mod store;
mod text;
pub mod tree;

pub use error::{ImageError, Result};
pub use name::{Doubt, Name};
pub use store::Place;

use crate::context::Context;
use crate::distribution::oci::{INDEXES, Sha256};
use crate::observer::{Observer, Task, Tracked};
use digest::{Digesting, check};
use layer::Layers;
use limits::Limits;
use payload::{ImageConfig, ImageOrigin};
use registry::Registry;
use serde::Deserialize;
use spec::{Configuration, Descriptor, Index, Manifest, Saved};
use spool::Spool;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use store::{LayoutFolder, Members, Store, document};
use text::Quoted;
use tree::Tree;

/// An image that has been read.
#[derive(Debug)]
pub struct ContainerImage {
    /// Its files.
    pub tree: Tree,
    /// Their contents.
    pub spool: Spool,
    /// What it is, and what it says.
    pub origin: ImageOrigin,
    /// Extended attributes that were left out because the root file system cannot carry them.
    pub dropped: u64,
}

/// Lists of lists of manifests.
const MAX_INDEXES: usize = 4;

/// Reads the image `name`. What has to be kept meanwhile is kept in `folder`.
pub fn read(name: &Name, folder: &Path, limits: Limits, context: &Context) -> Result<ContainerImage> {
    let mut reading = Reading { layers: Layers::new(Spool::new(folder, limits)?, limits), limits, observer: context.observer() };
    let origin = match name {
        Name::Registry(reference) => {
            let mut registry = Registry::new(context, reference.clone(), folder.into())?;
            let document = registry.named()?;
            // The name may have the digest.
            if let Some(wanted) = reference.digest() {
                check(Sha256::of(&document), || "the manifest".into(), wanted.parse().map_err(ImageError::UnknownDigest)?)?;
            }
            let name = Some(registry.name());
            reading.manifest(&mut registry, document, name)?
        }
        Name::Layout(path, tag) => {
            let mut layout = LayoutFolder(path.clone());
            let index = document(layout.file("index.json")?, "index.json")?;
            reading.layout(&mut layout, &index, &path.display().to_string(), tag.as_deref())?
        }
        Name::Archive(place, tag) => {
            let mut members = Members::open(place, folder, limits.unpacked)?;
            if members.has("index.json") {
                let index = document(members.member("index.json")?, "index.json")?;
                reading.layout(&mut members, &index, &place.to_string(), tag.as_deref())?
            } else {
                reading.docker_archive(&members, tag.as_deref())?
            }
        }
        Name::DockerArchive(place, tag) => reading.docker_archive(&Members::open(place, folder, limits.unpacked)?, tag.as_deref())?,
        Name::Folder(path) => {
            folder::add(&mut reading.layers, path, reading.observer)?;
            ImageOrigin::default()
        }
    };
    for volume in &origin.config.volumes {
        reading.layers.tree.make_folder(volume.as_bytes()).map_err(|problem| ImageError::Document {
            what: "configuration",
            problem: format!("cannot make its volume {}: {problem}", Quoted(volume.as_bytes())),
        })?;
        reading.layers.check_tree()?;
    }
    let Layers { tree, spool, dropped, .. } = reading.layers;
    Ok(ContainerImage { tree, spool, origin, dropped })
}

/// An image that is being read.
struct Reading<'a> {
    layers: Layers,
    limits: Limits,
    observer: &'a dyn Observer,
}

impl Reading<'_> {
    /// The image `tag` of the layout `place` with this index, or the one that there is.
    fn layout(&mut self, store: &mut dyn Store, index: &[u8], place: &str, tag: Option<&str>) -> Result<ImageOrigin> {
        let index: Index = spec::parse("index.json", index)?;
        let fitting = chosen(&index.manifests, tag, Descriptor::is_called);
        let names: BTreeSet<&str> = fitting.iter().filter_map(|entry| entry.name()).collect();
        if fitting.is_empty() || names.len() > 1 {
            return Err(choice(place, tag, index.manifests.iter().filter_map(Descriptor::name)));
        }
        let name = names.first().map(|name| (*name).to_owned());
        let fitting = Index { manifests: fitting.into_iter().cloned().collect() };
        let entry = fitting.choose()?;
        let document = self.checked_manifest(store, entry)?;
        self.manifest(store, document, name)
    }

    /// The image of a manifest, or of the one for this machine in a list of them.
    fn manifest(&mut self, store: &mut dyn Store, mut bytes: Vec<u8>, name: Option<String>) -> Result<ImageOrigin> {
        /// Tells the documents apart: Docker's and old ones do not all say what they are.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kind {
            #[serde(default)]
            media_type: String,
            manifests: Option<serde::de::IgnoredAny>,
        }
        for _ in 0..MAX_INDEXES {
            let kind: Kind = spec::parse("manifest", &bytes)?;
            if !INDEXES.contains(&kind.media_type.as_str()) && kind.manifests.is_none() {
                return self.image(store, &bytes, name);
            }
            let index: Index = spec::parse("index", &bytes)?;
            bytes = self.checked_manifest(store, index.choose()?)?;
        }
        Err(ImageError::Document { what: "index", problem: "indexes are nested without end".into() })
    }

    fn checked_manifest(&mut self, store: &mut dyn Store, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let bytes = store.manifest(descriptor, self.observer)?;
        check_document("the manifest", &bytes, descriptor)?;
        Ok(bytes)
    }

    fn image(&mut self, store: &mut dyn Store, bytes: &[u8], name: Option<String>) -> Result<ImageOrigin> {
        let manifest: Manifest = spec::parse("manifest", bytes)?;
        let config = document(store.open(&manifest.config, "the configuration", self.observer)?, "configuration")?;
        check_document("the configuration", &config, &manifest.config)?;
        let (config, diff_ids) = self.configuration(&config, manifest.layers.len())?;
        let count = manifest.layers.len();
        for (number, (layer, diff_id)) in (1..).zip(manifest.layers.iter().zip(diff_ids)) {
            let what = format!("layer {number} of {count}");
            let blob = store.open(layer, &what, self.observer).map_err(|error| layer.unopened(error))?;
            let blob = Tracked::new(blob, self.observer, Task::ReadImage { what: &what }, layer.size);
            // One byte more shows that there are too many.
            let mut blob = Digesting::new(blob.take(layer.size.saturating_add(1)));
            let added = self.layers.add(&mut blob);
            if let Err(error @ ImageError::TooMuch { .. }) = added {
                return Err(error);
            }
            // What is wrong inside is no wonder if the whole is not what it should be.
            let (digest, length) = blob.finish().map_err(ImageError::io(format!("read {what}")))?;
            check_length(&what, length, layer.size)?;
            check(digest, || what.clone(), layer.digest()?)?;
            check(added?, || format!("{what}, decompressed,"), diff_id)?;
        }
        let id = manifest.config.digest()?.to_string();
        Ok(ImageOrigin { name, manifest: Some(Sha256::of(bytes).to_string()), id: Some(id), config })
    }

    /// The image `tag` of an archive of Docker's, or the one that there is.
    fn docker_archive(&mut self, members: &Members, tag: Option<&str>) -> Result<ImageOrigin> {
        if !members.has("manifest.json") {
            let problem = match () {
                () if members.is_root() => "it is the archive of a root file system; unpack it and pass the folder",
                () if members.has("repositories") => "it was saved by a Docker before version 1.10; save it with a newer one",
                () => "it has neither an index.json nor a manifest.json",
            };
            return Err(ImageError::NotAnImage { name: members.name().into(), problem: problem.into() });
        }
        let saved: Vec<Saved> = spec::parse("manifest.json", &document(members.member("manifest.json")?, "manifest.json")?)?;
        let fitting = chosen(&saved, tag, Saved::is_called);
        let [found] = fitting.as_slice() else {
            return Err(choice(members.name(), tag, saved.iter().flat_map(Saved::names)));
        };
        let config = document(members.member(&found.config)?, "configuration")?;
        let digest = Sha256::of(&config);
        // The file is named by its digest.
        if let Ok(wanted) = format!("sha256:{}", found.digits()).parse() {
            check(digest, || "the configuration".into(), wanted)?;
        }
        let count = found.layers.len();
        let (config, diff_ids) = self.configuration(&config, count)?;
        for (number, (layer, diff_id)) in (1..).zip(found.layers.iter().zip(diff_ids)) {
            let what = format!("layer {number} of {count}");
            let member = members.member(layer)?;
            let total = member.left();
            let added = self.layers.add(Tracked::new(member, self.observer, Task::ReadImage { what: &what }, total))?;
            check(added, || what, diff_id)?;
        }
        let is_meant = |name: &&String| tag.is_some_and(|tag| spec::same_name(name, tag));
        let name = found.repo_tags.iter().find(is_meant).or(found.repo_tags.first()).cloned();
        Ok(ImageOrigin { name, manifest: None, id: Some(digest.to_string()), config })
    }

    /// What a configuration says of the program, and the digests of its layers.
    fn configuration(&self, bytes: &[u8], layers: usize) -> Result<(ImageConfig, Vec<Sha256>)> {
        let configuration: Configuration = spec::parse("configuration", bytes)?;
        configuration.check_platform()?;
        let diff_ids = configuration.diff_ids()?;
        if layers as u64 > self.limits.layers {
            return Err(ImageError::TooMuch { what: "layers", limit: self.limits.layers });
        }
        if diff_ids.len() != layers {
            let problem = format!("it has digests of {} layers, but the image has {layers}", diff_ids.len());
            return Err(ImageError::Document { what: "configuration", problem });
        }
        Ok((configuration.into_config()?, diff_ids))
    }
}

fn check_document(what: &str, bytes: &[u8], descriptor: &Descriptor) -> Result<()> {
    check_length(what, bytes.len() as u64, descriptor.size)?;
    check(Sha256::of(bytes), || what.into(), descriptor.digest()?)
}

fn check_length(what: &str, found: u64, wanted: u64) -> Result<()> {
    if found == wanted { Ok(()) } else { Err(ImageError::WrongLength { what: what.into(), found, wanted }) }
}

/// Those of several images that a user means: by a name, or by their number from 0 on (`@1`).
fn chosen<'a, T>(images: &'a [T], tag: Option<&str>, is_called: impl Fn(&T, &str) -> bool) -> Vec<&'a T> {
    let number = tag.and_then(|tag| tag.strip_prefix('@')).and_then(|number| number.parse::<usize>().ok());
    match (tag, number) {
        (None, _) => images.iter().collect(),
        (_, Some(number)) => images.get(number).into_iter().collect(),
        (Some(tag), None) => images.iter().filter(|image| is_called(image, tag)).collect(),
    }
}

fn choice(place: &str, tag: Option<&str>, names: impl Iterator<Item = impl Into<String>>) -> ImageError {
    let problem = match tag {
        Some(tag) => format!("has no image {}, or more than one", tag.escape_debug()),
        None => format!("has more than one image, or none; choose one with oci:{place}:TAG or docker-archive:{place}:TAG"),
    };
    let names = names.map(|name| name.into().escape_debug().to_string()).collect();
    ImageError::Choice { name: place.into(), problem, names }
}

/// What the guest's init is to know of the image.
pub fn for_init(origin: &ImageOrigin) -> protocol::ProgramDefaults {
    let config = &origin.config;
    // Without a value a variable is taken out of what is inherited, and nothing is.
    let environment = config.env.iter().filter_map(|line| line.split_once('=')).filter(|(name, _)| !name.is_empty());
    protocol::ProgramDefaults {
        entrypoint: config.entrypoint.clone(),
        command: config.cmd.clone(),
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        folder: config.working_dir.as_ref().map(|folder| format!("/{}", folder.trim_start_matches('/'))),
        user: config.user.clone(),
        stop_signal: config.stop_signal.clone(),
        hostname: config.hostname.clone(),
    }
}
