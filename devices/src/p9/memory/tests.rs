use super::*;

#[test]
fn the_host_writes_reads_and_removes() {
    let mut fs = MemoryFs::new(4096);
    fs.write_file("info", b"c: sh\n").unwrap();
    fs.write_file("info", b"c: ls").unwrap();
    assert_eq!(fs.read_file("info"), Ok(&b"c: ls"[..]));
    assert_eq!(fs.attributes_of(fs.resolve(&RelativePath::parse("info").unwrap()).unwrap()).unwrap().permissions, 0o600);
    assert_eq!(fs.write_file("no/such", b""), Err(Errno::ENOENT));
    assert_eq!(fs.write_file("", b""), Err(Errno::EISDIR));
    assert_eq!(fs.write_file("big", &[0; 4096]), Err(Errno::ENOSPC));
    assert_eq!(fs.remove(""), Err(Errno::EBUSY));
    fs.remove("info").unwrap();
    assert_eq!(fs.read_file("info"), Err(Errno::ENOENT));
}

#[test]
fn everything_that_is_removed_gives_its_room_back() {
    let mut fs = MemoryFs::new(1 << 16);
    let empty = fs.used;
    for _ in 0..1000 {
        fs.write_file("f", &[1; 1000]).unwrap();
        fs.write_file("f", &[1; 10]).unwrap();
        fs.remove("f").unwrap();
    }
    assert_eq!(fs.used, empty);
}

#[test]
fn a_failed_write_leaves_no_trace_in_the_accounts() {
    let mut fs = MemoryFs::new(2048);
    assert_eq!(fs.write_file("f", &[0; 4000]), Err(Errno::ENOSPC));
    let after = fs.used;
    assert_eq!(fs.used, MemoryFs::restore(&fs.save()).unwrap().used);
    assert_eq!(fs.write_file("f", &[0; 4000]), Err(Errno::ENOSPC));
    assert_eq!(fs.used, after);
}

#[test]
fn records_that_are_no_tree_are_refused() {
    let mut fs = MemoryFs::new(1 << 16);
    let creation = Creation { permissions: 0o755, uid: 0, gid: 0 };
    fs.make(&RelativePath::parse("d").unwrap(), Content::Directory(BTreeMap::new()), &creation).unwrap();
    fs.write_file("d/f", b"abc").unwrap();
    let file = fs.resolve(&RelativePath::parse("d/f").unwrap()).unwrap();
    fs.new_handle(file, false).unwrap();
    let good = fs.save();
    assert_eq!(MemoryFs::restore(&good).unwrap(), fs);
    let (root, d, f) = (0, 1, 2);
    let entry = |inode| NamedInode { name: b"x".to_vec(), inode };
    let refused = |what: &str, change: &dyn Fn(&mut MemoryState)| {
        let mut state = good.clone();
        change(&mut state);
        assert!(MemoryFs::restore(&state).is_err(), "{what}");
    };
    refused("no root", &|state| drop(state.inodes.remove(root)));
    refused("root is a file", &|state| {
        state.inodes[root].mode = 0o100_644;
        state.inodes[root].entries.clear();
    });
    refused("directory twice", &|state| state.inodes[root].entries.push(entry(2)));
    refused("root below itself", &|state| state.inodes[d].entries.push(entry(1)));
    refused("nobody's child", &|state| state.inodes[d].entries.push(entry(77)));
    refused("unreachable", &|state| {
        state.inodes[d].entries.clear();
        state.handles.clear();
    });
    refused("same name twice", &|state| {
        let again = state.inodes[d].entries[0].clone();
        state.inodes[d].entries.push(again);
    });
    refused("bad name", &|state| state.inodes[d].entries[0].name = b"..".to_vec());
    refused("same number twice", &|state| state.inodes[f].inode = 2);
    refused("number not given yet", &|state| state.next_inode = 3);
    refused("handle not given yet", &|state| state.next_handle = 1);
    refused("directory open", &|state| state.handles[0].inode = 2);
    refused("file with entries", &|state| state.inodes[f].entries.push(entry(2)));
    refused("file with a device number", &|state| state.inodes[f].device = [1, 1]);
    refused("no such kind", &|state| state.inodes[f].mode = 0o150_644);
    refused("bits beyond the mode", &|state| state.inodes[f].mode |= 1 << 20);
    refused("no such time", &|state| state.inodes[f].nanoseconds[1] = 1_000_000_000);
    refused("more than the capacity", &|state| state.capacity = 100);
}
