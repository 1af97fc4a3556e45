//! From a container image to the file of a machine: reading its layers, writing the root file system, packing.

use criterion::{Criterion, Throughput};
use prebake::artifact::{MachineSize, PartInput, PartKind, pack};
use prebake::context::{Context, Folders};
use prebake::distribution::oci::Sha256;
use prebake::make::image::{Name, erofs, limits::Limits, read};
use std::io::{Cursor, copy, sink};
use std::path::Path;
use tar::{Builder, Header};

/// A compiled module, of the library's tests.
const CODE: &[u8] = include_bytes!("../../harness/tests/data/payload.aot");
const SIZE: MachineSize = MachineSize { pages: 64, ram_size: 2 << 20 };
/// Files as in a distribution: many small ones, a few large ones.
const FILES: [(usize, usize); 2] = [(1000, 4 << 10), (8, 1 << 20)];

/// Runs the benchmarks of this subject.
pub fn measure(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("image.tar");
    let layer = layer();
    std::fs::write(&archive, docker_archive(&layer)).unwrap();
    let name = Name::parse(&format!("docker-archive:{}", archive.display())).unwrap();
    let context = Context::silent(Folders::below(folder.path(), folder.path()));
    let image = || read(&name, folder.path(), Limits::default(), &context).unwrap();

    let mut group = criterion.benchmark_group("packing");
    group.throughput(Throughput::Bytes(layer.len() as u64));
    group.bench_function("read an image", |bencher| bencher.iter(image));
    let image = image();
    group.bench_function("write the root file system", |bencher| {
        bencher.iter(|| {
            let root = erofs::Filesystem::of(&image.tree, u64::MAX).unwrap();
            copy(&mut root.reader(&image.tree, &image.spool), &mut sink()).unwrap()
        });
    });
    let root = erofs::Filesystem::of(&image.tree, u64::MAX).unwrap();
    group.bench_function("pack a machine", |bencher| {
        bencher.iter(|| {
            let part = PartInput::new(PartKind::Root, root.length(), root.reader(&image.tree, &image.spool));
            let mut output = Cursor::new(Vec::new());
            pack(CODE, SIZE, vec![part], &mut output).unwrap();
            output.into_inner()
        });
    });
    group.finish();
}

/// A layer: a tar archive.
fn layer() -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (count, size) in FILES {
        for number in 0..count {
            let path = Path::new("usr/share").join((number % 50).to_string()).join(format!("{number}-{size}"));
            let content: Vec<u8> = (0..size).map(|at| (((at * at) >> 7) ^ number) as u8).collect();
            append(&mut builder, &path, &content);
        }
    }
    builder.into_inner().unwrap()
}

/// An image of one layer, as `docker save` writes it.
fn docker_archive(layer: &[u8]) -> Vec<u8> {
    let digest = Sha256::of(layer);
    let config = format!(r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{digest}"]}}}}"#);
    let mut builder = Builder::new(Vec::new());
    append(&mut builder, Path::new("manifest.json"), br#"[{"Config":"config.json","Layers":["layer.tar"]}]"#);
    append(&mut builder, Path::new("config.json"), config.as_bytes());
    append(&mut builder, Path::new("layer.tar"), layer);
    builder.into_inner().unwrap()
}

fn append(builder: &mut Builder<Vec<u8>>, path: &Path, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, path, content).unwrap();
}
