use super::*;
use tar::{Builder, EntryType, Header};

fn header(kind: EntryType, path: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_path(path).unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(1);
    header.set_gid(2);
    header.set_mtime(3);
    header.set_cksum();
    header
}

fn entries(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>> {
    let mut archive = Archive::new("test", Stream(bytes));
    let mut found = Vec::new();
    while let Some(entry) = archive.next()? {
        let mut content = Vec::new();
        archive.read_to_end(&mut content).map_err(ImageError::io("read"))?;
        found.push((entry, content));
    }
    Ok(found)
}

fn one(bytes: &[u8]) -> (Entry, Vec<u8>) {
    let mut found = entries(bytes).unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

/// An entry with a header of its own and one of PAX before it.
fn with_pax(records: &[(&str, &[u8])], header: &Header, content: &[u8]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    builder.append_pax_extensions(records.iter().copied()).unwrap();
    builder.append(header, content).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn headers_say_what_they_say() {
    let mut builder = Builder::new(Vec::new());
    builder.append(&header(EntryType::Regular, "a/b", 5), &b"hello"[..]).unwrap();
    let bytes = builder.into_inner().unwrap();
    let (entry, content) = one(&bytes);
    assert_eq!((entry.path.as_slice(), entry.kind, entry.mode, entry.uid, entry.gid), (&b"a/b"[..], Kind::File, 0o644, 1, 2));
    assert_eq!((entry.mtime, entry.size, content.as_slice()), ((3, 0), 5, &b"hello"[..]));
    // Some archives end without a mark.
    assert_eq!(one(&bytes[..1024]).1, b"hello");
}

#[test]
fn long_names_are_whole_in_both_forms() {
    let long = "d/".repeat(100) + "f";
    let mut gnu = Builder::new(Vec::new());
    gnu.append_data(&mut header(EntryType::Regular, "x", 0), &long, &b""[..]).unwrap();
    gnu.append_link(&mut header(EntryType::Symlink, "x", 0), "l", &long).unwrap();
    let found = entries(&gnu.into_inner().unwrap()).unwrap();
    assert_eq!((found[0].0.path.as_slice(), found[1].0.link.as_slice()), (long.as_bytes(), long.as_bytes()));

    let bytes = with_pax(
        &[("path", b"\xff\n"), ("linkpath", b"t"), ("uid", b"3000000000"), ("mtime", b"-1.5")],
        &header(EntryType::Symlink, "x", 0),
        b"",
    );
    let entry = one(&bytes).0;
    assert_eq!(
        (entry.path.as_slice(), entry.link.as_slice(), entry.uid, entry.mtime),
        (&b"\xff\n"[..], &b"t"[..], 3_000_000_000, (-2, 500_000_000))
    );
}

#[test]
fn what_a_global_header_says_is_not_heard() {
    let mut global = header(EntryType::XGlobalHeader, "g", 12);
    global.set_cksum();
    let mut builder = Builder::new(Vec::new());
    builder.append(&global, &b"12 path=abc\n"[..]).unwrap();
    builder.append(&header(EntryType::Regular, "x", 0), &b""[..]).unwrap();
    assert_eq!(one(&builder.into_inner().unwrap()).0.path, b"x");
}

/// The size, and the bytes that are not zero.
fn sparse(bytes: &[u8]) -> (u64, Vec<Segment>, Vec<u8>) {
    let (entry, content) = one(bytes);
    assert_eq!(entry.path, b"s");
    (entry.size, entry.segments, content)
}

#[test]
fn holes_are_known_in_all_four_forms() {
    let wanted = (1 << 33, vec![Segment { offset: 4096, length: 2 }, Segment { offset: 1 << 32, length: 1 }], b"abc".to_vec());

    let mut old = header(EntryType::GNUSparse, "s", 3);
    let gnu = old.as_gnu_mut().unwrap();
    gnu.set_real_size(wanted.0);
    gnu.set_is_extended(true);
    gnu.sparse[0].set_offset(4096);
    gnu.sparse[0].set_length(2);
    old.set_cksum();
    let mut extension = tar::GnuExtSparseHeader::new();
    extension.sparse_mut()[0].set_offset(1 << 32);
    extension.sparse_mut()[0].set_length(1);
    let mut bytes = [&old.as_bytes()[..], extension.as_bytes(), b"abc"].concat();
    bytes.resize(4 * 512, 0);
    assert_eq!(sparse(&bytes), wanted);

    let stored = header(EntryType::Regular, "x", 3);
    let size = wanted.0.to_string();
    let pairs: [(&str, &[u8]); 7] = [
        ("GNU.sparse.size", size.as_bytes()),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"4096"),
        ("GNU.sparse.numbytes", b"2"),
        ("GNU.sparse.offset", b"4294967296"),
        ("GNU.sparse.numbytes", b"1"),
        ("path", b"s"),
    ];
    assert_eq!(sparse(&with_pax(&pairs, &stored, b"abc")), wanted);

    let map: [(&str, &[u8]); 3] =
        [("GNU.sparse.size", size.as_bytes()), ("GNU.sparse.map", b"4096,2,4294967296,1"), ("GNU.sparse.name", b"s")];
    assert_eq!(sparse(&with_pax(&map, &stored, b"abc")), wanted);

    let newest: [(&str, &[u8]); 4] =
        [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.name", b"s"), ("GNU.sparse.realsize", size.as_bytes())];
    let mut content = b"2\n4096\n2\n4294967296\n1\n".to_vec();
    content.resize(512, 0);
    content.extend(b"abc");
    assert_eq!(sparse(&with_pax(&newest, &header(EntryType::Regular, "x", content.len() as u64), &content)), wanted);
}

#[test]
fn lists_of_holes_that_cannot_be_are_refused() {
    let problem = |map: &[u8], size: &[u8]| {
        let records = [("GNU.sparse.size", size), ("GNU.sparse.map", map), ("GNU.sparse.name", b"s")];
        let error = entries(&with_pax(&records, &header(EntryType::Regular, "x", 3), b"abc")).unwrap_err();
        assert_eq!(error.kind(), "image-archive", "{error}");
        error.to_string()
    };
    assert!(problem(b"0,2,1,1", b"10").contains("overlap"));
    assert!(problem(b"0,2,9,1", b"9").contains("behind its end"));
    assert!(problem(b"0,2", b"10").contains("3 bytes of content for pieces of 2"));
    assert!(problem(b"0,2,9", b"10").contains("middle"));
    assert!(problem(b"18446744073709551615,3", b"10").contains("behind its end"));
}

#[test]
fn what_is_cut_off_is_missed() {
    let mut builder = Builder::new(Vec::new());
    builder.append_data(&mut header(EntryType::Regular, "x", 600), "d/".repeat(100) + "f", &[1; 600][..]).unwrap();
    let bytes = builder.into_inner().unwrap();
    let place = |length: usize| entries(&bytes[..length]).unwrap_err();
    for (length, word) in
        [(100, "a header"), (512, "name"), (1024, "no entry follows"), (1100, "a header"), (1600, "content"), (2000, "content")]
    {
        let error = place(length);
        assert_eq!(error.kind(), "image-truncated", "{length}: {error}");
        assert!(error.to_string().contains(word), "{length}: {error}");
    }
}

#[test]
fn a_header_that_was_damaged_is_refused() {
    let mut bytes = header(EntryType::Regular, "x", 0).as_bytes().to_vec();
    bytes[0] ^= 1;
    assert!(entries(&bytes).unwrap_err().to_string().contains("sum"));
    let mut odd = header(EntryType::new(b'V'), "x", 0);
    odd.set_cksum();
    assert!(entries(odd.as_bytes()).unwrap_err().to_string().contains("\"V\""));
    let long = header(EntryType::GNULongName, "x", MAX_EXTENSION + 1);
    assert!(entries(long.as_bytes()).unwrap_err().to_string().contains("limit"));
}

proptest::proptest! {
    #[test]
    fn any_bytes_end(mut bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..4000), kind in proptest::sample::select(b"\x000123456SxgLKV".to_vec())) {
        if bytes.len() >= 512 {
            let mut header = Header::from_byte_slice(&bytes[..512]).clone();
            header.set_entry_type(EntryType::new(kind));
            header.set_size(1000);
            header.set_cksum();
            bytes[..512].copy_from_slice(header.as_bytes());
        }
        let _ = entries(&bytes);
    }
}
