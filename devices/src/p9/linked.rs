//! Files with several names: one file, and so one number, whichever name it is reached by.

use super::nodes::NodeId;
use super::{Attributes, FileIdentity};
use std::collections::BTreeMap;

/// Most files that are kept in mind. Above that all are forgotten, and numbered anew when they are seen again.
const MAX_FILES: usize = 1 << 16;

/// The numbers of the files that have been seen with several names. Not part of the saved record: on another host they are other files.
#[derive(Debug, Default)]
pub(super) struct Linked {
    numbers: BTreeMap<FileIdentity, NodeId>,
    files: BTreeMap<NodeId, FileIdentity>,
}

impl Linked {
    /// The number of the file that `node` stands for: the node's own, unless the file was seen under another name before.
    pub fn number(&mut self, node: NodeId, attributes: &Attributes) -> NodeId {
        let known = attributes.identity.and_then(|identity| self.numbers.get(&identity));
        if let Some(number) = known {
            return *number;
        }
        if self.files.len() >= MAX_FILES {
            *self = Self::default();
        }
        // What has this name now is not what had it before.
        let before = match attributes.identity {
            Some(identity) => self.files.insert(node, identity),
            None => self.files.remove(&node),
        };
        if let Some(before) = before {
            self.numbers.remove(&before);
        }
        if let Some(identity) = attributes.identity {
            self.numbers.insert(identity, node);
        }
        node
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p9::{DeviceNumber, FileKind, Timestamp};

    fn file(inode: Option<u64>) -> Attributes {
        let time = Timestamp::default();
        let identity = inode.map(|inode| FileIdentity { device: 1, inode });
        let (kind, device) = (FileKind::Regular, DeviceNumber::default());
        let (permissions, uid, gid, links, size, blocks, version) = (0, 0, 0, 0, 0, 0, 0);
        let (accessed, modified, changed) = (time, time, time);
        Attributes { kind, permissions, uid, gid, links, device, size, blocks, accessed, modified, changed, version, identity }
    }

    #[test]
    fn names_of_one_file_have_one_number() {
        let mut linked = Linked::default();
        assert_eq!(linked.number(NodeId(5), &file(Some(70))), NodeId(5));
        assert_eq!(linked.number(NodeId(6), &file(Some(70))), NodeId(5));
        assert_eq!(linked.number(NodeId(7), &file(Some(71))), NodeId(7));
        assert_eq!(linked.number(NodeId(8), &file(None)), NodeId(8));
    }

    #[test]
    fn two_files_never_share_a_number() {
        for other in [None, Some(71)] {
            let mut linked = Linked::default();
            linked.number(NodeId(5), &file(Some(70)));
            assert_eq!(linked.number(NodeId(6), &file(Some(70))), NodeId(5));
            // The host has put another file in the place of the first.
            assert_eq!(linked.number(NodeId(5), &file(other)), NodeId(5));
            assert_eq!(linked.number(NodeId(6), &file(Some(70))), NodeId(6));
        }
    }

    #[test]
    fn what_is_kept_in_mind_is_bounded() {
        let mut linked = Linked::default();
        for number in 2..2 + 2 * MAX_FILES as u64 {
            linked.number(NodeId(number), &file(Some(number)));
            assert!(linked.files.len() <= MAX_FILES && linked.numbers.len() <= MAX_FILES);
        }
    }
}
