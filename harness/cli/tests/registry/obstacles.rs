//! What stands between here and a registry: what cannot pass by itself is tried once, and what is said of it names what helps.

use super::common::registry::{PASSWORD, Registry, USER};
use super::common::{in_own_network, run, succeed, text};
use super::files::machine;
use super::network::certificate;
use super::proxy::{Fault, Proxy};
use super::{World, paths, refused, same};
use serde_json::json;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A port that nothing listens at.
fn closed() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Checks that a command fails with these words, and has not tried twice.
fn fails_at_once(command: &mut Command, words: &[&str]) {
    let said = text(&run(command, b"").stderr);
    for word in words {
        assert!(said.contains(word), "`{word}` is missing: {said}");
    }
    assert!(!said.contains("trying again"), "{said}");
}

#[test]
fn what_does_not_pass_is_tried_once() {
    let world = World::new();
    world.pushed("demo:1");
    fails_at_once(&mut world.pull(&format!("{}/demo:1", closed())), &["refused", "check that it is running and its port"]);
    let proxy = Proxy::before(&world.registry.address, |_, _| Fault::status("307 Temporary Redirect", "Location: /v2/\r\n", ""));
    fails_at_once(&mut world.pull(&format!("{}/demo:1", proxy.address)), &["redirect", "--plain-http"]);
    assert!(proxy.seen().len() <= 11, "{}", proxy.seen().len());
}

#[test]
fn what_tls_finds_wrong_is_tried_once() {
    if !in_own_network("obstacles::what_tls_finds_wrong_is_tried_once") {
        return;
    }
    let mut world = World { registry: Registry::start_at("192.0.2.10", false) };
    let reference = world.reference("demo:1");
    fails_at_once(&mut world.pull(&reference), &["--plain-http"]);
    let [wrong, wrong_key] = certificate(world.folder(), "wrong", "DNS:other.example");
    world.registry.restart_with_tls(&wrong, &wrong_key, None);
    fails_at_once(&mut world.pull(&reference), &["--ca-file", "/etc/docker/certs.d/192.0.2.10:"]);
    fails_at_once(world.pull(&reference).arg("--ca-file").arg(&wrong), &["use a name that its certificate is for"]);
    fails_at_once(world.pull(&reference).arg("--plain-http"), &["uses TLS; omit --plain-http"]);
    // Someone else's certificate is not the registry's, though it has its name.
    let [other, _] = certificate(world.folder(), "other", "IP:192.0.2.10");
    fails_at_once(world.pull(&reference).arg("--ca-file").arg(&other), &["--ca-file"]);
    fails_at_once(world.pull(&reference).args(["--ca-file", "/no/such.pem"]), &["cannot use the certificate /no/such.pem"]);
    fs::write(world.registry.at("empty.pem"), "nothing").unwrap();
    fails_at_once(world.pull(&reference).arg("--ca-file").arg(world.registry.at("empty.pem")), &["empty.pem", "no certificate in PEM"]);
}

#[test]
fn a_registry_on_this_host_may_use_tls() {
    let mut world = World::new();
    let files = world.pushed("demo:1");
    let [own, key] = certificate(world.folder(), "own", "IP:127.0.0.1,DNS:localhost");
    world.registry.restart_with_tls(&own, &key, None);
    let reference = world.reference("demo:1");
    fails_at_once(&mut world.pull(&reference), &["--ca-file"]);
    let pulled = paths(&succeed(world.pull(&reference).arg("--ca-file").arg(&own)));
    assert!(same(&files[0], &pulled[0]));
    // Or among those that the host trusts.
    fs::remove_dir_all(world.store()).unwrap();
    succeed(world.pull(&format!("docker://{reference}")).env("SSL_CERT_FILE", &own));
}

#[test]
fn certificates_are_found_where_docker_and_podman_have_them() {
    if !in_own_network("obstacles::certificates_are_found_where_docker_and_podman_have_them") {
        return;
    }
    let mut world = World { registry: Registry::start_at("192.0.2.10", false) };
    let [own, key] = certificate(world.folder(), "own", "IP:192.0.2.10");
    let [client, client_key] = certificate(world.folder(), "client", "DNS:client");
    world.registry.restart_with_tls(&own, &key, Some(&client));
    let demo = machine(world.folder(), "demo.wasm", b"kernel");
    let push = || {
        let mut command = world.prebake();
        command.env("XDG_CONFIG_HOME", world.registry.at("xdg")).arg("push").arg(world.reference("demo:1")).arg(&demo);
        command
    };
    fails_at_once(&mut push(), &["--ca-file"]);
    for place in ["certs.d", "xdg/docker/certs.d", "xdg/containers/certs.d"] {
        let folder = world.registry.at(place).join(&world.registry.address);
        fs::create_dir_all(&folder).unwrap();
        fs::copy(&own, folder.join("ca.crt")).unwrap();
        // The registry wants one, too.
        fails_at_once(&mut push(), &["certs.d", "client.cert"]);
        fs::copy(&client, folder.join("client.cert")).unwrap();
        fails_at_once(&mut push(), &["client.key"]);
        fs::copy(&client_key, folder.join("client.key")).unwrap();
        succeed(&mut push());
        fs::remove_dir_all(world.registry.at(place)).unwrap();
    }
}

#[test]
fn what_a_proxy_does_is_said_of_the_proxy() {
    if !in_own_network("obstacles::what_a_proxy_does_is_said_of_the_proxy") {
        return;
    }
    let world = World { registry: Registry::start_at("192.0.2.10", false) };
    let demo = machine(world.folder(), "demo.wasm", b"kernel");
    let reference = world.reference("demo:1");
    succeed(world.prebake().arg("push").arg("--plain-http").arg(&reference).arg(&demo));
    let pull = |variables: &[(&str, &str)]| {
        let mut command = world.pull(&reference);
        command.envs(variables.iter().copied()).arg("--plain-http");
        command
    };
    let nobody = format!("http://me:secret@{}", closed());
    let shown = nobody.replace("me:secret@", "");
    let through = format!("through the proxy {shown}");
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        fails_at_once(&mut pull(&[(name, &nobody)]), &["192.0.2.10", &through, "add 192.0.2.10 to NO_PROXY"]);
    }
    for except in ["192.0.2.10", "192.0.2.0/24", "*", &world.registry.address] {
        succeed(&mut pull(&[("HTTP_PROXY", &nobody), ("NO_PROXY", except)]));
        fs::remove_dir_all(world.store()).unwrap();
    }
    fails_at_once(&mut pull(&[("HTTP_PROXY", "ftp://x")]), &["ftp://x is not a proxy that can be used"]);
    let refusing = Proxy::before(&world.registry.address, |_, _| Fault::status("407 Proxy Authentication Required", "", ""));
    fails_at_once(
        &mut pull(&[("HTTP_PROXY", &format!("http://{}", refusing.address))]),
        &["407", "through the proxy http://127.0.0.1:", "USER:PASSWORD@"],
    );
    // With TLS a proxy is asked for a tunnel.
    let mut command = world.pull(&reference);
    fails_at_once(command.env("HTTPS_PROXY", format!("http://{}", refusing.address)), &["through the proxy", "check HTTPS_PROXY"]);
}

#[test]
fn this_host_is_never_behind_a_proxy() {
    let world = World::new();
    let files = world.pushed("demo:1");
    let nobody = format!("http://{}", closed());
    let mut pull = world.pull(&world.reference("demo:1"));
    let pulled = paths(&succeed(pull.envs(["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"].map(|name| (name, &nobody)))));
    assert!(same(&files[0], &pulled[0]));
}

#[test]
fn an_address_for_an_upload_may_be_relative_to_the_path() {
    let world = World::new();
    let proxy =
        Proxy::before(&world.registry.address, |request, _| if request.is_upload() { Fault::RelativeLocation } else { Fault::None });
    // More than one chunk.
    let large = machine(world.folder(), "demo.wasm", &super::files::noise((9 << 20) + 5, 3));
    succeed(world.prebake().arg("push").arg(format!("{}/some/demo:1", proxy.address)).arg(&large));
    assert!(proxy.seen().iter().any(|request| request.line.starts_with("PATCH")));
    assert!(same(&large, &paths(&succeed(&mut world.pull(&world.reference("some/demo:1"))))[0]));
}

/// A helper for credentials: a program that is found by its name.
fn helper(folder: &Path, name: &str, script: &str) {
    let path = folder.join(format!("docker-credential-{name}"));
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn credentials_come_from_podmans_files_and_from_helpers() {
    let world = World { registry: Registry::start(true) };
    let demo = machine(world.folder(), "demo.wasm", b"kernel");
    let auth = json!({ "auths": { &world.registry.address: { "username": USER, "password": PASSWORD } } }).to_string();
    let push = || {
        let mut command = world.prebake();
        command.env("XDG_RUNTIME_DIR", world.registry.at("runtime")).env("XDG_CONFIG_HOME", world.registry.at("xdg"));
        command.arg("push").arg(world.reference("demo:1")).arg(&demo);
        command
    };
    refused(&mut push(), &["401", "log in"]);
    for place in ["runtime/containers/auth.json", "xdg/containers/auth.json"] {
        let path = world.registry.at(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &auth).unwrap();
        succeed(&mut push());
        fs::remove_file(&path).unwrap();
    }
    let named = world.registry.at("named.json");
    fs::write(&named, format!("\u{feff}{auth}")).unwrap();
    succeed(push().env("REGISTRY_AUTH_FILE", &named));

    let path = format!("{}:{}", world.folder().display(), std::env::var("PATH").unwrap());
    let address = &world.registry.address;
    helper(
        world.folder(),
        "good",
        &format!("read server; [ \"$server\" = '{address}' ] && echo '{{\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'"),
    );
    helper(world.folder(), "bad", "echo 'the keychain is locked' >&2; exit 1");
    helper(world.folder(), "none", "echo 'credentials not found in native keychain'; exit 1");
    let configure = |configuration: serde_json::Value| fs::write(world.registry.at("config.json"), configuration.to_string()).unwrap();
    configure(json!({ "credHelpers": { address: "good" }, "credsStore": "bad" }));
    succeed(push().env("PATH", &path));
    configure(json!({ "credsStore": "good" }));
    succeed(push().env("PATH", &path));
    configure(json!({ "credsStore": "bad" }));
    refused(push().env("PATH", &path), &["docker-credential-bad, named in", "config.json", "the keychain is locked"]);
    configure(json!({ "credsStore": "none" }));
    refused(push().env("PATH", &path), &["401", "log in"]);
    configure(json!({ "credsStore": "missing" }));
    refused(push().env("PATH", &path), &["docker-credential-missing, named in", "config.json", "is not installed"]);
}

#[test]
fn credentials_that_cannot_be_read_do_not_matter_to_a_registry_that_wants_none() {
    let world = World::new();
    let files = world.pushed("demo:1");
    for (content, word) in [(r#"{"credsStore":"missing"}"#, "docker-credential-missing"), ("", "is empty"), ("no json", "is malformed")] {
        fs::write(world.registry.at("config.json"), content).unwrap();
        let output = succeed(&mut world.pull(&world.reference("demo:1")));
        assert!(same(&files[0], &paths(&output)[0]));
        assert!(!text(&output.stderr).contains("note:"), "{}", text(&output.stderr));
        fs::remove_dir_all(world.store()).unwrap();
        // Who pushes has some, if anyone has.
        let mut push = world.prebake();
        push.args(["push", "--host-cpu", "x86-64-v2"]).arg(world.reference("demo:1")).args(&files);
        let said = text(&succeed(&mut push).stderr);
        assert!(said.matches("note: the credentials for").count() == 1 && said.contains(word) && said.contains("config.json"), "{said}");
    }
    fs::write(world.registry.at("config.json"), "\u{feff}{}").unwrap();
    assert!(!text(&succeed(&mut world.pull(&world.reference("demo:1"))).stderr).contains("note:"));
}
