//! The layers of a machine: what is fetched of them, what is shared, and what they are put together to.

use super::faults::layer_of;
use super::files::{files_below, machine_of, noise, snapshot};
use super::proxy::{Fault, Proxy};
use super::{RAM_SIZE, World, document, get, paths, refused, same, succeed, text};
use prebake::artifact::{Artifact, PartKind};
use prebake::distribution::oci::Sha256;
use prebake::host::file::HostFile;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Parts of a machine with a root of its own.
fn parts(root: u64) -> Vec<(PartKind, Vec<u8>)> {
    vec![
        (PartKind::Kernel, noise(20_000, 1)),
        (PartKind::Initramfs, noise(10_000, 2)),
        (PartKind::Root, [noise(70_000, root), vec![0; 200_192], noise(512, root + 1)].concat()),
        (PartKind::Metadata, b"{\"append\":\"\"}".to_vec()),
    ]
}

impl World {
    /// A whole machine and a snapshot, pushed as `name`.
    fn pushed_whole(&self, name: &str, root: u64) -> [PathBuf; 2] {
        let stem = name.replace(['/', ':'], "-");
        let machine = machine_of(self.folder(), &format!("{stem}.aot"), &parts(root), RAM_SIZE);
        let files = [machine, snapshot(self.folder(), &format!("{stem}.snap"), RAM_SIZE)];
        self.push(name, &files.each_ref());
        files
    }

    fn manifest(&self, repository: &str, tag: &str) -> Value {
        let index = document(&self.registry.address, repository, tag);
        document(&self.registry.address, repository, index["manifests"][0]["digest"].as_str().unwrap())
    }

    fn blob(&self, repository: &str, digest: &Value) -> Vec<u8> {
        get(&self.registry.address, &format!("/v2/{repository}/blobs/{}", digest.as_str().unwrap()), "*/*")
    }
}

fn artifact(path: &Path) -> Artifact<HostFile> {
    Artifact::open(HostFile::open("machine", path).unwrap()).unwrap()
}

fn kinds(path: &Path) -> Vec<PartKind> {
    artifact(path).parts().iter().map(|part| part.kind).collect()
}

/// The media types of the layers that were asked for, without what is before and behind their own words.
fn fetched(proxy: &Proxy, manifest: &Value) -> Vec<String> {
    let layers = manifest["layers"].as_array().unwrap();
    let name = |line: &str| {
        let layer = layers.iter().find(|layer| line.contains(layer["digest"].as_str().unwrap()))?;
        let media_type = layer["mediaType"].as_str().unwrap();
        Some(media_type.trim_start_matches("application/vnd.prebake.").split('.').next().unwrap().to_owned())
    };
    let mut found: Vec<String> =
        proxy.seen().iter().filter(|request| request.is_blob()).filter_map(|request| name(&request.line)).collect();
    found.sort();
    found
}

#[test]
fn a_restore_fetches_neither_kernel_nor_initramfs() {
    let world = World::new();
    let [aot, snap] = world.pushed_whole("demo:1", 7);
    let kernel = layer_of(&world, 1);
    let proxy = Proxy::before(&world.registry.address, move |request, _| match request.line.contains(&kernel) {
        true => Fault::status("404 Not Found", "", ""),
        false => Fault::None,
    });
    let reference = format!("{}/demo:1", proxy.address);
    let [machine, pulled] = paths(&succeed(&mut world.pull_to_restore(&reference))).try_into().unwrap();
    assert_eq!(fetched(&proxy, &world.manifest("demo", "1")), ["code", "metadata", "root", "snapshot"]);
    assert!(same(&snap, &pulled));
    // It is the machine without what boots it: with the same code, which is as trusted as before.
    assert_eq!(kinds(&machine), [PartKind::Root, PartKind::Metadata]);
    let (before, after) = (artifact(&aot), artifact(&machine));
    assert_eq!((before.size(), before.code().unwrap()), (after.size(), after.code().unwrap()));
    after.verify().unwrap();
    assert!(before.part(PartKind::Root).unwrap().digest == after.part(PartKind::Root).unwrap().digest);
    // Nothing else is left of it, and it serves again.
    assert!(files_below(&world.store().join("partial")).is_empty());
    assert_eq!(succeed(world.pull_to_restore(&reference).arg("--offline")).stdout, succeed(&mut world.pull_to_restore(&reference)).stdout);

    // A boot needs them.
    refused(world.pull(&reference).arg("--offline"), &["is not in the store"]);
    refused(&mut world.pull(&reference), &["404"]);
    assert!(machine.exists());
    let whole = paths(&succeed(&mut world.pull(&world.reference("demo:1"))));
    assert!(same(&aot, &whole[0]));
}

#[test]
fn what_boots_a_machine_is_fetched_alone_when_it_is_needed() {
    let world = World::new();
    let [aot, _] = world.pushed_whole("demo:1", 7);
    let proxy = Proxy::before(&world.registry.address, |_, _| Fault::None);
    let reference = format!("{}/demo:1", proxy.address);
    succeed(&mut world.pull_to_restore(&reference));
    let before = proxy.seen().len();
    let whole = paths(&succeed(&mut world.pull(&reference)));
    assert!(same(&aot, &whole[0]));
    let later: Vec<String> =
        proxy.seen().into_iter().skip(before).filter(|request| request.is_blob()).map(|request| request.line).collect();
    let layers = [layer_of(&world, 1), layer_of(&world, 2)];
    assert!(layers.iter().all(|layer| later.iter().any(|line| line.contains(layer))), "{later:?}");
    assert_eq!(later.len(), 2, "{later:?}");
    // Now it restores, too.
    assert_eq!(paths(&succeed(&mut world.pull_to_restore(&reference))), whole);
}

#[test]
fn a_machine_without_a_snapshot_comes_whole() {
    let world = World::new();
    let aot = machine_of(world.folder(), "demo.aot", &parts(7), RAM_SIZE);
    world.push("demo:1", &[&aot]);
    let pulled = paths(&succeed(&mut world.pull_to_restore(&world.reference("demo:1"))));
    assert!(pulled.len() == 1 && same(&aot, &pulled[0]));
}

#[test]
fn a_second_image_costs_its_own_root_and_snapshot_alone() {
    let world = World::new();
    world.pushed_whole("one:1", 7);
    let [aot, _] = world.pushed_whole("two:1", 77);
    let proxy = Proxy::before(&world.registry.address, |_, _| Fault::None);
    succeed(&mut world.pull_to_restore(&format!("{}/one:1", proxy.address)));
    let before = proxy.seen().len();
    let machine = paths(&succeed(&mut world.pull_to_restore(&format!("{}/two:1", proxy.address)))).remove(0);
    let manifest = world.manifest("two", "1");
    let fetched: Vec<String> =
        proxy.seen().into_iter().skip(before).filter(|request| request.is_blob()).map(|request| request.line).collect();
    // These two have the same snapshot as well.
    assert!(matches!(&fetched[..], [line] if line.contains(manifest["layers"][3]["digest"].as_str().unwrap())), "{fetched:?}");
    assert_eq!(artifact(&machine).part(PartKind::Root).unwrap(), artifact(&machine).part(PartKind::Root).unwrap());
    assert_eq!(artifact(&machine).read_part(PartKind::Root).unwrap(), artifact(&aot).read_part(PartKind::Root).unwrap());
    artifact(&machine).verify().unwrap();
}

#[test]
fn a_machine_that_was_pushed_as_one_file_is_pulled() {
    let world = World::new();
    let [aot, snap] = world.pushed_whole("demo:1", 7);
    // As older versions pushed: the file as a layer, and a configuration without lengths.
    let manifest = world.manifest("demo", "1");
    let mut config: Value = serde_json::from_slice(&world.blob("demo", &manifest["config"]["digest"])).unwrap();
    config.as_object_mut().unwrap().remove("layers").unwrap();
    let (config, file) = (config.to_string().into_bytes(), fs::read(&aot).unwrap());
    let described =
        |media_type: &str, bytes: &[u8]| serde_json::json!({ "mediaType": media_type, "digest": Sha256::of(bytes), "size": bytes.len() });
    let mut old = manifest.clone();
    old["config"] = described("application/vnd.prebake.config.v1+json", &config);
    old["layers"] = serde_json::json!([described("application/vnd.prebake.aot.v1", &file), manifest["layers"][5]]);
    for blob in [&config, &file] {
        upload(&world.registry.address, "demo", blob);
    }
    super::trust::put(&world.registry.address, "/v2/demo/manifests/old", old.to_string().as_bytes());
    for options in [&[][..], &["--boot"]] {
        let pulled = paths(&succeed(world.pull_to_restore(&world.reference("demo:old")).args(options)));
        assert!(same(&aot, &pulled[0]) && same(&snap, &pulled[1]));
    }
}

/// Sends a blob as any client does.
fn upload(registry: &str, repository: &str, blob: &[u8]) {
    use std::io::{Read, Write};
    let ask = |head: String, body: &[u8]| {
        let mut stream = std::net::TcpStream::connect(registry).unwrap();
        stream.write_all(&[format!("{head}Host: {registry}\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        text(&answer)
    };
    let begun = ask(format!("POST /v2/{repository}/blobs/uploads/ HTTP/1.0\r\n"), b"");
    let place = begun.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap();
    let place = &place[place.find("/v2/").unwrap()..];
    let ended = ask(format!("PUT {place}&digest={} HTTP/1.0\r\n", Sha256::of(blob)), blob);
    assert!(ended.starts_with("HTTP/1.0 201"), "{ended}");
}

#[test]
fn what_other_clients_have_fetched_is_joined() {
    let world = World::new();
    let wasm = machine_of(world.folder(), "demo-1.wasm", &parts(7), RAM_SIZE);
    let aot = machine_of(world.folder(), "demo-1.aot", &parts(7), RAM_SIZE);
    world.push("demo:1", &[&aot, &wasm]);
    // Under any names, in any order, and with files that are none of it.
    let folder = world.registry.at("pulled");
    fs::create_dir(&folder).unwrap();
    let index = document(&world.registry.address, "demo", "1");
    for entry in index["manifests"].as_array().unwrap() {
        let manifest = document(&world.registry.address, "demo", entry["digest"].as_str().unwrap());
        for layer in manifest["layers"].as_array().unwrap() {
            let digest = layer["digest"].as_str().unwrap().trim_start_matches("sha256:");
            fs::write(folder.join(digest), world.blob("demo", &layer["digest"])).unwrap();
        }
    }
    fs::write(folder.join("manifest.json"), index.to_string()).unwrap();
    fs::write(folder.join("version"), "Directory Transport Version: 1.1\n").unwrap();
    let files = files_below(&folder);
    let unpack = |files: &[PathBuf], output: &Path| {
        let mut command = world.prebake();
        command.arg("unpack").args(files).arg("-o").arg(output);
        command
    };
    for (original, name) in [(&aot, "joined.aot"), (&wasm, "joined.wasm")] {
        let output = world.registry.at(name);
        succeed(&mut unpack(&files, &output));
        assert!(same(original, &output));
    }
    let output = world.registry.at("other.aot");
    let manifest = world.manifest("demo", "1");
    for (number, words) in [(0, "the code blake3:"), (1, "the kernel blake3:"), (3, "the root blake3:"), (5, "0 of the files describe")] {
        let digest = manifest["layers"][number]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
        let without: Vec<PathBuf> = files.iter().filter(|file| !file.ends_with(&digest)).cloned().collect();
        refused(&mut unpack(&without, &output), &[words, "all files of one pull"]);
        assert!(!output.exists());
    }
    refused(&mut unpack(&files, &world.registry.at("x.snap")), &["a snapshot is in one file"]);

    // Zeroes follow a disk without end: how much of it is looked at is not for the configuration to say alone.
    let aot_config = files.iter().find(|file| fs::read_to_string(file).is_ok_and(|text| text.contains(r#""format":"aot""#))).unwrap();
    let mut config: Value = serde_json::from_slice(&fs::read(aot_config).unwrap()).unwrap();
    config["layers"]["parts"]["root"] = u64::MAX.into();
    fs::write(aot_config, config.to_string()).unwrap();
    refused(&mut unpack(&files, &output), &["larger than any machine can be"]);
    assert!(!output.exists());
}

/// Documents that do not describe the layers that they name are refused, and leave nothing.
#[test]
fn layers_that_are_not_what_their_configuration_says_are_refused() {
    let world = World::new();
    world.pushed_whole("demo:1", 7);
    let manifest = world.manifest("demo", "1");
    let good: Value = serde_json::from_slice(&world.blob("demo", &manifest["config"]["digest"])).unwrap();
    let zeroes = format!("blake3:{}", "0".repeat(64));
    type Change = fn(&mut Value, &str);
    let changes: [(Change, &str); 8] = [
        (|config, _| config["layers"]["parts"]["root"] = 512.into(), "root"),
        (|config, _| config["layers"]["parts"]["kernel"] = 19_999.into(), "kernel has 20000 bytes"),
        (|config, _| config["layers"]["parts"]["kernel"] = 20_001.into(), "kernel has 20000 bytes"),
        (|config, _| config["layers"]["code"] = 10.into(), "machine's code"),
        (|config, zeroes| config["payload"]["root"] = zeroes.into(), "machine's root"),
        (|config, zeroes| config["code"]["digest"] = zeroes.into(), "machine's code"),
        (|config, _| drop(config["payload"].as_object_mut().unwrap().remove("kernel")), "do not agree on the parts"),
        (|config, _| config["layers"]["parts"]["root"] = u64::MAX.into(), "larger than any machine"),
    ];
    for (change, words) in changes {
        let mut config = good.clone();
        change(&mut config, &zeroes);
        let config = config.to_string().into_bytes();
        upload(&world.registry.address, "demo", &config);
        let mut changed = manifest.clone();
        changed["config"]["digest"] = Sha256::of(&config).to_string().into();
        changed["config"]["size"] = config.len().into();
        super::trust::put(&world.registry.address, "/v2/demo/manifests/changed", changed.to_string().as_bytes());
        refused(&mut world.pull(&world.reference("demo:changed")), &[words]);
        assert!(files_below(&world.store().join("files")).is_empty() && files_below(&world.store().join("references")).is_empty());
    }
}
