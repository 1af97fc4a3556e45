//! A folder that cannot be written is no reason to fail; and what a machine's file says itself, nobody has to remember.

use super::common::{machine_folder, prebake, succeed, text};
use super::network::put_image;
use super::{World, files, paths, refused, same};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Below something that is no folder nothing can be made, not even by root.
const NOWHERE: &str = "/dev/null/prebake";

fn run_box(world: &World, program: &mut Command) -> String {
    let reference = world.reference("box:1");
    let output =
        succeed(program.arg("run").args([&reference, "--", "/bin/busybox", "echo", "here"]).env("PREBAKE_MACHINE", machine_folder()));
    assert_eq!(text(&output.stdout), "here\n");
    text(&output.stderr)
}

#[test]
fn a_run_works_without_a_store_a_cache_and_a_configuration() {
    let world = World::new();
    put_image(&world.registry, "box:1");
    let mut program = world.prebake();
    let said = run_box(&world, program.env("PREBAKE_HOME", NOWHERE).env("PREBAKE_CACHE", NOWHERE).env("PREBAKE_CONFIG", NOWHERE));
    for what in ["note: the cache /dev/null/prebake cannot be written", "note: the store /dev/null/prebake cannot be written"] {
        assert_eq!(said.matches(what).count(), 1, "{said}");
    }
    // Not even a home is needed.
    let mut program = world.prebake();
    for name in ["PREBAKE_HOME", "PREBAKE_CACHE", "PREBAKE_CONFIG", "HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"] {
        program.env_remove(name);
    }
    let said = run_box(&world, &mut program);
    assert!(said.contains("note: there is no store") && said.contains("note: there is no cache"), "{said}");
    // What is to be kept needs a place.
    refused(world.pull(&world.reference("box:1")).env("PREBAKE_HOME", NOWHERE), &["no store"]);
    let session = ["run", "--session", "x"];
    refused(world.prebake().args(session).arg(world.reference("box:1")).env("PREBAKE_HOME", NOWHERE), &["no store"]);
}

#[test]
fn a_store_that_cannot_be_written_serves_what_it_has() {
    let world = World::new();
    put_image(&world.registry, "box:1");
    run_box(&world, &mut world.prebake());
    let before = files::files_below(&world.store());
    // A file system that is read-only, even for root.
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"";
    let mut program = Command::new("unshare");
    program.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "-"]).arg(world.store()).arg(env!("CARGO_BIN_EXE_prebake"));
    program.arg("run").arg("--offline").arg(world.reference("box:1")).args(["--", "/bin/busybox", "echo", "here"]);
    let output = succeed(program.envs(world.prebake().get_envs().filter_map(|(name, value)| Some((name, value?)))));
    assert_eq!(text(&output.stdout), "here\n");
    let said = text(&output.stderr);
    assert!(said.contains("note: the store") && !said.contains("converting") && !said.contains("boots once"), "{said}");
    assert_eq!(files::files_below(&world.store()), before);
}

#[test]
fn a_list_of_trusted_keys_that_others_can_write_counts_for_nothing() {
    let world = World::new();
    let files = world.pushed("demo:1");
    let reference = world.reference("demo:1");
    let repository = world.reference("demo");
    succeed(world.prebake().args(["trust", "add", &repository]));
    assert!(text(&succeed(&mut world.pull(&reference)).stderr).contains("is trusted"));
    fs::set_permissions(world.registry.at("config/trust.json"), PermissionsExt::from_mode(0o666)).unwrap();
    let output = succeed(&mut world.pull(&reference));
    let said = text(&output.stderr);
    assert!(said.contains("other users can write") && said.contains("nothing counts as trusted") && !said.contains("is trusted"), "{said}");
    assert!(same(&files[0], &paths(&output)[0]));
    refused(world.prebake().args(["trust", "list"]), &["other users can write"]);
}

fn inspected(path: &Path) -> Value {
    serde_json::from_slice(&succeed(prebake().args(["inspect", "--json", "--verify"]).arg(path)).stdout).unwrap()
}

#[test]
fn compiled_code_says_what_processor_it_is_for() {
    let world = World::new();
    let wasm = files::machine(world.folder(), "demo.wasm", b"kernel");
    // Compiled by someone who keeps nothing of it.
    let aot = world.registry.at("demo.aot");
    let mut compile = world.prebake();
    compile.env("PREBAKE_MACHINE", machine_folder()).env("PREBAKE_CACHE", NOWHERE).arg("aot").arg(&wasm).arg("-o").arg(&aot);
    let said = text(&succeed(compile.args(["--host-cpu", "x86-64-v3"])).stderr);
    assert!(said.contains("note: the cache"), "{said}");
    assert_eq!(inspected(&aot)["cpu"], "x86-64-v3");
    let listed = text(&succeed(prebake().arg("inspect").arg(&aot)).stdout);
    assert!(listed.contains("processor  x86-64-v3, or better"), "{listed}");
    assert_eq!(inspected(&wasm)["cpu"], Value::Null);

    let push = |file: &Path, options: &[&str]| {
        let mut command = world.prebake();
        command.arg("push").args(options).arg(world.reference("demo:1")).arg(file);
        command
    };
    succeed(&mut push(&aot, &[]));
    let index = super::document(&world.registry.address, "demo", "1");
    let manifest = super::document(&world.registry.address, "demo", index["manifests"][0]["digest"].as_str().unwrap());
    let digest = manifest["config"]["digest"].as_str().unwrap();
    let config: Value = serde_json::from_slice(&super::get(&world.registry.address, &format!("/v2/demo/blobs/{digest}"), "*/*")).unwrap();
    assert_eq!(config["code"]["cpu"], "x86-64-v3");
    refused(&mut push(&aot, &["--host-cpu", "x86-64-v2"]), &["was compiled for x86-64-v3, not for x86-64-v2"]);
    succeed(&mut push(&aot, &["--host-cpu", "generic"]));
    // A file from before that asks the user, as it did.
    let old = files::machine(world.folder(), "old.aot", b"kernel");
    assert_eq!(inspected(&old)["cpu"], Value::Null);
    refused(&mut push(&old, &[]), &["does not say what processor", "--host-cpu", "x86-64-v2, x86-64-v3"]);
    succeed(&mut push(&old, &["--host-cpu", "x86-64-v2"]));
}

#[test]
fn code_for_another_processor_is_not_pulled() {
    let world = World::new();
    let newer = files::machine_for(world.folder(), "newer.aot", "x86-64-v9");
    assert_eq!(inspected(&newer)["cpu"], "x86-64-v9");
    succeed(world.prebake().arg("push").arg(world.reference("newer:1")).arg(&newer));
    refused(&mut world.pull(&world.reference("newer:1")), &["needs the unknown processor x86-64-v9"]);
}
