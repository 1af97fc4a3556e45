//! Images in a registry: Debian's, on this host.

use super::builder::{Compression, Layer, Layout};
use super::common::registry::{PASSWORD, Registry, USER};
use super::common::{machine_folder, prebake, run, succeed, text};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Puts the manifest `descriptor` names there as `name`, and the blobs of the layout.
fn push(registry: &Registry, layout: &Layout, descriptor: &Value, name: &str) {
    registry.push(&layout.0, descriptor, name);
}

/// `prebake convert` of an image there.
fn convert(registry: &Registry, name: &str, output: &str) -> Command {
    let mut command = prebake();
    command.env("PREBAKE_MACHINE", machine_folder()).env("DOCKER_CONFIG", registry.folder.path());
    command.arg("convert").arg(format!("{}/{name}", registry.address)).arg("-o").arg(registry.at(output));
    command
}

fn inspected(path: &Path) -> Value {
    serde_json::from_slice(&succeed(prebake().args(["inspect", "--json", "--verify"]).arg(path)).stdout).unwrap()
}

fn image(folder: &Path) -> (Layout, Value) {
    let layout = Layout::new(folder);
    let layers = [Layer::new().file("a", &"1".repeat(100_000)).done(), Layer::new().file("b", "2").done()];
    let descriptor = layout.image(&layers, Compression::Gzip, |_| ());
    layout.index(std::slice::from_ref(&descriptor));
    (layout, descriptor)
}

#[test]
fn an_image_is_fetched_by_tag_and_by_digest() {
    let registry = Registry::start(false);
    let (layout, descriptor) = image(&registry.at("layout"));
    let digest = descriptor["digest"].as_str().unwrap();
    push(&registry, &layout, &descriptor, "some/image:1");
    succeed(&mut convert(&registry, "some/image:1", "tag.wasm"));
    succeed(&mut convert(&registry, &format!("some/image@{digest}"), "digest.wasm"));
    let (tag, by_digest) = (inspected(&registry.at("tag.wasm")), inspected(&registry.at("digest.wasm")));
    assert_eq!(tag["image"]["manifest"], digest);
    assert_eq!(tag["image"]["name"], format!("{}/some/image:1", registry.address));
    assert_eq!(tag["image"]["config"]["cmd"], json!(["/bin/sh"]));
    let root = |machine: &Value| machine["parts"].as_array().unwrap().iter().find(|part| part["name"] == "root").unwrap()["digest"].clone();
    assert_eq!(root(&tag), root(&by_digest));
    // What was fetched is what is in the layout.
    let mut local = prebake();
    local.env("PREBAKE_MACHINE", machine_folder()).arg("convert").arg(&layout.0).arg("-o").arg(registry.at("local.wasm"));
    succeed(&mut local);
    assert_eq!(root(&tag), root(&inspected(&registry.at("local.wasm"))));
}

#[test]
fn what_a_registry_has_not_or_has_wrong_is_refused() {
    let registry = Registry::start(false);
    let (layout, descriptor) = image(&registry.at("layout"));
    push(&registry, &layout, &descriptor, "x:1");
    let refused = |name: &str, word: &str| {
        let output = run(&mut convert(&registry, name, "no.wasm"), b"");
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{message}");
        assert!(message.contains(word), "`{word}` is missing: {message}");
        assert!(!registry.at("no.wasm").exists());
    };
    refused("x:2", "x:2");
    refused("y:1", "y:1");
    // A layer that has changed in the registry.
    let manifest: Value = serde_json::from_slice(&fs::read(layout.blob_path(descriptor["digest"].as_str().unwrap())).unwrap()).unwrap();
    let digits = manifest["layers"][0]["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let blob = registry.at("data").join(format!("docker/registry/v2/blobs/sha256/{}/{digits}/data", &digits[..2]));
    let mut bytes = fs::read(&blob).unwrap();
    bytes[30] ^= 1;
    fs::write(&blob, bytes).unwrap();
    refused("x:1", "layer 1 of 2 has digest");
}

#[test]
fn a_password_is_found_where_docker_keeps_it() {
    let registry = Registry::start(true);
    let (layout, descriptor) = image(&registry.at("layout"));
    push(&registry, &layout, &descriptor, "x:1");
    let output = run(&mut convert(&registry, "x:1", "x.wasm"), b"");
    assert_eq!(output.status.code(), Some(125), "{}", text(&output.stderr));
    let auth = json!({ "auths": { &registry.address: { "username": USER, "password": PASSWORD } } });
    fs::write(registry.at("config.json"), auth.to_string()).unwrap();
    succeed(&mut convert(&registry, "x:1", "x.wasm"));
    fs::write(registry.at("config.json"), "no json").unwrap();
    let output = run(&mut convert(&registry, "x:1", "y.wasm"), b"");
    assert!(text(&output.stderr).contains("the credentials for it cannot be read"), "{}", text(&output.stderr));
}
