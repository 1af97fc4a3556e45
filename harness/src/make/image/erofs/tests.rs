//! Whatever tree goes in comes out of another program's reader, and none of the format's own checker has anything to say.

use super::*;
use crate::make::image::archive::Segment;
use crate::make::image::limits::Limits;
use crate::make::image::spool::Content;
use crate::make::image::tree::{Attributes, Inode, Node};
use erofs_rs::EroFS;
use erofs_rs::backend::SliceImage;
use proptest::prelude::*;
use rustix::fs::FileType;
use std::collections::BTreeMap;
use std::io::Write;

fn spool() -> Spool {
    Spool::new(&std::env::temp_dir(), Limits::default()).unwrap()
}

fn written(tree: &Tree, spool: &Spool) -> Vec<u8> {
    let image = Filesystem::of(tree, u64::MAX).unwrap();
    let mut bytes = Vec::new();
    image.reader(tree, spool).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, image.length());
    bytes
}

/// A file system as a list: path, permissions, owner, time, names, attributes, kind and content.
type Listed = BTreeMap<Vec<u8>, (u32, u32, u32, (i64, u32), u32, BTreeMap<Vec<u8>, Vec<u8>>, Shown)>;

#[derive(Debug, Clone, PartialEq)]
enum Shown {
    Folder,
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Device(FileType, Option<(u32, u32)>),
}

fn content_of(content: &Content, spool: &Spool) -> Vec<u8> {
    let mut bytes = vec![0; content.size as usize];
    for extent in &content.extents {
        let mut at = extent.offset as usize;
        let end = at + extent.length as usize;
        while at < end {
            at += spool.read_at(&mut bytes[at..end], extent.at + (at as u64 - extent.offset)).unwrap();
        }
    }
    bytes
}

/// What is wanted.
fn list(tree: &Tree, spool: &Spool) -> Listed {
    let mut links = BTreeMap::new();
    let mut ahead = vec![(Vec::new(), ROOT)];
    let mut found = Vec::new();
    while let Some((path, id)) = ahead.pop() {
        *links.entry(id).or_insert(0) += 1;
        if let Node::Folder(names) = &tree.inode(id).node {
            *links.entry(id).or_insert(0) +=
                1 + names.values().filter(|name| matches!(tree.inode(name.id).node, Node::Folder(_))).count() as u32;
            ahead.extend(names.iter().map(|(name, found)| ([&path[..], b"/", name].concat(), found.id)));
        }
        found.push((path, id));
    }
    let show = |node: &Node| match node {
        Node::Folder(_) => Shown::Folder,
        Node::File(content) => Shown::File(content_of(content, spool)),
        Node::Symlink(target) => Shown::Symlink(target.clone()),
        Node::Character(major, minor) => Shown::Device(FileType::CharacterDevice, Some((*major, *minor))),
        Node::Block(major, minor) => Shown::Device(FileType::BlockDevice, Some((*major, *minor))),
        Node::Fifo => Shown::Device(FileType::Fifo, None),
        Node::Socket => Shown::Device(FileType::Socket, None),
    };
    let row = |(path, id): (Vec<u8>, Id)| {
        let Inode { attributes, node } = tree.inode(id);
        let Attributes { mode, uid, gid, mtime, extended } = attributes.clone();
        (path, (mode, uid, gid, mtime, links[&id], extended, show(node)))
    };
    found.into_iter().map(row).collect()
}

/// What another program's reader finds.
fn read_back(bytes: &[u8]) -> Listed {
    use std::os::unix::fs::PermissionsExt;
    let system = EroFS::new(SliceImage::new(bytes)).unwrap();
    let mut found = Listed::new();
    let root = system.get_inode(system.super_block().root_inode_id()).unwrap();
    let mut inodes = vec![(Vec::new(), root)];
    inodes.extend(system.walk_dir("/").unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.dir_entry.path().as_bytes().to_vec(), entry.inode)
    }));
    for (path, inode) in inodes {
        let shown = match inode.file_type() {
            FileType::Directory => Shown::Folder,
            FileType::RegularFile => {
                let mut content = Vec::new();
                system.open_inode_file(inode).unwrap().read_to_end(&mut content).unwrap();
                Shown::File(content)
            }
            FileType::Symlink => Shown::Symlink(system.read_link_inode(inode).unwrap().as_bytes().to_vec()),
            kind => Shown::Device(kind, inode.device()),
        };
        let mode = inode.permissions().mode() & 0o7777;
        let extended = system.xattrs_inode(inode).unwrap();
        let row = (mode, inode.uid(), inode.gid(), inode.modified_unix(), inode.nlink(), extended, shown);
        assert!(found.insert(path, row).is_none());
    }
    found
}

/// What the format's own checker says. It reads everything.
fn check(bytes: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let output =
        std::process::Command::new("fsck.erofs").args(["-d3", "--extract"]).arg(file.path()).output().expect("run `make packages` first");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("No errors found"), "{said}");
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let names = prop::sample::select(vec![
        &b"user.a"[..],
        b"user.\xff",
        b"trusted.b",
        b"security.capability",
        b"system.posix_acl_access",
        b"system.posix_acl_default",
    ]);
    let extended = prop::collection::btree_map(names.prop_map(<[u8]>::to_vec), prop::collection::vec(any::<u8>(), 0..300), 0..4);
    (0..0o10000_u32, any::<u32>(), any::<u32>(), any::<i64>(), 0..1_000_000_000_u32, extended)
        .prop_map(|(mode, uid, gid, seconds, nanoseconds, extended)| Attributes { mode, uid, gid, mtime: (seconds, nanoseconds), extended })
}

#[derive(Debug, Clone)]
enum GeneratedNode {
    Folder,
    /// Runs of a byte.
    File(Vec<(u8, usize)>),
    Node(Node),
    /// Another name of what was made before.
    Link(prop::sample::Index),
}

fn made() -> impl Strategy<Value = GeneratedNode> {
    let run = (prop::sample::select(vec![0_u8, 0, 1]), 0..150_000_usize);
    prop_oneof![
        3 => Just(GeneratedNode::Folder),
        3 => prop::collection::vec(run, 0..4).prop_map(GeneratedNode::File),
        2 => prop::collection::vec(1..=255_u8, 1..3000).prop_map(|target| GeneratedNode::Node(Node::Symlink(target))),
        1 => (0..4096_u32, 0..1_048_576_u32).prop_map(|(major, minor)| GeneratedNode::Node(Node::Character(major, minor))),
        1 => (0..4096_u32, 0..1_048_576_u32).prop_map(|(major, minor)| GeneratedNode::Node(Node::Block(major, minor))),
        1 => prop::sample::select(vec![Node::Fifo, Node::Socket]).prop_map(GeneratedNode::Node),
        2 => any::<prop::sample::Index>().prop_map(GeneratedNode::Link),
    ]
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'a'), Just(b'!'), Just(b'.'), 1..=255_u8];
    prop::collection::vec(byte.prop_filter("no slash", |byte| *byte != b'/'), 1..30)
        .prop_filter("a name", |name| name != b"." && name != b"..")
}

fn trees() -> impl Strategy<Value = Vec<(prop::sample::Index, Vec<u8>, Attributes, GeneratedNode)>> {
    prop::collection::vec((any::<prop::sample::Index>(), name(), attributes(), made()), 0..40)
}

/// Builds a tree; what cannot be is left out.
fn grow(steps: &[(prop::sample::Index, Vec<u8>, Attributes, GeneratedNode)], spool: &mut Spool) -> Tree {
    let mut tree = Tree::default();
    let mut folders = vec![Vec::new()];
    let mut files: Vec<Vec<u8>> = Vec::new();
    for (folder, name, attributes, made) in steps {
        let path = [folder.get(&folders).as_slice(), b"/", name.as_slice()].concat();
        // Nothing is replaced, so that all paths stay what they are.
        if folders.contains(&path) || files.contains(&path) {
            continue;
        }
        let node = match made {
            GeneratedNode::Link(target) => {
                if !files.is_empty() {
                    tree.link(&path, target.get(&files).as_slice()).unwrap();
                    files.push(path);
                }
                continue;
            }
            GeneratedNode::Folder => Node::Folder(BTreeMap::new()),
            GeneratedNode::File(runs) => {
                let bytes: Vec<u8> = runs.iter().flat_map(|(byte, count)| std::iter::repeat_n(*byte, *count)).collect();
                let whole = [Segment { offset: 0, length: bytes.len() as u64 }];
                Node::File(spool.add(bytes.len() as u64, &whole, &mut bytes.as_slice()).unwrap())
            }
            GeneratedNode::Node(node) => node.clone(),
        };
        if matches!(node, Node::Folder(_)) {
            folders.push(path.clone())
        } else {
            files.push(path.clone())
        }
        tree.put(&path, Inode { attributes: attributes.clone(), node }).unwrap();
    }
    tree
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_tree_that_goes_in_comes_out(steps in trees()) {
        let mut spool = spool();
        let tree = grow(&steps, &mut spool);
        let bytes = written(&tree, &spool);
        prop_assert_eq!(read_back(&bytes), list(&tree, &spool));
        check(&bytes);
        prop_assert!(bytes == written(&tree, &spool));
    }
}

fn file(spool: &mut Spool, size: u64, segments: &[Segment]) -> Node {
    Node::File(spool.add(size, segments, &mut std::io::repeat(7)).unwrap())
}

fn put(tree: &mut Tree, path: &str, node: Node) {
    tree.put(path.as_bytes(), Inode { attributes: Attributes::default(), node }).unwrap();
}

#[test]
fn a_file_of_gigabytes_of_nothing_takes_no_room() {
    let (mut tree, mut spool) = (Tree::default(), spool());
    let size = (3 << 30) + 5;
    let node = file(&mut spool, size, &[Segment { offset: 1 << 31, length: 10 }, Segment { offset: size - 1, length: 1 }]);
    put(&mut tree, "big", node);
    let bytes = written(&tree, &spool);
    assert!(bytes.len() < 1 << 20, "{}", bytes.len());
    let system = EroFS::new(SliceImage::new(&bytes)).unwrap();
    let mut reader = system.open("/big").unwrap();
    let (mut at, mut sum, mut buffer, zeroes) = (0, Vec::new(), vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let count = reader.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        if buffer[..count] != zeroes[..count] {
            sum.extend(buffer[..count].iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(i, _)| at + i as u64));
        }
        at += count as u64;
    }
    assert_eq!(at, size);
    assert_eq!(sum, (1 << 31..(1 << 31) + 10).chain([size - 1]).collect::<Vec<_>>());
}

#[test]
fn a_directory_may_have_more_entries_than_16_bits_count() {
    let (mut tree, spool) = (Tree::default(), spool());
    (0..70_000).for_each(|number| put(&mut tree, &format!("d/{number}"), Node::Fifo));
    (0..70_000).for_each(|number| put(&mut tree, &format!("e/{number}"), Node::Folder(BTreeMap::new())));
    let bytes = written(&tree, &spool);
    let found = read_back(&bytes);
    assert_eq!(found.len(), 140_003);
    assert_eq!(found[&b"/e"[..]].4, 70_002);
}

#[test]
fn what_is_too_large_is_known_before_it_is_written() {
    let (mut tree, mut spool) = (Tree::default(), spool());
    let node = file(&mut spool, 1 << 20, &[Segment { offset: 0, length: 1 << 20 }]);
    put(&mut tree, "f", node);
    let length = Filesystem::of(&tree, u64::MAX).unwrap().length();
    assert!(Filesystem::of(&tree, length).is_ok());
    let error = Filesystem::of(&tree, length - 1).unwrap_err();
    assert_eq!(error.kind(), "image-too-large");
    assert!(error.to_string().contains(&length.to_string()), "{error}");
}
