//! What an image says of itself: platforms, volumes, the root's own attributes, layers that are elsewhere.

use super::builder::{Compression, Layer, Layout, digest};
use super::{find, is_refused, listing, read, read_layers, written};
use prebake::make::image::ContainerImage;
use prebake::make::image::tree::ROOT;
use serde_json::{Value, json};
use std::fs;
use tar::EntryType;

fn image(layers: &[Vec<u8>], change: impl FnOnce(&mut Value)) -> prebake::make::image::Result<ContainerImage> {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    layout.index(&[layout.image(layers, Compression::Gzip, change)]);
    read(&layout.0)
}

#[test]
fn volumes_are_there() {
    let layer = Layer::new().folder("kept", 0o700).symlink("link", "real/deep").file("file", "").done();
    let volumes = json!({ "/var/lib/data": {}, "relative/x/": {}, "/kept": {}, "/link": {}, "/file": {}, "/": {} });
    let image = image(&[layer], |config| config["config"]["Volumes"] = volumes).unwrap();
    let wanted = [
        "/file=",
        "/kept/",
        "/link->real/deep",
        "/real/",
        "/real/deep/",
        "/relative/",
        "/relative/x/",
        "/var/",
        "/var/lib/",
        "/var/lib/data/",
    ];
    assert_eq!(listing(&image), wanted);
    let mode = |path: &str| image.tree.inode(find(&image.tree, path).unwrap()).attributes.mode;
    assert_eq!((mode("kept"), mode("var/lib/data")), (0o700, 0o755));
}

#[test]
fn names_of_the_platform_are_those_that_builders_write() {
    let layer = || [Layer::new().file("a", "").done()];
    for (architecture, os) in [
        (json!("x86_64"), json!("linux")),
        (json!("AMD64"), json!("Linux")),
        (json!("x86-64"), json!("linux")),
        (json!(""), json!("")),
        (Value::Null, Value::Null),
    ] {
        let image = image(&layer(), |config| (config["architecture"], config["os"]) = (architecture.clone(), os.clone()));
        assert!(image.is_ok(), "{architecture} {os}: {}", image.unwrap_err());
    }
    let without = image(&layer(), |config| {
        config.as_object_mut().unwrap().remove("architecture");
        config.as_object_mut().unwrap().remove("os");
    });
    assert!(without.is_ok());
    for (architecture, os) in [("i386", "linux"), ("x86", "linux"), ("amd64", "windows"), ("aarch64", "")] {
        let image = image(&layer(), |config| (config["architecture"], config["os"]) = (json!(architecture), json!(os)));
        is_refused(image, "image-platform", &[architecture]);
    }
}

#[test]
fn an_entry_that_says_its_platform_goes_before_one_that_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    let entry = |file: &str, platform: Value| {
        let mut manifest = layout.image(&[Layer::new().file(file, "").done()], Compression::Gzip, |_| ());
        manifest["platform"] = platform;
        manifest
    };
    let unsaid = entry("unsaid", json!({ "os": "", "architecture": "" }));
    let ours = entry("ours", json!({ "os": "linux", "architecture": "x86_64" }));
    let arm = entry("arm", json!({ "os": "linux", "architecture": "arm64" }));
    layout.index(&[unsaid.clone(), arm.clone(), ours]);
    assert_eq!(listing(&read(&layout.0).unwrap()), ["/ours="]);
    layout.index(&[arm.clone(), unsaid]);
    assert_eq!(listing(&read(&layout.0).unwrap()), ["/unsaid="]);
    layout.index(&[arm]);
    is_refused(read(&layout.0), "image-platform", &["linux/arm64"]);
}

#[test]
fn the_root_has_the_mode_and_the_owner_that_a_layer_gives_it() {
    let root = |path: &str| {
        Layer::new().pax(&[("uid", b"1000"), ("gid", b"70000")]).entry(EntryType::Directory, path.as_bytes(), b"", 0o1711, b"")
    };
    for path in ["./", ".", "/"] {
        let image = read_layers(&[root(path).file("a", "").done(), Layer::new().file("b", "").done()]).unwrap();
        let attributes = &image.tree.inode(ROOT).attributes;
        assert_eq!((attributes.mode, attributes.uid, attributes.gid), (0o1711, 1000, 70_000), "{path}");
        let bytes = written(&image);
        // The root's inode is the first.
        let at = usize::from(u16::from_le_bytes([bytes[1024 + 14], bytes[1024 + 15]])) * 32;
        assert_eq!(u16::from_le_bytes([bytes[at + 4], bytes[at + 5]]), 0o041_711, "{path}");
    }
}

#[test]
fn a_layer_that_need_not_be_there_is_read_if_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    let layer = Layer::new().file("a", "").done();
    for foreign in ["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "application/vnd.oci.image.layer.nondistributable.v1.tar"]
    {
        let config = json!({ "architecture": "amd64", "os": "linux", "rootfs": { "diff_ids": [digest(&layer)] } });
        let config = layout.json("application/vnd.oci.image.config.v1+json", &config);
        let mut described = layout.blob(foreign, &layer);
        described["urls"] = json!(["https://elsewhere.example/layer"]);
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [described] });
        layout.index(&[layout.json("application/vnd.oci.image.manifest.v1+json", &manifest)]);
        assert_eq!(listing(&read(&layout.0).unwrap()), ["/a="]);
        fs::remove_file(layout.blob_path(described["digest"].as_str().unwrap())).unwrap();
        is_refused(read(&layout.0), "image-document", &[foreign, "elsewhere"]);
    }
}
