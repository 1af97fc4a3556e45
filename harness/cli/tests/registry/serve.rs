//! `prebake serve` and a registry.

use super::World;
use super::common::serve::{Served, command};
use super::files::{files_below, machine};
use super::proxy::{Fault, Proxy};
use serde_json::json;
use std::path::Path;

fn serve(world: &World, args: &[&str]) -> Served {
    Served::of(command(&world.store(), args).env("DOCKER_CONFIG", world.folder()))
}

#[test]
fn a_program_pulls_with_progress_and_sees_a_tag_move() {
    let world = World::new();
    world.pushed("demo:1");
    let mut served = serve(&world, &[]);
    let reference = world.reference("demo:1");
    let ask = json!({ "reference": reference });
    let id = served.ask("ensure", ask.clone());
    let progress = served.wait_for(|message| message["method"] == "progress");
    assert_eq!((&progress["params"]["id"], &progress["params"]["task"]), (&id.into(), &"pull".into()));
    let first = served.answer(id).unwrap();
    assert!([&first["machine"], &first["snapshot"]].iter().all(|path| Path::new(path.as_str().unwrap()).exists()));
    assert_eq!(first["reference"], *reference);
    assert_eq!(served.call("ensure", ask.clone()), first);
    assert_eq!(served.call("images", json!({}))["images"][0]["digest"], first["digest"]);
    // What this process was given stays while it runs, though nothing names it any more.
    world.push("demo:1", &[&machine(world.folder(), "moved.wasm", b"other kernel")]);
    let second = served.call("ensure", ask.clone());
    assert!(second["digest"] != first["digest"] && second["machine"] != first["machine"]);
    // A machine that was not pre-baked has no snapshot.
    assert!(second["snapshot"].is_null(), "{second}");
    assert_eq!(served.call("ensure", json!({ "reference": reference, "offline": true })), second);
    assert_eq!(served.call("prune", json!({ "references": [reference] }))["files"], 3);
    assert_eq!(served.refused("ensure", json!({ "reference": reference, "offline": true })), "not-in-store");
}

/// Cancelling does not wait for what may never come.
#[test]
fn a_pull_that_is_cancelled_goes_on_where_it_was() {
    let world = World::new();
    world.pushed("demo:1");
    let proxy = Proxy::before(&world.registry.address, |request, before| match request.is_blob() && before == 0 {
        // Blobs shorter than that come whole.
        true => Fault::Stall(70_000),
        false => Fault::None,
    });
    let mut served = serve(&world, &[]);
    let ask = json!({ "reference": format!("{}/demo:1", proxy.address) });
    let id = served.ask("ensure", ask.clone());
    // Progress is told now and then; that all has come that will come, the file shows.
    let is_stuck =
        || files_below(&world.store().join("partial")).iter().any(|file| file.metadata().is_ok_and(|found| found.len() == 70_000));
    while !is_stuck() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    served.call("cancel", json!({ "id": id }));
    assert_eq!(served.answer(id).unwrap_err()["data"]["kind"], "cancelled");
    served.call("ensure", ask);
    let ranges: Vec<_> = proxy.seen().into_iter().filter_map(|request| request.range).collect();
    assert_eq!(ranges, ["bytes=70000-"]);
}

/// A static program on Android cannot look up names, but the app that started it can.
#[test]
fn names_are_looked_up_by_the_program() {
    let world = World::new();
    world.pushed("demo:1");
    let port = world.registry.address.rsplit(':').next().unwrap();
    let mut served = serve(&world, &["--resolve", "--plain-http"]);
    served.names = vec![("registry.prebake.example".into(), "127.0.0.1".into())];
    let reference = format!("registry.prebake.example:{port}/demo:1");
    let pulled = served.call("ensure", json!({ "reference": reference }));
    assert_eq!((&pulled["reference"], &served.asked[0]), (&reference.into(), &"registry.prebake.example".to_owned()));
    assert_eq!(served.refused("ensure", json!({ "reference": format!("other.prebake.example:{port}/demo:1") })), "registry-unreachable");
    assert_eq!(served.asked.last().unwrap(), "other.prebake.example");
}
