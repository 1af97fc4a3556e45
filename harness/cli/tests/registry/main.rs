//! Machines and snapshots, to a registry and back; and all that may go wrong on the way.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod asked;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod files;
mod folders;
mod layers;
mod network;
mod obstacles;
mod passwords;
mod proxy;
mod serve;
mod streaming;
mod trust;

use common::registry::{PASSWORD, Registry, USER};
use common::{prebake, run, succeed, text};
use files::{RAM_SIZE, files_below, machine, machine_with, snapshot};
use proxy::{Fault, Proxy};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};

/// A registry, files, and a store.
struct World {
    registry: Registry,
}

impl World {
    fn new() -> Self {
        Self { registry: Registry::start(false) }
    }

    /// A folder for files.
    fn folder(&self) -> &Path {
        self.registry.folder.path()
    }

    /// The program, with a store of its own and nobody's credentials.
    fn prebake(&self) -> Command {
        let mut command = prebake();
        command.env("PREBAKE_HOME", self.store()).env("DOCKER_CONFIG", self.folder()).env("PREBAKE_CONFIG", self.registry.at("config"));
        command
    }

    fn store(&self) -> PathBuf {
        self.registry.at("store")
    }

    fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.registry.address)
    }

    fn push(&self, name: &str, files: &[&PathBuf]) -> Output {
        succeed(self.prebake().args(["push", "--host-cpu", "x86-64-v2"]).arg(self.reference(name)).args(files))
    }

    /// A machine and a snapshot of it, pushed as `name`.
    fn pushed(&self, name: &str) -> [PathBuf; 2] {
        let files = [machine(self.folder(), "demo.aot", b"kernel"), snapshot(self.folder(), "demo.snap", RAM_SIZE)];
        self.push(name, &files.each_ref());
        files
    }

    /// Pulls all of a machine, so that it is the file that was pushed.
    fn pull(&self, reference: &str) -> Command {
        let mut command = self.pull_to_restore(reference);
        command.arg("--boot");
        command
    }

    fn pull_to_restore(&self, reference: &str) -> Command {
        let mut command = self.prebake();
        command.arg("pull").arg(reference);
        command
    }
}

/// Where the files are that a pull fetched.
fn paths(output: &Output) -> Vec<PathBuf> {
    text(&output.stdout).lines().map(PathBuf::from).collect()
}

fn same(a: &Path, b: &Path) -> bool {
    fs::read(a).unwrap() == fs::read(b).unwrap()
}

/// Checks that a command failed as prebake itself does, with a message that holds all of `words`.
fn refused(command: &mut Command, words: &[&str]) {
    let output = run(command, b"");
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{command:?}: {message}");
    for word in words {
        assert!(message.contains(word), "`{word}` is missing: {message}");
    }
}

/// A document of the registry, as any client sees it.
fn document(registry: &str, repository: &str, name: &str) -> Value {
    let accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
    serde_json::from_slice(&get(registry, &format!("/v2/{repository}/manifests/{name}"), accept)).unwrap()
}

fn get(registry: &str, path: &str, accept: &str) -> Vec<u8> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(registry).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {registry}\r\nAccept: {accept}\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.0 200"), "{}", text(&answer));
    let content = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    answer.split_off(content)
}

#[test]
fn what_is_pushed_is_pulled() {
    let world = World::new();
    let [aot, snap] = world.pushed("demo:1");
    let output = succeed(&mut world.pull(&world.reference("demo:1")));
    let [pulled_aot, pulled_snap] = paths(&output).try_into().unwrap();
    assert!(same(&aot, &pulled_aot) && same(&snap, &pulled_snap));
    assert!(pulled_aot.to_string_lossy().ends_with(".aot") && pulled_snap.to_string_lossy().ends_with(".snap"));
    for path in [&pulled_aot, &pulled_snap] {
        assert!(fs::metadata(path).unwrap().permissions().readonly());
    }
    succeed(world.prebake().args(["inspect", "--verify"]).arg(&pulled_snap));

    let listed: Value = serde_json::from_slice(&succeed(world.prebake().args(["images", "--json"])).stdout).unwrap();
    assert_eq!((&listed[0]["reference"], &listed[0]["target"]), (&world.reference("demo:1").into(), &"x86_64".into()));
    assert_eq!(listed[0]["snapshot_bytes"], fs::metadata(&snap).unwrap().len());
    let table = text(&succeed(world.prebake().arg("images")).stdout);
    assert!(table.contains(&world.reference("demo:1")), "{table}");
}

#[test]
fn other_clients_see_an_artifact_with_named_files() {
    let world = World::new();
    let files = [
        machine(world.folder(), "demo.aot", b"kernel"),
        machine(world.folder(), "demo.wasm", b"kernel"),
        snapshot(world.folder(), "demo.snap", RAM_SIZE),
    ];
    let pushed = world.push("some/demo:1", &files.each_ref());
    let index = document(&world.registry.address, "some/demo", "1");
    assert_eq!(index["artifactType"], "application/vnd.prebake.artifact.v1");
    let platform = |n: usize| index["manifests"][n]["platform"].to_string();
    assert_eq!(platform(0), r#"{"architecture":"amd64","os":"linux"}"#);
    assert_eq!(platform(1), r#"{"architecture":"wasm","os":"wasip1"}"#);
    let manifest = |n: usize| document(&world.registry.address, "some/demo", index["manifests"][n]["digest"].as_str().unwrap());
    let shared = ["demo.kernel.zst", "demo.metadata.zst", "demo.snap"];
    for (n, [code, config]) in [["demo.code.aot.zst", "demo.aot.json"], ["demo.code.wasm.zst", "demo.wasm.json"]].into_iter().enumerate() {
        let manifest = manifest(n);
        assert_eq!(manifest["artifactType"], "application/vnd.prebake.artifact.v1");
        let title = |layer: &Value| layer["annotations"]["org.opencontainers.image.title"].as_str().unwrap().to_owned();
        let titles: Vec<String> = manifest["layers"].as_array().unwrap().iter().map(title).collect();
        assert_eq!(titles, [&[code][..], &shared, &[config]].concat());
        assert_eq!(manifest["layers"][4]["digest"], manifest["config"]["digest"]);
    }
    // All targets share all but the code.
    for n in 1..4 {
        assert_eq!(manifest(0)["layers"][n], manifest(1)["layers"][n]);
    }
    let by_digest = document(&world.registry.address, "some/demo", text(&pushed.stdout).trim());
    assert_eq!(by_digest, index);

    let config = manifest(0)["config"]["digest"].as_str().unwrap().to_owned();
    let config: Value = serde_json::from_slice(&get(&world.registry.address, &format!("/v2/some/demo/blobs/{config}"), "*/*")).unwrap();
    assert_eq!((&config["model"], &config["ram_bytes"]), (&"pc1-v2/1".into(), &RAM_SIZE.into()));
    assert_eq!((&config["code"]["version"], &config["code"]["cpu"]), (&6.into(), &"x86-64-v2".into()));
    assert_eq!(config["snapshot"]["format"], 1);

    // What such a client has saved can be run, once it is unpacked.
    let layer = manifest(0)["layers"][3]["digest"].as_str().unwrap().to_owned();
    let saved = world.registry.at("saved.snap");
    fs::write(&saved, get(&world.registry.address, &format!("/v2/some/demo/blobs/{layer}"), "*/*")).unwrap();
    refused(world.prebake().arg("run").arg(&saved), &["travelling form", "prebake unpack"]);
    succeed(world.prebake().arg("unpack").arg(&saved).arg("-o").arg(world.registry.at("unpacked.snap")));
    assert!(same(&files[2], &world.registry.at("unpacked.snap")));
}

#[test]
fn what_the_registry_has_is_not_sent_again() {
    let world = World::new();
    let files = world.pushed("demo:1");
    let proxy = Proxy::before(&world.registry.address, |_, _| Fault::None);
    let through = format!("{}/demo:1", proxy.address);
    let again = succeed(world.prebake().args(["push", "--host-cpu", "x86-64-v2"]).arg(through).args(&files));
    assert!(proxy.seen().iter().all(|request| !request.is_upload()), "{:?}", proxy.seen());
    assert!(text(&again.stderr).contains("of which 0.0 MiB were new"), "{}", text(&again.stderr));
    // Another repository has it from the first.
    let other = world.push("other:1", &files.each_ref());
    assert!(text(&other.stderr).contains("of which 0.0 MiB were new"), "{}", text(&other.stderr));
    assert_eq!(again.stdout, other.stdout);
    succeed(&mut world.pull(&world.reference("other:1")));
}

#[test]
fn large_files_are_pushed_in_chunks() {
    let world = World::new();
    let machine = machine(world.folder(), "demo.wasm", &files::noise((9 << 20) + 5, 3));
    world.push("demo:1", &[&machine]);
    let pulled = paths(&succeed(&mut world.pull(&world.reference("demo:1"))));
    assert_eq!(pulled.len(), 1);
    assert!(same(&machine, &pulled[0]));
}

#[test]
fn a_tag_that_moves_is_followed_and_what_it_left_is_pruned() {
    let world = World::new();
    world.pushed("demo:1");
    let reference = world.reference("demo:1");
    let first = paths(&succeed(&mut world.pull(&reference)));
    let moved = machine(world.folder(), "demo.aot", b"newer kernel");
    world.push("demo:1", &[&moved, &world.registry.at("demo.snap")]);
    let second = paths(&succeed(&mut world.pull(&reference)));
    assert!(same(&moved, &second[0]) && first[0] != second[0] && first[1] == second[1]);

    let said = text(&succeed(world.prebake().arg("prune")).stderr);
    assert!(said.contains("removed 1 files"), "{said}");
    assert!(!first[0].exists() && second.iter().all(|path| path.exists()));
    succeed(world.prebake().arg("prune").arg(&reference));
    assert!(files_below(&world.store()).is_empty());
    refused(world.prebake().arg("prune").arg(&reference), &["is not in the store"]);
}

#[test]
fn what_is_there_serves_offline_and_when_the_registry_is_down() {
    let world = World::new();
    world.pushed("demo:1");
    let reference = world.reference("demo:1");
    refused(world.pull(&reference).arg("--offline"), &["is not in the store", "--offline"]);
    let pulled = succeed(&mut world.pull(&reference));
    assert_eq!(succeed(world.pull(&reference).arg("--offline")).stdout, pulled.stdout);
    let digest = document(&world.registry.address, "demo", "1")["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let fixed = world.reference(&format!("demo@{digest}"));
    assert_eq!(succeed(&mut world.pull(&fixed)).stdout, pulled.stdout);

    let down = Down { folder: world.registry.stop() };
    let output = succeed(&mut down.pull(&reference));
    assert_eq!(output.stdout, pulled.stdout);
    assert!(text(&output.stderr).contains("warning: ") && text(&output.stderr).contains("cannot reach"), "{}", text(&output.stderr));
    // A digest names the same for ever, so nobody is asked.
    assert_eq!(text(&succeed(&mut down.pull(&fixed)).stderr), "");
}

/// What is left of a world whose registry has ended.
struct Down {
    folder: tempfile::TempDir,
}

impl Down {
    fn pull(&self, reference: &str) -> Command {
        let mut command = prebake();
        command.env("PREBAKE_HOME", self.folder.path().join("store")).env("DOCKER_CONFIG", self.folder.path());
        command.arg("pull").arg(reference);
        command
    }
}

#[test]
fn files_that_do_not_belong_together_are_not_pushed() {
    let world = World::new();
    let aot = machine(world.folder(), "demo.aot", b"kernel");
    let snap = snapshot(world.folder(), "demo.snap", RAM_SIZE);
    let push = |files: &[&PathBuf]| {
        let mut command = world.prebake();
        command.args(["push", "--host-cpu", "x86-64-v2"]).arg(world.reference("demo:1")).args(files);
        command
    };
    refused(&mut push(&[&snap]), &["no machine was given"]);
    refused(&mut push(&[&aot, &snap, &snap]), &["only one snapshot"]);
    refused(&mut push(&[&aot, &aot]), &["are for the same hosts"]);
    refused(&mut push(&[&aot, &machine(world.folder(), "b.wasm", b"other")]), &["b.wasm is not the same machine"]);
    refused(&mut push(&[&machine_with(world.folder(), "c.wasm", b"kernel", 2 * RAM_SIZE), &snap]), &["32 MiB of memory", "has 64"]);
    refused(world.prebake().arg("push").arg(world.reference("demo:1")).arg(&aot), &["--host-cpu", "x86-64-v2, x86-64-v3"]);
    let mut damaged = fs::read(&snap).unwrap();
    *damaged.iter_mut().rev().find(|byte| **byte != 0).unwrap() ^= 1;
    fs::write(&snap, damaged).unwrap();
    refused(&mut push(&[&aot, &snap]), &["corrupted"]);
    refused(&mut push(&[&world.registry.at("none.aot")]), &["none.aot"]);
    refused(world.prebake().args(["push", "Not A Reference"]).arg(&aot), &["invalid reference"]);
    assert!(files_below(&world.registry.at("data")).is_empty());
}

/// Diagnostics tell of every request, and of no credentials.
#[test]
fn diagnostics_have_no_credentials() {
    let world = World { registry: Registry::start(true) };
    let aot = machine(world.folder(), "demo.wasm", b"kernel");
    let reference = world.reference("demo:1");
    let mut push = world.prebake();
    push.arg("push").arg(&reference).arg(&aot).env("PREBAKE_REGISTRY_USER", USER).env("PREBAKE_REGISTRY_PASSWORD", PASSWORD);
    let said = text(&succeed(push.env("PREBAKE_LOG", "trace")).stderr);
    let auth = serde_json::json!({ "auths": { &world.registry.address: { "username": USER, "password": PASSWORD } } });
    fs::write(world.registry.at("config.json"), auth.to_string()).unwrap();
    let said = said + &text(&succeed(world.pull(&reference).env("PREBAKE_LOG", "trace")).stderr);
    for word in ["prebake::registry", "method=PUT", "method=GET", "status=200", "prebake::store"] {
        assert!(said.contains(word), "`{word}` is missing: {said}");
    }
    // The second is what a header would have of both.
    for secret in [PASSWORD, "dXNlcjpzZWNyZXQ", "uthorization"] {
        assert!(!said.contains(secret), "`{secret}`: {said}");
    }
    assert!(said.lines().all(|line| !line.contains("hyper") && !line.contains("reqwest")), "{said}");
    let pulled = succeed(&mut world.pull(&reference));
    assert_eq!(text(&pulled.stderr), "");
}

#[test]
fn credentials_come_from_dockers_configuration_or_the_environment() {
    let world = World { registry: Registry::start(true) };
    let aot = machine(world.folder(), "demo.wasm", b"kernel");
    let reference = world.reference("demo:1");
    let mut push = world.prebake();
    push.arg("push").arg(&reference).arg(&aot);
    refused(&mut push, &["401", "log in"]);
    succeed(push.env("PREBAKE_REGISTRY_USER", USER).env("PREBAKE_REGISTRY_PASSWORD", PASSWORD));
    refused(push.env("PREBAKE_REGISTRY_PASSWORD", "wrong"), &["401"]);
    refused(&mut world.pull(&reference), &["401"]);
    let auth = serde_json::json!({ "auths": { &world.registry.address: { "username": USER, "password": PASSWORD } } });
    fs::write(world.registry.at("config.json"), auth.to_string()).unwrap();
    succeed(&mut world.pull(&reference));
    fs::write(world.registry.at("config.json"), "no json").unwrap();
    refused(&mut world.pull(&reference), &["the credentials for it cannot be read", "config.json is malformed"]);
}

/// A token server and a registry that lets in who has a token of it.
#[test]
fn an_identity_token_is_changed_for_a_token_at_the_token_server() {
    const IDENTITY: &str = "identity/+=";
    let world = World::new();
    let files = world.pushed("demo:1");
    let place = Arc::new(OnceLock::<String>::new());
    let realm = Arc::clone(&place);
    let proxy = Proxy::before(&world.registry.address, move |request, _| match () {
        () if request.line == "GET /v2/" => {
            let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"here\"\r\n", realm.get().unwrap());
            Fault::status("401 Unauthorized", &challenge, "")
        }
        () if request.line == "POST /token" => {
            let body = text(&request.body);
            let is_right =
                ["grant_type=refresh_token", "service=here", "refresh_token=identity%2F%2B%3D"].iter().all(|part| body.contains(part));
            match is_right {
                true if body.contains("scope=repository%3Ademo%3Apull%2Cpush") => {
                    Fault::status("200 OK", "", r#"{"access_token":"pusher"}"#)
                }
                true if body.contains("scope=repository%3Ademo%3Apull&") => Fault::status("200 OK", "", r#"{"access_token":"puller"}"#),
                _ => Fault::status("401 Unauthorized", "", r#"{"errors":[{"message":"who is that?"}]}"#),
            }
        }
        () => match request.authorization.as_deref() {
            Some("Bearer pusher") => Fault::None,
            Some("Bearer puller") if !request.is_upload() => Fault::None,
            _ => Fault::status("401 Unauthorized", "", ""),
        },
    });
    place.set(proxy.address.clone()).unwrap();
    let reference = format!("{}/demo:1", proxy.address);
    let mut push = world.prebake();
    push.args(["push", "--host-cpu", "x86-64-v2"]).arg(format!("{}/demo:2", proxy.address)).args(&files);
    let configure = |identity: &str| {
        let auth = serde_json::json!({ "auths": { &proxy.address: { "auth": "PHRva2VuPjo=", "identitytoken": identity } } });
        fs::write(world.registry.at("config.json"), auth.to_string()).unwrap();
    };
    refused(&mut world.pull(&reference), &["rejected the credentials"]);
    configure("another");
    refused(&mut world.pull(&reference), &["rejected the credentials", "who is that?"]);
    configure(IDENTITY);
    let pulled = paths(&succeed(&mut world.pull(&reference)));
    assert!(same(&files[0], &pulled[0]) && same(&files[1], &pulled[1]));
    succeed(&mut push);
}
