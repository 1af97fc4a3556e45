//! Makes images: layers as archives, and around them what registries and archives have.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use tar::{EntryType, Header};

/// A layer that is being made.
pub struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    pub fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// An entry whose path and link are taken as they are, however odd.
    pub fn entry(mut self, kind: EntryType, path: &[u8], link: &[u8], mode: u32, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.set_device_major(0);
        gnu.set_device_minor(0);
        gnu.name[..path.len()].copy_from_slice(path);
        gnu.linkname[..link.len()].copy_from_slice(link);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub fn file(self, path: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, path.as_bytes(), b"", 0o644, content.as_bytes())
    }

    pub fn folder(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, path.as_bytes(), b"", mode, b"")
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path.as_bytes(), target.as_bytes(), 0o777, b"")
    }

    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path.as_bytes(), target.as_bytes(), 0o644, b"")
    }

    pub fn device(mut self, path: &str, major: u32, minor: u32) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Char);
        header.set_path(path).unwrap();
        header.set_size(0);
        header.set_mode(0o666);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        header.set_cksum();
        self.0.append(&header, &b""[..]).unwrap();
        self
    }

    /// PAX records for the next entry.
    pub fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }

    pub fn done(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

#[derive(Clone, Copy)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
    /// Behind a frame that readers skip, as `pzstd` writes it.
    ZstdBehindAnother,
    Xz,
    Bzip2,
}

pub const COMPRESSIONS: [Compression; 6] =
    [Compression::None, Compression::Gzip, Compression::Zstd, Compression::ZstdBehindAnother, Compression::Xz, Compression::Bzip2];

pub fn compress(bytes: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::None => bytes.to_vec(),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => zstd::encode_all(bytes, 1).unwrap(),
        Compression::ZstdBehindAnother => {
            let skipped = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
            [skipped, zstd::encode_all(bytes, 1).unwrap()].concat()
        }
        Compression::Xz => {
            let output = super::common::run(Command::new("xz").arg("--stdout"), bytes);
            assert!(output.status.success());
            output.stdout
        }
        Compression::Bzip2 => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    }
}

pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// An OCI layout in a folder.
pub struct Layout(pub PathBuf);

impl Layout {
    pub fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(folder.into())
    }

    /// Where a blob is.
    pub fn blob_path(&self, digest: &str) -> PathBuf {
        self.0.join("blobs").join(digest.replace(':', "/"))
    }

    /// Adds a blob; returns its descriptor.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        fs::write(self.blob_path(&digest), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    pub fn json(&self, media_type: &str, document: &Value) -> Value {
        self.blob(media_type, document.to_string().as_bytes())
    }

    /// Adds an image; returns the descriptor of its manifest.
    pub fn image(&self, layers: &[Vec<u8>], compression: Compression, change: impl FnOnce(&mut Value)) -> Value {
        let mut config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": { "Cmd": ["/bin/sh"], "Env": ["PATH=/bin", "ODD"], "Entrypoint": null, "WorkingDir": "srv", "Labels": { "b": "2", "a": "1" }, "ExposedPorts": { "80/tcp": {} } },
            "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|layer| digest(layer)).collect::<Vec<_>>() },
        });
        change(&mut config);
        // Types are known to be wrong: what a layer begins with counts.
        let layers: Vec<Value> =
            layers.iter().map(|layer| self.blob("application/vnd.oci.image.layer.v1.tar+gzip", &compress(layer, compression))).collect();
        let config = self.json("application/vnd.oci.image.config.v1+json", &config);
        self.json("application/vnd.oci.image.manifest.v1+json", &json!({ "schemaVersion": 2, "config": config, "layers": layers }))
    }

    pub fn index(&self, manifests: &[Value]) {
        fs::write(self.0.join("index.json"), json!({ "schemaVersion": 2, "manifests": manifests }).to_string()).unwrap();
    }
}

/// An image of these layers in a new folder.
pub fn layout(layers: &[Vec<u8>]) -> (tempfile::TempDir, Layout) {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(&folder.path().join("image"));
    layout.index(&[layout.image(layers, Compression::Gzip, |_| ())]);
    (folder, layout)
}

/// An archive of all that is in a folder.
pub fn archive(folder: &Path) -> PathBuf {
    let path = folder.with_extension("tar");
    let mut builder = tar::Builder::new(fs::File::create(&path).unwrap());
    builder.append_dir_all(".", folder).unwrap();
    builder.finish().unwrap();
    path
}

/// An archive as `docker save` writes it.
pub fn docker_archive(path: &Path, tags: &[&str], layers: &[Vec<u8>]) {
    let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    let config =
        json!({ "architecture": "amd64", "os": "linux", "config": { "Cmd": ["sh"] }, "rootfs": { "diff_ids": diff_ids } }).to_string();
    let name = digest(config.as_bytes()).replace("sha256:", "") + ".json";
    let mut builder = Layer::new();
    let mut names = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let place = format!("{number}/layer.tar");
        builder = match layers[..number].iter().position(|other| other == layer) {
            Some(same) => builder.symlink(&place, &format!("../{same}/layer.tar")),
            None => builder.entry(EntryType::Regular, place.as_bytes(), b"", 0o644, layer),
        };
        names.push(place);
    }
    let manifest = json!([{ "Config": name, "RepoTags": tags, "Layers": names }]).to_string();
    fs::write(path, builder.file(&name, &config).file("manifest.json", &manifest).done()).unwrap();
}
