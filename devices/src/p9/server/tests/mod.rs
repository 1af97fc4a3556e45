//! The server over a file system in memory.

mod client;
mod soup;

use super::*;
use crate::p9::wire::{Changes, Names, VERSION};
use crate::p9::{ASKER, MemoryFs, SessionState, Timestamp};
use client::{AT_REMOVEDIR, Answer, CAPACITY, Client, O_RDWR, ROOT, TAG};

#[test]
fn version_bounds_msize_and_ends_the_session() {
    let mut client = Client::new();
    assert_eq!(client.version(u32::MAX), MAX_MSIZE);
    assert_eq!(client.version(4096), 4096);
    assert_eq!(client.walk(ROOT, 1, ""), Err(Errno::EBADF));
    let mut answer = client.call(TMessage::Version { msize: 4096, version: b"9P2000.u" }).unwrap();
    assert_eq!((answer.u32(), &answer.0[..]), (4096, &b"\x07\0unknown"[..]));
    assert_eq!(client.call(TMessage::Clunk { fid: ROOT }), Err(Errno::EPROTO));
    assert_eq!(client.call(TMessage::Version { msize: 100, version: VERSION }), Err(Errno::EMSGSIZE));
    assert_eq!(client.server.protocol_errors, 3);
}

#[test]
fn attach_refuses_what_it_does_not_serve() {
    let mut client = Client::new();
    let attach = |fid, afid, aname| TMessage::Attach { fid, afid, uname: b"", aname, n_uname: u32::MAX };
    assert_eq!(client.call(attach(1, NO_FID, b"/etc")), Err(Errno::ENOENT));
    assert_eq!(client.call(attach(ROOT, NO_FID, b"")), Err(Errno::EINVAL));
    assert_eq!(client.call(attach(1, 5, b"")), Err(Errno::EINVAL));
    assert_eq!(client.call(TMessage::Auth { afid: 1, uname: b"", aname: b"", n_uname: 0 }), Err(Errno::EOPNOTSUPP));
    let qid = client.call(attach(1, NO_FID, b"/")).unwrap().qid();
    assert_eq!((qid.kind, qid.path), (0x80, 1));
    assert_eq!(client.call(TMessage::Flush { oldtag: 9 }), Ok(Answer(vec![])));
}

#[test]
fn files_are_written_read_and_kept() {
    let mut client = Client::new();
    let qid = client.create(1, "f").unwrap();
    assert_eq!(client.write(1, 3, b"defg"), Ok(4));
    assert_eq!(client.write(1, 0, b"abc"), Ok(3));
    assert_eq!(client.read(1, 0, 100), Ok(b"abcdefg".to_vec()));
    assert_eq!(client.read(1, 2, 3), Ok(b"cde".to_vec()));
    assert_eq!(client.read(1, 7, 3), Ok(vec![]));
    assert_eq!(client.read(1, u64::MAX, 3), Ok(vec![]));
    assert_eq!(client.write(1, u64::MAX - 1, b"xyz"), Err(Errno::EFBIG));
    assert_eq!(client.write(1, 1 << 40, b"x"), Err(Errno::ENOSPC));
    assert_eq!(client.getattr(1), Ok((0o100_644, 7)));
    client.clunk(1).unwrap();
    assert_eq!(client.clunk(1), Err(Errno::EBADF));
    let reopened = client.open(1, "f", 0).unwrap();
    assert_eq!(reopened.path, qid.path);
    assert_ne!(reopened.version, qid.version);
    assert_eq!(client.write(1, 0, b"x"), Err(Errno::EBADF));
    assert_eq!(client.server.fs.read_file("f"), Ok(&b"abcdefg"[..]));
}

#[test]
fn files_may_belong_to_whoever_asks() {
    let mut client = Client::new();
    client.create(1, "f").unwrap();
    let changes = Changes { valid: 0b110, uid: ASKER, gid: ASKER, ..Changes::default() };
    client.call(TMessage::Setattr { fid: 1, changes }).unwrap();
    for (fid, user) in [(2, 0), (4, 1000)] {
        client.call(TMessage::Attach { fid, afid: NO_FID, uname: b"", aname: b"/", n_uname: user }).unwrap();
        client.call(TMessage::Walk { fid, newfid: fid + 1, names: Names(vec![b"f"]) }).unwrap();
        let mut answer = client.call(TMessage::Getattr { fid: fid + 1, request_mask: 0x7ff }).unwrap();
        // The mask, the qid and the mode come first.
        answer.bytes(8 + Qid::SIZE + 4);
        assert_eq!((answer.u32(), answer.u32()), (user, user));
    }
}

#[test]
fn walk_stops_where_the_path_does() {
    let mut client = Client::new();
    let d = client.mkdir("d").unwrap();
    client.create(9, "f").unwrap();
    assert_eq!(client.walk(ROOT, 1, "nothing"), Err(Errno::ENOENT));
    assert_eq!(client.walk(ROOT, 1, "d/nothing/more").unwrap(), [d]);
    assert_eq!(client.clunk(1), Err(Errno::EBADF), "an incomplete walk makes no fid");
    assert_eq!(client.walk(ROOT, 1, "f/x").unwrap().len(), 1);
    assert_eq!(client.walk(9, 1, "x"), Err(Errno::ENOTDIR));
    assert_eq!(client.walk(ROOT, 1, "d").unwrap(), [d]);
    assert_eq!(client.walk(ROOT, 1, "d"), Err(Errno::EINVAL), "fid taken");
    assert_eq!(client.walk(ROOT, NO_FID, ""), Err(Errno::EINVAL));
    assert_eq!(client.walk(1, 1, ".."), client.walk(ROOT, 2, "d/..").map(|qids| vec![qids[1]]));
    let many = "d/../".repeat(8) + "d";
    assert_eq!(
        client
            .call(TMessage::Walk { fid: ROOT, newfid: 3, names: Names(many.split('/').take(16).map(str::as_bytes).collect()) })
            .unwrap()
            .u16(),
        16
    );
}

#[test]
fn dot_dot_stays_in_the_mount() {
    let mut client = Client::new();
    let root = client.walk(ROOT, 1, "..").unwrap();
    assert_eq!(root[0].path, 1);
    assert_eq!(client.walk(ROOT, 2, "../../..").unwrap(), vec![root[0]; 3]);
    for name in [&b".."[..], b".", b"a/b", b"../x", b"a\0"] {
        let mkdir = TMessage::Mkdir { dfid: ROOT, name, mode: 0o755, gid: 0 };
        assert_eq!(client.call(mkdir), Err(Errno::EINVAL), "{name:?}");
    }
    assert_eq!(client.call(TMessage::Walk { fid: ROOT, newfid: 3, names: Names(vec![b"a/.."]) }), Err(Errno::EINVAL));
}

#[test]
fn symbolic_links_are_told_not_followed() {
    let mut client = Client::new();
    client.mkdir("d").unwrap();
    let mut made = client.call(TMessage::Symlink { fid: ROOT, name: b"l", text: b"d/../../etc", gid: 0 }).unwrap();
    assert_eq!(made.qid().kind, 2);
    assert_eq!(client.walk(ROOT, 1, "l/x").unwrap().len(), 1);
    client.walk(ROOT, 1, "l").unwrap();
    assert_eq!(client.call(TMessage::Readlink { fid: 1 }).unwrap().0, b"\x0b\0d/../../etc");
    assert_eq!(client.call(TMessage::Lopen { fid: 1, flags: 0 }), Err(Errno::ELOOP));
    assert_eq!(client.call(TMessage::Readlink { fid: ROOT }), Err(Errno::EINVAL));
}

#[test]
fn directories_are_sorted_and_begin_with_the_dots() {
    let mut client = Client::new();
    for name in ["b", "a", "ab", "B", "\u{e9}"] {
        client.mkdir(name).unwrap();
    }
    client.create(2, "c").unwrap();
    client.open(1, "", 0).unwrap();
    let entries = client.readdir(1, 0, 4096).unwrap();
    assert_eq!(entries.iter().map(|entry| &entry.0[..]).collect::<Vec<_>>(), [".", "..", "B", "a", "ab", "b", "c", "\u{e9}"]);
    assert_eq!(entries.iter().map(|entry| entry.2).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    assert_eq!((entries[0].1, entries[1].1, entries[2].3, entries[6].3), (1, 1, 4, 8));
    assert_eq!(client.walk(ROOT, 3, "ab").unwrap()[0].path, entries[4].1, "the number of an entry is the file's");
    assert_eq!(client.readdir(1, 8, 4096), Ok(vec![]));
    assert_eq!(client.readdir(1, u64::MAX, 4096), Ok(vec![]));
    assert_eq!(client.readdir(1, 0, 10), Err(Errno::EINVAL), "room for no entry");
    assert_eq!(client.readdir(1, 0, 60).unwrap().len(), 2);
    assert_eq!(client.readdir(2, 0, 60), Err(Errno::ENOTDIR));
    assert_eq!(client.read(1, 0, 60), Err(Errno::EISDIR));
}

#[test]
fn offsets_stay_true_while_files_come_and_go() {
    let mut client = Client::new();
    let all: Vec<String> = (0..50).map(|number| format!("{number:02}")).collect();
    for name in &all {
        client.create(9, name).unwrap();
        client.clunk(9).unwrap();
    }
    client.open(1, "", 0).unwrap();
    let (mut seen, mut offset) = (Vec::new(), 0);
    loop {
        let entries = client.readdir(1, offset, 100).unwrap();
        let Some(last) = entries.last() else { break };
        offset = last.2;
        for (name, ..) in entries {
            if name != "." && name != ".." {
                client.unlink(&name).unwrap();
                seen.push(name);
            }
        }
        client = client.restored();
    }
    assert_eq!(seen, all);
    assert_eq!(client.names(1), [".", ".."], "offset 0 reads anew");
}

#[test]
fn numbers_go_by_first_sight_and_stay() {
    let numbers = || {
        let mut client = Client::new();
        client.server.fs.write_file("z", b"").unwrap();
        client.server.fs.write_file("a", b"").unwrap();
        let z = client.walk(ROOT, 1, "z").unwrap()[0].path;
        client.open(2, "", 0).unwrap();
        let listed: Vec<u64> = client.readdir(2, 0, 4096).unwrap().into_iter().map(|entry| entry.1).collect();
        let mut client = client.restored();
        client.server.fs.write_file("m", b"").unwrap();
        let m = client.walk(ROOT, 3, "m").unwrap()[0].path;
        assert_eq!(client.walk(ROOT, 4, "a").unwrap()[0].path, listed[2]);
        (z, listed, m)
    };
    assert_eq!(numbers(), (2, vec![1, 1, 3, 2], 4));
    assert_eq!(numbers(), numbers());
}

#[test]
fn a_file_of_the_same_name_is_another_file() {
    let mut client = Client::new();
    let first = client.create(1, "f").unwrap().path;
    client.unlink("f").unwrap();
    let second = client.create(2, "f").unwrap().path;
    assert_ne!(first, second);
    client.server.fs.remove("f").unwrap();
    assert_eq!(client.walk(ROOT, 3, "f"), Err(Errno::ENOENT));
    client.server.fs.write_file("f", b"").unwrap();
    let third = client.walk(ROOT, 3, "f").unwrap()[0].path;
    assert_ne!(second, third);
    client.server.fs.remove("f").unwrap();
    assert_ne!(client.mkdir("f").unwrap().path, third);
}

#[test]
fn unlinked_open_files_keep_working() {
    let mut client = Client::new();
    client.create(1, "f").unwrap();
    client.walk(ROOT, 2, "f").unwrap();
    client.unlink("f").unwrap();
    assert_eq!(client.walk(ROOT, 3, "f"), Err(Errno::ENOENT));
    let mut client = client.restored();
    assert_eq!(client.write(1, 0, b"still"), Ok(5));
    assert_eq!(client.read(1, 0, 10), Ok(b"still".to_vec()));
    // Linux asks by the fid of the name as well.
    assert_eq!(client.getattr(2), Ok((0o100_644, 5)));
    let changes = Changes { valid: 8, size: 2, ..Changes::default() };
    client.call(TMessage::Setattr { fid: 2, changes }).unwrap();
    assert_eq!(client.read(1, 0, 10), Ok(b"st".to_vec()));
    // It opens the file once more to write back what was mapped.
    client.walk(2, 3, "").unwrap();
    client.call(TMessage::Lopen { fid: 3, flags: O_RDWR }).unwrap();
    assert_eq!(client.write(3, 2, b"ays"), Ok(3));
    client.clunk(1).unwrap();
    assert_eq!(client.read(3, 0, 10), Ok(b"stays".to_vec()));
    let root = Target::Path(RelativePath::default());
    let empty = MemoryFs::new(CAPACITY).statistics(&root).unwrap().blocks_free;
    client.clunk(3).unwrap();
    assert_eq!(client.getattr(2), Err(Errno::ESTALE));
    assert_eq!(client.call(TMessage::Lopen { fid: 2, flags: 0 }), Err(Errno::ESTALE));
    assert_eq!(client.server.fs.statistics(&root).unwrap().blocks_free, empty, "the last fid ends it");
}

/// Linux says so of an open directory that is gone, and libraries take it for the end.
#[test]
fn a_removed_directory_that_is_open_has_no_entries() {
    let mut client = Client::new();
    client.mkdir("d").unwrap();
    client.open(1, "d", 0).unwrap();
    client.open(2, "d", 0).unwrap();
    assert_eq!(client.names(1), [".", ".."]);
    client.call(TMessage::Unlinkat { dfid: ROOT, name: b"d", flags: 0x200 }).unwrap();
    for fid in [1, 2] {
        assert_eq!(client.readdir(fid, 0, 1000), Err(Errno::ENOENT), "fid {fid}");
        client.clunk(fid).unwrap();
    }
}

#[test]
fn fids_follow_a_rename_of_what_is_above_them() {
    let mut client = Client::new();
    client.mkdir("d").unwrap();
    client.walk(ROOT, 1, "d").unwrap();
    client.call(TMessage::Lcreate { fid: 1, name: b"f", flags: O_RDWR, mode: 0o600, gid: 0 }).unwrap();
    client.walk(ROOT, 2, "d/f").unwrap();
    client.mkdir("to").unwrap();
    client.walk(ROOT, 3, "to").unwrap();
    client.walk(ROOT, 4, "d").unwrap();
    client.call(TMessage::Rename { fid: 4, dfid: 3, name: b"e" }).unwrap();
    client.write(1, 0, b"abc").unwrap();
    assert_eq!(client.getattr(2), Ok((0o100_600, 3)));
    let mut client = client.restored_without_handles();
    assert_eq!(client.read(1, 0, 9), Ok(b"abc".to_vec()));
    assert_eq!(client.server.fs.read_file("to/e/f"), Ok(&b"abc"[..]));
    assert_eq!(client.walk(2, 5, "../..").unwrap()[1].path, client.walk(3, 6, "../to").unwrap()[1].path);
}

#[test]
fn renames_that_cannot_be_change_nothing() {
    let mut client = Client::new();
    client.mkdir("d").unwrap();
    client.create(1, "f").unwrap();
    client.walk(ROOT, 2, "d").unwrap();
    let into_itself = TMessage::Renameat { olddirfid: ROOT, oldname: b"d", newdirfid: 2, newname: b"x" };
    assert_eq!(client.call(into_itself), Err(Errno::EINVAL));
    assert_eq!(client.rename("d", "f"), Err(Errno::ENOTDIR));
    assert_eq!(client.rename("f", "d"), Err(Errno::EISDIR));
    assert_eq!(client.rename("nothing", "x"), Err(Errno::ENOENT));
    assert_eq!(client.call(TMessage::Rename { fid: ROOT, dfid: ROOT, name: b"x" }), Err(Errno::EBUSY));
    client.rename("f", "f").unwrap();
    client.call(TMessage::Link { dfid: 2, fid: 1, name: b"f" }).unwrap();
    client.mkdir("e").unwrap();
    assert_eq!(client.rename("e", "d"), Err(Errno::ENOTEMPTY));
    client.rename("d", "e").unwrap();
    client.open(3, "", 0).unwrap();
    assert_eq!(client.names(3), [".", "..", "e", "f"]);
}

#[test]
fn links_share_one_content() {
    let mut client = Client::new();
    client.create(1, "a").unwrap();
    client.call(TMessage::Link { dfid: ROOT, fid: 1, name: b"b" }).unwrap();
    assert_eq!(client.call(TMessage::Link { dfid: ROOT, fid: 1, name: b"b" }), Err(Errno::EEXIST));
    client.write(1, 0, b"both").unwrap();
    client.unlink("a").unwrap();
    assert_eq!(client.server.fs.read_file("b"), Ok(&b"both"[..]));
    assert_eq!(client.call(TMessage::Link { dfid: ROOT, fid: ROOT, name: b"c" }), Err(Errno::EPERM));
}

#[test]
fn removal_asks_for_the_right_kind() {
    let mut client = Client::new();
    client.mkdir("d").unwrap();
    client.create(1, "f").unwrap();
    assert_eq!(client.unlink("d"), Err(Errno::EISDIR));
    let rmdir = |name| TMessage::Unlinkat { dfid: ROOT, name, flags: AT_REMOVEDIR };
    assert_eq!(client.call(rmdir(b"f")), Err(Errno::ENOTDIR));
    assert_eq!(client.call(TMessage::Unlinkat { dfid: ROOT, name: b"f", flags: 1 }), Err(Errno::EINVAL));
    client.call(rmdir(b"d")).unwrap();
    client.call(TMessage::Remove { fid: 1 }).unwrap();
    assert_eq!(client.clunk(1), Err(Errno::EBADF));
    assert_eq!(client.call(TMessage::Remove { fid: ROOT }), Err(Errno::EBUSY));
    assert_eq!(client.clunk(ROOT), Err(Errno::EBADF), "a remove ends the fid even if it fails");
}

#[test]
fn attributes_are_set_one_by_one() {
    let mut client = Client::new();
    client.create(1, "f").unwrap();
    let set = |valid| {
        let changes = Changes { valid, mode: 0o7_640, uid: 3, gid: 4, size: 5, atime_sec: 6, atime_nsec: 7, mtime_sec: 8, mtime_nsec: 9 };
        TMessage::Setattr { fid: 1, changes }
    };
    let attributes = |client: &mut Client| client.server.attributes_at(RelativePath::parse("f").unwrap()).unwrap();
    let before = attributes(&mut client);
    client.server.fs.set_time(Timestamp { seconds: 100, nanoseconds: 0 });
    client.call(set(0)).unwrap();
    assert_eq!((before.uid, before.gid, before.permissions), (0, 7, 0o644));
    client.call(set(1 | 2 | 8 | 0x80 | 0x20 | 0x10)).unwrap();
    let after = attributes(&mut client);
    assert_eq!((after.permissions, after.uid, after.gid, after.size), (0o7_640, 3, 7, 5));
    assert_eq!(after.accessed, Timestamp { seconds: 6, nanoseconds: 7 });
    assert_eq!(after.modified, Timestamp { seconds: 100, nanoseconds: 0 });
    let changes = Changes { valid: 0x90, atime_nsec: 1_000_000_000, ..Changes::default() };
    assert_eq!(client.call(TMessage::Setattr { fid: 1, changes }), Err(Errno::EINVAL));
}

#[test]
fn special_files_are_the_guests_to_open() {
    let mut client = Client::new();
    let mknod = |mode| TMessage::Mknod { dfid: ROOT, name: b"n", mode, major: 1, minor: 3, gid: 0 };
    assert_eq!(client.call(mknod(0o040_755)), Err(Errno::EINVAL));
    client.call(mknod(0o020_666)).unwrap();
    client.walk(ROOT, 1, "n").unwrap();
    assert_eq!(client.getattr(1), Ok((0o020_666, 0)));
    assert_eq!(client.call(TMessage::Lopen { fid: 1, flags: 0 }), Err(Errno::ENXIO));
}

#[test]
fn a_read_only_mount_refuses_every_change() {
    let mut fs = MemoryFs::new(CAPACITY);
    fs.write_file("f", b"abc").unwrap();
    let mut client = Client::with(fs, Access::ReadOnly);
    client.walk(ROOT, 1, "f").unwrap();
    for request in [
        TMessage::Lopen { fid: 1, flags: O_RDWR },
        TMessage::Lopen { fid: 1, flags: 0o1000 },
        TMessage::Lcreate { fid: ROOT, name: b"x", flags: O_RDWR, mode: 0o644, gid: 0 },
        TMessage::Mkdir { dfid: ROOT, name: b"x", mode: 0o755, gid: 0 },
        TMessage::Symlink { fid: ROOT, name: b"x", text: b"y", gid: 0 },
        TMessage::Mknod { dfid: ROOT, name: b"x", mode: 0o100_644, major: 0, minor: 0, gid: 0 },
        TMessage::Link { dfid: ROOT, fid: 1, name: b"x" },
        TMessage::Rename { fid: 1, dfid: ROOT, name: b"x" },
        TMessage::Renameat { olddirfid: ROOT, oldname: b"f", newdirfid: ROOT, newname: b"x" },
        TMessage::Unlinkat { dfid: ROOT, name: b"f", flags: 0 },
        TMessage::Setattr { fid: 1, changes: Changes { valid: 1, ..Changes::default() } },
        TMessage::Xattrcreate { fid: 1, name: b"user.a", size: 1, flags: 0 },
        TMessage::Remove { fid: 1 },
    ] {
        assert_eq!(client.call(request.clone()), Err(Errno::EROFS), "{request:?}");
    }
    client.open(1, "f", 0).unwrap();
    assert_eq!(client.read(1, 0, 9), Ok(b"abc".to_vec()));
}

#[test]
fn extended_attributes_are_set_listed_and_removed() {
    let mut client = Client::new();
    client.create(1, "f").unwrap();
    let set = |client: &mut Client, name: &[u8], flags, value: &[u8]| {
        client.walk(ROOT, 2, "f").unwrap();
        client.call(TMessage::Xattrcreate { fid: 2, name, size: value.len() as u64, flags }).unwrap();
        for (offset, byte) in value.iter().enumerate() {
            client.write(2, offset as u64, &[*byte]).unwrap();
            *client = client.restored();
        }
        client.clunk(2)
    };
    let get = |client: &mut Client, name: &[u8]| {
        let size = client.call(TMessage::Xattrwalk { fid: 1, newfid: 3, name })?.u64();
        let mut client = client.restored();
        let value = client.read(3, 0, 100)?;
        assert_eq!(value.len() as u64, size);
        client.clunk(3).unwrap();
        Ok(value)
    };
    set(&mut client, b"user.b", 0, b"one").unwrap();
    set(&mut client, b"user.a", 1, b"two").unwrap();
    assert_eq!(set(&mut client, b"user.a", 1, b"x"), Err(Errno::EEXIST));
    assert_eq!(set(&mut client, b"user.c", 2, b"x"), Err(Errno::ENODATA));
    set(&mut client, b"user.empty", 0, b"").unwrap();
    assert_eq!(get(&mut client, b""), Ok(b"user.a\0user.b\0user.empty\0".to_vec()));
    client.clunk(3).unwrap();
    assert_eq!(get(&mut client, b"user.b"), Ok(b"one".to_vec()));
    client.clunk(3).unwrap();
    set(&mut client, b"user.b", 2, b"").unwrap();
    assert_eq!(get(&mut client, b"user.b"), Err(Errno::ENODATA));
    client.walk(ROOT, 2, "f").unwrap();
    let create = |size| TMessage::Xattrcreate { fid: 2, name: b"user.d", size, flags: 0 };
    assert_eq!(client.call(create(65537)), Err(Errno::ERANGE));
    client.call(create(4)).unwrap();
    assert_eq!(client.write(2, 2, b"xyz"), Err(Errno::ENOSPC));
    assert_eq!(client.read(2, 0, 1), Err(Errno::EBADF));
}

#[test]
fn locks_are_granted_to_the_only_client() {
    let mut client = Client::new();
    client.create(1, "f").unwrap();
    let lock = |kind| TMessage::Lock { fid: 1, kind, flags: 1, start: 0, length: 0, proc_id: 5, client_id: b"box" };
    assert_eq!(client.call(lock(1)).unwrap().0, [0]);
    assert_eq!(client.call(lock(3)), Err(Errno::EINVAL));
    let mut answer = client.call(TMessage::Getlock { fid: 1, kind: 1, start: 2, length: 3, proc_id: 5, client_id: b"box" }).unwrap();
    assert_eq!((answer.take(), answer.u64(), answer.u64(), answer.u32(), &answer.0[..]), ([2], 2, 3, 5, &b"\x03\0box"[..]));
    client.call(TMessage::Fsync { fid: 1, datasync: 1 }).unwrap();
    assert_eq!(client.call(TMessage::Statfs { fid: 1 }).unwrap().0.len(), 60);
}

#[test]
fn open_fids_are_reopened_after_a_restore_or_stale() {
    let mut client = Client::new();
    client.create(1, "kept").unwrap();
    client.write(1, 0, b"abc").unwrap();
    client.create(2, "gone").unwrap();
    client.create(3, "turned").unwrap();
    client.create(4, "unlinked").unwrap();
    client.unlink("unlinked").unwrap();
    let mut client = client.restored_without_handles();
    let fs = &mut client.server.fs;
    fs.remove("gone").unwrap();
    fs.remove("turned").unwrap();
    fs.make_directory(&RelativePath::parse("turned").unwrap(), &crate::p9::Creation { permissions: 0, uid: 0, gid: 0 }).unwrap();
    assert_eq!(client.read(1, 1, 9), Ok(b"bc".to_vec()));
    assert_eq!(client.write(1, 3, b"d"), Ok(1), "the creating flags do not act again");
    for fid in [2, 3, 4] {
        assert_eq!(client.read(fid, 0, 9), Err(Errno::ESTALE), "fid {fid}");
        client.clunk(fid).unwrap();
    }
}

#[test]
fn files_unlinked_or_replaced_after_a_restore_stay_open() {
    let mut client = Client::new();
    for (fid, name) in [(1, "a"), (2, "b"), (3, "c")] {
        client.create(fid, name).unwrap();
        client.write(fid, 0, name.as_bytes()).unwrap();
    }
    let mut client = client.restored_without_handles();
    client.unlink("a").unwrap();
    client.rename("b", "c").unwrap();
    for (fid, content) in [(1, b"a"), (2, b"b"), (3, b"c")] {
        assert_eq!(client.read(fid, 0, 9), Ok(content.to_vec()));
    }
}

#[test]
fn saving_changes_nothing() {
    let mut client = Client::new();
    client.mkdir("d").unwrap();
    client.create(1, "f").unwrap();
    client.open(2, "d", 0).unwrap();
    client.readdir(2, 0, 100).unwrap();
    client.create(3, "g").unwrap();
    client.unlink("g").unwrap();
    let state = client.server.save();
    let restored = client.restored();
    assert_eq!(restored.server.save(), state);
    assert_eq!(restored.server.fs, client.server.fs);
}

#[test]
fn impossible_records_are_refused() {
    let mut client = Client::new();
    client.mkdir("d").unwrap();
    client.create(1, "f").unwrap();
    client.walk(ROOT, 2, "d").unwrap();
    let good = client.server.save();
    let refused = |change: &dyn Fn(&mut SessionState)| {
        let mut state = good.clone();
        change(&mut state);
        Server::restore(client.server.fs.clone(), Access::ReadWrite, &state).is_err()
    };
    assert!(!refused(&|_| {}));
    assert!(refused(&|state| state.msize = Some(MAX_MSIZE + 1)));
    assert!(refused(&|state| state.msize = Some(0)));
    assert!(refused(&|state| state.msize = None), "fids without a session");
    assert!(refused(&|state| state.walked[1].fid = ROOT));
    assert!(refused(&|state| state.walked[1].fid = NO_FID));
    assert!(refused(&|state| state.walked[1].node = 99));
    assert!(refused(&|state| state.nodes[0].name = b"..".to_vec()));
    assert!(refused(&|state| state.nodes[0].name = b"f".to_vec()));
    assert!(refused(&|state| state.nodes[0].parent = 0), "gone, with a name");
    assert!(refused(&|state| (state.nodes[1].parent, state.nodes[1].name) = (state.nodes[1].node, b"f".to_vec())));
    assert!(refused(&|state| state.files[0].flags = 3));
    assert!(refused(&|state| state.next_node = 2));
    assert!(
        refused(&|state| {
            state.files.clear();
            (state.nodes[1].parent, state.nodes[1].name) = (0, vec![]);
        }),
        "gone, without a fid"
    );
}

#[test]
fn replies_fit_into_what_the_client_gives() {
    let mut client = Client::new();
    client.create(1, "f").unwrap();
    client.write(1, 0, &[7; 1000]).unwrap();
    let read = TMessage::Read { fid: 1, offset: 0, count: 1000 };
    assert_eq!(client.call_with_room(read.clone(), 111).unwrap().0.len(), 104);
    assert_eq!(client.call_with_room(read.clone(), 11).unwrap().0, [0; 4]);
    assert!(client.raw(&read.encode(TAG), 10).is_empty());
    assert_eq!(client.call_with_room(TMessage::Getattr { fid: 1, request_mask: 0 }, 100), Err(Errno::ERANGE));
    client.version(256);
    client.call(TMessage::Attach { fid: ROOT, afid: NO_FID, uname: b"", aname: b"", n_uname: 0 }).unwrap();
    client.open(1, "f", 0).unwrap();
    assert_eq!(client.read(1, 0, 1000).unwrap().len(), 256 - 11);
    assert_eq!(client.call(TMessage::Symlink { fid: ROOT, name: b"l", text: &[b'x'; 300], gid: 0 }), Err(Errno::EMSGSIZE));
}

#[test]
fn what_is_no_message_is_answered_and_counted() {
    let mut client = Client::new();
    let clunk = TMessage::Clunk { fid: 5 }.encode(TAG);
    let mut bad: Vec<Vec<u8>> = (0..clunk.len()).map(|length| clunk[..length].to_vec()).collect();
    bad.push([&clunk[..], b"x"].concat());
    bad.push({
        let mut longer = [&clunk[..], b"x"].concat();
        longer[0] += 1;
        longer
    });
    bad.push({
        let mut unknown = clunk.clone();
        unknown[4] = 200;
        unknown
    });
    for (index, message) in bad.iter().enumerate() {
        let reply = client.raw(message, 4096);
        assert_eq!((reply.len(), reply[4]), (11, 7), "{message:?}");
        assert_eq!(reply[5..7], if message.len() < 7 { [0xff; 2] } else { TAG.to_le_bytes() });
        assert_eq!(client.server.protocol_errors, index as u64 + 1);
    }
}

#[test]
fn the_capacity_is_the_limit_of_what_a_guest_can_store() {
    let mut client = Client::new();
    client.create(1, "f").unwrap();
    let chunk = vec![1; 4096];
    let full = (0..).find(|index| client.write(1, index * 4096, &chunk).is_err()).unwrap();
    assert!(full * 4096 <= CAPACITY && (full + 2) * 4096 > CAPACITY - 4096);
    let changes = Changes { valid: 8, size: u64::MAX, ..Changes::default() };
    assert_eq!(client.call(TMessage::Setattr { fid: 1, changes }), Err(Errno::ENOSPC));
    let made = (0..100_000).find(|index| client.mkdir(&index.to_string()).is_err()).unwrap();
    assert!(made < 100);
}
