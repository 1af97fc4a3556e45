//! Who signed what is pulled, and whose native code is run.

use super::files::{files_below, machine};
use super::{World, document, get, paths, refused, same, succeed, text};
use prebake::artifact::{Artifact, MachineSize, PartInput, PartKind, pack};
use prebake::context::{Context, Folders};
use prebake::distribution::oci::{PullOptions, ensure};
use prebake::distribution::trust::{PublicKey, SigningKey};
use prebake::machine::file::{MachineFile, Voucher};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a pull says of code that is trusted.
const TRUSTED: &str = "the native code is trusted";

impl World {
    /// A pair of keys.
    fn keys(&self, name: &str) -> [String; 2] {
        let at = self.registry.at(name).display().to_string();
        succeed(self.prebake().args(["key", "generate", "-o", &at]));
        [format!("{at}.key"), format!("{at}.pub")]
    }

    /// Pushes `files`, signed.
    fn push_signed(&self, name: &str, files: &[PathBuf], key: &str) {
        succeed(self.prebake().args(["push", "--host-cpu", "x86-64-v2", "--sign", key]).arg(self.reference(name)).args(files));
    }

    fn trust(&self, words: &[&str]) -> Command {
        let mut command = self.prebake();
        command.arg("trust").args(words);
        command
    }

    /// What a pull says.
    fn said(&self, name: &str, options: &[&str]) -> String {
        text(&succeed(self.pull(&self.reference(name)).args(options)).stderr)
    }

    /// The digits of what a reference names.
    fn digits(&self, name: &str) -> String {
        let output = succeed(self.prebake().args(["images", "--json"]));
        let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
        let entry = listed.as_array().unwrap().iter().find(|entry| entry["reference"] == self.reference(name)).unwrap();
        entry["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned()
    }
}

#[test]
fn code_is_trusted_by_who_signed_it_or_where_it_is() {
    let world = World::new();
    let files = world.pushed("team/demo:1");
    let [key, public] = world.keys("release");
    let [other_key, other] = world.keys("other");
    let team = format!("{}/team/*", world.registry.address);
    let elsewhere = format!("{}/teams/*", world.registry.address);
    let is_trusted = |options: &[&str]| world.said("team/demo:1", options).contains(TRUSTED);

    // Nobody has signed, or nobody who is trusted.
    assert!(!is_trusted(&[]));
    succeed(&mut world.trust(&["add", "--key", &public]));
    assert!(!is_trusted(&[]));
    world.push_signed("team/demo:1", &files, &other_key);
    assert!(!is_trusted(&[]));
    // Signed by one who is, after it was pulled.
    world.push_signed("team/demo:1", &files, &key);
    let said = world.said("team/demo:1", &[]);
    assert!(
        said.contains(&format!("{TRUSTED}: the key {}", PublicKey::from_pem(&fs::read_to_string(&public).unwrap()).unwrap().fingerprint())),
        "{said}"
    );
    // It is remembered, and so is who is trusted no more.
    assert!(is_trusted(&["--offline"]));
    succeed(&mut world.trust(&["remove", "--key", &public]));
    assert!(!is_trusted(&["--offline"]) && !is_trusted(&[]));
    succeed(&mut world.trust(&["add", "--key", &other, &elsewhere]));
    assert!(!is_trusted(&[]));
    succeed(&mut world.trust(&["add", "--key", &other, &team]));
    assert!(is_trusted(&["--offline"]));
    succeed(&mut world.trust(&["remove", "--key", &other]));
    assert!(!is_trusted(&[]));
    // A repository, whoever signed.
    succeed(&mut world.trust(&["add", &world.reference("team/demo")]));
    assert!(is_trusted(&[]));
    refused(&mut world.trust(&["remove", &team]), &["is not trusted", "prebake trust list"]);
    let listed = text(&succeed(&mut world.trust(&["list"])).stdout);
    assert!(listed.contains(&world.reference("team/demo")) && !listed.contains("sha256:"), "{listed}");
    succeed(&mut world.trust(&["remove", &world.reference("team/demo")]));
    assert!(!is_trusted(&[]));
}

#[test]
fn what_a_key_must_have_signed_is_not_fetched_without() {
    let world = World::new();
    let files = world.pushed("demo:1");
    let ([key, public], [_, other]) = (world.keys("release"), world.keys("other"));
    let pull = |options: &[&str]| {
        let mut command = world.pull(&world.reference("demo:1"));
        command.args(options);
        command
    };
    refused(&mut pull(&["--verify-key", &public]), &["is not signed by the key sha256:", "has no signatures"]);
    assert!(files_below(&world.store()).is_empty());
    world.push_signed("demo:1", &files, &key);
    refused(&mut pull(&["--verify-key", &other]), &["is not signed by the key sha256:", "only by other keys"]);
    assert!(files_below(&world.store()).is_empty());
    let pulled = paths(&succeed(&mut pull(&["--verify-key", &public])));
    assert!(same(&files[0], &pulled[0]) && same(&files[1], &pulled[1]));
    refused(&mut pull(&["--verify-key", &other]), &["is not signed by the key"]);
    refused(&mut pull(&["--offline", "--verify-key", &other]), &["is not signed by the key"]);
    succeed(&mut pull(&["--offline", "--verify-key", &public]));
    // The manifest for a target is signed, too.
    let digest = document(&world.registry.address, "demo", "1")["manifests"][0]["digest"].as_str().unwrap().to_owned();
    succeed(world.pull(&world.reference(&format!("demo@{digest}"))).args(["--verify-key", &public]));
    // A tag that moves to what nobody signed.
    world.push("demo:1", &[&machine(world.folder(), "demo.aot", b"other"), &files[1]]);
    refused(&mut pull(&["--verify-key", &public]), &["has no signatures"]);
}

#[test]
fn a_signature_of_something_else_is_none() {
    let world = World::new();
    let files = world.pushed("demo:1");
    let [key, public] = world.keys("release");
    world.push_signed("demo:1", &files, &key);
    let forged = machine(world.folder(), "forged.aot", b"forged");
    world.push("demo:2", &[&forged]);
    succeed(&mut world.pull(&world.reference("demo:1")));
    succeed(&mut world.pull(&world.reference("demo:2")));
    let tag = |name: &str| format!("sha256-{}.sig", world.digits(name));
    // The signatures of the one are said to be those of the other.
    let manifest =
        get(&world.registry.address, &format!("/v2/demo/manifests/{}", tag("demo:1")), "application/vnd.oci.image.manifest.v1+json");
    put(&world.registry.address, &format!("/v2/demo/manifests/{}", tag("demo:2")), &manifest);
    succeed(&mut world.trust(&["add", "--key", &public]));
    assert!(world.said("demo:1", &[]).contains(TRUSTED));
    assert!(!world.said("demo:2", &[]).contains(TRUSTED));
    let mut pull = world.pull(&world.reference("demo:2"));
    refused(pull.args(["--verify-key", &public]), &["is not signed by the key", "only by other keys"]);
    // What is no list of signatures is none.
    put(&world.registry.address, &format!("/v2/demo/manifests/{}", tag("demo:2")), &document_bytes(&world, "demo", "1"));
    assert!(!world.said("demo:2", &[]).contains(TRUSTED));
    refused(&mut pull, &["is not signed by the key"]);
}

fn document_bytes(world: &World, repository: &str, name: &str) -> Vec<u8> {
    let index = document(&world.registry.address, repository, name);
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    get(&world.registry.address, &format!("/v2/{repository}/manifests/{digest}"), "application/vnd.oci.image.manifest.v1+json")
}

pub fn put(registry: &str, path: &str, manifest: &[u8]) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(registry).unwrap();
    let length = manifest.len();
    let head = format!(
        "PUT {path} HTTP/1.0\r\nHost: {registry}\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), manifest].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.0 201"), "{}", text(&answer));
}

#[test]
fn what_is_signed_is_laid_out_as_cosign_does() {
    let world = World::new();
    let files = world.pushed("demo:1");
    let ([key, public], [other_key, other]) = (world.keys("release"), world.keys("other"));
    world.push_signed("demo:1", &files, &key);
    let blobs = || files_below(&world.registry.at("data/docker/registry/v2/blobs"));
    let before = blobs();
    world.push_signed("demo:1", &files, &key);
    assert_eq!(blobs(), before, "the same signature is not sent twice");
    world.push_signed("demo:1", &files, &other_key);

    let pushed = succeed(world.prebake().args(["push", "--host-cpu", "x86-64-v2"]).arg(world.reference("demo:1")).args(&files));
    let digest = text(&pushed.stdout).trim().to_owned();
    let signed = document(&world.registry.address, "demo", &format!("{}.sig", digest.replace(':', "-")));
    assert_eq!(signed["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(signed["config"]["mediaType"], "application/vnd.oci.image.config.v1+json");
    let layers = signed["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    for (layer, public) in layers.iter().zip([&public, &other]) {
        assert_eq!(layer["mediaType"], "application/vnd.dev.cosign.simplesigning.v1+json");
        let payload = get(&world.registry.address, &format!("/v2/demo/blobs/{}", layer["digest"].as_str().unwrap()), "*/*");
        let claim: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(claim["critical"]["image"]["docker-manifest-digest"], digest);
        assert_eq!(claim["critical"]["identity"]["docker-reference"], world.reference("demo"));
        // OpenSSL is of the opinion that it is signed.
        let (content, signature) = (world.registry.at("payload"), world.registry.at("signature"));
        fs::write(&content, &payload).unwrap();
        fs::write(&signature, layer["annotations"]["dev.cosignproject.cosign/signature"].as_str().unwrap()).unwrap();
        let verified = "base64 -d \"$1\" >\"$1.der\" && openssl dgst -sha256 -verify \"$2\" -signature \"$1.der\" \"$3\"";
        succeed(Command::new("bash").args(["-c", verified, "-"]).arg(&signature).arg(public).arg(&content));
    }
}

#[test]
fn a_key_may_be_encrypted_or_in_the_environment() {
    let world = World::new();
    let files = world.pushed("demo:1");
    let name = world.registry.at("locked").display().to_string();
    succeed(world.prebake().args(["key", "generate", "-o", &name]).env("PREBAKE_KEY_PASSWORD", "secret"));
    let (key, public) = (format!("{name}.key"), format!("{name}.pub"));
    assert!(fs::read_to_string(&key).unwrap().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    refused(world.prebake().args(["key", "generate", "-o", &name]), &["already exists"]);
    let printed = succeed(world.prebake().args(["key", "public", &key]).env("PREBAKE_KEY_PASSWORD", "secret")).stdout;
    assert_eq!(text(&printed), fs::read_to_string(&public).unwrap());
    let push = |key: &str| {
        let mut command = world.prebake();
        command.args(["push", "--host-cpu", "x86-64-v2", "--sign", key]).arg(world.reference("demo:1")).args(&files);
        command
    };
    refused(&mut push(&key), &["is encrypted", "PREBAKE_KEY_PASSWORD"]);
    refused(push(&key).env("PREBAKE_KEY_PASSWORD", "wrong"), &["the password is wrong"]);
    refused(&mut push(&public), &["is not a private key", "`PUBLIC KEY`"]);
    refused(&mut push("env://NO_SUCH_KEY"), &["NO_SUCH_KEY"]);
    succeed(push("env://SIGNING_KEY").env("SIGNING_KEY", fs::read_to_string(&key).unwrap()).env("PREBAKE_KEY_PASSWORD", "secret"));
    succeed(world.pull(&world.reference("demo:1")).args(["--verify-key", &public]));
}

/// A machine whose memory has room for what a real one has.
fn whole_machine(folder: &Path) -> PathBuf {
    let (path, ram_size) = (folder.join("whole.aot"), 32 << 20);
    let metadata: &[u8] = b"{\"append\":\"\"}";
    let parts =
        vec![PartInput::new(PartKind::Kernel, 6, &b"kernel"[..]), PartInput::new(PartKind::Metadata, metadata.len() as u64, metadata)];
    let size = MachineSize { pages: (128 << 20) / 65_536, ram_size };
    pack(include_bytes!("../../../tests/data/payload.aot"), size, parts, &mut File::create(&path).unwrap()).unwrap();
    path
}

#[test]
fn forged_code_is_not_run() {
    let world = World::new();
    let file = whole_machine(world.folder());
    let key = SigningKey::generate().unwrap();
    let path = world.registry.at("release.key");
    key.write(&path, None).unwrap();
    world.push_signed("demo:1", std::slice::from_ref(&file), path.to_str().unwrap());
    let context = Context::silent(Folders::below(&world.registry.at("library"), Path::new("")));
    let pull =
        |verify_key| ensure(&context, &world.reference("demo:1"), &PullOptions { verify_key, to_boot: true, ..PullOptions::default() });
    let opened = |voucher: Option<Voucher>| MachineFile::open(&context, &pull(None).unwrap().wasm_file).unwrap().vouched_for(voucher);

    // Nobody stands for it; someone does; for other code.
    let may_run = |voucher| opened(voucher).runnable(false).unwrap().is_ok();
    assert!(!may_run(pull(None).unwrap().voucher));
    let voucher = pull(Some(key.public())).unwrap().voucher.unwrap();
    assert!(may_run(Some(voucher.clone())));
    let other = Voucher { code: voucher.code.replace(|digit: char| digit.is_ascii_digit(), "0"), ..voucher.clone() };
    assert!(!may_run(Some(other)));
    // The same payload around other code, under the same voucher: a byte of the code is another, and the table says so.
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(4).position(|word| word == b"pb_p").unwrap();
    bytes[at] ^= 1;
    let forged = world.registry.at("forged.aot");
    fs::write(&forged, &bytes).unwrap();
    let forged = MachineFile::open(&context, &forged).unwrap().vouched_for(Some(voucher));
    assert!(forged.runnable(false).is_err());
    assert!(Artifact::open(opened_file(&file)).unwrap().code().is_ok());
}

fn opened_file(path: &Path) -> prebake::host::file::HostFile {
    prebake::host::file::HostFile::open("machine", path).unwrap()
}
