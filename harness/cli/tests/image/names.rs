//! Which of several images in an archive or a layout is meant.

use super::builder::{Compression, Layer, Layout, digest};
use super::{is_refused, listing, read, read_with};
use prebake::make::image::limits::Limits;
use serde_json::json;
use std::fs;

/// An archive as `docker save` writes it, of an image for each list of tags. Image N has the file `N`.
fn archive(tags: &[&[&str]]) -> (tempfile::TempDir, String, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let (mut builder, mut manifest, mut digests) = (Layer::new(), Vec::new(), Vec::new());
    for (number, tags) in tags.iter().enumerate() {
        let layer = Layer::new().file(&number.to_string(), "").done();
        let config = json!({ "architecture": "amd64", "os": "linux", "rootfs": { "diff_ids": [digest(&layer)] } }).to_string();
        let id = digest(config.as_bytes()).replace("sha256:", "");
        let (name, place) = (format!("{id}.json"), format!("{number}.tar"));
        builder = builder.file(&name, &config).entry(tar::EntryType::Regular, place.as_bytes(), b"", 0o644, &layer);
        manifest.push(json!({ "Config": name, "RepoTags": tags, "Layers": [place] }));
        digests.push(id);
    }
    let path = folder.path().join("saved.tar");
    fs::write(&path, builder.file("manifest.json", &json!(manifest).to_string()).done()).unwrap();
    let path = path.display().to_string();
    (folder, path, digests)
}

#[test]
fn an_image_of_an_archive_has_many_names() {
    let (_folder, path, ids) = archive(&[&["alpine:latest", "r.example/a/b:1"], &["busybox:1.36"], &[]]);
    let named = |tag: &str| read_with(&format!("docker-archive:{path}:{tag}"), Limits::default());
    for (tag, file) in [
        ("alpine:latest", "/0="),
        ("alpine", "/0="),
        ("docker.io/library/alpine", "/0="),
        ("r.example/a/b:1", "/0="),
        ("busybox:1.36", "/1="),
        ("@1", "/1="),
        ("@2", "/2="),
        (&ids[2], "/2="),
        (&ids[2][..12], "/2="),
        (&format!("sha256:{}", ids[1]), "/1="),
    ] {
        assert_eq!(listing(&named(tag).unwrap_or_else(|error| panic!("{tag}: {error}"))), [file], "{tag}");
    }
    assert_eq!(named("r.example/a/b:1").unwrap().origin.name.as_deref(), Some("r.example/a/b:1"));
    for tag in ["busybox", "@3", "r.example/a/b", &ids[0][..11], "000000000000"] {
        is_refused(named(tag), "image-choice", &["has no image", "alpine:latest, r.example/a/b:1, busybox:1.36", &ids[2]]);
    }
    is_refused(read_with(&path, Limits::default()), "image-choice", &["more than one image"]);
    let (_folder, path, _) = archive(&[&["x:1", "y:2"]]);
    assert_eq!(read_with(&path, Limits::default()).unwrap().origin.name.as_deref(), Some("x:1"));
}

#[test]
fn an_image_of_a_layout_is_called_as_docker_and_podman_call_it() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    let image = |full: Option<&str>, tag: &str, file: &str| {
        let mut manifest = layout.image(&[Layer::new().file(file, "").done()], Compression::Gzip, |_| ());
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        if let Some(full) = full {
            manifest["annotations"]["io.containerd.image.name"] = json!(full);
        }
        manifest
    };
    let images = [
        image(Some("docker.io/library/alpine:latest"), "latest", "alpine"),
        image(Some("docker.io/library/busybox:latest"), "latest", "busybox"),
        image(None, "localhost/own:1", "own"),
    ];
    layout.index(&images);
    let path = layout.0.to_str().unwrap();
    let named = |tag: &str| read_with(&format!("oci:{path}:{tag}"), Limits::default());
    for (tag, file) in [
        ("alpine", "/alpine="),
        ("busybox:latest", "/busybox="),
        ("docker.io/library/busybox:latest", "/busybox="),
        ("localhost/own:1", "/own="),
        ("@1", "/busybox="),
        (images[2]["digest"].as_str().unwrap(), "/own="),
    ] {
        assert_eq!(listing(&named(tag).unwrap_or_else(|error| panic!("{tag}: {error}"))), [file], "{tag}");
    }
    // A tag that two of them have names neither.
    is_refused(named("latest"), "image-choice", &["docker.io/library/alpine:latest, docker.io/library/busybox:latest"]);
    is_refused(read(&layout.0), "image-choice", &["more than one image"]);
}
