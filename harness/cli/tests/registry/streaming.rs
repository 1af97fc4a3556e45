//! A machine that runs while it is still on its way.

use super::common::pty::Session;
use super::common::serve::{Served, command};
use super::common::{machine_folder, made, prebake, scratch};
use super::files::files_below;
use super::proxy::{Fault, HttpRequest, Proxy};
use super::{World, document, get, paths, run, same, succeed, text};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use tempfile::TempDir;

/// What is asked for begins and ends with whole ones.
const GRAIN: u64 = 64 << 10;

/// A machine of an image and its snapshot, and what a registry has of them.
struct Pushed {
    files: [PathBuf; 2],
    /// Digest and size of each layer, by its kind.
    layers: BTreeMap<String, (String, u64)>,
    /// Bytes of snapshot and root up to the end of what is wanted first, in whole grains.
    first: BTreeMap<&'static str, u64>,
    /// The registry's folder.
    data: PathBuf,
}

fn pushed() -> &'static Pushed {
    static PUSHED: OnceLock<Pushed> = OnceLock::new();
    PUSHED.get_or_init(|| {
        let image = format!("oci:{}", made(Path::new("images/busybox"), "test-images").display());
        let (files, data) = ([scratch("busybox.wasm"), scratch("busybox.snap")], scratch("busybox.registry"));
        let verb = |verb: &str| {
            let mut command = prebake();
            command.env("PREBAKE_MACHINE", machine_folder()).arg(verb);
            command
        };
        succeed(verb("convert").args([&image, "--memory", "96", "-o"]).arg(&files[0]));
        succeed(verb("bake").arg(&files[0]).arg("-o").arg(&files[1]));
        let world = World::new();
        world.push("shell:1", &files.each_ref());
        let index = document(&world.registry.address, "shell", "1");
        let manifest = document(&world.registry.address, "shell", index["manifests"][0]["digest"].as_str().unwrap());
        let kind = |layer: &Value| {
            let kind = layer["mediaType"].as_str().unwrap().trim_start_matches("application/vnd.prebake.");
            let (digest, size) = (layer["digest"].as_str().unwrap(), layer["size"].as_u64().unwrap());
            (kind.split('.').next().unwrap().to_owned(), (digest.to_owned(), size))
        };
        let layers: BTreeMap<_, (String, u64)> = manifest["layers"].as_array().unwrap().iter().map(kind).collect();
        let config = manifest["config"]["digest"].as_str().unwrap();
        let config: Value = serde_json::from_slice(&get(&world.registry.address, &format!("/v2/shell/blobs/{config}"), "*/*")).unwrap();
        let whole = |bytes: &Value| bytes.as_u64().unwrap().next_multiple_of(GRAIN);
        let first = [("snapshot", &config["snapshot"]["first_bytes"]), ("root", &config["layers"]["root_first_bytes"])];
        let first = first.map(|(kind, bytes)| (kind, whole(bytes).min(layers[kind].1))).into();
        let _ = fs::remove_dir_all(&data);
        copy(&world.registry.at("data"), &data);
        Pushed { files, layers, first, data }
    })
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
}

impl Pushed {
    /// Whether a request is for what is wanted first, or a document.
    fn is_first(&self, kind: &str, request: &HttpRequest) -> bool {
        match kind {
            "config" | "metadata" => true,
            kind => self.first.get(kind).is_some_and(|first| start_of(request) < *first),
        }
    }

    fn kind_of(&self, request: &HttpRequest) -> Option<&str> {
        let of = |(_, (digest, _)): &(&String, &(String, u64))| request.is_blob() && request.line.contains(digest);
        self.layers.iter().find(of).map(|(kind, _)| kind.as_str())
    }
}

/// Where a request begins.
fn start_of(request: &HttpRequest) -> u64 {
    range_of(request).map_or(0, |range| range.0)
}

fn range_of(request: &HttpRequest) -> Option<(u64, u64)> {
    let (from, to) = request.range.as_deref()?.strip_prefix("bytes=")?.split_once('-')?;
    Some((from.parse().unwrap(), to.parse().unwrap()))
}

/// A user with nothing in their store, a registry, and what lies between them.
pub struct User {
    home: TempDir,
    pub world: World,
    proxy: Proxy,
}

impl User {
    /// `fault` is asked for each request for a layer, with the kind of it and how many there were before.
    pub fn behind(fault: impl Fn(&str, &HttpRequest, usize) -> Fault + Send + Sync + 'static) -> Self {
        let (pushed, world) = (pushed(), World::new());
        let _ = fs::remove_dir_all(world.registry.at("data"));
        copy(&pushed.data, &world.registry.at("data"));
        let proxy = Proxy::before(&world.registry.address, move |request, before| match pushed.kind_of(request) {
            Some(kind) => fault(kind, request, before),
            None => Fault::None,
        });
        Self { home: tempfile::tempdir().unwrap(), world, proxy }
    }

    fn reference(&self) -> String {
        format!("{}/shell:1", self.proxy.address)
    }

    pub fn prebake(&self, verb: &str) -> Command {
        let mut command = prebake();
        let home = self.home.path();
        command.env("PREBAKE_HOME", home.join("store")).env("PREBAKE_CONFIG", home.join("config")).env("DOCKER_CONFIG", home);
        command.env("PREBAKE_MACHINE", machine_folder()).arg(verb);
        command
    }

    fn hello(&self) -> Command {
        let mut command = self.prebake("run");
        command.arg(self.reference()).args(["--", "echo", "hello"]);
        command
    }

    fn says_hello(&self) {
        let output = succeed(&mut self.hello());
        assert_eq!(text(&output.stdout), "hello\n", "{}", text(&output.stderr));
    }

    /// A shell on a terminal, at its prompt.
    fn shell(&self, args: &[&str]) -> Session {
        let mut session = Session::start(self.prebake("run").args(args).arg(self.reference()));
        session.wait_for("# ");
        session
    }

    fn stored(&self) -> Vec<PathBuf> {
        files_below(&self.home.path().join("store/files"))
    }

    /// What was asked for of each layer.
    fn ranges(&self) -> BTreeMap<String, Vec<(u64, u64)>> {
        let mut ranges: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for request in self.proxy.seen() {
            if let Some(kind) = pushed().kind_of(&request) {
                let size = pushed().layers[kind].1;
                ranges.entry(kind.to_owned()).or_default().push(range_of(&request).unwrap_or((0, size - 1)));
            }
        }
        ranges
    }

    /// Checks that no byte was asked for twice, and pulls what is missing.
    fn pulls_the_rest(&self) {
        let pulled = paths(&succeed(self.prebake("pull").arg(self.reference())));
        assert!(same(&pushed().files[1], &pulled[1]));
        assert!(files_below(&self.home.path().join("store/partial")).iter().all(|path| path.extension().is_some()));
    }
}

/// Every range begins behind the end of the one before, but for those that go to the end of the layer because the rest was asked for.
fn asked_once(ranges: &BTreeMap<String, Vec<(u64, u64)>>) {
    for (kind, ranges) in ranges {
        let mut sorted = ranges.clone();
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| pair[0].1 < pair[1].0), "{kind}: {ranges:?}");
    }
}

#[test]
fn the_prompt_comes_before_all_of_the_machine_has() {
    let user = User::behind(|kind, _, _| if kind == "code" { Fault::Stall(0) } else { Fault::None });
    let mut session = user.shell(&[]);
    assert!(user.stored().is_empty());
    // It is killed, and the next run goes on with what has come.
    session.child.kill().unwrap();
    session.child.wait().unwrap();
    assert!(user.ranges()["snapshot"].iter().any(|range| range.0 == 0));
    let user = User { proxy: Proxy::before(&user.world.registry.address, |_, _| Fault::None), ..user };
    user.says_hello();
    let again = user.ranges();
    asked_once(&again);
    assert!(again.get("snapshot").is_none_or(|ranges| ranges.iter().all(|range| range.0 > 0)), "{again:?}");
    user.pulls_the_rest();
}

#[test]
fn what_is_wanted_first_is_asked_for_first_and_nothing_twice() {
    let user = User::behind(|_, _, _| Fault::Drip(32 << 10));
    user.says_hello();
    let asked = user.ranges();
    asked_once(&asked);
    assert!(asked["snapshot"][0].0 == 0 && asked["root"][0].0 == 0, "{asked:?}");
    assert!(!asked.contains_key("kernel") && !asked.contains_key("initramfs"));
    // All of it is in the store when the program has ended.
    assert_eq!(user.stored().len(), 2);
    user.pulls_the_rest();
}

/// What a rehearsal of the bake has seen the guest touch is what it touches, whatever the host's clock, its terminal and random numbers do to it. A rare page
/// apart, which depends on where programs happen to lie.
#[test]
fn the_prompt_comes_before_what_it_does_not_need() {
    let missed = |user: &User| {
        let ranges = user.ranges();
        for (kind, first) in &pushed().first {
            // What is wanted first comes by one request for each layer.
            assert_eq!(ranges[*kind][0], (0, first - 1), "{kind}: {ranges:?}");
        }
        // What is missed comes by shorter ranges than all else.
        let of_layer =
            |(kind, first): (&&str, &u64)| ranges[*kind].iter().filter(|(from, to)| from >= first && to - from < 2 * GRAIN).count();
        pushed().first.iter().map(of_layer).sum::<usize>()
    };
    let launches = (0..4).map(|_| {
        let user = User::behind(|kind, _, _| if kind == "code" { Fault::Stall(0) } else { Fault::None });
        let mut session = user.shell(&[]);
        session.child.kill().unwrap();
        session.child.wait().unwrap();
        missed(&user)
    });
    let launches: Vec<usize> = launches.collect();
    assert!(launches.contains(&0), "{launches:?}");
}

#[test]
fn one_request_brings_all_documents_and_nothing_waits_for_signatures() {
    let user = User::behind(|_, _, _| Fault::None);
    user.says_hello();
    let asked: Vec<String> = user.proxy.seen().into_iter().map(|request| request.line).collect();
    assert_eq!(asked[0], "GET /v2/shell/manifests/1");
    let of_documents = |line: &&String| line.contains("/manifests/") || line.contains(&pushed().layers["config"].0);
    let documents: Vec<&String> = asked.iter().filter(of_documents).collect();
    assert!(matches!(documents[..], [_, signatures] if signatures.ends_with(".sig")), "{asked:?}");
    assert!(!asked.iter().any(|line| line.ends_with("/v2/")), "{asked:?}");
    user.pulls_the_rest();
}

#[test]
fn a_machine_can_be_left_while_it_waits_for_what_does_not_come() {
    let is_at_prompt = Arc::new(AtomicBool::new(false));
    let user = User::behind({
        let is_at_prompt = is_at_prompt.clone();
        move |kind, request, _| match is_at_prompt.load(Ordering::Relaxed) && !pushed().is_first(kind, request) {
            true => Fault::Stall(0),
            false => Fault::Drip(4096),
        }
    });
    let mut session = user.shell(&[]);
    is_at_prompt.store(true, Ordering::Relaxed);
    session.type_in("find / -xdev -type f -exec cat {} + | wc -c\r");
    session.wait_for("has not come from the registry yet");
    session.type_in("\x01x");
    assert_eq!(session.end().code(), Some(0));
}

#[test]
fn a_registry_without_ranges_sends_all_of_a_layer() {
    let user = User::behind(|_, _, _| Fault::NoRanges);
    user.says_hello();
    user.pulls_the_rest();
}

#[test]
fn a_connection_that_breaks_is_made_again() {
    let user = User::behind(|_, _, before| if before % 3 < 2 { Fault::Cut(100_000) } else { Fault::None });
    user.says_hello();
    user.pulls_the_rest();
}

#[test]
fn a_flipped_bit_is_neither_run_nor_kept() {
    for (layer, at) in [("snapshot", 20), ("snapshot", 1000), ("snapshot", 100_000), ("root", 70), ("root", 3000), ("metadata", 10)] {
        let user = User::behind(move |kind, request, before| match kind == layer && before == 0 && start_of(request) == 0 {
            true => Fault::Flip(at),
            false => Fault::None,
        });
        let output = run(&mut user.hello(), b"");
        assert_eq!(output.status.code(), Some(125), "{layer} {at}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{layer} {at}");
        // It has come anew by then, or does so for the next run.
        user.says_hello();
        user.pulls_the_rest();
    }
}

#[test]
fn a_layer_that_is_not_there_is_an_error_if_it_is_needed() {
    let gone = |layer: &'static str| {
        User::behind(move |kind, _, _| if kind == layer { Fault::status("404 Not Found", "", "") } else { Fault::None })
    };
    for layer in ["snapshot", "root"] {
        let output = run(&mut gone(layer).hello(), b"");
        assert!(output.status.code() == Some(125) && text(&output.stderr).contains("404"), "{layer}: {}", text(&output.stderr));
    }
    gone("kernel").says_hello();
}

/// How a registry answers a request for a part of a layer, as it should not.
type Lie = fn(&HttpRequest, &Arc<AtomicU64>) -> Fault;

fn part(from: u64, to: u64) -> String {
    format!("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{to}/*\r\nConnection: close\r\n\r\n")
}

const LIES: [(&str, Lie); 8] = [
    ("another part", |request, _| {
        let (from, to) = range_of(request).unwrap();
        Fault::Answer([part(from + 1, to + 1).into_bytes(), vec![0; 100]].concat())
    }),
    ("no part", |_, _| Fault::status("206 Partial Content", "", "text")),
    ("a part without end", |request, taken| {
        let (from, to) = range_of(request).unwrap();
        Fault::Flood(part(from, to), taken.clone())
    }),
    ("all of it, without end", |_, taken| Fault::Flood("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".into(), taken.clone())),
    ("something else", |request, _| {
        let (from, to) = range_of(request).unwrap();
        Fault::Answer([part(from, to).into_bytes(), vec![0x5a; (to - from + 1) as usize]].concat())
    }),
    ("a circle", |_, _| Fault::status("307 Temporary Redirect", "Location: ?again\r\n", "")),
    ("a file of this host", |_, _| Fault::status("302 Found", "Location: file:///etc/passwd\r\n", "")),
    ("no such part", |_, _| Fault::status("416 Range Not Satisfiable", "", "")),
];

#[test]
fn whatever_a_registry_answers_nothing_of_it_is_run_or_kept() {
    let tries = LIES.map(|(name, lie)| {
        std::thread::spawn(move || {
            let taken = Arc::new(AtomicU64::new(0));
            let count = taken.clone();
            let user = User::behind(move |kind, request, _| if kind == "snapshot" { lie(request, &count) } else { Fault::None });
            let output = run(&mut user.hello(), b"");
            let message = text(&output.stderr);
            assert!(output.status.code() == Some(125) && output.stdout.is_empty(), "{name}: {message}");
            assert!(!message.contains("root:") && user.stored().is_empty(), "{name}: {message}");
            assert!(taken.load(Ordering::Relaxed) < 64 << 20, "{name}: {taken:?} bytes were taken");
            // Nor is anything left of it that another run would trip over.
            let user = User { proxy: Proxy::before(&user.world.registry.address, |_, _| Fault::None), ..user };
            user.says_hello();
        })
    });
    tries.into_iter().for_each(|tried| tried.join().unwrap());
}

#[test]
fn an_address_that_the_registry_gives_for_a_layer_is_used_once() {
    let (place, number) = (Arc::new(OnceLock::<String>::new()), AtomicUsize::new(0));
    let user = User::behind({
        let place = place.clone();
        move |_, request, _| {
            let (path, number) = (request.line.trim_start_matches("GET "), number.fetch_add(1, Ordering::Relaxed));
            let location = format!("Location: http://{}{path}?signature={number}\r\n", place.get().unwrap());
            Fault::status("307 Temporary Redirect", &location, "")
        }
    });
    let storage = Proxy::before(&user.world.registry.address, |_, before| match before {
        0 => Fault::None,
        _ => Fault::status("403 Forbidden", "", "the address has expired"),
    });
    place.set(storage.address.clone()).unwrap();
    user.says_hello();
    assert!(!storage.seen().is_empty());
    user.pulls_the_rest();
}

#[test]
fn a_session_that_began_before_its_machine_had_come_is_saved() {
    let user = User::behind(|_, _, _| Fault::Drip(64 << 10));
    let mut session = user.shell(&[]);
    session.type_in("echo kept >/root/file; echo do''ne\r");
    session.wait_for("\r\ndone\r\n");
    session.type_in("\x01x");
    session.wait_for("saved session");
    assert_eq!(session.end().code(), Some(0));
    assert_eq!(user.stored().len(), 2);
    let mut session = user.shell(&["--offline"]);
    session.type_in("cat /root/file\r");
    session.wait_for("\r\nkept\r\n");
    session.type_in("\x01x");
    assert_eq!(session.end().code(), Some(0));
}

/// Neither the end of the program that started it nor a request to stop gives up what a session stands on.
#[test]
fn a_session_that_is_served_is_saved_once_its_machine_has_come() {
    for is_stopped in [false, true] {
        let user = User::behind(|_, _, _| Fault::Drip(64 << 10));
        let serve = || Served::of(command(&user.home.path().join("store"), &[]).env("DOCKER_CONFIG", user.home.path()));
        let spec = json!({ "image": user.reference(), "terminal": { "columns": 80, "rows": 24 } });
        let start = json!({ "machine": 1, "spec": spec });
        let mut served = serve();
        served.call("start", start.clone());
        served.wait_for_text(1, "# ");
        served.ask_shell(1, "echo kept >/root/file; echo done", "done");
        assert!(user.stored().is_empty(), "all of it has come: this shows nothing");
        if is_stopped {
            served.call("stop", json!({ "machine": 1 }));
            assert_eq!(served.ended(1)["ending"], "stopped");
        } else {
            assert_eq!(served.leave().code(), Some(0));
            let ended = served.ended(1);
            assert!(ended["ending"] == "signalled" && ended["saved"]["pages"].as_u64() > Some(0), "{ended}");
        }
        let mut served = serve();
        served.call("start", start);
        served.ask_shell(1, "cat /root/file", "kept");
    }
}
