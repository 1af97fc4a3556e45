//! Passwords go to the registry that they are for, and only when that asks.

use super::network::certificate;
use super::proxy::{Fault, Proxy};
use super::{World, refused, succeed};
use crate::common::machine_folder;
use crate::common::registry::{PASSWORD, USER};
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const BASIC: &str = "WWW-Authenticate: Basic realm=\"x\"\r\n";

/// Has docker's configuration name a password for `registry`.
fn configure(world: &World, registry: &str) {
    let auth = json!({ "auths": { registry: { "username": USER, "password": PASSWORD } } });
    fs::write(world.registry.at("config.json"), auth.to_string()).unwrap();
}

fn with_login(command: &mut Command) -> &mut Command {
    command.env("PREBAKE_REGISTRY_USER", USER).env("PREBAKE_REGISTRY_PASSWORD", PASSWORD)
}

#[test]
fn a_registry_that_does_not_ask_gets_no_password() {
    let world = World::new();
    let files = world.pushed("demo:1");
    let proxy = Proxy::before(&world.registry.address, |_, _| Fault::None);
    configure(&world, &proxy.address);
    succeed(&mut world.pull(&format!("{}/demo:1", proxy.address)));
    let mut push = world.prebake();
    push.args(["push", "--host-cpu", "x86-64-v2"]).arg(format!("{}/demo:2", proxy.address)).args(&files);
    succeed(with_login(&mut push));
    let seen = proxy.seen();
    assert!(seen.len() > 6 && seen.iter().all(|request| request.authorization.is_none()), "{seen:?}");
}

#[test]
fn a_registry_may_ask_only_for_what_not_everyone_may_do() {
    let world = World::new();
    let files = world.pushed("demo:1");
    let proxy = Proxy::before(&world.registry.address, |request, _| match request.is_upload() && request.authorization.is_none() {
        true => Fault::status("401 Unauthorized", BASIC, ""),
        false => Fault::None,
    });
    let mut push = world.prebake();
    push.args(["push", "--host-cpu", "x86-64-v2"]).arg(format!("{}/demo:2", proxy.address)).args(&files);
    refused(&mut push, &["401", "log in"]);
    succeed(with_login(&mut push));
    configure(&world, &proxy.address);
    succeed(&mut world.pull(&format!("{}/demo:2", proxy.address)));
    let reads = |request: &super::proxy::HttpRequest| request.line.starts_with("GET") && request.authorization.is_some();
    assert!(!proxy.seen().iter().any(reads));
}

/// One that is meant for a push must not go to the base image's registry.
#[test]
fn a_login_of_the_environment_goes_to_its_registry_alone() {
    let world = World::new();
    let proxy = Proxy::before(&world.registry.address, |_, _| Fault::status("401 Unauthorized", BASIC, ""));
    let sent = || proxy.seen().iter().filter(|request| request.authorization.is_some()).count();
    let image = format!("{}/image:1", proxy.address);
    let convert = || {
        let mut command = world.prebake();
        command.env("PREBAKE_MACHINE", machine_folder()).arg("convert").arg(&image).arg("-o").arg(world.registry.at("image.wasm"));
        command
    };
    refused(with_login(&mut convert()).env("PREBAKE_REGISTRY", "registry.example"), &["401"]);
    let mut bake = world.prebake();
    bake.env("PREBAKE_MACHINE", machine_folder()).arg("bake").arg(&image).args(["--push", &format!("{}/image:1", world.registry.address)]);
    refused(with_login(&mut bake), &["401"]);
    assert_eq!(sent(), 0);
    refused(with_login(&mut convert()).env("PREBAKE_REGISTRY", &proxy.address), &["401"]);
    assert!(sent() > 0);
    let before = sent();
    // Without a name it is for the only registry that the command has to do with.
    refused(with_login(&mut convert()), &["401"]);
    assert!(sent() > before);
}

/// It would show everyone on the way what is as good as a password.
#[test]
fn a_token_server_without_tls_gets_no_password_that_is_for_a_registry_with_tls() {
    let mut world = World::new();
    world.pushed("demo:1");
    let tokens = TcpListener::bind("127.0.0.1:0").unwrap();
    let [certificate, key] = certificate(world.folder(), "own", "IP:127.0.0.1");
    let path = world.registry.at("config.yml");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let realm = format!("http://{}/token", tokens.local_addr().unwrap());
    config["auth"] = json!({ "token": { "realm": realm, "service": "x", "issuer": "x", "rootcertbundle": certificate } });
    fs::write(path, config.to_string()).unwrap();
    world.registry.restart_with_tls(&certificate, &key, None);
    configure(&world, &world.registry.address);
    let was_asked = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&was_asked);
    // Each connection is closed at once.
    std::thread::spawn(move || tokens.incoming().for_each(|_| asked.store(true, Ordering::Relaxed)));
    let mut pull = world.pull(&world.reference("demo:1"));
    refused(pull.arg("--ca-file").arg(&certificate), &["token server", "does not use TLS"]);
    assert!(!was_asked.load(Ordering::Relaxed));
}
