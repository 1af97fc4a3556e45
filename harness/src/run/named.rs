//! What an image's name leads to in the store: what was baked, or a machine that is made of the image here. An image may lie in a registry or on
//! this host.

use crate::context::Context;
use crate::distribution::oci::{self, CodeFormat, Found, OciError, PullOptions, PullPolicy, Sha256, VmArtifacts};
use crate::distribution::store::{Entry, Lock, ResizedMachine, Store, StoredFile};
use crate::error::{Error, Result};
use crate::host::backend::clock::seconds_since_1970;
use crate::host::file::open_file;
use crate::machine::file::MachineFile;
use crate::make::convert::{Conversion, convert};
use crate::make::image::{ImageError, Name, Place};
use crate::make::resize::resize;
use crate::observer::Notice;
use oci_client::Reference;
use std::fs::{self, File};
use std::path::Path;

/// Makes sure that a machine of the image called `text` is in the user's store.
pub fn ensure(context: &Context, text: &str, options: &PullOptions) -> Result<VmArtifacts> {
    context.outcome(Store::open(context).and_then(|store| ensure_in(context, &store, text, options)))
}

/// What the image called `text` is called in the store.
pub(crate) fn stored_name(text: &str) -> Result<String> {
    Ok(match Name::parse(text)? {
        Name::Registry(reference) => reference.whole(),
        local => local_name(&local)?,
    })
}

/// The reference in full, if `text` is a tag in a registry: what that names may change.
pub(crate) fn tag(text: &str) -> Option<String> {
    match Name::parse(text) {
        Ok(Name::Registry(reference)) if reference.digest().is_none() => Some(reference.whole()),
        _ => None,
    }
}

/// The same in a store that is open.
pub(crate) fn ensure_in(context: &Context, store: &Store, text: &str, options: &PullOptions) -> Result<VmArtifacts> {
    find(context, store, text, options, oci::ensure_in)
}

/// The same, but what is not in the store may still be on its way.
pub(crate) fn begin_in(context: &Context, store: &Store, text: &str, options: &PullOptions) -> Result<Found> {
    find(context, store, text, options, oci::begin_in)
}

fn find<T: From<VmArtifacts>>(
    context: &Context,
    store: &Store,
    text: &str,
    options: &PullOptions,
    find: impl Fn(&Context, &Store, &str, &PullOptions) -> Result<T>,
) -> Result<T> {
    let reference = match Name::parse(text) {
        Ok(Name::Registry(reference)) => reference.whole(),
        Ok(local) => return local_image(context, store, &local, text).map(T::from),
        // It may be one that was pulled by a name that is not understood any more.
        Err(error) if store.entry(text)?.is_none() => return Err(error.into()),
        Err(_) => text.into(),
    };
    match find(context, store, &reference, options) {
        Err(Error::Oci(error)) if matches!(*error, OciError::NotPrebaked { .. }) => {
            convert_reference(context, store, &reference)?;
            oci::ensure_in(context, store, &reference, &PullOptions { policy: PullPolicy::Never, ..*options }).map(T::from)
        }
        found => found,
    }
}

/// Makes a machine of an ordinary image in a registry, as what the reference names.
fn convert_reference(context: &Context, store: &Store, text: &str) -> Result<()> {
    let reference = oci::reference(text)?;
    let name = reference.whole();
    let digest = oci::digest_of(context, &reference)?;
    context.notice(Notice::OrdinaryImage { reference: &name });
    // What was asked for may have moved on since.
    let fixed = Reference::with_digest(reference.registry().into(), reference.repository().into(), digest.to_string());
    convert_into(context, store, &name, digest, &fixed.whole())
}

/// A machine of an image that lies on this host.
fn local_image(context: &Context, store: &Store, image: &Name, text: &str) -> Result<VmArtifacts> {
    let name = local_name(image)?;
    let digest = identity(image)?;
    let stored = |entry: Option<Entry>| match entry.filter(|entry| entry.digest == digest) {
        Some(entry) => oci::files_of(store, &entry),
        None => Ok(None),
    };
    // Nothing tells whether a folder has changed.
    let known = if matches!(image, Name::Folder(_)) { None } else { stored(store.entry(&name)?)? };
    if let Some(artifacts) = known {
        return Ok(artifacts);
    }
    convert_into(context, store, &name, digest, text)?;
    stored(store.entry(&name)?)?.ok_or_else(|| OciError::NotInStore { reference: name }.into())
}

/// What an image on this host is called in the store.
fn local_name(image: &Name) -> Result<String> {
    let whole = |path: &Path| path.canonicalize().map_err(|source| Error::Read { what: "image", path: path.into(), source });
    let named = |transport: &str, path: &Path, tag: &Option<String>| {
        let tag = tag.as_ref().map_or(String::new(), |tag| format!(":{tag}"));
        Ok(format!("{transport}{}{tag}", whole(path)?.display()))
    };
    match image {
        Name::Registry(reference) => Ok(reference.whole()),
        Name::Layout(path, tag) => named("oci:", path, tag),
        Name::Archive(Place::Path(path), tag) => named("oci-archive:", path, tag),
        Name::DockerArchive(Place::Path(path), tag) => named("docker-archive:", path, tag),
        Name::Folder(path) => named("", path, &None),
        Name::Archive(Place::StandardInput, _) | Name::DockerArchive(Place::StandardInput, _) => {
            let problem =
                "an image on standard input cannot be kept; save it, or make a machine of it: prebake convert - -o FILE.wasm".into();
            Err(ImageError::Name { name: "-".into(), problem }.into())
        }
    }
}

/// What tells whether an image on this host is the same as before.
fn identity(image: &Name) -> Result<Sha256> {
    let of_file = |path: &Path| {
        let read = |source| Error::Read { what: "image", path: path.into(), source };
        Sha256::of_file(&open_file(path).map_err(read)?).map_err(read)
    };
    match image {
        Name::Layout(path, _) => of_file(&path.join("index.json")),
        Name::Archive(Place::Path(path), _) | Name::DockerArchive(Place::Path(path), _) => of_file(path),
        other => Ok(Sha256::of(local_name(other)?.as_bytes())),
    }
}

/// Makes a machine of `image`, and puts it into the store as what `name` names.
fn convert_into(context: &Context, store: &Store, name: &str, digest: Sha256, image: &str) -> Result<()> {
    let _shared = store.share()?;
    // Others who want the same wait here, and find it made.
    let _claim: Lock = store.claim(digest)?;
    let is_folder = image.starts_with(['.', '/']) && Path::new(image).is_dir();
    if !is_folder
        && store.entry(name)?.is_some_and(|entry| entry.digest == digest && store.file(entry.machine.layer, entry.format.ending()).exists())
    {
        return Ok(());
    }
    let made = store.partial(digest).with_extension("wasm");
    convert(context, &Conversion::of_image(image, &made))?;
    let machine = admit(store, &made, CodeFormat::Wasm)?;
    let resized = store.entry(name)?.filter(|entry| entry.digest == digest && entry.machine == machine).map(|entry| entry.resized);
    store.note(&Entry {
        reference: name.into(),
        digest,
        machine,
        format: CodeFormat::Wasm,
        target: None,
        code: None,
        restores_only: false,
        snapshot: None,
        signatures: Vec::new(),
        pulled: seconds_since_1970(),
        resized: resized.unwrap_or_default(),
    })
}

/// Gives a machine its place in the store.
fn admit(store: &Store, made: &Path, format: CodeFormat) -> Result<StoredFile> {
    let read = |source| Error::Read { what: "machine", path: made.into(), source };
    let layer = Sha256::of_file(&File::open(made).map_err(read)?).map_err(read)?;
    let bytes = fs::metadata(made).map_err(read)?.len();
    store.admit(made, &store.file(layer, format.ending()))?;
    Ok(StoredFile { layer, bytes })
}

/// The same machine with `memory` MiB. It is made the first time that it is wanted: it boots, so what it takes for that is fetched as `options` say.
pub(crate) fn with_memory(
    context: &Context,
    store: &Store,
    artifacts: VmArtifacts,
    (memory, options): (u32, &PullOptions),
) -> Result<VmArtifacts> {
    if MachineFile::open(context, &artifacts.wasm_file)?.ram_size() == u64::from(memory) << 20 {
        return Ok(artifacts);
    }
    let lost = || OciError::NotInStore { reference: artifacts.reference.clone() };
    let find = || -> Result<_> {
        let entry = store.entry(&artifacts.reference)?.filter(|entry| entry.digest == artifacts.digest).ok_or_else(lost)?;
        let known = entry.resized.iter().find(|machine| machine.memory == memory).map(|machine| machine.file.layer);
        let place = known.map(|layer| (store.file(layer, entry.format.ending()), layer));
        let pin = place.as_ref().map(|(place, layer)| oci::intact(store, place, *layer)).transpose()?.flatten();
        Ok((entry, place.map(|(place, _)| place).zip(pin)))
    };
    let (entry, known) = find()?;
    if let Some((place, pin)) = known {
        return Ok(artifacts.with_machine(place, pin));
    }
    if entry.restores_only {
        let whole = oci::ensure_in(context, store, &artifacts.reference, &PullOptions { to_boot: true, ..*options })?;
        return with_memory(context, store, whole, (memory, options));
    }
    let _shared = store.share()?;
    // Others who want the same wait here, and find it made.
    let _claim = store.claim(entry.machine.layer)?;
    let (mut entry, known) = find()?;
    if let Some((place, pin)) = known {
        return Ok(artifacts.with_machine(place, pin));
    }
    let made = store.partial(entry.machine.layer).with_extension(entry.format.ending());
    resize(&artifacts.wasm_file, memory, &made)?;
    let file = admit(store, &made, entry.format)?;
    let place = store.file(file.layer, entry.format.ending());
    entry.resized.retain(|machine| machine.memory != memory);
    entry.resized.push(ResizedMachine { memory, file });
    store.note(&entry)?;
    let pin = oci::intact(store, &place, entry.resized[entry.resized.len() - 1].file.layer)?.ok_or_else(lost)?;
    Ok(artifacts.with_machine(place, pin))
}
