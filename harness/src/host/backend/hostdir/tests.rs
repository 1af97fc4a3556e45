use super::*;
use devices::p9::P9;
use rustix::event::{PollFd, PollFlags, poll};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

const READ: u32 = 0;
const WRITE: u32 = 1;
const EXCLUSIVE: u32 = 0o200;
const TRUNCATE: u32 = 0o1000;
const APPEND: u32 = 0o2000;

/// A served directory `in`, beside a file and a directory that must not be reached from there.
struct Fixture {
    outside: tempfile::TempDir,
    dir: HostDir,
}

fn fixture() -> Fixture {
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("in")).unwrap();
    fs::create_dir(outside.path().join("beside")).unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    fs::write(outside.path().join("beside/secret"), "secret").unwrap();
    let dir = HostDir::open(&outside.path().join("in"), Arc::default()).unwrap();
    Fixture { outside, dir }
}

impl Fixture {
    fn host(&self, path: &str) -> std::path::PathBuf {
        self.outside.path().join("in").join(path)
    }

    fn open(&mut self, name: &str, flags: u32) -> Result<Handle, Errno> {
        self.dir.open(&path(name), OpenFlags::new(flags).unwrap())
    }

    fn create(&mut self, name: &str, flags: u32, permissions: u32) -> Result<Handle, Errno> {
        self.dir.create(&path(name), OpenFlags::new(flags).unwrap(), &creation(permissions))
    }

    fn read(&mut self, handle: Handle) -> Vec<u8> {
        let mut bytes = [0; 100];
        let length = self.dir.read(handle, 0, &mut bytes).unwrap();
        bytes[..length].to_vec()
    }

    fn attributes(&mut self, name: &str) -> Result<Attributes, Errno> {
        self.dir.attributes(&Target::Path(path(name)))
    }

    fn set(&mut self, name: &str, changes: SetAttributes) -> Result<(), Errno> {
        self.dir.set_attributes(&Target::Path(path(name)), &changes)
    }
}

fn path(text: &str) -> RelativePath {
    RelativePath::parse(text).unwrap()
}

fn creation(permissions: u32) -> Creation {
    Creation { permissions, uid: 0, gid: 0 }
}

#[test]
fn symbolic_links_lead_nowhere() {
    let mut fixture = fixture();
    symlink("../secret", fixture.host("file")).unwrap();
    symlink("..", fixture.host("up")).unwrap();
    symlink(fixture.outside.path(), fixture.host("absolute")).unwrap();
    symlink("../made", fixture.host("dangling")).unwrap();

    assert_eq!(fixture.open("file", READ), Err(Errno::ELOOP));
    assert_eq!(fixture.create("file", WRITE, 0o644), Err(Errno::ELOOP));
    assert_eq!(fixture.create("dangling", WRITE, 0o644), Err(Errno::ELOOP));
    assert!(!fixture.outside.path().join("made").exists());
    assert_eq!(fixture.set("file", SetAttributes { size: Some(0), ..SetAttributes::default() }), Err(Errno::ELOOP));
    for name in ["up/secret", "absolute/secret", "up/beside/secret", "file/x"] {
        assert_eq!(fixture.attributes(name), Err(Errno::ENOTDIR), "{name}");
        assert_eq!(fixture.open(name, READ), Err(Errno::ENOTDIR), "{name}");
        assert_eq!(fixture.create(name, WRITE, 0o644), Err(Errno::ENOTDIR), "{name}");
        assert_eq!(fixture.dir.remove_file(&path(name)), Err(Errno::ENOTDIR), "{name}");
        assert_eq!(fixture.dir.make_directory(&path(name), &creation(0o755)), Err(Errno::ENOTDIR), "{name}");
        assert_eq!(fixture.dir.rename(&path(name), &path("stolen")), Err(Errno::ENOTDIR), "{name}");
        assert_eq!(fixture.dir.link(&path(name), &path("stolen")), Err(Errno::ENOTDIR), "{name}");
    }
    assert_eq!(fixture.dir.read_directory(&path("up"), &mut |_, _| Ok(())), Err(Errno::ENOTDIR));
    assert_eq!(fixture.attributes("file").unwrap().kind, FileKind::Symlink);
    assert_eq!(fixture.dir.read_symlink(&path("file")).unwrap(), b"../secret");

    let time = SetTime::To(Timestamp { seconds: 1, nanoseconds: 2 });
    fixture.set("file", SetAttributes { modified: Some(time), ..SetAttributes::default() }).unwrap();
    assert_eq!(fixture.attributes("file").unwrap().modified, Timestamp { seconds: 1, nanoseconds: 2 });
    assert_ne!(fs::metadata(fixture.outside.path().join("secret")).unwrap().mtime(), 1);
    fixture.dir.link(&path("file"), &path("same link")).unwrap();
    fixture.dir.rename(&path("same link"), &path("renamed link")).unwrap();
    fixture.dir.remove_file(&path("renamed link")).unwrap();
    assert_eq!(fs::read(fixture.outside.path().join("secret")).unwrap(), b"secret");
}

#[test]
fn a_directory_that_turns_into_a_link_is_not_entered() {
    let mut fixture = fixture();
    fixture.dir.make_directory(&path("d"), &creation(0o755)).unwrap();
    let handle = fixture.create("d/secret", 2, 0o644).unwrap();
    fs::rename(fixture.host("d"), fixture.host("elsewhere")).unwrap();
    symlink("../beside", fixture.host("d")).unwrap();
    assert_eq!(fixture.open("d/secret", READ), Err(Errno::ENOTDIR));
    fixture.dir.write(handle, 0, b"ours").unwrap();
    assert_eq!(fs::read(fixture.host("elsewhere/secret")).unwrap(), b"ours");
}

#[test]
fn files_open_while_they_are_replaced_or_removed_keep_working() {
    let mut fixture = fixture();
    fs::write(fixture.host("old"), "old").unwrap();
    fs::write(fixture.host("new"), "new").unwrap();
    let old = fixture.open("old", 2).unwrap();
    let new = fixture.open("new", READ).unwrap();
    fixture.dir.rename(&path("new"), &path("old")).unwrap();
    assert_eq!((fixture.read(old), fixture.read(new)), (b"old".to_vec(), b"new".to_vec()));
    assert_eq!(fs::read(fixture.host("old")).unwrap(), b"new");

    fixture.dir.remove_file(&path("old")).unwrap();
    fixture.dir.write(old, 3, b"er").unwrap();
    fixture.dir.set_attributes(&Target::Handle(old), &SetAttributes { size: Some(4), ..SetAttributes::default() }).unwrap();
    assert_eq!((fixture.read(old), fixture.read(new)), (b"olde".to_vec(), b"new".to_vec()));
    assert_eq!(fixture.dir.attributes(&Target::Handle(new)).unwrap().links, 0);
    let again = fixture.dir.open_again(new, OpenFlags::new(2).unwrap()).unwrap();
    fixture.dir.write(again, 0, b"few").unwrap();
    assert_eq!((fixture.read(again), fixture.read(new)), (b"few".to_vec(), b"few".to_vec()));
    fixture.dir.write(again, 0, b"new").unwrap();
    fixture.dir.sync(&Target::Handle(old), false).unwrap();
    fixture.dir.close(old);
    assert_eq!(fixture.dir.write(old, 0, b"x"), Err(Errno::EBADF));
}

#[test]
fn opening_takes_the_flags_at_their_word() {
    let mut fixture = fixture();
    let handle = fixture.create("f", WRITE | EXCLUSIVE, 0o644).unwrap();
    fixture.dir.write(handle, 0, b"abc").unwrap();
    assert_eq!(fixture.create("f", WRITE | EXCLUSIVE, 0o644), Err(Errno::EEXIST));
    let handle = fixture.create("f", WRITE | APPEND, 0o600).unwrap();
    fixture.dir.write(handle, 0, b"def").unwrap();
    assert_eq!(fs::read(fixture.host("f")).unwrap(), b"abcdef");
    fixture.open("f", WRITE | TRUNCATE).unwrap();
    assert_eq!(fs::read(fixture.host("f")).unwrap(), b"");
    assert_eq!(fixture.open("", READ), Err(Errno::EISDIR));
    assert_eq!(fixture.open("none", READ), Err(Errno::ENOENT));
    fixture.dir.sync(&Target::Path(path("f")), true).unwrap();
    fixture.dir.sync(&Target::Path(path("")), false).unwrap();
}

#[test]
fn permissions_are_the_guests_choice_but_give_no_rights_on_the_host() {
    let mut fixture = fixture();
    let mode = |fixture: &Fixture, name: &str| fs::symlink_metadata(fixture.host(name)).unwrap().permissions().mode() & 0o7777;
    fixture.create("f", WRITE, 0o6666).unwrap();
    assert_eq!(mode(&fixture, "f"), 0o666, "whatever the umask, and not set-user-ID");
    fixture.dir.make_directory(&path("d"), &creation(0o1777)).unwrap();
    assert_eq!(mode(&fixture, "d"), 0o1777);
    fixture.set("f", SetAttributes { permissions: Some(0o4711), ..SetAttributes::default() }).unwrap();
    assert_eq!(mode(&fixture, "f"), 0o711);
    let handle = fixture.open("f", READ).unwrap();
    let changes = SetAttributes { permissions: Some(0), ..SetAttributes::default() };
    fixture.dir.set_attributes(&Target::Handle(handle), &changes).unwrap();
    assert_eq!(fixture.attributes("f").unwrap().permissions, 0);
    fixture.set("f", SetAttributes { permissions: Some(0o600), ..SetAttributes::default() }).unwrap();
    assert_eq!(mode(&fixture, "f"), 0o600, "of a file that cannot be opened");

    let device = DeviceNumber { major: 1, minor: 3 };
    let made = fixture.dir.make_node(&path("null"), FileKind::CharacterDevice, device, &creation(0o666));
    assert_eq!(made, Err(Errno::EPERM));
}

#[test]
fn special_files_are_never_opened() {
    let mut fixture = fixture();
    for (name, kind) in [("fifo", FileKind::Fifo), ("socket", FileKind::Socket), ("file", FileKind::Regular)] {
        fixture.dir.make_node(&path(name), kind, DeviceNumber::default(), &creation(0o622)).unwrap();
        let attributes = fixture.attributes(name).unwrap();
        assert_eq!((attributes.kind, attributes.permissions), (kind, 0o622));
    }
    for (name, flags) in [("fifo", READ), ("fifo", WRITE), ("fifo", TRUNCATE | WRITE), ("socket", READ)] {
        assert_eq!(fixture.open(name, flags), Err(Errno::ENXIO), "{name}");
        assert_eq!(fixture.create(name, flags, 0o644), Err(Errno::ENXIO), "{name}");
    }
}

#[test]
fn attributes_are_the_hosts() {
    let mut fixture = fixture();
    fs::write(fixture.host("f"), [0; 1000]).unwrap();
    let before = fixture.attributes("f").unwrap();
    assert_eq!((before.kind, before.size, before.links), (FileKind::Regular, 1000, 1));
    let times = SetAttributes {
        accessed: Some(SetTime::To(Timestamp { seconds: -5, nanoseconds: 7 })),
        modified: Some(SetTime::Now),
        size: Some(10),
        ..SetAttributes::default()
    };
    fixture.set("f", times).unwrap();
    let after = fixture.attributes("f").unwrap();
    assert_eq!(after.accessed, Timestamp { seconds: -5, nanoseconds: 7 });
    assert!(after.modified.seconds >= before.modified.seconds);
    assert_eq!(after.size, 10);
    assert_ne!(after.version, before.version);
    let statistics = fixture.dir.statistics(&Target::Path(RelativePath::default())).unwrap();
    assert!(statistics.blocks >= statistics.blocks_free && statistics.block_size > 0);
}

#[test]
fn files_of_the_user_belong_to_whoever_asks() {
    let mut fixture = fixture();
    fs::write(fixture.host("f"), "").unwrap();
    let file = fs::metadata(fixture.host("f")).unwrap();
    let owner = |uid, gid| SetAttributes { uid: Some(uid), gid: Some(gid), ..SetAttributes::default() };

    fixture.dir.ids = Ids::Mapped { uid: file.uid(), gid: file.gid() };
    let attributes = fixture.attributes("f").unwrap();
    assert_eq!((attributes.uid, attributes.gid), (ASKER, ASKER));
    fixture.set("f", owner(1000, 1000)).unwrap();
    let after = fs::metadata(fixture.host("f")).unwrap();
    assert_eq!((after.uid(), after.gid()), (file.uid(), file.gid()));
    fixture.dir.ids = Ids::Mapped { uid: file.uid() + 1, gid: file.gid() + 1 };
    let attributes = fixture.attributes("f").unwrap();
    assert_eq!((attributes.uid, attributes.gid), (NOBODY, NOBODY));
    assert_eq!(fixture.set("f", owner(1000, 0)), Err(Errno::EPERM));
    assert_eq!(fixture.set("f", owner(0, 1000)), Err(Errno::EPERM));
    fixture.dir.ids = Ids::Same;
    let attributes = fixture.attributes("f").unwrap();
    assert_eq!((attributes.uid, attributes.gid), (file.uid(), file.gid()));
}

#[test]
fn directories_are_listed_with_kinds() {
    let mut fixture = fixture();
    fs::write(fixture.host("file"), "").unwrap();
    fs::create_dir(fixture.host("dir")).unwrap();
    symlink("nowhere", fixture.host("link")).unwrap();
    let mut entries = Vec::new();
    let mut list = |name, kind| {
        entries.push((name, kind));
        Ok(())
    };
    fixture.dir.read_directory(&path(""), &mut list).unwrap();
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    let name = |text: &str| Name::new(text.as_bytes()).unwrap();
    let wanted = [(name("dir"), FileKind::Directory), (name("file"), FileKind::Regular), (name("link"), FileKind::Symlink)];
    assert_eq!(entries, wanted);
    assert_eq!(fixture.dir.read_directory(&path(""), &mut |_, _| Err(Errno::ENOMEM)), Err(Errno::ENOMEM));
}

#[test]
fn removal_spares_the_root_and_what_is_not_empty() {
    let mut fixture = fixture();
    fs::create_dir_all(fixture.host("d/e")).unwrap();
    assert_eq!(fixture.dir.remove_directory(&path("d")), Err(Errno::ENOTEMPTY));
    assert_eq!(fixture.dir.remove_file(&path("d")), Err(Errno::EISDIR));
    assert_eq!(fixture.dir.remove_directory(&path("")), Err(Errno::EBUSY));
    assert_eq!(fixture.dir.rename(&path(""), &path("x")), Err(Errno::EBUSY));
    assert_eq!(fixture.dir.rename(&path("d"), &path("d/e/f")), Err(Errno::EINVAL));
    fixture.dir.remove_directory(&path("d/e")).unwrap();
    fixture.dir.remove_directory(&path("d")).unwrap();
}

#[test]
fn attributes_outside_the_user_space_are_the_hosts_alone() {
    let mut fixture = fixture();
    fs::write(fixture.host("f"), "").unwrap();
    let target = Target::Path(path("f"));
    for name in [&b"security.capability"[..], b"trusted.overlay.opaque", b"system.posix_acl_access", b"user.a\0b"] {
        assert_eq!(fixture.dir.set_xattr(&target, name, b"x", XattrMode::CreateOrReplace), Err(Errno::EOPNOTSUPP));
        assert_eq!(fixture.dir.xattr(&target, name, 100), Err(Errno::EOPNOTSUPP));
        assert_eq!(fixture.dir.remove_xattr(&target, name), Err(Errno::EOPNOTSUPP));
    }
    match fixture.dir.set_xattr(&target, b"user.b", b"value", XattrMode::Create) {
        // Not every file system that a test may run on has them.
        Err(errno) => assert_eq!(errno, Errno::EOPNOTSUPP),
        Ok(()) => {
            fixture.dir.set_xattr(&target, b"user.a", b"", XattrMode::CreateOrReplace).unwrap();
            assert_eq!(fixture.dir.set_xattr(&target, b"user.b", b"x", XattrMode::Create), Err(Errno::EEXIST));
            assert_eq!(fixture.dir.set_xattr(&target, b"user.c", b"x", XattrMode::Replace), Err(Errno::ENODATA));
            assert_eq!(fixture.dir.xattr_names(&target, 100).unwrap(), b"user.a\0user.b\0");
            assert_eq!(fixture.dir.xattr(&target, b"user.b", 100).unwrap(), b"value");
            assert_eq!(fixture.dir.xattr(&target, b"user.b", 4), Err(Errno::ERANGE));
            fixture.dir.remove_xattr(&target, b"user.b").unwrap();
            assert_eq!(fixture.dir.xattr(&target, b"user.b", 100), Err(Errno::ENODATA));
        }
    }
}

/// A message to a mount of the directory: its reply's type and body.
fn ask(mount: &mut P9<HostDir>, kind: u8, body: &[&[u8]]) -> (u8, Vec<u8>) {
    let body = body.concat();
    let message = [&(7 + body.len() as u32).to_le_bytes()[..], &[kind, 0, 0], &body].concat();
    let reply = mount.serve(&message, 8192);
    (reply[4], reply[7..].to_vec())
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
}

fn mount(fixture: Fixture, access: Access) -> (tempfile::TempDir, P9<HostDir>) {
    let mut mount = P9::new("share", fixture.dir, access).unwrap();
    ask(&mut mount, 100, &[&8192u32.to_le_bytes(), &string("9P2000.L")]);
    ask(&mut mount, 104, &[&[0; 4], &[0xff; 4], &[0; 2], &[0; 2], &[0; 4]]);
    (fixture.outside, mount)
}

/// Walks from the root to a new fid.
fn walk(mount: &mut P9<HostDir>, fid: u32, name: &str) -> (u8, Vec<u8>) {
    ask(mount, 110, &[&[0; 4], &fid.to_le_bytes(), &[1, 0], &string(name)])
}

fn error(errno: Errno) -> (u8, Vec<u8>) {
    (7, errno.get().to_le_bytes().to_vec())
}

#[test]
fn a_read_only_mount_is_read_only() {
    let fixture = fixture();
    fs::write(fixture.host("f"), "abc").unwrap();
    let (outside, mut mount) = mount(fixture, Access::ReadOnly);
    assert_eq!(walk(&mut mount, 1, "f").0, 111);
    assert_eq!(ask(&mut mount, 12, &[&1u32.to_le_bytes(), &WRITE.to_le_bytes()]), error(Errno::EROFS));
    assert_eq!(ask(&mut mount, 76, &[&[0; 4], &string("f"), &[0; 4]]), error(Errno::EROFS));
    assert_eq!(ask(&mut mount, 72, &[&[0; 4], &string("d"), &[0; 4], &[0; 4]]), error(Errno::EROFS));
    assert_eq!(ask(&mut mount, 12, &[&1u32.to_le_bytes(), &READ.to_le_bytes()]).0, 13);
    assert_eq!(ask(&mut mount, 116, &[&1u32.to_le_bytes(), &[0; 8], &[9, 0, 0, 0]]).1, b"\x03\0\0\0abc");
    assert_eq!(fs::read_dir(outside.path().join("in")).unwrap().count(), 1);
}

#[test]
fn the_server_does_not_go_above_the_directory() {
    let (_outside, mut mount) = mount(fixture(), Access::ReadWrite);
    let root = walk(&mut mount, 1, "..");
    assert_eq!(root.0, 111);
    assert_eq!(walk(&mut mount, 2, "../secret"), error(Errno::EINVAL));
    assert_eq!(ask(&mut mount, 110, &[&[0; 4], &[3, 0, 0, 0], &[2, 0], &string(".."), &string("secret")]).1[..2], [1, 0]);
}

#[test]
fn more_files_can_be_open_than_the_host_has_descriptors_for() {
    let fixture = fixture();
    for number in 1..=400 {
        fs::write(fixture.host(&number.to_string()), number.to_string()).unwrap();
    }
    let (_outside, mut mount) = mount(fixture, Access::ReadWrite);
    for fid in 1..=400u32 {
        walk(&mut mount, fid, &fid.to_string());
        assert_eq!(ask(&mut mount, 12, &[&fid.to_le_bytes(), &READ.to_le_bytes()]).0, 13);
        assert_eq!(ask(&mut mount, 76, &[&[0; 4], &string(&(fid / 2).to_string()), &[0; 4]]).0, if fid % 2 == 0 { 77 } else { 7 });
        assert!(mount.filesystem().files.len() <= 256);
    }
    for fid in 1..=400u32 {
        let text = fid.to_string();
        let data = [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
        assert_eq!(ask(&mut mount, 116, &[&fid.to_le_bytes(), &[0; 8], &[9, 0, 0, 0]]).1, data);
    }
}

#[test]
fn open_files_are_found_again_after_a_restore_or_stale() {
    let fixture = fixture();
    fs::write(fixture.host("kept"), "abc").unwrap();
    fs::write(fixture.host("gone"), "abc").unwrap();
    let (outside, mut before) = mount(fixture, Access::ReadWrite);
    for (fid, name) in [(1u32, "kept"), (2, "gone")] {
        walk(&mut before, fid, name);
        assert_eq!(ask(&mut before, 12, &[&fid.to_le_bytes(), &READ.to_le_bytes()]).0, 13);
    }
    let state = before.save();
    fs::remove_file(outside.path().join("in/gone")).unwrap();
    let dir = HostDir::open(&outside.path().join("in"), Arc::default()).unwrap();
    let mut after = P9::restore(dir, Access::ReadWrite, &state).unwrap();
    assert_eq!(after.save(), state, "a restore opens nothing");
    let read = |mount: &mut P9<HostDir>, fid: u32| ask(mount, 116, &[&fid.to_le_bytes(), &[0; 8], &[9, 0, 0, 0]]);
    assert_eq!(read(&mut before, 2).1, b"\x03\0\0\0abc");
    assert_eq!(read(&mut after, 1).1, b"\x03\0\0\0abc");
    assert_eq!(read(&mut after, 2), error(Errno::ESTALE));
}

#[test]
fn names_of_one_file_have_one_number() {
    let fixture = fixture();
    for name in ["a", "other"] {
        fs::write(fixture.host(name), name).unwrap();
    }
    let (outside, mut mount) = mount(fixture, Access::ReadWrite);
    let number = |mount: &mut P9<HostDir>, fid, name: &str| {
        let (kind, body) = walk(mount, fid, name);
        assert_eq!(kind, 111);
        u64::from_le_bytes(body[7..15].try_into().unwrap())
    };
    let first = number(&mut mount, 1, "a");
    assert_eq!(ask(&mut mount, 70, &[&[0; 4], &1u32.to_le_bytes(), &string("b")]).0, 71);
    fs::hard_link(outside.path().join("in/a"), outside.path().join("in/c")).unwrap();
    assert_eq!([number(&mut mount, 2, "b"), number(&mut mount, 3, "a"), number(&mut mount, 4, "c")], [first; 3]);
    assert_ne!(number(&mut mount, 5, "other"), first);
    // Another file in the place of the first is not the same.
    fs::rename(outside.path().join("in/other"), outside.path().join("in/a")).unwrap();
    assert_ne!(number(&mut mount, 6, "a"), number(&mut mount, 7, "b"));
    let left = number(&mut mount, 8, "b");
    assert_eq!(number(&mut mount, 9, "c"), left);
    // The last name left is still that file's.
    let unlink = |mount: &mut P9<HostDir>, name| ask(mount, 76, &[&[0; 4], &string(name), &0u32.to_le_bytes()]).0;
    assert_eq!(unlink(&mut mount, "b"), 77);
    assert_eq!([number(&mut mount, 10, "c"), number(&mut mount, 11, "c")], [left; 2]);
    // One that is made after it is gone is another, whatever number the host gives it.
    assert_eq!(unlink(&mut mount, "c"), 77);
    let (kind, body) = ask(&mut mount, 18, &[&[0; 4], &string("new"), &0o100_644u32.to_le_bytes(), &[0; 12]]);
    assert_eq!(kind, 19);
    let made = u64::from_le_bytes(body[5..13].try_into().unwrap());
    assert_ne!(made, left);
    assert_eq!(number(&mut mount, 12, "new"), made);
}

/// A repository whose hooks are given read-only, by a volume of their own.
fn repository() -> Fixture {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().canonicalize().unwrap().join("in");
    fs::create_dir_all(root.join("git/hooks/sub")).unwrap();
    fs::create_dir(root.join("git/hooks/out")).unwrap();
    fs::write(root.join("git/hooks/hook"), "hook").unwrap();
    fs::write(root.join("env"), "env").unwrap();
    fs::write(root.join("git/config"), "config").unwrap();
    let [hooks, env, out] = ["git/hooks", "env", "git/hooks/out"].map(|name| root.join(name));
    let given = [
        (root.as_path(), Access::ReadWrite),
        (hooks.as_path(), Access::ReadOnly),
        (env.as_path(), Access::ReadOnly),
        (out.as_path(), Access::ReadWrite),
    ];
    let dir = HostDir::open(&root, Arc::new(Grants::of(given.into_iter()).unwrap())).unwrap();
    Fixture { outside, dir }
}

#[test]
fn what_was_given_read_only_is_so_by_its_path_in_another_volume_too() {
    let mut fixture = repository();
    let truncate = SetAttributes { size: Some(0), ..SetAttributes::default() };
    let times = SetAttributes { modified: Some(SetTime::Now), ..SetAttributes::default() };
    for file in ["git/hooks/hook", "env"] {
        for flags in [WRITE, 2, READ | TRUNCATE, WRITE | APPEND] {
            assert_eq!(fixture.open(file, flags), Err(Errno::EROFS), "{file}");
        }
        assert_eq!(fixture.create(file, WRITE, 0o644), Err(Errno::EROFS), "{file}");
        for change in [truncate, times, SetAttributes { permissions: Some(0o777), ..SetAttributes::default() }] {
            assert_eq!(fixture.set(file, change), Err(Errno::EROFS), "{file}");
            let handle = fixture.open(file, READ).unwrap();
            assert_eq!(fixture.dir.open_again(handle, OpenFlags::new(WRITE).unwrap()), Err(Errno::EROFS), "{file}");
            if change != truncate {
                assert_eq!(fixture.dir.set_attributes(&Target::Handle(handle), &change), Err(Errno::EROFS), "{file}");
            }
        }
        let target = Target::Path(path(file));
        assert_eq!(fixture.dir.set_xattr(&target, b"user.a", b"b", XattrMode::CreateOrReplace), Err(Errno::EROFS), "{file}");
        assert_eq!(fixture.dir.remove_xattr(&target, b"user.a"), Err(Errno::EROFS), "{file}");
        assert_eq!(fixture.dir.link(&path(file), &path("second")), Err(Errno::EXDEV), "{file}");
        let handle = fixture.open(file, READ).unwrap();
        assert_eq!(fixture.read(handle), file.rsplit('/').next().unwrap().as_bytes());
    }
    for name in ["git/hooks/new", "git/hooks/sub/new"] {
        assert_eq!(fixture.create(name, WRITE, 0o644), Err(Errno::EROFS), "{name}");
        assert_eq!(fixture.dir.make_directory(&path(name), &creation(0o755)), Err(Errno::EROFS), "{name}");
        assert_eq!(fixture.dir.make_symlink(&path(name), b"x", &creation(0)), Err(Errno::EROFS), "{name}");
        let made = fixture.dir.make_node(&path(name), FileKind::Fifo, DeviceNumber::default(), &creation(0o600));
        assert_eq!(made, Err(Errno::EROFS), "{name}");
        assert_eq!(fixture.dir.link(&path("git/config"), &path(name)), Err(Errno::EROFS), "{name}");
        assert_eq!(fixture.dir.rename(&path("git/config"), &path(name)), Err(Errno::EROFS), "{name}");
    }
    assert_eq!(fixture.dir.rename(&path("git/hooks/hook"), &path("hook")), Err(Errno::EROFS));
    assert_eq!(fixture.dir.remove_file(&path("git/hooks/hook")), Err(Errno::EROFS));
    assert_eq!(fixture.dir.remove_directory(&path("git/hooks/sub")), Err(Errno::EROFS));

    // What counts is the innermost: this one is for writing, and so is all that is beside.
    let out = fixture.create("git/hooks/out/new", WRITE, 0o644).unwrap();
    fixture.dir.write(out, 0, b"new").unwrap();
    fixture.open("git/config", WRITE | TRUNCATE).unwrap();
    assert_eq!(fs::read_dir(fixture.host("git/hooks")).unwrap().count(), 3);
}

#[test]
fn what_leads_to_a_read_only_volume_stays_where_it_is() {
    let mut fixture = repository();
    fs::create_dir(fixture.host("new")).unwrap();
    fs::write(fixture.host("file"), "").unwrap();
    fs::create_dir(fixture.host("git/empty")).unwrap();
    for kept in ["git", "git/hooks", "env"] {
        assert_eq!(fixture.dir.rename(&path(kept), &path("moved")), Err(Errno::EBUSY), "{kept}");
    }
    assert_eq!(fixture.dir.remove_file(&path("env")), Err(Errno::EBUSY));
    assert_eq!(fixture.dir.rename(&path("file"), &path("env")), Err(Errno::EBUSY));
    // An empty one would be replaced.
    fs::remove_dir(fixture.host("git/hooks/sub")).unwrap();
    fs::remove_dir(fixture.host("git/hooks/out")).unwrap();
    fs::remove_file(fixture.host("git/hooks/hook")).unwrap();
    assert_eq!(fixture.dir.rename(&path("new"), &path("git/hooks")), Err(Errno::EBUSY));
    assert_eq!(fixture.dir.remove_directory(&path("git/hooks")), Err(Errno::EBUSY));
    // All else moves as before.
    fixture.dir.rename(&path("git/empty"), &path("empty")).unwrap();
    fixture.dir.rename(&path("new"), &path("empty")).unwrap();
    fixture.dir.rename(&path("git/config"), &path("file")).unwrap();
    assert_eq!(fs::read(fixture.host("env")).unwrap(), b"env");
}

#[test]
fn what_was_given_both_ways_was_given_for_writing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    fs::write(root.join("f"), "").unwrap();
    let given = [(root.as_path(), Access::ReadOnly), (root.as_path(), Access::ReadWrite)];
    let grants = Grants::of(given.into_iter()).unwrap();
    let mut dir = HostDir::open(&root, Arc::new(grants)).unwrap();
    dir.open(&path("f"), OpenFlags::new(WRITE).unwrap()).unwrap();
    assert_eq!(Grants::of([(root.as_path(), Access::ReadWrite)].into_iter()).unwrap().lists()[1..], [vec![], vec![]]);
}

/// As root, which the kernel leaves them to.
#[test]
fn a_file_that_a_guest_writes_loses_the_bits_that_give_rights() {
    type Write = fn(&mut Fixture) -> Result<(), Errno>;
    let writes: [Write; 4] = [
        |fixture| {
            let handle = fixture.open("f", WRITE)?;
            fixture.dir.write(handle, 0, b"x").map(drop)
        },
        |fixture| fixture.open("f", WRITE | TRUNCATE).map(drop),
        |fixture| fixture.set("f", SetAttributes { size: Some(1), ..SetAttributes::default() }),
        |fixture| {
            let handle = fixture.open("f", 2)?;
            fixture.dir.set_attributes(&Target::Handle(handle), &SetAttributes { size: Some(1), ..SetAttributes::default() })
        },
    ];
    for write in writes {
        let mut fixture = fixture();
        fs::write(fixture.host("f"), "root's own").unwrap();
        fs::set_permissions(fixture.host("f"), fs::Permissions::from_mode(0o6755)).unwrap();
        write(&mut fixture).unwrap();
        assert_eq!(fs::metadata(fixture.host("f")).unwrap().mode() & 0o7777, 0o755);
    }
}

/// Opening a pipe or a device has effects, even if it is closed again at once. Here a pipe and a file change places all the time.
#[test]
fn what_takes_the_place_of_a_file_is_not_opened() {
    let mut fixture = fixture();
    fixture.dir.make_node(&path("pipe"), FileKind::Fifo, DeviceNumber::default(), &creation(0o600)).unwrap();
    fs::write(fixture.host("file"), "").unwrap();
    let reader = host::open(fixture.host("pipe"), OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
    let (done, names) = (AtomicBool::new(false), ["pipe", "file"].map(|name| fixture.host(name)));
    let opened = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                host::renameat_with(host::CWD, &names[0], host::CWD, &names[1], host::RenameFlags::EXCHANGE).unwrap();
            }
        });
        let mut opened = 0;
        for _ in 0..10_000 {
            match fixture.open("file", WRITE) {
                Ok(handle) => {
                    fixture.dir.close(handle);
                    opened += 1;
                }
                Err(error) => assert_eq!(error, Errno::ENXIO),
            }
        }
        done.store(true, Ordering::Relaxed);
        opened
    });
    assert!(opened > 0);
    // A writer that came and went shows.
    let mut polled = [PollFd::new(&reader, PollFlags::IN)];
    assert_eq!(poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0), "the pipe was opened");
}
