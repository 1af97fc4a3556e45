//! The forms that layers and archives come in, and files that are neither.

use super::builder::{COMPRESSIONS, Compression, Layer, Layout, archive, compress, docker_archive};
use super::common::{machine_folder, prebake, run, succeed, text};
use super::{is_refused, listing, read, read_with, written};
use prebake::make::image::limits::Limits;
use std::fs;
use std::path::Path;

fn layers() -> [Vec<u8>; 2] {
    [Layer::new().file("a", &"1".repeat(100_000)).symlink("b", "a").done(), Layer::new().file("c", "2").link("d", "a").done()]
}

#[test]
fn layers_of_every_compression_give_the_same_root() {
    let roots = COMPRESSIONS.map(|compression| {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        layout.index(&[layout.image(&layers(), compression, |_| ())]);
        written(&read(&layout.0).unwrap_or_else(|error| panic!("{error}")))
    });
    assert!(roots.iter().all(|root| *root == roots[0]));
}

#[test]
fn archives_of_every_compression_give_the_same_root() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(&folder.path().join("layout"));
    layout.index(&[layout.image(&layers(), Compression::Gzip, |_| ())]);
    let wanted = written(&read(&layout.0).unwrap());
    let saved = folder.path().join("saved.tar");
    docker_archive(&saved, &["x:1"], &layers());
    for original in [archive(&layout.0), saved] {
        for compression in COMPRESSIONS {
            // The name says nothing.
            let path = folder.path().join("archive");
            fs::write(&path, compress(&fs::read(&original).unwrap(), compression)).unwrap();
            assert!(written(&read(&path).unwrap()) == wanted);
        }
    }
}

#[test]
fn a_compressed_archive_is_no_bomb() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.tar.zst");
    fs::write(&path, compress(&vec![0; 64 << 20], Compression::Zstd)).unwrap();
    let limits = Limits { unpacked: 32 << 20, ..Limits::default() };
    is_refused(read_with(path.to_str().unwrap(), limits), "image-too-much", &["33554432 bytes"]);
}

#[test]
fn compressions_that_are_not_known_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(&folder.path().join("layout"));
    for (start, word) in [(&b"\x04\x22\x4d\x18rest"[..], "lz4"), (b"LZIP\x01", "lzip"), (b"\x1f\x9d\x90", "compress")] {
        layout.index(&[layout.image(&[start.to_vec()], Compression::None, |_| ())]);
        is_refused(read(&layout.0), "image-compression", &["layer 1 is compressed with", word, "gzip, zstd, xz or bzip2"]);
        let path = folder.path().join("a.tar");
        fs::write(&path, start).unwrap();
        is_refused(read(&path), "image-compression", &["a.tar is compressed with", word]);
    }
    // Known, but cut off.
    for compression in [Compression::Gzip, Compression::Zstd, Compression::Xz, Compression::Bzip2] {
        let path = folder.path().join("short.tar");
        let bytes = compress(&Layer::new().file("a", &"1".repeat(5000)).done(), compression);
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        is_refused(read(&path), "image-compression", &["short.tar"]);
    }
}

#[test]
fn files_that_are_no_archives_are_called_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.tar");
    let page = format!("<!DOCTYPE html>\n<html><title>Sign in</title>{}</html>", " ".repeat(2000));
    let passwd = "root:x:0:0:root:/root:/bin/sh\n".repeat(40);
    for (content, words) in [
        (page.as_bytes(), ["image.tar is not a tar archive", "an HTML page"]),
        (b"<html>short", ["image.tar is not a tar archive", "an HTML page"]),
        (passwd.as_bytes(), ["a text file", "root:x:0:0"]),
        (b"no archive", ["a text file", "no archive"]),
        (&fs::read("/proc/self/exe").unwrap(), ["a program", "ELF"]),
        (&[7; 5000], ["something else", "[07, 07"]),
        (b"", ["neither an index.json nor", "manifest.json"]),
        (&Layer::new().file("etc/passwd", "").file("bin/sh", "").done(), ["a root file system", "pass the folder"]),
        (&Layer::new().file("repositories", "{}").done(), ["before version 1.10", "save it"]),
    ] as [(&[u8], [&str; 2]); 9]
    {
        fs::write(&path, content).unwrap();
        is_refused(read(&path), "not-an-image", &words);
        // Compressed, too.
        fs::write(&path, compress(content, Compression::Gzip)).unwrap();
        is_refused(read(&path), "not-an-image", &words);
    }
    let layout = Layout::new(&folder.path().join("layout"));
    layout.index(&[layout.image(&[passwd.into_bytes()], Compression::Gzip, |_| ())]);
    is_refused(read(&layout.0), "not-an-image", &["layer 1 is not a tar archive", "a text file"]);
    is_refused(read_with(&format!("docker-archive:{}", folder.path().display()), Limits::default()), "not-an-image", &["a folder"]);
}

#[test]
fn an_archive_may_come_through_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved.tar");
    docker_archive(&saved, &["x:1"], &layers());
    let bytes = fs::read(&saved).unwrap();
    let convert = |name: &str, input: &[u8]| {
        let path = folder.path().join("machine.wasm");
        let output = run(prebake().env("PREBAKE_MACHINE", machine_folder()).arg("convert").arg(name).arg("-o").arg(&path), input);
        assert!(output.status.success(), "{}", text(&output.stderr));
        fs::read(path).unwrap()
    };
    let wanted = convert(saved.to_str().unwrap(), b"");
    assert!(convert("-", &bytes) == wanted);
    assert!(convert("docker-archive:-:x:1", &compress(&bytes, Compression::Gzip)) == wanted);
    // From a file that is standard input, and from a pipe with a name.
    let mut shell = std::process::Command::new("sh");
    let program = env!("CARGO_BIN_EXE_prebake");
    let script = "\"$1\" convert - -o \"$2/file.wasm\" <\"$3\" && mkfifo \"$2/pipe\" && { cat \"$3\" >\"$2/pipe\" & \"$1\" convert \"$2/pipe\" -o \"$2/pipe.wasm\"; }";
    succeed(shell.env("PREBAKE_MACHINE", machine_folder()).args(["-c", script, "-", program]).arg(folder.path()).arg(&saved));
    let made = |name: &str| fs::read(folder.path().join(name)).unwrap();
    assert!(made("file.wasm") == wanted && made("pipe.wasm") == wanted);
    let output =
        run(prebake().env("PREBAKE_MACHINE", machine_folder()).args(["convert", "-", "-o"]).arg(folder.path().join("x.wasm")), b"<html>");
    assert!(text(&output.stderr).contains("standard input is not a tar archive: it is an HTML page"), "{}", text(&output.stderr));
    assert!(!Path::new("x.wasm").exists());
}

#[test]
fn an_image_without_layers_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved.tar");
    let config = r#"{"architecture":"amd64","os":"linux","rootfs":{"diff_ids":null}}"#;
    let archive = Layer::new().file("c.json", config).file("manifest.json", r#"[{"Config":"c.json","RepoTags":null,"Layers":null}]"#);
    fs::write(&saved, archive.done()).unwrap();
    assert!(listing(&read(&saved).unwrap()).is_empty());
}
