//! An archive of one file as the kernel unpacks it behind another: cpio in its form `newc`.

/// An archive with the file `name`, which everyone may read. Of equal arguments it is equal.
pub fn segment(name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    entry(&mut bytes, 1, 0o100_644, name, content);
    entry(&mut bytes, 0, 0, "TRAILER!!!", b"");
    bytes
}

fn entry(bytes: &mut Vec<u8>, inode: usize, mode: usize, name: &str, content: &[u8]) {
    bytes.extend(b"070701");
    // Owner, group and time are zero; so are the devices, and the sum that this form has not.
    let fields = [inode, mode, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
    fields.iter().for_each(|field| bytes.extend(format!("{field:08x}").bytes()));
    bytes.extend(name.bytes());
    bytes.push(0);
    pad(bytes);
    bytes.extend(content);
    pad(bytes);
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}
