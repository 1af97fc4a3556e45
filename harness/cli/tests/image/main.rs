//! Images that bite: what is in them comes out as container runtimes have it, and what is not right is an error with a name.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod builder;
#[path = "../common/mod.rs"]
mod common;
mod forms;
mod guest;
mod interrupted;
mod names;
mod registry;
mod said;

use builder::{Compression, Layer, Layout, archive, compress, docker_archive, layout};
use prebake::context::{Context, Folders};
use prebake::make::image::limits::Limits;
use prebake::make::image::tree::{Id, Node, ROOT, Tree};
use prebake::make::image::{self, ContainerImage, ImageError, Name, Result, erofs, for_init};
use proptest::prelude::*;
use serde_json::json;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use tar::EntryType;

fn read_with(name: &str, limits: Limits) -> Result<ContainerImage> {
    image::read(&Name::parse(name)?, &std::env::temp_dir(), limits, &Context::silent(Folders::default()))
}

fn read(path: &Path) -> Result<ContainerImage> {
    read_with(path.to_str().unwrap(), Limits::default())
}

fn read_layers(layers: &[Vec<u8>]) -> Result<ContainerImage> {
    let (_folder, layout) = layout(layers);
    read(&layout.0)
}

fn find(tree: &Tree, path: &str) -> Option<Id> {
    path.split('/').try_fold(ROOT, |id, name| match &tree.inode(id).node {
        Node::Folder(names) => names.get(name.as_bytes()).map(|name| name.id),
        _ => None,
    })
}

/// All paths, with contents of files and targets of links.
fn listing(image: &ContainerImage) -> Vec<String> {
    let mut lines = Vec::new();
    let mut ahead = vec![(String::new(), ROOT)];
    while let Some((path, id)) = ahead.pop() {
        let Node::Folder(names) = &image.tree.inode(id).node else { continue };
        for (name, found) in names {
            let path = format!("{path}/{}", name.escape_ascii());
            lines.push(match &image.tree.inode(found.id).node {
                Node::Folder(_) => {
                    ahead.push((path.clone(), found.id));
                    format!("{path}/")
                }
                Node::File(content) => {
                    let mut bytes = vec![0; content.size as usize];
                    for extent in &content.extents {
                        image.spool.read_at(&mut bytes[extent.offset as usize..][..extent.length as usize], extent.at).unwrap();
                    }
                    format!("{path}={}", bytes.escape_ascii())
                }
                Node::Symlink(target) => format!("{path}->{}", target.escape_ascii()),
                other => format!("{path} {other:?}"),
            });
        }
    }
    lines.sort();
    lines
}

fn files_of(layers: &[Vec<u8>]) -> Vec<String> {
    listing(&read_layers(layers).unwrap_or_else(|error| panic!("{error}")))
}

fn written(image: &ContainerImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    erofs::Filesystem::of(&image.tree, u64::MAX).unwrap().reader(&image.tree, &image.spool).read_to_end(&mut bytes).unwrap();
    bytes
}

/// Checks that these layers are refused with an error of this kind, whose message has all of `words`.
fn refused(layers: &[Vec<u8>], kind: &str, words: &[&str]) {
    is_refused(read_layers(layers), kind, words);
}

fn is_refused(result: Result<ContainerImage>, kind: &str, words: &[&str]) {
    let error = match result {
        Ok(image) => panic!("{kind} was wanted: {:?}", listing(&image)),
        Err(error) => error,
    };
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "`{word}` is missing: {error}");
    }
}

#[test]
fn whiteouts_take_away_what_lies_below_and_nothing_else() {
    let below = Layer::new().file("a/b", "1").file("a/c", "1").file("d/e/f", "1").file("g", "1").file("h/i", "1").done();
    let above = Layer::new()
        .file("a/.wh.b", "")
        // What this layer has itself stays, whether it comes before or after.
        .file("d/e/new", "2")
        .file(".wh.d", "")
        .file("h/.wh..wh..opq", "")
        .file("h/j", "2")
        .file(".wh.g", "")
        .file("g", "2")
        .file(".wh.missing", "")
        .file(".wh..wh.plnk/x", "")
        .done();
    assert_eq!(files_of(&[below, above]), ["/a/", "/a/c=1", "/d/", "/d/e/", "/d/e/new=2", "/g=2", "/h/", "/h/j=2"]);
}

#[test]
fn an_opaque_directory_hides_what_was_in_it_before_its_own_entry() {
    let below = Layer::new().file("h/i", "1").file("h/k/l", "1").done();
    let above = Layer::new().file("h/j", "2").folder("h", 0o700).file("h/.wh..wh..opq", "").done();
    let image = read_layers(&[below, above]).unwrap();
    assert_eq!(listing(&image), ["/h/", "/h/j=2"]);
    assert_eq!(image.tree.inode(find(&image.tree, "h").unwrap()).attributes.mode, 0o700);
}

#[test]
fn twenty_layers_lie_over_each_other() {
    let layers: Vec<Vec<u8>> = (0..20)
        .map(|n| {
            Layer::new().file("all", &n.to_string()).file(&format!("own/{n:02}"), "").file(&format!("own/.wh.{:02}", n - 1), "").done()
        })
        .collect();
    assert_eq!(files_of(&layers), ["/all=19", "/own/", "/own/19="]);
}

#[test]
fn hard_links_are_one_file_across_directories_and_layers() {
    let below = Layer::new().file("a/x", "1").link("b/y", "a/x").done();
    let above = Layer::new().link("c/z", "b/y").file("a/.wh.x", "").done();
    let image = read_layers(&[below, above]).unwrap();
    assert_eq!(listing(&image), ["/a/", "/b/", "/b/y=1", "/c/", "/c/z=1"]);
    assert_eq!(find(&image.tree, "b/y"), find(&image.tree, "c/z"));
    refused(&[Layer::new().link("a", "missing").done()], "image-entry", &["layer 1", "\"a\"", "not there"]);
    refused(&[Layer::new().folder("d", 0o755).link("a", "d").done()], "image-entry", &["directory"]);
    assert_eq!(files_of(&[Layer::new().file("a", "1").link("a", "a").done()]), ["/a=1"]);
}

#[test]
fn modes_devices_owners_times_and_attributes_are_kept() {
    let capability = b"\x01\0\0\x02\n\x04\0\0=\0\0\0\0\0\0\0\0\0\0\0";
    let layer = Layer::new()
        .entry(EntryType::Regular, b"su", b"", 0o4755, b"x")
        .folder("tmp/", 0o1777)
        .device("dev/null", 1, 3)
        .entry(EntryType::Fifo, b"pipe", b"", 0o600, b"")
        .pax(&[
            ("uid", b"4000000000"),
            ("gid", b"70000"),
            ("mtime", b"1700000000.123456789"),
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.system.nfs4_acl", b"y"),
        ])
        .file("ping", "x")
        .done();
    let image = read_layers(&[layer]).unwrap();
    let inode = |path: &str| image.tree.inode(find(&image.tree, path).unwrap());
    assert_eq!(inode("su").attributes.mode, 0o4755);
    assert_eq!(inode("tmp").attributes.mode, 0o1777);
    assert_eq!(inode("dev/null").node, Node::Character(1, 3));
    assert_eq!(inode("pipe").node, Node::Fifo);
    let ping = &inode("ping").attributes;
    assert_eq!((ping.uid, ping.gid, ping.mtime), (4_000_000_000, 70_000, (1_700_000_000, 123_456_789)));
    assert_eq!(ping.extended, [(b"security.capability".to_vec(), capability.to_vec())].into());
    assert_eq!(image.dropped, 2);
}

#[test]
fn a_file_of_two_gigabytes_of_holes_is_read_at_once() {
    let map = format!("{},4", 2_u64 << 30);
    let size = ((2_u64 << 30) + 4).to_string();
    let layer = Layer::new()
        .pax(&[("GNU.sparse.size", size.as_bytes()), ("GNU.sparse.map", map.as_bytes()), ("GNU.sparse.name", b"big")])
        .file("x", "tail")
        .done();
    let image = read_layers(&[layer]).unwrap();
    let Node::File(content) = &image.tree.inode(find(&image.tree, "big").unwrap()).node else { panic!("no file") };
    assert_eq!((content.size, content.extents.len(), image.spool.length()), ((2 << 30) + 4, 1, 4));
    assert!(written(&image).len() < 1 << 20);
}

#[test]
fn names_may_be_any_bytes() {
    let layer = Layer::new().entry(EntryType::Regular, b"\xff\xfe/\x01", b"", 0o644, b"1").done();
    assert_eq!(files_of(&[layer]), ["/\\xff\\xfe/", "/\\xff\\xfe/\\x01=1"]);
}

#[test]
fn links_on_the_way_are_followed_inside_of_the_image() {
    let below =
        Layer::new().folder("usr/bin", 0o755).symlink("bin", "usr/bin").symlink("out", "/../../usr").symlink("s", "missing/x").done();
    let above = Layer::new().file("bin/sh", "1").file("out/lib", "2").file("s/f", "3").done();
    let wanted = [
        "/bin->usr/bin",
        "/missing/",
        "/missing/x/",
        "/missing/x/f=3",
        "/out->/../../usr",
        "/s->missing/x",
        "/usr/",
        "/usr/bin/",
        "/usr/bin/sh=1",
        "/usr/lib=2",
    ];
    assert_eq!(files_of(&[below, above]), wanted);
}

#[test]
fn links_that_lead_to_the_host_lead_into_the_image() {
    let layer = Layer::new().symlink("up", "../../../../etc").symlink("abs", "/etc").file("up/shadow", "1").file("abs/group", "2").done();
    assert_eq!(files_of(&[layer]), ["/abs->/etc", "/etc/", "/etc/group=2", "/etc/shadow=1", "/up->../../../../etc"]);
}

#[test]
fn loops_and_ways_out_are_refused() {
    let looping = Layer::new().symlink("a", "b").symlink("b", "a").file("a/x", "").done();
    refused(&[looping], "image-entry", &["\"a/x\"", "loop"]);
    refused(&[Layer::new().file("../x", "").done()], "image-entry", &["\"../x\"", "out of the root"]);
    refused(&[Layer::new().file("a/../../x", "").done()], "image-entry", &["out of the root"]);
    refused(&[Layer::new().file("f", "").link("x", "../../etc/passwd").done()], "image-entry", &["out of the root"]);
    refused(&[Layer::new().file("f", "").file("f/x", "").done()], "image-entry", &["not a directory"]);
    refused(&[Layer::new().file(".wh..", "").done()], "image-entry", &["whiteout without a name"]);
    let long = "x".repeat(256);
    refused(&[Layer::new().pax(&[("path", long.as_bytes())]).file("y", "").done()], "image-entry", &["256 bytes"]);
    let deep = "d/".repeat(1100);
    refused(&[Layer::new().pax(&[("path", deep.as_bytes())]).folder("y", 0o755).file("f", "").done()], "image-entry", &["deep"]);
}

#[test]
fn a_directory_replaces_a_link_and_a_file_a_directory() {
    let below = Layer::new().folder("real", 0o755).symlink("a", "real").file("d/x", "1").done();
    let above = Layer::new().folder("a", 0o755).file("a/f", "2").file("d", "2").done();
    assert_eq!(files_of(&[below, above]), ["/a/", "/a/f=2", "/d=2", "/real/"]);
}

#[test]
fn every_digest_is_checked() {
    let layer = Layer::new().file("a", &"content ".repeat(100)).done();
    let damaged = |damage: &dyn Fn(&Layout)| {
        let (_folder, layout) = layout(std::slice::from_ref(&layer));
        damage(&layout);
        read(&layout.0)
    };
    let blob_of = |layout: &Layout, size: &dyn Fn(&[u8]) -> bool| {
        let mut blobs = fs::read_dir(layout.0.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
        blobs.find(|path| size(&fs::read(path).unwrap())).unwrap()
    };
    let change = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    };
    let is_layer = |bytes: &[u8]| bytes.starts_with(&[0x1f, 0x8b]);
    let is_config = |bytes: &[u8]| bytes.starts_with(b"{") && String::from_utf8_lossy(bytes).contains("rootfs");
    let is_manifest = |bytes: &[u8]| bytes.starts_with(b"{") && String::from_utf8_lossy(bytes).contains("layers\":[{");

    is_refused(damaged(&|layout| change(&blob_of(layout, &is_layer), &|bytes| bytes[20] ^= 1)), "image-digest", &["layer 1", "sha256:"]);
    is_refused(
        damaged(&|layout| change(&blob_of(layout, &is_layer), &|bytes| bytes.truncate(50))),
        "image-length",
        &["layer 1", "50 bytes"],
    );
    is_refused(damaged(&|layout| change(&blob_of(layout, &is_layer), &|bytes| bytes.push(0))), "image-length", &["layer 1"]);
    is_refused(
        damaged(&|layout| {
            change(&blob_of(layout, &is_config), &|bytes| *bytes = String::from_utf8_lossy(bytes).replace("/bin/sh", "/bin/hs").into())
        }),
        "image-digest",
        &["configuration"],
    );
    is_refused(damaged(&|layout| change(&blob_of(layout, &is_manifest), &|bytes| bytes.push(b' '))), "image-length", &["manifest"]);
    is_refused(damaged(&|layout| fs::remove_file(blob_of(layout, &is_layer)).unwrap()), "image-missing", &[]);
}

#[test]
fn what_a_layer_is_decompressed_must_be_what_the_configuration_says() {
    let layer = Layer::new().file("a", "1").done();
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        layout.index(&[layout.image(std::slice::from_ref(&layer), Compression::None, change)]);
        read(&layout.0)
    };
    assert!(with(&|_| ()).is_ok());
    let other = builder::digest(b"other");
    is_refused(with(&|config| config["rootfs"]["diff_ids"] = json!([other])), "image-digest", &["layer 1 of 1, decompressed"]);
    is_refused(with(&|config| config["rootfs"]["diff_ids"] = json!([])), "image-document", &["0 layers"]);
    is_refused(with(&|config| config["rootfs"]["diff_ids"] = json!(["sha512:00"])), "image-digest-kind", &["sha512:00"]);
    is_refused(with(&|config| config["architecture"] = json!("arm64")), "image-platform", &["linux/arm64"]);
    is_refused(with(&|config| config["config"]["Cmd"] = json!(["a\0"])), "image-document", &["zero byte"]);
    is_refused(with(&|config| *config = json!("text")), "image-document", &[]);
}

#[test]
fn an_archive_in_a_layer_that_is_cut_off_is_missed() {
    let layer = Layer::new().file("a", &"1".repeat(2000)).done();
    refused(&[layer[..1000].to_vec()], "image-truncated", &["layer 1", "content"]);
    // The digests are right; what is compressed is not.
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    for (compression, length) in [(Compression::Gzip, 20), (Compression::Zstd, 20)] {
        let short = compress(&layer, compression)[..length].to_vec();
        layout.index(&[layout.image(&[short], Compression::None, |_| ())]);
        is_refused(read(&layout.0), "image-compression", &["layer 1"]);
    }
}

#[test]
fn a_bomb_is_stopped_early() {
    // A gigabyte of zeroes, and one of ones.
    let bomb = |byte: u8| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut header = tar::Header::new_gnu();
        header.set_path("bomb").unwrap();
        header.set_size(1 << 30);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        encoder.write_all(header.as_bytes()).unwrap();
        let megabyte = vec![byte; 1 << 20];
        (0..64).for_each(|_| encoder.write_all(&megabyte).unwrap());
        encoder.finish().unwrap()
    };
    let limits = Limits { unpacked: 32 << 20, kept: 8 << 20, ..Limits::default() };
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    let try_with = |blob: Vec<u8>, limits| {
        layout.index(&[layout.image(&[blob], Compression::None, |_| ())]);
        read_with(layout.0.to_str().unwrap(), limits)
    };
    is_refused(try_with(bomb(0), limits), "image-too-much", &["33554432 bytes in files"]);
    is_refused(try_with(bomb(1), Limits { unpacked: 2 << 30, ..limits }), "image-too-much", &["8388608 bytes in files that are not zero"]);
    // What lies behind an archive's end counts, too.
    let tail = compress(&vec![0; 64 << 20], Compression::Zstd);
    is_refused(try_with(tail, limits), "image-too-much", &["33554432 bytes in layers"]);
    let many = (0..11).fold(Layer::new(), |layer, n| layer.file(&n.to_string(), "")).done();
    is_refused(try_with(many, Limits { entries: 10, ..limits }), "image-too-much", &["10 files"]);
}

#[test]
fn a_small_image_takes_no_large_memory() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    let try_with = |layer: Layer, limits| {
        layout.index(&[layout.image(&[layer.done()], Compression::None, |_| ())]);
        read_with(layout.0.to_str().unwrap(), limits)
    };
    let limits = Limits::default();
    // Directories that only the names of what is in them name.
    let deep = |n: u32| format!("{n}/{}file", "a/".repeat(500));
    let ways = |count| (0..count).fold(Layer::new(), |layer, n| layer.pax(&[("path", deep(n).as_bytes())]).file("x", ""));
    assert!(try_with(ways(3), Limits { entries: 1506, ..limits }).is_ok());
    is_refused(try_with(ways(4), Limits { entries: 1506, ..limits }), "image-too-much", &["1506 files"]);
    let words = "bytes of memory for files, names and attributes";
    is_refused(try_with(ways(4), Limits { memory: 1 << 20, ..limits }), "image-too-much", &["1048576", words]);
    // Attributes, also of one that has them again and again.
    let long = vec![b'x'; 60_000];
    let attributes = |count| (0..count).fold(Layer::new(), |layer, _| layer.pax(&[("SCHILY.xattr.user.long", &long)]).folder("etc", 0o755));
    assert!(try_with(attributes(4), Limits { memory: 1 << 20, ..limits }).is_ok());
    is_refused(try_with(attributes(10), Limits { memory: 1 << 20, ..limits }), "image-too-much", &[words]);
    let contents = |count: u32| (0..count).fold(Layer::new(), |layer, n| layer.file(&n.to_string(), "1"));
    assert!(try_with(contents(1000), Limits { memory: 600_000, ..limits }).is_ok());
    is_refused(try_with(contents(1000), Limits { memory: 500_000, ..limits }), "image-too-much", &[words]);
    let names = |count: u32| (0..count).fold(Layer::new().file("a", ""), |layer, n| layer.link(&format!("{n}{}", "l".repeat(80)), "a"));
    is_refused(try_with(names(4000), Limits { memory: 1 << 20, ..limits }), "image-too-much", &[words]);
    // So many empty directories have four kilobytes each in the file system, which are not held in memory, and it may be too large.
    let folders = |count: u32| (0..count).fold(Layer::new(), |layer, n| layer.folder(&n.to_string(), 0o755));
    let image = try_with(folders(1000), Limits { memory: 2 << 20, ..limits }).unwrap();
    assert!(erofs::Filesystem::of(&image.tree, 4_000_000).is_err());
    assert!(written(&image).len() > 4_000_000);
}

#[test]
fn names_in_an_archive_take_no_large_memory() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved.tar");
    let long = |n: u8| vec![b'a' + n; 1_000_000];
    fs::write(&saved, (0..20).fold(Layer::new(), |layer, n| layer.pax(&[("path", &long(n))]).file("x", "")).done()).unwrap();
    is_refused(read(&saved), "image-too-much", &["16777216 bytes of names"]);
}

#[test]
fn all_forms_of_an_image_give_the_same_root() {
    let layers = [Layer::new().file("a", &"1".repeat(100_000)).symlink("b", "a").done(), Layer::new().file("c", "2").link("d", "a").done()];
    let roots = [Compression::None, Compression::Gzip, Compression::Zstd].map(|compression| {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(&folder.path().join("image"));
        layout.index(&[layout.image(&layers, compression, |_| ())]);
        let root = written(&read(&layout.0).unwrap());
        assert!(root == written(&read(&archive(&layout.0)).unwrap()));
        root
    });
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved.tar");
    docker_archive(&saved, &["x:1"], &layers);
    let image = read(&saved).unwrap();
    assert_eq!(image.origin.name.as_deref(), Some("x:1"));
    assert!(roots.iter().all(|root| *root == written(&image)));
}

#[test]
fn an_archive_of_docker_may_have_a_layer_twice() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved.tar");
    let layer = Layer::new().file("a", "1").done();
    docker_archive(&saved, &["x:1"], &[layer.clone(), Layer::new().file(".wh.a", "").done(), layer]);
    assert_eq!(listing(&read(&saved).unwrap()), ["/a=1"]);
    let bytes = fs::read(&saved).unwrap();
    fs::write(&saved, &bytes[..1000]).unwrap();
    is_refused(read(&saved), "image-truncated", &["saved.tar", "content"]);
}

#[test]
fn of_several_platforms_the_machine_s_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    let image = |architecture: &str, variant: Option<&str>| {
        let layer = Layer::new().file(architecture, "").done();
        let mut manifest = layout.image(&[layer], Compression::Gzip, |config| config["architecture"] = json!(architecture));
        manifest["platform"] = json!({ "os": "linux", "architecture": architecture, "variant": variant });
        manifest
    };
    let attestation =
        json!({ "mediaType": "x", "digest": builder::digest(b""), "size": 0, "platform": { "os": "unknown", "architecture": "unknown" } });
    let nested = |manifests: &[serde_json::Value]| {
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        layout.index(&[layout.json("application/vnd.oci.image.index.v1+json", &index)]);
        read(&layout.0)
    };
    let (arm, amd) = (image("arm64", Some("v8")), image("amd64", None));
    assert_eq!(listing(&nested(&[arm.clone(), amd.clone(), attestation.clone()]).unwrap()), ["/amd64="]);
    is_refused(nested(&[arm.clone(), attestation]), "image-platform", &["linux/amd64", "there is linux/arm64/v8;"]);
    is_refused(nested(&[arm, image("amd64", Some("v3"))]), "image-platform", &["linux/arm64/v8, linux/amd64/v3"]);
}

#[test]
fn of_several_images_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    let image = |tag: &str| {
        let mut manifest = layout.image(&[Layer::new().file(tag, "").done()], Compression::Gzip, |_| ());
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        manifest
    };
    layout.index(&[image("one"), image("two")]);
    is_refused(read(&layout.0), "image-choice", &["one, two", "oci:"]);
    let path = layout.0.to_str().unwrap();
    let named = |tag: &str| read_with(&format!("oci:{path}:{tag}"), Limits::default());
    assert_eq!(listing(&named("two").unwrap()), ["/two="]);
    is_refused(named("three"), "image-choice", &["no image three", "one, two"]);
}

#[test]
fn a_folder_is_a_root() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("d")).unwrap();
    fs::write(at("d/f"), "1").unwrap();
    fs::hard_link(at("d/f"), at("g")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", at("l")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("s")).unwrap();
    let image = read(folder.path()).unwrap();
    assert_eq!(listing(&image), ["/d/", "/d/f=1", "/g=1", "/l->/etc/passwd", "/s Socket"]);
    assert_eq!(find(&image.tree, "d/f"), find(&image.tree, "g"));
}

#[test]
fn what_an_image_says_of_its_program_reaches_init() {
    let image = read_layers(&[Layer::new().file("a", "").done()]).unwrap();
    assert_eq!(for_init(&image.origin).to_string(), "cmd: /bin/sh\nenv: PATH=/bin\nw: /srv\n");
    let config = &image.origin.config;
    assert_eq!((config.exposed_ports.as_slice(), config.labels.len()), (&["80/tcp".to_owned()][..], 2));
    assert!(image.origin.manifest.unwrap().starts_with("sha256:"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_layers_give_a_root_or_an_error(layers in prop::collection::vec(entries(), 1..4)) {
        let layers: Vec<Vec<u8>> = layers.into_iter().map(|entries| entries.iter().fold(Layer::new(), put).done()).collect();
        if let Ok(image) = read_layers(&layers) {
            let bytes = written(&image);
            let system = erofs_rs::EroFS::new(erofs_rs::backend::SliceImage::new(&bytes)).unwrap();
            let found = system.walk_dir("/").unwrap().collect::<std::result::Result<Vec<_>, _>>().unwrap();
            prop_assert_eq!(found.len(), listing(&image).len());
        }
    }
}

type Odd = (usize, String, String);

fn entries() -> impl Strategy<Value = Vec<Odd>> {
    let names = || prop::sample::select(vec!["a", "b", "c", "..", ".", "", ".wh.a", ".wh.b", ".wh..wh..opq"]);
    let path = || prop::collection::vec(names(), 1..5).prop_map(|names| names.join("/"));
    prop::collection::vec((0..4_usize, path(), path()), 0..12)
}

fn put(layer: Layer, (kind, path, link): &Odd) -> Layer {
    match kind {
        0 => layer.file(path, "1"),
        1 => layer.folder(path, 0o755),
        2 => layer.symlink(path, link),
        _ => layer.link(path, link),
    }
}

#[test]
fn names_that_are_nothing_are_refused() {
    for (name, kind) in [("Not A Name", "image-name"), ("/missing/x", "image-io"), ("x.snap", "image-name")] {
        let error: ImageError = read_with(name, Limits::default()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
}

#[test]
fn a_machine_is_the_same_each_time_and_says_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(&folder.path().join("image"));
    let layer = Layer::new().file("a", "1").done();
    layout.index(&[layout.image(&[layer], Compression::Gzip, |config| config["config"]["Labels"]["a"] = json!("\u{1b}[2J"))]);
    let machine = |name: &str| {
        let path = folder.path().join(name);
        let mut command = common::prebake();
        command.env("PREBAKE_MACHINE", common::machine_folder()).arg("convert").arg(&layout.0).arg("-o").arg(&path);
        common::succeed(&mut command);
        path
    };
    let (one, two) = (machine("one.wasm"), machine("two.wasm"));
    assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap());
    let said = common::text(&common::succeed(common::prebake().arg("inspect").arg("--verify").arg(&one)).stdout);
    for line in
        ["cmd        \"/bin/sh\"", "env        PATH=/bin", "port       80/tcp", "label      a=\\u{1b}[2J", "integrity  every byte verified"]
    {
        assert!(said.lines().any(|found| found == line), "`{line}` is missing: {said}");
    }
    let mut bytes = fs::read(&one).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&one, bytes).unwrap();
    let output = common::run(common::prebake().args(["inspect", "--json", "--verify"]).arg(&one), b"");
    assert_eq!(output.status.code(), Some(125));
    assert!(common::text(&output.stdout).contains("\"corrupted\""));
}
