//! The content of directories.

use super::BLOCK;
use crate::make::image::tree::{Id, Node, Tree};

/// Bytes of an entry, before the names.
const ENTRY_LEN: usize = 12;

/// Content of `folder`, which is in `parent`: in each block entries in the order of their names, then the names. Between a block's last name
/// and its end there are zeroes.
pub fn directory(tree: &Tree, folder: Id, parent: Id, numbers: &[u64]) -> Vec<u8> {
    let Node::Folder(names) = &tree.inode(folder).node else { return Vec::new() };
    let own = [(&b"."[..], folder), (b"..", parent)];
    let mut entries: Vec<(&[u8], Id)> = names.iter().map(|(name, found)| (name.as_slice(), found.id)).chain(own).collect();
    entries.sort_unstable();

    let mut bytes = Vec::new();
    let mut rest = entries.as_slice();
    while !rest.is_empty() {
        bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
        let mut used = 0;
        let count = rest.iter().take_while(|(name, _)| {
            used += ENTRY_LEN + name.len();
            used <= BLOCK as usize
        });
        let (block, later) = rest.split_at(count.count());
        let mut offset = block.len() * ENTRY_LEN;
        for (name, id) in block {
            bytes.extend(numbers[id.index()].to_le_bytes());
            bytes.extend((offset as u16).to_le_bytes());
            bytes.extend([kind(&tree.inode(*id).node), 0]);
            offset += name.len();
        }
        block.iter().for_each(|(name, _)| bytes.extend(*name));
        rest = later;
    }
    bytes
}

/// The kind as `readdir` says it.
fn kind(node: &Node) -> u8 {
    match node {
        Node::File(_) => 1,
        Node::Folder(_) => 2,
        Node::Character(..) => 3,
        Node::Block(..) => 4,
        Node::Fifo => 5,
        Node::Socket => 6,
        Node::Symlink(_) => 7,
    }
}
