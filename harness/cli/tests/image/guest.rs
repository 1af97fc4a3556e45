//! The root file system of an image, read by the guest's own kernel.

use super::builder::{Layer, layout};
use super::common::{guest, prebake_cold, run, scratch, text};
use super::{read, written};
use std::fs;
use tar::EntryType;

/// A file of an initramfs.
fn file_of(archive: &[u8], wanted: &str) -> Vec<u8> {
    let field =
        |at: usize, number: usize| usize::from_str_radix(str::from_utf8(&archive[at + 6 + 8 * number..][..8]).unwrap(), 16).unwrap();
    let mut at = 0;
    // Of a file with several names the last has the content.
    let inode = |at: usize| field(at, 0);
    let mut sought = None;
    loop {
        let (size, name_size) = (field(at, 6), field(at, 11));
        let name = &archive[at + 110..][..name_size - 1];
        let content = (at + 110 + name_size).next_multiple_of(4);
        if name == wanted.as_bytes() {
            sought = Some(inode(at));
        }
        if sought == Some(inode(at)) && size > 0 {
            return archive[content..][..size].to_vec();
        }
        assert_ne!(name, b"TRAILER!!!", "there is no {wanted}");
        at = (content + size).next_multiple_of(4);
    }
}

#[test]
fn the_kernel_finds_what_the_image_has() {
    let busybox = file_of(&fs::read(guest("initramfs.cpio")).unwrap(), "bin/busybox");
    let size = ((2_u64 << 30) + 4).to_string();
    let map = format!("{},4", 2_u64 << 30);
    let mut layer = Layer::new()
        .pax(&[("uid", b"1000"), ("gid", b"2000")])
        .folder("./", 0o1751)
        .entry(EntryType::Regular, b"bin/busybox", b"", 0o755, &busybox)
        .folder("proc", 0o755)
        .folder("sys", 0o755)
        .folder("dev", 0o755)
        .file("a/first", "linked")
        .link("b/second", "a/first")
        .device("null", 1, 3)
        .entry(EntryType::Regular, b"setuid", b"", 0o4755, b"")
        .entry(EntryType::Regular, b"\xff\xfe", b"", 0o644, b"odd")
        .symlink("link", "b/second")
        .pax(&[("uid", b"4000000000"), ("mtime", b"-1"), ("SCHILY.xattr.user.name", b"value")])
        .file("pax", "x")
        .pax(&[("GNU.sparse.size", size.as_bytes()), ("GNU.sparse.map", map.as_bytes()), ("GNU.sparse.name", b"big")])
        .file("x", "tail");
    for applet in ["sh", "stat", "cat", "tail", "ls", "find", "wc", "readlink"] {
        layer = layer.link(&format!("bin/{applet}"), "bin/busybox");
    }
    for number in 0..2000 {
        layer = layer.file(&format!("many/a name that is long enough to fill blocks {number}"), "");
    }
    let (_folder, layout) = layout(&[layer.done(), Layer::new().file("many/.wh.a name that is long enough to fill blocks 7", "").done()]);
    let disk = scratch("root.erofs");
    fs::write(&disk, written(&read(&layout.0).unwrap())).unwrap();

    let script = "cat /link; echo\n\
        [ \"$(stat -c '%h %i' /a/first)\" = \"$(stat -c '%h %i' /b/second)\" ] && echo one file\n\
        stat -c '%n %a %h %u %Y %F %t:%T' /setuid /pax /null /a/first\n\
        stat -c '%n %a %u %g' /\n\
        stat -c '%s' /big; tail -c 4 /big; echo\n\
        cat /$(printf '\\377\\376'); echo; readlink /link; find /many -type f | wc -l\n";
    let mut command = prebake_cold("boot");
    command.arg("--append").arg("console=ttyS0 quiet panic=-1 prebake.root=/dev/vda").arg("--clock").arg("virtual");
    command.arg("--disk").arg(format!("{}:ro", disk.display()));
    let output = run(&mut command, script.as_bytes());
    let wanted = "linked\none file\n/setuid 4755 1 0 1 regular empty file 0:0\n/pax 644 1 4000000000 -1 regular file 0:0\n\
        /null 666 1 0 1 character special file 1:3\n/a/first 644 2 0 1 regular file 0:0\n/ 1751 1000 2000\n2147483652\ntail\nodd\nb/second\n1999\n";
    assert_eq!(text(&output.stdout), wanted, "{}", text(&output.stderr));
}
