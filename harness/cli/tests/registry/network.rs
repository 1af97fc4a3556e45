//! Options, credentials, certificates and proxies reach every registry that any verb talks to. The registry is not on this host's loopback, where
//! some of them would not matter: each test has a network of its own.

use super::common::registry::{PASSWORD, Registry, USER};
use super::common::{guest, in_own_network, machine_folder, prebake, run, succeed, text};
use super::proxy::{Fault, Proxy};
use super::{files, files_below};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ELSEWHERE: &str = "192.0.2.10";

/// A certificate that has signed itself, for these names, and its key. As `openssl req -x509` makes it, it says that it is an authority's.
pub fn certificate(folder: &Path, name: &str, names: &str) -> [PathBuf; 2] {
    let [certificate, key] = ["crt", "key"].map(|ending| folder.join(format!("{name}.{ending}")));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=test"]);
    command.arg("-addext").arg(format!("subjectAltName={names}")).arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    succeed(&mut command);
    [certificate, key]
}

/// A file of an initramfs.
fn busybox() -> Vec<u8> {
    let archive = fs::read(guest("initramfs.cpio")).unwrap();
    let field =
        |at: usize, number: usize| usize::from_str_radix(str::from_utf8(&archive[at + 6 + 8 * number..][..8]).unwrap(), 16).unwrap();
    let (mut at, mut sought) = (0, None);
    loop {
        let (inode, size, name_size) = (field(at, 0), field(at, 6), field(at, 11));
        let content = (at + 110 + name_size).next_multiple_of(4);
        if &archive[at + 110..][..name_size - 1] == b"bin/busybox" {
            sought = Some(inode);
        }
        // Of a file with several names the last has the content.
        if sought == Some(inode) && size > 0 {
            return archive[content..][..size].to_vec();
        }
        at = (content + size).next_multiple_of(4);
    }
}

/// Puts an ordinary image there, which has a shell.
pub fn put_image(registry: &Registry, name: &str) {
    let mut layer = tar::Builder::new(Vec::new());
    let content = busybox();
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    layer.append_data(&mut header, "bin/busybox", content.as_slice()).unwrap();
    let layer = layer.into_inner().unwrap();
    let layout = registry.at("layout");
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let blob = |kind: &str, bytes: &[u8]| {
        let digits: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(layout.join("blobs/sha256").join(&digits), bytes).unwrap();
        json!({ "mediaType": kind, "digest": format!("sha256:{digits}"), "size": bytes.len() })
    };
    let layer = blob("application/vnd.oci.image.layer.v1.tar", &layer);
    let config = json!({ "architecture": "amd64", "os": "linux", "config": { "Cmd": ["/bin/busybox"] }, "rootfs": { "diff_ids": [layer["digest"]] } });
    let config = blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer] });
    let manifest = blob(kind, manifest.to_string().as_bytes());
    registry.push(&layout, &manifest, name);
}

/// How the registry is reached: options and variables.
struct ConnectionOptions {
    options: Vec<String>,
    variables: Vec<(String, String)>,
}

/// The program with a store of its own, and the credentials for the registry.
fn prebake_in(registry: &Registry, store: &str, variables: &[(String, String)]) -> Command {
    let mut command = prebake();
    command
        .env("PREBAKE_HOME", registry.at(store))
        .env("PREBAKE_CONFIG", registry.at("config"))
        .env("DOCKER_CONFIG", registry.folder.path());
    command.env("PREBAKE_MACHINE", machine_folder()).envs(variables.iter().map(|(name, value)| (name, value)));
    command
}

fn write_auth(registry: &Registry) {
    let auth = json!({ "auths": { &registry.address: { "username": USER, "password": PASSWORD } } });
    fs::write(registry.at("config.json"), auth.to_string()).unwrap();
}

/// Has every verb that talks to a registry do so.
fn every_verb(registry: &Registry, store: &str, way: &ConnectionOptions, after_each: impl Fn(&str)) {
    let at = |name: &str| format!("{}/{name}", registry.address);
    let machine = files::machine(registry.folder.path(), "demo.aot", b"kernel");
    let snapshot = files::snapshot(registry.folder.path(), "demo.snap", files::RAM_SIZE);
    let done = |verb: &str, rest: &[&str]| {
        let mut command = prebake_in(registry, store, &way.variables);
        command.arg(verb).args(&way.options).args(rest);
        let output = succeed(&mut command);
        after_each(verb);
        text(&output.stdout)
    };
    let place = |name: &str| registry.at(&format!("{store}-{name}")).display().to_string();
    done("push", &["--host-cpu", "x86-64-v2", &at(&format!("{store}:1")), machine.to_str().unwrap(), snapshot.to_str().unwrap()]);
    assert_eq!(done("pull", &[&at(&format!("{store}:1"))]).lines().count(), 2);
    done("convert", &[&at("box:1"), "-o", &place("box.wasm")]);
    done("bake", &[&at("box:1"), "--push", &at(&format!("{store}-baked:1")), "--target", "wasm"]);
    // What was baked, and an image that is fetched, converted and booted.
    for reference in [at(&format!("{store}-baked:1")), at("box:1")] {
        assert_eq!(done("run", &[&reference, "--", "/bin/busybox", "echo", "here"]), "here\n");
    }
    // These ask nobody.
    let listed: Value = serde_json::from_slice(&succeed(prebake_in(registry, store, &[]).args(["images", "--json"])).stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 3);
    succeed(prebake_in(registry, store, &[]).args(["inspect", "--verify"]).arg(place("box.wasm")));
    succeed(prebake_in(registry, store, &[]).args(["prune", &at("box:1")]));
}

/// Every verb fails without what it needs, and what it says names the option.
fn no_verb(registry: &Registry, words: &[&str]) {
    let at = |name: &str| format!("{}/{name}", registry.address);
    let machine = files::machine(registry.folder.path(), "demo.wasm", b"kernel");
    let output = registry.at("none.wasm").display().to_string();
    for (verb, rest) in [
        ("push", vec![at("none:1"), machine.display().to_string()]),
        ("pull", vec![at("box:1")]),
        ("convert", vec![at("box:1"), "-o".into(), output.clone()]),
        ("bake", vec![at("box:1"), "-o".into(), registry.at("none.snap").display().to_string()]),
        ("bake", vec![machine.display().to_string(), "--push".into(), at("none:1")]),
        ("run", vec![at("box:1")]),
    ] {
        let result = run(prebake_in(registry, "none", &[]).arg(verb).args(rest), b"");
        let said = text(&result.stderr);
        assert_eq!(result.status.code(), Some(125), "{verb}: {said}");
        assert!(words.iter().all(|word| said.contains(word)) && !said.contains("trying again"), "{verb}: {said}");
    }
    assert!(files_below(&registry.at("none")).is_empty());
}

#[test]
fn plain_http_reaches_every_verb() {
    if !in_own_network("network::plain_http_reaches_every_verb") {
        return;
    }
    let registry = Registry::start_at(ELSEWHERE, true);
    put_image(&registry, "box:1");
    write_auth(&registry);
    no_verb(&registry, &[ELSEWHERE, "--plain-http"]);
    every_verb(&registry, "plain", &ConnectionOptions { options: vec!["--plain-http".into()], variables: vec![] }, |_| ());
}

#[test]
fn a_certificate_reaches_every_verb() {
    if !in_own_network("network::a_certificate_reaches_every_verb") {
        return;
    }
    let mut registry = Registry::start_at(ELSEWHERE, true);
    put_image(&registry, "box:1");
    write_auth(&registry);
    let [certificate, key] = certificate(registry.folder.path(), "own", &format!("IP:{ELSEWHERE}"));
    registry.restart_with_tls(&certificate, &key, None);
    no_verb(&registry, &[ELSEWHERE, "--ca-file", "certs.d"]);
    every_verb(
        &registry,
        "tls",
        &ConnectionOptions { options: vec!["--ca-file".into(), certificate.display().to_string()], variables: vec![] },
        |_| (),
    );
}

#[test]
fn a_proxy_reaches_every_verb() {
    if !in_own_network("network::a_proxy_reaches_every_verb") {
        return;
    }
    let registry = Registry::start_at(ELSEWHERE, true);
    put_image(&registry, "box:1");
    write_auth(&registry);
    let proxy = Proxy::before(&registry.address, |_, _| Fault::None);
    let seen = std::cell::Cell::new(0);
    let way = ConnectionOptions {
        options: vec!["--plain-http".into()],
        variables: vec![("HTTP_PROXY".into(), format!("http://{}", proxy.address)), ("http_proxy".into(), String::new())],
    };
    every_verb(&registry, "proxied", &way, |verb| {
        let before = seen.replace(proxy.seen().len());
        assert!(seen.get() > before, "{verb} went another way");
    });
    // A request to a proxy names the host.
    assert!(proxy.seen().iter().all(|request| request.line.contains(&format!(" http://{}/v2/", registry.address))), "{:?}", proxy.seen());
}

#[test]
fn a_registry_may_have_an_ipv6_address() {
    if !in_own_network("network::a_registry_may_have_an_ipv6_address") {
        return;
    }
    for host in ["[2001:db8::10]", "[::1]"] {
        let registry = Registry::start_at(host, true);
        write_auth(&registry);
        let machine = files::machine(registry.folder.path(), "demo.wasm", b"kernel");
        let reference = format!("{}/team/demo:1", registry.address);
        let options: &[&str] = if host == "[::1]" { &[] } else { &["--plain-http"] };
        succeed(prebake_in(&registry, "store", &[]).arg("push").args(options).arg(&reference).arg(&machine));
        let pulled = succeed(prebake_in(&registry, "store", &[]).arg("pull").args(options).arg(&reference));
        assert!(super::same(&machine, &super::paths(&pulled)[0]));
    }
}
