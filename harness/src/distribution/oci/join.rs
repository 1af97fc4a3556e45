//! A machine's file, joined of what an ordinary OCI client has pulled.

use super::document::{Config, LayerConfig, MAX_DOCUMENT};
use super::error::OciError;
use super::layer::{Assembly, Origin, Packed};
use crate::artifact::{Artifact, MAX_FILE_LEN, PartKind};
use crate::error::{Error, Result};
use crate::host::file::{self, HostFile};
use snapshot::{Digest, ReadAt};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Joins the layers of a machine that are among `files` to its file at `output`, which is empty. Which of them is what, is told by what is in them, since
/// clients give them different names. Returns the digest of the code.
pub fn join(files: &[PathBuf], file: &mut File, output: &Path) -> Result<Digest> {
    let missing = |problem: String| OciError::Mismatch { problem };
    let format = output.extension().unwrap_or_default();
    let mut configs = Vec::new();
    let mut layers = Vec::new();
    for path in files {
        match config_in(path)? {
            Some(config) if config.code.format.ending() == format => configs.push(config),
            Some(_) => {}
            None => layers.extend(Packed::open(path).ok()),
        }
    }
    configs.dedup();
    let [config] = configs.as_slice() else {
        let found = configs.len();
        let kind = format.display();
        return Err(missing(format!(
            "{found} of the files describe a .{kind} machine, expected 1; pass all files of one pull, its configuration included"
        ))
        .into());
    };
    let Some(sizes) = &config.layers else {
        return Err(missing("the machine was pushed as one file, which needs no unpacking".into()).into());
    };
    sizes.check()?;
    let contents = layers.iter().map(|layer| content_of(layer, sizes).map(|digest| digest.to_string())).collect::<Vec<_>>();
    let find = |what: &str, digest: &str| {
        let found = contents.iter().position(|content| content.as_deref() == Some(digest));
        found
            .map(|found| Origin::Layer(&layers[found]))
            .ok_or_else(|| missing(format!("the {what} {digest} is not among the files; pass all files of one pull")))
    };
    let code = find("code", &config.code.digest)?;
    let mut parts = BTreeMap::new();
    for kind in PartKind::ALL {
        if let Some(digest) = config.payload.get(kind.name()) {
            parts.insert(kind, find(kind.name(), digest)?);
        }
    }
    Assembly::new(config, sizes, code, parts).write(file, output)?;
    let written = file.try_clone().and_then(HostFile::of).map_err(|source| Error::Read { what: "machine", path: output.into(), source })?;
    let error = |source| Error::Artifact { path: output.into(), source };
    Artifact::open(written).and_then(|machine| machine.code_digest()).map_err(error)
}

/// The configuration in a file, if that is what it is.
fn config_in(path: &Path) -> Result<Option<Config>> {
    let length = HostFile::open("layer", path)?.byte_len();
    if length > MAX_DOCUMENT {
        return Ok(None);
    }
    Ok(serde_json::from_slice(&file::read("layer", path)?).ok())
}

/// The digest of what a layer holds, if it can be unpacked: of a disk as much as the machine's has.
fn content_of(layer: &Packed, sizes: &LayerConfig) -> Option<Digest> {
    let limit = match layer {
        Packed::Disk(_) => *sizes.parts.get(PartKind::Root.name())?,
        Packed::Stream(_) => MAX_FILE_LEN,
    };
    layer.digest(limit)
}
