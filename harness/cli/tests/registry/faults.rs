//! What goes wrong on the way is noticed, and the store stays as it was.

use super::files::{files_below, machine, noise};
use super::proxy::{FLOOD, Fault, HttpRequest, Proxy};
use super::{World, paths, refused, run, same, succeed, text};
use prebake::context::{Context, Folders};
use prebake::distribution::oci::{Descriptor, OciError, PullOptions, Registry, Sha256, ensure, reference};
use prebake::network::Network;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A world with `demo:1` in its registry, and a way to it on which these faults lie.
fn faulty(faults: impl Fn(&HttpRequest, usize) -> Fault + Send + Sync + 'static) -> (World, Proxy, [PathBuf; 2], String) {
    let world = World::new();
    let files = world.pushed("demo:1");
    let proxy = Proxy::before(&world.registry.address, faults);
    let reference = format!("{}/demo:1", proxy.address);
    (world, proxy, files, reference)
}

fn store_is_empty(world: &World) -> bool {
    files_below(&world.store()).is_empty()
}

/// The layers: what is fetched of them is more than a configuration.
fn is_layer(request: &HttpRequest, before: usize, faults: usize) -> bool {
    request.is_blob() && before < faults
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_was() {
    // Blobs shorter than that come whole.
    let (world, proxy, files, reference) =
        faulty(|request, before| if is_layer(request, before, 3) { Fault::Cut(70_000) } else { Fault::None });
    let pulled = paths(&succeed(&mut world.pull(&reference)));
    assert!(same(&files[0], &pulled[0]) && same(&files[1], &pulled[1]));
    let ranges: Vec<_> = proxy.seen().into_iter().filter_map(|request| request.range).collect();
    assert_eq!(ranges, ["bytes=70000-", "bytes=140000-", "bytes=210000-"]);
}

#[test]
fn what_a_process_left_unfinished_another_finishes() {
    let (world, proxy, files, reference) = faulty(|_, _| Fault::None);
    let snapshot = layer_of(&world, SNAPSHOT);
    let partial = world.store().join("partial").join(&snapshot);
    // As after a kill: some bytes of the layer have come.
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    fs::set_permissions(world.store(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let blob = world.registry.at(&format!("data/docker/registry/v2/blobs/sha256/{}/{snapshot}/data", &snapshot[..2]));
    fs::write(&partial, &fs::read(blob).unwrap()[..1000]).unwrap();
    let pulled = paths(&succeed(&mut world.pull(&reference)));
    assert!(same(&files[1], &pulled[1]));
    assert_eq!(proxy.seen().into_iter().filter_map(|request| request.range).collect::<Vec<_>>(), ["bytes=1000-"]);
    assert!(!partial.exists());
}

/// Which layer of `demo:1` is the snapshot: code, kernel and metadata come before it.
const SNAPSHOT: usize = 3;

/// The digits of a layer of `demo:1`.
pub fn layer_of(world: &World, number: usize) -> String {
    let index = super::document(&world.registry.address, "demo", "1");
    let manifest = super::document(&world.registry.address, "demo", index["manifests"][0]["digest"].as_str().unwrap());
    manifest["layers"][number]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned()
}

#[test]
fn a_flipped_bit_is_fetched_anew() {
    let (world, proxy, files, reference) =
        faulty(|request, before| if is_layer(request, before, 1) { Fault::Flip(2000) } else { Fault::None });
    let pulled = paths(&succeed(&mut world.pull(&reference)));
    assert!(same(&files[0], &pulled[0]) && same(&files[1], &pulled[1]));
    // The snapshot alone is longer than that, and was fetched twice.
    assert_eq!(proxy.seen().iter().filter(|request| request.is_blob()).count(), 3 + 2);
}

#[test]
fn bits_that_flip_every_time_are_refused() {
    let (world, _, _, reference) = faulty(|request, _| if request.is_blob() { Fault::Flip(2000) } else { Fault::None });
    refused(&mut world.pull(&reference), &["has digest sha256:", "expected"]);
    let left = files_below(&world.store());
    assert!(left.iter().all(|path| path.to_string_lossy().contains("/partial/")), "{left:?}");
    assert!(left.iter().any(|path| fs::metadata(path).unwrap().len() == 0));
}

#[test]
fn documents_that_are_not_what_they_should_be_are_refused() {
    for (fault, words) in [
        (|| Fault::Flip(30), ["has digest sha256:", "expected"]),
        // With the length that was announced, so that it looks whole.
        (|| Fault::status("200 OK", "", "{\"schemaVersion\":2,"), ["is malformed", "EOF"]),
        (
            || Fault::status("404 Not Found", "", "{\"errors\":[{\"message\":\"no such \\u001b[2J thing\"}]}"),
            ["404", "no such \\u{1b}[2J thing"],
        ),
        (|| Fault::status("401 Unauthorized", "", ""), ["401", "log in"]),
        (|| Fault::status("403 Forbidden", "", ""), ["403", "log in"]),
        (|| Fault::status("429 Too Many Requests", "Retry-After: 0\r\n", ""), ["429", "try again later"]),
        (|| Fault::status("503 Service Unavailable", "Retry-After: 0\r\n", ""), ["503", "try again later"]),
        (|| Fault::status("429 Too Many Requests", "Retry-After: 86400\r\n", ""), ["429", "try again later"]),
    ] as [(fn() -> Fault, [&str; 2]); 8]
    {
        let (world, _, _, reference) =
            faulty(move |request, _| if request.line.starts_with("GET") && request.is_document() { fault() } else { Fault::None });
        refused(&mut world.pull(&reference), &words);
        assert!(store_is_empty(&world));
    }
}

#[test]
fn a_document_that_does_not_end_is_not_read_to_its_end() {
    let long = "x".repeat(5 << 20);
    let (world, _, _, reference) = faulty(move |request, _| match request.line.starts_with("GET") && request.is_document() {
        true => Fault::status("200 OK", "", &long),
        false => Fault::None,
    });
    refused(&mut world.pull(&reference), &["more than 4194304 bytes"]);
}

/// What the kernel takes for a reader that reads no more, and more than that.
const UNREAD: u64 = 16 << 20;

/// How many bytes were taken, some at least. They are counted once the kernel has them, when their reader may have ended.
fn taken(count: &AtomicU64) -> u64 {
    let start = Instant::now();
    while count.load(Ordering::Relaxed) == 0 && start.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(1));
    }
    let taken = count.load(Ordering::Relaxed);
    assert!(taken > 0, "nothing was taken");
    taken
}

#[test]
fn a_layer_is_not_read_beyond_its_length() {
    let count = Arc::new(AtomicU64::new(0));
    let flood = Arc::clone(&count);
    let (world, _, files, reference) = faulty(move |request, _| match request.is_blob() {
        true => Fault::Flood("HTTP/1.1 200 OK\r\n\r\n".into(), Arc::clone(&flood)),
        false => Fault::None,
    });
    refused(&mut world.pull(&reference), &["has more than the announced"]);
    let (taken, wanted) = (taken(&count), files.iter().map(|file| fs::metadata(file).unwrap().len()).sum::<u64>());
    assert!(taken < wanted + 2 * UNREAD, "{taken} bytes were taken, {wanted} are wanted");
}

/// Bounds are of what comes, whatever was announced.
#[test]
fn no_answer_is_read_beyond_its_bound() {
    type IsFlooded = fn(&HttpRequest) -> bool;
    let payload = Sha256::of(b"signed");
    let layer = serde_json::json!({
        "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": payload.to_string(), "size": 10,
        "annotations": { "dev.cosignproject.cosign/signature": "AAAA" },
    });
    let config = serde_json::json!({ "mediaType": "application/vnd.oci.image.config.v1+json", "digest": payload.to_string(), "size": 2 });
    let signed = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": [layer] }).to_string();
    let document: IsFlooded = |request| request.line.starts_with("GET") && request.is_document() && !request.line.ends_with(".sig");
    let signatures: IsFlooded = |request| request.line.ends_with(".sig");
    let of_payload: IsFlooded = |request| request.is_blob() && request.line.contains(&Sha256::of(b"signed").to_string());
    let (whole, none) = (format!("Content-Length: {FLOOD}\r\n"), "");
    for ((is_flooded, is_needed), status, announced, bound) in [
        ((document, true), "200 OK", "Content-Length: 10\r\n", 10),
        ((document, true), "200 OK", &whole, 4 << 20),
        ((document, true), "200 OK", none, 4 << 20),
        ((document, true), "404 Not Found", none, 64 << 10),
        ((signatures, false), "200 OK", none, 4 << 20),
        ((of_payload, false), "200 OK", "Content-Length: 10\r\n", 10),
        ((of_payload, false), "200 OK", &whole, 64 << 10),
        ((of_payload, false), "200 OK", none, 64 << 10),
    ] {
        let (signed, count) = (signed.clone(), Arc::new(AtomicU64::new(0)));
        let (head, flood) = (format!("HTTP/1.1 {status}\r\n{announced}\r\n"), Arc::clone(&count));
        let (world, _, _, reference) = faulty(move |request, _| match () {
            () if is_flooded(request) => Fault::Flood(head.clone(), Arc::clone(&flood)),
            () if signatures(request) => Fault::status("200 OK", "", &signed),
            () => Fault::None,
        });
        let output = run(&mut world.pull(&reference), b"");
        // Signatures that cannot be read are none.
        assert_eq!(output.status.success(), !is_needed, "{status} {announced}: {}", text(&output.stderr));
        let taken = taken(&count);
        assert!(taken < bound + UNREAD, "{status} {announced}: {taken} bytes were taken, {bound} are wanted");
    }
}

/// What a registry calls a file is for other clients: in the store it is called by its digest.
#[test]
fn a_title_is_no_way_to_a_file() {
    for title in ["../../evil", "/tmp/prebake-evil\u{0}\u{1b}[2J", ".evil.part"] {
        let world = World::new();
        let files = world.pushed("demo:1");
        let index = super::document(&world.registry.address, "demo", "1");
        let mut manifest = super::document(&world.registry.address, "demo", index["manifests"][0]["digest"].as_str().unwrap());
        for layer in manifest["layers"].as_array_mut().unwrap() {
            layer["annotations"]["org.opencontainers.image.title"] = title.into();
        }
        let document = manifest.to_string();
        let named = format!(
            "Content-Type: application/vnd.oci.image.manifest.v1+json\r\nDocker-Content-Digest: {}\r\n",
            Sha256::of(document.as_bytes())
        );
        let proxy =
            Proxy::before(&world.registry.address, move |request, _| match request.is_document() && !request.line.ends_with(".sig") {
                true => Fault::status("200 OK", &named, &document),
                false => Fault::None,
            });
        let output = succeed(&mut world.pull(&format!("{}/demo:odd", proxy.address)));
        let pulled = paths(&output);
        assert!(same(&files[0], &pulled[0]) && same(&files[1], &pulled[1]));
        let is_digest = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().bytes().all(|byte| byte.is_ascii_hexdigit());
        let odd: Vec<_> = files_below(world.folder()).into_iter().filter(|path| path.to_string_lossy().contains("evil")).collect();
        assert!(pulled.iter().all(is_digest) && odd.is_empty(), "{title:?}: {odd:?}");
        assert!(!text(&output.stderr).contains('\x1b') && !Path::new("/tmp/prebake-evil").exists());
    }
}

#[test]
fn a_document_that_is_cut_off_is_asked_for_again() {
    let is_first = |request: &HttpRequest, before| request.is_document() && request.line.starts_with("GET") && before == 0;
    let (world, _, files, reference) = faulty(move |request, before| if is_first(request, before) { Fault::Cut(50) } else { Fault::None });
    let pulled = paths(&succeed(&mut world.pull(&reference)));
    assert!(same(&files[0], &pulled[0]));
}

#[test]
fn a_busy_registry_is_asked_again_when_it_says() {
    let (world, proxy, files, reference) =
        faulty(|request, before| match request.line.starts_with("GET") && before < 4 && request.line.contains("demo") {
            true => Fault::status("429 Too Many Requests", "Retry-After: 0\r\n", ""),
            false => Fault::None,
        });
    let pulled = paths(&succeed(&mut world.pull(&reference)));
    assert!(same(&files[0], &pulled[0]) && same(&files[1], &pulled[1]));
    // Signatures, index with all documents, four layers: each five times.
    assert_eq!(proxy.seen().iter().filter(|request| request.line.starts_with("GET") && request.line.contains("demo")).count(), 30);
}

#[test]
fn a_slow_registry_is_waited_for() {
    let (world, _, files, reference) = faulty(|_, _| Fault::Slow);
    let pulled = paths(&succeed(&mut world.pull(&reference)));
    assert!(same(&files[1], &pulled[1]));
}

#[test]
fn a_connection_that_falls_silent_is_given_up_and_goes_on() {
    let (world, proxy, _, name) = faulty(|request, before| if is_layer(request, before, 2) { Fault::Stall(50_000) } else { Fault::None });
    let layer = layer_of(&world, SNAPSHOT);
    let network = Network { silence: Duration::from_millis(500), pause: Duration::ZERO, ..Network::default() };
    let registry = Registry::new(&Context::silent(Folders::default()).with_network(network), reference(&name).unwrap()).unwrap();
    let size =
        fs::metadata(world.registry.at(&format!("data/docker/registry/v2/blobs/sha256/{}/{layer}/data", &layer[..2]))).unwrap().len();
    let wanted = Descriptor::new("", format!("sha256:{layer}").parse().unwrap(), size);
    let file = tempfile::tempfile().unwrap();
    registry.wait(registry.fetch("the layer", &wanted, (&file, "x".as_ref()), |_| Ok(()))).unwrap();
    assert_eq!(Sha256::of_file(&file).unwrap(), wanted.digest);
    let ranges: Vec<_> = proxy.seen().into_iter().filter_map(|request| request.range).collect();
    assert_eq!(ranges, ["bytes=50000-", "bytes=100000-"]);
}

#[test]
fn a_registry_that_is_killed_and_started_again_is_waited_for() {
    let mut world = World::new();
    // More than the kernel takes in for someone who reads slowly.
    let machine = machine(world.folder(), "demo.wasm", &noise(16 << 20, 5));
    world.push("demo:1", &[&machine]);
    let layer = layer_of(&world, 1);
    let partial = world.store().join("partial").join(&layer);
    let proxy = Proxy::before(&world.registry.address, |request, _| if request.is_blob() { Fault::Drip(256 << 10) } else { Fault::None });
    let mut pull = world.pull(&format!("{}/demo:1", proxy.address));
    let output = std::thread::scope(|scope| {
        let pull = scope.spawn(move || succeed(&mut pull));
        while fs::metadata(&partial).map_or(0, |found| found.len()) < 1 << 20 {
            assert!(!pull.is_finished(), "it was there before it was half there");
            std::thread::sleep(Duration::from_millis(5));
        }
        world.registry.kill_and_start_again(Duration::from_millis(300));
        pull.join().unwrap()
    });
    assert!(same(&machine, &paths(&output)[0]));
    // It went on behind what it had, and fetched nothing twice.
    let starts: Vec<u64> =
        proxy.seen().iter().filter_map(|request| request.range.as_ref()?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()).collect();
    assert!(!starts.is_empty() && starts.iter().all(|start| *start >= 1 << 20), "{starts:?}");
}

#[test]
fn a_push_that_is_refused_leaves_what_the_reference_named() {
    for (status, words) in [
        ("401 Unauthorized", ["401", "log in"]),
        ("403 Forbidden", ["403", "log in"]),
        ("429 Too Many Requests", ["429", "try again later"]),
        ("500 Internal Server Error", ["500", "try again later"]),
    ] {
        let (world, proxy, files, _) = faulty(move |request, _| match request.line.starts_with("PUT") && request.is_document() {
            true => Fault::status(status, "Retry-After: 0\r\n", ""),
            false => Fault::None,
        });
        let before = super::document(&world.registry.address, "demo", "1");
        let newer = machine(world.folder(), "newer.aot", b"newer kernel");
        let push = |reference: String| {
            let mut command = world.prebake();
            command.args(["push", "--host-cpu", "x86-64-v2"]).arg(reference).arg(&newer).arg(&files[1]);
            command
        };
        refused(&mut push(format!("{}/demo:1", proxy.address)), &words);
        assert_eq!(super::document(&world.registry.address, "demo", "1"), before);
        // What was sent is there, so the next push sends the rest.
        let said = text(&succeed(&mut push(world.reference("demo:1"))).stderr);
        assert!(said.contains("of which 0.0 MiB were new"), "{said}");
        assert_ne!(super::document(&world.registry.address, "demo", "1"), before);
    }
}

#[test]
fn a_busy_registry_is_pushed_to_when_it_says() {
    let refused = AtomicUsize::new(0);
    let (world, _, files, reference) = faulty(move |request, _| match request.is_upload() && refused.fetch_add(1, Ordering::Relaxed) < 4 {
        true => Fault::status("503 Service Unavailable", "Retry-After: 0\r\n", ""),
        false => Fault::None,
    });
    let newer = machine(world.folder(), "newer.aot", b"newer kernel");
    succeed(world.prebake().args(["push", "--host-cpu", "x86-64-v2"]).arg(&reference).arg(&newer).arg(&files[1]));
    let pulled = paths(&succeed(&mut world.pull(&reference)));
    assert!(same(&newer, &pulled[0]) && same(&files[1], &pulled[1]));
}

#[test]
fn a_host_that_nobody_knows_is_not_asked_again() {
    let world = World::new();
    let output = run(&mut world.pull("no-such-host.invalid/demo:1"), b"");
    let said = text(&output.stderr);
    assert!(said.contains("cannot resolve no-such-host.invalid") && !said.contains("trying again"), "{said}");
}

#[test]
fn more_than_was_announced_is_not_taken() {
    let (world, _, _, name) = faulty(|_, _| Fault::None);
    let registry = Registry::new(&Context::silent(Folders::default()), reference(&name).unwrap()).unwrap();
    let wanted = Descriptor::new("", format!("sha256:{}", layer_of(&world, SNAPSHOT)).parse().unwrap(), 100);
    let file = tempfile::tempfile().unwrap();
    let error = registry.wait(registry.fetch("the layer", &wanted, (&file, "x".as_ref()), |_| Ok(()))).unwrap_err();
    assert!(matches!(&error, prebake::error::Error::Oci(error) if matches!(**error, OciError::Protocol { .. })), "{error}");
    assert!(file.metadata().unwrap().len() <= 100);
}

#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    let (world, _, files, reference) = faulty(|_, _| Fault::None);
    let limited = |blocks: u32| {
        let mut shell = world.pull(&reference);
        let program = shell.get_program().to_owned();
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let environment: Vec<_> = shell.get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned())).collect();
        let arguments: Vec<_> = shell.get_args().map(ToOwned::to_owned).collect();
        shell = std::process::Command::new("bash");
        shell.arg("-c").arg(script).arg(program).args(arguments).envs(environment);
        shell
    };
    // In KiB: less than the snapshot as it travels, and less than its stored form.
    for blocks in [64, 320] {
        refused(&mut limited(blocks), &["cannot write", "free some space"]);
        let kept = files_below(&world.store());
        assert!(
            kept.iter().all(|path| path.extension().is_none_or(|ending| ending != "unpacked" && ending != "snap")),
            "{blocks}: {kept:?}"
        );
    }
    let pulled = paths(&succeed(&mut world.pull(&reference)));
    assert!(same(&files[0], &pulled[0]) && same(&files[1], &pulled[1]));
}

#[test]
fn two_who_want_the_same_fetch_it_once() {
    let (world, proxy, _, reference) = faulty(|request, _| if request.is_blob() { Fault::Slow } else { Fault::None });
    let outputs = std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..3).map(|_| scope.spawn(|| succeed(&mut world.pull(&reference)).stdout)).collect();
        pulls.into_iter().map(|pull| pull.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(outputs.iter().all(|output| *output == outputs[0]));
    for layer in (0..=SNAPSHOT).map(|number| layer_of(&world, number)) {
        assert_eq!(proxy.seen().iter().filter(|request| request.is_blob() && request.line.contains(&layer)).count(), 1);
    }
}

#[test]
fn a_file_that_was_damaged_in_the_store_is_fetched_again() {
    let (world, proxy, files, reference) = faulty(|_, _| Fault::None);
    let pulled = paths(&succeed(&mut world.pull(&reference)));
    let blobs = || proxy.seen().iter().filter(|request| request.is_blob()).count();
    let before = blobs();
    succeed(&mut world.pull(&reference));
    assert_eq!(blobs(), before, "what is there is not fetched");
    for (path, original) in pulled.iter().zip(&files) {
        let mut bytes = fs::read(path).unwrap();
        *bytes.iter_mut().rev().find(|byte| **byte != 0).unwrap() ^= 1;
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        fs::write(path, bytes).unwrap();
        succeed(&mut world.pull(&reference));
        assert!(same(path, original));
    }
}

#[test]
fn what_cannot_be_used_here_is_told_before_it_is_fetched() {
    // The words are changed in all documents, and the digests with them.
    let world = World::new();
    world.pushed("demo:1");
    for (from, to, words) in [
        ("\"version\":6", "\"version\":7", ["of version 7, but this prebake runs version 6", "newer prebake"]),
        ("x86-64-v2", "x86-64-v9", ["x86-64-v9", "unknown processor"]),
        ("pc1-v2/1", "pc9-v2/1", ["machine model pc9-v2/1", "has pc1-v2/1"]),
        ("\"format\":1", "\"format\":2", ["format version 2", "reads version 1"]),
        ("\"target\":\"x86_64\"", "\"target\":\"riscv6\"", ["for riscv6", "this host is"]),
        ("\"amd64\"", "\"riscv\"", ["it is for riscv", "this host is"]),
    ] {
        let address = world.registry.address.clone();
        let index = super::document(&address, "demo", "1");
        let old = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
        let manifest = super::document(&address, "demo", &old);
        let digest = manifest["config"]["digest"].as_str().unwrap().to_owned();
        let described = String::from_utf8(super::get(&address, &format!("/v2/demo/blobs/{digest}"), "*/*")).unwrap().replace(from, to);
        let described_digest = Sha256::of(described.as_bytes()).to_string();
        let manifest = manifest.to_string().replace(&digest, &described_digest);
        let index = index.to_string().replace(&old, &Sha256::of(manifest.as_bytes()).to_string()).replace(from, to);
        let proxy = Proxy::before(&address, move |request, _| {
            let answer = |body: &str| {
                let body = if request.line.starts_with("HEAD") { "" } else { body };
                Fault::status("200 OK", &format!("Docker-Content-Digest: {}\r\n", Sha256::of(index.as_bytes())), body)
            };
            match () {
                () if request.line.ends_with("manifests/1") || request.line.contains(&Sha256::of(index.as_bytes()).digits()) => {
                    answer(&index)
                }
                () if request.line.contains(&Sha256::of(manifest.as_bytes()).digits()) => answer(&manifest),
                () if request.line.contains(&described_digest) => answer(&described),
                () => Fault::None,
            }
        });
        refused(&mut world.pull(&format!("{}/demo:1", proxy.address)), &words);
        let layers = proxy.seen().iter().filter(|request| request.is_blob()).count();
        assert!(layers <= 1, "only the configuration is fetched: {layers}");
        assert!(store_is_empty(&world));
    }
}

#[test]
fn what_is_no_machine_of_ours_is_told() {
    let world = World::new();
    let image = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:0","size":2},"layers":[]}"#;
    let proxy = Proxy::before(&world.registry.address, move |request, _| match request.is_document() {
        true => Fault::status("200 OK", "", if request.line.starts_with("HEAD") { "" } else { image }),
        false => Fault::None,
    });
    let reference = format!("{}/alpine:3", proxy.address);
    // The program would make one of it.
    let context = Context::silent(Folders::below(&world.registry.at("library"), Path::new("")));
    let error = ensure(&context, &reference, &PullOptions::default()).unwrap_err();
    assert_eq!(error.kind(), "not-prebaked");
    assert!(error.to_string().contains("application/vnd.oci.image.config.v1+json"), "{error}");
    // Nor is a machine one that was never there.
    refused(&mut world.pull(&world.reference("none:1")), &["404"]);
    let output = run(world.prebake().args(["pull", "Not A Reference"]), b"");
    assert!(text(&output.stderr).contains("invalid image name"), "{}", text(&output.stderr));
}
